"""What every backend is, and what those with operators are besides.

A backend *has* keys, or shares, or neither: ``backend.keys`` and ``backend.shares`` are the backend itself if it does,
and None if not. Nobody asks more of it than that.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mpc.keys import KeyPair
from mpc.ring import ELEMENT_BYTES
from secure_agg.backends.contract.aggregator import AggregatorSide
from secure_agg.backends.contract.client import ClientSide, Once
from secure_agg.backends.contract.commitments import open_commitment
from secure_agg.backends.contract.operators import Opener, OperatorSide
from secure_agg.backends.contract.options import (
    BUFFER_RULES,
    HALVES_RULES,
    NORM_RULES,
    PRIVACY_RULES,
    TREE_RULES,
    OptionRule,
    check_options,
)
from secure_agg.backends.contract.phases import Phase
from secure_agg.backends.contract.setup import AggregatorSet, read_setup
from secure_agg.errors import BadKey, ConfigError, MalformedMessage, PolicyViolation, VerificationError
from secure_agg.protocol.agreement import Agreement, SignedByOperators
from secure_agg.protocol.certificate import KeyCertificate, read_certificate, setup_digest
from secure_agg.protocol.claims import DP_SUM, SUM
from secure_agg.protocol.config import Policy, RoundConfig, free_bits
from secure_agg.protocol.config.privacy import most_honest
from secure_agg.protocol.config.tree import FLAT, LEVEL_NAMES, level
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.habits import Habits
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import ADVERTISE, decode, header_limit
from secure_agg.protocol.renunciation import Renouncers, of_complete_graph, of_operators
from secure_agg.protocol.session import Session
from zk.commitment import Commitment


@dataclass(frozen=True)
class TrustStatement:
    """Who must be trusted with what: shown by ``secure-agg backends``.

    Attributes:
        summary, trusted, dropouts, post_quantum, limits: in words.
        hides: nobody but its owner reads an update.
        lasting: an update stays secret from a quantum computer that reads today's traffic later.
        judges: it computes what a plain sum can't: norm bounds, trimmed means, medians.
    """

    summary: str
    trusted: str
    dropouts: str
    post_quantum: str
    limits: str
    hides: bool = True
    lasting: bool = False
    judges: bool = False


@dataclass(frozen=True)
class ResultRule:
    """What a result is, by the policy.

    Attributes:
        largest: the most that a coordinate of one client's vector is, where it has been let into the sum.
        claim: what a round's record claims of its result: that it is the committed sum, or no more than that the
            operators have signed it.
        addends: of how many values each coordinate of the result is the sum, by the number of participants: all of
            them, where it is their sum.
        whole_bits: whether vectors are let in by tests of whole numbers of bits, which let one more through than an
            honest client sends.
    """

    largest: int
    claim: str = SUM
    addends: Callable[[int], int] = int
    whole_bits: bool = False

    def ranges(self, config: RoundConfig) -> tuple[tuple[int, int], ...]:
        """(length, the most that each is) of the coordinates of one client's x, in order."""
        whole = self.whole_bits
        return tuple((run.length, (1 << run.top.bit_length()) - 1 if whole else run.top) for run in config.layout.runs)


@dataclass(frozen=True)
class Seats:
    """How many operators a policy has beside the aggregator.

    Attributes:
        count: all of them.
        needed: fewest that a round can begin with.
        together: they compute together, and have to be in one process.
    """

    count: int
    needed: int
    together: bool = False


class Backend(Habits):
    """A way of hiding. One instance serves any number of rounds; it holds no state of any.

    Attributes:
        name: under which it is registered, and chosen.
        trust: who must be trusted with what.
        options: settings of its own.
        agreement: which set is summed, and who signs it.
        unbounded: why rounds of this backend can have no norm bound; empty where they can.
        unbuffered: why they can't be buffered; empty where they can.
        noiseless: why rounds of this backend can have no differential privacy; empty where they can.
        levels: of a tree that its rounds can be on: ``EDGE``, ``TOP``.
    """

    name: ClassVar[str]
    trust: ClassVar[TrustStatement]
    options: ClassVar[tuple[OptionRule, ...]] = ()
    agreement: ClassVar[Agreement] = Agreement()
    unbounded: ClassVar[str] = ""
    unbuffered: ClassVar[str] = (
        "its clients have to come back after they have seen who takes part, and in a buffered round nobody waits; one "
        "whose clients speak once would do"
    )
    noiseless: ClassVar[str] = ""
    levels: ClassVar[frozenset[int]] = frozenset()

    # --- what has to be said --------------------------------------------------------------------------------

    @abstractmethod
    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """The phases of a round, in order. The first that asks clients is of kind ADVERTISE."""

    @abstractmethod
    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """This backend's part of a client.

        Args:
            derive: gives 32 secret bytes for a label, the same after a restart.
            once: keeps what can't be made again from those: of use in ``join`` alone, when the commitment is fixed.
        """

    @abstractmethod
    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """This backend's part of the aggregator."""

    # --- what may be said otherwise -------------------------------------------------------------------------

    def check_policy(self, policy: Policy) -> None:
        """Refuse settings that this backend can't serve: options that it has not declared, or out of their range; a
        norm bound, or a place in a tree, where it can have none; and whatever a backend adds to that.

        Raises:
            ConfigError: as it says.
        """
        if policy.buffer and self.unbuffered:
            raise ConfigError(f"backend {self.name!r} can't have buffered rounds: {self.unbuffered}")
        if policy.norm and self.unbounded:
            raise ConfigError(f"backend {self.name!r} can't bound norms: {self.unbounded}")
        if policy.privacy and self.noiseless:
            raise ConfigError(f"backend {self.name!r} has no differential privacy: {self.noiseless}")
        place = level(policy)
        check_options(
            policy,
            (
                *self.options,
                *(() if self.unbounded else NORM_RULES),
                *(TREE_RULES if self.levels else ()),
                *(HALVES_RULES if self.halves else ()),
                *(() if self.unbuffered else BUFFER_RULES),
                *(() if self.noiseless else PRIVACY_RULES),
            ),
        )
        if policy.buffer and place != FLAT:
            raise ConfigError("no rounds of a tree are buffered: its edges would go on from different models")
        if policy.privacy and not self.clients_sign:
            least = most_honest(policy.min_clients, 0, policy.max_corrupt)
            if policy.privacy.honest > least:
                raise ConfigError(
                    f"{policy.privacy.honest} clients' noise is counted on, and where operators sign the set no more "
                    f"than min_clients - max_corrupt = {least} of it are known to be honest"
                )
        if policy.norm and policy.halves > 1:
            raise ConfigError("no norm is bounded where values go as halves")
        if place != FLAT and place not in self.levels:
            raise ConfigError(f"backend {self.name!r} can't be the {LEVEL_NAMES[place]} of a tree")
        if place != FLAT and policy.groups:
            raise ConfigError("a tree sums one vector of every client: what its edges agree on says nothing of groups")
        if place != FLAT and policy.norm:
            raise ConfigError("no norm is bounded in a tree: each session has sketches of its own, which don't add up")

    def usual_bits(self, clients: int) -> int:
        """Bits per value for sums over so many clients where a policy's maker names none: as many as make nothing
        larger. Where a coordinate takes its 4 bytes anyway that is what a commitment binds.
        """
        return free_bits(clients)

    def result(self, policy: Policy) -> ResultRule:
        """What a result is: by default the sum of vectors of coordinates up to ``policy.coordinate_top``."""
        return ResultRule(policy.coordinate_top, DP_SUM if policy.privacy else SUM)

    def seats(self, policy: Policy) -> Seats:
        """How many operators there are beside the aggregator: by default none."""
        return Seats(0, needed=0)

    def hidden_sizes(self, config: RoundConfig) -> range:
        """Sizes in bytes that a hidden vector can have: by default that of the vector itself."""
        size = config.layout.total * ELEMENT_BYTES
        return range(size, size + 1)

    def is_sparse(self, config: RoundConfig) -> bool:
        """Whether a client sees of the others only those that it has chosen, or that have chosen it: see
        ``secure_agg.protocol.sparse``. The phase after the first is then for choosing. By default everybody sees all.
        """
        return False

    def request_limit(self, config: RoundConfig) -> int:
        """Most bytes of the header of any request to a client after the first: by default what any message has."""
        return header_limit(config.cohort_size)

    def usual_size(self, config: RoundConfig) -> float:
        """Bytes that a hidden vector has on average: by default the most it can have."""
        return float(self.hidden_sizes(config)[-1])

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """What a round's costs grow with besides its parameters, clients and hidden vectors, by role and name.

        Args:
            survivors: clients of the cohort who are left to the end.

        Returns:
            For ``client``, ``aggregator`` and ``operator``. What one of each amount takes is measured (see
            ``secure_agg.planning``), so units are the backend's own.

        Raises:
            ConfigError: such a round would be refused.
        """
        return {}

    def open_commitment(self, session: Session, name: str, commitment: bytes, nonce: bytes) -> Commitment:
        """A commitment that was revealed, checked against D_i: see ``commitments.open_commitment``.

        Raises:
            BadCommitment: not canonical, or not what was hashed.
        """
        return open_commitment(session, name, commitment, nonce)

    def check_advertisement(self, name: str, part: bytes) -> None:
        """Refuse a public part that no honest client sends: by default any.

        Raises:
            RemoteProtocolError: names the sender.
        """
        if part:
            raise MalformedMessage(
                f"backend {self.name!r} advertises nothing of its own", phase=ADVERTISE, culprit=name
            )

    def check_setup(self, config: RoundConfig, setup: bytes | memoryview, operators: Roster) -> None:
        """Check the public material of a round, which the first request carries: by default there is none.

        Args:
            operators: who may be named in it: the pinned ones but for the aggregator.

        Raises:
            RemoteProtocolError: it is not the configured one, or nobody who is pinned vouches for it.
        """
        if config.setup or len(setup):
            raise MalformedMessage(f"backend {self.name!r} takes no setup", phase=ADVERTISE)

    def check_fault(self, proof: FaultProof, config: RoundConfig) -> None:
        """Check what a proof says of its culprit; kinds that all backends have are checked before.

        Raises:
            VerificationError: it proves nothing.
        """
        raise VerificationError(f"backend {self.name!r} knows no fault of kind {proof.kind!r}")

    def renouncers(
        self, config: RoundConfig, cohort: Roster, setup: bytes | memoryview, operators: Mapping[str, bytes]
    ) -> Renouncers:
        """Who may renounce this generation of a round, and how many have to: by default its cohort, of which a quorum
        opens a sum.

        Args:
            cohort: G.
            setup: the round's.
            operators: identity keys of those who are pinned.
        """
        policy, members = config.policy, len(cohort)
        return Renouncers(cohort, of_complete_graph(members, policy.max_corrupt, policy.quorum(members)))

    # --- what it has or has not -----------------------------------------------------------------------------

    @property
    def keys(self) -> KeyedBackend | None:
        """This backend, if it has key holders."""
        return None

    @property
    def shares(self) -> SharedBackend | None:
        """This backend, if it has share holders."""
        return None


class KeyedBackend(Backend):
    """A backend with key holders: each holds the key, or a part of it, and keeps nothing of a round but that it has
    opened it. The setup of a round is the certificate of the key.
    """

    @property
    def keys(self) -> KeyedBackend:
        """This backend."""
        return self

    def seats(self, policy: Policy) -> Seats:
        """How many key holders there are: one, unless the backend can split its key."""
        return Seats(1, needed=1)

    @abstractmethod
    def generate(self, config: RoundConfig, holders: Sequence[str]) -> dict[str, Opener]:
        """A fresh key for rounds like this one: a secret for each of the holders, by name."""

    def settings(self, key: object) -> Mapping[str, int]:
        """Options that a policy needs for a key that was made elsewhere.

        Args:
            key: an object of the library that made it, or the bytes that this library has written.

        Raises:
            ConfigError: it is no key for this backend, or not secure; by default every one.
        """
        raise ConfigError(f"backend {self.name!r} takes no keys that were made elsewhere")

    def bring(self, config: RoundConfig, key: object) -> Opener:
        """Take over a key that was made elsewhere, whole, for rounds like this one.

        Args:
            key: see ``settings``.

        Raises:
            ConfigError: it is none, not secure, not for this policy, or sums under it would not be exact.
        """
        raise ConfigError(f"backend {self.name!r} takes no keys that were made elsewhere")

    def check_settings(self, policy: Policy, key: object) -> None:
        """Refuse a key that a policy has other options than.

        Raises:
            ConfigError: says both, and the options with which the key can be used.
        """
        needed = self.settings(key)
        known = {rule.name: rule for rule in self.options}
        found = {name: policy.option(name, known[name].default or 0) for name in known}
        wrong = {name: found[name] for name, value in needed.items() if found[name] != value}
        if wrong:
            says = ", ".join(f"{name}={value}" if value else f"no {name}" for name, value in wrong.items())
            options = " ".join(f"--option {name}={value}" for name, value in needed.items())
            raise ConfigError(
                f"the policy has {says}, and the key needs {options} (options={dict(needed)}): bring a key that is as "
                "the policy says, or pin these options in a new task"
            )

    @abstractmethod
    def opener(self, policy: Policy, data: bytes) -> Opener:
        """Take over what ``Opener.secret_bytes`` made.

        Raises:
            ConfigError: the key is for another policy than this.
            RemoteProtocolError: it is no key of this backend.
        """

    @abstractmethod
    def check_key(self, config: RoundConfig, public: bytes, holders: tuple[str, ...]) -> None:
        """Check a key that these holders vouch for: that it is one for this round, without its secret, and theirs.

        Raises:
            ConfigError: sums under it would not be exact, or not secure.
            RemoteProtocolError: it is none.
        """

    def renouncers(
        self, config: RoundConfig, cohort: Roster, setup: bytes | memoryview, operators: Mapping[str, bytes]
    ) -> Renouncers:
        """The key holders. Of a committee any two groups that open a sum share an honest member, so 2t − n − 1 may be
        corrupt.

        Raises:
            BadKey: one of them is not pinned.
        """
        names, seats = self.certificate(bytes(setup)).names, self.seats(config.policy)
        if strangers := [name for name in names if name not in operators]:
            raise BadKey(f"{strangers[0]!r}, a key holder who is not pinned", phase=ADVERTISE)
        corrupt = max(0, 2 * seats.needed - seats.count - 1)
        voters = {name: operators[name] for name in names}
        return Renouncers(voters, of_operators(seats.count, seats.needed, corrupt), operators=True)

    def certificate(self, setup: bytes) -> KeyCertificate:
        """Of a setup that ``check_setup`` has passed: the key, and who holds it."""
        return decode(KeyCertificate, setup, len(setup), phase=ADVERTISE)

    def check_setup(self, config: RoundConfig, setup: bytes | memoryview, operators: Roster) -> None:
        """The certificate has to be the configured one, of all key holders and only them."""
        if setup_digest(setup) != config.setup:
            raise PolicyViolation("the encryption key is not the configured one", phase=ADVERTISE)
        certificate = read_certificate(config, setup, operators)
        wanted = self.seats(config.policy).count
        if len(certificate.names) != wanted:
            raise BadKey(
                f"{len(certificate.names)} key holders vouch for the key, the policy has {wanted}", phase=ADVERTISE
            )
        self.check_key(config, certificate.public, certificate.names)


class SharedBackend(Backend):
    """A backend with share holders, who keep the clients' shares and sign the set. The setup of a round says who they
    are, and so it belongs to the evidence. Clients speak once: what they send when they join is all, and binds them.
    """

    agreement = SignedByOperators()
    clients_sign = False
    unbounded = (
        "its clients speak once, so what their vectors are sketched with could be known before they are committed to"
    )

    @property
    def shares(self) -> SharedBackend:
        """This backend."""
        return self

    @abstractmethod
    def seats(self, policy: Policy) -> Seats:
        """How many share holders there are."""

    @abstractmethod
    def operator(
        self, config: RoundConfig, identity: Identity, channel: KeyPair, setup: bytes, cohort: Roster
    ) -> OperatorSide:
        """This backend's part of a share holder, whom the setup names.

        Args:
            channel: the key pair that clients seal its shares to.
        """

    def base_in(self, config: RoundConfig, part: bytes) -> bytes:
        """Digest of the model that an update of a buffered round is a difference from, as its client has signed it.

        Args:
            part: this backend's part of the client's advertisement, which has been checked.

        Returns:
            Nothing where rounds are not buffered.
        """
        return b""

    def renouncers(
        self, config: RoundConfig, cohort: Roster, setup: bytes | memoryview, operators: Mapping[str, bytes]
    ) -> Renouncers:
        """All share holders, since all but one may be corrupt of those whom it takes to open a sum. Where one of them
        is gone for good there is no certificate.
        """
        voters = self.share_holders(config, setup).identities
        return Renouncers(voters, len(voters), operators=True)

    def opens(self, phase: str) -> bool:
        """Whether what a share holder answers in a phase after the set is signed may open its sum: who has answered it
        renounces nothing any more. By default in each.
        """
        return True

    def check_size(self, config: RoundConfig) -> None:
        """Refuse a model that can't be shared.

        Raises:
            ConfigError: it is too long.
        """

    def share_holders(self, config: RoundConfig, setup: bytes | memoryview) -> AggregatorSet:
        """Who they are, by the setup.

        Raises:
            RemoteProtocolError: the setup is not the configured one, or malformed.
        """
        return read_setup(config, setup, self.seats(config.policy).count)

    def check_setup(self, config: RoundConfig, setup: bytes | memoryview, operators: Roster) -> None:
        """The share holders have to be pinned, all of them."""
        self.check_size(config)
        for member in self.share_holders(config, setup).members:
            if operators.get(member.name) != member.identity:
                raise BadKey(f"{member.name!r}, a share holder who is not pinned", phase=ADVERTISE)
