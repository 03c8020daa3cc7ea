"""Results that a node believes: those that it has verified, against its own pins and the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from secure_agg.errors import RemoteProtocolError, stamping
from secure_agg.fl.layers import Floats
from secure_agg.plugins.core.node.guard import Guard
from secure_agg.plugins.core.node.under_way import key_of
from secure_agg.plugins.core.training import model_shapes
from secure_agg.plugins.homes.chain import decode_arrays
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import RESULT, Received
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.results import learn_result
from secure_agg.tlog.receipt import Receipt


class Believed:
    """One node's; called with the home locked.

    Attributes:
        last: the last result that was verified here, with its evidence and receipt; None before the first.
    """

    def __init__(self, home: ClientHome, guard: Guard) -> None:
        """``guard``: goes on to the models that results lead to."""
        self._home, self._guard = home, guard
        self.last: tuple[Evidence, Verified, Receipt] | None = None

    def finish(self, client: Client, message: Received, evidence: Evidence, receipt: bytes | memoryview) -> Verified:
        """Verify the result of a round that this node was in to the end.

        Args:
            client: that was in it.
            message: the aggregator's.
            evidence: that it holds.
            receipt: of the ledger.

        Raises:
            VerificationError, TrustError: see ``Client.finish``.
            PolicyViolation, AnotherModel: see ``Guard.learn``.
        """
        shown = Receipt.from_bytes(receipt)
        verified = client.finish(message, shown)
        self._home.epochs.saw(shown.checkpoint)
        self._expect(evidence.config, verified)
        self.last = evidence, verified, shown
        return verified

    def learn(
        self,
        evidence: Evidence,
        receipt: bytes | memoryview,
        start: Sequence[bytes | memoryview] = (),
    ) -> Verified:
        """Verify a round as an outsider, against this node's own pins and the ledger.

        Args:
            evidence: of the round.
            receipt: of the ledger.
            start: types and elements of the model of round 0, where the server sends it.

        Raises:
            VerificationError, TrustError: it does not stand.
            PolicyViolation, AnotherModel, MalformedMessage: see ``Guard.learn``.
        """
        home = self._home
        trust = home.epochs.at(evidence.config.epoch)  # it may have been away in an earlier one
        verified = Auditor(trust).verify(evidence)
        shown = Receipt.from_bytes(receipt)
        home.epochs.saw(home.trust.verify_receipt(verified.record, shown).checkpoint)
        model = decode_arrays(start[0], start[1], model_shapes(evidence.config)) if len(start) == 2 else None
        self._expect(evidence.config, verified, model)
        learn_result(home.store, home.name, verified.record)
        self.last = evidence, verified, shown
        return verified

    def _expect(self, config: RoundConfig, verified: Verified, start: Floats | None = None) -> None:
        """Go on to the model that the verified mean leads to.

        Raises:
            PolicyViolation: see ``Guard.learn``; names round's phase.
        """
        with stamping(RemoteProtocolError, phase=RESULT):
            self._guard.learn(config, verified, start)
        counted = self._home.name in verified.commitments
        self._home.own.settle(key_of(config), counted=counted)
        self._home.residual.settle(key_of(config), counted=counted)
