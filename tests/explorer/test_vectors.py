"""Every vector of docs/vectors, the good ones and those that are refused, through the checks that the page ships.

But for what only clients compute, and nobody verifies: see `test_catalogue`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from conformance import independent_verifier as spec
from conformance import make_vectors
from conformance.norm import norm_vectors
from conformance.screening import screened_vectors
from conformance.vector_files import DIRECTORY
from conformance.verdicts import by_product, rearranged
from support.explorer.browser import browser
from support.explorer.core import Core, CoreRefused, in_chromium, in_node, in_tab
from support.explorer.firefox import firefox_tab

from mpc.ring import P
from secure_agg.beacon.source import quicknet
from secure_agg.protocol.fault import FaultProof

VECTORS: Final = DIRECTORY
PRIVACY_REFUSED: Final[dict[str, tuple[int | None, ...]]] = {
    "privacy_delta": (0, 4 * 10**9 + 1, None),
    "privacy_epsilon": (0, 10**6, None),
    "privacy_honest": (0, 4, None),
    "privacy_mechanism": (0, 2, None),
    "privacy_ratio": (0, 1, 2**32 - 1, None),
    "halves": (1,),
    "level": (1,),
    "norm_steps": (3,),
}
NORM_FIELDS: Final = ("n", "B", "M", "m", "lambda", "L", "e")


def data(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def text(name: str) -> str:
    return data(name).decode()


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(name))
    return found


BROWSERS: Final = (
    pytest.param("chromium", marks=pytest.mark.slow),
    pytest.param("firefox", marks=[pytest.mark.slow, pytest.mark.long]),
)


@pytest.fixture(scope="module", params=["node", *BROWSERS])
def core(request: pytest.FixtureRequest) -> Iterator[Core]:
    """In Node, and in a worker of the page in two browsers."""
    if request.param == "node":
        with in_node() as running:
            yield running
    elif request.param == "firefox":
        with firefox_tab() as tab:
            yield in_tab(tab)
    else:
        with browser() as chromium, in_chromium(chromium) as running:
            yield running


# --- single steps --------------------------------------------------------------------------------------------


def test_frames_keys_and_streams_are_the_specification_s(core: Core) -> None:
    found = document("vectors.json")
    frame, kdf, prg = found["frame"], found["kdf"], found["prg"]
    parts = [bytes.fromhex(part) for part in frame["parts"]]
    assert core("frame", label=frame["label"], parts=parts).hex() == frame["frame"]
    context = [bytes.fromhex(part) for part in kdf["context"]]
    made = core("kdf", secret=bytes.fromhex(kdf["secret"]), label=kdf["label"], parts=context)
    assert made.hex() == kdf["key"]
    stream = core("prg", key=bytes.fromhex(prg["key"]), length=prg["length"])
    assert hashlib.sha256(stream).hexdigest() == prg["sha256"]
    assert np.frombuffer(stream, "<u4")[65536:].tolist() == prg["from_65536"]


def test_secrets_are_rebuilt_and_models_named(core: Core) -> None:
    found = document("vectors.json")
    sharing, model = found["sharing"], found["model"]
    shares = [[holder, bytes.fromhex(sharing["shares"][holder])] for holder in (4, 0, 2)]
    assert core("rebuild", shares=shares).hex() == sharing["secret"]
    made = core("modelDigest", shapes=model["shapes"], elements=model["elements"])
    assert made.hex() == model["digest"]


@pytest.mark.parametrize("index", [0, 1], ids=["rank 3", "rank 4"])
def test_commitments_are_the_same(core: Core, index: int) -> None:
    found = document("vectors.json")["commitments"][index]
    x = make_vectors.coordinates(1000, 37)
    s = make_vectors.coordinates((found["rank"] + 2) * 512, 101)
    made = core("commit", x=x, s=s, rank=found["rank"])
    assert hashlib.sha256(made).hexdigest() == found["sha256"]
    assert np.frombuffer(made, "<u4")[:8].tolist() == found["elements"]


def test_ids_are_those_of_one_version_of_unicode(core: Core) -> None:
    found = document("ids.json")
    assert core("ids", names=found["accepted"]) == [True] * len(found["accepted"])
    assert core("ids", names=found["refused"]) == [False] * len(found["refused"])


def test_trees_have_the_roots_of_rfc_9162(core: Core) -> None:
    path = norm_vectors.DIRECTORY / "rfc6962.json"
    found = json.loads(path.read_text("utf-8"))
    leaves = [bytes.fromhex(leaf) for leaf in found["leaf_inputs_hex"]]
    assert [core("root", leaves=leaves[:size]).hex() for size in range(9)] == found["roots_hex_by_size"]


# --- rounds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusting", [True, False], ids=["with pins", "without"])
def test_the_round_leads_to_its_record(core: Core, trusting: bool) -> None:
    found = document("vectors.json")["round"]
    said = core("evidence", evidence=data(found["evidence"]), trust=text(found["trust"]) if trusting else None)
    assert said["good"]
    assert said["encoding"].hex() == found["record"]
    assert said["means"] == np.array([float.fromhex(value) for value in found["average"]]).tobytes()
    states = {check["number"]: check["state"] for check in said["checks"]}
    assert states["1"] == ("passed" if trusting else "skipped")


def test_the_receipt_holds_and_its_flipped_bytes_do_not(core: Core, request: pytest.FixtureRequest) -> None:
    found = document("vectors.json")
    receipt, record = found["receipt"]["receipt"].encode(), bytes.fromhex(found["round"]["record"])
    log = bytes.fromhex(json.loads(text("round.trust.json"))["log"])
    witnesses = [["vectors.example/witness", bytes.fromhex(found["receipt"]["witness"])]]
    said = core("receipt", receipt=receipt, record=record, log=log, witnesses=witnesses)
    assert (said["root"], said["size"]) == (found["receipt"]["root"], 3)
    assert said["cosigned"] == [["vectors.example/witness", found["receipt"]["cosigned"]]]
    every = 1 if "node" in request.node.callspec.id else 7  # a call into the browser takes some milliseconds
    for place in range(0, len(receipt), every):
        flipped = receipt[:place] + bytes([receipt[place] ^ 1]) + receipt[place + 1 :]
        try:
            said = core("receipt", receipt=flipped, record=record, log=log, witnesses=witnesses)
        except CoreRefused:
            continue
        assert said["cosigned"] == []  # the line of another key, which is nobody's: nothing is said of the witness


def test_a_round_of_shares_leads_to_its_record_and_a_false_share_to_its_dealer(core: Core) -> None:
    found = document("additive.json")
    trust = text(found["trust"])
    assert core.verdict(data(found["evidence"]), trust) == bytes.fromhex(found["record"])
    fault = found["fault"]
    for pins in (trust, None):
        said = core("fault", proof=data(fault["proof"]), trust=pins)
        assert (said["culprit"], said["kind"], said["pinned"]) == (fault["culprit"], fault["kind"], pins is not None)
    for place in range(0, len(data(fault["proof"])), 197):
        spoiled = bytearray(data(fault["proof"]))
        spoiled[place] ^= 1
        assert core.convicts(bytes(spoiled), trust) is None


def test_letters_that_are_right_convict_nobody(core: Core) -> None:
    found = document("additive.json")
    proof = FaultProof.from_bytes(data(found["fault"]["proof"]))
    for letter in (bytes.fromhex(found["free"]["message"]), data(found["long"]["message"])):
        key = bytes.fromhex((found["free"] if letter != data(found["long"]["message"]) else found["long"])["K"])
        honest = FaultProof(
            kind=proof.kind,
            culprit=proof.culprit,
            public=proof.public,
            config=proof.config,
            setup=proof.setup,
            exhibits=(letter, key),
        )
        assert core.convicts(honest.to_bytes()) is None


def test_a_round_with_a_norm_bound_and_what_is_refused(core: Core) -> None:
    found = document("bounded.json")
    evidence, trust, proof = data(found["evidence"]), text(found["trust"]), data(found["proof"]["file"])
    said = core("evidence", evidence=evidence, trust=trust, beside=[proof])
    assert (said["encoding"].hex(), said["proofs"]) == (found["record"], 1)
    for what, places in found["refused"].items():
        assert core.verdict(screened_vectors.written_over(evidence, places), trust) is None, what
    for place in (0, 40, 9000, len(proof) - 1):
        other = proof[:place] + bytes([proof[place] ^ 1]) + proof[place + 1 :]
        assert core("evidence", evidence=evidence, trust=trust, beside=[other])["proofs"] == 0  # nobody's


def test_a_second_generation_and_certificates_that_are_refused(core: Core) -> None:
    """Each is refused for what is wrong in it: the configuration names the very one."""
    found = document("renounced.json")
    evidence, trust = data(found["evidence"]), text(found["trust"])
    assert core.verdict(evidence, trust) is not None
    _, config, cohort, *_ = msgspec.msgpack.decode(spec.unpack(evidence)[0])
    fields = spec.decode("RoundConfig", config, 1 << 20)

    def check(certificate: bytes) -> None:
        named = fields | {"renounced": spec.digest("renunciation", certificate)}
        encoded = spec.encode("RoundConfig", named)
        core("certificate", data=certificate, config=encoded, voters=cohort, least=found["needed"])

    check(bytes.fromhex(found["certificate"]))
    for certificate in found["refused"].values():
        with pytest.raises(CoreRefused):
            check(bytes.fromhex(certificate))


def test_a_screened_round_its_culprit_and_what_convicts_nobody(core: Core) -> None:
    found = document("screened.json")
    trust = text(found["trust"])
    said = core("evidence", evidence=data(found["evidence"]), trust=trust)
    assert said["good"]
    assert said["participants"] == found["participants"]
    fault = data(found["fault"])
    assert core.convicts(fault, trust) == found["culprit"]
    proof = FaultProof.from_bytes(fault)
    for what, change in found["refused_faults"].items():
        assert core.convicts(screened_vectors.altered(proof, change), trust) is None, what


def test_a_sum_that_has_failed_and_claims_of_one_that_has_not(core: Core) -> None:
    found, claim = document("screened.json"), data("screened.claim")
    _, config, _, advertisements, *_ = msgspec.msgpack.decode(spec.unpack(data(found["evidence"]))[0])
    advertised = msgspec.msgpack.encode([advertisements, b""])
    _, _, _, _, _, screen, *_ = msgspec.msgpack.decode(spec.unpack(bytes.fromhex(found["screen"]))[0])
    session = {"config": config, "advertised": advertised, "screen": screen}
    core("failed", claim=claim, **session)
    for what, places in found["refused_claims"].items():
        with pytest.raises(CoreRefused) as caught:
            core("failed", claim=screened_vectors.written_over(claim, places), **session)
        assert "unknown" not in str(caught.value), what


def test_a_tree_with_all_its_edges_or_some_or_none(core: Core) -> None:
    found = document("tree.json")
    evidence, trust = data(found["evidence"]), text(found["trust"])
    edges = [data(edge["evidence"]) for edge in found["edges"].values()]
    record = bytes.fromhex(found["record"])
    assert core.verdict(evidence, trust, beside=edges) == record
    assert core.verdict(evidence, trust, beside=edges[:1]) == record
    assert core.verdict(evidence, trust) == record
    assert core.verdict(evidence, beside=edges) == record
    assert core.verdict(evidence, beside=edges[:1]) is None  # nothing is pinned, and an edge is missing
    assert core.verdict(evidence, trust, beside=[edges[0], edges[0]]) is None


@pytest.mark.slow
def test_a_sparse_session_whose_members_sign_positions(core: Core) -> None:
    found = document("sparse.json")
    evidence, trust = data(found["evidence"]), text(found["trust"])
    product = by_product(evidence, trust, None, None)
    assert not isinstance(product, str)
    assert core.verdict(evidence, trust) == product[0]
    # What one client is shown of it, and the path of that.
    _, config, cohort, *_ = msgspec.msgpack.decode(spec.unpack(evidence)[0])
    call, choosers = (
        msgspec.msgpack.decode(bytes.fromhex(found["requests"][each])) for each in ("choose-peers", "share-keys")
    )
    roll, shown = msgspec.msgpack.encode(call[0]), choosers[1]
    given = {"cohort": cohort, "context": spec.digest("round-config", config), "roll": roll}
    assert core("shown", shown=msgspec.msgpack.encode(call[1]), **given) == [found["told"]]
    names = [cohort[position][0] for position in found["shown"]]
    assert core("shown", shown=msgspec.msgpack.encode(shown), **given) == names
    for spoilt in ([shown[0][1:], shown[1]], [shown[0], shown[1][32:]], [shown[0], shown[1] + bytes(32)]):
        with pytest.raises(CoreRefused):
            core("shown", shown=msgspec.msgpack.encode(spoilt), **given)


def test_a_round_with_noise_its_spending_and_what_is_refused(core: Core) -> None:
    found = document("private.json")
    evidence, trust = data(found["evidence"]), text(found["trust"])
    assert core.verdict(evidence, trust) == core.verdict(evidence) == bytes.fromhex(found["record"])
    assert core.verdict(evidence, trust, claims=["sum"]) is not None
    assert core.verdict(evidence, trust, claims=["attested"]) is None
    for case in found["spending"]:
        rounds = [[int(ratio), count] for ratio, count in case["rounds"].items()]
        assert core("spending", rounds=rounds, delta=case["delta"], epsilon=case["epsilon"]) == case["spent"]
    for name, values in PRIVACY_REFUSED.items():
        for value in values:

            def altered(header: dict[str, Any], name: str = name, value: int | None = value) -> None:
                config = spec.decode("RoundConfig", header["config"], 2**20)
                options = {item["name"]: item["value"] for item in config["policy"]["options"]} | {name: value}
                items = [{"name": key, "value": options[key]} for key in sorted(options) if options[key] is not None]
                config["policy"]["options"] = items
                header["config"] = spec.encode("RoundConfig", config)

            said = core("evidence", evidence=rearranged(evidence, altered))
            assert said["checks"][0]["state"] == "failed", (name, value)


def test_a_round_of_groups_and_what_is_refused(core: Core) -> None:
    found = document("grouped.json")
    evidence, trust = data(found["evidence"]), text(found["trust"])
    said = core("evidence", evidence=evidence, trust=trust)
    assert (said["good"], said["encoding"].hex()) == (True, found["record"])
    assert said["means"] == np.array([float.fromhex(value) for value in found["average"]]).tobytes()
    assert [k for group in said["record"]["groups"] for k in group["next_clips"]] == found["next_clips"]
    for what, places in found["refused"].items():
        assert core.verdict(screened_vectors.written_over(evidence, places), trust) is None, what
    core("config", data=bytes.fromhex(found["config"]))
    for config in found["refused_configurations"].values():
        with pytest.raises(CoreRefused):
            core("config", data=bytes.fromhex(config))


# --- epochs --------------------------------------------------------------------------------------------------


def test_every_epoch_leads_to_its_leaf_and_what_is_none_is_refused(core: Core) -> None:
    found = document("epochs.json")
    trust, shown = text(found["trust"]), msgspec.msgpack.decode(data(found["steps"]))[1]
    epochs = [
        {"evidence": step[1], "last": epoch["last"] and bytes.fromhex(epoch["last"])}
        for step, epoch in zip(shown, found["epochs"], strict=True)
    ]
    for count, epoch in enumerate(found["epochs"], start=1):
        said = core("epochAfter", trust=trust, task=found["task"], epochs=epochs[:count])
        assert (said["leaf"].hex(), said["digest"]) == (epoch["record"], epoch["body"])
    for wrong in found["refused"]:
        before, last = epochs[: wrong["epoch"] - 1], epochs[wrong["epoch"] - 1]["last"]
        tried = [*before, {"evidence": bytes.fromhex(wrong["evidence"]), "last": last}]
        with pytest.raises(CoreRefused) as caught:
            core("epochAfter", trust=trust, task=found["task"], epochs=tried)
        assert "unknown to this page" not in str(caught.value), wrong["why"]


def test_steps_are_followed_and_no_others(core: Core) -> None:
    found = document("epochs.json")
    trust = text(found["trust"])
    tag, shown = msgspec.msgpack.decode(data(found["steps"]))
    said = core("steps", steps=data(found["steps"]), trust=trust)
    assert (said["epoch"], said["digest"]) == (len(shown), found["epochs"][-1]["body"])
    for wrong in found["refused_steps"]:
        tried = [*shown[: wrong["epoch"] - 1], msgspec.msgpack.decode(bytes.fromhex(wrong["step"]))]
        with pytest.raises(CoreRefused):
            core("steps", steps=msgspec.msgpack.encode([tag, tried]), trust=trust)


def test_two_successors_of_one_epoch_convict_who_authorised_them(core: Core) -> None:
    found = document("epochs.json")
    proof = FaultProof.from_bytes(data(found["fault"]))
    assert core.convicts(data(found["fault"])) == proof.culprit
    for why, other in found["no_faults"].items():
        assert core.convicts(bytes.fromhex(other)) is None, why


# --- draws ---------------------------------------------------------------------------------------------------


def test_pulses_draw_and_what_is_none_is_refused(core: Core) -> None:
    found = document("beacon.json")
    source = bytes.fromhex(found["encoding"])
    roster = [[name, bytes.fromhex(key)] for name, key in found["roster"].items()]
    for given in found["draws"]:
        pulse = bytes.fromhex(given["signature"])
        core("pulse", source=source, round=given["round"], draw=given["draw"], signature=pulse)
        assert sorted(core("drawn", roster=roster, size=found["cohort_size"], beacon=pulse)) == given["cohort"]
    for given in found["refused"]:
        pulse = bytes.fromhex(given["signature"])
        with pytest.raises(CoreRefused):
            core("pulse", source=source, round=given["round"], draw=given["draw"], signature=pulse)
    for given in found["quicknet"]:
        core("pulseOf", key=quicknet(1).key, number=given["round"], signature=bytes.fromhex(given["signature"]))


# --- norms ---------------------------------------------------------------------------------------------------


def norms() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((norm_vectors.DIRECTORY / norm_vectors.VECTORS).read_text("utf-8"))
    return found


def statement(name: str, **changes: Any) -> dict[str, Any]:
    found = norms()
    given = {
        "ctx": found["ctx"],
        "sid": found["sid"],
        "id": name,
        "C_factor": len(name.encode()),
        "C'": name,
        "C'_cut": 0,
        **{field: found["bounds"][0][field] for field in NORM_FIELDS},
        **changes,
    }
    sketch = bytes.fromhex(found["clients"][given["C'"]]["C'"])
    return {
        "context": bytes.fromhex(given["ctx"]),
        "session": bytes.fromhex(given["sid"]),
        "name": given["id"],
        "commitment": np.array([given["C_factor"] * i for i in range(1536)], "<u4").tobytes(),
        "sketch": sketch[: len(sketch) - given["C'_cut"]],
        "bound": [given[field] for field in NORM_FIELDS],
    }


def test_a_sketch_is_the_same(core: Core) -> None:
    found = norms()
    given = found["clients"]["alice"]
    centred = [value - found["H"] for value in given["u"]]
    assert core("sketch", key=bytes.fromhex(found["sketch_key"]), e=centred) == given["sketch"]


def test_a_norm_proof_is_accepted_and_every_false_one_refused(core: Core) -> None:
    found, proof = norms()["proof"], (norm_vectors.DIRECTORY / norm_vectors.PROOF).read_bytes()
    core("normProof", proof=proof, **statement("alice"))
    for bad in found["bad"]:
        other = bytearray(proof)
        if "xor" in bad:
            offset, byte = bad["xor"]
            other[offset] ^= byte
        if "add_p" in bad:
            at = bad["add_p"]
            other[at : at + 4] = (int.from_bytes(other[at : at + 4], "little") + P).to_bytes(4, "little")
        changed = bytes(other[: len(other) - bad.get("cut", 0)]) + bytes.fromhex(bad.get("append", ""))
        with pytest.raises(CoreRefused):
            core("normProof", proof=changed, **statement("alice", **bad.get("statement", {})))
