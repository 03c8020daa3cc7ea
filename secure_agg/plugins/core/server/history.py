"""The server's side of the chain of models: where the task has come to.

Everything comes from the ledger: a server that died between a record and its own next model computes that again.
"""

from __future__ import annotations

import logging
import shlex
from typing import Any, NamedTuple

import numpy.typing as npt

from secure_agg.errors import RunStopped, StoreError, UpdateError
from secure_agg.fl.layers import Floats, Layers, apply
from secure_agg.fl.server_optimizers import PLAIN
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.core.epochs.server import trust_at
from secure_agg.plugins.core.training import mean_of
from secure_agg.plugins.homes import kept
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch import RESTART, EpochRecord
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.tlog.receipt import Receipt

_log = logging.getLogger("secure_agg.plugins")


class Entry(NamedTuple):
    """A round in the ledger, and what proves it."""

    record: RoundRecord
    evidence: Evidence
    receipt: Receipt


def entry(ledger: Ledger, index: int) -> Entry:
    """What the ledger has at a place.

    Raises:
        LedgerDamaged: record or evidence is not what it was.
    """
    record = ledger.record(index)
    return Entry(record, ledger.evidence(record), ledger.receipt(index))


def way_on(home: ServerHome) -> str:
    """How a task goes on, for whoever has begun with another model."""
    return (
        f"Go on from the last verified model: 'secure-agg federation model {shlex.quote(str(home.path))} --out FILE' "
        "writes it, SecureGrid.last_model() returns it under Flower. Training anew takes a new task, and new homes"
    )


def last_model(home: ServerHome) -> tuple[RoundRecord, dict[str, npt.NDArray[Any]]] | None:
    """The last verified model of a server's task, with its names.

    Returns:
        The record of the round that led to it, and its arrays by name, in its order; None before the first round.

    Raises:
        StoreError: it is lost.
    """
    record = home.ledger.last(home.task)
    if record is None:
        return None
    named = kept.kept(home)
    if named is None:
        raise StoreError(f"{home.model_path} is not there: no round was made since models are kept with their names")
    if not home.checks_model:
        return record, named
    with home.locked():
        History(home)._follow(record)
        chain, _ = home.models()
        link = chain.link
        if link is None or link.record != record.digest():
            raise StoreError(f"{home.path} has lost the models before round {record.round}")
        try:
            return record, Layers.of(named).restore(named, chain.model())
        except UpdateError as error:
            raise StoreError(f"{home.model_path} is not a model of this task: {error}") from error


class History:
    """Of the task that trains."""

    def __init__(self, home: ServerHome) -> None:
        self._home = home
        self._results: tuple[RoundRecord | None, tuple[int, ...]] = None, ()

    def check(self, digest: bytes, last: RoundRecord | None) -> None:
        """Refuse a model that every node would refuse, by its digest.

        Raises:
            RunStopped: it is not the model that the task's results lead to, or not the pinned first one; says what is.
        """
        home = self._home
        if not home.checks_model or self._begins(digest):
            return
        if last is None:
            if home.start_model not in (None, digest):
                raise RunStopped(
                    f"the model is {digest.hex()[:16]}…, and the start model that is pinned for task {home.task!r} is "
                    f"{(home.start_model or b'').hex()[:16]}…: begin with that one, or make the homes anew with "
                    "--start-model and this one's digest"
                )
            return
        with home.locked():
            self._follow(last)
            link = home.models()[0].link
        if link is not None and link.record == last.digest() and link.model != digest:
            raise RunStopped(
                f"the model is {digest.hex()[:16]}…, and the one that {link.rounds} verified results of task "
                f"{home.task!r} lead to is {link.model.hex()[:16]}…: every node would refuse it. {way_on(home)}"
            )

    def begin(self, model: Floats, last: RoundRecord | None) -> None:
        """Note what a round starts from; of the first one the model itself, durably."""
        home = self._home
        if not home.checks_model:
            return
        with home.locked():
            chain, start = home.models()
            if last is None:
                start.begin((home.task, 0, 0), {"model": model}, {"digest": model_digest(model).hex()})
                chain.start(model)
            else:
                self._follow(last)

    def _begins(self, digest: bytes) -> bool:
        """Whether a new training begins from this model: as the newest epoch says, or the one that is proposed."""
        home = self._home
        newest, proposal = home.ledger.newest(home.task), home.proposal()
        if isinstance(newest, EpochRecord) and newest.base_model == digest and newest.start_model != NO_DIGEST:
            _, evidence = home.ledger.epoch(home.ledger.epochs(home.task)[-1])
            if evidence.says.mode == RESTART:
                return True
        return proposal is not None and proposal.says.base_model == digest

    def restart(self, model: Floats, digest: bytes) -> None:
        """Go on to a model that a new training begins from, by its digest, and keep it for nodes that were away."""
        home = self._home
        if not home.checks_model or home.ledger.last(home.task) is None or not self._begins(digest):
            return
        with home.locked():
            chain, _ = home.models()
            home.training(digest).begin((home.task, 0, 0), {"model": model}, {"digest": digest.hex()})
            chain.restart(model)

    @property
    def model(self) -> bytes | None:
        """Digest of the model that the results have led to; None before the first."""
        if not self._home.checks_model:
            return None
        with self._home.locked():
            link = self._home.models()[0].link
        return link.model if link and link.rounds else None

    def outcome(self, model: Floats, last: RoundRecord, verified: Verified) -> list[npt.NDArray[Any]]:
        """The model that the last result leads to, in the dtypes of ``model``, which the round has started from.

        Raises:
            StoreError: the optimizer's moments are lost.
        """
        home = self._home
        if home.checks_model:
            with home.locked():
                self._follow(last, verified)
                chain, _ = home.models()
                link = chain.link
                if link is not None and link.record == last.digest():
                    return [
                        after.astype(before.dtype, copy=False)
                        for before, after in zip(model, chain.model(), strict=True)
                    ]
            if home.optimizer != PLAIN:
                raise StoreError(f"{home.path} has lost the models before round {last.round}, or their moments")
        return apply(model, *mean_of(verified))

    def results_up_to(self, last: RoundRecord) -> tuple[int, ...]:
        """Where the task's results are in the ledger, in order; ``last`` is the newest."""
        if self._results[0] != last:
            self._results = last, self._home.ledger.indexes(self._home.task)
        return self._results[1]

    def _follow(self, last: RoundRecord, verified: Verified | None = None) -> None:
        """Go on to the last result, from where the chain was left."""
        chain, start = self._home.models()
        link = chain.link
        for index in self.results_up_to(last)[link.rounds if link else 0 :]:
            at = entry(self._home.ledger, index)
            base = at.evidence.config.base_model
            if (link is None or not link.rounds) and (link is None or link.model != base):
                model = start.arrays("model") if start.key else []
                if model_digest(model) != base:
                    return
                chain.start(model)
            if (link := chain.link) is not None and link.rounds and link.model != base:
                begun = self._home.training(base)
                if begun.key is None:
                    return
                chain.restart(begun.arrays("model"))
            link = chain.link
            if link is None or link.model != base:
                return
            trust = trust_at(self._home, at.evidence.config.epoch)
            done = verified if verified and at.record == last else Auditor(trust).verify(at.evidence)
            mean, signs = mean_of(done)
            chain.advance(at.record, mean, signs, len(trust.task(self._home.task).roster))
            link = chain.link
