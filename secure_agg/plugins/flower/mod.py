"""The client's side: a Flower mod that keeps the app's replies on the node and answers for it.

Whoever submits a run also ships the code that runs on the nodes, this mod included: it protects a node from servers and
other nodes, not from an app that its own operator lets run unread. What the mod believes comes from the node's home,
which its operator names with ``--node-config 'secure-agg-home="…"'``; the run can't name another.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from secure_agg.errors import ConfigError, PolicyViolation, UpdateError
from secure_agg.plugins.flower import records, wire
from secure_agg.plugins.flower.logs import logger, relay
from secure_agg.plugins.home import ClientHome
from secure_agg.plugins.layers import Layers
from secure_agg.plugins.metrics import scalars
from secure_agg.plugins.participant import Participant, Trained

HOME: Final = "secure-agg-home"
"""Key of the node's own configuration: the folder that holds its identity and pins."""

_TRAIN: Final = "train"

_Record = TypeVar("_Record")


def secure_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer a message of a secure round; the app trains or evaluates inside of it, and its reply stays here.

    Put it where the app registers its functions, ``@app.train(mods=[secure_mod])`` and
    ``@app.evaluate(mods=[secure_mod])``, or around all of them, ``ClientApp(mods=[secure_mod])``.

    Args:
        message: from ``SecureGrid``.
        context: names this node's home in its ``node_config``.
        call_next: the app, or the next mod.

    Returns:
        A reply that holds a payload of the protocol and nothing else.

    Raises:
        ConfigError: the node names no home, or it is unfit.
        PolicyViolation: the message asks the app for a reply in clear.
        SecureAggError: this node refuses what it was asked. Flower logs it and sends its text to the server.
    """
    relay()
    payload, content = wire.take(message.content)
    kind = message.metadata.message_type
    if payload is None:
        raise PolicyViolation(f"a {kind!r} message asks for a reply in clear; this node answers secure rounds only")
    with closing(ClientHome.open(_home(context))) as home:
        participant = Participant(home)
        if not content:
            return _reply(message, participant.handle(payload))
        named = records.to_arrays(_only(content.array_records, "message has", "array record"))
        layers = Layers.of(named)
        weight_key = wire.weight_key(message.content)

        def run_app() -> Trained:
            message.content = content
            reply = _call(call_next, message, context)
            return _trained(reply, layers if kind.partition(".")[0] == _TRAIN else None, weight_key)

        return _reply(message, participant.handle(payload, layers.floats(named), run_app))


def _home(context: Context) -> Path:
    path = context.node_config.get(HOME)
    if not isinstance(path, str):
        raise ConfigError(f"this node's configuration names no home: start it with --node-config '{HOME}=\"/path\"'")
    return Path(path)


def _reply(message: Message, payload: bytes) -> Message:
    return Message(wire.put(RecordDict(), payload), reply_to=message)


def _call(call_next: ClientAppCallable, message: Message, context: Context) -> RecordDict:
    """The app's reply. What it says when it fails stays in this node's log: it may quote the data."""
    try:
        reply = call_next(message, context)
    except Exception as error:
        logger.exception("the app has failed")
        raise UpdateError(f"the app has failed with {type(error).__name__}: see this node's log") from None
    if not reply.has_content():
        raise UpdateError("the app has replied with an error")
    return reply.content


def _trained(reply: RecordDict, layers: Layers | None, weight_key: str) -> Trained:
    """What an app's reply says, in the form that Flower's own strategies ask for; no layers where it has evaluated."""
    metrics = dict(_only(reply.metric_records, "app's reply has", "metric record"))
    weight = metrics.pop(weight_key, None)
    if isinstance(weight, float) and weight.is_integer():
        weight = int(weight)
    if not isinstance(weight, int):
        raise UpdateError(f"the app's reply has no whole number {weight_key!r} among its metrics, which is its weight")
    arrays = (
        layers.floats(records.to_arrays(_only(reply.array_records, "app's reply has", "array record")))
        if layers
        else []
    )
    return Trained(arrays, weight, scalars(metrics))


def _only(found: Mapping[str, _Record], whose: str, what: str) -> _Record:
    """The one record of its kind, as Flower's strategies want it."""
    if len(found) != 1:
        raise UpdateError(f"the {whose} {len(found)} {what}s, and one is awaited")
    return next(iter(found.values()))
