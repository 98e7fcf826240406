"""An immutable view of what one commit records. Record files are read when first needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property

from pygit2.enums import FileMode

from ..config import Config
from ..dtypes import canonical_json
from ..errors import FormatError, InvalidInputError, NotFoundError, did_you_mean
from ..keys import SampleKey, arrayset_name, key_text, metadata_key, parse_key_text
from ..schema import Schema
from .counts import RecordCounts
from .gitrepo import GitRepository, Oid, Tree
from .recordfile import RecordFormat, Records, RecordValue, file_paths


class ArraysetRecords:
    """The records of one arrayset in one commit; each record file is read at most once.

    Attributes
    ----------
    name, schema
        Of the arrayset.
    loaded
        The records read so far.
    """

    def __init__(
        self,
        git: GitRepository | None,
        name: str,
        schema: Schema,
        records: Oid | None,
        counts: RecordCounts | None,
    ) -> None:
        self._git = git
        self._counts = counts
        self.name = name
        self.schema = schema
        self.records_oid = records
        self.format = RecordFormat.of(name, schema)
        self.loaded: Records = {}
        self._prefixes_loaded: set[str] = set()
        self._directories: dict[str, Tree] = {}

    @property
    def git(self) -> GitRepository:
        """The repository they are in."""
        assert self._git is not None
        return self._git

    def apart(self) -> ArraysetRecords:
        """The same, over a handle of the repository that no other uses."""
        git = GitRepository(self.git.git_dir)
        return ArraysetRecords(git, self.name, self.schema, self.records_oid, self._counts)

    @classmethod
    def new(cls, name: str, schema: Schema) -> ArraysetRecords:
        """An arrayset without records, in no commit yet."""
        return cls(None, name, schema, None, None)

    def get(self, key: SampleKey) -> RecordValue | None:
        """The record of `key`, or None."""
        value = self.loaded.get(key)
        if value is None and self.load_file_of(key):
            value = self.loaded.get(key)
        return value

    def load_file_of(self, key: SampleKey) -> Records:
        """Read the record file that would hold `key`; its records, empty if it was read before."""
        return self.load(self.format.prefix_of(key))

    def load(self, prefix: str) -> Records:
        """Read the record file at hash `prefix`; its records, empty if it was read before."""
        if prefix in self._prefixes_loaded:
            return {}
        records = self.read_file(prefix)
        self.loaded.update(records)
        self._prefixes_loaded.add(prefix)
        return records

    def read_file(self, prefix: str) -> Records:
        """Read and check the record file at hash `prefix`."""
        if self.records_oid is None:
            return {}
        text, where = self.file_text(prefix)
        return self.format.parse(text, prefix, where)

    def file_text(self, prefix: str) -> tuple[bytes, str]:
        """The record file at hash `prefix`, unchecked, and its path for errors."""
        assert self._git is not None
        path = file_paths(self.schema.fanout)[prefix]
        where = f".hangar/arraysets/{self.name}/records/{path}"
        directory, _, name = path.rpartition("/")
        entry = self._directory(directory, where).get(name)
        if entry is None or entry.mode == FileMode.TREE:
            raise FormatError(f"{where}: this record file is missing")
        return self._git.read_blob(entry.oid), where

    def _directory(self, path: str, where: str) -> Tree:
        if path not in self._directories:
            assert self._git is not None
            oid = self._git.subtree(self.records_oid, path)
            if oid is None:
                raise FormatError(f"{where}: this record file is missing")
            self._directories[path] = self._git.read_tree(oid)
        return self._directories[path]

    def load_all(self) -> Records:
        """All records of the arrayset."""
        for prefix in file_paths(self.schema.fanout):
            self.load(prefix)
        return self.loaded

    def count(self) -> int:
        """Number of records; remembered between processes, since it is no committed state."""
        if self.records_oid is None or self._counts is None:
            return 0
        key = str(self.records_oid)
        known = self._counts.get(key)
        if known is None:
            known = len(self.load_all())
            self._counts.put({key: known})
        return known


class Snapshot:
    """What one commit records: arraysets, their samples, metadata.

    Parameters
    ----------
    git
        The repository.
    tree
        The commit's ``.hangar`` tree, or None for a commit (or an unborn branch) without one.

    Raises
    ------
    FormatError
        The repository's format is newer than this program, or malformed.
    """

    def __init__(self, git: GitRepository, tree: Oid | None, counts: RecordCounts) -> None:
        self.git = git
        self.tree = tree
        self._counts = counts
        self._top = git.read_tree(tree)
        self._arraysets: dict[str, ArraysetRecords] = {}
        self.config = Config()
        if tree is not None:
            entry = self._top.get("config")
            if entry is None:
                raise FormatError(".hangar/config is missing from the commit")
            self.config = Config.parse(self._text(entry.oid, ".hangar/config"))
            self.config.check_readable()

    @property
    def files(self) -> dict[str, Oid]:
        """The files of ``.hangar/`` itself: name -> blob."""
        return {name: e.oid for name, e in self._top.items() if e.mode != FileMode.TREE}

    @cached_property
    def arrayset_trees(self) -> Tree:
        """Arrayset name -> its tree."""
        entry = self._top.get("arraysets")
        trees = self.git.read_tree(entry.oid) if entry else {}
        for name in trees:
            try:
                arrayset_name(name)
            except InvalidInputError as error:
                raise FormatError(f".hangar/arraysets/{name}: {error}") from error
            if trees[name].mode != FileMode.TREE:
                raise FormatError(f".hangar/arraysets/{name}: not an arrayset")
        return trees

    @cached_property
    def metadata_files(self) -> dict[SampleKey, Oid]:
        """Metadata key -> blob with its value, in the order users see."""
        entry = self._top.get("metadata")
        files: dict[SampleKey, Oid] = {}
        for name, (mode, oid) in (self.git.read_tree(entry.oid) if entry else {}).items():
            where = f".hangar/metadata/{name}"
            if not name.endswith(".json") or mode == FileMode.TREE:
                raise FormatError(f"{where}: not a piece of metadata")
            try:
                files[metadata_key(parse_key_text(name.removesuffix(".json")))] = oid
            except ValueError as error:
                raise FormatError(f"{where}: {error}") from error
        return files

    def arrayset(self, name: str) -> ArraysetRecords:
        """The records of arrayset `name`."""
        if name not in self._arraysets:
            if name not in self.arrayset_trees:
                hint = did_you_mean(name, self.arrayset_trees)
                raise NotFoundError(f"no arrayset {name!r}{hint}")
            tree = self.git.read_tree(self.arrayset_trees[name].oid)
            where = f".hangar/arraysets/{name}"
            if "schema.json" not in tree or "records" not in tree or len(tree) != 2:
                raise FormatError(f"{where}: holds other things than schema.json and records/")
            schema_path = f"{where}/schema.json"
            schema = Schema.from_json(self._text(tree["schema.json"].oid, schema_path), schema_path)
            records = tree["records"].oid
            if list(self.git.read_tree(records)) != [str(schema.fanout)]:
                raise FormatError(
                    f"{where}/records: holds other things than fan-out {schema.fanout}"
                )
            self._arraysets[name] = ArraysetRecords(self.git, name, schema, records, self._counts)
        return self._arraysets[name]

    def remember_counts(self, counts: Mapping[str, int]) -> None:
        """Take `counts` (arrayset name -> number of records) as known."""
        self._counts.put({str(self.arrayset(name).records_oid): n for name, n in counts.items()})

    def at(self, tree: Oid | None) -> Snapshot:
        """The snapshot of another ``.hangar`` tree of this repository."""
        return self if tree == self.tree else Snapshot(self.git, tree, self._counts)

    def arraysets(self) -> Iterator[ArraysetRecords]:
        """All arraysets, by name."""
        return (self.arrayset(name) for name in sorted(self.arrayset_trees))

    def metadata(self, key: SampleKey) -> str:
        """The value of metadata `key`."""
        if key not in self.metadata_files:
            raise NotFoundError(f"no metadata {key!r}")
        where = f".hangar/metadata/{key_text(key)}.json"
        return parse_metadata(key, self._text(self.metadata_files[key], where), where)

    def _text(self, oid: Oid, where: str) -> str:
        try:
            return self.git.read_blob(oid).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{where}: not UTF-8 text") from error


class Snapshots:
    """Gives the snapshots of commits; recent ones are kept, with what they have read.

    Parameters
    ----------
    git, counts
        As for `Snapshot`.
    """

    _KEPT = 16

    def __init__(self, git: GitRepository, counts: RecordCounts) -> None:
        self._git = git
        self._counts = counts
        self._recent: dict[Oid | None, Snapshot] = {}

    def __call__(self, commit: Oid | None) -> Snapshot:
        """The snapshot of a commit; None for the time before the first."""
        tree = self._git.hangar_tree(commit)
        snapshot = self._recent.pop(tree, None) or Snapshot(self._git, tree, self._counts)
        self._recent[tree] = snapshot
        if len(self._recent) > self._KEPT:
            del self._recent[next(iter(self._recent))]
        return snapshot


def metadata_text(key: SampleKey, value: str) -> str:
    """The one line of a metadata file; the key stands in it, so that files of one value differ."""
    return canonical_json([key, value]) + "\n"


def parse_metadata(key: SampleKey, text: str, where: str) -> str:
    """The value in a metadata file's text."""
    try:
        found, value = json.loads(text)
        if found != key or type(found) is not type(key) or not isinstance(value, str):
            raise ValueError(f"not [{key!r}, value]")
        if metadata_text(key, value) != text:
            raise ValueError("not in canonical form")
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where}: line 1: {error}") from error
    return value
