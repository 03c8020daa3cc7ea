"""An edge's operator: it leads its edge's round, and takes part with the edge's sum in the top's.

What it is and says above its edge, in order: ``enrol`` (its session, for the forest), ``seal`` (its record, for the
roll), then a round like any client's, whose vector and commitment are the edge's sums as they are; between the first
two phases of that, once the session of the top is fixed, ``unseal``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from mpc.ring import Vector
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import ClientSide, Joining
from secure_agg.errors import LocalProtocolError, PolicyViolation, WrongContext
from secure_agg.protocol.config.tree import TOP, level
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import ADVERTISE, MAX_CONFIG, Incoming, Signature, decode, encode, write
from secure_agg.protocol.tree.evidence import without_sums
from secure_agg.protocol.tree.forest import EdgeSession, Forest, common
from secure_agg.protocol.tree.record import ENROL, SEAL, UNSEAL, EdgeRecord, Roll, SealedEdge, Unsealed, seal_of
from secure_agg.roles.client.client import Client
from secure_agg.roles.client.invitation import Entry
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.tree.auditor import check_edge
from secure_agg.roles.tree.pins import TreeTrust
from zk.commitment import Commitment
from zk.transcript import digest


def tree_session(task: str, round: int, attempt: int) -> bytes:
    """What messages are bound to before there is a forest: D("tree-session", task, round, attempt)."""
    return digest("tree-session", task.encode(), round.to_bytes(8, "little"), attempt.to_bytes(8, "little"))


@checked_class
class EdgeOperator(Client):
    """An edge's operator as a client of the top round. Its vector is its edge's sum, and its commitment that of its
    members' sum: nothing is encoded again, so the top's sum opens the sum of all members' commitments.
    """

    def __init__(
        self,
        identity: Identity,
        tree: TreeTrust,
        *,
        store: AttemptStore | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            identity: this operator's; its name is the edge's.
            tree: what it has pinned.
            store, entropy, clock: see ``Client``.

        Raises:
            TrustError: there is no such edge.
        """
        super().__init__(identity, tree.top, store=store, entropy=entropy, clock=clock)
        self.tree = tree
        self._sealed: tuple[Evidence, EdgeRecord, tuple[Signature, ...], bytes, Forest] | None = None
        self._roll: Roll | None = None

    def enrol(self, entry: EdgeSession, round: int, attempt: int) -> bytes:
        """The edge's entry in the forest, from ``EdgeAggregator.enrol``, signed for whoever leads the top."""
        return write(self.identity, tree_session(self.tree.task, round, attempt), ENROL, "", encode(entry))

    def seal(self, evidence: Evidence, signatures: Sequence[Signature]) -> bytes:
        """Bind to the edge's finished round: the seal of its record, signed for whoever leads the top.

        Args:
            evidence: of the edge's round, with its sums.
            signatures: of the record, see ``EdgeAggregator.vouched``.

        Raises:
            VerificationError: the evidence does not prove the edge's sum.
            AlreadyReleased: another record was sealed in this attempt, also by an earlier process.
            LocalProtocolError: something is sealed already, or the sums are not there.
        """
        if self._sealed is not None:
            raise LocalProtocolError("a record is sealed once", phase=SEAL)
        forest = Forest.from_bytes(evidence.setup)
        found = check_edge(evidence, self.tree.edge(self.identity.name, forest.beacon))
        if not found.summed:
            raise LocalProtocolError("an edge's operator needs the edge's sums", phase=SEAL)
        # On disk before the seal leaves: in another process it is the same seal, of the same record, or none.
        scope = (self.identity.name, self.tree.task, evidence.config.round, evidence.config.attempt)
        self._store.pin(scope, "sealed record", found.record.digest(), phase=SEAL)
        nonce = self._store.put(scope, "seal's nonce", self._entropy(32))
        self._sealed = evidence, found.record, tuple(signatures), nonce, forest
        seal = seal_of(self.tree.task, self.identity.name, found.record, nonce)
        return write(self.identity, forest.digest(), SEAL, "", encode(SealedEdge(self.identity.name, seal)))

    def enter(self, request: Incoming, roll: bytes) -> bytes:
        """Take part in the top round.

        Args:
            request: the first one, with the round's configuration.
            roll: that it names.

        Returns:
            The advertisement, as ``join``.

        Raises:
            PolicyViolation: the roll is malformed, of another forest, or without this edge's own seal.
            WrongContext: the configuration names another roll, or is of another policy, model or epoch than the edges'.
            Whatever ``join`` raises.
        """
        _, record, _, nonce, forest = self._own()
        found = decode(Roll, roll, MAX_CONFIG, phase=ADVERTISE).check()
        if found.forest != forest.digest():
            raise PolicyViolation("the roll is of another forest than this edge's", phase=ADVERTISE)
        if found.seal(self.identity.name) != seal_of(self.tree.task, self.identity.name, record, nonce):
            raise PolicyViolation("this edge's own seal is missing from the roll, or altered", phase=ADVERTISE)
        config = self._own()[0].config
        asked = self.examine(
            request, start_model=config.start_model, base_model=_shown(config.base_model), instructions=found.digest()
        )
        if level(asked.policy) != TOP or (asked.task, asked.round, asked.attempt, common(asked)) != (
            self.tree.task,
            config.round,
            config.attempt,
            common(config),
        ):
            raise WrongContext("the top has another policy, model, round or epoch than this edge", phase=ADVERTISE)
        self._roll = found
        return self.join(
            request,
            (),
            start_model=config.start_model,
            base_model=_shown(config.base_model),
            instructions=found.digest(),
        )

    def _commit(
        self, entry: Entry, side: ClientSide, update: Sequence[npt.NDArray[Any]], weight: int
    ) -> tuple[Vector, bytes, Joining]:
        """The edge's sums, and the sum of its members' commitments."""
        evidence, record, _, _, _ = self._own()
        committed = record.commitment_sum
        entry.attempt.commit(committed)
        vector = evidence.sums.copy()
        opened = Commitment.from_bytes(committed, entry.config.commitment.rank)
        with self.timings(ADVERTISE):
            joining = side.join(opened, entry.attempt.derive("commitment-nonce"), vector)
        entry.attempt.bind(joining.nonce)
        return vector, committed, joining

    @property
    def can_unseal(self) -> bool:
        """Whether the top's session is fixed, as far as this operator knows."""
        return self._joined is not None and bool(self._joined.sid)

    def unseal(self) -> bytes:
        """Show the record, its members' signatures and the edge's evidence without its sums, once the top's session is
        fixed.

        Raises:
            LocalProtocolError: it is not yet.
        """
        evidence, record, signatures, nonce, _ = self._own()
        if self._joined is None or not self.can_unseal:
            raise LocalProtocolError("a record stays sealed until the top's session is fixed", phase=UNSEAL)
        body = Unsealed(record, nonce, signatures).to_bytes()
        context = self._joined.entry.config.context
        return write(self.identity, context, UNSEAL, "", body, without_sums(evidence).to_bytes())

    @property
    def roll(self) -> Roll | None:
        """Of the top round that it takes part in."""
        return self._roll

    def _own(self) -> tuple[Evidence, EdgeRecord, tuple[Signature, ...], bytes, Forest]:
        if self._sealed is None:
            raise LocalProtocolError("nothing is sealed yet", phase=SEAL)
        return self._sealed


def _shown(value: bytes) -> bytes | None:
    return value if any(value) else None
