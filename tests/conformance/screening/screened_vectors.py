"""Makes docs/vectors/screened.*: a round with a norm bound whose inputs are screened, and in which the sketch of one of
five clients is of another vector. A sum that has failed, the proof of fault, and what is refused, by the check that has
to refuse it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
from conformance.vector_files import DIRECTORY, constant, to_json
from support.federation import Federation, header_of, identity, replace
from support.norms.cheats import Screened, sketch_another

from mpc.ring import P, from_bytes, to_bytes
from secure_agg.backends.masking import screening
from secure_agg.backends.masking.wire import FailedSum, Report, Screening
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import Agreed, decode, encode
from secure_agg.roles.client.client import Client

EVIDENCE: Final = "screened.evidence"
TRUST: Final = "screened.trust.json"
CLAIM: Final = "screened.claim"
FAULT: Final = "screened.fault"
VECTORS: Final = "screened.json"
CHEAT: Final = "c002"
LIMIT: Final = 1 << 24


class Fixed(Federation):
    """The same clients every time."""

    def client(self, name: str) -> Client:
        """With an attempt secret of its name."""
        return Client(identity(name), self.trust, store=self.stores[name], entropy=constant(name))


def play() -> Screened:
    """The round, the same bytes every time."""
    settled = {"bits": 12, "norm_bound": 30.0, "commit_packed": False}
    made = Fixed(5, shapes=((2, 2), (3,)), options={"screening": 1}, policy_changes=settled)
    for i, name in enumerate(made.names):
        made.updates[name] = [np.full((2, 2), 1 - i / 4), np.arange(3.0) / (i + 1)]
    played = Screened(made, {CHEAT: (sketch_another,)})
    played.play()
    return played


def claim_of(played: Screened) -> bytes:
    """The FailedSum that everybody was shown."""
    request = header_of(played.tape.requests["screen-sketches"]["c000"])
    return decode(Agreed, request.body, LIMIT).backend


def files(played: Screened) -> dict[str, bytes]:
    """All but the JSON file."""
    evidence, (fault,) = played.tape.aggregator.evidence, played.tape.aggregator.faults
    if evidence is None:
        raise AssertionError("the round has come to a result")
    trust = played.federation.trust.to_json().encode()
    return {EVIDENCE: evidence.to_bytes(), TRUST: trust, CLAIM: claim_of(played), FAULT: fault.to_bytes()}


def vectors(played: Screened) -> dict[str, Any]:
    """What implementers compare, and what they have to refuse."""
    tape, (fault,) = played.tape, played.tape.aggregator.faults
    session, claim = tape.aggregator.session, claim_of(played)
    if session is None:
        raise AssertionError("the participants were fixed")
    listed = decode(Screening, header_of(tape.requests["screen"]["c000"]).body, LIMIT)
    shown, root = decode(FailedSum, claim, LIMIT), screening.inputs_root(session, listed.inputs)
    failed = screening.failed_root(root, shown.total)
    reported = tape.responses["screen-sketches"][CHEAT]
    said = decode(Report, header_of(reported).body, LIMIT)
    functional = screening.sketch_challenge(session.config, session.sid, failed)
    item = shown.inputs[2]
    committed = screening.decode_committed(session.config, item.commitment, item.sketch)
    return {
        "evidence": EVIDENCE,
        "trust": TRUST,
        "claim": CLAIM,
        "fault": FAULT,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files(played).items()},
        "sid": session.sid.hex(),
        "culprit": CHEAT,
        "kind": fault.kind,
        "participants": list(played.check_sum()),
        "screen": tape.requests["screen"]["c000"].hex(),
        "root": root.hex(),
        "failed_root": failed.hex(),
        "public": functional.of_commitment(*committed).tolist(),
        "reported": from_bytes(said.values).reshape(-1, 5).tolist(),
        "refused_claims": _refused_claims(shown, claim, session.config.layout),
        "refused_faults": _refused_faults(fault, tape.responses["screen"][CHEAT], reported),
    }


def _refused_claims(shown: FailedSum, claim: bytes, layout: Any) -> dict[str, Any]:
    """Some bytes of the claim written over. One more is not listed: the same inputs without the culprit's, and the sums
    of the evidence, of which nothing has failed.
    """
    start, commitment = len(claim) - len(shown.total), claim.index(shown.inputs[0].commitment)

    def moved(place: int, by: int) -> list[list[Any]]:
        value = (int(from_bytes(shown.total)[place]) + by) % P
        return [[start + 4 * place, to_bytes(np.array([value], dtype=np.uint32)).hex()]]

    client = claim.index(shown.inputs[0].commitment) - len(b"\xc5\x18\x00") - 1
    return {
        "order of clients": [[client, "01"]],
        "an input that was accepted": [[commitment, f"{claim[commitment] ^ 1:02x}"]],
        "elements below p": [[start, "ffffffff"]],
        "range of X": moved(0, P // 2),
        "range of T": moved(layout.elements, P // 2),
        "range of T'": moved(layout.hashed, P // 2),
        "X and T open the sum of the C_i": moved(0, 1),
        "T' opens the sum of the t_0": moved(layout.hashed, 1),
    }


def _refused_faults(fault: FaultProof, first: bytes, reported: bytes) -> dict[str, Any]:
    """Fields of the proof that are others; an exhibit by its number."""
    spoiled = bytearray(reported)
    spoiled[len(spoiled) // 2] ^= 1
    return {
        "a client that did not advertise": {"culprit": "c009"},
        "another client, whose key did not sign": {"culprit": "c001"},
        "another key": {"public": identity("c001").public.hex()},
        "a kind with other exhibits": {"kind": "bad-edge"},
        "a kind of an aggregator": {"kind": "false-claim"},
        "its report on inputs, which explains its input": {"exhibit": [2, first.hex()]},
        "a report that it has not signed": {"exhibit": [2, bytes(spoiled).hex()]},
        "no advertisements, and so another session": {"exhibit": [0, fault.exhibits[0][:1].hex()]},
        "a setup": {"setup": "00"},
    }


def altered(fault: FaultProof, change: dict[str, Any]) -> bytes:
    """A proof with one of its fields, or exhibits, changed."""
    ((field, value),) = change.items()
    if field == "exhibit":
        place, data = value
        exhibits = (*fault.exhibits[:place], bytes.fromhex(data), *fault.exhibits[place + 1 :])
        return replace(fault, exhibits=exhibits).to_bytes()
    return replace(fault, **{field: bytes.fromhex(value) if field in ("public", "setup") else value}).to_bytes()


def written_over(claim: bytes, patches: list[list[Any]]) -> bytes:
    """Some bytes of it changed."""
    data = bytearray(claim)
    for place, value in patches:
        fresh = bytes.fromhex(value)
        if data[place : place + len(fresh)] == fresh:
            raise AssertionError("nothing was changed")
        data[place : place + len(fresh)] = fresh
    return bytes(data)


def repaired(claim: bytes, sums: bytes) -> bytes:
    """The same inputs without the culprit's, and the sums of the evidence: nothing has failed."""
    shown = decode(FailedSum, claim, LIMIT)
    return encode(FailedSum(shown.inputs[:2] + shown.inputs[3:], sums))


def write() -> None:
    """Write the files."""
    played = play()
    for name, data in files(played).items():
        (DIRECTORY / name).write_bytes(data)
    (DIRECTORY / VECTORS).write_text(to_json(vectors(played)), "utf-8")
