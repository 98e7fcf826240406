"""Files that samples are imported from and exported to, by extension.

In names of files a sample called ``"a7"`` is ``a7``, and one called by the integer 10 is
``int=10``, since ``"10"`` may be another sample's name. ``=`` is in no sample's name.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, InvalidInputError, StateError
from ..keys import SampleKey, sample_key

Array = NDArray[Any]


class Sample(NamedTuple):
    """A sample in a file, or to be put into one."""

    key: SampleKey
    array: Array


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file.

    Parameters
    ----------
    plugin
        What ``--plugin`` calls it.
    extensions
        Of its files, lower case, with the dot.
    load
        Yields the samples in a file, for an arrayset whose samples have `rank` dimensions.
    encode
        Writes one sample as a file of an extension; None if a file holds all samples.
    """

    plugin: str
    extensions: tuple[str, ...]
    load: Callable[[Path, int], Iterator[Sample]]
    encode: Callable[[BinaryIO, Array, str], None] | None


# -- names -----------------------------------------------------------------------------------------


def file_stem(key: SampleKey) -> str:
    """Name of the file of sample `key`, without extension."""
    return key if isinstance(key, str) else f"int={key}"


def key_of_stem(stem: str) -> SampleKey:
    """Inverse of `file_stem`; InvalidInputError if no sample can be called so."""
    marker, _, number = stem.partition("=")
    if marker == "int" and number.isdecimal():
        return sample_key(int(number))
    return sample_key(stem)


# -- NumPy -----------------------------------------------------------------------------------------


def _load_npy(path: Path, rank: int) -> Iterator[Sample]:
    with _readable(path, "a .npy file"):
        # Mapped, so that of a stack of many samples only one is in memory at a time.
        array = np.load(path, mmap_mode="r" if path.stat().st_size else None, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise FormatError(f"{path}: not a .npy file, but an archive of several; name it .npz")
    if array.ndim == rank + 1:
        for number, row in enumerate(array):
            yield Sample(number, np.array(row, order="C"))
    else:
        yield Sample(_key(path, path.stem), np.array(array, order="C"))


def _load_npz(path: Path, rank: int) -> Iterator[Sample]:  # noqa: ARG001
    # Given a path of a damaged archive, NumPy would leave the file open.
    with path.open("rb") as file:
        with _readable(path, "a .npz file"):
            archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise FormatError(f"{path}: not a .npz file, but a single array; name it .npy")
        for name in archive.files:
            with _readable(path, "a .npz file"):
                array = archive[name]
            yield Sample(_key(path, name), np.asarray(array, order="C"))


def _encode_npy(file: BinaryIO, array: Array, extension: str) -> None:  # noqa: ARG001
    np.lib.format.write_array(file, array, allow_pickle=False)


def _write_npz(file: BinaryIO, samples: Iterable[Sample]) -> None:
    # As np.savez does, but with one sample in memory at a time.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, array in samples:
            with archive.open(f"{file_stem(key)}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


# -- images ----------------------------------------------------------------------------------------


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise StateError(
            "images need the pillow library: pip install 'hangar_git[images]'"
        ) from error
    # What Pillow says about a damaged file stands in our error; without a handler it is printed.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    return Image


def _load_image(path: Path, rank: int) -> Iterator[Sample]:
    pillow = _pillow()
    with _readable(path, "an image"), _without_warnings(), pillow.open(path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames == 1:
            # A palette's indices are what a label mask is about, and colors what a picture is.
            if image.mode == "P" and rank > 2:
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")  # noqa: PLW2901
            array = np.asarray(image)
    if frames != 1:
        raise InvalidInputError(f"{path}: holds {frames} images, and one is expected")
    yield Sample(_key(path, path.stem), array)


def _encode_image(file: BinaryIO, array: Array, extension: str) -> None:
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not is_image:
        raise InvalidInputError(
            f"dtype {array.dtype} and shape {array.shape} are no image's: uint8, and height, width,"
            f" and if in color 3 or 4 channels; use --format npy"
        )
    pillow = _pillow()
    picture = pillow.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)
    encoded = BytesIO()
    try:
        picture.save(encoded, pillow.registered_extensions()[extension])
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot be a {extension} file: {error}") from error
    file.write(encoded.getbuffer())


# -- all -------------------------------------------------------------------------------------------

FORMATS = (
    Format("numpy", (".npy",), _load_npy, _encode_npy),
    Format("numpy", (".npz",), _load_npz, None),
    Format(
        "images",
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"),
        _load_image,
        _encode_image,
    ),
)
PLUGINS = ("numpy", "images")
EXPORT_FORMATS = ("npy", "npz", "png", "jpg", "jpeg", "tif", "tiff", "bmp")


def format_of(path: Path, plugin: str | None) -> Format | None:
    """The format that a file's extension tells, or else its `plugin`; None if neither does."""
    for one in FORMATS:
        if path.suffix.lower() in one.extensions and plugin in (None, one.plugin):
            return one
    return next((one for one in FORMATS if one.plugin == plugin), None)


def load(path: Path, rank: int, plugin: str | None = None) -> Iterator[Sample]:
    """Yield the samples in a file, for an arrayset whose samples have `rank` dimensions.

    Raises
    ------
    InvalidInputError
        No format for its extension, or a name in it that no sample can have.
    FormatError
        Not what its extension says, or damaged.
    """
    found = format_of(path, plugin)
    if found is None:
        known = ", ".join(extension for one in FORMATS for extension in one.extensions)
        raise InvalidInputError(f"{path}: not one of the files that can be read: {known}")
    return found.load(path, rank)


def targets(directory: Path, name: str, keys: Iterable[SampleKey], extension: str) -> list[Path]:
    """The files that `save` writes."""
    if _saved_as(extension).encode is None:
        return [directory / f"{name}{extension}"]
    return [directory / f"{file_stem(key)}{extension}" for key in keys]


def save(
    directory: Path, name: str, samples: Iterable[Sample], extension: str, *, overwrite: bool
) -> None:
    """Write samples of arrayset `name` to files in `directory`.

    Raises
    ------
    InvalidInputError
        A sample that files of this extension cannot hold.
    FileExistsError
        A file exists, and is not to be overwritten.
    """
    mode = "wb" if overwrite else "xb"
    encode = _saved_as(extension).encode
    if encode is None:
        with (directory / f"{name}{extension}").open(mode) as file:
            _write_npz(file, samples)  # type: ignore[arg-type]
        return
    for key, array in samples:
        path = directory / f"{file_stem(key)}{extension}"
        encoded = BytesIO()
        try:
            encode(encoded, array, extension)
        except InvalidInputError as error:
            raise InvalidInputError(f"sample {key!r}: {error}") from error
        with path.open(mode) as file:
            file.write(encoded.getbuffer())


def _saved_as(extension: str) -> Format:
    return next(one for one in FORMATS if extension in one.extensions)


def _key(path: Path, stem: str) -> SampleKey:
    try:
        return key_of_stem(stem)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turn another library's errors about the content of `path` into ours."""
    try:
        yield
    # Damaged bytes fail in any way: TokenError from NumPy, SyntaxError and KeyError from Pillow.
    except Exception as error:
        # With a number, it is the file system that refused.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{path}: cannot be read as {kind}: {error}") from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep what Pillow says about an image's metadata, which is not imported, to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
