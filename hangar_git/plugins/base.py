"""What a plugin is: the class that plugins of others inherit, and what built-in ones share."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, HangarError, InvalidInputError, StateError, UnsupportedError
from ..keys import SampleKey
from .names import file_stem, key_of_detail, stem_and_extension

Array: TypeAlias = NDArray[Any]
PROVIDES = ("load", "save", "show", "board_show")
"""The methods that a plugin can offer."""


class Sample(NamedTuple):
    """A sample in a file, or to be put into one: an array; a str or bytes where it is that."""

    key: SampleKey
    data: Any


@dataclass(frozen=True, slots=True)
class Form:
    """What the samples of an arrayset are, as far as reading and writing files needs it."""

    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    variable_shape: bool = False

    @property
    def rank(self) -> int:
        """Number of dimensions of a sample."""
        return len(self.shape)


class BasePlugin:
    """Base of plugins, which read and write files of one or several formats.

    Parameters
    ----------
    provides
        Which of the methods ``load``, ``save``, ``show``, ``board_show`` this plugin has.
    accepts
        Extensions of the files it is for, with or without the dot.

    Notes
    -----
    A distribution names its plugins' classes in the entry point group ``hangar_git.plugins``; they
    are made without arguments.
    """

    takes_form: ClassVar[bool] = False
    """Whether ``load`` and ``save`` take a keyword ``form``: the `Form` of the arrayset."""
    is_container: ClassVar[bool] = False
    """Whether one file holds many samples; then there is a method ``save_many``."""

    def __init__(self, provides: Sequence[str], accepts: Sequence[str]) -> None:
        unknown = [name for name in provides if name not in PROVIDES]
        if unknown:
            raise InvalidInputError(
                f"a plugin provides {', '.join(PROVIDES)}, and not {', '.join(unknown)}"
            )
        self._provides = list(provides)
        self._accepts = list(accepts)

    @property
    def provides(self) -> list[str]:
        """The methods that it has."""
        return self._provides

    @property
    def accepts(self) -> list[str]:
        """Extensions of the files that it is for."""
        return self._accepts

    def load(self, fpath: Any, *args: Any, **kwargs: Any) -> Any:
        """Read a file.

        Returns
        -------
        tuple or iterator
            Array and sample name; or, where a file holds several samples, an iterator of such.
        """
        raise self._lacks("load")

    def save(
        self, arr: Any, outdir: Any, sample_detail: str, extension: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Write a sample to a file in `outdir`; its name is made from `sample_detail`.

        Parameters
        ----------
        arr
            The sample.
        outdir
            The directory to write to.
        sample_detail
            Type and name: ``str:a7``, ``int:10``.
        extension
            Of the file.
        *args, **kwargs
            What the plugin takes beyond.
        """
        raise self._lacks("save")

    def show(self, arr: Any, *args: Any, **kwargs: Any) -> Any:
        """Show a sample to the user."""
        raise self._lacks("show")

    def board_show(self, arr: Any, *args: Any, **kwargs: Any) -> Any:
        """A sample in a form that a board can display: image, text or audio."""
        raise self._lacks("board_show")

    def _lacks(self, method: str) -> UnsupportedError:
        """The error for a method that this plugin does not provide."""
        return UnsupportedError(f"plugin {type(self).__name__} does not provide {method!r}")

    @staticmethod
    def sample_name(fpath: os.PathLike[str] | str) -> str:
        """Name of the sample in a file: the file's name without its extension.

        >>> BasePlugin.sample_name("/path/to/myfile.ext")
        'myfile'
        """
        return stem_and_extension(Path(fpath).name)[0]


class FilePlugin(BasePlugin, ABC):
    """A built-in plugin whose files hold one sample each."""

    takes_form = True

    @abstractmethod
    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:
        """Write one sample as a new file."""

    def save(
        self, arr: Any, outdir: Any, sample_detail: str, extension: str, *args: Any, **kwargs: Any
    ) -> Path:
        """As `BasePlugin.save`: a file called like the sample; the file of that name is replaced.

        Returns
        -------
        Path
            Of the file.
        """
        kwargs.pop("form", None)
        extension = dotted(extension)
        path = Path(outdir) / f"{file_stem(key_of_detail(sample_detail))}{extension}"
        with replacing(path) as part:
            self.write(part, arr, extension, *args, **kwargs)
        return path


class ContainerPlugin(BasePlugin, ABC):
    """A built-in plugin whose files hold many samples."""

    takes_form = True
    is_container = True
    takes_count: ClassVar[bool] = False
    """Whether ``save_many`` takes a keyword ``count``: the number of samples."""

    @abstractmethod
    def save_many(
        self, samples: Iterable[Sample], path: Path, form: Form | None = None, **options: Any
    ) -> None:
        """Write a new file (or for Zarr a directory) at `path`, of `samples` in their order.

        Parameters
        ----------
        samples
            With one of them in memory at a time.
        path
            Nothing is there.
        form
            What they are; without it each may be of another dtype and shape.
        **options
            What the plugin takes beyond.
        """

    def save(
        self, arr: Any, outdir: Any, sample_detail: str, extension: str, *args: Any, **kwargs: Any
    ) -> Path:
        """As `BasePlugin.save`: the sample is put into file ``samples``, beside those in it.

        Returns
        -------
        Path
            Of the file. It is written anew for each sample: `save_many` is for many of them.
        """
        form = kwargs.pop("form", None)
        path = Path(outdir) / f"{kwargs.pop('name', 'samples')}{dotted(extension)}"
        samples: dict[str, Any] = {}
        if path.exists():
            found = self.load(path, form=form)
            pairs = [found] if isinstance(found, tuple) else found
            samples = {file_stem(name) if not isinstance(name, str) else name: data
                       for data, name in pairs}  # fmt: skip
        samples[file_stem(key_of_detail(sample_detail))] = np.asarray(arr) if form is None else arr
        with replacing(path) as part:
            self.save_many(_keyed(samples), part, form, *args, **kwargs)
        return path


def _keyed(samples: dict[str, Any]) -> Iterator[Sample]:
    from .names import key_of_text

    return (Sample(key_of_text(name), data) for name, data in samples.items())


def dotted(extension: str) -> str:
    """`extension` in lower case and with its dot."""
    return f".{extension.lstrip('.').lower()}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a new file or directory to, which takes the place of `path` in the end.

    What is there already stays whole until then, and if writing fails.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        yield part
        if part.is_dir() and path.is_dir():
            _remove(path)
        part.replace(path)
    except BaseException:
        _remove(part)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        from shutil import rmtree

        rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def library(name: str, extra: str) -> Any:
    """An optional library; StateError with what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StateError(
            f"this needs the {name.partition('.')[0]} library: pip install 'hangar_git[{extra}]'"
        ) from error


@contextmanager
def readable(path: object, kind: str) -> Iterator[None]:
    """Turn another library's errors about the content of `path` into ours."""
    try:
        yield
    except HangarError:
        raise
    # Damaged bytes fail in any way: TokenError from NumPy, SyntaxError and KeyError from Pillow.
    except Exception as error:
        # With a number, it is the file system that refused.
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise
        raise FormatError(f"{path}: cannot be read as {kind}: {error}") from error
