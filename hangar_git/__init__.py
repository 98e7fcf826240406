"""Version control for tensor data, as a Git extension."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api.repository import Repository
    from .dataloaders.numpyloader import make_numpy_dataset
    from .dataloaders.tfloader import make_tf_dataset
    from .dataloaders.torchdatasets import (
        make_torch_dataset,
        make_torch_iterable_dataset,
        make_torch_loader,
    )

__all__ = [
    "Repository",
    "__version__",
    "make_numpy_dataset",
    "make_tf_dataset",
    "make_torch_dataset",
    "make_torch_iterable_dataset",
    "make_torch_loader",
]

# Imported when first asked for: git starts the merge driver once for every record file, and the
# API takes 0.2 s to import.
_HOMES = {
    "Repository": "api.repository",
    "make_numpy_dataset": "dataloaders.numpyloader",
    "make_tf_dataset": "dataloaders.tfloader",
    "make_torch_dataset": "dataloaders.torchdatasets",
    "make_torch_iterable_dataset": "dataloaders.torchdatasets",
    "make_torch_loader": "dataloaders.torchdatasets",
}


_FACES = ("dask", "ray")


def __getattr__(name: str) -> Any:
    if name in _FACES:
        return import_module(f".{name}", __name__)
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
