"""The schema of an arrayset: what its samples look like and how its records are laid out.

Committed as ``.hangar/arraysets/<name>/schema.json``, canonical JSON on one line, so that edits of
both sides of a merge conflict. Normative text: docs/format.md, "Schema".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from .dtypes import canonical, canonical_json, dtype_from_json, dtype_to_json
from .errors import FormatError, InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY_HASH = "blake3-64"
DIGEST = "blake3-256"
FANOUTS = (16, 256, 4096, 65536)
KINDS = ("array", "str", "bytes")
MERGE_POLICIES = ("ours", "theirs", "fail", "newest")
MAX_RANK = 31
MAX_TEXT_BYTES = 2**63 - 1
"""What a schema of kind str or bytes says of the size of its samples: that it is not limited."""

_REQUIRED = frozenset(
    ["kind", "dtype", "shape", "variable_shape", "named_samples", "fanout", "key_hash", "digest"]
)
_OPTIONAL = frozenset(["backend", "backend_opts", "merge", "nested"])
_JSON_TYPES = {int: "integer", str: "string", dict: "object"}


@dataclass(frozen=True)
class Schema:
    """What every sample of one arrayset looks like, and the layout of its record files.

    Parameters
    ----------
    dtype
        Canonical dtype of the samples (`dtypes.canonical`).
    shape
        Shape of every sample or, if `variable_shape`, the largest allowed size of each dimension.
    variable_shape, named_samples
        As `Arraysets.init_arrayset` documents them.
    fanout
        Number of record files: 16, 256, 4096 or 65536.
    backend, backend_opts
        Hints for the store: format code and codec options; None lets the store choose.
    merge
        Merge policy, or None.
    nested
        Whether samples have two keys, an outer and an inner one.
    extra
        Unknown ``x-...`` fields, kept as they are.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    variable_shape: bool = False
    named_samples: bool = True
    fanout: int = FANOUTS[0]
    kind: str = "array"
    backend: str | None = None
    backend_opts: Mapping[str, Any] | None = None
    merge: str | None = None
    nested: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The one line that is committed, without its newline."""
        fields: dict[str, Any] = {
            "kind": self.kind,
            "dtype": dtype_to_json(self.dtype),
            "shape": list(self.shape),
            "variable_shape": self.variable_shape,
            "named_samples": self.named_samples,
            "fanout": self.fanout,
            "key_hash": KEY_HASH,
            "digest": DIGEST,
            **self.extra,
        }
        for name in sorted(_OPTIONAL):
            if (value := getattr(self, name)) not in (None, False):
                fields[name] = value
        return canonical_json(fields)

    @classmethod
    def from_json(cls, text: str, where: str) -> Schema:
        """Parse a committed schema; `where` names the file in errors.

        Raises
        ------
        FormatError
            Malformed, an unknown field that is not ``x-...``, or a value this version
            does not know.
        """
        try:
            return cls._parse(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise FormatError(f"{where}: line 1: {error}") from error

    @classmethod
    def _parse(cls, text: str) -> Schema:
        if text.count("\n") != 1 or not text.endswith("\n"):
            raise ValueError("a schema is one line")
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("a schema is a JSON object")
        if missing := _REQUIRED - fields.keys():
            raise ValueError(f"missing field {min(missing)!r}")
        extra = {name: fields[name] for name in fields if name.startswith("x-")}
        if unknown := fields.keys() - _REQUIRED - _OPTIONAL - extra.keys():
            raise ValueError(f"unknown field {min(unknown)!r}")
        _check_values(fields)
        schema = cls(
            dtype=dtype_from_json(fields["dtype"]),
            shape=checked_shape(fields["shape"]),
            variable_shape=fields["variable_shape"],
            named_samples=fields["named_samples"],
            fanout=fields["fanout"],
            kind=fields["kind"],
            backend=fields.get("backend"),
            backend_opts=fields.get("backend_opts"),
            merge=fields.get("merge"),
            nested=fields.get("nested", False),
            extra=extra,
        )
        if schema.to_json() != text[:-1]:
            raise ValueError("not in canonical form")
        return schema

    def tag(self, name: str) -> str:
        """8 hex digits that begin every record line of arrayset `name`.

        Files of two arraysets, or of two incompatible schemas, thus share no line, so that no text
        merge can take lines of one for lines of the other.
        """
        shape_rule = "variable" if self.variable_shape else list(self.shape)
        identity = [name, self.kind, dtype_to_json(self.dtype), self.rank, shape_rule, DIGEST]
        if self.nested:
            identity.append("nested")
        return blake3(canonical_json(identity).encode()).hexdigest(4)

    @property
    def rank(self) -> int:
        """Number of dimensions of every sample."""
        return len(self.shape)

    @cached_property
    def hash(self) -> str:
        """12 hex digits that tell two schemas apart (for people)."""
        return blake3(replace(self, fanout=FANOUTS[0]).to_json().encode()).hexdigest(6)

    def accept(self, data: object, arrayset: str, sample: object) -> NDArray[Any]:
        """`data` as this schema stores it: the same array, or its little-endian equal.

        A str or bytes becomes the array of its bytes.

        Raises
        ------
        InvalidInputError
            Not an ndarray, or of another dtype, rank, shape or memory order than declared; for
            kinds str and bytes not that, or a str with lone surrogates.
        """
        import numpy as np

        if self.kind != "array":
            return self._accept_text(data, arrayset, sample)
        if not isinstance(data, np.ndarray):
            raise InvalidInputError(
                f"arrayset {arrayset!r} takes numpy.ndarray, got {type(data).__name__}"
                f" for sample {sample!r}"
            )
        if isinstance(data, np.ma.MaskedArray):
            raise InvalidInputError(
                f"arrayset {arrayset!r} cannot keep the mask of sample {sample!r}: pass"
                f" data.filled(VALUE)"
            )
        if data.dtype != self.dtype:
            data = self._converted(data, arrayset, sample)
        if data.shape != self.shape and not self._shape_fits(data.shape):
            rule = "shapes up to" if self.variable_shape else "shape"
            hint = "" if self.variable_shape else "; declare it variable-shape to allow that"
            raise InvalidInputError(
                f"arrayset {arrayset!r} takes {rule} {self.shape}, got {data.shape}"
                f" for sample {sample!r}{hint}"
            )
        if not data.flags.c_contiguous:
            raise InvalidInputError(
                f"arrayset {arrayset!r} takes C-contiguous arrays; sample {sample!r} is not:"
                f" pass numpy.ascontiguousarray(data)"
            )
        return data

    def accept_all(
        self, data: Sequence[object] | NDArray[Any], arrayset: str, samples: Sequence[object]
    ) -> list[NDArray[Any]]:
        """`accept` of many samples: a list of them, or an array stacked along its first axis."""
        import numpy as np

        if (
            type(data) is np.ndarray
            and data.dtype == self.dtype
            and data.shape[1:] == self.shape
            and data.flags.c_contiguous
            and self.shape
        ):
            return list(data)
        if isinstance(data, np.ndarray):
            data = [data[at, ...] for at in range(len(data))]  # 0-d samples stay arrays
        return [
            self.accept(one, arrayset, sample) for one, sample in zip(data, samples, strict=True)
        ]

    def _accept_text(self, data: object, arrayset: str, sample: object) -> NDArray[Any]:
        import numpy as np

        if self.kind == "str" and isinstance(data, str):
            try:
                raw = data.encode()
            except UnicodeEncodeError as error:
                raise InvalidInputError(
                    f"sample {sample!r} of arrayset {arrayset!r} is no Unicode text: {error}"
                ) from error
        elif self.kind == "bytes" and isinstance(data, bytes | bytearray | memoryview):
            raw = bytes(data)
        else:
            raise InvalidInputError(
                f"arrayset {arrayset!r} takes {self.kind}, got {type(data).__name__}"
                f" for sample {sample!r}"
            )
        return np.frombuffer(raw, np.uint8)

    def value(self, array: NDArray[Any]) -> Any:
        """What users get for a stored sample: the array itself, or the str or bytes it holds."""
        if self.kind == "array":
            return array
        raw = array.tobytes()
        return raw.decode() if self.kind == "str" else raw

    def _converted(self, data: NDArray[Any], arrayset: str, sample: object) -> NDArray[Any]:
        try:
            same = canonical(data.dtype) == self.dtype
        except InvalidInputError:
            same = False
        if not same:
            raise InvalidInputError(
                f"arrayset {arrayset!r} takes dtype {self.dtype}, got {data.dtype}"
                f" for sample {sample!r}"
            )
        return data.astype(self.dtype, order="K")

    def _shape_fits(self, shape: tuple[int, ...]) -> bool:
        return (
            self.variable_shape
            and len(shape) == self.rank
            and all(0 < size <= limit for size, limit in zip(shape, self.shape, strict=True))
        )


def _check_values(fields: Mapping[str, Any]) -> None:
    """Raise ValueError for a value of the wrong type, or that this version does not know."""
    for name, known in (
        ("kind", KINDS),
        ("key_hash", (KEY_HASH,)),
        ("digest", (DIGEST,)),
        ("fanout", FANOUTS),
        ("merge", (None, *MERGE_POLICIES)),
    ):
        if fields.get(name) not in known:
            raise ValueError(f"{name} {fields.get(name)!r} is not one this version knows")
    for name in ("variable_shape", "named_samples"):
        if not isinstance(fields[name], bool):
            raise ValueError(f"{name} must be true or false")
    if fields.get("nested", True) is not True:
        raise ValueError("nested is true or absent")
    if fields["kind"] != "array" and (
        (fields["dtype"], fields["shape"], fields["variable_shape"])
        != ("|u1", [MAX_TEXT_BYTES], True)
    ):
        raise ValueError(f"the dtype and shape of kind {fields['kind']!r} are always the same")
    for name, kind in (("fanout", int), ("backend", str), ("backend_opts", dict)):
        if name in fields and type(fields[name]) is not kind:
            raise ValueError(f"{name} must be of JSON type {_JSON_TYPES[kind]}")


def checked_shape(shape: object) -> tuple[int, ...]:
    """`shape` as a tuple of sizes.

    Raises
    ------
    InvalidInputError
        Not an int or a sequence of ints, over 31 dimensions, or a dimension that is not positive.
    """
    sizes = (shape,) if isinstance(shape, Integral) else shape
    if not isinstance(sizes, list | tuple) or not all(
        isinstance(size, Integral) and not isinstance(size, bool) for size in sizes
    ):
        raise InvalidInputError(f"shape must be an int or a tuple of ints, got {shape!r}")
    if len(sizes) > MAX_RANK:
        raise InvalidInputError(f"samples have at most {MAX_RANK} dimensions, got {len(sizes)}")
    if any(size <= 0 for size in sizes):
        raise InvalidInputError(f"every dimension must be at least 1, got shape {tuple(sizes)}")
    return tuple(int(size) for size in sizes)


def new_schema(
    shape: object,
    dtype: object,
    prototype: object,
    *,
    named_samples: bool,
    variable_shape: bool,
    kind: str = "array",
    nested: bool = False,
) -> Schema:
    """The schema that `init_arrayset`'s arguments ask for.

    Raises
    ------
    InvalidInputError
        Neither a prototype nor both shape and dtype; a prototype that is not C-contiguous; a shape
        or dtype that cannot be stored.
    """
    import numpy as np

    if kind not in KINDS:
        raise InvalidInputError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    if kind != "array":
        if not (shape is dtype is prototype is None):
            raise InvalidInputError(f"kind {kind!r} takes no shape, dtype or prototype")
        return Schema(np.dtype("u1"), (MAX_TEXT_BYTES,), True, bool(named_samples), kind=kind,
                      nested=bool(nested))  # fmt: skip
    if prototype is not None:
        if shape is not None or dtype is not None:
            raise InvalidInputError("give either a prototype, or shape and dtype, not both")
        if not isinstance(prototype, np.ndarray):
            raise InvalidInputError(
                f"prototype must be a numpy.ndarray, got {type(prototype).__name__}"
            )
        if not prototype.flags.c_contiguous:
            raise InvalidInputError("prototype must be a C-contiguous array")
        shape, dtype = prototype.shape, prototype.dtype
    elif shape is None or dtype is None:
        raise InvalidInputError("shape and dtype are both required when there is no prototype")
    try:
        wanted: np.dtype[Any] = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError as error:
        raise InvalidInputError(f"dtype {dtype!r} is not a numpy dtype") from error
    return Schema(
        dtype=canonical(wanted),
        shape=checked_shape(shape),
        variable_shape=bool(variable_shape),
        named_samples=bool(named_samples),
        nested=bool(nested),
    )
