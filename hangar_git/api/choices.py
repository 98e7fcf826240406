"""Choices of users for conflicts: arrays become stored samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..records.merge import Conflict, Settled
from ..records.recordfile import record_value
from ..staging.resolving import POLICIES, Chooser
from ..staging.session import WriteSession


def stored_choices(session: WriteSession, choose: Chooser) -> Chooser:
    """A chooser like `choose`, whose arrays are put into the store and stand for their records."""

    def chooser(conflict: Conflict) -> Any:
        choice = choose(conflict)
        if choice is None or isinstance(choice, Settled):
            return choice
        if isinstance(choice, np.ndarray):
            return Settled(stored_choice(session, conflict, choice))
        if isinstance(choice, str) and choice == "delete":
            return Settled(None)
        if isinstance(choice, str) and conflict.arrayset is None and choice not in POLICIES:
            return Settled(choice)
        return choice

    return chooser


def stored_choice(session: WriteSession, conflict: Conflict, array: np.ndarray[Any, Any]) -> bytes:
    """The record of `array`, put into the store to settle a conflict of a sample."""
    if conflict.arrayset is None or conflict.key is None:
        raise InvalidInputError(f"an array cannot settle this conflict: {conflict}")
    schema = session.base.arrayset(conflict.arrayset).schema
    data = schema.accept(array, conflict.arrayset, conflict.key)
    return record_value(schema, session.store.writer(schema).put(data), data)
