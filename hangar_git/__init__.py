"""Version control for tensor data, as a Git extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.repository import Repository

__version__ = "0.1.0"
__all__ = ["Repository", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: git starts the merge driver once for every record file, and
    # the API takes 0.2 s to import.
    if name == "Repository":
        from .api.repository import Repository

        return Repository
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
