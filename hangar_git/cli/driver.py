"""What git runs for record files: the merge driver, and the text conversion for diffs.

``python -m hangar_git.cli.driver merge BASE OURS THEIRS PATH`` and ``... text FILE``. It stands
apart from the command line and its slow imports, because git starts a process for every file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..records.textmerge import key_name, merge_texts, parse


def main(arguments: Sequence[str]) -> int:
    """Run one of the two; the exit code git expects."""
    if len(arguments) == 5 and arguments[0] == "merge":
        return merge(*arguments[1:])
    if len(arguments) == 2 and arguments[0] == "text":
        sys.stdout.write(shown(_read(arguments[1])))
        return 0
    sys.stderr.write("usage: driver merge BASE OURS THEIRS PATH | driver text FILE\n")
    return 2


def merge(base: str, ours: str, theirs: str, path: str) -> int:
    """Merge into file `ours`, which is a valid record file whatever happens; 1 at a conflict."""
    arrayset = path.rsplit("arraysets/", maxsplit=1)[-1].split("/", maxsplit=1)[0]
    try:
        merged = merge_texts(_read(base), _read(ours), _read(theirs))
    except ValueError as error:
        sys.stderr.write(f"hangar: arrayset {arrayset!r}: {path}: {error}\n")
        return 1
    for key in merged.conflicts:
        place = f"arrayset {arrayset!r}, sample {key_name(key)}"
        sys.stderr.write(f"hangar: {place}: changed on both sides\n")
    # Written beside and renamed: a driver that is killed leaves our side as it was.
    temporary = f"{ours}.hangar-{os.getpid()}"
    try:
        with open(temporary, "w", encoding="ascii", newline="\n") as file:  # noqa: PTH123
            file.write(merged.text)
        os.replace(temporary, ours)  # noqa: PTH105
    except OSError as error:
        sys.stderr.write(f"hangar: {path}: {error}\n")
        return 1
    return 1 if merged.conflicts else 0


def shown(text: str) -> str:
    """A record file for people: its samples alone, in the order of their keys."""
    try:
        records = parse(text).records
    except ValueError:
        return text
    rows = []
    for key, line in sorted(records.items()):
        digest, *shape = line.split("\t")[2:]
        note = f"  shape {shape[0] or 'scalar'}" if shape else ""
        rows.append(f"sample {key_name(key)}: {digest[:16]}{note}\n")
    return "".join(rows)


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace", newline="") as file:  # noqa: PTH123
        return file.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
