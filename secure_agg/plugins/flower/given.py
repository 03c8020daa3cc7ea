"""What Flower gives to an app, as one digest; and what the app then gets, which is that and no more.

Field by field, of what an app can read:

* content, all records but the payload's: bound, with their names, order and types; arrays as the bytes that they are.
* metadata: message type and group are bound. The ids of run and node are those of the context; the message's own id,
  its times and the server's ids are replaced, since a server chooses them for each node.
* context: run configuration, run and series are bound, beside the files of the app that Flower has installed (``.py``
  and ``.toml``). The node's configuration and its state are its own and stay out; its id, which the server gives, is
  replaced by one that follows from the member's id.

The code that runs can't be seen from inside of it: who ships an app that differs from node to node can ship one that
says it does not.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.app.constants import DEFAULT_TTL
from flwr.app.metadata import Metadata
from flwr.common.constant import APP_DIR, SUPERLINK_NODE_ID
from flwr.supercore.utils import get_flwr_home

from secure_agg.plugins.core.instructions import Instructions, files, ordered
from zk.transcript import digest

WEIGHT_KEY: Final = "num-examples"
"""The metric that Flower weighs by, unless it is told otherwise."""
_CODE: Final = (".py", ".toml")
_KINDS: Final = {ArrayRecord: "arrays", ConfigRecord: "config", MetricRecord: "metrics"}


def surroundings(context: Context) -> bytes:
    """Digest of what the run has brought to a node, as far as a mod can see it."""
    return Instructions.of(
        run=(context.run_id, context.series_id), run_configuration=ordered(context.run_config), app=_app()
    ).digest


def instructions(message: Message, content: RecordDict, weight_key: str, around: bytes) -> Instructions:
    """What an app is given by a message.

    Args:
        message: its type and group count.
        content: without the payload, as it arrives: see ``as_it_arrives``.
        weight_key: of the node's own home, so that nodes that weigh by different metrics are in no round together.
        around: see ``surroundings``.

    Raises:
        MalformedMessage: something in it has no encoding.
    """
    records = [(name, _kind(record), _values(record)) for name, record in content.items()]
    return Instructions.of(
        message=(message.metadata.message_type, message.metadata.group_id),
        records=records,
        weighted_by=weight_key,
        surroundings=around,
    )


def as_it_arrives(content: RecordDict) -> RecordDict:
    """What a node will find: Flower has fewer types for settings and metrics than Python. Arrays are shared."""
    return RecordDict(
        {
            name: record if isinstance(record, ArrayRecord) else type(record).inflate(record.deflate())
            for name, record in content.items()
        }
    )


@contextmanager
def handed_over(
    message: Message, content: RecordDict, context: Context, member: str
) -> Iterator[tuple[Message, Context]]:
    """The message and the context that the app gets in place of those that came; what it does to its state is kept."""
    node = int.from_bytes(digest("flower-node-id", member.encode())[:8], "little")
    metadata = Metadata(
        run_id=context.run_id,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=node,
        reply_to_message_id="",
        group_id=message.metadata.group_id,
        created_at=time.time(),
        ttl=DEFAULT_TTL,
        message_type=message.metadata.message_type,
    )
    own = Context(
        context.run_id, node, context.node_config, context.state, ordered(context.run_config), context.series_id
    )
    try:
        asked: Message = Message(content=content, metadata=metadata)  # type: ignore[call-overload]  # Flower's own way
        yield asked, own
    finally:
        context.state = own.state


def _kind(record: ArrayRecord | ConfigRecord | MetricRecord) -> str:
    """Also of a record by one of Flower's older names, which arrives under the new one."""
    return next(word for kind, word in _KINDS.items() if isinstance(record, kind))


def _values(record: ArrayRecord | ConfigRecord | MetricRecord) -> dict[str, Any]:
    if isinstance(record, ArrayRecord):
        return {name: (array.dtype, list(array.shape), array.stype, array.data) for name, array in record.items()}
    return dict(record)


def _app() -> list[tuple[str, dict[str, bytes]]]:
    """Folder and code of the app that Flower has installed and put on this process's path: one, or none in a test."""
    apps = os.fspath(get_flwr_home() / APP_DIR)
    texts = (each for each in sys.path if isinstance(each, str))  # Python imports from no other entries
    found = [path for path in map(Path, (text for text in texts if text.startswith(apps))) if str(path.parent) == apps]
    return [(path.name, files(path, lambda file: file.suffix in _CODE)) for path in found]
