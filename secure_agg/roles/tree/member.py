"""A client of an edge: it verifies its own edge's round completely, signs its record, and checks the tree's result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy.typing as npt

from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, VerificationError
from secure_agg.protocol.evidence import Evidence, evidence_limit
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import (
    ADVERTISE,
    RESULT,
    Incoming,
    Received,
    Signature,
    encode,
    header_limit,
    read,
    write,
)
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.tree.evidence import TreeEvidence, tree_limit
from secure_agg.protocol.tree.record import VOUCH, EdgeRecord
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.edges import enter_edge, vouch
from secure_agg.roles.memory.results import learn_result
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.tree.auditor import CheckedEdge, TreeAuditor, VerifiedTree, check_edge
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.tree.shared import SharedTree
from secure_agg.tlog.receipt import Receipt


@checked_class
class EdgeClient(Client):
    """One client of an edge in one attempt. ``join`` and ``receive`` are as in any round; the edge's result is for
    ``vouch``, the tree's for ``conclude``.

    Attributes:
        record: of the edge, once this client has verified and signed it.
    """

    def __init__(
        self,
        identity: Identity,
        tree: TreeTrust,
        edge: str,
        *,
        beacon: bytes = b"",
        store: AttemptStore | None = None,
        shared: SharedTree | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            tree: what this client has pinned.
            edge: that it is a member of.
            beacon: the public randomness that drew it into this edge, as this client knows it; empty where edges are
                fixed.
            shared: only for simulations, see ``Client``.
            identity, store, entropy, clock: see ``Client``.

        Raises:
            TrustError: there is no such edge, or this client is not in it.
            ConfigError: what is shared was checked against other pins, or for another draw.
        """
        if shared is not None and (shared.tree is not tree or shared.beacon != beacon):
            raise ConfigError(
                f"{identity.name!r} has pinned something else than the clients whose checks it would share"
            )
        checks = shared.edge(edge) if shared is not None else None
        trust = checks.trust if checks is not None else tree.edge(edge, beacon)
        super().__init__(identity, trust, store=store, shared=checks, entropy=entropy, clock=clock)
        self._tree_checks = shared
        self.tree, self.edge, self.beacon = tree, edge, beacon
        self.record: EdgeRecord | None = None

    def join(
        self,
        request: Incoming,
        update: Sequence[npt.NDArray[Any]],
        weight: int = 1,
        *,
        beacon: bytes | None = None,
        start_model: bytes | None = None,
        base_model: bytes | None = None,
        instructions: bytes | None = None,
    ) -> bytes:
        """See ``Client.join``. One edge in each attempt at a round of the tree, durably.

        Raises:
            As there; AlreadyReleased also where this client has joined another edge in this attempt.
        """
        config = self.examine(
            request, beacon=beacon, start_model=start_model, base_model=base_model, instructions=instructions
        )
        enter_edge(self._store, self.identity.name, config, phase=ADVERTISE)
        return super().join(
            request,
            update,
            weight,
            beacon=beacon,
            start_model=start_model,
            base_model=base_model,
            instructions=instructions,
        )

    def vouch(self, result: Incoming) -> bytes:
        """Verify the edge's round, sums and all, and sign its record: once for a round of the tree, durably.

        Returns:
            What goes back to the edge's operator.

        Raises:
            VerificationError: the result is not what was committed to, is of another round or forest, or leaves out or
                alters this client's input.
            AlreadyReleased: another record was signed in this round.
            RemoteProtocolError: the message is malformed or not from the edge's operator.
            LocalProtocolError: this client is in no round.
        """
        joined = self._in_round()
        entry = joined.entry
        with self.timings("verify"), refusing(RESULT, entry.operator):
            found = self._read_edge(result)
        if joined.sid and found.record.session != joined.sid:
            raise VerificationError("the result is of another session than this client's", phase=RESULT)
        commitments = {
            opening.name: item.to_bytes()
            for opening, item in zip(found.participants.openings, found.participants.commitments, strict=True)
        }
        joined.check_set(found.participants.root, commitments)
        vouch(self._store, self.identity.name, entry.config, found.record.digest())
        self.record = found.record
        signature = Signature(self.identity.name, self.identity.sign(found.record.signed_bytes()))
        return write(self.identity, found.record.session, VOUCH, entry.operator, encode(signature))

    def _read_edge(self, data: Incoming) -> CheckedEdge:
        entry = self._in_round().entry
        limit = header_limit(entry.config.cohort_size)
        received = Received.of(data, limit)
        message = read(
            received,
            limit=limit,
            bulk_sizes=range(evidence_limit(entry.config) + 1),
            session=received.header.session,
            phase=RESULT,
            recipients=(self.identity.name,),
            keys={entry.operator: self.trust.operators[entry.operator]},
        )

        def verify() -> CheckedEdge:
            evidence = Evidence.from_bytes(message.bulk, digest=message.header.bulk_digest)
            if evidence.config != entry.config:
                raise VerificationError("the result is of another round or attempt", phase=RESULT)
            return check_edge(evidence, self.trust)

        checked, shared = (entry.config.context, message.header.bulk_digest), self._shared
        found = verify() if shared is None else shared.once("edge", checked, verify)
        if not found.summed:
            raise VerificationError("the edge's sums are not there: its members check them", phase=RESULT)
        if found.forest.task != self.tree.task or found.forest.beacon != self.beacon:
            raise VerificationError("the forest is another tree's, or of another draw into edges", phase=RESULT)
        return found

    def conclude(
        self, data: bytes | memoryview, receipt: Receipt | None = None, *, edges: Iterable[Evidence] = ()
    ) -> VerifiedTree:
        """Check the tree's result against this client's own pins: the top completely, every edge by its members'
        signatures, and its own edge's record to be the one that it has signed; and end the round.

        Args:
            data: the tree's evidence, from whomever.
            receipt: of the pinned ledger, if the result is to be in it before it is believed.
            edges: evidence of edges, for a client that does not want to believe their members' signatures: those that
                are given are checked down to their clients. Where edges are fixed, and few, give all.

        Returns:
            What was verified, with the weighted mean. This client's edge is not in it if it was lost on the way.

        Raises:
            VerificationError: the result is not what was committed to, or is of another round, or tells something else
                of this client's edge than it has signed.
            TrustError: there is a receipt, and no ledger is pinned.
        """
        entry = self._in_round().entry
        most = tree_limit(entry.config, entry.config.policy.max_clients) * len(self.tree.edges)
        if len(data) > most:
            raise VerificationError(f"a tree's evidence of {len(data)} bytes, above {most}", phase=RESULT)

        def verify() -> tuple[TreeEvidence, VerifiedTree]:
            evidence = TreeEvidence.from_bytes(data)
            return evidence, TreeAuditor(self.tree).verify(evidence, edges, beacon=self.beacon or None)

        shared = self._tree_checks if isinstance(data, bytes) and not edges else None
        with self.timings("verify"):
            evidence, verified = verify() if shared is None else shared.once("tree", data, verify)
            if shared is not None:
                for array in verified.average:  # what several hold nobody changes
                    array.flags.writeable = False
        config, top = entry.config, evidence.top.config
        if (top.round, top.attempt, evidence.forest.instructions) != (
            config.round,
            config.attempt,
            config.instructions,
        ):
            raise VerificationError("the result is of another round or attempt", phase=RESULT)
        own = verified.edges.get(self.edge)
        if own is not None and self.record is not None and own != self.record:
            raise VerificationError("the tree holds another record of this client's edge than it signed", phase=RESULT)
        if own is not None and own.context != config.context:
            raise VerificationError("the tree holds another round of this client's edge", phase=RESULT)
        if receipt is not None:
            self.tree.trust.verify_receipt(verified.record, receipt)
        learn_result(self._store, self.identity.name, verified.record)
        self._end()
        return verified
