"""Content digests: the one thing that record trees and the side store share.

A digest is BLAKE3-256 over ``hangar1 NUL kind NUL canonical-JSON [dtype, shape] NUL payload``,
never over compressed bytes. Normative text and test vectors: docs/format.md, "Digests".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from blake3 import blake3

from .dtypes import canonical_json, dtype_to_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Digest: TypeAlias = bytes
"""32 raw bytes; record files write them as 64 lowercase hex digits."""

DIGEST_SIZE_BYTES = 32


def digest_prefix(kind: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    r"""What is hashed before the payload of a sample of `kind`, `dtype` and `shape`.

    >>> import numpy as np
    >>> digest_prefix("array", np.dtype("u1"), (28, 28))
    b'hangar1\x00array\x00["|u1",[28,28]]\x00'
    """
    header = canonical_json([dtype_to_json(dtype), list(shape)])
    return b"\0".join([b"hangar1", kind.encode(), header.encode(), b""])


def array_digest(array: NDArray[Any]) -> Digest:
    """Digest of one array of any shape, whose dtype is canonical (see `dtypes.canonical`)."""
    hasher = blake3(digest_prefix("array", array.dtype, array.shape))
    hasher.update(array.tobytes())
    return hasher.digest()


__all__ = ["DIGEST_SIZE_BYTES", "Digest", "array_digest", "digest_prefix"]
