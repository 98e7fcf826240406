"""What every backend must do: one suite, which a backend's test file only fills in.

A backend's class gives its constructor, and source by which stock libraries read its containers
without this package, so that matching bugs of our writing and our reading cannot cancel. Bytes in
files are read and changed by this suite itself.
"""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from blake3 import blake3
from numcodecs import blosc, zstd
from processes import in_child
from xxhash import xxh3_64_intdigest

from hangar_git.errors import IntegrityError
from hangar_git.schema import Schema
from hangar_git.store.codec import BLOSC_COMPRESSORS, NONE, Codec
from hangar_git.store.container import Backend, ContainerSpec, Group
from hangar_git.store.store import Store

DTYPES = [
    np.dtype(d)
    for d in (
        "?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8",
        "<c16", "<M8[s]", "<M8[ns]", "<M8[25us]", "<m8[D]", "<m8[ps]", "S1", "S5", "<U1", "<U3",
        "V1", "V7",
        [("a", "<i2"), ("b", "<f4", (2,))],
        [("outer", [("inner", "<U2"), ("when", "<M8[ms]")], (2, 2)), ("flag", "?")],
        [("größe", "u1"), ("名前", "S3")],
    )
]  # fmt: skip
SHAPES = [(), (1,), (7,), (2, 3), (3, 1, 4), (1,) * 31, (64, 64), (3, 5000)]
CODECS = [
    Codec.parse({"complib": complib})
    for complib in ("none", "zstd", "gzip", *(f"blosc:{name}" for name in BLOSC_COMPRESSORS))
]


def samples_of(dtype: np.dtype, shape: tuple[int, ...], n: int, seed: int = 0) -> list[np.ndarray]:
    """`n` different samples of bytes that are valid in `dtype`, NaNs and NaTs among them."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "U":
        return [
            rng.choice(np.array(["", "a", "né", "日本語"], dtype), shape).reshape(shape)
            for _ in range(n)
        ]
    size = int(np.prod(shape)) * dtype.itemsize
    raw = [rng.integers(0, 2 if dtype.kind == "?" else 256, size, np.uint8) for _ in range(n)]
    if dtype.kind == "?":
        return [row.view("?").reshape(shape) for row in raw]
    if dtype.names:  # text and truth values inside take few bytes
        raw = [np.zeros_like(row) if i % 2 else row & 1 for i, row in enumerate(raw)]
    return [row.view(dtype).reshape(shape) for row in raw]


def encoded(codec: Codec, itemsize: int, chunk: bytes) -> bytes:
    """A chunk encoded by the codec's own library."""
    family, _, name = codec.complib.partition(":")
    if family == "none":
        return chunk
    if family == "gzip":
        return zlib.compress(chunk, codec.complevel)
    if family == "zstd":
        return bytes(zstd.compress(chunk, codec.complevel))
    shuffle = ("none", "byte", "bit").index(codec.shuffle)
    return bytes(blosc.compress(chunk, name.encode(), codec.complevel, shuffle, 0, itemsize))


def group_of(samples: list[np.ndarray], per_chunk: int = 1, codec: Codec = NONE) -> Group:
    """A group as a writer would make it, by other means."""
    size, itemsize = samples[0].nbytes, samples[0].dtype.itemsize
    data = [sample.tobytes() for sample in samples]
    chunks = [b"".join(data[i : i + per_chunk]) for i in range(0, len(data), per_chunk)]
    chunks[-1] = chunks[-1].ljust(size * per_chunk, b"\0")
    return Group(
        samples[0].shape,
        per_chunk,
        [encoded(codec, itemsize, chunk) for chunk in chunks],
        [blake3(row).digest() for row in data],
        [xxh3_64_intdigest(row) for row in data],
    )


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """`data` with one bit changed."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


class BackendContract:
    """Subclass as ``TestSomething``, and fill in."""

    backend: ClassVar[Backend]
    variable_shape: ClassVar[bool] = False
    """Whether a container holds groups of several shapes."""
    compresses: ClassVar[bool] = True
    stock_reader: ClassVar[str]
    """Source of ``read(path)``: a list of arrays of shape (n, *sample shape), one a group, of the
    samples' dtype or as many bytes."""

    # -- helpers -------------------------------------------------------------------------------

    @pytest.fixture
    def path(self, tmp_path) -> Path:
        return tmp_path / f"container{self.backend.suffix}"

    def spec(self, dtype: np.dtype, codec: Codec = NONE) -> ContainerSpec:
        return ContainerSpec(self.backend.code, "array", dtype, codec)

    def write(self, path: Path, spec: ContainerSpec, groups: list[Group]) -> None:
        with path.open("w+b") as file:
            self.backend.write(file, spec, groups)

    def codecs(self) -> list[Codec]:
        return CODECS if self.compresses else [NONE]

    def per_chunk(self) -> list[int]:
        return [1, 3, 4, 5, 12] if self.compresses else [1]

    def schema(self, dtype: np.dtype, shape: tuple[int, ...], codec: Codec | None = None) -> Schema:
        return Schema(
            dtype,
            shape,
            variable_shape=self.variable_shape,
            backend=self.backend.code,
            backend_opts=codec and codec.to_json(),
        )

    def check_scan(self, path: Path, spec: ContainerSpec, groups: list[Group]) -> None:
        """What scanning gives is what was written, and chunks are where it says."""
        found_spec, found = self.backend.scan(path)
        assert found_spec == spec
        data = path.read_bytes()
        by_shape = {group.shape: group for group in found}
        assert len(by_shape) == len(found) == len(groups)
        for group in groups:
            stored = by_shape[group.shape]
            assert stored.samples_per_chunk == group.samples_per_chunk
            assert [bytes(row) for row in stored.digests] == group.digests
            assert stored.checksums.tolist() == group.checksums
            places = zip(stored.offsets.tolist(), stored.lengths.tolist(), strict=True)
            assert [data[at : at + length] for at, length in places] == group.chunks

    def read_stock(self, *paths: Path) -> list[list[np.ndarray]]:
        """What stock libraries read from containers, in a process that cannot import us."""
        out = paths[0].with_suffix(".stock")
        out.mkdir()
        source = f"""
import sys
sys.modules["hangar_git"] = None
import numpy as np
{self.stock_reader}
out, *paths = sys.argv[1:]
for number, path in enumerate(paths):
    for group, array in enumerate(read(path)):
        raw = np.ascontiguousarray(array)
        raw = raw.reshape(-1).view(f"V{{raw.dtype.itemsize}}").reshape(array.shape)
        np.save(f"{{out}}/{{number}}-{{group}}.npy", raw)
"""
        subprocess.run([sys.executable, "-I", "-W", "error", "-c", source, out, *paths], check=True)
        read: list[list[np.ndarray]] = [[] for _ in paths]
        for file in sorted(out.iterdir()):
            read[int(file.name.partition("-")[0])].append(np.load(file))
        return read

    # -- containers ----------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_a_container_of_any_dtype_holds_what_was_written(self, dtype, path):
        for number, shape in enumerate([(), (2, 3)]):
            groups, spec = [group_of(samples_of(dtype, shape, 4))], self.spec(dtype)
            at = path.with_stem(f"c{number}")
            self.write(at, spec, groups)
            self.check_scan(at, spec, groups)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_a_container_of_any_shape_holds_what_was_written(self, shape, path):
        spec = self.spec(np.dtype("<f4"))
        groups = [group_of(samples_of(spec.dtype, shape, 3))]
        self.write(path, spec, groups)
        self.check_scan(path, spec, groups)

    def test_chunks_may_be_filled_exactly_or_not(self, path):
        for per_chunk in self.per_chunk():
            for codec in self.codecs():
                at = path.with_stem(f"{per_chunk}-{codec.complib.replace(':', '-')}")
                spec = self.spec(np.dtype("<u2"), codec)
                groups = [group_of(samples_of(spec.dtype, (5, 2), 12), per_chunk, codec)]
                self.write(at, spec, groups)
                self.check_scan(at, spec, groups)

    def test_a_container_may_hold_one_sample(self, path):
        spec = self.spec(np.dtype("u1"))
        groups = [group_of(samples_of(spec.dtype, (1,), 1))]
        self.write(path, spec, groups)
        self.check_scan(path, spec, groups)

    def test_a_container_may_hold_many_chunks(self, path):
        spec = self.spec(np.dtype("u1"))
        groups = [group_of(samples_of(spec.dtype, (4,), 5000))]
        self.write(path, spec, groups)
        self.check_scan(path, spec, groups)

    def test_several_groups_keep_apart(self, path):
        if not self.variable_shape:
            pytest.skip("one shape a container")
        spec = self.spec(np.dtype("<i4"))
        shapes = [(28, 31), (2, 8), (28, 3), (3, 28), (11, 1), (1, 11)]
        groups = [
            group_of(samples_of(spec.dtype, shape, n), 2, NONE) for n, shape in enumerate(shapes, 2)
        ]
        self.write(path, spec, groups)
        self.check_scan(path, spec, groups)

    def test_a_scan_finds_every_change_of_the_table(self, path):
        """One bit anywhere outside the samples is found, or makes no difference."""
        spec = self.spec(np.dtype("<i4"))
        groups = [group_of(samples_of(spec.dtype, (5, 3), 9))]
        self.write(path, spec, groups)
        data = path.read_bytes()
        _, (stored,) = self.backend.scan(path)
        inside = {
            byte
            for at, length in zip(stored.offsets.tolist(), stored.lengths.tolist(), strict=True)
            for byte in range(at, at + length)
        }
        places = [at for at in range(len(data)) if at not in inside]
        rng = random.Random(1)
        places = rng.sample(places, min(len(places), 1200))

        def scan_all() -> int:
            found = 0
            for at in places:
                path.write_bytes(flipped(data, at, rng.randrange(8)))
                try:
                    self.check_scan(path, spec, groups)
                except IntegrityError as error:
                    assert str(path) in str(error)
                    assert error.where == str(path)
                    found += 1
            return found

        assert in_child(scan_all) > 300

    def test_a_scan_refuses_every_truncation_and_garbage(self, path):
        spec = self.spec(np.dtype("<i4"))
        self.write(path, spec, [group_of(samples_of(spec.dtype, (5, 3), 9))])
        data = path.read_bytes()
        rng = random.Random(2)
        bad = [data[: len(data) * part // 40] for part in range(40)] + [data[:-1]]
        bad += [rng.randbytes(5000), bytes(5000), data[:600] + rng.randbytes(len(data))]

        def scan_all() -> None:
            for content in bad:
                path.write_bytes(content)
                with pytest.raises(IntegrityError, match="is damaged"):
                    self.backend.scan(path)

        in_child(scan_all)

    def test_a_scan_refuses_the_container_of_another_backend_or_format(self, path, monkeypatch):
        spec = self.spec(np.dtype("<i4"))
        groups = [group_of(samples_of(spec.dtype, (5, 3), 2))]
        self.write(path, ContainerSpec("zz", "array", spec.dtype, NONE), groups)
        with pytest.raises(IntegrityError, match="not a container of backend"):
            self.backend.scan(path)
        with monkeypatch.context() as patch:
            patch.setattr("hangar_git.store.container.CONTAINER_FORMAT", 2)
            self.write(path, spec, groups)
        with pytest.raises(IntegrityError, match="format 1"):
            self.backend.scan(path)

    def test_scanning_a_file_that_is_not_there_is_one_of_our_errors(self, path):
        with pytest.raises(IntegrityError):
            self.backend.scan(path)

    # -- through the store ---------------------------------------------------------------------

    def check_round_trip(self, root: Path, schema: Schema, samples: list[np.ndarray]) -> None:
        store = Store(root, writable=True)
        digests = [store.writer(schema).put(sample) for sample in samples]
        store.flush()
        store.close()
        fresh = Store(root, writable=False)
        for digest, sample in zip(digests, samples, strict=True):
            read = fresh.get(digest, schema.dtype, sample.shape)
            assert read.tobytes() == sample.tobytes()
            assert (read.dtype, read.shape) == (sample.dtype, sample.shape)
            assert read.flags.c_contiguous
            assert read.flags.writeable
            assert read.flags.owndata
        fresh.close()

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_samples_of_any_dtype_are_read_as_put(self, dtype, tmp_path):
        for number, shape in enumerate([(), (2, 3), (40, 50)]):
            schema = self.schema(dtype, shape)
            samples = samples_of(dtype, shape, 3, seed=number)
            self.check_round_trip(tmp_path, schema, samples)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_samples_of_any_shape_are_read_as_put(self, shape, tmp_path):
        for codec in [None, *self.codecs()]:
            schema = self.schema(np.dtype("<f4"), shape, codec)
            samples = [*samples_of(schema.dtype, shape, 3), np.zeros(shape, "<f4")]
            self.check_round_trip(tmp_path, schema, samples)

    def test_any_number_of_samples_is_read_as_put(self, tmp_path):
        shape = (37, 41)  # 8 samples a chunk
        for n in (1, 7, 8, 9, 16, 17):
            schema = self.schema(np.dtype("u1"), shape)
            self.check_round_trip(tmp_path / str(n), schema, samples_of(schema.dtype, shape, n, n))

    # -- without us ----------------------------------------------------------------------------

    def test_stock_libraries_read_every_dtype(self, path):
        paths, written = [], []
        for number, dtype in enumerate(DTYPES):
            samples = samples_of(dtype, (2, 3), 4)
            paths.append(path.with_stem(f"{number}"))
            self.write(paths[-1], self.spec(dtype), [group_of(samples)])
            written.append(np.array(samples))
        for expected, (read,) in zip(written, self.read_stock(*paths), strict=True):
            assert read.shape == expected.shape
            assert read.dtype.itemsize == expected.dtype.itemsize
            assert read.tobytes() == expected.tobytes()

    def test_stock_libraries_read_every_shape_and_codec(self, path):
        paths, written = [], []
        dtype = np.dtype("<i4")
        for codec in self.codecs():
            for per_chunk in self.per_chunk()[:2]:
                for shape in SHAPES:
                    samples = samples_of(dtype, shape, 4)
                    paths.append(path.with_stem(f"{len(paths)}"))
                    group = group_of(samples, per_chunk, codec)
                    self.write(paths[-1], self.spec(dtype, codec), [group])
                    written.append(np.array(samples))
        for expected, (read,) in zip(written, self.read_stock(*paths), strict=True):
            np.testing.assert_array_equal(read.view(dtype).reshape(read.shape), expected)

    def test_stock_libraries_read_what_the_store_wrote(self, tmp_path):
        schema = self.schema(np.dtype("<f8"), (30, 6))
        store = Store(tmp_path, writable=True)
        samples = samples_of(schema.dtype, (30, 6), 21)
        for sample in samples:
            store.writer(schema).put(sample)
        store.flush()
        (container,) = (tmp_path / "containers").iterdir()
        ((read,),) = self.read_stock(container)
        assert read.tobytes() == np.array(samples).tobytes()
