"""Settling the conflicts of a merge: by policy, by callable, and by policies that are committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from ..errors import InvalidInputError
from ..keys import SampleKey
from ..records.gitrepo import Oid
from ..records.merge import Conflict, Settled
from ..records.samplehistory import SampleHistory
from ..records.snapshot import Snapshot

Policy: TypeAlias = Literal["ours", "theirs", "base", "newest"]
Chooser: TypeAlias = Callable[[Conflict], Any]
"""Given a conflict: a policy's name, a `Settled` value, or None to leave the conflict."""

POLICIES = ("ours", "theirs", "base", "newest")


class Resolution:
    """The resolver of one merge.

    Parameters
    ----------
    snapshot_of
        Gives the snapshot of a commit.
    ours, theirs
        The commits that are merged.
    choose
        A policy for all conflicts, or a chooser; None settles nothing.

    Notes
    -----
    A policy that is committed in an arrayset's schema goes first for its samples, and holds for
    everyone; ``fail`` leaves them to `choose`.
    """

    def __init__(
        self,
        snapshot_of: Callable[[Oid | None], Snapshot],
        ours: Oid,
        theirs: Oid,
        choose: Policy | str | Chooser | None,
    ) -> None:
        if isinstance(choose, str) and choose not in POLICIES:
            raise InvalidInputError(f"resolve is one of {', '.join(POLICIES)}, not {choose!r}")
        self._snapshot_of = snapshot_of
        self._ours, self._theirs = ours, theirs
        self._choose = choose

    def __call__(self, conflict: Conflict) -> Settled[Any] | None:
        """Settle `conflict`, or leave it."""
        policy = self._committed_policy(conflict)
        if policy not in (None, "fail"):
            return self._settled(conflict, policy)
        choice = self._choose(conflict) if callable(self._choose) else self._choose
        return self._settled(conflict, choice)

    def _committed_policy(self, conflict: Conflict) -> str | None:
        if conflict.arrayset is None or conflict.key is None:
            return None
        ours = self._snapshot_of(self._ours)
        if conflict.arrayset not in ours.arrayset_trees:
            return None
        return ours.arrayset(conflict.arrayset).schema.merge

    def _settled(self, conflict: Conflict, choice: object) -> Settled[Any] | None:
        if choice is None or isinstance(choice, Settled):
            return choice
        if choice == "newest":
            choice = self._newest_side(conflict)
        match choice:
            case "ours" | "theirs" | "base":
                return Settled(getattr(conflict, choice), choice)
        raise InvalidInputError(
            f"a conflict is settled by one of {', '.join(POLICIES)} or a value, not {choice!r}"
        )

    def _newest_side(self, conflict: Conflict) -> str | None:
        """The side whose last commit that touched the sample is the later one.

        Of things that are no samples, the side whose tip is the later one.
        """
        ours = self._last_touched(conflict.arrayset, conflict.key, self._ours, self._theirs)
        theirs = self._last_touched(conflict.arrayset, conflict.key, self._theirs, self._ours)
        return "ours" if ours >= theirs else "theirs"

    def _last_touched(
        self, arrayset: str | None, key: SampleKey | None, side: Oid, other: Oid
    ) -> int:
        git = self._snapshot_of(side).git
        touching = iter([side])
        if arrayset is not None:
            history = SampleHistory(git, self._snapshot_of, arrayset, key)
            touching = history.commits(str(side), f"^{other}")
        return max((git.commit(commit).commit_time for commit in touching), default=0)
