"""Every public name of Hangar 0.4's Python API, with its signature and documented exceptions.

Each row's signature and documented exceptions are checked here.
"""

from __future__ import annotations

import inspect
import os

import numpy as np
import pytest
from repositories import image, make_repository

import hangar_git
from hangar_git import Repository, external
from hangar_git.api.arrayset import ArraysetDataReader
from hangar_git.api.arraysets import Arraysets, ReaderArraysets
from hangar_git.api.arraysetwriter import ArraysetDataWriter
from hangar_git.api.checkout import ReaderCheckout, WriterCheckout
from hangar_git.api.diff import ReaderUserDiff, WriterUserDiff
from hangar_git.api.metadata import MetadataReader, MetadataWriter
from hangar_git.api.remotes import Remotes

PROPERTY = "property"
_ARRAYSETS = {
    "__contains__": "key", "__getitem__": "key", "__setitem__": "key, value", "get": "name",
    "keys": "", "values": "", "items": "", "iswriteable": PROPERTY,
    "contains_remote_references": PROPERTY, "remote_sample_keys": PROPERTY,
}  # fmt: skip
_SAMPLES = {
    "__contains__": "key", "__getitem__": "key", "__len__": "", "get": "name",
    "get_batch": "names, *, n_cpus=None, start_method='spawn'",
    "keys": "local=False", "values": "local=False", "items": "local=False",
    "backend": PROPERTY, "backend_opts": PROPERTY, "contains_remote_references": PROPERTY,
    "dtype": PROPERTY, "iswriteable": PROPERTY, "name": PROPERTY, "named_samples": PROPERTY,
    "remote_reference_keys": PROPERTY, "shape": PROPERTY, "variable_shape": PROPERTY,
}  # fmt: skip
_METADATA = {
    "__contains__": "key", "__getitem__": "key", "__len__": "", "get": "key", "keys": "",
    "values": "", "items": "", "iswriteable": PROPERTY,
}  # fmt: skip
_SELECT = "arraysets, samples, *, except_missing=False"

DONE = {
    Repository: {
        "__init__": "path, exists=True",
        "checkout": "write=False, *, branch='', commit=''",
        "clone": "user_name, user_email, remote_address, *, remove_old=False",
        "create_branch": "name, base_commit=None",
        "force_release_writer_lock": "",
        "init": "user_name, user_email, *, remove_old=False",
        "initialized": PROPERTY,
        "list_branches": "",
        "log": "branch=None, commit=None, *, return_contents=False, show_time=False,"
        " show_user=False",
        "merge": "message, master_branch, dev_branch",
        "path": PROPERTY,
        "remote": PROPERTY,
        "remove_branch": "name, *, force_delete=False",
        "summary": "*, branch='', commit=''",
    },
    Remotes: {
        "add": "name, address", "fetch": "remote, branch",
        "fetch_data": "remote, branch=None, commit=None, *, arrayset_names=None,"
        " max_num_bytes=None, retrieve_all_history=False",
        "list_all": "", "ping": "name", "push": "remote, branch, *, username='', password=''",
        "remove": "name",
    },
    WriterCheckout: {
        "__getitem__": "index", "__setitem__": "index, value", "arraysets": PROPERTY,
        "branch_name": PROPERTY, "close": "", "commit": "commit_message",
        "commit_hash": PROPERTY, "diff": PROPERTY, "get": _SELECT,
        "merge": "message, dev_branch", "metadata": PROPERTY, "reset_staging_area": "",
    },
    ReaderCheckout: {
        "__getitem__": "index", "arraysets": PROPERTY, "close": "", "commit_hash": PROPERTY,
        "diff": PROPERTY, "get": _SELECT, "metadata": PROPERTY,
    },
    Arraysets: _ARRAYSETS | {
        "__delitem__": "key", "multi_add": "mapping", "remove_aset": "aset_name",
        "init_arrayset": "name, shape=None, dtype=None, prototype=None, named_samples=True,"
        " variable_shape=False, *, backend_opts=None",
    },
    ReaderArraysets: _ARRAYSETS,
    ArraysetDataReader: _SAMPLES,
    ArraysetDataWriter: _SAMPLES | {
        "__delitem__": "key", "__setitem__": "key, value", "add": "data, name=None, **kwargs",
        "change_backend": "backend_opts", "remove": "name",
    },
    MetadataReader: _METADATA,
    MetadataWriter: _METADATA | {
        "__delitem__": "key", "__setitem__": "key, value", "add": "key, value", "remove": "key",
    },
    ReaderUserDiff: {"branch": "dev_branch", "commit": "dev_commit_hash"},
    WriterUserDiff: {
        "branch": "dev_branch", "commit": "dev_commit_hash", "staged": "", "status": "",
    },
    external: {
        "load": "fpath, plugin=None, extension=None, **plugin_kwargs",
        "save": "arr, outdir, sample_det, extension, plugin=None, **plugin_kwargs",
        "show": "arr, plugin=None, extension=None, **plugin_kwargs",
        "board_show": "arr, plugin=None, extension=None, **plugin_kwargs",
    },
    external.BasePlugin: {
        "__init__": "provides, accepts",
        "load": "fpath, *args, **kwargs", "show": "arr, *args, **kwargs",
        "board_show": "arr, *args, **kwargs", "sample_name": "fpath",
        "save": "arr, outdir, sample_detail, extension, *args, **kwargs",
    },
    external.PluginManager: {
        "reset_plugins": "", "get_plugin": "method, plugin=None, extension=None",
    },
    hangar_git: {
        "make_tf_dataset": "arraysets, keys=None, index_range=None, shuffle=True",
        "make_torch_dataset": "arraysets, keys=None, index_range=None, field_names=None",
    },
}  # fmt: skip

ROWS = [(owner, name, said) for owner, names in DONE.items() for name, said in names.items()]


@pytest.mark.parametrize(("owner", "name", "said"), ROWS, ids=lambda value: str(value)[:40])
def test_a_public_name_has_the_documented_signature(owner, name, said):
    found = getattr(owner, name) if owner is hangar_git else inspect.getattr_static(owner, name)
    if said is PROPERTY:
        assert isinstance(found, property)
        assert found.fset is None
        return
    documented = list(_parameters(said).values())
    ours = [p for p in inspect.signature(getattr(owner, name)).parameters.values()
            if p.name != "self"]  # fmt: skip
    shape = [(p.name, p.kind, p.default) for p in ours]
    assert shape[: len(documented)] == [(p.name, p.kind, p.default) for p in documented]
    # Beyond what is documented there may be options, never more that must be given.
    for extra in ours[len(documented) :]:
        assert extra.kind is extra.KEYWORD_ONLY
        assert extra.default is not extra.empty


def _parameters(said: str):
    scope: dict = {}
    exec(f"def f({said}): pass", scope)
    return inspect.signature(scope["f"]).parameters


def test_nothing_public_of_the_documented_classes_is_without_a_row():
    """Ours may offer more than is documented; what more is said here."""
    more = {
        Repository: {"diff", "maintenance"},
        ReaderCheckout: {"to_xarray", "to_zarr"},
        WriterCheckout: set(),
    }
    for owner, extra in more.items():
        public = {name for name in dir(owner) if not name.startswith("_")}
        assert public - DONE[owner].keys() == extra


# -- documented exceptions ---------------------------------------------------------------------


class Place:
    """A repository with branch "other", and a writer checkout of arrayset "images"."""

    def __init__(self, path) -> None:
        self.repo = make_repository(path)
        self.co = self.repo.checkout(write=True)
        self.asets = self.co.arraysets
        self.aset = self.asets.init_arrayset("images", shape=(2, 3), dtype=np.uint8)
        self.var = self.asets.init_arrayset(
            "var", shape=(2, 3), dtype=np.uint8, variable_shape=True
        )
        self.aset["a"] = image(1)
        self.co.metadata["m"] = "v"
        self.commit = self.co.commit("one")
        self.repo.create_branch("other")
        self.path = path

    def init(self, **options):
        return self.asets.init_arrayset(**{"name": "n", "shape": (2,), "dtype": np.uint8} | options)

    def inside(self, function):
        with self.aset:
            function()

    def closed(self):
        self.co.close()
        return self.repo


def unmerged(place):
    repo = place.closed()
    co = repo.checkout(write=True, branch="other")
    co.metadata["x"] = "y"
    co.commit("two")
    co.close()
    main = next(name for name in repo.list_branches() if name != "other")
    repo.checkout(write=True, branch=main).close()
    repo.remove_branch("other")


EXCEPTIONS = [
    (ValueError, "checkout: write is not a bool", lambda p: p.repo.checkout(write=1)),
    (ValueError, "checkout: commit with write", lambda p: p.repo.checkout(write=True, commit="x")),
    (PermissionError, "checkout: second writer", lambda p: p.repo.checkout(write=True)),
    (ValueError, "create_branch: bad name", lambda p: p.repo.create_branch("a b")),
    (ValueError, "create_branch: exists", lambda p: p.repo.create_branch("other")),
    (
        RuntimeError,
        "create_branch: no commit",
        lambda p: make_repository(p.path.parent / "empty").create_branch("b"),
    ),
    (ValueError, "remove_branch: absent", lambda p: p.closed().remove_branch("nope")),
    (
        PermissionError,
        "remove_branch: writer branch",
        lambda p: p.closed().remove_branch(next(n for n in p.repo.list_branches() if n != "other")),
    ),
    (PermissionError, "remove_branch: writer at work", lambda p: p.repo.remove_branch("other")),
    (RuntimeError, "remove_branch: not merged", unmerged),
    (
        PermissionError,
        "remove_branch: the last",
        lambda p: (
            p.closed().remove_branch("other"),
            p.repo.remove_branch(p.repo.list_branches()[0]),
        ),
    ),
    (RuntimeError, "commit: nothing staged", lambda p: p.co.commit("x")),
    (RuntimeError, "reset: nothing staged", lambda p: p.co.reset_staging_area()),
    (KeyError, "checkout[]: no sample", lambda p: p.co["images", "nope"]),
    (KeyError, "get: except_missing", lambda p: p.co.get("images", "x", except_missing=True)),
    (PermissionError, "arraysets[] =", lambda p: p.asets.__setitem__("images", 1)),
    (KeyError, "arraysets.get: none", lambda p: p.asets.get("nope")),
    (PermissionError, "init_arrayset: in a block", lambda p: p.inside(p.init)),
    (ValueError, "init_arrayset: space", lambda p: p.init(name="a b")),
    (ValueError, "init_arrayset: non-ASCII", lambda p: p.init(name="größe")),
    (ValueError, "init_arrayset: 65 characters", lambda p: p.init(name="a" * 65)),
    (ValueError, "init_arrayset: no dtype", lambda p: p.init(dtype=None)),
    (
        ValueError,
        "init_arrayset: Fortran prototype",
        lambda p: p.init(shape=None, dtype=None, prototype=np.zeros((2, 3), order="F")),
    ),
    (LookupError, "init_arrayset: exists", lambda p: p.init(name="images")),
    (ValueError, "init_arrayset: rank 32", lambda p: p.init(shape=(1,) * 32)),
    (ValueError, "init_arrayset: zero dimension", lambda p: p.init(shape=(2, 0))),
    (ValueError, "init_arrayset: backend", lambda p: p.init(backend_opts="99")),
    (KeyError, "multi_add: no arrayset", lambda p: p.asets.multi_add({"nope": image(1)})),
    (
        PermissionError,
        "remove_aset: in a block",
        lambda p: p.inside(lambda: p.asets.remove_aset("var")),
    ),
    (KeyError, "remove_aset: none", lambda p: p.asets.remove_aset("nope")),
    (
        PermissionError,
        "del arraysets[]: in a block",
        lambda p: p.inside(lambda: p.asets.__delitem__("var")),
    ),
    (ValueError, "add: no name", lambda p: p.aset.add(image(1))),
    (ValueError, "add: rank", lambda p: p.aset.add(np.zeros((1, 2, 3), "u1"), "x")),
    (ValueError, "add: too large", lambda p: p.var.add(np.zeros((2, 4), "u1"), "x")),
    (ValueError, "add: shape", lambda p: p.aset.add(np.zeros((2, 2), "u1"), "x")),
    (ValueError, "add: no array", lambda p: p.aset.add([[1, 2, 3], [4, 5, 6]], "x")),
    (ValueError, "add: Fortran", lambda p: p.aset.add(np.zeros((2, 3), "u1", order="F"), "x")),
    (ValueError, "add: dtype", lambda p: p.aset.add(np.zeros((2, 3), "i4"), "x")),
    (
        RuntimeError,
        "change_backend: in a block",
        lambda p: p.inside(lambda: p.aset.change_backend("01")),
    ),
    (ValueError, "change_backend: unknown", lambda p: p.aset.change_backend("zz")),
    (KeyError, "arrayset.get: none", lambda p: p.aset.get("nope")),
    (KeyError, "get_batch: none", lambda p: p.aset.get_batch(["a", "nope"])),
    (KeyError, "arrayset.remove: none", lambda p: p.aset.remove("nope")),
    (ValueError, "metadata.add: key", lambda p: p.co.metadata.add("a b", "v")),
    (ValueError, "metadata.add: long key", lambda p: p.co.metadata.add("a" * 65, "v")),
    (ValueError, "metadata.add: value", lambda p: p.co.metadata.add("k", "größe")),
    (ValueError, "metadata.get: key", lambda p: p.co.metadata.get("a b")),
    (KeyError, "metadata.get: none", lambda p: p.co.metadata.get("nope")),
    (KeyError, "metadata.remove: none", lambda p: p.co.metadata.remove("nope")),
    (ValueError, "diff.branch: none", lambda p: p.co.diff.branch("nope")),
    (ValueError, "diff.commit: none", lambda p: p.co.diff.commit("0" * 40)),
    (ValueError, "remote.add: name", lambda p: p.repo.remote.add("größe", "localhost:50051")),
    (ValueError, "remote.add: long name", lambda p: p.repo.remote.add("a" * 65, "localhost:1")),
    (
        ValueError,
        "remote.add: exists",
        lambda p: [p.repo.remote.add("origin", "localhost:1") for _ in range(2)],
    ),
    (KeyError, "remote.remove: none", lambda p: p.repo.remote.remove("nope")),
    (KeyError, "remote.ping: none", lambda p: p.repo.remote.ping("nope")),
    (
        ConnectionError,
        "remote.ping: nobody there",
        lambda p: (p.repo.remote.add("origin", "localhost:1"), p.repo.remote.ping("origin")),
    ),
    (
        ValueError,
        "fetch_data: branch and commit",
        lambda p: p.repo.remote.fetch_data("origin", "other", p.commit),
    ),
    (
        ValueError,
        "fetch_data: no such branch",
        lambda p: p.repo.remote.fetch_data("origin", branch="nope"),
    ),
    (
        ValueError,
        "fetch_data: no such commit",
        lambda p: p.repo.remote.fetch_data("origin", commit="0" * 40),
    ),
    (TypeError, "Repository: no path", lambda p: Repository(3)),
    (NotADirectoryError, "Repository: no directory", lambda p: Repository(p.path / "nope")),
]


@pytest.mark.parametrize(("kind", "what", "provoke"), EXCEPTIONS, ids=[e[1] for e in EXCEPTIONS])
def test_a_documented_exception_is_of_its_builtin_type(kind, what, provoke, tmp_path):
    place = Place(tmp_path / "repo")
    with pytest.raises(kind) as caught:
        provoke(place)
    assert os.linesep not in str(caught.value)
