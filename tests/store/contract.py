"""What every backend must do: one suite, which a backend's test file only fills in.

A backend's class gives its constructor, and source by which stock libraries read its containers
without this package, so that matching bugs of our writing and our reading cannot cancel. Bytes in
files are read and changed by this suite itself.
"""

from __future__ import annotations

import pickle
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import google_crc32c
import numpy as np
import pytest
from blake3 import blake3
from numcodecs import blosc, zstd
from processes import in_child
from xxhash import xxh3_64_intdigest

from hangar_git.errors import IntegrityError
from hangar_git.schema import Schema
from hangar_git.store.codec import BLOSC_COMPRESSORS, NONE, Codec
from hangar_git.store.container import Backend, ContainerSpec, Group, PagedGroup
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
    Codec.parse({"complib": complib, "shuffle": shuffle})
    for complib in ("none", "zstd", "gzip", *(f"blosc:{name}" for name in BLOSC_COMPRESSORS))
    for shuffle in (("none",) if complib == "none" else ("none", "byte"))
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


def encoded(codec: Codec, itemsize: int, chunk: bytes, gzip_window: int = 15) -> bytes:
    """A chunk encoded by the codec's own library."""
    family, _, name = codec.complib.partition(":")
    if codec.shuffle == "byte" and family != "blosc":
        chunk = b"".join(chunk[i::itemsize] for i in range(itemsize))
    if family == "none":
        return chunk
    if family == "gzip":
        return zlib.compress(chunk, codec.complevel, gzip_window)
    if family == "zstd":
        return bytes(zstd.compress(chunk, codec.complevel))
    shuffle = ("none", "byte", "bit").index(codec.shuffle)
    return bytes(blosc.compress(chunk, name.encode(), codec.complevel, shuffle, 0, itemsize))


def group_of(samples: list[np.ndarray], per_chunk: int = 1, codec: Codec = NONE) -> Group:
    """A group of one shape as a writer would make it, by other means."""
    size, itemsize = samples[0].nbytes, samples[0].dtype.itemsize
    data = [sample.tobytes() for sample in samples]
    chunks = [b"".join(data[i : i + per_chunk]) for i in range(0, len(data), per_chunk)]
    chunks[-1] = chunks[-1].ljust(size * per_chunk, b"\0")
    return Group(
        samples[0].shape,
        per_chunk,
        [encoded(codec, itemsize, chunk) for chunk in chunks],
        *_names(data),
    )


def pages_of(samples: list[np.ndarray], page: int, codec: Codec = NONE) -> PagedGroup:
    """A group of pages of `page` elements, or with 0 of no pages."""
    data = [sample.tobytes() for sample in samples]
    itemsize = samples[0].dtype.itemsize
    chunks, starts = ([b""] if page else list(data)), []
    for row in data:
        if page and len(chunks[-1]) + len(row) > page * itemsize:
            chunks.append(b"")
        before = (len(chunks) - 1) * page + len(chunks[-1]) // itemsize
        starts.append(before if page else sum(s.size for s in samples[: len(starts)]))
        if page:
            chunks[-1] += row
    if page:
        chunks = [encoded(codec, itemsize, c.ljust(page * itemsize, b"\0")) for c in chunks]
    shapes = [sample.shape for sample in samples]
    return PagedGroup((page,), 1, chunks, *_names(data), starts, shapes)


def shards_of(samples: list[np.ndarray], codec: Codec = NONE) -> Group:
    """A group of shards, each of one chunk, as Zarr's specification has them."""
    data = [sample.tobytes() for sample in samples]
    shards = []
    for row in data:
        chunk = encoded(codec, samples[0].dtype.itemsize, row, 31)
        chunk += google_crc32c.value(chunk).to_bytes(4, "little")
        index = struct.pack("<QQ", 0, len(chunk))
        shards.append(chunk + index + google_crc32c.value(index).to_bytes(4, "little"))
    return Group(samples[0].shape, 1, shards, *_names(data))


def _names(data: list[bytes]) -> tuple[list[bytes], list[int]]:
    return [blake3(row).digest() for row in data], [xxh3_64_intdigest(row) for row in data]


def rows_of(group: Group, itemsize: int) -> list[tuple]:
    """Of each sample: digest, checksum, shape, encoded chunk, place in the decoded chunk."""
    rows = []
    for i, (digest, checksum) in enumerate(zip(group.digests, group.checksums, strict=True)):
        if not isinstance(group, PagedGroup):
            size = int(np.prod(group.shape)) * itemsize
            chunk, place = divmod(i, group.samples_per_chunk)
            rows.append((digest, checksum, group.shape, group.chunks[chunk], place * size))
        elif group.shape == (0,):
            rows.append((digest, checksum, group.shapes[i], group.chunks[i], 0))
        else:
            chunk, place = divmod(group.starts[i], group.shape[0])
            rows.append((digest, checksum, group.shapes[i], group.chunks[chunk], place * itemsize))
    return rows


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """`data` with one bit changed."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


class BackendContract:
    """Subclass as ``TestSomething``, and fill in."""

    backend: ClassVar[Backend]
    variable_shape: ClassVar[bool] = False
    """Whether a container holds groups of several shapes."""
    compresses: ClassVar[bool] = True
    many: ClassVar[int] = 5000
    """Number of samples that is many."""
    only_through_the_store: ClassVar[list[Codec]] = []
    """Codecs that no library but the container's own encodes."""
    stock_reader: ClassVar[str]
    """Source of ``read(path)``: a list of samples for each group, in the order of its table; of the
    samples' dtype or as many bytes."""

    # -- helpers -------------------------------------------------------------------------------

    @pytest.fixture
    def path(self, tmp_path) -> Path:
        return tmp_path / f"container{self.backend.suffix}"

    def at(self, path: Path, name: object) -> Path:
        return path.with_name(f"{name}{self.backend.suffix}")

    def spec(self, samples: Sequence[np.ndarray], codec: Codec = NONE) -> ContainerSpec:
        """The description of a container of such samples."""
        return ContainerSpec(self.backend.code, "array", samples[0].dtype, codec)

    def groups(
        self, samples: list[np.ndarray], per_chunk: int = 1, codec: Codec = NONE
    ) -> list[Group]:
        """Samples, all of one shape unless `variable_shape`, as groups."""
        return [group_of(samples, per_chunk, codec)]

    def write(self, path: Path, spec: ContainerSpec, groups: Sequence[Group]) -> None:
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

    def check_scan(self, path: Path, spec: ContainerSpec, groups: Sequence[Group]) -> None:
        """What scanning gives is what was written, and chunks are where it says."""
        found_spec, found = self.backend.scan(path)
        assert found_spec == spec
        data = path.read_bytes()
        assert len(found) == len(groups)
        rows = []
        for stored in found:
            for i, chunk in enumerate(stored.chunks.tolist()):
                at, length = int(stored.offsets[chunk]), int(stored.lengths[chunk])
                rows.append(
                    (
                        bytes(stored.digests[i]),
                        int(stored.checksums[i]),
                        tuple(stored.shapes[i].tolist()),
                        data[at : at + length],
                        int(stored.places[i]),
                    )
                )
        itemsize = spec.dtype.itemsize
        assert sorted(rows) == sorted(row for g in groups for row in rows_of(g, itemsize))

    def check_samples(
        self, path: Path, samples: list[np.ndarray], per_chunk: int = 1, codec: Codec = NONE
    ) -> None:
        spec = self.spec(samples, codec)
        groups = self.groups(samples, per_chunk, codec)
        self.write(path, spec, groups)
        self.check_scan(path, spec, groups)

    def read_stock(self, *paths: Path) -> list[list[list[bytes]]]:
        """What stock libraries read from containers, in a process that cannot import us."""
        out = paths[0].parent / "stock"
        out.mkdir()
        source = f"""
import sys
sys.modules["hangar_git"] = None
import pickle
import numpy as np
{self.stock_reader}
out, *paths = sys.argv[1:]
found = []
for path in paths:
    groups = read(path)
    found.append([[np.ascontiguousarray(sample).tobytes() for sample in g] for g in groups])
pickle.dump(found, open(f"{{out}}/found", "wb"))
"""
        subprocess.run([sys.executable, "-I", "-W", "error", "-c", source, out, *paths], check=True)
        read: list[list[list[bytes]]] = pickle.loads((out / "found").read_bytes())
        return read

    # -- containers ----------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_a_container_of_any_dtype_holds_what_was_written(self, dtype, path):
        for number, shape in enumerate([(), (2, 3)]):
            self.check_samples(self.at(path, number), samples_of(dtype, shape, 4))

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_a_container_of_any_shape_holds_what_was_written(self, shape, path):
        self.check_samples(path, samples_of(np.dtype("<f4"), shape, 3))

    def test_chunks_may_be_filled_exactly_or_not(self, path):
        samples = samples_of(np.dtype("<u2"), (5, 2), 12)
        for number, per_chunk in enumerate(self.per_chunk()):
            for other, codec in enumerate(self.codecs()):
                self.check_samples(self.at(path, f"{number}-{other}"), samples, per_chunk, codec)

    def test_a_container_may_hold_one_sample(self, path):
        self.check_samples(path, samples_of(np.dtype("u1"), (1,), 1))

    def test_a_container_may_hold_many_chunks(self, path):
        self.check_samples(path, samples_of(np.dtype("u1"), (4,), self.many))

    def test_several_shapes_keep_apart(self, path):
        if not self.variable_shape:
            pytest.skip("one shape a container")
        shapes = [(28, 31), (2, 8), (28, 3), (3, 28), (11, 1), (1, 11)]
        samples = [
            sample
            for n, shape in enumerate(shapes, 2)
            for sample in samples_of(np.dtype("<i4"), shape, n)
        ]
        self.check_samples(path, samples)

    def test_a_scan_finds_every_change_of_the_table(self, path):
        """One bit anywhere outside the samples is found, or makes no difference."""
        samples = samples_of(np.dtype("<i4"), (5, 3), 9)
        spec, groups = self.spec(samples), self.groups(samples)
        self.write(path, spec, groups)
        data = path.read_bytes()
        _, scanned = self.backend.scan(path)
        inside = {
            byte
            for stored in scanned
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
        samples = samples_of(np.dtype("<i4"), (5, 3), 9)
        self.write(path, self.spec(samples), self.groups(samples))
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
        samples = samples_of(np.dtype("<i4"), (5, 3), 2)
        spec, groups = self.spec(samples), self.groups(samples)
        self.write(path, replace(spec, backend="zz"), groups)
        with pytest.raises(IntegrityError, match="a container of backend 'zz'"):
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
        writer = store.writer(schema)
        half = len(samples) // 2
        digests = [*(writer.put(sample) for sample in samples[:half])]
        digests += writer.put_many(samples[half:])
        store.flush()
        store.close()
        fresh = Store(root, writable=False)
        for digest, sample in zip(digests, samples, strict=True):
            read = fresh.get(digest, schema.dtype, sample.shape)
            assert read.tobytes() == sample.tobytes()
            assert (read.dtype, read.shape) == (sample.dtype, sample.shape)
            assert read.flags.c_contiguous
            assert read.flags.writeable
            assert not np.shares_memory(read, fresh.get(digest, schema.dtype, sample.shape))
        many = fresh.get_many(digests, schema.dtype, [sample.shape for sample in samples], 2)
        assert [read.tobytes() for read in many] == [sample.tobytes() for sample in samples]
        assert all(read.flags.writeable and read.flags.c_contiguous for read in many)
        if len({sample.shape for sample in samples}) == 1:
            stacked = fresh.get_stacked(digests, schema.dtype, samples[0].shape)
            assert stacked.tobytes() == b"".join(sample.tobytes() for sample in samples)
            assert stacked.shape == (len(samples), *samples[0].shape)
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
            paths.append(self.at(path, number))
            self.write(paths[-1], self.spec(samples), self.groups(samples))
            written.append([sample.tobytes() for sample in samples])
        for expected, read in zip(written, self.read_stock(*paths), strict=True):
            assert [sample for group in read for sample in group] == expected

    def test_stock_libraries_read_every_shape_and_codec(self, path):
        paths, written = [], []
        for codec in self.codecs():
            for per_chunk in self.per_chunk()[:2]:
                for shape in SHAPES:
                    samples = samples_of(np.dtype("<i4"), shape, 4)
                    paths.append(self.at(path, len(paths)))
                    groups = self.groups(samples, per_chunk, codec)
                    self.write(paths[-1], self.spec(samples, codec), groups)
                    written.append([sample.tobytes() for sample in samples])
        for expected, read in zip(written, self.read_stock(*paths), strict=True):
            assert [sample for group in read for sample in group] == expected

    def test_stock_libraries_read_what_the_store_wrote(self, tmp_path):
        for codec in [None, *self.codecs(), *self.only_through_the_store]:
            root = tmp_path / str(codec)
            schema = self.schema(np.dtype("<f8"), (30, 6), codec)
            store = Store(root, writable=True)
            samples = samples_of(schema.dtype, (30, 6), 21)
            samples += [np.zeros((30, 6)), np.arange(180.0).reshape(30, 6)]
            for sample in samples:
                store.writer(schema).put(sample)
            store.flush()
            (container,) = (root / "containers").iterdir()
            (read,) = self.read_stock(container)
            assert [s for g in read for s in g] == [sample.tobytes() for sample in samples]
