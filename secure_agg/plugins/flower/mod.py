"""The client's side: a Flower mod that keeps the app's replies on the node and answers for it.

Whoever submits a run also ships the code that runs on the nodes, this mod included: it protects a node from servers and
other nodes, not from an app that its own operator lets run unread. What the mod believes comes from the node's home,
which its operator names with ``--node-config 'secure-agg-home="…"'``; the run can't name another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from secure_agg.errors import (
    AnotherModel,
    ConfigError,
    MalformedMessage,
    PolicyViolation,
    SecureAggError,
    UpdateError,
)
from secure_agg.fl.layers import Layers
from secure_agg.plugins.core.metrics import scalars
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.core.training import Trained
from secure_agg.plugins.flower import given, records, simulation, wire
from secure_agg.plugins.flower.channel import CHANNEL, held
from secure_agg.plugins.flower.logs import logger, relay
from secure_agg.plugins.homes import tenants
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.own import Own
from secure_agg.plugins.homes.standing import at_home

HOME: Final = "secure-agg-home"
"""Key of the node's own configuration: the folder that holds its identity and pins."""

_TRAIN: Final = "train"
_EVALUATE: Final = "evaluate"

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
        PolicyViolation: the message asks the app for a reply in clear, or for something else than to train or evaluate.
        SecureAggError: this node refuses what it was asked. Flower sends an error's text to the server, so the text is
            in this node's log, and the error that is raised says no more than its name and phase.
    """
    relay()
    try:
        return _answer(message, context, call_next)
    except Exception as error:
        logger.error("this node refuses a message: %s: %s", type(error).__name__, error)
        raise _nameless(error) from None


def _answer(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    if not message.has_content():
        raise MalformedMessage("a message without content")
    payload, content = wire.take(message.content)
    kind = message.metadata.message_type
    if payload is None:
        raise PolicyViolation(f"a {kind!r} message asks for a reply in clear; this node answers secure rounds only")
    category = kind.partition(".")[0]
    if category not in (_TRAIN, _EVALUATE):
        raise PolicyViolation(f"a {kind!r} message asks for something else than to train or evaluate")
    around = given.surroundings(context)
    # Who may be asked again by another way repeats what it has answered.
    keeps_answers = CHANNEL in context.node_config

    def participating(home: ClientHome) -> Participant:
        return Participant(home, around, keeps_answers=keeps_answers)

    said = around + bytes([keeps_answers])
    with at_home(home_of(context), said, participating) as (home, participant):
        other = tenants.use(home, context.run_id, context.node_id)
        if other is not None:
            logger.error(
                "home %s was used in this run by node %d, and is now by node %d: unless one was restarted as the "
                "other, two nodes have one home; give each its own", home.path, other, context.node_id,
            )  # fmt: skip
        if not content:
            return _reply(message, participant.handle(payload))
        content, left_out = _whole(home, content)
        named = records.to_arrays(_only(content.array_records, "message has", "array record"))
        layers = Layers.of(named)
        weight_key = given.WEIGHT_KEY if home.weight_key is None else home.weight_key
        instructions = given.instructions(message, content, weight_key, around)

        def run_app() -> Trained:
            with given.handed_over(message, content, context, home.name) as (asked, own):
                reply = _call(call_next, asked, own)
            return _trained(reply, layers if category == _TRAIN else None, weight_key)

        floats, base = layers.floats(named), None
        if left_out is not None and left_out.names == layers.averaged:  # and nothing of the server's beside them
            base = left_out.digest
        answer = participant.handle(payload, floats, run_app, instructions, base=base)
        return _reply(message, held(home, context, participant, payload, answer))


class _LeftOut(NamedTuple):
    """What of a message's model is from this node's own disk.

    Attributes:
        names: of the arrays that the server has left out, in their order.
        digest: of these arrays, as it was computed when they were.
    """

    names: tuple[str, ...]
    digest: bytes


def _whole(home: ClientHome, content: RecordDict) -> tuple[RecordDict, _LeftOut | None]:
    """What a message is about, with the model from this node's own disk where the server has left it out. A server may
    leave out some arrays and send others of its own beside them: such a model is digested like any.

    Raises:
        AnotherModel: it is left out, and this node has none.
        MalformedMessage: it is left out, and this node's is of other arrays.
    """
    (key, record), *more = content.array_records.items() or [("", None)]
    if more or record is None or not records.is_without(record):
        return content, None
    with home.locked():
        link = home.chain.link if home.checks_model else None
        if link is None:
            raise AnotherModel("the model is left out of a message, and this node has computed none")
        model = home.chain.model()
    left_out = _LeftOut(records.left_out(record), link.model)
    return RecordDict({**content, key: records.filled(record, model)}), left_out


def _nameless(error: Exception) -> SecureAggError:
    """An error of the same kind whose text says nothing of this node's data: no weight, no place of a NaN."""
    text = "see this node's log"
    if isinstance(error, SecureAggError):
        return type(error)(text, phase=error.phase)
    return UpdateError(f"an error outside the protocol: {text}")


def own_arrays(context: Context) -> Own:
    """What an app keeps on this node of the rounds that count, like SCAFFOLD's control variate: see ``Own``.

    Args:
        context: as the app is given it.

    Raises:
        ConfigError: the node names no home.
        StoreError: its disk fails.
    """
    return Own(home_of(context))


def home_of(context: Context) -> Path:
    """The folder that a node's operator has named, or that a simulated node is lent.

    Raises:
        ConfigError: the node names no home.
    """
    path = context.node_config.get(HOME)
    if isinstance(path, str):
        return Path(path)
    found = simulation.client_home(context)
    if found is None:
        raise ConfigError(f"this node's configuration names no home: start it with --node-config '{HOME}=\"/path\"'")
    return found


def _reply(message: Message, payload: bytes) -> Message:
    return Message(wire.put(RecordDict(), payload), reply_to=message)


def _call(call_next: ClientAppCallable, message: Message, context: Context) -> RecordDict:
    """The app's reply. What it says when it fails, and what its error is called, stays in this node's log."""
    try:
        reply = call_next(message, context)
    except Exception:
        logger.exception("the app has failed")
        raise UpdateError("the app has failed") from None
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
