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

import numpy as np

from ..errors import InvalidInputError, StateError
from . import lzf

BLOSC_COMPRESSORS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
COMPLIBS = ("none", "zstd", "gzip", "lzf", *(f"blosc:{name}" for name in BLOSC_COMPRESSORS))
SHUFFLES = ("none", "byte", "bit")
_SHUFFLES_OF = {"blosc": SHUFFLES, "none": SHUFFLES[:1]}
_LEVELS_OF = {"none": (0, 0), "lzf": (0, 0), "zstd": (1, 22)}
_DEFAULT_LEVEL = {"blosc": 5, "zstd": 3, "gzip": 4}

Encode = Callable[[bytes], bytes]
Decode = Callable[..., Any]
DECODE_ERRORS = (RuntimeError, ValueError, MemoryError, IndexError, OSError, zlib.error)


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec with its options.

    Parameters
    ----------
    complib
        ``none``, ``zstd``, ``gzip``, ``lzf``, or ``blosc:`` and one of `BLOSC_COMPRESSORS`.
    complevel
        0 to 9 (zstd: 1 to 22; lzf has none).
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
        lowest, highest = _LEVELS_OF.get(family, (0, 9))
        level = options.get("complevel", _DEFAULT_LEVEL.get(family, 0))
        if family == "none" or (family == "lzf" and level in (None, False, "none")):
            level = 0
        if isinstance(level, bool) or not isinstance(level, int) or not lowest <= level <= highest:
            raise InvalidInputError(
                f"complevel of {complib} is {lowest} to {highest}, not {level!r}"
            )
        shuffle = options.get("shuffle", "byte" if family == "blosc" else "none")
        if shuffle is None or isinstance(shuffle, bool):
            shuffle = "byte" if shuffle else "none"
        allowed = _SHUFFLES_OF.get(family, SHUFFLES[:2])
        if shuffle not in allowed:
            raise InvalidInputError(
                f"shuffle of {complib} is {' or '.join(allowed)}, not {shuffle!r}"
            )
        return cls(complib, level, shuffle)

    def to_json(self) -> dict[str, Any]:
        """The options, as `parse` takes them."""
        return {"complib": self.complib, "complevel": self.complevel, "shuffle": self.shuffle}

    @property
    def family(self) -> str:
        """``blosc``, or the whole `complib`."""
        return self.complib.partition(":")[0]

    @property
    def shuffles_apart(self) -> bool:
        """Whether shuffling is a step of its own, before encoding."""
        return self.shuffle == "byte" and self.family != "blosc"

    @property
    def needs_size(self) -> bool:
        """Whether the decoder must be given `out`: the encoded bytes do not say their size."""
        return self.family == "lzf"

    def skipped_filters(self, encoded_size_bytes: int, size_bytes: int) -> int:
        """HDF5's filter mask of a chunk: lzf leaves those as they are that it cannot shorten."""
        if self.family == "lzf" and encoded_size_bytes == size_bytes:
            return 2 if self.shuffles_apart else 1
        return 0

    def encoder(self, itemsize: int, *, gzip_framing: bool = False) -> Encode:
        """The function that encodes a chunk of items of `itemsize` bytes.

        With `gzip_framing`, codec gzip makes gzip files, as Zarr has them, and not zlib streams.
        """
        return _encoder(self, itemsize, gzip_framing)

    def decoder(self, itemsize: int) -> Decode | None:
        """The function that decodes a chunk, to bytes or into `out`; None for no codec.

        `out` is a writable buffer of exactly the decoded size. It raises one of `DECODE_ERRORS`
        when the bytes cannot be decoded.
        """
        return _decoder(self.family, itemsize if self.shuffles_apart else 1)


NONE = Codec()


@cache
def _encoder(codec: Codec, itemsize: int, gzip_framing: bool) -> Encode:
    encode = _bare_encoder(codec, itemsize, gzip_framing)
    if codec.shuffles_apart and itemsize > 1:
        return lambda chunk: encode(_shuffled(chunk, itemsize))
    return encode


def _bare_encoder(codec: Codec, itemsize: int, gzip_framing: bool) -> Encode:
    family, _, name = codec.complib.partition(":")
    if family == "none":
        return bytes
    if family == "gzip":
        window = 31 if gzip_framing else 15
        return lambda chunk: zlib.compress(chunk, codec.complevel, window)
    if family == "lzf":
        return lzf.compress
    numcodecs = _numcodecs(codec.complib)
    if family == "zstd":
        return lambda chunk: bytes(numcodecs.zstd.compress(chunk, codec.complevel))
    blosc = numcodecs.blosc
    blosc.use_threads = False  # samples are encoded side by side, not split
    shuffle = SHUFFLES.index(codec.shuffle)
    compressor = name.encode()
    typesize = min(itemsize, 255)  # blosc stores it in one byte
    return lambda chunk: bytes(
        blosc.compress(chunk, compressor, codec.complevel, shuffle, 0, typesize)
    )


@cache
def _decoder(family: str, itemsize: int) -> Decode | None:
    decode = _bare_decoder(family)
    if decode is None or itemsize == 1:
        return decode

    def unshuffling(data: bytes, out: Any = None) -> Any:
        if out is None:
            return _unshuffled(decode(data), itemsize)
        shuffled = np.empty(memoryview(out).nbytes, np.uint8)
        decode(data, shuffled)
        memoryview(out).cast("B")[:] = _unshuffled(shuffled, itemsize)
        return out

    return unshuffling


def _bare_decoder(family: str) -> Decode | None:
    if family == "none":
        return None
    if family == "gzip":
        return _inflate
    if family == "lzf":
        return lzf.decompress
    numcodecs = _numcodecs(family)
    if family == "zstd":
        return numcodecs.zstd.decompress  # type: ignore[no-any-return]
    numcodecs.blosc.use_threads = False
    decompress = numcodecs.blosc.decompress

    def unblosc(data: bytes, out: Any = None) -> Any:
        # blosc believes its header, and crashed the process on one that a flipped bit made claim
        # more bytes than there are (numcodecs 0.16.6).
        size, encoded_size = data[4:8], data[12:16]
        if int.from_bytes(encoded_size, "little") != (len(data) or -1) or size[3] & 0x80:
            raise ValueError("the blosc header does not fit its chunk")
        return decompress(data, out)

    return unblosc


def _numcodecs(complib: str) -> Any:
    """The library of the blosc family and zstd."""
    try:
        import numcodecs.blosc
        import numcodecs.zstd
    except ImportError as error:
        raise StateError(
            f"codec {complib} needs the numcodecs package: pip install numcodecs"
        ) from error
    return numcodecs


def _inflate(data: bytes, out: Any = None) -> Any:
    inflater = zlib.decompressobj(47)  # of either framing
    if out is None:
        decoded = inflater.decompress(data)
    else:
        target = memoryview(out).cast("B")
        # No more than is expected, so that a few bytes cannot fill the memory.
        decoded = inflater.decompress(data, target.nbytes + 1)
        target[:] = decoded
    if not inflater.eof:
        raise ValueError("the stream is cut off, or longer than it should be")
    return decoded


def _shuffled(chunk: bytes, itemsize: int) -> bytes:
    """First bytes of all items, then all second bytes, and so on, as HDF5's filter has them."""
    return np.frombuffer(chunk, np.uint8).reshape(-1, itemsize).T.tobytes()


def _unshuffled(chunk: Any, itemsize: int) -> bytes:
    return np.frombuffer(chunk, np.uint8).reshape(itemsize, -1).T.tobytes()
