"""A node that answers questions of statistics: what its app does in a round that ``questions`` asks in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from flwr.app import Context, Message, MetricRecord, RecordDict

from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.plugins.flower import given, records
from secure_agg.plugins.flower.mod import home_of
from secure_agg.plugins.statistics.answering import answered
from secure_agg.plugins.statistics.asking import QUESTION
from secure_agg.stats.tables import Table

TABLE: Final = "secure-agg-table"
"""Key of the node's own configuration: a CSV file, for an app that brings no table."""
CONFIG: Final = "config"
"""Flower's name for the record of settings."""


def answer_question(message: Message, context: Context, table: Any = None) -> Message:
    """The app's reply in a round of statistics; it goes no further than to ``secure_mod``.

        @app.train(mods=[secure_mod])
        def train(message, context):
            return answer_question(message, context, frame)

    Args:
        message, context: as the app is given them.
        table: this node's records: a data frame, a mapping of arrays or a ``Table``; by default the CSV file that its
            operator has named, ``--node-config 'secure-agg-table="…"'``.

    Raises:
        QueryRefused: by the rules of this node's owner, in its home, or beside what it has answered before.
        ConfigError: no rules, no table, or homes that are not made for statistics.
        MalformedMessage: the message asks no question.
    """
    content = message.content
    if len(content.array_records) != 1 or CONFIG not in content.config_records:
        raise MalformedMessage("a message asks no question of statistics")
    ((key, record),) = content.array_records.items()
    named = records.to_arrays(record)
    text = content.config_records[CONFIG].get(QUESTION)

    def found() -> Any:
        if table is not None:
            return table
        path = context.node_config.get(TABLE)
        if not isinstance(path, str):
            raise ConfigError(f"this node has no table: start it with --node-config '{TABLE}=\"/path.csv\"'")
        return Table.read_csv(Path(path))

    moved = answered(home_of(context), found, text, list(named.values()))
    arrays = dict(zip(named, map(np.asarray, moved), strict=True))
    metrics = MetricRecord({given.WEIGHT_KEY: 1})
    return Message(RecordDict({key: records.to_record(arrays), "metrics": metrics}), reply_to=message)
