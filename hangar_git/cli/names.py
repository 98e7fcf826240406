"""Sample names as they are given on the command line."""

from __future__ import annotations

from ..errors import InvalidInputError
from ..keys import SampleKey, SimpleKey


def sample_name(text: str) -> SampleKey:
    """``10`` and ``str:10`` are the str, ``int:10`` is the int; ``int:7/ct`` is a pair of them."""
    outer, slash, inner = text.partition("/")
    return (_simple(outer), _simple(inner)) if slash else _simple(text)


def _simple(text: str) -> SimpleKey:
    kind, colon, name = text.partition(":")
    if not colon:
        return text
    if kind == "int" and name.isdecimal():
        return int(name)
    if kind == "str":
        return name
    raise InvalidInputError(f"sample name {text!r} is neither str:NAME nor int:NUMBER")


def shown_name(key: SampleKey) -> str:
    """What `sample_name` takes for `key`: ``a7``, ``int:10``, ``int:7/ct``."""
    if isinstance(key, tuple):
        return "/".join(map(shown_name, key))
    return key if isinstance(key, str) else f"int:{key}"
