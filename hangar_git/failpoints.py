"""Named points at which tests kill the process, to see what survives.

``HANGAR_FAILPOINT=name`` or ``name:n`` kills at the n-th passage, with SIGKILL: no handler, no
`finally`, no flush. Unset, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

FAILPOINTS = (
    "staging.added",
    "staging.journal-torn",
    "staging.journal-written",
    "staging.journal-replaced",
    "store.container-written",
    "store.container-synced",
    "store.container-renamed",
    "store.index-written",
    "store.synced",
    "upkeep.rewritten",
    "upkeep.indexed",
    "commit.data-flushed",
    "commit.objects-written",
    "commit.object-written",
    "commit.update-recorded",
    "commit.index-locked",
    "commit.ref-moved",
    "commit.index-renamed",
    "commit.worktree-written",
    "commit.staging-cleared",
)
"""Every failpoint there is; the crash test kills at each of them."""

_name, _, _count = os.environ.get("HANGAR_FAILPOINT", "").partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    """Die here if the environment asks for it."""
    global _left  # noqa: PLW0603  # the passages of this process
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
