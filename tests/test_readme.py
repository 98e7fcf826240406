"""The README's code runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


def test_the_python_blocks_run(tmp_path):
    code = "".join(blocks("python")) + "print(len(batch), slab.shape)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7 0\n* ")
    assert "first version" in done.stdout
    assert done.stdout.endswith("256 (16, 128, 64)\n")


def test_the_console_block_runs(tmp_path):
    lines = "".join(blocks("console"))
    script = "\n".join(line.removeprefix("$ ") for line in lines.splitlines())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=os.environ | {"PATH": path},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "first patient" in done.stdout
    assert "1 sample" in done.stdout.splitlines()[-3]
    assert done.stdout.endswith("clean\n")
    assert list((tmp_path / "scans" / "out").rglob("*.npy"))
