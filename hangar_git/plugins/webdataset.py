"""WebDataset tar files: a member for each sample.

What stands before the first dot of a member's name is the sample's name, as in any WebDataset; a
dot in a name is therefore written ``=2E``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .base import ContainerPlugin, FilePlugin, Form, Sample, dotted, readable
from .images import EXTENSIONS, ImagePlugin, encoded
from .numpyfiles import NpyPlugin
from .text import BytesPlugin, TextPlugin

_DOT = "=2E"


class WebDatasetPlugin(ContainerPlugin):
    """Members are .npy, .txt or .bin files; or images, if option ``encode`` names their format."""

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("tar",))

    def load(
        self, fpath: Any, *, form: Form | None = None, member: str | None = None
    ) -> Iterator[tuple[Any, str]]:
        """As `BasePlugin.load`; `member` is the extension of the members to read."""
        with (
            Path(fpath).open("rb") as file,
            readable(fpath, "a tar file"),
            tarfile.open(fileobj=file, mode="r|*") as archive,
            TemporaryDirectory() as place,
        ):
            for entry in archive:
                name, _, extension = PurePosixPath(entry.name).name.partition(".")
                if not entry.isfile() or (member and dotted(extension) != dotted(member)):
                    continue
                content = archive.extractfile(entry)
                assert content is not None  # it is a file
                data = _decoded(f"{fpath}: {entry.name}", content.read(), extension, form,
                                Path(place))  # fmt: skip
                parent = PurePosixPath(entry.name).parent.as_posix()
                key = name if parent == "." else f"{parent}/{name}"
                yield data, key.replace(_DOT, ".")

    def save_many(
        self, samples: Iterable[Sample], path: Path, form: Form | None = None, **options: Any
    ) -> None:
        """As `ContainerPlugin.save_many`."""
        from .names import file_stem

        extension = options.pop("encode", None)
        if options:
            raise InvalidInputError(f"tar files take no option {next(iter(options))!r}")
        default = {"str": ".txt", "bytes": ".bin"}.get(form.kind if form else "array", ".npy")
        suffix = dotted(extension) if extension else default
        with tarfile.open(path, "x") as archive:
            for key, data in samples:
                content = _bytes(data, suffix)
                name = file_stem(key).replace(".", _DOT)
                entry = tarfile.TarInfo(f"{name}{suffix}")
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, BytesIO(content))


def _bytes(data: Any, extension: str) -> bytes:
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes):
        return data
    if extension[1:] in EXTENSIONS:
        return encoded(data, extension)
    if extension != ".npy":
        raise InvalidInputError(f"members of tar files cannot be {extension} files")
    file = BytesIO()
    np.lib.format.write_array(file, np.asarray(data), allow_pickle=False)
    return file.getvalue()


def _decoded(where: str, data: bytes, extension: str, form: Form | None, place: Path) -> Any:
    plugin: FilePlugin
    if form is not None and form.kind == "bytes":
        return data
    if extension.lower() in EXTENSIONS:
        plugin = ImagePlugin()
    elif extension.lower() == "npy":
        plugin, form = NpyPlugin(), None
    elif extension.lower() in TextPlugin().accepts:
        plugin = TextPlugin()
    elif extension.lower() == "bin":
        plugin = BytesPlugin()
    else:
        raise InvalidInputError(f"{where}: not a kind of file that can be read from a tar file")
    file = place / f"member.{extension}"
    file.write_bytes(data)
    return plugin.load(file, form=form)[0]
