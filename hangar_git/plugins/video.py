"""Frames of video files, by PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .base import ContainerPlugin, Form, Sample, library, readable

EXTENSIONS = ("mp4", "mkv", "webm", "avi", "mov")
_PIXELS = {1: "gray", 3: "rgb24"}
_CODECS = {".mkv": "ffv1", ".avi": "ffv1"}
"""Without loss; the others hold no codec of RGB without loss that every player knows."""
_FFV1_PIXELS = {"gray": "gray", "rgb24": "bgr0"}


class VideoPlugin(ContainerPlugin):
    """Frames as uint8 of (height, width, 3), or (height, width) where the arrayset is gray.

    A file is a sample of (frames, ...) for arraysets of such, and else a sample for each frame,
    called 0, 1, 2, ... Frames are written with codec FFV1, without loss, to .mkv and .avi files.
    """

    def __init__(self) -> None:
        super().__init__(("load", "save"), EXTENSIONS)

    def load(self, fpath: Any, *, form: Form | None = None, every: int = 1) -> Any:
        """As `BasePlugin.load`; of each `every` frames the first is read."""
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InvalidInputError(f"option every is a number from 1 on, not {every!r}")
        Path(fpath).stat()
        frames = _frames(Path(fpath), form, every)
        # Only an arrayset tells whether the first axis of its samples is time: in color it is the
        # first of four, in gray the first of three of which the last are no colors.
        if form is not None and (
            form.rank == 4 or (form.rank == 3 and form.shape[2] not in (1, 3))
        ):
            return np.stack(list(frames)), self.sample_name(fpath)
        return ((frame, number) for number, frame in enumerate(frames))

    def save_many(
        self,
        samples: Iterable[Sample],
        path: Path,
        form: Form | None = None,  # noqa: ARG002
        **options: Any,
    ) -> None:
        """As `ContainerPlugin.save_many`: a frame for each sample, whose name is not kept.

        Option ``rate`` is frames a second.
        """
        av = library("av", "video")
        rate = options.pop("rate", 25)
        extension = next((one for one in _CODECS if one in path.name), None)
        if options or extension is None:
            what = f"take no option {next(iter(options))!r}" if options else "are mkv or avi"
            raise InvalidInputError(f"video files without loss {what}")
        rows = iter(samples)
        first = next(rows, None)
        if first is None:
            raise InvalidInputError("there are no samples to put into a video")
        pixels = _pixels(first.data)
        with av.open(str(path), "w", format={".mkv": "matroska", ".avi": "avi"}[extension]) as out:
            stream = out.add_stream(_CODECS[extension], rate=Fraction(str(rate)))
            stream.height, stream.width = first.data.shape[:2]
            stream.pix_fmt = _FFV1_PIXELS[pixels]
            for key, data in chain([first], rows):
                if data.shape != first.data.shape or data.dtype != first.data.dtype:
                    raise InvalidInputError(
                        f"sample {key!r}: the frames of a video are of one shape"
                    )
                array = data[..., 0] if pixels == "gray" and data.ndim == 3 else data
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=pixels)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())


def _frames(path: Path, form: Form | None, every: int) -> Iterator[Any]:
    av = library("av", "video")
    with readable(path, "a video"), av.open(str(path)) as file:
        if not file.streams.video:
            raise InvalidInputError(f"{path}: holds no video")
        stream = file.streams.video[0]
        stream.thread_type = "AUTO"
        column = form is not None and form.rank in (3, 4) and form.shape[-1] == 1
        is_gray = form is not None and (form.rank == 2 or column or (
            form.rank == 3 and form.shape[2] != 3))  # fmt: skip
        for number, frame in enumerate(file.decode(stream)):
            if number % every == 0:
                array = np.ascontiguousarray(
                    frame.to_ndarray(format="gray" if is_gray else "rgb24")
                )
                yield array[..., None] if column else array


def _pixels(array: Any) -> str:
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if array.dtype != np.uint8 or channels not in _PIXELS:
        raise InvalidInputError(
            f"dtype {array.dtype} and shape {array.shape} are no frame's: uint8, and height, width,"
            f" and if in color 3 channels"
        )
    return _PIXELS[channels]
