"""docs/format.md suffices to read a repository: a reader written from it finds what was written."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from . import independent_reader as reader

POINT = np.dtype([("id", "<u2"), ("xy", "<f4", (2,)), ("flag", "?")])


def _samples():
    """Arrayset -> (arguments of init_arrayset, samples by key): every backend, codec and dtype."""
    random = np.random.default_rng(7)

    def many(count, make):
        return {i if i % 2 else f"s{i}": make(i) for i in range(count)}

    def codec(complib, backend="01", **more):
        return {"backend": backend, "complib": complib, **more}

    nan = np.frombuffer(bytes.fromhex("000000803412c07f0000803f"), "<f4")
    smooth = np.arange(4000, dtype="<i4")
    return {
        "digits": ({}, many(40, lambda i: np.full((28, 28), i, "u1"))),
        "tiny": ({}, many(30, lambda i: np.append(nan, np.float32(i)))),
        "labels": ({}, many(20, lambda i: np.array(i, "<i8"))),
        "noise": ({}, many(3, lambda i: random.random((40, 50)))),
        "large": ({}, many(3, lambda i: np.full((200, 100), i, "<f8"))),
        "crops": ({"shape": (64, 64), "variable_shape": True},
                  many(50, lambda i: np.full((1 + i % 3, 30 + i % 7), i, "u1"))),
        "scalars": ({"variable_shape": True}, many(3, lambda i: np.array(i % 2 == 0))),
        "unnamed": ({"named_samples": False}, many(3, lambda i: np.full(5, i, "u1"))),
        "points": ({}, many(30, lambda i: np.full(9, np.array((i, (i, -i), i % 2), POINT)))),
        "dates": ({}, many(5, lambda i: np.full(30, i, "<M8[ns]"))),
        "texts": ({}, many(5, lambda i: np.array(["é", f"name {i}"], "<U20"))),
        "masks": ({}, many(5, lambda i: np.arange(300) % (i + 2) == 0)),
        "waves": ({}, many(5, lambda i: np.full(100, 1j * i, "<c8"))),
        "zstd": ({"backend_opts": codec("zstd")}, many(3, lambda i: smooth + i)),
        "gzip": ({"backend_opts": codec("gzip")}, many(3, lambda i: smooth + i)),
        "none": ({"backend_opts": codec("none")}, many(30, lambda i: smooth[:40] + i)),
        "bits": ({"backend_opts": codec("blosc:zstd", shuffle="bit")},
                 many(3, lambda i: smooth + i)),
        "shuffled": ({"backend_opts": codec("gzip", shuffle="byte")},
                     many(3, lambda i: smooth + i)),
        "volumes": ({"backend_opts": codec("zstd", "20", chunks=[2, 5, 7])},
                    many(3, lambda i: np.arange(7 * 11 * 13.0).reshape(7, 11, 13) + i)),
        "dated": ({"backend_opts": "20"}, many(3, lambda i: np.full((30, 4), i, "<M8[ns]"))),
        "gzipped": ({"backend_opts": codec("gzip", "20")}, many(3, lambda i: smooth + i)),
        "random": ({"shape": (90, 90), "variable_shape": True},
                   many(9, lambda i: random.integers(0, 256, (9 * i + 1, 70), "u1"))),
        "crowd": ({"shape": (200, 200), "variable_shape": True},
                  many(60, lambda i: np.arange((i + 1) * 150).reshape(i + 1, 150))),
        "captions": ({"kind": "str"}, many(40, lambda i: "né " * i * i)),
        "blobs": ({"kind": "bytes"}, many(20, lambda i: random.bytes(i * i * 50))),
        "nested": ({"contains_subsamples": True},
                   {(i % 4 if i % 2 else f"p{i % 4}", i): np.full(9, i) for i in range(30)}),
        "numbers": ({}, {i: np.array([i], "<u2") for i in range(5000)}),
    }  # fmt: skip


def as_array(value):
    """A sample as the array of its bytes, if it is text or a byte string."""
    if isinstance(value, str):
        value = value.encode()
    return np.frombuffer(value, "u1") if isinstance(value, bytes) else value


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """``(repository, commit, {arrayset: {key: array}})``, an earlier commit and staged data."""
    from repositories import make_repository

    path = tmp_path_factory.mktemp("format") / "repo"
    repository = make_repository(path)
    write = repository.checkout(write=True)
    expected = {}
    for name, (arguments, samples) in _samples().items():
        first = next(iter(samples.values()))
        like = {} if "kind" in arguments else {"shape": first.shape, "dtype": first.dtype}
        aset = write.arraysets.init_arrayset(name, **{**like, **arguments})
        with aset:
            expected[name] = {aset.add(array, key): array for key, array in samples.items()}
    write.metadata["source"] = 'camera "3"\n'
    write.metadata[7] = "seven"
    write.metadata["gone"] = "soon"
    write.commit("first")
    digits = write["digits"]
    digits.remove(1)
    digits["s0"] = expected["digits"]["s0"] = np.full((28, 28), 99, "u1")
    digits["new"] = expected["digits"]["new"] = np.full((28, 28), 100, "u1")
    del expected["digits"][1]
    write.metadata.remove("gone")
    commit = write.commit("second")
    digits["staged"] = np.full((28, 28), 101, "u1")
    digits.remove(3)
    write["crops"]["staged"] = np.full((2, 2), 102, "u1")
    write.metadata["staged"] = "yes"
    write.close()
    # LMDB refuses to open a file twice in one process.
    copy = shutil.copytree(path, path.with_name("copy"))
    return copy, commit, expected


def test_the_reader_does_not_import_the_package():
    tree = ast.parse(Path(reader.__file__).read_text())
    names = {getattr(node, "module", None) for node in ast.walk(tree)} | {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not [name for name in names if name and name.startswith("hangar_git")]


def test_a_commit_lists_the_samples_that_were_written(written):
    path, commit, expected = written
    arraysets, metadata = reader.read_commit(path, commit)
    assert metadata == {"source": 'camera "3"\n', 7: "seven"}
    assert {name: set(records) for name, (_, records) in arraysets.items()} == {
        name: set(samples) for name, samples in expected.items()
    }
    assert {arraysets[name][0]["fanout"] for name in ("numbers", "digits")} == {256, 16}


def test_digests_are_those_of_the_arrays(written):
    path, commit, expected = written
    for name, (schema, records) in reader.read_commit(path, commit)[0].items():
        for key, record in records.items():
            array = as_array(expected[name][key])
            assert reader.dtype_of(schema["dtype"]) == array.dtype
            assert record.shape == array.shape
            assert record.digest == reader.digest_of(
                schema["dtype"], array.shape, array.tobytes(), schema["kind"]
            )


def test_containers_hold_every_sample(written):
    path, commit, expected = written
    found = reader.scan_containers(path / ".git" / "hangar")
    for name, (schema, records) in reader.read_commit(path, commit)[0].items():
        for key, record in records.items():
            array = as_array(expected[name][key])
            assert found[record.digest] == (
                schema["kind"], schema["dtype"], array.shape, array.tobytes()
            )  # fmt: skip


def test_every_backend_and_codec_was_met(written):
    names = [p.name[:2] for p in (written[0] / ".git" / "hangar" / "containers").iterdir()]
    assert set(names) == set(reader.SUFFIXES)


def test_locators_lead_to_every_sample(written, tmp_path):
    path, commit, expected = written
    # LMDB opens a file once in a process, and the fixture may have it open.
    hangar = tmp_path / "hangar"
    shutil.copytree(path / ".git" / "hangar", hangar)
    for name, (_, records) in reader.read_commit(path, commit)[0].items():
        for key, record in list(records.items())[:50]:
            payload = as_array(expected[name][key]).tobytes()
            found = reader.read_by_index(hangar, record.digest, len(payload), record.shape)
            assert found == payload


def test_the_journal_holds_what_is_staged(written):
    path, commit, _ = written
    operations = reader.read_journal(path / ".git" / "hangar" / "staging" / "journal")
    schemas = reader.read_commit(path, commit)[0]
    branch = subprocess.check_output(["git", "-C", path, "symbolic-ref", "--short", "HEAD"])
    one, two = np.full((28, 28), 101, "u1").tobytes(), np.full((2, 2), 102, "u1").tobytes()
    digits, crops = (reader.canonical_json(schemas[name][0]) for name in ("digits", "crops"))
    digests = (
        reader.digest_of("|u1", (28, 28), one),
        reader.digest_of("|u1", (2, 2), two),
    )
    assert operations == [
        ["base", branch.decode().strip(), commit],
        ["schema-of", "digits", digits],
        ["set", "digits", "staged", digests[0]],
        ["data", "digits", "28,28", "784", one],
        ["remove", "digits", "#3"],
        ["schema-of", "crops", crops],
        ["set", "crops", "staged", digests[1], "2,2"],
        ["data", "crops", "2,2", "4", two],
        ["meta", '["staged", "yes"]'],
    ]
