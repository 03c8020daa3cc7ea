"""The library's log as JSON, a line each: what log collectors take without a parser of their own.

The library writes no secret into its log. As a second line, what looks like one, 64 hexadecimal digits or more or as
much in base 64, is taken out of every line: keys and digests are shown by their first digits only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

NAMES: Final = ("secure_agg", "mpc", "uvicorn.error")
"""Parents of all loggers that a service writes to."""
HIDDEN: Final = "[hidden]"
_SECRET: Final = re.compile(r"(?<![0-9a-zA-Z+/])(?:[0-9a-fA-F]{64,}|[0-9a-zA-Z+/_-]{43,}={0,2})(?![0-9a-zA-Z+/])")
_FIELDS: Final = ("task", "round", "phase", "member", "route", "status", "seconds", "bytes", "error")
"""What a record may have beside its message, by ``extra=``."""


def hide(text: str) -> str:
    """The text without what may be a key."""
    return _SECRET.sub(HIDDEN, text)


class JsonLines(logging.Formatter):
    """One JSON object a record: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, and what else it has."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII: what peers write ends none."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": hide(record.getMessage()),
        }
        for name in _FIELDS:
            value = record.__dict__.get(name)
            if value is not None:
                document[name] = hide(value) if isinstance(value, str) else value
        if record.exc_info:
            document["exception"] = hide(self.formatException(record.exc_info))
        return json.dumps(document)


@contextlib.contextmanager
def json_lines() -> Iterator[None]:
    """Write the log to stderr, from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(log.level, log.propagate) for log in loggers]
    for log in loggers:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        yield
    finally:
        for log, (level, propagate) in zip(loggers, before, strict=True):
            log.removeHandler(handler)
            log.setLevel(level)
            log.propagate = propagate
