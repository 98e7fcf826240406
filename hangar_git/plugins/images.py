"""Images, by Pillow."""

from __future__ import annotations

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .base import FilePlugin, Form, library, readable

EXTENSIONS = ("png", "jpg", "jpeg", "tif", "tiff", "webp", "bmp")
_JPEG_COLORS = {"YCbCr": "RGB", "Gray": "GRAY"}
_CHANNELS = {np.dtype("u1"): (1, 3, 4)} | dict.fromkeys(map(np.dtype, ("?", "u2", "f4")), (1,))


def pillow() -> Any:
    """Pillow's module ``Image``."""
    image = library("PIL.Image", "images")
    # What Pillow says about a damaged file stands in our error; without a handler it is printed.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    return image


class ImagePlugin(FilePlugin):
    """PNG, JPEG, TIFF, WebP and BMP: 8 bits a channel, or 16-bit and 32-bit float gray."""

    def __init__(self) -> None:
        super().__init__(("load", "save", "show", "board_show"), EXTENSIONS)

    def load(
        self, fpath: Any, *, form: Form | None = None, mode: str | None = None
    ) -> tuple[Any, str]:
        """As `BasePlugin.load`; `mode` is one of Pillow's to convert to, such as RGB or L."""
        module = pillow()
        array = _photograph(module, Path(fpath)) if mode is None else None
        if array is None:
            array = self._by_pillow(module, fpath, form, mode)
        if form is not None and array.ndim == 2 and form.rank == 3 and form.shape[2] == 1:
            array = array[..., None]
        return array, self.sample_name(fpath)

    def _by_pillow(self, module: Any, fpath: Any, form: Form | None, mode: str | None) -> Any:
        with readable(fpath, "an image"), module.open(fpath) as image:
            frames = getattr(image, "n_frames", 1)
            # What follows the photograph in a camera's file is a preview, or what is behind it.
            if frames != 1 and image.format != "MPO":
                raise InvalidInputError(f"{fpath}: holds {frames} images, and one is expected")
            if any(";16" in str(tile[3]) for tile in image.tile) and image.mode in ("RGB", "RGBA"):
                raise InvalidInputError(
                    f"{fpath}: has 16 bits a color, of which Pillow would drop 8"
                )
            picture = image
            # A palette's indices are what a label mask is about, and colors what a picture is.
            if mode is None and image.mode == "P" and (form is None or form.rank > 2):
                mode = "RGBA" if "transparency" in image.info else "RGB"
            if mode is not None:
                picture = image.convert(mode)
            return np.array(picture)  # ours: writable, and not Pillow's memory

    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:
        """As `FilePlugin.write`; `options` are those of Pillow's ``save``: ``quality=95``."""
        path.write_bytes(encoded(data, extension, **options))

    def show(self, arr: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Open a window with the image."""
        _picture(arr).show()

    def board_show(self, arr: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """The image as Pillow has it."""
        return _picture(arr)


def _photograph(module: Any, path: Path) -> Any:
    """The array of an ordinary JPEG file; None leaves it to Pillow, which knows the odd ones.

    Both have libjpeg-turbo decode it, to the same values: but Pillow takes half as long again, to
    copy from its own memory.
    """
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return None
    try:
        import simplejpeg
    except ImportError:
        return None
    data = path.read_bytes()
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in _JPEG_COLORS or height * width > (module.MAX_IMAGE_PIXELS or 0):
            return None
        array = simplejpeg.decode_jpeg(data, _JPEG_COLORS[colors])
    except ValueError:
        return None  # damaged: Pillow says how, or reads it all the same
    return array[..., 0] if colors == "Gray" else array


def _picture(array: Any) -> Any:
    channels = (1,) if array.ndim == 2 else array.shape[2:]
    dtype = array.dtype.newbyteorder("=")
    if len(channels) != 1 or channels[0] not in _CHANNELS.get(dtype, ()):
        raise InvalidInputError(
            f"dtype {array.dtype} and shape {array.shape} are no image's: uint8, and height, width,"
            f" and if in color 3 or 4 channels; or uint16 or float32 without color; use another"
            f" format, such as npy"
        )
    return pillow().fromarray(array.reshape(array.shape[:2]) if channels == (1,) else array)


def encoded(array: Any, extension: str, **options: Any) -> bytes:
    """The bytes of the image file of an array.

    Raises
    ------
    InvalidInputError
        It cannot be one of this extension.
    """
    picture = _picture(array)
    if array.dtype.itemsize > 1 and extension not in (".png", ".tif", ".tiff"):
        raise InvalidInputError(f"dtype {array.dtype} cannot be a {extension} file")
    if extension == ".webp":
        options = {"lossless": True, "exact": True} | options
    file = BytesIO()
    try:
        picture.save(file, pillow().registered_extensions()[extension], **options)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInputError(f"cannot be a {extension} file: {error}") from error
    return file.getvalue()
