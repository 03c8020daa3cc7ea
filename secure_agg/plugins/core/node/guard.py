"""On which models a node works: the first one, which its owner has pinned, and what follows from verified means.

A server that chooses a model can have a sum show single records of its cohort ("imprinting"): layers are crafted so
that each of their rows answers to few records only, and the row's mean update is then those records. So nothing is
trained on, or evaluated, that this node can't compute itself, but a first model where none is pinned.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from secure_agg.errors import AnotherModel, MalformedMessage, PolicyViolation
from secure_agg.fl.layers import Floats
from secure_agg.plugins.core.training import mean_of
from secure_agg.plugins.homes.chain import Known, Link
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.roles.auditor import Verified
from secure_agg.roles.memory import bonds, results

if TYPE_CHECKING:
    from secure_agg.plugins.homes.client import ClientHome

_log = logging.getLogger("secure_agg.plugins")


class Guard:
    """One node's; called with the home locked."""

    def __init__(self, home: ClientHome, tasks: tuple[str, ...]) -> None:
        """``tasks``: whose rounds this node joins: the home's, and its evaluation's."""
        self._home, self._tasks = home, tasks

    def known(self) -> Known | None:
        """How far this node has come; None where it takes any model, and so keeps none."""
        if not self._home.checks_model:
            return None
        link = self._home.chain.link
        return Known(link.rounds, link.model) if link else Known(-1, NO_DIGEST)

    def check(self, config: RoundConfig) -> None:
        """Refuse a round that does not begin where this node's models have come to.

        Args:
            config: whose base_model is the digest of what was handed out, to train from or to evaluate.

        Raises:
            AnotherModel: it is another model, or a round that doesn't come next. Which side has gone astray, this one
                or the server, can't be told, so nobody is named.
        """
        home = self._home
        if not home.checks_model:
            _log.warning("this home takes any model that the server hands out (--any-model)")
            return
        link = home.chain.link
        rounds, record, last = (link.rounds, link.record, link.last) if link else (0, NO_DIGEST, -1)
        after = home.epochs.after(record)
        if config.task == home.task and (config.previous_record != after.record or config.round <= last):
            raise AnotherModel(
                f"round {config.round} does not follow from the {rounds} results that this node has verified: "
                "the server has to show it those in between"
            )
        expected = self._expected(link)
        if expected is None and self._signed():
            raise AnotherModel(
                "this node has signed in this task, and its chain of models is gone: it has to be shown the results, "
                "or joins under a new task"
            )
        if expected is None:
            _log.warning(
                "no start model is pinned in this home, so the first one, %s…, is the server's choice; a crafted "
                "one makes the sum show single records. 'secure-agg federation join --start-model' pins it",
                config.base_model.hex()[:16],
            )
        self.check_base(config.base_model)

    def check_base(self, model: bytes) -> None:
        """Refuse a model that is not the one that this node's have come to, by its digest.

        Raises:
            AnotherModel: see ``check``.
        """
        link = self._home.chain.link if self._home.checks_model else None
        expected = self._expected(link) if self._home.checks_model else None
        if expected not in (None, model):
            raise AnotherModel(self._another(model, expected or b"", link.rounds if link else 0))

    def begin(self, config: RoundConfig, model: Floats) -> None:
        """Keep the first model that this node joins a round with."""
        home = self._home
        if not home.checks_model:
            return
        link = home.chain.link
        if link is not None and link.rounds and link.model != config.base_model and config.task == home.task:
            home.chain.restart(model)  # as the epoch in force says: it has been checked
        elif link is None or (link.rounds == 0 and link.model != config.base_model):
            home.chain.start(model)
        elif link.rounds == 0 and config.task == home.task and _types(home.chain.model()) != _types(model):
            # The digest is of values. The next model is rounded to the types of the one that all have trained from.
            home.chain.start(model)

    def learn(self, config: RoundConfig, verified: Verified, start: Floats | None = None) -> None:
        """Go on to the model that a verified result leads to, if it is the next one.

        A result that is known already changes nothing, nor does one for which this node lacks those before it or the
        first model: it gets them before its next round.

        Args:
            config: of the round that is over.
            verified: what its evidence proves.
            start: the task's first model, where the server has sent it.

        Raises:
            PolicyViolation: it is of another history than this node's.
            AnotherModel: it is over another model; see ``check``.
            MalformedMessage: ``start`` is not the model of that round.
        """
        home = self._home
        if config.task != home.task or not home.checks_model:
            return
        link, record = home.chain.link, verified.record
        rounds, known, last = (link.rounds, link.record, link.last) if link else (0, NO_DIGEST, -1)
        if record.round == last and record.digest() != known:
            raise PolicyViolation(f"another result of round {record.round} than this node has verified")
        if record.round <= last:
            return
        if config.previous_record != home.epochs.after(known).record:
            if record.round > last + 1:  # there may be one in between
                return
            raise PolicyViolation(f"round {record.round} follows from another result than this node has verified")
        expected = self._expected(link)
        if expected not in (None, config.base_model):
            raise AnotherModel(self._another(config.base_model, expected or b"", rounds))
        if link is None or link.model != config.base_model:
            if start is None:
                _log.info("the model that the task has started from is not here yet")
                return
            if model_digest(start) != config.base_model:
                raise MalformedMessage("what came as the start model is not what the first result started from")
            home.chain.restart(start)
        mean, signs = mean_of(verified)
        members = home.epochs.at(config.epoch).task(home.task).roster
        home.chain.advance(record, mean, signs, len(members))
        if (link := home.chain.link) is not None:
            for task in self._tasks:
                if task != home.task:
                    results.learn_model(home.store, home.name, task, link.model)

    def _expected(self, link: Link | None) -> bytes | None:
        """Digest of the only model that this node takes; None where it has bound itself to none yet."""
        after = self._home.epochs.after(link.record if link else NO_DIGEST)
        if after.restarted is not None:
            return after.restarted
        return link.model if link and link.rounds else self._start()

    def _start(self) -> bytes | None:
        """Digest of the only first model that this node takes; None where it has bound itself to none yet."""
        home = self._home
        if home.start_model is not None:
            return home.start_model
        link = home.chain.link
        return link.model if link and self._signed() else None

    def _signed(self) -> bool:
        return any(bonds.has_signed(self._home.store, self._home.name, task) for task in self._tasks)

    def _another(self, found: bytes, expected: bytes, rounds: int) -> str:
        if rounds:
            which = f"the one that {rounds} verified means lead to with '{self._home.optimizer}'"
        else:
            which = "the first one of this node" if self._home.start_model is None else "the pinned start model"
        return (
            f"this is not the model that follows from what this node has verified: it is {found.hex()[:16]}…, and "
            f"{which} is {expected.hex()[:16]}…"
        )


def _types(model: Floats) -> list[str]:
    return [array.dtype.name for array in model]
