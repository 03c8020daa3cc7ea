"""The first request to a client: what the round is, and whether this client may take part in it."""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg import backends
from secure_agg.backends.contract import Backend, ClientSide
from secure_agg.errors import PolicyViolation, RemoteProtocolError, WrongContext, stamping
from secure_agg.protocol.claims import require_claim
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.buffer import Base, Bases
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import ADVERTISE, MAX_CONFIG, MAX_SETUP, Incoming, Received, decode, read
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.renunciation import RenunciationCertificate, split_first
from secure_agg.roles.memory.attempt import Attempt
from secure_agg.roles.memory.bases import choose_base
from secure_agg.roles.memory.bonds import Bonds
from secure_agg.roles.memory.convictions import Convictions
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust


@dataclass(frozen=True)
class Entry:
    """A round that a client may take part in.

    Attributes:
        operator: id of the aggregator, which alone is answered.
        config, setup: see ``Invitation``.
        cohort: G.
        backend: of the round.
        bonds: what the client is bound to in the task.
        convictions: of others in the round, as far as this client knows of any.
        attempt: its record of this attempt.
        base: in a buffered round the model that the client has trained from.
    """

    operator: str
    config: RoundConfig
    setup: bytes
    cohort: Roster
    backend: Backend
    bonds: Bonds
    convictions: Convictions
    attempt: Attempt
    base: Base | None = None

    def side(self, name: str) -> ClientSide:
        """The backend's part of the client of this name."""
        side = self.backend.client(self.config, name, self.attempt.derive, self.setup, self.attempt.once)
        if self.base is not None:
            side.start_from(self.base.model)
        return side

    def check_base(self, base_model: bytes | None) -> None:
        """The round is bound to the very arrays that this client trained from: clients that were shown different
        models are in no round together.

        Args:
            base_model: digest of those arrays, if the update is a difference from them.

        Raises:
            WrongContext: the round names another model, or none.
            PolicyViolation: the round names one, and nobody but the aggregator says that it is this one.
        """
        if self.base is not None:  # it was found among the round's bases
            return
        named = self.config.base_model
        if base_model is None:
            if named != NO_DIGEST:
                raise PolicyViolation(
                    "the round's updates are differences from a model: say which was trained from", phase=ADVERTISE
                )
        elif base_model != named:
            what = "another model" if named != NO_DIGEST else "no model"
            raise WrongContext(
                f"the round's updates are differences from {what}, this client's from the one it was shown",
                phase=ADVERTISE,
            )

    def check_instructions(self, instructions: bytes | None) -> None:
        """The round is bound to all that this client was given beside the model: clients that were told different
        things are in no round together.

        What a set may be signed for does not depend on it: new instructions for an old model are no new model.

        Args:
            instructions: digest of what this client was given, if it was given anything.

        Raises:
            WrongContext: the round names other instructions, or none.
            PolicyViolation: the round names some, and nobody but the aggregator says that it is these.
        """
        named = self.config.instructions
        if instructions is None:
            if named != NO_DIGEST:
                raise PolicyViolation(
                    "the round is bound to instructions: say which this client was given", phase=ADVERTISE
                )
        elif instructions != named:
            what = "other instructions" if named != NO_DIGEST else "no instructions"
            raise WrongContext(f"the round is bound to {what} than this client was given", phase=ADVERTISE)


@dataclass(frozen=True)
class Invitation:
    """What an operator asks a client to take part in.

    Attributes:
        operator: id of the operator who asks, as aggregator of this round.
        config: the round's.
        setup: the backend's public material.
        renounced: the certificate that has ended the generation before, encoded; empty in the first.
    """

    operator: str
    config: RoundConfig
    setup: bytes
    renounced: bytes = b""

    @staticmethod
    def read(request: Incoming, identity: Identity, trust: Trust) -> Invitation:
        """Decode the request.

        Raises:
            RemoteProtocolError: it is malformed, not signed by a pinned operator, or not for this client.
        """
        received = Received.of(request, MAX_CONFIG)
        header = received.header
        message = read(
            received,
            limit=MAX_CONFIG,
            bulk_sizes=MAX_SETUP,
            session=header.session,
            phase=ADVERTISE,
            recipients=(identity.name,),
            keys=dict(trust.operators),
        )
        config = decode(RoundConfig, message.body, MAX_CONFIG, phase=ADVERTISE, culprit=header.sender)
        if header.session != config.context:
            raise WrongContext("the request is not bound to the configuration it carries", phase=ADVERTISE)
        setup, renounced = split_first(config, message.bulk)
        return Invitation(header.sender, config, setup, renounced)

    def accept(
        self,
        identity: Identity,
        trust: Trust,
        store: AttemptStore,
        beacon: bytes | None,
        base_model: bytes | None = None,
    ) -> Entry:
        """Compare with what the client has pinned and is bound to. It has not joined by this.

        Args:
            store: the client's own.
            beacon: the public randomness that draws the cohort, as the client knows it.
            base_model: digest of the arrays that it trained from; in a buffered round by default of those that it has
                said before in this attempt.

        Raises:
            AnotherModel: a buffered round has a base that is none of this client's own.
            WrongContext: the client has not taken in the results that its bases follow from, or more than those.
            PolicyViolation: the operator is proved to have broken the protocol.
            TaskSpent: this client has signed a set for this round before.
            TrustError: the configuration contradicts a pin.
            ClaimRefused: its result will not be of a claim that is pinned.
            ConfigError: the backend refuses the policy.
            RemoteProtocolError: the client is not in the cohort, or the setup is not what it must be.
        """
        # Whoever has signed the whole of it is who is at fault.
        with stamping(RemoteProtocolError, culprit=self.operator), refusing(ADVERTISE, self.operator):
            cohort, backend = self._check(identity, trust, beacon)
            bases: Bases = ()
            if self.config.policy.buffer and backend.shares:
                bases = backend.shares.share_holders(self.config, self.setup).bases
        attempt = Attempt(store, identity.name, self.config)
        base = None
        if bases:  # a client that is behind, or says what is none of them, shows nobody to be at fault
            model = attempt.base if base_model is None else base_model
            base = choose_base(store, identity.name, self.config.task, bases, model)
        with stamping(RemoteProtocolError, culprit=self.operator), refusing(ADVERTISE, self.operator):
            renouncers = None
            if self.config.generation or backend.keys or backend.shares:
                renouncers = backend.renouncers(self.config, cohort, self.setup, trust.operators)
            seats, newest = renouncers.seats if renouncers else NO_DIGEST, bases[-1].number if bases else 0
            bonds = Bonds(store, identity.name, self.config, seats, base=base, newest=newest)
            if self.config.generation and renouncers:
                certificate = RenunciationCertificate.from_bytes(self.renounced)
                bonds.admit(certificate, renouncers, checked=trust.has_checked(certificate, self.config.task))
        convictions = Convictions(store, identity.name, self.config)
        convictions.check_operator(self.operator, trust.operators[self.operator], phase=ADVERTISE)
        bonds.check_unspent()
        return Entry(self.operator, self.config, self.setup, cohort, backend, bonds, convictions, attempt, base)

    def _check(self, identity: Identity, trust: Trust, beacon: bytes | None) -> tuple[Roster, Backend]:
        config = self.config
        trust.check(config, beacon)
        cohort = trust.cohort(config.task, config.beacon)
        if cohort.get(identity.name) != identity.public:
            raise PolicyViolation("this client's identity is not in the cohort", phase=ADVERTISE)
        backend = backends.load(config.policy.backend)
        backend.check_policy(config.policy)
        # Whoever would not believe the result gives nothing to the round.
        accepted = trust.task(config.task).claims
        claim = backend.result(config.policy).claim
        require_claim(claim, accepted, task=config.task, round=config.round, phase=ADVERTISE)
        # Whoever adds the ciphertexts up must not hold the key to them.
        others = Roster({name: key for name, key in trust.operators.items() if name != self.operator})
        backend.check_setup(config, self.setup, others)
        return cohort, backend
