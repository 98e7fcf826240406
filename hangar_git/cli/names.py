"""Sample names as they are given on the command line."""

from __future__ import annotations

from ..errors import InvalidInputError
from ..keys import SampleKey


def sample_name(text: str) -> SampleKey:
    """``10`` and ``str:10`` are the str, ``int:10`` is the int."""
    kind, colon, name = text.partition(":")
    if not colon:
        return text
    if kind == "int" and name.isdecimal():
        return int(name)
    if kind == "str":
        return name
    raise InvalidInputError(f"sample name {text!r} is neither str:NAME nor int:NUMBER")
