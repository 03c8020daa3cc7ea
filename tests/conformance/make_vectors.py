"""Makes docs/vectors/: three small rounds with fixed identities and secrets, and intermediate values for implementers.
By ``grouped_vectors`` those of a round of groups, by ``private_vectors`` those of a round with privacy, by
``screened_vectors`` those of a screened round, by ``norm_vectors`` those of norm proofs, beside the tests, by
``tree_vectors`` those of a tree, by ``sparse_vectors`` those of a sparse session, by ``transport.vectors`` what
clients of ``masking`` send, and by ``epoch_vectors`` the epochs of a task.

``make vectors`` writes the files anew. They only change when the protocol does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from conformance.epochs import epoch_vectors
from conformance.groups import grouped_vectors
from conformance.norm import norm_vectors
from conformance.privacy import private_vectors
from conformance.screening import screened_vectors
from conformance.sparse import sparse_vectors
from conformance.transport import vectors as transport_vectors
from conformance.trees import tree_vectors
from conformance.vector_files import DIRECTORY, constant, to_json, write_round
from support.beacons import QUICKNET_PULSES, SECRET, rehearsal
from support.federation import bulk_of, channel, header_of, identity
from support.shares.additive_round import open_letter, reseal, share_of

from mpc import shamir
from mpc.framing import frame
from mpc.keystream import KeyStream, derive_key
from mpc.ring import P, from_bytes, to_bytes
from secure_agg.backends.additive import rules, wire
from secure_agg.backends.contract import commitment_hash
from secure_agg.backends.contract.setup import AggregatorSet, ChannelKey
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol import id_characters
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.codec import MARK, FixedPoint, model_digest
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Envelope
from secure_agg.protocol.norm.wire import SketchedOpening, signed_sketch
from secure_agg.protocol.renunciation import Renunciation, RenunciationCertificate
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor, Verified, verify
from secure_agg.roles.client.client import Client
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.cosignature import cosign
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import VerifierKey
from secure_agg.tlog.receipt import Receipt
from zk import commitment, merkle

EVIDENCE: Final = "round.evidence"
TRUST: Final = "round.trust.json"
VECTORS: Final = "vectors.json"

SHARED_EVIDENCE: Final = "additive.evidence"
SHARED_TRUST: Final = "additive.trust.json"
SHARED_LETTER: Final = "additive.letter"
SHARED_FAULT: Final = "additive.fault"
SHARED_VECTORS: Final = "additive.json"

BOUNDED_EVIDENCE: Final = "bounded.evidence"
RENOUNCED_EVIDENCE: Final = "renounced.evidence"
RENOUNCED_VECTORS: Final = "renounced.json"
BOUNDED_TRUST: Final = "bounded.trust.json"
BOUNDED_PROOF: Final = "bounded.proof"
BOUNDED_VECTORS: Final = "bounded.json"

BEACON_VECTORS: Final = "beacon.json"
ID_VECTORS: Final = "ids.json"

AGGREGATORS: Final = ("aggregator-1", "aggregator-2", "aggregator-3")
NAMES: Final = ("alice", "bob", "Zoë")  # in order: "Zoë" comes first
WEIGHTS: Final = {"alice": 7, "bob": 300, "Zoë": 1000}
LEAVES: Final = (b"another record", b"and one more")
"""What stands around the round's record in the tree that the receipt is for."""

KEY: Final = bytes(range(32))
LONG: Final = 65540
"""A vector that takes elements from two streams."""


@dataclass(frozen=True)
class Round:
    """The round, and what its verifiers have pinned."""

    evidence: Evidence
    trust: Trust
    verified: Verified
    receipt: Receipt


def play() -> Round:
    """The round, the same bytes every time."""
    policy = Policy.default(3, bits=8, clip=4.0, max_weight=1000)
    roster = Roster({name: identity(name).public for name in NAMES})
    operator, log = identity("aggregator"), identity("log")
    trust = Trust({"vectors": TaskTrust(roster, policy)}, Roster({operator.name: operator.public}), log.public)
    config = RoundConfig.create(
        task="vectors",
        round=3,
        attempt=1,
        policy=policy,
        cohort=roster,
        shapes=((2, 2), (3,)),
        start_model=hashlib.sha256(b"start model").digest(),
        base_model=hashlib.sha256(b"base model").digest(),
        instructions=hashlib.sha256(b"instructions").digest(),
        previous_record=hashlib.sha256(b"previous record").digest(),
        operators=trust.operators,
        log_key=log.public,
    )
    clients = {name: Client(identity(name), trust, entropy=constant(name)) for name in NAMES}
    updates = {
        name: [(np.arange(4.0).reshape(2, 2) - 1.5) * (i + 1), np.arange(3.0) / (i + 3)] for i, name in enumerate(NAMES)
    }
    evidence = LocalRound(Aggregator(operator, config, roster), clients, updates, WEIGHTS).run()
    verified = verify(evidence, trust)
    leaves = (LEAVES[0], verified.record.to_bytes(), LEAVES[1])
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    head = SignedHead.sign(log, "vectors.example/log", len(leaves), merkle.root(leaves))
    witness = identity("witness")
    cosignature = cosign(witness, "vectors.example/witness", head.checkpoint, 1_700_000_000)
    receipt = Receipt(1, (hashes[0], hashes[2]), head.note(log.public, (cosignature,)))
    receipt.verify(leaves[1], VerifierKey(head.origin, log.public))
    return Round(evidence, trust, verified, receipt)


@dataclass(frozen=True)
class SharedRound:
    """A round of backend ``additive``: two of three aggregators rebuild a sum.

    Attributes:
        letters: one with a free share and one with a long one, as they were sent.
        fault: a proof of what the first of these letters' client would have done, had it sealed another share.
    """

    evidence: Evidence
    trust: Trust
    verified: Verified
    letters: tuple[bytes, bytes]
    fault: FaultProof


class _Recorded(LocalRound):
    """Keeps the clients' letters."""

    letters: dict[tuple[str, str], bytes]

    def answer(self, request: Envelope, phase: str) -> bytes | None:
        response = super().answer(request, phase)
        for letter in self.clients[request.recipient].outbox:
            self.letters[request.recipient, letter.recipient] = letter.data
        return response


def play_shared() -> SharedRound:
    """The round, the same bytes every time."""
    options = (Option("aggregators", 3), Option("threshold", 2))
    policy = Policy.default(3, backend="additive", options=options, bits=8, clip=4.0, max_weight=1000)
    roster = Roster({name: identity(name).public for name in NAMES})
    operator, aggregators = identity("aggregator"), [identity(name) for name in AGGREGATORS]
    operators = Roster({item.name: item.public for item in (operator, *aggregators)})
    trust = Trust({"vectors": TaskTrust(roster, policy)}, operators)
    setup = AggregatorSet.of([ChannelKey.issue(item, channel(item.name).public) for item in aggregators]).to_bytes()
    config = RoundConfig.create(
        task="vectors",
        round=4,
        attempt=0,
        policy=policy,
        cohort=roster,
        shapes=((2, 2), (3,)),
        start_model=hashlib.sha256(b"start model").digest(),
        previous_record=hashlib.sha256(b"previous record").digest(),
        operators=operators,
        setup=setup_digest(setup),
    )
    clients = {name: Client(identity(name), trust, entropy=constant(name)) for name in NAMES}
    updates = {name: [np.full((2, 2), i - 0.5), np.arange(3.0) * i] for i, name in enumerate(NAMES)}
    holders = {item.name: ShareHolder(item, trust, channel(item.name)) for item in aggregators}
    coordinator = Aggregator(operator, config, roster, operators=operators, setup=setup)
    played = _Recorded(coordinator, clients, updates, WEIGHTS, holders=holders)
    played.letters = {}
    evidence = played.run()
    mine = [played.letters["alice", name] for name in AGGREGATORS]
    free = next(letter for letter in mine if not bulk_of(letter))
    long = next(letter for letter in mine if bulk_of(letter))
    other = reseal(free, small=open_letter(free).nonce + KEY)
    fault = FaultProof(
        kind=rules.BAD_SHARE,
        culprit="alice",
        public=identity("alice").public,
        config=config.to_bytes(),
        setup=setup,
        exhibits=(other, open_letter(other).key),
    )
    Auditor(trust).verify_fault(fault)
    return SharedRound(evidence, trust, verify(evidence, trust), (free, long), fault)


def _letter(config: RoundConfig, data: bytes) -> dict[str, Any]:
    header, opened = header_of(data), open_letter(data)
    bound = (header.session, header.sender, header.recipient)
    party = AGGREGATORS.index(header.recipient)
    share = share_of(data, config.layout.hashed)
    committed = rules.linear_hash(config, share).to_bytes()
    return {
        "client": header.sender,
        "aggregator": header.recipient,
        "party": party,
        "channel_secret": hashlib.sha256(b"channel" + header.recipient.encode()).hexdigest(),
        "ephemeral": opened.letter.ephemeral.hex(),
        "K": opened.key.hex(),
        "key_hash": wire.key_hash(*bound, opened.key).hex(),
        "nonce": opened.nonce.hex(),
        "seed": opened.seed.hex(),
        "stream_key": wire.stream_key(opened.seed, *bound).hex() if opened.seed else "",
        "sealed": opened.letter.sealed.hex(),
        "share": share[:4].tolist(),
        "share_sha256": sha(to_bytes(share)),
        "commitment_sha256": sha(committed),
        "h": rules.share_hash(config, header.sender, party, committed, opened.nonce).hex(),
    }


def shared_vectors(made: SharedRound) -> dict[str, Any]:
    """The intermediate values, by the product."""
    evidence, record, config = made.evidence, made.verified.record, made.evidence.config
    scheme, parts = rules.scheme(config.policy), {}
    for item in evidence.advertisements:
        body = item.verify(config.context, identity(item.name).public)
        parts[item.name] = {
            "long": sorted(scheme.long_holders(rules.start_of(config, item.name, scheme.parties))),
            "hashes": [body.backend[32 * i : 32 * (i + 1)].hex() for i in range(scheme.parties + 1)],
            "D": body.commitment_hash.hex(),
        }
    free, long = made.letters
    return {
        "evidence": SHARED_EVIDENCE,
        "trust": SHARED_TRUST,
        "sha256": sha(evidence.to_bytes()),
        "ctx": config.context.hex(),
        "sid": record.session.hex(),
        "setup": config.setup.hex(),
        "advertised": parts,
        "participants_root": record.participants_root.hex(),
        "record": record.to_bytes().hex(),
        "free": {"message": free.hex(), **_letter(config, free)},
        "long": {"message": SHARED_LETTER, **_letter(config, long)},
        "fault": {"proof": SHARED_FAULT, "kind": made.fault.kind, "culprit": made.fault.culprit},
    }


def play_bounded() -> Round:
    """A round with a norm bound, which Alice's update is above; the same bytes every time."""
    policy = Policy.default(3, bits=12, clip=4.0, max_weight=1000, norm_bound=1.5)
    roster = Roster({name: identity(name).public for name in NAMES})
    operator = identity("aggregator")
    trust = Trust({"vectors": TaskTrust(roster, policy)}, Roster({operator.name: operator.public}))
    config = RoundConfig.create(
        task="vectors", round=5, policy=policy, cohort=roster, shapes=((2, 2), (3,)), operators=trust.operators
    )
    clients = {name: Client(identity(name), trust, entropy=constant(name)) for name in NAMES}
    updates = {name: [np.full((2, 2), 1 - i / 2), np.arange(3.0) / (i + 1)] for i, name in enumerate(NAMES)}
    evidence = LocalRound(Aggregator(operator, config, roster), clients, updates, WEIGHTS).run()
    receipt = play().receipt  # of another round: this one is in no log
    return Round(evidence, trust, verify(evidence, trust), receipt)


def play_renounced() -> tuple[Evidence, Trust]:
    """A round of the second generation of the first one's model and pins; the same bytes every time."""
    first, trust = play().evidence.config, play().trust
    statement = Renunciation.of(first)
    certificate = RenunciationCertificate.of(statement, [statement.sign(identity(name)) for name in NAMES[1:]])
    config = msgspec.structs.replace(first, attempt=2, generation=1, renounced=certificate.digest())
    roster = trust.cohort("vectors", b"")
    clients = {name: Client(identity(name), trust, entropy=constant(name)) for name in NAMES}
    updates = {name: [np.full((2, 2), 1 - i / 2), np.arange(3.0) / (i + 1)] for i, name in enumerate(NAMES)}
    aggregator = Aggregator(
        identity("aggregator"), config, roster, operators=trust.operators, renounced=certificate.to_bytes()
    )
    return LocalRound(aggregator, clients, updates, WEIGHTS).run(), trust


def renounced_vectors(evidence: Evidence) -> dict[str, Any]:
    """What is signed, and the certificate; and certificates that are none of this round's."""
    certificate = RenunciationCertificate.from_bytes(evidence.renounced)
    said, replace = certificate.statement, msgspec.structs.replace
    return {
        "evidence": RENOUNCED_EVIDENCE,
        "trust": TRUST,
        "sha256": sha(evidence.to_bytes()),
        "renounced": certificate.digest().hex(),
        "certificate": certificate.to_bytes().hex(),
        "signed": said.signed_bytes.hex(),
        "needed": 2,
        "refused": {
            "too few signatures": replace(certificate, signatures=certificate.signatures[:1]).to_bytes().hex(),
            "out of order": replace(certificate, signatures=certificate.signatures[::-1]).to_bytes().hex(),
            "another round": replace(certificate, statement=replace(said, round=4)).to_bytes().hex(),
            "another generation": replace(certificate, statement=replace(said, generation=1)).to_bytes().hex(),
        },
    }


def bounded_vectors(made: Round) -> dict[str, Any]:
    """The round's values, and rounds that are refused: the same with some bytes written over."""
    evidence, record, config = made.evidence, made.verified.record, made.evidence.config
    data, bound, layout = evidence.to_bytes(), made.evidence.config.norm_bound, made.evidence.config.layout
    first = evidence.openings[0]
    if bound is None or not isinstance(first, SketchedOpening):
        raise AssertionError("the round has a norm bound")
    sketch, signature = data.index(first.sketch), data.index(first.signature)
    shifted = to_bytes((from_bytes(first.sketch) + 1) % P)
    signed = identity(first.name).sign(signed_sketch(record.session, first.name, shifted, first.proof))
    randomness = len(data) - 4 * layout.sketch
    one_more = (int.from_bytes(data[randomness : randomness + 4], "little") + 1).to_bytes(4, "little")
    spoiled = {
        "a sketch that its client has not signed": [[sketch, shifted.hex()]],
        "a sketch that its client has signed, and that is not of the sum": [
            [sketch, shifted.hex()],
            [signature, signed.hex()],
        ],
        "another proof's hash": [[data.index(first.proof), evidence.proof_hashes[1].hex()]],
        "a signature of another client's": [[signature, evidence.openings[1].signature.hex()]],  # type: ignore[attr-defined]
        "a sum of s' that is not of the sketches": [[randomness, one_more.hex()]],
    }
    return {
        "evidence": BOUNDED_EVIDENCE,
        "trust": BOUNDED_TRUST,
        "sha256": sha(data),
        "ctx": config.context.hex(),
        "sid": record.session.hex(),
        "bound": bound.to_bytes().hex(),
        "covered": layout.bounded,
        "coordinates_of_s'": layout.sketch,
        "sketch_sha256": {item.name: sha(item.sketch) for item in evidence.openings},  # type: ignore[attr-defined]
        "proofs": {item.name: item.proof.hex() for item in evidence.openings},  # type: ignore[attr-defined]
        "proof": {"client": first.name, "file": BOUNDED_PROOF},
        "record": record.to_bytes().hex(),
        "refused": spoiled,
    }


def coordinates(length: int, factor: int) -> list[int]:
    """Coordinates that a formula gives: i · factor mod 65536."""
    return [i * factor % 65536 for i in range(length)]


def sha(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _commitment(rank: int) -> dict[str, Any]:
    key, residues = commitment.matrix_key(rank), np.empty(8, dtype=np.uint32)
    KeyStream(key).residues(0, residues)
    x = np.array(coordinates(1000, 37), dtype=np.uint32)
    s = np.array(coordinates((rank + 2) * 512, 101), dtype=np.uint32)
    made = commitment.commit(x, s, rank)
    return {
        "rank": rank,
        "matrix_key": key.hex(),
        "matrix_stream_0": residues.tolist(),
        "x": "x[i] = 37·i mod 65536, 0 <= i < 1000",
        "s": "s[i] = 101·i mod 65536, 0 <= i < 512·(rank + 2)",
        "elements": made.elements[:8].tolist(),
        "sha256": sha(made.to_bytes()),
    }


def _codec() -> dict[str, Any]:
    policy = Policy.default(3, clip=1.5, bits=10, max_weight=5000, weight_scale=2, weight_span=8, first_weight=1000)
    fixed, values = FixedPoint(policy, 1000), [0.0, 1.5, -2.0, 1e-3, -0.7, MARK]
    rows = []
    for weight in (7, 300, 5000):
        out = np.empty(len(values) + fixed.limbs + fixed.counts, dtype=np.uint32)
        fixed.encode([np.array(values)], weight, KEY, out)
        rows.append({"weight": weight, "encoded": out.tolist()})
    limits = {name: getattr(policy, name) for name in ("clip", "bits", "max_weight", "weight_scale", "weight_span")}
    return {"policy": limits, "weight_limit": 1000, "key": KEY.hex(), "values": values, "clients": rows}


def vectors(made: Round) -> dict[str, Any]:
    """The intermediate values, by the product."""
    evidence, record = made.evidence, made.verified.record
    cohort = Roster({member.name: member.public for member in evidence.cohort})
    stream = KeyStream(KEY).residue_vector(LONG)
    coefficients = KeyStream(KEY).residue_vector(2 * shamir.LIMBS)
    secret = hashlib.sha256(b"secret").digest()
    shares = shamir.split([secret], 3, [1, 2, 3, 4, 5], KeyStream(KEY))
    return {
        "frame": {"label": "label", "parts": ["", "00ff"], "frame": frame("label", b"", b"\x00\xff").hex()},
        "kdf": {
            "secret": KEY.hex(),
            "label": "label",
            "context": ["", "00ff"],
            "key": derive_key(KEY, "label", b"", b"\x00\xff").hex(),
        },
        "prg": {
            "key": KEY.hex(),
            "length": LONG,
            "first": stream[:8].tolist(),
            "from_65536": stream[65536:].tolist(),
            "sha256": sha(to_bytes(stream)),
        },
        "sharing": {
            "secret": secret.hex(),
            "threshold": 3,
            "coefficients": "of degree 1 and up, all limbs of a degree in a row: PRG of the key, of length 18",
            "key": KEY.hex(),
            "first_coefficients": coefficients[:3].tolist(),
            "shares": [to_bytes(share[0]).hex() for share in shares],
        },
        "model": {
            "shapes": [[2, 2], [1]],
            "elements": [0.5, -1.0, 0.1, 3.0, -0.0],
            "digest": model_digest([np.array([[0.5, -1.0], [0.1, 3.0]]), np.array([-0.0])]).hex(),
        },
        "codec": _codec(),
        "commitments": [_commitment(rank) for rank in (3, 4)],
        "round": {
            "evidence": EVIDENCE,
            "trust": TRUST,
            "sha256": sha(evidence.to_bytes()),
            "ctx": evidence.config.context.hex(),
            "roster_root": cohort.root().hex(),
            "roster_digest": cohort.digest().hex(),
            "operators": made.trust.operators.digest().hex(),
            "witnesses": made.trust.witnesses.digest().hex(),
            "D": {item.name: made_hash(evidence, item.name).hex() for item in evidence.openings},
            "sid": record.session.hex(),
            "participants_root": record.participants_root.hex(),
            "weight_sum": record.weight_sum,
            "average": [float(value).hex() for array in made.verified.average for value in array.ravel()],
            "result_model": model_digest(made.verified.average).hex(),
            "record": record.to_bytes().hex(),
            "record_digest": record.digest().hex(),
        },
        "receipt": {
            "leaves": [LEAVES[0].hex(), "the record", LEAVES[1].hex()],
            "receipt": made.receipt.to_bytes().decode(),
            "witness": identity("witness").public.hex(),
            "cosigned": 1_700_000_000,
            "root": made.receipt.checkpoint.root.hex(),
        },
    }


def made_hash(evidence: Evidence, name: str) -> bytes:
    """D_i of a participant, recomputed from its opening."""
    opening = next(item for item in evidence.openings if item.name == name)
    return commitment_hash(evidence.config, name, opening.commitment, opening.nonce)


def beacon_vectors() -> dict[str, Any]:
    """Which pulses draw which cohorts, by a chain whose key is known; pulses of quicknet; and what is none."""
    chain = rehearsal(range(5, 250), step=3)
    source, roster = chain.source, Roster({f"c{i:02}": identity(f"c{i:02}").public for i in range(20)})
    draws = []
    for number, draw in ((0, 0), (0, 1), (0, 15), (3, 0), (4, 2)):
        pulse = chain.pulses[source.number(number, draw)]
        draws.append(
            {
                "round": number,
                "draw": draw,
                "pulse": pulse.number,
                "signature": pulse.signature.hex(),
                "randomness": pulse.randomness.hex(),
                "cohort": sorted(roster.sample(6, pulse.signature)),
            }
        )
    due = bytes.fromhex(draws[0]["signature"])
    refused = {
        "another pulse": chain.pulses[8].signature,
        "another key's": rehearsal([5], secret=bytes(31) + b"\x09").pulses[5].signature,
        "its negative": bytes([due[0] ^ 0x20]) + due[1:],
        "the point at infinity": b"\xc0" + bytes(47),
        "the point at infinity, not canonical": b"\xe0" + bytes(47),
        "not compressed": bytes([due[0] & 0x7F]) + due[1:],
        "outside the subgroup": bytes.fromhex("80" + "00" * 46 + "04"),
        "short": due[:-1],
        "empty": b"",
    }
    return {
        "source": source.to_document(),
        "encoding": source.to_bytes().hex(),
        "secret": SECRET.hex(),
        "roster": {name: key.hex() for name, key in roster.items()},
        "cohort_size": 6,
        "draws": draws,
        "refused": [{"what": what, "round": 0, "draw": 0, "signature": data.hex()} for what, data in refused.items()],
        "quicknet": [{"round": number, "signature": text} for number, text in QUICKNET_PULSES.items()],
    }


def id_vectors() -> dict[str, Any]:
    """The characters of ids, ids, and texts that are none: of a later Unicode than 14.0, too."""
    return {
        "unicode": id_characters.UNICODE,
        "ranges": " ".join(id_characters.RANGES.split()),
        "accepted": ["a", " ", "Zoë", "站 7", "client – ÅΩ😀", "\U0001fae7", "\u1804", "é" * 64, "z" * 128],
        "refused": [
            "",
            "z" * 129,
            "é" * 65,  # lengths
            "a\n",
            "\u0000",
            "\u007f",
            "\u00ad",
            "\u200b",
            "\ufeff",
            "\U000e0001",  # Cc, Cf
            "\ue000",
            "\U0010fffd",
            "\ud800",  # Co, Cs
            "\u0378",
            "\uffff",
            "\U0001fae8",
            "\U0001e4d0",
            "\U00031350",
            "\u1c89",
            "\U00010ec2",  # Cn in 14.0
            "e\u0301",
            "\u212b",
            "\u0958",
            "\U0002f800",  # not in normal form C
        ],
    }  # fmt: skip


def main() -> None:
    """Write the files."""
    made = play()
    DIRECTORY.mkdir(exist_ok=True)
    write_round(made.evidence, made.trust, (EVIDENCE, TRUST, VECTORS), vectors(made))
    shared = play_shared()
    write_round(shared.evidence, shared.trust, (SHARED_EVIDENCE, SHARED_TRUST, SHARED_VECTORS), shared_vectors(shared))
    (DIRECTORY / SHARED_LETTER).write_bytes(shared.letters[1])
    (DIRECTORY / SHARED_FAULT).write_bytes(shared.fault.to_bytes())
    bounded = play_bounded()
    files = (BOUNDED_EVIDENCE, BOUNDED_TRUST, BOUNDED_VECTORS)
    write_round(bounded.evidence, bounded.trust, files, bounded_vectors(bounded))
    (DIRECTORY / BOUNDED_PROOF).write_bytes(bounded.evidence.proofs[bounded.evidence.proof_hashes[0]])
    screened_vectors.write()
    (DIRECTORY / BEACON_VECTORS).write_text(to_json(beacon_vectors()), "utf-8")
    (DIRECTORY / ID_VECTORS).write_text(json.dumps(id_vectors(), indent=1) + "\n", "utf-8")
    renounced, _ = play_renounced()
    (DIRECTORY / RENOUNCED_EVIDENCE).write_bytes(renounced.to_bytes())
    (DIRECTORY / RENOUNCED_VECTORS).write_text(to_json(renounced_vectors(renounced)), "utf-8")
    norm_vectors.write()
    tree_vectors.write()
    grouped_vectors.write()
    private_vectors.write()
    sparse_vectors.write()
    transport_vectors.write()
    epoch_vectors.write()


if __name__ == "__main__":
    main()
