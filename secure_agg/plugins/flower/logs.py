"""The plug-in's lines belong into Flower's own log, where whoever runs a SuperLink or a SuperNode reads."""

from __future__ import annotations

import logging

from flwr.common.logger import FLOWER_LOGGER

logger = logging.getLogger("secure_agg.plugins")
"""The logger of all plug-ins."""


class _Relay(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        for handler in FLOWER_LOGGER.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


def relay() -> None:
    """Pass this package's lines on to Flower's logger; further calls change nothing."""
    if not any(isinstance(handler, _Relay) for handler in logger.handlers):
        logger.addHandler(_Relay())
        logger.setLevel(logging.INFO)
