"""Import of many image files, as whole commands, against Pillow alone decoding the same files.

``python benchmarks/importing.py`` runs all. Set PYTHONPATH to the source tree if it is not
installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn.datasets
import workloads
from PIL import Image
from report import Report, Row, scratch, timed

from hangar_git import Repository
from hangar_git.threads import cpu_count

REPEATS = 5
# Compiled once, as packages are that pip has installed.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name != "PYTHONDONTWRITEBYTECODE"}  # fmt: skip

# The threads of one process, as import has them: processes of their own take longer to start.
DECODE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image

def decode(path):
    with Image.open(path) as image:
        image.load()

with ThreadPoolExecutor(int(sys.argv[2])) as pool:
    for _ in pool.map(decode, sorted(Path(sys.argv[1]).iterdir())):
        pass
"""


def files_of(name: str, make: Callable[[Path], None]) -> Path:
    """The directory of files called `name`; made when first asked for."""
    path = workloads.DATA / name
    if not path.exists():
        workloads.DATA.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{name}.{os.getpid()}.tmp")
        temporary.mkdir()
        make(temporary)
        temporary.rename(path)
    return path


def photographs(directory: Path, count: int = 500) -> None:
    """Views of the two photographs of scikit-learn, as sharp as they are: 400x600x3."""
    rng = np.random.default_rng(14)
    originals = sklearn.datasets.load_sample_images().images
    for number in range(count):
        image = originals[number % 2]
        top, left = rng.integers(0, image.shape[0] - 400), rng.integers(0, image.shape[1] - 600)
        view = image[top : top + 400, left : left + 600, :: rng.choice([-1, 1])]
        view = view[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
        light = np.clip(view * rng.uniform(0.8, 1.1, 3), 0, 255).astype(np.uint8)
        Image.fromarray(light).save(directory / f"{number:03}.jpg", quality=90)


def digits(directory: Path, count: int = 10_000) -> None:
    """Pen strokes of 28x28, as PNG."""
    for number, image in enumerate(workloads.load("digits")[:count]):
        Image.fromarray(image).save(directory / f"{number:05}.png")


def import_s(files: Path, shape: tuple[int, ...]) -> float:
    """Seconds of importing `files` into a new repository, Python's start included."""
    with scratch() as directory:
        repo = Repository(directory, exists=False)
        repo.init("Bench", "bench@example.org")
        co = repo.checkout(write=True)
        co.arraysets.init_arrayset("images", shape=shape, dtype=np.uint8)
        co.commit("an arrayset")
        co.close()
        os.sync()
        command = [sys.executable, "-m", "hangar_git.cli.main", "import", "images", str(files)]
        return timed(lambda: subprocess.run(command, cwd=directory, check=True,
                                            env=ENVIRONMENT, stdout=subprocess.DEVNULL))  # fmt: skip


def decode_s(files: Path) -> float:
    """Seconds of decoding `files` by Pillow alone on all processors, Python's start included."""
    command = [sys.executable, "-c", DECODE, str(files), str(cpu_count())]
    return timed(lambda: subprocess.run(command, check=True, env=ENVIRONMENT))


def main() -> None:
    report = Report("Import")
    for work, make, shape, target in (
        ("photographs", photographs, (400, 600, 3), None),
        ("digits", digits, (28, 28), 4.0),
    ):
        files = files_of(f"{work}-files", make)
        count = len(list(files.iterdir()))
        # In turn, so that what else the machine does meets both.
        pairs = [(decode_s(files), import_s(files, shape)) for _ in range(REPEATS)]
        floor, value = (min(column) for column in zip(*pairs, strict=True))
        kind = "JPEG photographs" if make is photographs else "PNG files"
        report.add(
            Row(f"import {count:,} {kind} of {'x'.join(map(str, shape))}", value, "s",
                target or 1.3 * floor, floor, "Pillow alone", more_is_better=False)
        )  # fmt: skip
    report.print()


if __name__ == "__main__":
    main()
