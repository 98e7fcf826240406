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

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from hangar_git import Repository

# `git hangar` is git-hangar, which is installed beside this Python.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
FIXED = [3, 14, 159]


def main() -> None:
    """Run the demonstration in the directory that is given, or in a temporary one."""
    if len(sys.argv) > 1:
        place = Path(sys.argv[1])
        place.mkdir(parents=True)  # one that exists is somebody's
        demonstrate(place)
        print(f"\nThe repository is in {place}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        demonstrate(Path(temporary))


def demonstrate(place: Path) -> None:
    """Write, change, and read back, in a new repository at `place`."""
    scans = load_digits()
    digits, labels = scans.images.astype(np.uint8), scans.target
    photos = dict(zip(["china", "flower"], load_sample_images().images, strict=True))
    files = place / "incoming"
    files.mkdir()
    np.save(files / "digits.npy", digits)
    for name, photo in photos.items():
        Image.fromarray(photo).save(files / f"{name}.png")

    heading("A Git repository with code; data joins it")
    run(place, "git init --quiet --initial-branch=main")
    run(place, "git hangar init --name Ada --email ada@example.com")
    (place / "train.py").write_text("print('training')\n")
    run(place, "git add train.py")
    run(place, "git commit --quiet -m 'Code to train with'")

    heading("Files from the command line, arrays from Python: one commit")
    run(place, "git hangar arrayset create digits UINT8 8 8")
    run(place, "git hangar arrayset create photos UINT8 1000 1000 3 --variable-shape")
    run(place, "git hangar import digits incoming/digits.npy")
    run(place, "git hangar import photos incoming/china.png incoming/flower.png")
    repo = Repository(place)
    print(">>> with co.arraysets.init_arrayset('labels', shape=(1,), dtype=int) as aset: ...")
    co = repo.checkout(write=True)
    with co.arraysets.init_arrayset("labels", shape=(1,), dtype=labels.dtype) as aset:
        for number, label in enumerate(labels):
            aset[number] = np.array([label])
    co.metadata["source"] = "scikit-learn"
    co.close()
    run(place, "git hangar commit -m 'Digits, labels and photographs'")
    shutil.rmtree(files)

    heading("A branch, with some samples changed")
    run(place, "git hangar branch create cleaned")
    run(place, "git hangar checkout cleaned")
    print(">>> co['digits', 3] = 16 - co['digits', 3]   # and two more; and a photo cropped")
    co = repo.checkout(write=True)
    for number in FIXED:
        co["digits", number] = 16 - digits[number]
    co["photos", "china"] = np.ascontiguousarray(photos["china"][50:250, 100:400])
    co.close()
    run(place, "git hangar status")
    run(place, "git hangar commit -m 'Invert three digits, crop a photograph'")
    run(place, "git hangar log")

    heading("Both versions are there, bit by bit")
    for branch, is_clean in (("main", False), ("cleaned", True)):
        expected = digits.copy()
        if is_clean:
            expected[FIXED] = 16 - expected[FIXED]
        china = photos["china"][50:250, 100:400] if is_clean else photos["china"]
        compare(repo, branch, expected, labels, {**photos, "china": china})

    heading("What is stored")
    run(place, "git hangar arrayset list")
    run(place, "git log --shortstat --format='%h %an: %s'")
    run(place, "git count-objects -H")
    containers = sorted((place / ".git" / "hangar" / "containers").rglob("*.*"))
    for file in containers:
        print(f"{file.relative_to(place)}: {file.stat().st_size:,} bytes")
    size_bytes = digits.nbytes + labels.nbytes + sum(photo.nbytes for photo in photos.values())
    print(f"(the arrays of the first commit: {size_bytes:,} bytes)")
    run(place, "git status --short")
    run(place, "git fsck --strict")


def compare(
    repo: Repository,
    branch: str,
    digits: np.ndarray,
    labels: np.ndarray,
    photos: dict[str, np.ndarray],
) -> None:
    """End the program unless `branch` holds exactly these arrays."""
    co = repo.checkout(branch=branch)
    expected = {
        "digits": dict(enumerate(digits)),
        "labels": {number: np.array([label]) for number, label in enumerate(labels)},
        "photos": photos,
    }
    for name, samples in expected.items():
        aset = co[name]
        if set(aset.keys()) != set(samples):
            sys.exit(f"{branch}: {name} holds other samples than were committed")
        for key, array in samples.items():
            got = aset[key]
            if (got.dtype, got.shape) != (array.dtype, array.shape) or (
                got.tobytes() != array.tobytes()
            ):
                sys.exit(f"{branch}: sample {key!r} of {name} is not what was committed")
    count = sum(map(len, expected.values()))
    print(f"{branch} at {co.commit_hash[:12]}: {count:,} samples equal to the originals")
    co.close()


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n--- {text}")


def run(place: Path, command: str) -> None:
    """Show a command and what it prints; end the program if it fails."""
    print(f"$ {command}", flush=True)
    done = subprocess.run(shlex.split(command), cwd=place, env={**os.environ, "PATH": PATH})
    if done.returncode != 0:
        sys.exit(f"{command!r} failed with exit code {done.returncode}")


if __name__ == "__main__":
    main()
