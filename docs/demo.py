"""Real data under version control: digits and photographs, beside code, in one Git repository.

    python docs/demo.py [DIRECTORY]

Works in a temporary directory, or makes and keeps DIRECTORY. Exits with an error if any sample
read back is not, bit by bit, what was committed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from hangar_git import Repository

# `git hangar` is git-hangar, which is installed beside this Python.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
INVERTED = [3, 14, 159]

Array: TypeAlias = NDArray[Any]
Samples: TypeAlias = dict[Any, Array]


def main() -> None:
    """Run the demonstration in the directory that is given, or in a temporary one."""
    if len(sys.argv) > 1:
        place = Path(sys.argv[1])
        if place.exists():
            sys.exit(f"{place} exists; give a directory that can be made")
        place.mkdir(parents=True)
        demonstrate(place)
        print(f"\nThe repository is in {place}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        demonstrate(Path(temporary))


def demonstrate(place: Path) -> None:
    """Write, change, and read back, in a new repository at `place`."""
    scans = load_digits()
    digits, labels = scans.images.astype(np.uint8), scans.target.reshape(-1, 1)
    photos = dict(zip(["china", "flower"], load_sample_images().images, strict=True))
    original = {
        "digits": dict(enumerate(digits)),
        "labels": dict(enumerate(labels)),
        "photos": photos,
    }
    cleaned = {
        "digits": original["digits"] | {number: 16 - digits[number] for number in INVERTED},
        "labels": original["labels"],
        "photos": photos | {"china": np.ascontiguousarray(photos["china"][50:250, 100:400])},
    }
    write_files(place / "incoming", digits, photos)
    begin(place)
    first_commit(place, original["labels"])
    change_on_a_branch(place, cleaned)

    heading("Both versions are there, bit by bit")
    for branch, expected in (("main", original), ("cleaned", cleaned)):
        compare(place, branch, expected)

    heading("What is stored")
    run(place, "git hangar arrayset list")
    run(place, "git log --oneline --shortstat")
    run(place, "git count-objects -H")
    for file in sorted((place / ".git" / "hangar" / "containers").rglob("*.*")):
        print(f"{file.relative_to(place)}: {file.stat().st_size:,} bytes")
    size_bytes = digits.nbytes + labels.nbytes + sum(photo.nbytes for photo in photos.values())
    print(f"(arrays of the first commit: {size_bytes:,} bytes)")
    run(place, "git fsck --strict")
    run(place, "git diff --exit-code --stat HEAD")


def write_files(directory: Path, digits: Array, photos: Samples) -> None:
    """Make the files that are to be imported."""
    directory.mkdir()
    np.save(directory / "digits.npy", digits)
    for name, photo in photos.items():
        Image.fromarray(photo).save(directory / f"{name}.png")


def begin(place: Path) -> None:
    """Make a repository of code, and let data into it."""
    heading("A Git repository with code; data joins it")
    run(place, "git init --quiet --initial-branch=main")
    run(place, "git hangar init --name Ada --email ada@example.com")
    (place / "train.py").write_text("print('training')\n")
    run(place, "git add train.py")
    run(place, "git commit --quiet -m 'Code to train with'")


def first_commit(place: Path, labels: Samples) -> None:
    """Stage files by the command, and arrays by the Python API; commit both."""
    heading("Files from the command line and arrays from Python, in one commit")
    run(place, "git hangar arrayset create digits UINT8 8 8")
    run(place, "git hangar arrayset create photos UINT8 1000 1000 3 --variable-shape")
    run(place, "git hangar import digits incoming/digits.npy")
    run(place, "git hangar import photos incoming/china.png incoming/flower.png")
    shutil.rmtree(place / "incoming")
    print(">>> co = Repository('.').checkout(write=True)")
    print(">>> co.arraysets.init_arrayset('labels', prototype=label)[0] = label   # and so on")
    co = Repository(place).checkout(write=True)
    with co.arraysets.init_arrayset("labels", prototype=labels[0]) as aset:
        for number, label in labels.items():
            aset[number] = label
    co.metadata["source"] = "scikit-learn"
    co.close()
    run(place, "git hangar commit -m 'Digits, labels and photographs'")


def change_on_a_branch(place: Path, cleaned: dict[str, Samples]) -> None:
    """Commit other values of a few samples to another branch."""
    heading("A branch, with some samples changed")
    run(place, "git hangar branch create cleaned")
    run(place, "git hangar checkout cleaned")
    print(">>> co['digits', 3] = 16 - co['digits', 3]   # and two more; and a photo is cropped")
    co = Repository(place).checkout(write=True)
    for number in INVERTED:
        co["digits", number] = cleaned["digits"][number]
    co["photos", "china"] = cleaned["photos"]["china"]
    co.close()
    run(place, "git hangar status")
    run(place, "git hangar commit -m 'Invert three digits, crop a photograph'")
    run(place, "git hangar log")


def compare(place: Path, branch: str, expected: dict[str, Samples]) -> None:
    """End the program unless `branch` holds exactly these arrays."""
    co = Repository(place).checkout(branch=branch)
    for name, samples in expected.items():
        if set(co[name].keys()) != set(samples):
            sys.exit(f"{branch}: {name} holds other samples than were committed")
        for key, array in samples.items():
            got = co[name, key]
            same_type = (got.dtype, got.shape) == (array.dtype, array.shape)
            if not same_type or got.tobytes() != array.tobytes():
                sys.exit(f"{branch}: sample {key!r} of {name} is not what was committed")
    count = sum(len(samples) for samples in expected.values())
    print(f"{branch} at {co.commit_hash[:12]}: {count:,} samples equal to the originals")
    co.close()


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n--- {text}")


def run(place: Path, command: str) -> None:
    """Show a command and what it prints; end the program if it fails."""
    print(f"$ {command}", flush=True)
    environment = {**os.environ, "PATH": PATH}
    done = subprocess.run(shlex.split(command), cwd=place, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"{command!r} failed with exit code {done.returncode}")


if __name__ == "__main__":
    main()
