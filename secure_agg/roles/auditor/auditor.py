"""Role *auditor*: anyone who checks a finished round from its evidence, against what they themselves have pinned.

Clients check a result this way before they load it, the ledger before it appends, an operator or a stranger
afterwards. It takes about the time of one commitment, and one signature check per advertisement and signer.
"""

from __future__ import annotations

from collections.abc import Collection

from secure_agg import backends
from secure_agg.arguments import checked, checked_class
from secure_agg.backends.contract import Backend
from secure_agg.errors import (
    ConfigError,
    MalformedMessage,
    PolicyViolation,
    RemoteProtocolError,
    RoundAborted,
    TrustError,
    VerificationError,
)
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.claims import PROVED, SUMS_ONLY, check_claims, require_claim
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.buffer import Bases
from secure_agg.protocol.config.tree import EDGE, FLAT, LEVEL_NAMES, level
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import TWO_EPOCHS, FaultProof
from secure_agg.protocol.identity import Roster, check_public_key
from secure_agg.protocol.messages import (
    MAX_ADVERTISEMENT,
    MAX_CONFIG,
    NO_BULK,
    RECEIPT,
    Acceptance,
    Advertisement,
    Opening,
    Received,
    decode,
    read,
)
from secure_agg.protocol.norm.checks import check_proof
from secure_agg.protocol.norm.wire import SketchedOpening
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.protocol.session import Participants, Session
from secure_agg.roles.auditor.sums import Verified, based_on, check_attested, check_sum, record_of
from secure_agg.roles.faults import check_common, check_two_epochs
from secure_agg.roles.participants import check_participants
from secure_agg.roles.trust import Trust


@checked_class
class Auditor:
    """Checks evidence. Holds nothing secret and keeps no state."""

    def __init__(
        self, trust: Trust | None = None, claims: Collection[str] | None = None, *, executor: Executor = IN_PROCESS
    ) -> None:
        """
        Args:
            trust: what this verifier has pinned; without it evidence is only checked in itself.
            claims: that results may make, see ``secure_agg.protocol.claims``; by default those that ``trust`` pins
                for their task, and without ``trust`` sums only.
            executor: does the work on long vectors; it is believed as this process is.

        Raises:
            ConfigError: one of them is no claim.
        """
        self.trust, self._executor = trust, executor
        self._claims = None if claims is None else check_claims(claims)

    def verify(
        self,
        evidence: Evidence,
        *,
        beacon: bytes | None = None,
        proved: Collection[Opening] = (),
        seen: Session | None = None,
    ) -> Verified:
        """Check everything about a round that can be checked from public data.

        Args:
            beacon: the public randomness that drew the cohort, as the verifier knows it; needed where no beacon is
                pinned that draws.
            proved: openings whose norm proofs the caller has itself checked, in this very session: an aggregator has,
                before it took the inputs. Where those proofs are at hand they count without being checked again.
            seen: a session that the caller has itself opened: what was checked to open it is not checked again if the
                evidence has the same, signature by signature.

        Raises:
            TrustError: the evidence contradicts what is pinned.
            ClaimRefused: the result is not of a claim that this verifier accepts.
            VerificationError: anything else that is not as it must be. Names no culprit: evidence may have been put
                together by anybody, and what is wrong in it shows nothing against those it is about.
        """
        config = evidence.config
        if level(config.policy) != FLAT:
            raise VerificationError(
                f"this is the evidence of the {LEVEL_NAMES[level(config.policy)]} of a tree: what is verified is the "
                "tree's evidence"
            )
        pinned, claim, participants = self.examine(evidence, beacon=beacon, seen=seen)
        if claim in PROVED:
            if evidence.attestation:
                raise VerificationError("a sum is proved, not attested")
            checked = check_sum(config, participants, evidence.sums, self._executor)
        else:
            checked = check_attested(config, participants, evidence.sums, evidence.attestation)
        proofs = self._check_proofs(evidence, participants, frozenset(proved))
        average = checked.average
        if model_digest(average) != evidence.result_model:
            raise VerificationError("the result's digest is not that of the mean that the sums decode to")
        record = record_of(evidence, participants, checked, claim=claim, digest=evidence.digest())
        names = evidence.participants
        opened = {name: item.to_bytes() for name, item in zip(names, participants.commitments, strict=True)}
        bases, based = participants.session.bases, based_on(participants)
        return Verified(record, pinned, average, opened, proofs, bases, based)

    @staticmethod
    def bases(evidence: Evidence) -> Bases:
        """Of a buffered round whose evidence was verified before; none of another.

        Raises:
            RemoteProtocolError: its setup is not that of a buffered round.
        """
        config = evidence.config
        shares = backends.load(config.policy.backend).shares if config.policy.buffer else None
        return shares.share_holders(config, evidence.setup).bases if shares else ()

    def examine(
        self, evidence: Evidence, *, beacon: bytes | None = None, seen: Session | None = None
    ) -> tuple[frozenset[str], str, Participants]:
        """Check who took part, and nothing of the sum: of a round on any level of a tree.

        Returns:
            What was compared with the pins, what the result claims, the participants.

        Raises:
            As ``verify`` does.
        """
        config = evidence.config
        pinned = self.trust.check(config, beacon) if self.trust else frozenset[str]()
        try:
            backend = backends.load(config.policy.backend)
            backend.check_policy(config.policy)
            claim = backend.result(config.policy).claim
            require_claim(claim, self.accepts(config.task), task=config.task, round=config.round)
            if bool(config.setup) != bool(backend.seats(config.policy).count):
                raise PolicyViolation(f"backend {backend.name!r} has another set-up than the configuration says")
            self._check_setup(backend, config, evidence.setup)
            participants = check_participants(
                config,
                evidence.cohort,
                evidence.advertisements,
                evidence.openings,
                evidence.agreement,
                evidence.setup,
                seen,
            )
            self._check_renounced(backend, evidence)
        except (RemoteProtocolError, RoundAborted) as error:
            about = f"{error.culprit!r}: " if error.culprit else ""
            raise VerificationError(about + str(error.args[0]), phase=error.phase) from error
        except ConfigError as error:
            raise VerificationError(str(error)) from error
        return pinned, claim, participants

    @staticmethod
    def _check_proofs(evidence: Evidence, participants: Participants, proved: Collection[Opening]) -> int:
        """The norm proofs that are at hand, each by the hash that its client has signed; returns how many."""
        checked = 0
        for opening, opened, sketch in zip(
            participants.openings, participants.commitments, participants.sketches, strict=False
        ):
            proof = evidence.proofs.get(opening.proof) if isinstance(opening, SketchedOpening) else None
            if proof is None:
                continue
            if opening not in proved:
                try:
                    check_proof(participants.session, opening, opened, sketch, proof)
                except RemoteProtocolError as error:
                    raise VerificationError(f"{opening.name!r}: {error.args[0]}") from error
            checked += 1
        return checked

    def accepts(self, task: str) -> frozenset[str]:
        """The claims that results of a task may make.

        Raises:
            TrustError: they follow from what is pinned, and the task is not.
        """
        if self._claims is not None:
            return self._claims
        return self.trust.task(task).claims if self.trust else SUMS_ONLY

    def _check_setup(self, backend: Backend, config: RoundConfig, setup: bytes) -> None:
        """The operators who have signed the set are those that this auditor has pinned; unpinned, any who are named."""
        pinned = self.trust.operators if self.trust and len(self.trust.operators) else None
        if backend.shares is None:
            renounced = backend.keys and config.generation
            if setup and not renounced and level(config.policy) != EDGE:
                raise PolicyViolation("the evidence holds a set-up, and no operator has signed the set")
            if renounced and setup_digest(setup) != config.setup:
                raise PolicyViolation("the set-up is not the configured one")
            if renounced and pinned is not None:
                backend.check_setup(config, setup, pinned)
            return
        named = pinned if pinned is not None else backend.shares.share_holders(config, setup).identities
        backend.check_setup(config, setup, named)

    def _check_renounced(self, backend: Backend, evidence: Evidence) -> None:
        """A round of a later generation goes on from a certificate: no sum of the one before can have been opened. Key
        holders are known by their pinned keys alone, so without pins their signatures are not looked at.
        """
        config = evidence.config
        if not config.generation:
            return
        certificate = RenunciationCertificate.from_bytes(evidence.renounced)
        certificate.check_statement(config)
        if certificate.statement.successor:
            # Whose signatures they are stands in the epoch before: who has followed it knows the certificate.
            if self.trust is not None:
                self.trust.has_checked(certificate, config.task)
            return
        operators = self.trust.operators if self.trust else Roster({})
        if backend.keys and not len(operators):
            return
        cohort = Roster({member.name: member.public for member in evidence.cohort})
        certificate.check(backend.renouncers(config, cohort, evidence.setup, operators))

    def verify_fault(self, proof: FaultProof, *, beacon: bytes | None = None) -> str:
        """Check a proof that a party broke the protocol, and that the party is one that this auditor has pinned.

        Returns:
            The id of the party.

        Raises:
            TrustError: the party's key is not the one in force, or the round is none of an epoch that is over, and not
                what is pinned.
            VerificationError: it proves nothing.
        """
        if proof.kind == TWO_EPOCHS:
            return self._verify_two_epochs(proof)
        try:
            config = decode(RoundConfig, proof.config, MAX_CONFIG)
            check_public_key(proof.public)
        except (MalformedMessage, ConfigError) as error:
            raise VerificationError(f"a proof of fault names no round or key: {error}") from error
        if self.trust is not None:
            keys = self._clients(self.trust, config, beacon).get(proof.culprit), self.trust.operators.get(proof.culprit)
            if proof.public not in keys:
                raise TrustError(f"the key of {proof.culprit!r} is not the pinned one")
        if not check_common(proof, config):
            try:
                backend = backends.load(config.policy.backend)
            except ConfigError as error:
                raise VerificationError(f"a proof of fault is of a round that can't be: {error}") from error
            backend.check_fault(proof, config)
        return proof.culprit

    @staticmethod
    def _clients(trust: Trust, config: RoundConfig, beacon: bytes | None) -> Roster:
        """Whose keys a proof of fault may be about. What was in force in an epoch that is over is pinned no more. What
        somebody has signed is of its round's configuration all the same, so there its key, if it is still in force, is
        all that has to be known.
        """
        pins = trust.task(config.task)
        if config.epoch < pins.epoch:
            return pins.roster
        trust.check(config, beacon)
        return trust.cohort(config.task, config.beacon)

    def _verify_two_epochs(self, proof: FaultProof) -> str:
        """The same of a proof about an epoch: the party is one that authorises epochs of its task."""
        try:
            check_public_key(proof.public)
        except ConfigError as error:
            raise VerificationError(f"a proof of fault names no key: {error}") from error
        task = check_two_epochs(proof)
        if self.trust is not None:
            pins = self.trust.task(task)
            if proof.public not in (pins.roster.get(proof.culprit), pins.administrators.get(proof.culprit)):
                raise TrustError(f"the key of {proof.culprit!r} is not the pinned one")
        return proof.culprit

    def show_exclusion(self, receipt: bytes, evidence: Evidence, *, beacon: bytes | None = None) -> str:
        """Check that the aggregator accepted a client's input and left the client out all the same.

        It shows the exclusion, not its motive: of two clients that disagree about their mask one has to stay out.

        Returns:
            The id of the client.

        Raises:
            TrustError: this auditor has pinned no operators.
            VerificationError: the receipt is not for this round or not signed by a pinned operator, or the
                client took part.
        """
        if self.trust is None or not len(self.trust.operators):
            raise TrustError("a receipt is checked against the pinned operators: there are none")
        sid = self.verify(evidence, beacon=beacon).record.session
        try:
            received = Received.of(receipt, MAX_ADVERTISEMENT)
            header = received.header
            message = read(
                received,
                limit=MAX_ADVERTISEMENT,
                bulk_sizes=NO_BULK,
                session=sid,
                phase=RECEIPT,
                recipients=(header.recipient,),
                keys=dict(self.trust.operators),
            )
            accepted = decode(Acceptance, message.body, len(message.body), phase=RECEIPT, culprit=header.sender)
        except RemoteProtocolError as error:
            raise VerificationError(str(error.args[0]), phase=RECEIPT) from error
        hashes = {
            item.name: decode(Advertisement, item.body, MAX_ADVERTISEMENT).commitment_hash
            for item in evidence.advertisements
        }
        shares = backends.load(evidence.config.policy.backend).shares
        if shares and accepted.name in {member.name for member in evidence.cohort}:
            # The session does not bind the advertisements, so one may be left out; the share was accepted all the same.
            hashes.setdefault(accepted.name, accepted.commitment_hash)
        if header.recipient != accepted.name or hashes.get(accepted.name) != accepted.commitment_hash:
            raise VerificationError("the receipt is not for an input of this round", phase=RECEIPT)
        if accepted.name in evidence.participants:
            raise VerificationError(f"{accepted.name!r} took part: it was not left out", phase=RECEIPT)
        return accepted.name


@checked
def verify(
    evidence: Evidence,
    trust: Trust | None = None,
    *,
    beacon: bytes | None = None,
    claims: Collection[str] | None = None,
) -> Verified:
    """Check a round's evidence; see ``Auditor.verify``.

    Args:
        evidence, trust, beacon: as there.
        claims: that the result may make, ``{"sum"}`` or ``{"sum", "attested"}``; by default those that ``trust`` pins
            for the task, and without ``trust`` sums only.

    Raises:
        VerificationError: the evidence does not prove its result, contradicts ``trust``, or is not of a claim that is
            accepted (``ClaimRefused``).
    """
    return Auditor(trust, claims).verify(evidence, beacon=beacon)
