"""Names and keys: which are allowed, how they are written, where they are placed.

A *sample key* is a `str` of ``[A-Za-z0-9._-]``, at most 255 long, or an `int` of 0 to 2**63 - 1.
In files an integer is written ``#10``, so that ``10`` and ``"10"`` stay two keys. A nested sample
has a pair of them, its outer and its inner key, written ``outer/inner``.
Normative text: docs/format.md, "Keys".
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from numbers import Integral  # NumPy's integers count among them
from typing import Any, TypeAlias, TypeVar

from blake3 import blake3

from .errors import InvalidInputError

SimpleKey: TypeAlias = int | str
NestedKey: TypeAlias = tuple[SimpleKey, SimpleKey]
SampleKey: TypeAlias = SimpleKey | NestedKey

K = TypeVar("K", bound=SampleKey)

MAX_INT_KEY = 2**63 - 1
STR_KEY = re.compile(r"[A-Za-z0-9._-]{1,255}")
_INT_KEY_TEXT = re.compile(r"#(0|[1-9][0-9]{0,18})")
_ARRAYSET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_METADATA = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Windows opens these as devices, whatever the extension.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)]
)


def sample_key(name: object) -> SimpleKey:
    """`name` as a sample key; NumPy integers become `int`.

    Raises
    ------
    InvalidInputError
        Not a str or int, empty, too long, negative, or with a character that is not allowed.
    """
    if isinstance(name, str):
        if STR_KEY.fullmatch(name):
            return str.__str__(name)  # an enumeration's own str() is another text
    elif isinstance(name, Integral) and not isinstance(name, bool):
        number = int(name)
        if 0 <= number <= MAX_INT_KEY:
            return number
    raise InvalidInputError(
        f"sample name {name!r} is not valid: a str of 1 to 255 ASCII letters, digits, '.', '_' or"
        f" '-', or an int of 0 to 2**63 - 1"
    )


def sample_keys(names: Iterable[object]) -> list[SampleKey]:
    """`sample_key` of many names."""
    limit = MAX_INT_KEY
    return [n if type(n) is int and 0 <= n <= limit else sample_key(n) for n in names]


def nested_key(outer: object, inner: object) -> NestedKey:
    """The key of a nested sample; InvalidInputError as `sample_key`."""
    return sample_key(outer), sample_key(inner)


def key_text(key: SampleKey) -> str:
    """The key as record files write it: ``a7``, ``#10`` for ``10``, ``a7/#10`` for a pair."""
    if type(key) is str:
        return key
    return f"{key_text(key[0])}/{key_text(key[1])}" if isinstance(key, tuple) else f"#{key}"


def parse_key_text(text: str) -> SampleKey:
    """Inverse of `key_text`; ValueError when malformed."""
    outer, slash, inner = text.partition("/")
    if slash:
        return _parse_simple(outer), _parse_simple(inner)
    return _parse_simple(text)


def _parse_simple(text: str) -> SimpleKey:
    if text.startswith("#"):
        if not _INT_KEY_TEXT.fullmatch(text) or int(text[1:]) > MAX_INT_KEY:
            raise ValueError(f"malformed integer key {text!r}")
        return int(text[1:])
    if not STR_KEY.fullmatch(text):
        raise ValueError(f"malformed key {text!r}")
    return text


def key_hash(text: str) -> bytes:
    """First 8 bytes of BLAKE3 of the key as written; it places the record."""
    return blake3(text.encode()).digest(8)


def key_order(key: SampleKey) -> tuple[Any, ...]:
    """Sort key of the order users see: integers by value, then strings by text."""
    if isinstance(key, tuple):
        return (*key_order(key[0]), *key_order(key[1]))
    return (type(key) is str, key)


def sorted_keys(keys: list[K]) -> list[K]:
    """`keys` in the order users see."""
    integers = [key for key in keys if type(key) is int]
    if len(integers) == len(keys):
        return sorted(integers)
    strings = [key for key in keys if type(key) is str]
    if len(integers) + len(strings) < len(keys):
        return sorted(keys, key=key_order)
    return [*sorted(integers), *sorted(strings)]


def random_key() -> str:
    """A key for an unnamed sample. Random, since counters of two branches would collide."""
    return secrets.token_hex(16)


def arrayset_name(name: object) -> str:
    """`name` if it may name an arrayset.

    Raises
    ------
    InvalidInputError
        Not a str, empty, over 64 long, with another character than ASCII letters, digits, ``.``,
        ``_``, ``-``, starting with ``.`` or ``-``, ending in ``.``, or a Windows device name.
    """
    if (
        isinstance(name, str)
        and _ARRAYSET.fullmatch(name)
        and not name.endswith(".")
        and name.split(".")[0].lower() not in _DEVICES
    ):
        return str.__str__(name)
    raise InvalidInputError(
        f"arrayset name {name!r} is not valid: 1 to 64 ASCII letters, digits, '.', '_' or '-',"
        f" starting with a letter, digit or '_', not ending in '.', no Windows device name"
    )


def metadata_key(key: object) -> SimpleKey:
    """`key` if it may name a piece of metadata: as sample keys, at most 64 long.

    Raises
    ------
    InvalidInputError
        As `sample_key`, or a Windows device name.
    """
    if isinstance(key, str):
        if _METADATA.fullmatch(key) and key.split(".")[0].lower() not in _DEVICES:
            return str.__str__(key)
    elif isinstance(key, Integral) and not isinstance(key, bool):
        return sample_key(key)
    raise InvalidInputError(
        f"metadata key {key!r} is not valid: a str of 1 to 64 ASCII letters, digits, '.', '_' or"
        f" '-' that is no Windows device name, or an int of 0 to 2**63 - 1"
    )
