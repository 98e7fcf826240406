"""A reader of the committed and the local format, written from docs/format.md alone.

It shares no code with hangar_git, so that a mistake made both in writing and in reading is found.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import h5py
import hdf5plugin  # noqa: F401  # registers the HDF5 filters
import lmdb
import numcodecs.blosc
import numcodecs.zstd
import numpy as np
import zarr
from blake3 import blake3
from xxhash import xxh3_64_intdigest

ANCHOR_DIGITS = {16: 2, 256: 1, 4096: 0, 65536: 0}
PATHS = {
    16: lambda h: f"16/{h[0]}",
    256: lambda h: f"256/{h[:2]}",
    4096: lambda h: f"4096/{h[0]}/{h[1:3]}",
    65536: lambda h: f"65536/{h[:2]}/{h[2:4]}",
}
SUFFIXES = {"00": ".h5", "01": ".h5", "10": ".npy", "20": ".zarr.zip"}


def canonical_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def dtype_of(value):
    if isinstance(value, str):
        return np.dtype(value)
    return np.dtype([(name, dtype_of(base), tuple(sub)) for name, base, sub in value])


def digest_of(dtype_json, shape, payload, kind="array"):
    header = canonical_json([dtype_json, list(shape)]).encode()
    return blake3(b"hangar1\0" + kind.encode() + b"\0" + header + b"\0" + payload).hexdigest()


def key_hash(key_as_written):
    return blake3(key_as_written.encode()).digest(8).hex()


def tag_of(name, schema):
    rule = "variable" if schema["variable_shape"] else schema["shape"]
    hashed = [name, schema["kind"], schema["dtype"], len(schema["shape"]), rule, "blake3-256"]
    hashed += ["nested"] * schema.get("nested", False)
    return blake3(canonical_json(hashed).encode()).digest(4).hex()


def key_of(text):
    if "/" in text:
        return tuple(map(key_of, text.split("/")))
    return int(text[1:]) if text.startswith("#") else text


# -- part A: commits -------------------------------------------------------------------------------


class Record(NamedTuple):
    digest: str
    shape: tuple[int, ...]


def files_of(repository, commit):
    """Path below ``.hangar/`` -> content, of every file in a commit."""
    git = ["git", "-C", str(repository)]
    listed = subprocess.check_output([*git, "ls-tree", "-rz", commit, ".hangar/"])
    rows = [row.split(b"\t", 1) for row in listed.split(b"\0")[:-1]]
    oids = [what.split()[2] for what, _ in rows]
    found = subprocess.check_output([*git, "cat-file", "--batch"], input=b"\n".join(oids) + b"\n")
    files, at = {}, 0
    for (what, path), oid in zip(rows, oids, strict=True):
        end = found.index(b"\n", at)
        assert found[at:end].split()[:2] == [oid, b"blob"]
        assert what.split()[0] == b"100644"
        size = int(found[at:end].split()[2])
        files[path.decode().removeprefix(".hangar/")] = found[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return files


def read_commit(repository, commit):
    """``({arrayset: (schema, {key: Record})}, {metadata key: value})`` of a commit."""
    files = files_of(repository, commit)
    assert files.pop("config").decode() == "[hangar]\n\tformatVersion = 1\n"
    del files[".gitattributes"]
    arraysets, metadata = {}, {}
    for path in [path for path in files if path.startswith("metadata/")]:
        key, value = json.loads(line := files.pop(path))
        assert line.decode() == canonical_json([key, value]) + "\n"
        assert path == f"metadata/{f'#{key}' if isinstance(key, int) else key}.json"
        metadata[key] = value
    for path in [path for path in files if path.endswith("/schema.json")]:
        name = path.split("/")[1]
        schema = json.loads(line := files.pop(path))
        assert line.decode() == canonical_json(schema) + "\n"
        top = f"arraysets/{name}/records/"
        mine = {p.removeprefix(top): files.pop(p) for p in list(files) if p.startswith(top)}
        arraysets[name] = (schema, read_records(name, schema, mine))
    assert not files
    return arraysets, metadata


def read_records(name, schema, files):
    tag, fanout, dimensions = tag_of(name, schema), schema["fanout"], len(schema["shape"])
    digits = fanout.bit_length() // 4
    prefixes = [f"{number:0{digits}x}" for number in range(fanout)]
    assert sorted(files) == sorted(PATHS[fanout](prefix) for prefix in prefixes)
    records = {}
    for prefix in prefixes:
        text = files[PATHS[fanout](prefix)].decode()
        assert text.endswith("\n") or not text
        places, anchors = [], []
        for line in text.split("\n")[:-1]:
            first, key, *rest = line.split("\t")
            assert first == tag
            if key.startswith("@"):
                assert not rest
                anchors.append(key[1:])
                places.append((key[1:], ""))
                continue
            assert ("/" in key) == schema.get("nested", False)
            places.append((key_hash(key.partition("/")[0]), key))
            assert places[-1][0].startswith(prefix)
            assert key_of(key) not in records
            digest, *third = rest
            assert re.fullmatch("[0-9a-f]{64}", digest)
            assert len(third) == schema["variable_shape"]
            shape = schema["shape"]
            if third:
                shape = [int(size) for size in third[0].split(",") if size]
                assert len(shape) == dimensions
                assert all(map(int.__le__, shape, schema["shape"]))
            records[key_of(key)] = Record(digest, tuple(shape))
        more = ANCHOR_DIGITS[fanout]
        assert anchors == [f"{prefix}{n:0{more}x}" for n in range(16**more)] * bool(more)
        assert places == sorted(places)
    return records


# -- part B: containers ----------------------------------------------------------------------------


class Table(NamedTuple):
    """One group of a container: its header and columns, its samples' shapes and payloads."""

    header: list
    columns: dict[str, np.ndarray]
    shapes: list[tuple[int, ...]]
    payloads: list[bytes]


def scan_containers(hangar):
    """Digest -> ``(kind, dtype in JSON form, shape, payload)`` of every sample in a container."""
    found = {}
    for path in sorted((hangar / "containers").iterdir()):
        match = re.fullmatch(r"(00|01|10|20)-[0-9a-f]{16}(\.h5|\.npy|\.zarr\.zip)", path.name)
        if match is None or match[2] != SUFFIXES[match[1]]:
            continue
        scan = {"00": _scan_paged, "01": _scan_fixed, "10": _scan_npy, "20": _scan_zarr}[match[1]]
        spec, tables, expected = scan(path)
        fields = json.loads(spec)
        assert canonical_json(fields) == spec
        assert (fields["format"], fields["backend"]) == (1, match[1])
        assert ("chunks" in fields) == (match[1] == "20")
        parts = [spec.encode()]
        for table in tables:
            parts.append(canonical_json(table.header).encode())
            parts += [table.columns[name].tobytes() for name in sorted(table.columns)]
            digests, checksums = table.columns["digests"], table.columns["checksums"]
            for digest, checksum, shape, payload in zip(
                digests, checksums, table.shapes, table.payloads, strict=True
            ):
                assert xxh3_64_intdigest(payload) == checksum
                found[digest.tobytes().hex()] = fields["kind"], fields["dtype"], shape, payload
        assert xxh3_64_intdigest(b"\0".join(parts)) == expected
    return found


def _scan_fixed(path):
    with h5py.File(path) as file:
        assert set(file) == {"samples", "digests", "checksums"}
        per_chunk, *shape = file["samples"].chunks
        columns = {name: file[name][...] for name in ("digests", "checksums")}
        payloads = [row.tobytes() for row in file["samples"][...]]
        table = Table([shape, per_chunk], columns, [tuple(shape)] * len(payloads), payloads)
        return file.attrs["hangar"], [table], int(file.attrs["table_checksum"])


def _scan_paged(path):
    tables = []
    with h5py.File(path) as file:
        for name in sorted(file):
            group = file[name]
            samples = group["samples"]
            page = samples.chunks[0] if samples.chunks else 0
            assert name == str(page)
            names = {"checksums", "digests", "shapes", "starts"}
            assert set(group) == {"samples", *names}
            columns = {column: group[column][...] for column in names}
            shapes = [tuple(shape) for shape in columns["shapes"].tolist()]
            everything = samples[...]
            payloads = []
            for start, shape in zip(columns["starts"].tolist(), shapes, strict=True):
                size = int(np.prod(shape, dtype="i8"))
                assert not page or start // page == (start + max(size, 1) - 1) // page
                payloads.append(everything[start : start + size].tobytes())
            tables.append(Table([[page], 1], columns, shapes, payloads))
        return file.attrs["hangar"], tables, int(file.attrs["table_checksum"])


def _scan_npy(path):
    data = path.read_bytes()
    array = np.load(path)
    n, *shape = array.shape
    expected, size, magic = struct.unpack("<QQ8s", data[-24:])
    footer = data[-size:]
    assert magic == footer[:8] == b"HANGAR10"
    assert data[:-size].endswith(array.tobytes())
    table = footer[-24 - 40 * n : -24]
    spec, zero = footer[8 : -24 - 40 * n - 1], footer[-24 - 40 * n - 1]
    assert zero == 0
    assert dtype_of(json.loads(spec)["dtype"]) == array.dtype
    columns = {
        "digests": np.frombuffer(table[: 32 * n], "u1").reshape(n, 32),
        "checksums": np.frombuffer(table[32 * n :], "<u8"),
    }
    payloads = [row.tobytes() for row in array]
    return spec.decode(), [Table([shape, 1], columns, [tuple(shape)] * n, payloads)], expected


def _scan_zarr(path):
    root = zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r")
    tables = []
    spec = root.attrs["hangar"]
    native = dtype_of(json.loads(spec)["dtype"]).kind in "biufc"
    for name, group in sorted(root.groups()):
        assert set(group.array_keys()) == {"samples", "digests", "checksums"}
        n, *shape = group["samples"].shape
        if not native:
            shape.pop()
        assert name == ("x".join(map(str, shape)) or "scalar")
        columns = {column: group[column][...] for column in ("digests", "checksums")}
        payloads = [np.ascontiguousarray(row).tobytes() for row in group["samples"][...]]
        tables.append(Table([shape, 1], columns, [tuple(shape)] * n, payloads))
    return spec, tables, root.attrs["table_checksum"]


# -- part B: index ---------------------------------------------------------------------------------


def read_by_index(hangar, digest, size, shape):
    """The payload of ``size`` bytes that the index leads to."""
    with lmdb.open(str(hangar / "index"), max_dbs=2, readonly=True, lock=False) as environment:
        containers = environment.open_db(b"containers", create=False)
        locators = environment.open_db(b"locators", create=False)
        with environment.begin() as txn:
            assert txn.get(b"version", db=containers) == b"1"
            locator = txn.get(bytes.fromhex(digest), db=locators)
            version, number, length, place, checksum = struct.unpack("<BIQQQ", locator)
            name, spec = json.loads(txn.get(b"c%d" % number, db=containers))
            assert number < int(txn.get(b"next", db=containers))
    assert (version, len(locator)) == (1, 29)
    spec = json.loads(spec)
    itemsize = dtype_of(spec["dtype"]).itemsize
    with (hangar / "containers" / name).open("rb") as file:
        file.seek(place // 65536)
        data = file.read(length)
    if spec["backend"] == "20":
        payload = decode_shard(spec, data, shape, itemsize)
    else:
        payload = decode(spec["codec"], data, itemsize)[place % 65536 :][:size]
    assert xxh3_64_intdigest(payload) == checksum
    return payload


def decode_shard(spec, data, shape, itemsize):
    """The payload of a sample that is a shard."""
    chunks = [min(c, s) for c, s in zip(spec["chunks"], shape, strict=True)]
    grid = [-(-s // c) for s, c in zip(shape, chunks, strict=True)]
    count = int(np.prod(grid, dtype="i8"))
    index, crc = data[-16 * count - 4 : -4], data[-4:]
    assert google_crc32c.value(index) == int.from_bytes(crc, "little")
    out = np.empty(shape, f"V{itemsize}")
    for place, (at, length) in zip(
        np.ndindex(*grid), np.frombuffer(index, "<u8").reshape(-1, 2).tolist(), strict=True
    ):
        encoded, crc = data[at : at + length - 4], data[at + length - 4 : at + length]
        assert google_crc32c.value(encoded) == int.from_bytes(crc, "little")
        chunk = np.frombuffer(decode(spec["codec"], encoded, itemsize), out.dtype).reshape(chunks)
        target = out[(*(slice(p * c, p * c + c) for p, c in zip(place, chunks, strict=True)), ...)]
        target[...] = chunk[(*map(slice, target.shape), ...)]
    return out.tobytes()


def decode(codec, data, itemsize):
    match codec["complib"].split(":")[0]:
        case "none":
            return data
        case "gzip":
            decoded = zlib.decompress(data, 47)
        case "zstd":
            decoded = bytes(numcodecs.zstd.decompress(data))
        case "blosc":
            return bytes(numcodecs.blosc.decompress(data))
    if codec["shuffle"] == "byte":
        decoded = np.frombuffer(decoded, "u1").reshape(itemsize, -1).T.tobytes()
    return decoded


# -- part B: staging journal -----------------------------------------------------------------------


def read_journal(path: Path):
    """Operations of the acknowledged batches, each as a list of columns; data as bytes, last."""
    data = path.read_bytes()
    header = re.match(rb"hangar-journal 1 ([0-9a-f]{16})\n", data)
    assert header.end() == 34
    at, end = 34, 34 + int(header[1], 16)
    operations = []
    while at < end:
        batch = re.match(rb"batch ([0-9]+) ([0-9a-f]{16})\n", data[at:end])
        at += batch.end()
        body = data[at : at + int(batch[1])]
        at += len(body)
        assert xxh3_64_intdigest(body) == int(batch[2], 16)
        while body:
            line, _, body = body.partition(b"\n")
            operations.append(line.decode().split("\t"))
            if operations[-1][0] == "data":
                size = int(operations[-1][3])
                operations[-1].append(body[:size])
                body = body[size:]
    assert at == end
    return operations
