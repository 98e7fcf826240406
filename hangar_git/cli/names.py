"""Sample names as they are given on the command line."""

from __future__ import annotations

from ..keys import SampleKey
from ..plugins.names import typed_name


def sample_name(text: str) -> SampleKey:
    """``10`` and ``str:10`` are the str, ``int:10`` is the int; ``int:7/ct`` is a pair of them."""
    outer, slash, inner = text.partition("/")
    return (typed_name(outer), typed_name(inner)) if slash else typed_name(text)


def shown_name(key: SampleKey) -> str:
    """What `sample_name` takes for `key`: ``a7``, ``int:10``, ``int:7/ct``."""
    if isinstance(key, tuple):
        return "/".join(map(shown_name, key))
    return key if isinstance(key, str) else f"int:{key}"
