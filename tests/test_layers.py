"""Imports point downwards, form no cycle, and each outside library has one home."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "hangar_git"
LAYERS = {
    "records": 1,
    "store": 1,
    "transfer": 1,
    "staging": 2,
    "remotes": 2,
    "views": 2,
    "api": 3,
    "cli": 4,
    "hooks": 4,
    "plugins": 4,
    "external": 4,
    "migration": 4,
    "dataloaders": 4,
    "workers": 4,
    "dask": 4,
    "ray": 4,
}
HOMES = {
    "pygit2": ("records/",),
    "h5py": ("store/hdf5.py", "store/lzf.py", "plugins/hdf5.py"),
    "hdf5plugin": ("store/hdf5.py",),
    "zarr": ("store/zarr3.py", "plugins/zarrs.py", "views/zarrstore.py"),
    "dask": ("views/lazy.py", "dask/"),
    "ray": ("ray/",),
    "xarray": ("views/lazy.py",),
    "pyarrow": ("views/arrow.py", "plugins/columns.py"),
    "torch": ("dataloaders/torchloader.py",),
    "tensorflow": ("dataloaders/tfloader.py",),
    "google_crc32c": ("store/sharding.py",),
    "lmdb": ("store/index.py",),
    "numcodecs": ("store/codec.py",),
    "grpc": ("transfer/",),
    "google": ("transfer/",),
    "grpc_health": ("transfer/server.py",),
    "prometheus_client": ("transfer/metrics.py",),
    "obstore": ("transfer/objectstore.py",),
    "click": ("cli/",),
    "tqdm": ("cli/",),
    "PIL": ("plugins/",),
    "simplejpeg": ("plugins/images.py",),
    "av": ("plugins/video.py",),
}


def modules():
    return {path.relative_to(ROOT): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}


def imports(path: Path, tree: ast.AST):
    """Names of the modules that a module imports, inside functions too; ours from the root."""
    package = list(path.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = (node.module or "").split(".") if node.module else []
            ours = ["hangar_git", *base] if node.level else []
            yield [*ours, *name]
            yield from ([*ours, *name, alias.name] for alias in node.names)


def graph():
    found = modules()
    names = {("hangar_git", *path.with_suffix("").parts): path for path in found}
    names |= {key[:-1]: path for key, path in names.items() if key[-1] == "__init__"}
    return {
        path: {names[tuple(name)] for name in imports(path, tree) if tuple(name) in names} - {path}
        for path, tree in found.items()
    }


def layer(path: Path) -> int:
    return LAYERS[path.parts[0]] if len(path.parts) > 1 else 0


def test_imports_point_downwards_and_siblings_never_meet():
    for path, targets in graph().items():
        if path.name == "__init__.py" and len(path.parts) == 1:
            continue  # the package itself offers the API
        for target in targets:
            assert layer(target) <= layer(path), f"{path} imports {target}"
            pair = {path.parts[0], target.parts[0]}
            assert pair != {"records", "store"}, f"{path} imports {target}"


def test_imports_form_no_cycle():
    edges = graph()
    while edges:
        leaves = [path for path, targets in edges.items() if not targets & edges.keys()]
        assert leaves, f"a cycle among {sorted(map(str, edges))}"
        for leaf in leaves:
            del edges[leaf]


def test_each_outside_library_has_one_home():
    for path, tree in modules().items():
        for name in imports(path, tree):
            homes = HOMES.get(name[0]) if name else None
            assert homes is None or str(path).startswith(homes), f"{path} imports {name[0]}"


def test_no_module_is_over_400_lines():
    for path in ROOT.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
