"""The wheel as it is installed; `make wheel` does this for each Python, with dependencies."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> Path:
    """The directory with sdist and wheel; the wheel is built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    return out


def test_the_wheel_works_as_installed(distributions, tmp_path):
    """Dependencies are those of this environment, and nothing else of it is."""
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False, symlinks=True)
    (wheel,) = distributions.glob("*.whl")
    python = fresh / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", str(wheel)],
        check=True,
    )  # fmt: skip
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A directory named in a .pth file is looked in after the environment's own; the .pth file in
    # it, by which this project is installed here, is not read.
    (fresh / "lib" / version / "site-packages" / "dependencies.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )
    done = subprocess.run([ROOT / ".ci" / "smoke", fresh / "bin"], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_distributions_hold_what_they_should(distributions):
    (wheel,), (sdist,) = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith(".dist-info/METADATA")))
    assert "hangar_git/py.typed" in names
    pages = {Path(name).name for name in names if "/share/man/man1/" in name}
    assert pages == {path.name for path in (ROOT / "docs" / "man").iterdir()}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "hangar_git").rglob("*.py")}
    assert sources <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]
    assert b"Requires-Python: >=3.11" in metadata
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "Makefile", "Containerfile", "LICENSE", "tests/conftest.py"} <= inside
