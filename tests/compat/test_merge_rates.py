"""How often plain Git merges small independent edits, with no driver installed; never wrongly."""

from __future__ import annotations

import subprocess

import pytest

from .histories import History, change

TRIALS = 200


def trial(history: History, n: int, adds: int, changes: int, number: int):
    """Two branches off one commit, each adding and changing other samples."""
    rng = history.random
    base = history.git.pygit2.references["refs/heads/main"].target
    keys = rng.sample(range(n), 2 * changes)
    sides = []
    for side in range(2):
        values = {key: history.digest() for key in keys[side * changes : (side + 1) * changes]}
        values |= {f"s{side}-{number}-{i}": history.digest() for i in range(adds)}
        sides.append((values, history.commit(change(values), (base,))))
    return base, sides


def merged_tree(history: History, ours, theirs) -> str | None:
    """What a host's merge button makes of two commits; None at a conflict."""
    done = subprocess.run(
        ["git", "merge-tree", "--write-tree", str(ours), str(theirs)],
        cwd=history.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.split()[0] if done.returncode == 0 else None


@pytest.mark.parametrize(
    ("n", "adds", "changes", "trials", "least"),
    [
        (2_000, 5, 5, TRIALS, 0.93),
        (2_000, 20, 20, TRIALS, 0.0),
        (200, 5, 5, TRIALS, 0.0),
        (50_000, 5, 5, 20, 0.93),
        (50_000, 20, 20, 20, 0.0),
    ],
)
def test_plain_git_merges_small_edits_and_never_wrongly(
    n, adds, changes, trials, least, tmp_path, record_property
):
    history = History(tmp_path / "repo", seed=n + adds)
    base = history.first(n)
    before = history.records(base)
    clean = 0
    for number in range(trials):
        _, ((ours, one), (theirs, two)) = trial(history, n, adds, changes, number)
        tree = merged_tree(history, one, two)
        if tree is None:
            continue
        clean += 1
        data = history.git.subtree(type(one)(hex=tree), ".hangar")
        merged = history.snapshots(base).at(data).arrayset("images").load_all()
        assert merged == before | ours | theirs
    record_property(
        "figure",
        f"plain git merge, {n:,} samples, both sides {adds} added and {changes} changed:"
        f" {clean} of {trials} clean ({clean / trials:.0%}), none wrong",
    )
    assert clean / trials >= least
