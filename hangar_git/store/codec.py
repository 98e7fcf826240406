"""Codecs: how a chunk of sample bytes is encoded, in the framing that HDF5's filters use.

A codec is known by its options as Hangar names them, ``{"complib": "blosc:lz4", "complevel": 5,
"shuffle": "byte"}``. Encoders and decoders are found when first needed, since their libraries take
50 ms to import.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..errors import InvalidInputError

BLOSC_COMPRESSORS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
COMPLIBS = ("none", "zstd", "gzip", *(f"blosc:{name}" for name in BLOSC_COMPRESSORS))
SHUFFLES = ("none", "byte", "bit")
_DEFAULT_LEVEL = {"blosc": 5, "zstd": 3, "gzip": 4, "none": 0}

Encode = Callable[[bytes], bytes]
Decode = Callable[..., Any]
DECODE_ERRORS = (RuntimeError, ValueError, MemoryError, IndexError, zlib.error)


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec with its options.

    Parameters
    ----------
    complib
        ``none``, ``zstd``, ``gzip``, or ``blosc:`` and one of `BLOSC_COMPRESSORS`.
    complevel
        0 to 9 (zstd: 1 to 22).
    shuffle
        ``none``, ``byte`` or (blosc only) ``bit``.
    """

    complib: str = "none"
    complevel: int = 0
    shuffle: str = "none"

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Codec:
        """The codec that `complib`, `complevel` and `shuffle` ask for; others take defaults.

        Raises
        ------
        InvalidInputError
            A combination that does not exist; the message lists the valid ones.
        """
        if unknown := options.keys() - {"complib", "complevel", "shuffle"}:
            raise InvalidInputError(
                f"unknown codec option {min(unknown)!r}; there are complib, complevel, shuffle"
            )
        complib = options.get("complib") or "none"
        if complib not in COMPLIBS:
            raise InvalidInputError(f"complib {complib!r} is not one of {', '.join(COMPLIBS)}")
        family = complib.partition(":")[0]
        level = options.get("complevel", _DEFAULT_LEVEL[family])
        lowest, highest = (1, 22) if family == "zstd" else (0, 9)
        if family == "none":
            lowest = highest = level = 0
        if isinstance(level, bool) or not isinstance(level, int) or not lowest <= level <= highest:
            raise InvalidInputError(
                f"complevel of {complib} is {lowest} to {highest}, not {level!r}"
            )
        shuffle = options.get("shuffle", "byte" if family == "blosc" else "none")
        if shuffle is None or isinstance(shuffle, bool):
            shuffle = "byte" if shuffle else "none"
        allowed = SHUFFLES if family == "blosc" else SHUFFLES[:1]
        if shuffle not in allowed:
            raise InvalidInputError(
                f"shuffle of {complib} is {' or '.join(allowed)}, not {shuffle!r}"
            )
        return cls(complib, level, shuffle)

    def to_json(self) -> dict[str, Any]:
        """The options, as `parse` takes them."""
        return {"complib": self.complib, "complevel": self.complevel, "shuffle": self.shuffle}

    def encoder(self, itemsize: int) -> Encode:
        """The function that encodes a chunk of items of `itemsize` bytes."""
        return _encoder(self, itemsize)

    def decoder(self) -> Decode | None:
        """The function that decodes a chunk, to bytes or into `out`; None for no codec.

        It raises one of `DECODE_ERRORS` when the bytes cannot be decoded.
        """
        return _decoder(self.complib.partition(":")[0])


NONE = Codec()


@cache
def _encoder(codec: Codec, itemsize: int) -> Encode:
    family, _, name = codec.complib.partition(":")
    if family == "none":
        return bytes
    if family == "gzip":
        return lambda chunk: zlib.compress(chunk, codec.complevel)
    if family == "zstd":
        from numcodecs import zstd

        return lambda chunk: bytes(zstd.compress(chunk, codec.complevel))
    from numcodecs import blosc

    blosc.use_threads = False  # samples are encoded side by side, not split
    shuffle = SHUFFLES.index(codec.shuffle)
    compressor = name.encode()
    typesize = min(itemsize, 255)  # blosc stores it in one byte
    return lambda chunk: bytes(
        blosc.compress(chunk, compressor, codec.complevel, shuffle, 0, typesize)
    )


@cache
def _decoder(family: str) -> Decode | None:
    if family == "none":
        return None
    if family == "gzip":
        return _inflate
    if family == "zstd":
        from numcodecs import zstd

        return zstd.decompress  # type: ignore[no-any-return]
    from numcodecs import blosc

    blosc.use_threads = False
    decompress = blosc.decompress

    def unblosc(data: bytes, out: Any = None) -> Any:
        # blosc believes its header, and crashed the process on one that a flipped bit made claim
        # more bytes than there are (numcodecs 0.16.6).
        size, encoded_size = data[4:8], data[12:16]
        if int.from_bytes(encoded_size, "little") != (len(data) or -1) or size[3] & 0x80:
            raise ValueError("the blosc header does not fit its chunk")
        return decompress(data, out)

    return unblosc


def _inflate(data: bytes, out: Any = None) -> Any:
    decoded = zlib.decompress(data)
    if out is not None:
        memoryview(out)[:] = decoded
    return decoded
