"""What the aggregator is told: checks each answer, by what its phase is for, and gathers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from secure_agg.backends.contract import AggregatorSide, Phase, PhaseKind, Said
from secure_agg.errors import DuplicateMessage, LocalProtocolError, MalformedMessage, UnknownSender
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import BAD_NORM_PROOF, TWO_ADVERTISEMENTS, FaultProof
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import (
    MAX_ADVERTISEMENT,
    Acceptance,
    AdvertisementList,
    Excision,
    Header,
    HiddenInput,
    Message,
    Opening,
    Signature,
    SignedAdvertisement,
    decode,
    encode,
    pack,
)
from secure_agg.protocol.norm.checks import check_opening, check_proof
from secure_agg.protocol.norm.wire import BoundedInput, SketchedOpening, proof_digest
from secure_agg.protocol.requests import in_order
from secure_agg.protocol.sparse.opening import exhibit
from secure_agg.roles.aggregator.asking import Gathered
from secure_agg.roles.participants import check_advertisement, open_commitment
from secure_agg.roles.stopwatch import Stopwatch


class Hearing:
    """Takes answers whose form and signature have been checked. One that is refused leaves everything as it was."""

    def __init__(
        self, config: RoundConfig, cohort: Roster, side: AggregatorSide, gathered: Gathered, timings: Stopwatch
    ) -> None:
        """
        Args:
            side: the backend's part of the aggregator.
            gathered: where answers go.
            timings: given the seconds that norm proofs take.
        """
        self._timings = timings
        self._config, self._cohort, self._side, self._gathered = config, cohort, side, gathered

    def take(self, phase: Phase, name: str, message: Message) -> Acceptance | None:
        """Take one answer.

        Returns:
            Of an accepted input what its receipt says.

        Raises:
            RemoteProtocolError: it is refused.
        """
        return _HANDLERS[phase.kind](self, phase, name, message)

    def _advertisement(self, phase: Phase, name: str, message: Message) -> None:
        item = SignedAdvertisement(name, message.body, message.header.signature)
        body = check_advertisement(self._config, self._cohort, item)
        owner = self._gathered.commitment_hashes.get(body.commitment_hash)
        if owner is not None:
            raise DuplicateMessage(f"{name!r} shows the commitment hash of {owner!r} again", phase=phase.name)
        self._side.take(phase.name, Said(name, body.backend, message))
        self._gathered.commitment_hashes[body.commitment_hash] = name
        self._gathered.advertisements[name] = item

    def _input(self, phase: Phase, name: str, message: Message) -> Acceptance:
        session = self._gathered.session
        if session is None:
            raise LocalProtocolError("an input came before the participants were fixed", phase=phase.name)
        body = decode(HiddenInput, message.body, len(message.body), phase=phase.name, culprit=name)
        commitment = open_commitment(session, name, body.commitment, body.nonce)
        if (other := self._gathered.shown.get(body.commitment)) is not None:
            raise DuplicateMessage(f"{name!r} shows the commitment of {other!r} again", phase=phase.name)
        opening, part, proof = Opening(name, body.commitment, body.nonce), body.backend, b""
        if self._config.policy.norm:
            bounded = decode(BoundedInput, body.backend, len(body.backend), phase=phase.name, culprit=name)
            part, proof = bounded.backend, bounded.proof
            opening = SketchedOpening(
                name, body.commitment, body.nonce, bounded.sketch, proof_digest(proof), bounded.signature
            )
            with self._timings("norm"):
                sketch = check_opening(session, opening, phase=phase.name)
                if sketch is not None:
                    check_proof(session, opening, commitment, sketch, proof, phase=phase.name)
        sketched = opening if isinstance(opening, SketchedOpening) else None
        self._side.take(phase.name, Said(name, part, message, body.nonce, body.commitment, sketched))
        self._gathered.openings[name] = opening
        self._gathered.shown[body.commitment] = name
        if proof:
            self._gathered.proofs[name] = proof
        return Acceptance(name, session.commitment_hashes[name], message.header.bulk_digest)

    def _signature(self, phase: Phase, name: str, message: Message) -> None:
        signature = decode(Signature, message.body, MAX_ADVERTISEMENT, phase=phase.name, culprit=name)
        if signature.name != name or self._gathered.ballot is None:
            raise UnknownSender("a signature of somebody else", phase=phase.name, culprit=name)
        self._gathered.ballot.check(signature)
        self._gathered.signatures[name] = signature

    def _excision(self, phase: Phase, name: str, message: Message) -> None:
        body = decode(Excision, message.body, len(message.body), phase=phase.name, culprit=name)
        signature = Signature(name, body.signature)
        if self._gathered.ballot is None:
            raise LocalProtocolError("a signature came before the set was put to the vote", phase=phase.name)
        self._gathered.ballot.check(signature)
        self._side.take(phase.name, Said(name, body.backend, message))
        self._gathered.signatures[name] = signature

    def _begun(self, phase: Phase, name: str, message: Message) -> None:
        if message.body:
            raise MalformedMessage("an operator that is ready says nothing else", phase=phase.name, culprit=name)

    def _said(self, phase: Phase, name: str, message: Message) -> None:
        self._side.take(phase.name, Said(name, message.body, message))

    def bad_norm_proof(self, header: Header) -> FaultProof:
        """An input whose norm proof is none, as its client has signed it: it shows that to anybody."""
        session, given = self._gathered.session, self._gathered.advertisements
        if session is not None and session.near is not None:
            listed = exhibit(session, session.near.show((header.sender,), given))
        else:
            listed = encode(AdvertisementList(in_order(given), b""))
        return FaultProof(
            kind=BAD_NORM_PROOF,
            culprit=header.sender,
            public=self._cohort[header.sender],
            config=self._config.to_bytes(),
            setup=b"",
            exhibits=(pack(encode(header)), listed),
        )

    def two_advertisements(self, second: Header) -> FaultProof | None:
        """A second advertisement that is another one proves, if it is signed, that its client says two things."""
        first = self._gathered.advertisements.get(second.sender)
        again = SignedAdvertisement(second.sender, second.body, second.signature)
        if first is None or first == again:
            return None
        context = self._config.context
        return FaultProof(
            kind=TWO_ADVERTISEMENTS,
            culprit=second.sender,
            public=self._cohort[second.sender],
            config=self._config.to_bytes(),
            setup=b"",
            exhibits=(first.message(context), again.message(context)),
        )


_HANDLERS: Final[dict[PhaseKind, Callable[[Hearing, Phase, str, Message], Acceptance | None]]] = {
    PhaseKind.ADVERTISE: Hearing._advertisement,
    PhaseKind.EXCHANGE: Hearing._said,
    PhaseKind.INPUT: Hearing._input,
    PhaseKind.AGREE: Hearing._signature,
    PhaseKind.RELEASE: Hearing._said,
    PhaseKind.EXCISE: Hearing._excision,
    PhaseKind.BEGIN: Hearing._begun,
    PhaseKind.OPERATE: Hearing._said,
    PhaseKind.CONSENT: Hearing._signature,
    PhaseKind.OPEN: Hearing._said,
}
"""What an answer in each kind of phase does."""
