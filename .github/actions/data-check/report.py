"""Report on the samples that differ between two revisions: report.md, and pictures of some."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hangar_git import Repository
from hangar_git.cli.names import shown_name
from hangar_git.errors import HangarError
from hangar_git.plugins.terminal import picture_of

SIZE = 96
KINDS = ("added", "deleted", "mutated")


def main() -> int:
    """Write the report that the command line asks for; 1 if the remote lacks an array."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("head")
    parser.add_argument("--remote", help="ask it for all arrays, and fetch those that are drawn")
    parser.add_argument("--samples", type=int, default=16, help="most samples to draw")
    parser.add_argument("--out", type=Path, default=Path("data-report"))
    parser.add_argument("--pictures", metavar="URL", help="where the pictures will be found")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    changes = asked("diff", options.base, options.head)
    lines = report(changes)
    missing = 0
    if options.remote:
        # The head as a whole, and what the commits before it name: all of them are to be merged.
        for revision in (options.head, f"{options.base}..{options.head}"):
            found = asked("remote", "check", options.remote, revision)
            if found["missing"]:
                missing = found["missing"]
                some = ", ".join(f"`{one['arrayset']}/{one['sample']}`" for one in found["some"])
                lines += ["", f"**{options.remote} lacks {missing:,} arrays**, such as {some}:"
                          f" `git hangar push {options.remote} BRANCH` sends them."]  # fmt: skip
                break
        else:
            lines += ["", f"All arrays are at {options.remote}."]
    for name, change in changes["arraysets"].items():
        if draw(name, change, options) and options.pictures:
            lines += ["", f"`{name}`, before (above) and after:",
                      "", f"![{name}]({options.pictures}/{name}.png)"]  # fmt: skip
    (options.out / "report.md").write_text("\n".join(lines) + "\n")
    return 1 if missing else 0


def asked(*arguments: str) -> Any:
    """What a command of git hangar reports."""
    done = subprocess.run(["git-hangar", *arguments, "--json"], check=False, stdout=subprocess.PIPE)
    if not done.stdout:
        sys.exit(done.returncode)  # it has said why
    return json.loads(done.stdout)


def report(changes: dict[str, Any]) -> list[str]:
    """What changed, as lines of Markdown."""
    lines = ["### Changed data", ""]
    if changes["arraysets"]:
        lines += ["| arrayset | added | deleted | changed |", "| --- | ---: | ---: | ---: |"]
    for name, change in changes["arraysets"].items():
        note = {"added": " (new)", "deleted": " (removed)"}.get(change["change"], "")
        counts = " | ".join(f"{len(change[kind]):,}" for kind in KINDS)
        lines.append(f"| `{name}`{note} | {counts} |")
    if changes["metadata"]:
        keys = ", ".join(f"`{key}`" for key in changes["metadata"])
        lines += ["", f"Changed metadata: {keys}"]
    if len(lines) == 2:
        lines.append("No tensor data changed.")
    return lines


def draw(name: str, change: dict[str, Any], options: argparse.Namespace) -> bool:
    """Make a picture of changed samples, as they were and as they are; whether there is any."""
    from PIL import Image

    of_kind = {kind: [tuple(key) if isinstance(key, list) else key for key in change[kind]]
               for kind in KINDS}  # fmt: skip
    keys = [key for kind in KINDS for key in of_kind[kind]][: options.samples]
    revisions = (options.base, options.head)
    if options.remote:
        for revision, gone in zip(revisions, ("added", "deleted"), strict=True):
            fetch(options.remote, revision, name, [key for key in keys if key not in of_kind[gone]])
    columns = []
    for key in keys:
        tiles = [tile(sample(revision, name, key)) for revision in revisions]
        if any(one is not None for one in tiles):
            empty = np.full((SIZE, SIZE, 3), 255, np.uint8)
            columns.append(np.concatenate([empty if one is None else one for one in tiles]))
    if columns:
        Image.fromarray(np.concatenate(columns, axis=1)).save(options.out / f"{name}.png")
    return bool(columns)


def fetch(remote: str, revision: str, name: str, keys: list[Any]) -> None:
    """Get some samples; those that the remote lacks are not drawn."""
    if keys:
        listed = "".join(f"{shown_name(key)}\n" for key in keys)
        subprocess.run(
            ["git-hangar", "fetch-data", remote, revision, "-d", name, "--samples-from", "-"],
            check=False, input=listed, text=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip


def sample(revision: str, name: str, key: Any) -> Any:
    """A sample at a revision; None where it is not, or its data is not here."""
    checkout = Repository(".").checkout(commit=revision)
    try:
        return checkout.arraysets[name].get(key)
    except HangarError:
        return None
    finally:
        checkout.close()


def tile(data: Any) -> Any:
    """A small picture of a sample; None of what is no image."""
    from PIL import Image

    picture = picture_of(data) if isinstance(data, np.ndarray) else None
    if picture is None:
        return None
    return np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BOX))


if __name__ == "__main__":
    sys.exit(main())
