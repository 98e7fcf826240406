"""What strangers can send: samples, commits and configurations that are made to harm."""

from __future__ import annotations

import json
import struct
import subprocess
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hangar_git.config import Config
from hangar_git.errors import FormatError, IntegrityError, InvalidInputError
from hangar_git.records.gitrepo import GitRepository, Oid
from hangar_git.remotes.checks import lacking_data, pushed_commits
from hangar_git.remotes.needed import needed_digests
from hangar_git.remotes.serving import verified
from hangar_git.store.chunks import EncodedChunk
from hangar_git.transfer.samples import Parcel

from .clones import Clone, sample

# -- samples -----------------------------------------------------------------------------------

sizes = st.one_of(
    st.integers(-2, 70), st.sampled_from([2**31, 2**47, 2**48, 2**63, 2**64, -(2**40), 1.5, None])
)
shapes = st.lists(st.one_of(st.lists(sizes, max_size=4), sizes), max_size=4)


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """How chunks of every kind are described, each with its data."""
    clone = Clone.made(tmp_path_factory.mktemp("specs") / "clone", "nowhere")
    co = clone.repository.checkout(write=True)
    for number, options in enumerate(
        [{"backend": "00"}, {"backend": "01"}, {"backend": "10"}, {"backend": "20"},
         {"backend": "01", "complib": "lzf"}, {"backend": "01", "complib": "gzip"}]
    ):  # fmt: skip
        aset = co.arraysets.init_arrayset(
            f"a{number}", shape=(64, 64), dtype="u1", backend_opts=options
        )
        aset["x"] = sample(number, 4096).reshape(64, 64) // 100
    co.commit("all")
    co.close()
    parcels = clone.samples.export(list(clone.needed()))
    return [(EncodedChunk.parse(p.data), p.data) for p in parcels]


@settings(max_examples=600, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_samples_of_any_description_are_refused_within_little_memory(specs, data):
    chunk, _ = data.draw(st.sampled_from(specs))
    head = json.dumps([
        chunk.spec.to_json(),
        data.draw(st.one_of(st.just([list(s) for s in chunk.shapes]), shapes)),
        data.draw(st.one_of(st.just(list(chunk.places)), st.lists(sizes, max_size=4))),
        data.draw(st.one_of(st.just(chunk.size_bytes), sizes)),
    ])  # fmt: skip
    digests = chunk.digests[: data.draw(st.integers(0, len(chunk.digests)))]
    body = data.draw(st.sampled_from([chunk.data, chunk.data[:-1], b"", bytes(100)]))
    text = b"HGP1" + struct.pack("<I", len(head)) + head.encode() + b"".join(digests) + body
    stated = data.draw(st.sampled_from([digests, chunk.digests, (), (b"x" * 32,)]))
    tracemalloc.start()
    try:
        (parcel,) = verified([Parcel(tuple(stated), text)])
    except IntegrityError:
        pass
    else:
        assert parcel.digests == chunk.digests
        assert EncodedChunk.parse(text).verified() == chunk.verified()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200 << 20


# -- commits -----------------------------------------------------------------------------------

_LINE = "0123abcd\tkey\t" + "ab" * 32


class Everything:
    """A store that lacks all it is asked for."""

    def missing(self, digests):
        return list(digests)


def commit_of(clone: Clone, path: bytes, mode: str, content: bytes) -> Oid:
    """A commit whose only file is at `path`; Git takes most paths if asked for by an index."""
    blob = GitRepository(clone.path).pygit2.create_blob(content)
    names = path.split(b"/")
    tree, kind = str(blob), mode
    for name in reversed(names):
        entry = f"{kind} {'tree' if kind == '040000' else 'blob'} {tree}\t".encode() + name + b"\0"
        made = subprocess.run(
            ["git", "mktree", "-z"], input=entry, cwd=clone.path, capture_output=True, check=True
        )
        tree, kind = made.stdout.decode().strip(), "040000"
    return Oid(hex=clone.git("commit-tree", "-m", "x", tree))


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    return Clone.made(tmp_path_factory.mktemp("strange") / "clone", "nowhere")


names = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..", b".git")
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    name=st.one_of(st.just(b"a"), names),
    file=names,
    content=st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from([_LINE, _LINE + "\t3", "\t", "\x1b[2J", "é", "@00"]), max_size=9
        ).map(lambda lines: "\n".join([*lines, ""]).encode()),
    ),
)  # fmt: skip
def test_commits_of_any_content_are_judged(strange, name, file, content):
    commit = commit_of(
        strange, b".hangar/arraysets/" + name + b"/records/" + file, "100644", content
    )
    git = GitRepository(strange.path)
    lacking = lacking_data(git, [commit], Everything())
    if _LINE.encode() + b"\n" in content and name == b"a" and content.startswith(_LINE.encode()):
        assert lacking is not None
    assert lacking is None or (str(lacking).isascii() and str(lacking).isprintable())


@pytest.mark.parametrize("mode", ["100644", "100755", "120000"])
def test_records_in_files_of_any_mode_need_their_data(strange, mode):
    path = b".hangar/arraysets/a/records/16/0"
    commit = commit_of(strange, path, mode, f"{_LINE}\n".encode())
    needed = needed_digests(GitRepository(strange.path), [commit], [])
    assert needed == {bytes.fromhex("ab" * 32): ("a", "key")}


@given(st.one_of(st.text(), st.lists(st.sampled_from(
    ["0" * 40, "1" * 40, "x", " ", "\n", "refs/heads/a", "refs/heads/b c"]
)).map("".join)))  # fmt: skip
def test_any_text_is_updates_of_refs_or_refused(text):
    with suppress(InvalidInputError):
        pushed_commits(text)


# -- configurations ----------------------------------------------------------------------------

PIECES = ["[hangar]", "[extensions]", "[include]", "\n", "\t", " = ", "formatVersion", "dataUrl",
          "1", "path", "read", "#", ";", "s3://bucket/x", "\x00", "\\", '"']  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=20).map("".join)))
@example("[hangar]\n\tformatVersion = ²\n")
@example("[hangar]\n\tformatVersion = " + "9" * 5000 + "\n")
def test_any_text_is_a_configuration_or_refused(text):
    try:
        config = Config.parse(text)
    except FormatError:
        return
    assert Config.parse(config.to_text()) == config
