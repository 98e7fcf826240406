"""A server's log: one JSON object on each line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, TextIO

LOGGER = logging.getLogger("hangar_git.server")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start_log(stream: TextIO) -> None:
    """Write the server's log to `stream`, and what libraries complain about, too."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)


def log(event: str, *, level: int = logging.INFO, error: bool = False, **fields: Any) -> None:
    """Write one line; `error` adds the traceback of the exception being handled.

    Callers' secrets must not be among `fields`; nothing here could tell.
    """
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=error)
