"""Sample names in names of files, and in files that hold many samples.

A sample called ``"a7"`` is ``a7``, and one called by the integer 10 is ``int=10``, since ``"10"``
may be another sample's name; a nested sample is ``outer/inner``. ``=`` is in no sample's name.
"""

from __future__ import annotations

import re
from os.path import splitext

from ..errors import InvalidInputError
from ..keys import SampleKey, SimpleKey, sample_key

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]")
_DOUBLE = (".nii.gz",)
"""Extensions of two parts."""


def file_stem(key: SampleKey) -> str:
    """Name of the file of sample `key`, without extension; ``/`` between the names of a pair."""
    if isinstance(key, tuple):
        return "/".join(map(file_stem, key))
    return key if isinstance(key, str) else f"int={key}"


def key_of_stem(stem: str) -> SimpleKey:
    """Inverse of `file_stem`; InvalidInputError if no sample can be called so."""
    marker, _, number = stem.partition("=")
    if marker == "int" and number.isdecimal():
        return sample_key(int(number))
    return sample_key(stem)


def key_of_text(text: str) -> SampleKey:
    """As `key_of_stem`, and ``outer/inner`` is a pair."""
    outer, slash, inner = text.partition("/")
    return (key_of_stem(outer), key_of_stem(inner)) if slash else key_of_stem(text)


def detail_of(key: SampleKey) -> str:
    """What plugins get as ``sample_detail``: ``str:a7``, ``int:10``, ``str:outer/int:1``."""
    if isinstance(key, tuple):
        return "/".join(map(detail_of, key))
    return f"{type(key).__name__}:{key}"


def key_of_detail(detail: str) -> SampleKey:
    """Inverse of `detail_of`; what has no type is a str."""
    outer, slash, inner = detail.partition("/")
    if slash:
        return sample_key(typed_name(outer)), sample_key(typed_name(inner))
    return sample_key(typed_name(detail))


def typed_name(text: str) -> SimpleKey:
    """``10`` and ``str:10`` are the str, ``int:10`` is the int; InvalidInputError for others.

    It may be no valid name.
    """
    kind, colon, name = text.partition(":")
    if not colon:
        return text
    if kind == "int" and name.isdecimal():
        return int(name)
    if kind == "str":
        return name
    raise InvalidInputError(f"sample name {text!r} is neither str:NAME nor int:NUMBER")


def stem_and_extension(name: str) -> tuple[str, str]:
    """``("scan", ".nii.gz")`` of ``scan.nii.gz``; the extension in lower case."""
    for double in _DOUBLE:
        if name.lower().endswith(double):
            return name[: -len(double)], double
    stem, extension = splitext(name)  # noqa: PTH122  # a tenth of the time of Path
    return (name, "") if extension == "." else (stem, extension.lower())


def replaced(stem: str, by: str) -> str:
    """`stem` with `by` in place of each character that no sample's name may have."""
    marker, _, number = stem.partition("=")
    if marker == "int" and number.isdecimal():
        return stem
    return _NOT_ALLOWED.sub(by, stem)
