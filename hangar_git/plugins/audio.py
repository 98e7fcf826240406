"""Sound, by soundfile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .base import FilePlugin, Form, library, readable

_DTYPES = {"PCM_U8": "int16", "PCM_S8": "int16", "PCM_16": "int16", "PCM_24": "int32",
           "PCM_32": "int32", "DOUBLE": "float64"}  # fmt: skip
_SUBTYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}


class AudioPlugin(FilePlugin):
    """WAV, FLAC and Ogg: arrays of (frames) or (frames, channels).

    Integers come as int16 or int32, as wide as the file needs; 24-bit samples fill the upper bits.
    The sampling rate is no part of an array: to save, it must be told.
    """

    def __init__(self) -> None:
        super().__init__(("load", "save", "board_show"), ("wav", "flac", "ogg"))

    def load(
        self, fpath: Any, *, form: Form | None = None, dtype: str | None = None
    ) -> tuple[Any, str]:
        """As `BasePlugin.load`; `dtype` is one of int16, int32, float32, float64."""
        module = library("soundfile", "audio")
        path = Path(fpath)
        if dtype is None and form is not None and form.dtype.name in ("float32", "float64"):
            dtype = form.dtype.name  # scaled to -1 .. 1, which loses nothing
        with path.open("rb") as file, readable(path, "sound"), module.SoundFile(file) as sound:
            name = dtype or _DTYPES.get(sound.subtype, "float32")
            array = sound.read(dtype=name, always_2d=form is not None and form.rank == 2)
            if len(array) < sound.frames:
                raise ValueError(f"holds {len(array)} of {sound.frames} frames")
        return np.ascontiguousarray(array), self.sample_name(path)

    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:
        """As `FilePlugin.write`; option `rate` is the number of frames in a second."""
        try:
            rate = int(options.pop("rate"))
        except (KeyError, ValueError):
            raise InvalidInputError(
                "the sampling rate is not known: give the option rate, such as --rate=44100"
            ) from None
        module = library("soundfile", "audio")
        subtype = _SUBTYPES.get(data.dtype.name)
        if extension == ".flac" and data.dtype == np.int32:
            if (data & 0xFF).any():
                raise InvalidInputError("flac files hold 24 bits, and these samples are of 32")
            subtype = "PCM_24"
        if extension == ".ogg":
            subtype = "VORBIS"
        if data.ndim not in (1, 2) or subtype is None or (extension == ".flac" and
                                                          data.dtype.kind == "f"):  # fmt: skip
            raise InvalidInputError(
                f"dtype {data.dtype} and shape {data.shape} cannot be a {extension} file"
            )
        module.write(path, data, rate, subtype=subtype, format=extension[1:].upper(), **options)

    def board_show(self, arr: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """The array itself."""
        return arr
