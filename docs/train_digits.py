"""Training on a pinned commit, twice the same; and the commit that spoilt the labels, bisected.

    python docs/train_digits.py [DIRECTORY]

Needs scikit-learn, for its digits, and torch. Works in a temporary directory, or makes and keeps
DIRECTORY. Exits with an error if the second run sees other batches, or the wrong commit is found.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hangar_git import Repository, make_torch_loader

# `git hangar` is git-hangar, which is installed beside this Python.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
TRAINED, COMMITS, SPOILT = 1500, 4, 2
GOOD_ENOUGH = 0.8


def main() -> None:
    """Run the example in the directory that is given, or in a temporary one."""
    if sys.argv[1:2] == ["--check"]:
        accuracy = train(Repository("."), "HEAD", epochs=10)["accuracy"]
        sys.exit(0 if accuracy >= GOOD_ENOUGH else 1)
    if len(sys.argv) > 1:
        run(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory(prefix="hangar-train-") as directory:
        run(Path(directory) / "digits")


def run(place: Path) -> None:
    """Commit the digits, train twice from one commit, and bisect a later mistake."""
    place.mkdir(parents=True)
    repo = Repository(place, exists=False)
    repo.init("Ada Lovelace", "ada@example.org")
    commits = history(repo)
    first, second = (train(repo, commits[0], epochs=10) for _ in range(2))
    print(json.dumps(first, indent=2))
    if first["batches"] != second["batches"]:
        sys.exit("the second run saw other batches")
    print("a second run from the same commit saw the same batches")
    found = bisect(place, good=commits[0], bad=commits[-1])
    print(f"git bisect run found {found[:12]}: {log(place, found)}")
    if found != commits[SPOILT]:
        sys.exit(f"and not {commits[SPOILT][:12]}, which spoilt the labels")


def history(repo: Repository) -> list[str]:
    """Digits and labels; then commits that each relabel a few, and one that spoils many."""
    from sklearn.datasets import load_digits  # what bisects need not import

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    rng = np.random.default_rng(7)
    commits = []
    co = repo.checkout(write=True)
    co.arraysets.init_arrayset("images", shape=(8, 8), dtype=np.float32)
    co.arraysets.init_arrayset("labels", prototype=np.array(0, np.int64))
    with co:
        for key, image in enumerate(images):
            co["images"][key] = image
            co["labels"][key] = np.array(digits.target[key], np.int64)
    commits.append(co.commit("digits of scikit-learn"))
    for number in range(1, COMMITS + 1):
        changed = rng.choice(TRAINED, 900 if number == SPOILT else 3, replace=False)
        with co:
            for key in changed.tolist():
                co["labels"][key] = np.array((digits.target[key] + number) % 10, np.int64)
        commits.append(co.commit(f"relabel {len(changed)} samples"))
    co.close()
    return commits


def train(repo: Repository, revision: str, epochs: int) -> dict[str, Any]:
    """Train on a commit; what to log of it: the commit, the loader's state, all batches' hash."""
    torch.set_num_threads(1)  # the network is so small that threads wait for one another
    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    seen = hashlib.sha256()
    with repo.checkout(commit=revision) as co:
        columns = [co["images"], co["labels"]]
        loader = make_torch_loader(
            columns, index_range=slice(0, TRAINED), batch_size=64, shuffle=True, seed=1
        )
        for _ in range(epochs):
            for batch in loader:
                seen.update(batch["images"].numpy().tobytes())
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(network(batch["images"]), batch["labels"])
                loss.backward()
                optimizer.step()
        (rest,) = make_torch_loader(columns, index_range=slice(TRAINED, None), batch_size=1000)
        with torch.no_grad():
            right = network(rest["images"]).argmax(1) == rest["labels"]
        return {
            "commit": co.commit_hash,
            "accuracy": round(right.float().mean().item(), 3),
            "batches": seen.hexdigest(),
            "loader": loader.state_dict(),
        }


def bisect(place: Path, good: str, bad: str) -> str:
    """The first bad commit, as git finds it by training on each that it tries."""
    check = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).resolve()))} --check"
    git(place, "bisect", "start", bad, good)
    git(place, "bisect", "run", "sh", "-c", check)
    found = git(place, "rev-parse", "refs/bisect/bad")
    git(place, "bisect", "reset")
    return found


def log(place: Path, commit: str) -> str:
    """The message of a commit."""
    return git(place, "log", "-1", "--format=%s", commit)


def git(place: Path, *arguments: str) -> str:
    """Run git, and return what it printed."""
    done = subprocess.run(
        ["git", *arguments], cwd=place, env={**os.environ, "PATH": PATH},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr}{done.stdout}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
