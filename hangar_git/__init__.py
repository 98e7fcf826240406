"""Version control for tensor data, as a Git extension."""

from .api.repository import Repository

__version__ = "0.1.0"
__all__ = ["Repository", "__version__"]
