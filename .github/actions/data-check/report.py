"""Report on the samples that differ between two revisions: report.md, and pictures of some."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from hangar_git import Repository
from hangar_git.errors import HangarError
from hangar_git.plugins.terminal import picture_of

SIZE = 96
KINDS = ("added", "deleted", "mutated")


def main() -> None:
    """Write the report that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("head")
    parser.add_argument("--samples", type=int, default=16, help="most samples to draw")
    parser.add_argument("--out", type=Path, default=Path("data-report"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    changes = json.loads(
        subprocess.run(
            ["git-hangar", "diff", options.base, options.head, "--json"],
            check=True, capture_output=True,
        ).stdout
    )  # fmt: skip
    (options.out / "report.md").write_text(report(changes))
    for name, change in changes["arraysets"].items():
        draw(name, change, options)


def report(changes: dict[str, Any]) -> str:
    """What changed, as Markdown."""
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
    return "\n".join(lines) + "\n"


def draw(name: str, change: dict[str, Any], options: argparse.Namespace) -> None:
    """A picture of changed samples: as they were above, as they are below."""
    from PIL import Image

    keys = [tuple(key) if isinstance(key, list) else key for kind in KINDS for key in change[kind]]
    columns = []
    for key in keys[: options.samples]:
        tiles = [tile(sample(revision, name, key)) for revision in (options.base, options.head)]
        if any(one is not None for one in tiles):
            empty = np.full((SIZE, SIZE, 3), 255, np.uint8)
            columns.append(np.concatenate([empty if one is None else one for one in tiles]))
    if columns:
        Image.fromarray(np.concatenate(columns, axis=1)).save(options.out / f"{name}.png")


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
    main()
