"""Folders that DVC tracks: ``.dvc`` files, ``dvc.lock``, and objects in caches or local remotes.

Formats as DVC documents them: https://dvc.org/doc/user-guide/project-structure.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from ..errors import FormatError, InvalidInputError
from ..plugins.base import library
from ..records.gitrepo import Oid
from .lfs import check_digest
from .sources import Content, GitSource, MissingError, State, Step, own_objects

_LOCK, _PIPELINE = "dvc.lock", "dvc.yaml"


class Out(NamedTuple):
    """What DVC keeps out of Git: a file, or a directory, whose digest ends in ``.dir``."""

    path: str
    digest: str


class DvcSource(GitSource):
    """A folder or file that DVC tracks, or a folder that holds such.

    Parameters
    ----------
    path, revision
        As for `GitSource`; `path` may also be that of a ``.dvc`` file.
    objects
        Where else objects are.
    """

    fetching = "dvc fetch --all-commits"

    def __init__(self, path: Path, revision: str, objects: tuple[Path, ...] = ()) -> None:
        path = path.with_name(path.name.removesuffix(".dvc"))
        super().__init__(path, revision)
        self._yaml = library("yaml", "dvc")
        self._loader = getattr(self._yaml, "CSafeLoader", self._yaml.SafeLoader)
        self.identity = f"dvc {self.git.common_dir} {self.inside}"
        self._objects = [*own_objects(objects), *self._cache()]
        self._outs_in: dict[tuple[Oid, str], tuple[Out, ...]] = {}
        self._states: dict[str, tuple[Out, ...]] = {}
        self._manifests: dict[str, dict[str, str]] = {}

    def _cache(self) -> Iterator[Path]:
        """The cache that the project's configuration names, or its own."""
        near = (self.top / self.inside, *(self.top / self.inside).parents)
        for directory in near:
            settings = directory / ".dvc"
            if not settings.is_dir():
                continue
            config = configparser.ConfigParser(interpolation=None, strict=False)
            try:
                config.read([settings / "config", settings / "config.local"])
            except (configparser.Error, UnicodeDecodeError) as error:
                raise FormatError(f"{settings / 'config'}: {error}".replace("\n", " ")) from error
            said = config.get("cache", "dir", fallback="")
            yield settings / Path(said).expanduser() if said else settings / "cache"
            return

    # -- which files ---------------------------------------------------------------------------

    def state_id(self, step: Step) -> str:
        """As `Source.state_id`: a digest of what DVC tracks there."""
        root = self.git.commit(Oid(hex=step.name)).tree_id
        outs = tuple(sorted(one for one in self._outs(root, "") if self._is_meant(one.path)))
        if not outs:
            return ""
        state_id = blake3(repr(outs).encode()).hexdigest(16)
        self._states[state_id] = outs
        return state_id

    def _is_meant(self, path: str) -> bool:
        inside = self.inside
        return not inside or path == inside or _is_below(path, inside) or _is_below(inside, path)

    def _outs(self, tree: Oid, directory: str) -> tuple[Out, ...]:
        """All outs that the files of a directory, and of those below, name."""
        found = self._outs_in.get((tree, directory))
        if found is None:
            outs: list[Out] = []
            entries = self.git.read_tree(tree)
            for name, entry in entries.items():
                path = posixpath.join(directory, name)
                if entry.is_tree:
                    outs += self._outs(entry.oid, path)
                elif name.endswith(".dvc") and name != ".dvc":
                    outs += self._of_file(self._parsed(entry.oid, path), path)
                elif name == _LOCK:
                    pipeline = entries.get(_PIPELINE)
                    stages = self._parsed(pipeline.oid, path) if pipeline is not None else {}
                    outs += self._of_lock(self._parsed(entry.oid, path), stages, path)
            found = self._outs_in[tree, directory] = tuple(outs)
        return found

    def _parsed(self, blob: Oid, where: str) -> dict[str, Any]:
        try:
            document = self._yaml.load(self.git.read_blob(blob), self._loader)
        except (self._yaml.YAMLError, UnicodeDecodeError) as error:
            raise FormatError(f"{where}: {' '.join(str(error).split())}") from error
        return document if isinstance(document, dict) else {}

    def _of_file(self, document: dict[str, Any], where: str) -> Iterator[Out]:
        base = posixpath.join(posixpath.dirname(where), str(document.get("wdir") or ""))
        yield from _listed(document.get("outs"), base, where)

    def _of_lock(self, lock: dict[str, Any], pipeline: dict[str, Any], where: str) -> Iterator[Out]:
        stages = _mapping(lock.get("stages") if "schema" in lock else lock)
        for name, stage in stages.items():
            # A stage of many, by 'foreach' or 'matrix', is called name@item.
            told = _mapping(_mapping(pipeline.get("stages")).get(str(name).partition("@")[0]))
            base = posixpath.join(posixpath.dirname(where), str(told.get("wdir") or ""))
            yield from _listed(_mapping(stage).get("outs"), base, where)

    # -- what they hold ------------------------------------------------------------------------

    def state(self, state_id: str) -> State:
        """As `Source.state`."""
        found: dict[str, Content] = {}
        for out in self._states.get(state_id, ()):
            if not out.digest.endswith(".dir"):
                self._take(found, out.path, out.digest)
                continue
            for name, digest in self._manifest(out).items():
                self._take(found, posixpath.join(out.path, name), digest)
        return found

    def _take(self, found: dict[str, Content], path: str, digest: str) -> None:
        if path == self.inside:
            name = posixpath.basename(path)
        elif not self.inside or _is_below(path, self.inside):
            name = path[len(self.inside) :].lstrip("/")
        else:
            return
        found[name] = Content(f"md5:{digest}", self._place(digest))

    def _manifest(self, out: Out) -> dict[str, str]:
        """Path and digest of each file of a directory."""
        if out.digest not in self._manifests:
            path = self._place(out.digest)
            if not path.is_file():
                raise MissingError(
                    f"{out.path}: the list of its files, {out.digest}, is not in the cache",
                    [out.path],
                )
            check_digest(path, "md5", {out.digest.removesuffix(".dir")}, path)
            try:
                rows = json.loads(path.read_bytes())
                files = {str(row["relpath"]): _checked_digest(row["md5"]) for row in rows}
            except (ValueError, KeyError, TypeError) as error:
                raise FormatError(f"{path}: not DVC's list of a directory: {error}") from error
            if any(not _is_below(posixpath.normpath(f"x/{name}"), "x") for name in files):
                raise FormatError(f"{path}: names files outside of its directory")
            self._manifests[out.digest] = files
        return self._manifests[out.digest]

    def _place(self, digest: str) -> Path:
        """Where an object is; where it would be if it is nowhere."""
        below = f"{digest[:2]}/{digest[2:]}"
        # DVC 3 has files/md5, and reads what older ones left beside it.
        places = [top / part / below for top in self._objects for part in ("files/md5", "")]
        if not places:
            raise InvalidInputError(
                f"{self.top} has no .dvc directory, and so no cache; name one with --objects"
            )
        return next((one for one in places if one.is_file()), places[-2])

    def check(self, content: Content, path: Path) -> None:
        """As `Source.check`."""
        assert content.path is not None
        expected = content.id.removeprefix("md5:")
        if "files" not in content.path.parts:
            # Before DVC 3, the digest of a text was that of its lines ending in LF.
            text = path.read_bytes().replace(b"\r\n", b"\n")
            if hashlib.md5(text, usedforsecurity=False).hexdigest() == expected:
                return
        check_digest(path, "md5", {expected}, content.path)


def _listed(outs: object, base: str, where: str) -> Iterator[Out]:
    """The outs of a stage; those that are in Git, or not on this machine, are left out."""
    for out in outs if isinstance(outs, list) else ():
        one = _mapping(out)
        said = str(one.get("path", ""))
        if not said or "://" in said or said.startswith("/") or one.get("cache") is False:
            continue
        path = posixpath.normpath(posixpath.join(base, said))
        if isinstance(one.get("files"), list):  # of a remote that keeps versions itself
            yield from _versioned(one["files"], path)
        elif "md5" in one:
            try:
                yield Out(path, _checked_digest(one["md5"]))
            except ValueError as error:
                raise FormatError(f"{where}: {error}") from error


def _versioned(files: Iterable[object], base: str) -> Iterator[Out]:
    for file in map(_mapping, files):
        if "relpath" in file and "md5" in file:
            yield Out(posixpath.normpath(f"{base}/{file['relpath']}"), _checked_digest(file["md5"]))


def _checked_digest(digest: object) -> str:
    text = str(digest)
    plain = text.removesuffix(".dir")
    if len(plain) != 32 or not all(letter in "0123456789abcdef" for letter in plain):
        raise ValueError(f"{text!r} is no MD5 digest")
    return text


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(f"{directory}/")
