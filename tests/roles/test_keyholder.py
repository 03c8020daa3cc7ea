"""Who has the decryption key, what it says and to whom: the aggregator holds public material only, a key holder answers
once, about an agreed sum, and never again after a sum that failed.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pytest
import tenseal as ts
from support.federation import Federation, Tape, bulk_of, edit, forge, header_of, identity, paillier_key, replace

from mpc.paillier.paillier import SecretKey
from mpc.paillier.threshold import KeyShare
from mpc.ring import from_bytes
from secure_agg import backends
from secure_agg.backends.contract import Opener, commitment_hash
from secure_agg.backends.homomorphic import lattice_keys, lattice_wire
from secure_agg.backends.homomorphic.backend import CiphertextPart, HomomorphicBackend, bound_nonce
from secure_agg.backends.homomorphic.lattice_backend import LatticeOpener
from secure_agg.backends.homomorphic.paillier_scheme import InnerNonces
from secure_agg.errors import (
    AlreadyReleased,
    BadCommitment,
    BadInput,
    BadKey,
    BadSignature,
    ConfigError,
    DuplicateMessage,
    MalformedMessage,
    PolicyViolation,
    RemoteProtocolError,
    SecureAggError,
    TooFewClients,
    TrustError,
    Unattributed,
    UnknownSender,
    WrongContext,
    WrongPhase,
)
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Opened, OpeningRequest
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Advertisement, HiddenInput, Opening, Signature, decode, encode, write
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.keyholder import MAX_FAILURES, KeyHolder
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import TaskTrust, Trust

HOLDER = "keyholder-1"
ME = identity("aggregator")
OPTIONS: dict[str, dict[str, int]] = {"bfv": {}, "ckks": {}, "paillier": {"modulus_bits": 2048}}
WHOLE = list(OPTIONS)
LATTICE = ["bfv", "ckks"]
NOT_REFUSED = pytest.fail.Exception


def federation(backend: str, n: int = 5, **changes: Any) -> Federation:
    if backend == "committee":
        options, bits = {"modulus_bits": 2048, "holders": 4}, {"bits": 8}
        return Federation(n, backend="paillier", options=options, policy_changes=bits, **changes)
    return Federation(n, backend=backend, options=OPTIONS[backend], **changes)


@functools.cache
def played(backend: str, n: int = 5) -> Tape:
    """A round up to the requests to the key holders, which nobody has answered. Tests ask holders of their own."""
    return Tape.start(federation(backend, n)).until("decrypt")


def request_of(backend: str, name: str = HOLDER) -> bytes:
    return played(backend).requests["decrypt"][name]


def fresh(backend: str, name: str = HOLDER, **changes: Any) -> KeyHolder:
    """The key holder of the played round, as if nobody had asked it before."""
    return played(backend).federation.holder(name, **{"store": AttemptStore()} | changes)


def opened(response: bytes) -> bool:
    return decode(Opened, header_of(response).body, 16).passed


def refuses(holder: KeyHolder, request: bytes, error: type[SecureAggError] | tuple[type[SecureAggError], ...]) -> None:
    """Refused, with nothing claimed: the genuine request is still answered."""
    with pytest.raises(error):
        holder.receive(request)


def change(backend: str, edited: Callable[[OpeningRequest], OpeningRequest], **headers: Any) -> bytes:
    return edit(request_of(backend), ME, OpeningRequest, edited, **headers)


# --- what the aggregator holds --------------------------------------------------------------------------------

SECRETS = (lattice_keys.SecretKey, SecretKey, KeyShare, Opener, KeyHolder)
OPAQUE = (str, bytes, int, float, np.ndarray, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def reachable(root: object) -> list[object]:
    """Every object that can be reached from ``root`` but for code, classes and modules."""
    found: dict[int, object] = {}
    pending = [root]
    while pending:
        item = pending.pop()
        if id(item) in found or isinstance(item, OPAQUE):
            continue
        found[id(item)] = item
        pending += getattr(item, "__dict__", {}).values()
        pending += gc.get_referents(item)
    return list(found.values())


@pytest.mark.parametrize("backend", [*WHOLE, "committee"])
def test_nothing_that_decrypts_can_be_reached_from_the_aggregator(backend: str) -> None:
    tape = played(backend)
    held = reachable(tape.aggregator)
    assert tape.aggregator._side in held
    assert not [item for item in held if isinstance(item, SECRETS)]
    contexts = [item for item in held if isinstance(item, ts.Context)]
    assert bool(contexts) == (backend in LATTICE)
    for context in contexts:
        assert not context.is_private()
        assert not context.has_secret_key()


@pytest.mark.parametrize("backend", [*WHOLE, "committee"])
def test_the_search_would_find_a_key(backend: str) -> None:
    holder = fresh(backend)
    held = reachable(holder)
    assert [item for item in held if isinstance(item, SECRETS[:3])]
    assert backend not in LATTICE or any(item.is_private() for item in held if isinstance(item, ts.Context))


@pytest.mark.parametrize("backend", WHOLE)
def test_no_bytes_of_the_secret_are_in_what_is_sent(backend: str) -> None:
    tape = played(backend)
    key = tape.federation.openers[HOLDER]._key  # type: ignore[attr-defined]
    secret = key.to_bytes() if backend == "paillier" else key.secret_bytes()[len(key.public_bytes()) :]
    samples = [secret[at : at + 24] for at in range(0, len(secret) - 24, max(1, len(secret) // 50))]
    for sent in (tape.federation.setup, *tape.requests["advertise"].values(), request_of(backend)):
        assert backend != "paillier" or not any(sample in sent for sample in samples)
    answer = fresh(backend).receive(request_of(backend))
    assert not any(sample in answer for sample in samples)


# --- once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [*WHOLE, "committee"])
def test_a_key_holder_gives_one_answer_for_a_round_and_the_same_again_after_a_restart(
    backend: str, tmp_path: Path
) -> None:
    path = tmp_path / "holder.db"
    with AttemptStore(path) as store:
        holder = fresh(backend, store=store)
        answer = holder.receive(request_of(backend))
        assert holder.receive(request_of(backend)) == answer
    with AttemptStore(path) as store:
        assert fresh(backend, store=store).receive(request_of(backend)) == answer


@pytest.mark.parametrize("backend", WHOLE)
def test_a_key_holder_answers_one_attempt_of_a_round_only(backend: str) -> None:
    """The clients of a second attempt are others, or have forgotten: the key holder has not."""
    whole = federation(backend)
    Tape.start(whole).finish()
    whole.stores = federation(backend).stores
    tape = Tape.start(whole, attempt=1).until("decrypt")
    with pytest.raises(AlreadyReleased):
        tape.answer(HOLDER)
    next_round = Tape.start(federation(backend), round=1, start_model=bytes([7] * 32)).until("decrypt")
    assert opened(whole.holder().receive(next_round.requests["decrypt"][HOLDER]))


# --- what contradicts its pins --------------------------------------------------------------------------------


def test_a_key_holder_refuses_another_policy_cohort_or_operators_than_it_has_pinned() -> None:
    tape = played("paillier")
    pins = tape.federation.trust
    looser = federation("paillier").policy
    task = pins.tasks["task"]
    for trust, word in (
        (Trust(operators=pins.operators), "no roster"),
        (Trust({"task": TaskTrust(task.roster, replace(looser, clip=4.0))}, pins.operators), "clip"),
        (Trust({"task": TaskTrust(task.roster, replace(looser, min_clients=4))}, pins.operators), "min_clients"),
        (Trust({"task": TaskTrust(federation("paillier", 6).roster, task.policy)}, pins.operators), "cohort"),
        (Trust(pins.tasks, Roster({**pins.operators, "other": identity("other").public})), "operators"),
        (Trust(pins.tasks, pins.operators, log=identity("log").public), "ledger key"),
        (Trust(pins.tasks, pins.operators, witnesses=Roster({"w": identity("w").public})), "witnesses"),
    ):
        store = AttemptStore()
        with pytest.raises(TrustError, match=word):
            fresh("paillier", trust=trust, store=store).receive(request_of("paillier"))
        assert opened(fresh("paillier", store=store).receive(request_of("paillier"))), "nothing was claimed"


def test_a_key_holder_answers_for_the_key_it_has_certified_only() -> None:
    whole = played("paillier").federation
    other = whole.certify(whole.openers[HOLDER].public, HOLDER, "aggregator")
    store = AttemptStore()
    with pytest.raises(PolicyViolation, match="another encryption key"):
        fresh("paillier", certificate=other, store=store).receive(request_of("paillier"))
    with pytest.raises(ConfigError, match="another key"):
        fresh("paillier", certificate=federation("bfv").certificate)
    assert opened(fresh("paillier", store=store).receive(request_of("paillier")))


def test_a_key_certified_for_one_task_opens_nothing_of_another() -> None:
    """Else the colluding cohort of another task replays a client's recorded commitment and ciphertext among its own
    known updates, all agreed and opened by the rules, and subtracts those from the sum.
    """
    honest, theirs = federation("paillier"), federation("paillier", task="other", seed=1)
    theirs.openers, theirs.certificate = honest.openers, honest.certificate
    both = Trust({**honest.trust.tasks, **theirs.trust.tasks}, honest.trust.operators)
    recorded = Tape.start(honest).until("decrypt").responses["masked-input"]["c001"]
    opening = decode(HiddenInput, header_of(recorded).body, 1 << 16)
    tape, cheat, backend = colluding(theirs), identity("c004"), backends.load("paillier")
    config, nonce = tape.aggregator.config, bound_nonce(bytes(32), hashlib.sha256(bulk_of(recorded)).digest())
    hashed = commitment_hash(config, cheat.name, opening.commitment, nonce)
    tape.deliver(write(cheat, config.context, "advertise", "", encode(Advertisement(hashed, b""))))
    tape.answer_all(but=(cheat.name,))
    tape.advance()
    session, statement = tape.aggregator.session, tape.aggregator._gathered.statement
    assert session is not None
    assert statement is not None
    signed = Signature(cheat.name, cheat.sign(backend.agreement.signed_bytes(session.sid, statement)))
    tape.deliver(write(cheat, session.sid, "consistency", "aggregator", encode(signed)))
    tape.answer_all(but=(cheat.name,))
    tape.advance()
    replayed = HiddenInput(opening.commitment, nonce, encode(CiphertextPart(bytes(32))))
    tape.aggregator.receive(write(cheat, session.sid, "masked-input", ME.name, encode(replayed), bulk_of(recorded)))
    tape.answer_all(but=(cheat.name,))
    tape.advance()
    try:
        answer = honest.holder(trust=both).receive(tape.requests["decrypt"][HOLDER])
    except SecureAggError:
        return
    assert opened(answer)
    update = from_bytes(bulk_of(answer))[: config.layout.committed].astype(np.int64)
    for name in theirs.names[:4]:
        update -= encoded(theirs, name)
    assert not np.array_equal(update, encoded(honest, "c001")), "an honest client's update is open"


def encoded(of: Federation, name: str) -> np.ndarray:
    """The integers that a client's update encodes to."""
    out = np.empty(of.config().layout.committed, dtype=np.uint32)
    FixedPoint(of.policy).encode(of.updates[name], 1, bytes(32), out)
    return out


def colluding(of: Federation) -> Tape:
    """A round whose aggregator and clients do not look at what the certificate is for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HomomorphicBackend, "check_setup", lambda *_: None)
        tape = Tape.start(of)
        joined = {name: tape.answer(name) for name in of.names[:4]}
    tape.answer = lambda name: joined.pop(name) if name in joined else Tape.answer(tape, name)  # type: ignore[method-assign]
    return tape


# --- what is not signed, agreed or opened as it must be ---------------------------------------------------------


def drop_signatures(asked: OpeningRequest) -> OpeningRequest:
    return replace(asked, agreement=asked.agreement[:2])


def forged_signature(asked: OpeningRequest) -> OpeningRequest:
    first = replace(asked.agreement[0], signature=asked.agreement[1].signature)
    return replace(asked, agreement=(first, *asked.agreement[1:]))


def doubled_signature(asked: OpeningRequest) -> OpeningRequest:
    return replace(asked, agreement=(asked.agreement[0], *asked.agreement))


def first_opening(**changes: Any) -> Callable[[OpeningRequest], OpeningRequest]:
    return lambda asked: replace(asked, openings=(replace(asked.openings[0], **changes), *asked.openings[1:]))


def fewer(count: int) -> Callable[[OpeningRequest], OpeningRequest]:
    return lambda asked: replace(asked, openings=asked.openings[:count])


def swapped_openings(asked: OpeningRequest) -> OpeningRequest:
    first, second, *rest = asked.openings
    swapped = Opening(first.name, second.commitment, second.nonce), Opening(second.name, first.commitment, first.nonce)
    return replace(asked, openings=(*swapped, *rest))


def other_config(**changes: Any) -> Callable[[OpeningRequest], OpeningRequest]:
    def edited(asked: OpeningRequest) -> OpeningRequest:
        return replace(asked, config=replace(RoundConfig.from_bytes(asked.config), **changes).to_bytes())

    return edited


PUBLIC_FAULTS: dict[str, tuple[Callable[[OpeningRequest], OpeningRequest], type[SecureAggError]]] = {
    "too few signatures": (drop_signatures, TooFewClients),
    "no signatures": (lambda asked: replace(asked, agreement=()), TooFewClients),
    "somebody else's signature": (forged_signature, BadSignature),
    "a signature twice": (doubled_signature, DuplicateMessage),
    "a nonce that does not open": (first_opening(nonce=bytes(32)), BadCommitment),
    "a commitment that does not open": (first_opening(commitment=b""), BadCommitment),
    "an opening of a stranger": (first_opening(name="a"), UnknownSender),
    "openings of each other's": (swapped_openings, BadCommitment),
    "openings out of order": (lambda asked: replace(asked, openings=asked.openings[::-1]), PolicyViolation),
    "one client alone": (fewer(1), TooFewClients),
    "fewer than the quorum": (fewer(3), TooFewClients),
    "one client many times": (lambda asked: replace(asked, openings=asked.openings[:1] * 5), PolicyViolation),
    "an advertisement less": (
        lambda asked: replace(asked, advertisements=asked.advertisements[1:]),
        UnknownSender,
    ),
    "advertisements below u_min": (
        lambda asked: replace(asked, advertisements=asked.advertisements[:3]),
        TooFewClients,
    ),
    "another cohort": (lambda asked: replace(asked, cohort=asked.cohort[1:]), PolicyViolation),
    "another attempt": (other_config(attempt=1), BadSignature),
    "another start model": (other_config(start_model=bytes([1] * 32)), BadSignature),
    "another encryption key": (other_config(setup=bytes(32)), BadSignature),
    "another policy": (other_config(policy=replace(federation("paillier").policy, clip=1.0)), TrustError),
    "no configuration": (lambda asked: replace(asked, config=b""), MalformedMessage),
}


@pytest.mark.parametrize("backend", WHOLE)
def test_a_request_that_is_publicly_at_fault_is_refused_and_costs_nothing(backend: str) -> None:
    holder = fresh(backend)
    for edited, error in PUBLIC_FAULTS.values():
        refuses(holder, change(backend, edited), error)
    assert opened(holder.receive(request_of(backend))), "the genuine request is still answered"


def test_a_request_is_signed_by_a_pinned_operator_other_than_the_holder_itself() -> None:
    request = request_of("paillier")
    holder = fresh("paillier")
    cases: list[tuple[bytes, type[SecureAggError]]] = [
        (forge(request, identity("mallory")), BadSignature),
        (forge(request, identity("mallory"), sender="mallory"), UnknownSender),
        (forge(request, identity("c000"), sender="c000"), UnknownSender),
        (forge(request, identity(HOLDER), sender=HOLDER), UnknownSender),
        (forge(request, ME, recipient="keyholder-2"), UnknownSender),
        (forge(request, ME, recipient=""), UnknownSender),
        (forge(request, ME, session=bytes(32)), WrongContext),
        (forge(request, ME, phase="masked-input"), WrongPhase),
        (forge(request, ME, version=2), MalformedMessage),
        (forge(request, ME, body=b""), MalformedMessage),
        (forge(request, ME, body=header_of(request).body + b"\0"), MalformedMessage),
        (forge(request, None, bulk=bulk_of(request)[::-1]), BadSignature),
        (request[:-1], MalformedMessage),
        (request + b"\0", MalformedMessage),
        (b"", MalformedMessage),
    ]
    for altered, error in cases:
        refuses(holder, altered, error)
    assert opened(holder.receive(request))


# --- ciphertexts ----------------------------------------------------------------------------------------------


def split(data: bytes) -> tuple[bytes, list[bytes]]:
    """Header and framed chunks of a lattice vector."""
    chunks, at = [], lattice_wire.HEADER.size
    while at < len(data):
        _, length = lattice_wire.CHUNK.unpack_from(data, at)
        chunks.append(data[at : at + 8 + length])
        at += 8 + length
    return data[: lattice_wire.HEADER.size], chunks


def header_with(data: bytes, field: int, value: object) -> bytes:
    fields = list(lattice_wire.HEADER.unpack_from(data))
    fields[field] = value
    return lattice_wire.HEADER.pack(*fields) + data[lattice_wire.HEADER.size :]


@functools.cache
def large(backend: str) -> Tape:
    """A round whose vectors take several chunks."""
    return Tape.start(federation(backend, 3, shapes=((130, 100),))).until("decrypt")


@pytest.mark.parametrize("backend", LATTICE)
def test_malformed_lattice_sums_are_refused_and_cost_nothing(backend: str) -> None:
    tape = large(backend)
    request = tape.requests["decrypt"][HOLDER]
    data = bulk_of(request)
    head, chunks = split(data)
    assert len(chunks) > 1
    foreign = bulk_of(played(backend).requests["decrypt"][HOLDER])
    longer = struct.pack("<II", 0, len(chunks[0]) - 7) + chunks[0][8:] + b"\0"
    cases: list[tuple[bytes, type[SecureAggError]]] = [
        (b"", MalformedMessage),
        (data[:-1], MalformedMessage),
        (data[: len(data) // 2], MalformedMessage),
        (data + b"\0", MalformedMessage),
        (data + bytes(1 << 20), MalformedMessage),
        (bytes(len(data)), MalformedMessage),
        (head + b"".join(chunks[:-1]), MalformedMessage),
        (head + b"".join(chunks[1:]), MalformedMessage),
        (head + b"".join(chunks[::-1]), MalformedMessage),
        (head + b"".join((chunks[0], *chunks)), MalformedMessage),
        (head + longer + b"".join(chunks[1:]), MalformedMessage),
        (header_with(data, 1, bytes(32)), WrongContext),
        (header_with(data, 2, bytes(32)), WrongContext),
        (header_with(data, 3, 0), MalformedMessage),
        (header_with(data, 3, 99), MalformedMessage),
        (header_with(data, 4, 1), MalformedMessage),
        (foreign, WrongContext),
    ]
    holder = tape.federation.holder(store=AttemptStore())
    for altered, error in cases:
        refuses(holder, forge(request, ME, bulk=altered), error)
    assert opened(holder.receive(request))


@pytest.mark.parametrize("backend", LATTICE)
def test_a_sum_of_another_number_of_vectors_costs_nothing(backend: str) -> None:
    """The count is public: a holder that decrypts first would retire its key over a header."""
    request, holder = request_of(backend), fresh(backend)
    refuses(holder, forge(request, ME, bulk=header_with(bulk_of(request), 3, 4)), RemoteProtocolError)
    assert opened(holder.receive(request))


@pytest.mark.parametrize("backend", LATTICE)
def test_a_chunk_that_is_no_ciphertext_costs_nothing(backend: str) -> None:
    """Whether SEAL takes a chunk can be seen without the key."""
    request, holder = request_of(backend), fresh(backend)
    opener = played(backend).federation.openers[HOLDER]
    assert isinstance(opener, LatticeOpener)
    head, chunks = split(bulk_of(request))
    ones = lattice_wire.chunk(0, expanding_to_ones(opener._key.parameters.residue_bytes + 97))
    with pytest.raises(MalformedMessage, match="is no ciphertext of these parameters"):
        holder.receive(forge(request, ME, bulk=head + ones + b"".join(chunks[1:])))
    assert opened(holder.receive(request))


def expanding_to_ones(size: int) -> bytes:
    """A sound SEAL stream that expands to ``size`` bytes 0xff, which are no ciphertext.

    Damage to a genuine stream won't do: one in fifty still expands to residues.
    """
    sizes = [min(1 << 17, size - start) for start in range(0, size, 1 << 17)]
    runs = [
        (length << 3 | 2 | (at == len(sizes) - 1)).to_bytes(3, "little") + b"\xff" for at, length in enumerate(sizes)
    ]
    declared = b"\x60" + struct.pack("<H", size - 256) if size < 65792 else b"\xa0" + struct.pack("<I", size)
    frame = b"\x28\xb5\x2f\xfd" + declared + b"".join(runs)
    return struct.pack("<HBBBBHQ", 0xA15E, 16, 4, 3, 2, 0, 16 + len(frame)) + frame


def test_malformed_paillier_sums_are_refused_and_cost_nothing() -> None:
    request = request_of("paillier")
    data, key = bulk_of(request), paillier_key(2048)
    header, size = 64, key.public.ciphertext_bytes
    chunks = [data[at : at + size] for at in range(header, len(data), size)]

    def with_first(value: int) -> bytes:
        return data[:header] + value.to_bytes(size, "little") + b"".join(chunks[1:])

    cases = [
        b"",
        data[:-1],
        data[:header],
        data + b"\0",
        data + chunks[0],
        data[:-size],
        bytes(32) + data[32:],  # of another modulus
        data[:32] + bytes(8) + data[40:],  # another packing
        with_first(0),
        with_first(key.p),  # a multiple of a factor of n: no unit modulo n²
        with_first(key.p * 12345),
        with_first(int(key.public.n_squared)),
        with_first((1 << 8 * size) - 1),
    ]
    holder = fresh("paillier")
    for altered in cases:
        refuses(holder, forge(request, ME, bulk=altered), BadInput)
    assert opened(holder.receive(request))


def test_what_a_committee_is_shown_must_be_what_the_commitment_hashes_bind() -> None:
    request, store = request_of("committee"), AttemptStore()
    data, count = bulk_of(request), 5
    size = len(data) // count
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    holder = fresh("committee", store=store)
    for altered in (
        b"",
        data[:-1],
        data + parts[0],
        b"".join(parts[:-1]),
        b"".join((parts[1], parts[0], *parts[2:])),
        b"".join(parts[:1] * count),
        b"".join((parts[0][:-1] + b"\0", *parts[1:])),
    ):
        refuses(holder, forge(request, ME, bulk=altered), (MalformedMessage, BadCommitment))

    def inner(edited: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> bytes:
        def alter(asked: OpeningRequest) -> OpeningRequest:
            nonces = decode(InnerNonces, asked.backend, 4096).nonces
            return replace(asked, backend=encode(InnerNonces(edited(nonces))))

        return change("committee", alter)

    for edited in (
        lambda nonces: nonces[1:],
        lambda nonces: nonces[::-1],
        lambda nonces: (bytes(32), *nonces[1:]),
        lambda nonces: (b"", *nonces[1:]),
    ):
        refuses(holder, inner(edited), (MalformedMessage, BadCommitment))
    refuses(holder, change("committee", lambda asked: replace(asked, backend=b"")), MalformedMessage)
    assert store.get((HOLDER, "task", 0), "the sum") is None, "nothing was claimed"
    assert holder.receive(request)


# --- a sum that fails its check -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", WHOLE)
def test_sums_that_fail_give_one_bit_each_and_end_the_key_even_after_a_restart(backend: str, tmp_path: Path) -> None:
    tape, path = played(backend), tmp_path / "holder.db"
    request = request_of(backend)
    store = AttemptStore(path)
    holder = fresh(backend, store=store)
    wrong = bulk_of(tape.responses["masked-input"]["c000"])  # one client's alone
    if backend in LATTICE:
        wrong = header_with(wrong, 3, 5)
    answer = holder.receive(forge(request, ME, bulk=wrong))
    assert not opened(answer)
    assert bulk_of(answer) == b""
    assert header_of(answer).body == encode(Opened(False))
    assert holder.failures == 1
    for number in range(2, MAX_FAILURES + 1):
        later = Tape.start(federation(backend), round=number, start_model=bytes([number] * 32)).until("decrypt")
        assert not opened(holder_of(later, store).receive(forge(later.requests["decrypt"][HOLDER], ME, bulk=wrong)))
        assert holder.failures == number
    store.close()

    after = Tape.start(federation(backend), round=99, start_model=bytes([99] * 32)).until("decrypt")
    again = AttemptStore(path)
    for used in (holder_of(after, again), fresh(backend, store=again)):
        with pytest.raises(AlreadyReleased, match="retired"):
            used.receive(after.requests["decrypt"][HOLDER])
    again.close()
    with pytest.raises(Unattributed):
        tape_of(tape, answer)


def holder_of(tape: Tape, store: AttemptStore) -> KeyHolder:
    return tape.federation.holder(store=store)


def tape_of(tape: Tape, answer: bytes) -> None:
    """What the aggregator of a round like this makes of a refusal."""
    own = Tape.start(federation(tape.federation.backend)).until("decrypt")
    sid = own.aggregator.session
    assert sid is not None
    own.deliver(forge(answer, identity(HOLDER), session=sid.sid))
    own.advance()


def test_all_failures_look_alike() -> None:
    """Why: what was decrypted, how far it was off, where: each would be an oracle."""
    tape, request = played("paillier"), request_of("paillier")
    public = paillier_key(2048).public
    one = bulk_of(tape.responses["masked-input"]["c000"])
    data = bulk_of(request)
    start, size = len(data) % public.ciphertext_bytes, public.ciphertext_bytes  # behind the header
    first = int.from_bytes(data[start : start + size], "little")
    shifted = first * (1 + public.n) % int(public.n_squared)
    huge = first * (1 + (public.n - 1) * public.n) % int(public.n_squared)
    sent = [one]
    sent += [data[:start] + int(value).to_bytes(size, "little") + data[start + size :] for value in (shifted, huge)]
    answers = {fresh("paillier").receive(forge(request, ME, bulk=bulk)) for bulk in sent}
    assert len(answers) == 1


# --- certificates ---------------------------------------------------------------------------------------------


def certificates(of: Federation) -> dict[str, tuple[KeyCertificate, type[SecureAggError]]]:
    """Certificates that nobody may encrypt under."""
    public = of.openers[HOLDER].public
    good = of.certificate
    assert good is not None
    doubled = replace(good, holders=good.holders * 2)
    return {
        "of a holder who is not pinned": (of.certify(public, "mallory"), BadKey),
        "of a client": (of.certify(public, "c000"), BadKey),
        "for another task": (of.certify(public, task="other"), BadKey),
        "for another backend": (of.certify(public, backend="masking"), BadKey),
        "for another key than was signed": (
            replace(good, public=federation("paillier" if of.backend == "bfv" else "bfv").openers[HOLDER].public),
            BadSignature,
        ),
        "with somebody else's signature": (
            replace(good, holders=(replace(good.holders[0], signature=identity("mallory").sign(b"x")),)),
            BadSignature,
        ),
        "without holders": (replace(good, holders=()), BadKey),
        "with a holder twice": (doubled, BadKey),
    }


@pytest.mark.parametrize("what", list(certificates(federation("paillier"))))
@pytest.mark.parametrize("backend", ["paillier", "bfv"])
def test_an_unfit_certificate_is_refused_by_clients_and_by_the_aggregator(backend: str, what: str) -> None:
    whole = federation(backend)
    certificate, error = certificates(whole)[what]
    with pytest.raises(error):
        aggregator_with(whole, certificate.to_bytes())
    with pytest.raises(error):
        whole.client("c000").join(first_request(whole, certificate.to_bytes()), whole.updates["c000"])


def aggregator_with(of: Federation, setup: bytes, bound: bytes | None = None) -> Aggregator:
    config = of.config(setup=setup_digest(setup if bound is None else bound))
    return Aggregator(ME, config, of.roster, operators=of.trust.operators, setup=setup)


def first_request(of: Federation, setup: bytes, bound: bytes | None = None) -> bytes:
    """A first request with any setup, as a malicious aggregator would send it."""
    config = of.config(setup=setup_digest(setup if bound is None else bound))
    honest = of.aggregator().start()[0]
    assert honest.recipient == "c000"
    return forge(honest.data, ME, body=config.to_bytes(), session=config.context, bulk=setup)


@pytest.mark.parametrize("backend", ["paillier", "bfv"])
def test_an_aggregator_does_not_certify_a_key_of_its_own(backend: str) -> None:
    """It is pinned as an operator too: with a key of its own it would read every update."""
    whole = federation(backend)
    own = whole.certify(whole.openers[HOLDER].public, "aggregator")
    with pytest.raises(SecureAggError):
        whole.client("c000").join(first_request(whole, own.to_bytes()), whole.updates["c000"])


@pytest.mark.parametrize("signers", [(HOLDER,), ("aggregator",), (HOLDER, "keyholder-2")])
def test_a_committees_key_is_certified_by_every_member(signers: tuple[str, ...]) -> None:
    """Else one member deals a key to itself under everybody's names."""
    whole = federation("committee")
    partial = whole.certify(whole.openers[HOLDER].public, *signers)
    with pytest.raises(SecureAggError):
        whole.client("c000").join(first_request(whole, partial.to_bytes()), whole.updates["c000"])


@pytest.mark.parametrize("backend", LATTICE)
def test_a_public_context_that_carries_the_secret_key_is_refused_by_both(backend: str) -> None:
    whole = federation(backend)
    opener = whole.openers[HOLDER]
    assert isinstance(opener, LatticeOpener)
    leaking = whole.certify(opener._key.secret_bytes()).to_bytes()
    with pytest.raises(BadKey, match="secret key"):
        aggregator_with(whole, leaking)
    with pytest.raises(BadKey, match="secret key"):
        whole.client("c000").join(first_request(whole, leaking), whole.updates["c000"])


@pytest.mark.parametrize("backend", WHOLE)
def test_a_setup_that_is_not_the_configured_one_is_refused_by_both(backend: str) -> None:
    whole = federation(backend)
    other = whole.certify(whole.openers[HOLDER].public, HOLDER, "aggregator").to_bytes()
    for setup in (other, b"", whole.setup[:-1], whole.setup + b"\0"):
        with pytest.raises((PolicyViolation, MalformedMessage)):
            aggregator_with(whole, setup, bound=whole.setup)
        with pytest.raises((PolicyViolation, MalformedMessage)):
            whole.client("c000").join(first_request(whole, setup, bound=whole.setup), whole.updates["c000"])
    assert whole.client("c000").join(first_request(whole, whole.setup), whole.updates["c000"])


def test_a_client_shown_two_keys_for_one_attempt_answers_the_first_only() -> None:
    """A swapped key is another configuration, and so another session."""
    whole = federation("paillier")
    tape = Tape.start(whole)
    tape.answer("c000")
    swapped = whole.certify(whole.openers[HOLDER].public, HOLDER, "aggregator").to_bytes()
    with pytest.raises((AlreadyReleased, BadKey)):
        whole.client("c000").join(first_request(whole, swapped), whole.updates["c000"])


@pytest.mark.parametrize(
    ("backend", "changes"),
    [("bfv", {"bits": 8}), ("ckks", {"bits": 8}), ("bfv", {"max_clients": 64})],
)
def test_a_key_for_other_parameters_is_refused(backend: str, changes: dict[str, int]) -> None:
    whole = federation(backend)
    other = Federation(5, backend=backend, policy_changes=changes)
    foreign = whole.certify(other.openers[HOLDER].public).to_bytes()
    with pytest.raises(WrongContext):
        aggregator_with(whole, foreign)


def test_a_key_shorter_than_the_policy_says_or_split_otherwise_is_refused() -> None:
    whole, committee = federation("paillier"), federation("committee")
    for of, public in (
        (whole, committee.openers[HOLDER].public),
        (committee, whole.openers[HOLDER].public),
        (whole, b""),
        (whole, whole.openers[HOLDER].public + b"\0"),
    ):
        with pytest.raises((BadKey, MalformedMessage)):
            aggregator_with(of, of.certify(public).to_bytes())


def test_a_failure_nobody_foresaw_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a holder breaks off is as much of an answer as a refusal: it must not be had twice."""
    tape = Tape.start(Federation(5, backend="bfv")).until("decrypt")
    holder = tape.local.holders[HOLDER]

    def break_off(*_: object) -> None:
        raise RuntimeError("inside the library")

    monkeypatch.setattr(holder._opener, "open", break_off)
    with pytest.raises(RuntimeError):
        holder.receive(tape.requests["decrypt"][HOLDER])
    assert holder.failures == 1
