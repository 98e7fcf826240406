"""Views of a commit for array libraries: Zarr, Dask, xarray, Arrow."""
