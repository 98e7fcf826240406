"""Texts and raw bytes: a file for each sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, InvalidInputError
from .base import FilePlugin, Form


class TextPlugin(FilePlugin):
    """UTF-8 text, as it is: line ends stay."""

    def __init__(self) -> None:
        super().__init__(
            ("load", "save", "show", "board_show"),
            ("txt", "text", "md", "rst", "json", "jsonl", "xml", "html", "yaml", "yml", "toml"),
        )

    def load(self, fpath: Any, *, form: Form | None = None) -> tuple[Any, str]:
        """As `BasePlugin.load`: a str where the arrayset keeps texts, else an array of rank 0."""
        try:
            text = Path(fpath).read_bytes().decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{fpath}: cannot be read as UTF-8 text: {error}") from error
        is_text = form is not None and form.kind == "str"
        return (text if is_text else np.array(text)), self.sample_name(fpath)

    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:  # noqa: ARG002
        """As `FilePlugin.write`."""
        if not isinstance(data, str):
            raise InvalidInputError("only samples of kind str can be text files")
        path.write_bytes(data.encode())

    def show(self, arr: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Print the text."""
        print(str(arr))  # noqa: T201

    def board_show(self, arr: Any, *args: Any, **kwargs: Any) -> str:  # noqa: ARG002
        """The text."""
        return str(arr)


class BytesPlugin(FilePlugin):
    """The bytes of a file, whatever they mean."""

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("bin",))

    def load(self, fpath: Any, *, form: Form | None = None) -> tuple[Any, str]:
        """As `BasePlugin.load`: bytes where the arrayset keeps such, else an array of uint8."""
        data = Path(fpath).read_bytes()
        is_raw = form is not None and form.kind == "bytes"
        return (data if is_raw else np.frombuffer(data, np.uint8)), self.sample_name(fpath)

    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:  # noqa: ARG002
        """As `FilePlugin.write`."""
        path.write_bytes(data.encode() if isinstance(data, str) else bytes(data))
