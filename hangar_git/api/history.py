"""What `log` and `summary` show: the commit graph, and the contents of a commit."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from ..records.gitprogram import run_git
from ..records.gitrepo import GitRepository, Oid
from ..records.refs import list_branches, require_tip
from ..records.snapshot import Snapshot
from ..store.backends import Storage


def branch_heads(git: GitRepository) -> dict[str, list[str]]:
    """Commit oid -> names of the branches at it."""
    heads: defaultdict[str, list[str]] = defaultdict(list)
    for name in list_branches(git):
        heads[str(require_tip(git, name))].append(name)
    return dict(heads)


def _plain(text: str, _: str) -> str:
    return text


def log_lines(
    git: GitRepository,
    start: Oid,
    *,
    show_time: bool,
    show_user: bool,
    paint: Callable[[str, str], str] = _plain,
) -> Iterator[str]:
    """The commit graph from `start`, drawn by git: ``* <oid> (branch) : message``.

    `paint` is given a text, and what it is (``commit``, ``branch``, ``remote``), to color it.
    """
    local = set(list_branches(git, remote=False))
    heads = branch_heads(git)
    done = run_git(
        "log", "--graph", "--no-color", "--format=%x01%H%x01%at%x01%an%x01%s", str(start), "--",
        git_dir=git.git_dir,
    )  # fmt: skip
    for line in done.stdout.decode(errors="replace").split("\n")[:-1]:
        graph, *fields = line.split("\x01")
        if not fields:
            yield graph.rstrip()
            continue
        oid, seconds, user, subject = fields
        notes = [
            paint(f"({name})", "branch" if name in local else "remote")
            for name in heads.get(oid, ())
        ]
        if show_time:
            notes.append(f"({time.ctime(int(seconds))})")
        if show_user:
            notes.append(f"({user})")
        yield f"{graph}{' '.join([paint(oid, 'commit'), *notes])} : {subject}"


def log_contents(git: GitRepository, start: Oid) -> dict[str, Any]:
    """The commit graph from `start` as data: head, ancestors, specs, order, branch_heads."""
    ancestors, specs = {}, {}
    for commit in git.pygit2.walk(start):
        oid = str(commit.id)
        ancestors[oid] = [str(parent) for parent in commit.parent_ids]
        specs[oid] = {
            "commit_message": commit.message.rstrip("\n"),
            "commit_time": float(commit.author.time),
            "commit_user": commit.author.name,
            "commit_email": commit.author.email,
        }
    return {
        "head": str(start),
        "ancestors": ancestors,
        "specs": specs,
        "order": list(specs),
        "branch_heads": branch_heads(git),
    }


def summary_lines(
    git: GitRepository, snapshot: Snapshot, commit: Oid, where: str, disk_bytes: int
) -> Iterator[str]:
    """The contents of a commit, for people."""
    found = git.commit(commit)
    yield "Summary of Contents Contained in Data Repository"
    yield " "
    yield "=================="
    yield "| Repository Info"
    yield "|-----------------"
    yield f"|  Base Directory: {where}"
    yield f"|  Disk Usage: {size_text(disk_bytes)}"
    yield " "
    yield "==================="
    yield "| Commit Details"
    yield "-------------------"
    yield f"|  Commit: {commit}"
    yield f"|  Created: {time.ctime(found.author.time)}"
    yield f"|  By: {found.author.name}"
    yield f"|  Email: {found.author.email}"
    yield f"|  Message: {found.message.rstrip()}"
    yield " "
    yield "=================="
    yield "| DataSets"
    yield "|-----------------"
    yield f"|  Number of Named Arraysets: {len(snapshot.arrayset_trees)}"
    for records in snapshot.arraysets():
        schema = records.schema
        yield "|"
        yield f"|  * Arrayset Name: {records.name}"
        yield f"|    Num Arrays: {records.count()}"
        yield "|    Details:"
        yield f"|    - schema_hash: {schema.hash}"
        yield f"|    - schema_dtype: {schema.dtype}"
        yield f"|    - schema_is_var: {schema.variable_shape}"
        yield f"|    - schema_max_shape: {schema.shape}"
        yield f"|    - schema_is_named: {schema.named_samples}"
        yield f"|    - schema_default_backend: {Storage.of(schema).backend.code}"
    yield " "
    yield "=================="
    yield "| Metadata:"
    yield "|-----------------"
    yield f"|  Number of Keys: {len(snapshot.metadata_files)}"


def size_text(size_bytes: float) -> str:
    """`size_bytes` for people: ``67.29 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.2f} {unit}" if unit != "B" else f"{size_bytes} B"
        size_bytes /= 1000
    return f"{size_bytes:.2f} TB"
