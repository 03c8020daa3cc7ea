"""Paillier behind the homomorphic backends' rules: one key holder, or a committee of which any t decrypt together.

A committee's members see no sum before the aggregator does, so they can't check one. What they can do is make sure
that it is a *sum*: each multiplies the clients' ciphertexts, every one bound by its client's commitment hash, and
decrypts that product only. So nothing but the sum over the agreed clients is ever decrypted, whatever the aggregator
asks.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpc.keystream import KeyStream
from mpc.paillier import packing as paillier_packing
from mpc.paillier import paillier
from mpc.paillier import threshold as threshold_paillier
from mpc.paillier.packing import PackedRuns, Packing
from mpc.paillier.paillier import Encryptor, PaillierError, PublicKey, SecretKey
from mpc.paillier.threshold import MAX_MEMBERS, KeyShare, ThresholdKey
from mpc.ring import Vector
from secure_agg.backends.contract import Answer, Hidden, Opener, Outcome, Said, Session
from secure_agg.backends.homomorphic.backend import (
    ENCRYPTED_INPUT,
    CiphertextPart,
    HomomorphicAggregator,
    check_bound,
)
from secure_agg.backends.homomorphic.scheme import Scheme, Summing
from secure_agg.errors import (
    BadInput,
    BadKey,
    BadShare,
    MalformedMessage,
    Unattributed,
)
from secure_agg.protocol.certificate import KeyCertificate
from secure_agg.protocol.config import RoundConfig, Run
from secure_agg.protocol.evidence import DECRYPT
from secure_agg.protocol.identity import in_id_order
from secure_agg.protocol.messages import ADVERTISE, Wire, decode, encode
from secure_agg.protocol.refusal import LIBRARY_ERRORS
from secure_agg.protocol.session import Participants
from zk.norm.commitment import NOISE_TOP
from zk.parameters import noise_top
from zk.partial_decryption import (
    PartialDecryptionError,
    PartialDecryptionProof,
    PartialDecryptionStatement,
    prove,
    verify,
)

if TYPE_CHECKING:
    from gmpy2 import mpz


class PaillierPublic(Wire, frozen=True):
    """A public key on the wire: the modulus, and what verifies the members' answers where the key is shared.

    Attributes:
        modulus: n, little endian.
        threshold: members that decrypt together; 1 for a key that one holder has.
        members: of a shared key, in id order; empty otherwise.
        base, verification: see ``mpc.paillier.threshold.ThresholdKey``; ciphertext-sized, little endian.
    """

    modulus: bytes
    threshold: int
    members: tuple[str, ...]
    base: bytes
    verification: tuple[bytes, ...]


def write_public(key: PublicKey | ThresholdKey) -> bytes:
    """The encoding of a key."""
    if isinstance(key, PublicKey):
        return encode(PaillierPublic(key.to_bytes(), 1, (), b"", ()))
    size = key.public.ciphertext_bytes
    numbers = [int(value).to_bytes(size, "little") for value in (key.base, *key.verification)]
    return encode(PaillierPublic(key.public.to_bytes(), key.threshold, key.members, numbers[0], tuple(numbers[1:])))


def read_public(data: bytes, modulus_bits: int) -> PublicKey | ThresholdKey:
    """Decode a key strictly.

    Raises:
        MalformedMessage: not canonical.
        BadKey: of another length than the policy's, or no key.
    """
    fields = decode(PaillierPublic, data, 1 << 20, phase=ADVERTISE)
    if 8 * len(fields.modulus) != modulus_bits:
        raise BadKey(f"a modulus of {8 * len(fields.modulus)} bits, the policy says {modulus_bits}", phase=ADVERTISE)
    if len(fields.verification) != len(fields.members) or len(fields.members) > MAX_MEMBERS:
        raise BadKey(
            f"{len(fields.verification)} verification keys of {len(fields.members)} members, of {MAX_MEMBERS} at most",
            phase=ADVERTISE,
        )
    try:
        public = PublicKey.from_bytes(fields.modulus)
        if fields.threshold == 1 and not (fields.members or fields.base or fields.verification):
            return public
        sizes = {len(value) for value in (fields.base, *fields.verification)}
        if sizes != {public.ciphertext_bytes}:
            raise BadKey("verification keys are not of the ciphertexts' size", phase=ADVERTISE)
        values = [int.from_bytes(value, "little") for value in (fields.base, *fields.verification)]
        return ThresholdKey(public, fields.threshold, fields.members, values[0], tuple(values[1:]))
    except PaillierError as error:
        raise BadKey(f"no Paillier key: {error}", phase=ADVERTISE) from error


class PaillierSecret(Wire, frozen=True):
    """A holder's secret as it is stored, encrypted.

    Attributes:
        public: the public key, as ``write_public`` encodes it.
        member: whose share it is; empty for a key that one holder has.
        value: of a share, ciphertext-sized, little endian; of a whole key ``mpc.paillier.paillier.SecretKey.to_bytes``.
    """

    public: bytes
    member: str
    value: bytes

    def __repr__(self) -> str:
        return "PaillierSecret(<secret>)"


def plain_public(key: PublicKey | ThresholdKey) -> PublicKey:
    """What is encrypted under."""
    return key if isinstance(key, PublicKey) else key.public


@functools.lru_cache(maxsize=2)
def _encryptor(modulus: bytes) -> Encryptor:
    """The fixed-base table of a key, 17 MB at 2048 bits: clients in one process share it."""
    return Encryptor(PublicKey.from_bytes(modulus))


class _Sum(Summing):
    def __init__(self, public: PublicKey, packing: PackedRuns) -> None:
        self._sum = paillier_packing.Accumulator(public, packing, packing.length)

    def add(self, data: bytes | memoryview) -> None:
        try:
            self._sum.add(data)
        except PaillierError as error:
            raise BadInput(str(error)) from error

    def total(self) -> bytes:
        return self._sum.total()


class PaillierScheme(Scheme):
    """Packed Paillier under one key, for one round's vectors."""

    def __init__(self, config: RoundConfig, key: PublicKey | ThresholdKey) -> None:
        self.key = key
        self.public = plain_public(key)
        self.packing = packing(config, self.public.bits)
        self.config, self.length = config, self.packing.length

    def encrypt(self, vector: Vector, randomness: bytes) -> bytes:
        """Reproducible: the same randomness gives the same bytes.

        Raises:
            BadKey: the modulus is none: a small factor shows when something is encrypted under it.
        """
        try:
            encryptor = _encryptor(self.public.to_bytes())
        except PaillierError as error:
            raise BadKey(f"no Paillier key: {error}", phase=ADVERTISE) from error
        obfuscators = encryptor.obfuscators(KeyStream(randomness), 0, self.packing.ciphertexts(self.length))
        return paillier_packing.encrypt_vector(encryptor, self.packing, vector, obfuscators)

    def summing(self) -> Summing:
        """A product of ciphertexts modulo n²."""
        return _Sum(self.public, self.packing)

    def parse(self, data: bytes | memoryview) -> list[mpz]:
        """The ciphertexts of a vector. PaillierError: it is none of this round."""
        return paillier_packing.parse_vector(self.public, self.packing, data, self.length)

    @property
    def ciphertext_bytes(self) -> int:
        """Size of an encrypted vector."""
        return paillier_packing.encoded_bytes(self.public, self.packing, self.length)


def packing(config: RoundConfig, modulus_bits: int) -> PackedRuns:
    """How this round's vectors lie in plaintexts: the runs of x, then s, and s' where a norm is bounded."""
    layout, clients = config.layout, config.policy.max_clients
    runs = [*config.layout.runs, Run(layout.randomness, noise_top(config.policy.coordinate_bits, clients))]
    if layout.sketch:
        runs.append(Run(layout.sketch, NOISE_TOP))
    return PackedRuns(tuple((Packing(run.top, clients, modulus_bits), run.length) for run in runs))


class PaillierOpener(Opener):
    """The whole secret key."""

    def __init__(self, key: SecretKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "PaillierOpener(<secret>)"

    @property
    def public(self) -> bytes:
        """The modulus."""
        return write_public(self._key.public)

    def secret_bytes(self) -> bytes:
        """The primes."""
        return encode(PaillierSecret(self.public, "", self._key.to_bytes()))

    def check(self, participants: Participants, request: bytes, hidden: memoryview) -> None:
        """Size, header and range of every ciphertext."""
        scheme = PaillierScheme(participants.session.config, self._key.public)
        try:
            scheme.parse(hidden)
        except PaillierError as error:
            raise BadInput(str(error), phase=DECRYPT) from error

    def open(self, participants: Participants, request: bytes, hidden: memoryview) -> Answer:
        """Decrypt and unpack."""
        scheme = PaillierScheme(participants.session.config, self._key.public)
        try:
            sums = paillier_packing.decrypt_vector(self._key, scheme.packing, hidden, scheme.length)
            return Answer(sums=sums)
        except LIBRARY_ERRORS as error:  # an exception of its own would be another answer than the one bit
            raise BadInput("it decrypts to no sum", phase=DECRYPT) from error


class InnerNonces(Wire, frozen=True):
    """The backend's part of a request to a committee: the participants' inner nonces, in id order."""

    nonces: tuple[bytes, ...]


class CommitteeOpener(Opener):
    """One member's share of a key."""

    def __init__(self, share: KeyShare) -> None:
        self._share = share

    def __repr__(self) -> str:
        return f"CommitteeOpener({self._share.member!r})"

    @property
    def public(self) -> bytes:
        """The modulus and the verification keys."""
        return write_public(self._share.key)

    def secret_bytes(self) -> bytes:
        """The share, with the public key that it belongs to."""
        value = int(self._share.value).to_bytes(self._share.key.public.ciphertext_bytes, "little")
        return encode(PaillierSecret(self.public, self._share.member, value))

    def check(self, participants: Participants, request: bytes, hidden: memoryview) -> None:
        """Every participant's ciphertext is there, and the one that its commitment hash binds."""
        self._sum(participants, request, hidden)

    def _sum(self, participants: Participants, request: bytes, hidden: memoryview) -> list[mpz]:
        scheme = PaillierScheme(participants.session.config, self._share.key)
        inner = decode(InnerNonces, request, len(request), phase=DECRYPT).nonces
        size, openings = scheme.ciphertext_bytes, participants.openings
        if len(inner) != len(openings) or len(hidden) != size * len(openings):
            raise MalformedMessage("not one ciphertext and nonce for each participant", phase=DECRYPT)
        summed = paillier_packing.Accumulator(scheme.public, scheme.packing, scheme.length)
        for i, (opening, nonce) in enumerate(zip(openings, inner, strict=True)):
            ciphertext = hidden[i * size : (i + 1) * size]
            check_bound(opening.name, nonce, hashlib.sha256(ciphertext).digest(), opening.nonce)
            try:
                summed.add(ciphertext)
            except PaillierError as error:
                raise BadInput(str(error), phase=DECRYPT, culprit=opening.name) from error
        return scheme.parse(summed.total())

    def open(self, participants: Participants, request: bytes, hidden: memoryview) -> Answer:
        """A partial decryption of the sum, with a proof that it is right."""
        ciphertexts = self._sum(participants, request, hidden)
        partials = threshold_paillier.partial_decrypt(self._share, ciphertexts)
        statement = PartialDecryptionStatement(
            self._share.key, self._share.member, participants.session.sid, ciphertexts, partials
        )
        proof = prove(self._share, statement).to_bytes(self._share.key)
        return Answer(body=encode(PartialAnswer(proof)), bulk=self._share.key.public.serialise(partials))


class PartialAnswer(Wire, frozen=True):
    """Phase decrypt, response of a committee member: the proof. Bulk: the partial decryptions."""

    proof: bytes


class CommitteeAggregator(HomomorphicAggregator):
    """Adds ciphertexts, and keeps them until the committee has seen them all."""

    def __init__(self, scheme: PaillierScheme, certificate: KeyCertificate) -> None:
        super().__init__(scheme, certificate)
        if not isinstance(scheme.key, ThresholdKey):
            raise BadKey("the key is not shared among a committee", phase=ADVERTISE)
        self._paillier, self._key = scheme, scheme.key
        self._inputs: dict[str, tuple[bytes, bytes]] = {}
        self._ciphertexts: list[mpz] = []
        self._partials: dict[str, list[int]] = {}

    def summed(self) -> Hidden:
        """None: every member is shown all ciphertexts."""
        return None  # type: ignore[return-value]

    def needed(self, phase: str) -> int:
        """The threshold."""
        return self._key.threshold

    def begin(self, session: Session) -> None:
        """Answers are proven for this session only."""
        self._sid = session.sid

    def _take_input(self, said: Said) -> None:
        """Add a ciphertext vector and keep it."""
        super()._take_input(said)
        inner = decode(CiphertextPart, said.part, 64, phase=ENCRYPTED_INPUT, culprit=said.name).nonce
        self._inputs[said.name] = inner, bytes(said.message.bulk)

    def ask(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """In phase decrypt all ciphertexts, for the member to multiply."""
        if phase != DECRYPT:
            return b"", b""
        if not self._ciphertexts:
            self._ciphertexts = self._paillier.parse(self._sum.total())
        ordered = [self._inputs[client] for client in in_id_order(self._inputs)]
        return encode(InnerNonces(tuple(nonce for nonce, _ in ordered))), b"".join(data for _, data in ordered)

    def _take_opened(self, said: Said) -> None:
        """Check one member's answer; a wrong one names the member."""
        name, message = said.name, said.message
        proof = decode(PartialAnswer, said.part, 1 << 16, phase=DECRYPT, culprit=name).proof
        size = len(self._ciphertexts) * self._paillier.public.ciphertext_bytes
        if len(message.bulk) != size:  # before as many numbers are made of it
            raise BadShare(f"{len(message.bulk)} bytes of partial decryptions, not {size}", phase=DECRYPT, culprit=name)
        try:
            partials = [int(value) for value in self._paillier.public.parse(message.bulk)]
            statement = PartialDecryptionStatement(self._key, name, self._sid, self._ciphertexts, partials)
            verify(statement, PartialDecryptionProof.from_bytes(proof, self._key, name))
        except (PaillierError, PartialDecryptionError) as error:
            raise BadShare(f"a wrong partial decryption: {error}", phase=DECRYPT, culprit=name) from error
        self._partials[name] = partials

    def outcome(self) -> Outcome:
        """Combine the answers of a threshold of members.

        Raises:
            Unattributed: the plaintexts are no sum: a client has encrypted something else than it committed to.
        """
        try:
            plaintexts = threshold_paillier.combine(self._key, self._partials, len(self._ciphertexts))
            sums = self._paillier.packing.unpack(plaintexts, self._paillier.length)
            return Outcome(sums)
        except ValueError as error:
            raise Unattributed(f"what was decrypted is no sum: {error}", phase=DECRYPT) from error


def deal(bits: int, threshold: int, holders: Sequence[str]) -> dict[str, Opener]:
    """A fresh key: whole for one holder, shared for several. Whoever calls this is the dealer and must be trusted."""
    if len(holders) == 1:
        return {holders[0]: PaillierOpener(paillier.generate(bits))}
    _, shares = threshold_paillier.deal(threshold, holders, bits=bits)
    return {member: CommitteeOpener(share) for member, share in shares.items()}


def restore(data: bytes, modulus_bits: int) -> Opener:
    """What ``secret_bytes`` of either opener made.

    Raises:
        MalformedMessage: not canonical.
        BadKey: of another length than the policy's, or its parts do not belong together.
    """
    secret = decode(PaillierSecret, data, 1 << 20, phase=DECRYPT)
    key = read_public(secret.public, modulus_bits)
    try:
        if isinstance(key, ThresholdKey):
            return CommitteeOpener(KeyShare(key, secret.member, int.from_bytes(secret.value, "little")))
        whole = SecretKey.from_bytes(secret.value)
    except PaillierError as error:
        raise BadKey(f"no Paillier secret: {error}", phase=DECRYPT) from error
    if whole.public != key or secret.member:
        raise BadKey("no Paillier secret: it does not belong to its public key", phase=DECRYPT)
    return PaillierOpener(whole)
