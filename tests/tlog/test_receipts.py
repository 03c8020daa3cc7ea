"""Receipts as tlog-proof files, and the cosignatures that a ledger keeps for them."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import conformance.independent_verifier as spec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records.hand_made import fill, make_record
from support.records.logs import sign_text

from secure_agg.errors import (
    ConfigError,
    LedgerDamaged,
    LedgerError,
    LedgerRefused,
    TrustError,
    VerificationError,
)
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.trust import Trust
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, cosign
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import MAX_NOTE, MAX_SIGNATURES, Note, SignatureLine, VerifierKey
from secure_agg.tlog.policy import WitnessPolicy
from secure_agg.tlog.receipt import MAX_EXTRA, MAX_PROOF, MAX_RECEIPT, Receipt
from zk import merkle

NOW = 1_700_000_000
WITNESSES = {f"witness.example/{i}": Identity(f"w{i}", bytes([i + 1]) * 32) for i in range(3)}
KEYS = [WitnessKey(name, identity.public) for name, identity in WITNESSES.items()]
ORIGIN = "example.org/log"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Five records."""
    with Ledger(tmp_path / "rounds.db", origin=ORIGIN) as opened:
        fill(opened, 5)
        yield opened


def cosignatures(checkpoint: Checkpoint, *names: str, seconds: int = NOW) -> tuple[SignatureLine, ...]:
    return tuple(cosign(WITNESSES[name], name, checkpoint, seconds) for name in names or WITNESSES)


def cosigned(ledger: Ledger, *names: str, size: int | None = None, seconds: int = NOW) -> bytes:
    """A checkpoint of the ledger as witnesses would answer it: their lines only."""
    head = ledger.head() if size is None else ledger.head_at(size)
    return Note(head.checkpoint.text, cosignatures(head.checkpoint, *names, seconds=seconds)).to_bytes()


# The format

LOG = Identity("log", bytes(range(32)))
LOG_KEY = VerifierKey(ORIGIN, LOG.public)
LEAVES = [b"first", b"the record", b"third"]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]
HEAD = SignedHead.sign(LOG, ORIGIN, 3, merkle.root(LEAVES))
RECEIPT = Receipt(1, (HASHES[0], HASHES[2]), HEAD.note(LOG.public, cosignatures(HEAD.checkpoint)))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_receipt_is_the_text_of_the_specification() -> None:
    key_id = spec.key_id(ORIGIN, 1, LOG.public)
    body = f"{ORIGIN}\n3\n{b64(merkle.root(LEAVES))}\n"
    lines = [
        "c2sp.org/tlog-proof@v1",
        "index 1",
        b64(HASHES[0]),
        b64(HASHES[2]),
        "",
        *body.splitlines(),
        "",
        f"— {ORIGIN} {b64(key_id + LOG.sign(body.encode()))}",
    ]
    for name, identity in WITNESSES.items():
        message = f"cosignature/v1\ntime {NOW}\n{body}".encode()
        data = spec.key_id(name, 4, identity.public) + NOW.to_bytes(8, "big") + identity.sign(message)
        lines.append(f"— {name} {b64(data)}")
    assert RECEIPT.to_bytes().decode() == "".join(f"{line}\n" for line in lines)
    with_extra = Receipt(1, RECEIPT.proof, RECEIPT.note, b"something")
    assert with_extra.to_bytes().decode().splitlines()[:3] == [lines[0], "extra c29tZXRoaW5n", "index 1"]
    alone = Receipt(0, (), SignedHead.sign(LOG, ORIGIN, 1, HASHES[0]).note(LOG.public))
    assert alone.to_bytes().startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nexample.org/log\n1\n")
    for receipt in (RECEIPT, with_extra, alone):
        assert Receipt.from_bytes(receipt.to_bytes()) == receipt


def test_the_independent_verifier_accepts_a_receipt_with_its_witnesses() -> None:
    witnesses = {name: identity.public for name, identity in WITNESSES.items()}
    head = spec.verify_receipt(RECEIPT.to_bytes(), LEAVES[1], LOG.public, ORIGIN, witnesses)
    assert (head["size"], head["root"]) == (3, merkle.root(LEAVES))
    assert head["cosigned"] == dict.fromkeys(WITNESSES, NOW)


TEXT = RECEIPT.to_bytes().decode()
PROOF, CHECKPOINT = TEXT.split("\n\n", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        PROOF,
        PROOF + "\n",
        PROOF + "\n\n",
        PROOF + "\n" + CHECKPOINT,
        PROOF + "\n\n\n" + CHECKPOINT,
        PROOF + "\n\n" + CHECKPOINT.split("\n\n")[0] + "\n",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "x",
        "\n" + TEXT,
        " " + TEXT,
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("@v1", "@v2"),
        TEXT.replace("@v1\n", "@v1 \n"),
        TEXT.replace("c2sp.org", "C2SP.org"),
        TEXT.removeprefix("c2sp.org/tlog-proof@v1\n"),
        TEXT.replace("index 1\n", ""),
        TEXT.replace("index 1\n", "index 1\nindex 1\n"),
        *(TEXT.replace("index 1\n", f"{line}\n") for line in ("index", "index ", "index  1", "index 1 ", "Index 1")),
        *(TEXT.replace("index 1\n", f"index {n}\n") for n in ("01", "+1", "-1", "1.0", "0x1", "1_0", "٣", "3", "99")),
        TEXT.replace("index 1\n", "extra \nindex 1\n"),
        TEXT.replace("index 1\n", "extra\nindex 1\n"),
        TEXT.replace("index 1\n", "extra AA\nindex 1\n"),
        TEXT.replace("index 1\n", "extra AB==\nindex 1\n"),
        TEXT.replace("index 1\n", "extra AA==\nextra AA==\nindex 1\n"),
        TEXT.replace("index 1\n", "index 1\nextra AA==\n"),
        TEXT.replace("index 1\n", f"extra {b64(bytes(MAX_EXTRA + 1))}\nindex 1\n"),
        TEXT.replace(b64(HASHES[0]), b64(HASHES[0])[:-1]),
        TEXT.replace(b64(HASHES[0]), HASHES[0].hex()),
        TEXT.replace(b64(HASHES[0]), b64(HASHES[0][:31])),
        TEXT.replace(b64(HASHES[0]), b64(HASHES[0] + b"\0")),
        TEXT.replace(b64(HASHES[0]), b64(HASHES[0]) + " "),
        TEXT.replace("index 1\n", "index 1\n" + (b64(bytes(32)) + "\n") * MAX_PROOF),
        TEXT.replace("\n3\n", "\n03\n"),
        TEXT.replace("\n3\n", "\n1\n"),
        TEXT + "— x AAAAAAA=\n" * MAX_SIGNATURES,
        TEXT + "— " + "x" * (MAX_NOTE + 4 * MAX_EXTRA) + " AAAAAAA=\n",
    ],
)  # fmt: skip
def test_a_malformed_receipt_is_refused(text: str) -> None:
    with pytest.raises(VerificationError, match="receipt"):
        Receipt.from_bytes(text.encode())
    with pytest.raises(ValueError):
        spec.verify_receipt(text.encode(), LEAVES[1], LOG.public)


def test_a_receipt_above_the_limit_is_refused_before_it_is_read() -> None:
    Receipt.from_bytes(RECEIPT.to_bytes())
    with pytest.raises(VerificationError, match=f"at most {MAX_RECEIPT} bytes"):
        Receipt.from_bytes(RECEIPT.to_bytes().ljust(MAX_RECEIPT + 1))
    with pytest.raises(VerificationError, match="not a receipt: a note"):
        Receipt.from_bytes(RECEIPT.to_bytes().ljust(MAX_RECEIPT))


def test_a_receipt_that_can_not_be_is_not_made() -> None:
    for index, proof, note, extra in (
        (3, RECEIPT.proof, RECEIPT.note, b""),
        (-1, RECEIPT.proof, RECEIPT.note, b""),
        (1, (bytes(32),) * (MAX_PROOF + 1), RECEIPT.note, b""),
        (1, (bytes(31),), RECEIPT.note, b""),
        (1, RECEIPT.proof, RECEIPT.note, bytes(MAX_EXTRA + 1)),
    ):
        with pytest.raises(ConfigError):
            Receipt(index, proof, note, extra)
    with pytest.raises(VerificationError, match="checkpoint"):
        Receipt(1, RECEIPT.proof, Note("no checkpoint\n", RECEIPT.note.signatures))


@given(st.data())
def test_a_changed_receipt_is_refused_or_proves_the_same(data: st.DataObject) -> None:
    """What a change can do is drop a witness, or say something else where nothing is believed."""
    original = RECEIPT.to_bytes()
    begin = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(begin, min(begin + 3, len(original))))
    changed = original[:begin] + data.draw(st.binary(max_size=3)) + original[end:]
    try:
        receipt = Receipt.from_bytes(changed)
        found = receipt.verify(LEAVES[1], LOG_KEY, WitnessPolicy.k_of_n(0, KEYS), now=NOW)
    except VerificationError:
        return
    assert receipt.to_bytes() == changed
    assert (found.checkpoint, receipt.index, receipt.proof) == (HEAD.checkpoint, 1, RECEIPT.proof)
    assert found.witnesses.items() <= dict.fromkeys(WITNESSES, NOW).items()


def test_any_flipped_bit_of_what_the_log_says_is_noticed() -> None:
    data = Receipt(1, RECEIPT.proof, HEAD.note(LOG.public)).to_bytes()
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(VerificationError):
            Receipt.from_bytes(bytes(flipped)).verify(LEAVES[1], LOG_KEY)


# Verification


def test_a_receipt_is_for_one_record_one_place_and_one_log(ledger: Ledger) -> None:
    receipt, record, key = ledger.receipt(3), ledger.record(3).to_bytes(), ledger.verifier_key
    assert receipt.verify(record, key).checkpoint == ledger.head().checkpoint
    for changed in (
        Receipt(2, receipt.proof, receipt.note),
        Receipt(4, receipt.proof, receipt.note),
        Receipt(3, receipt.proof[:-1], receipt.note),
        Receipt(3, (*receipt.proof, bytes(32)), receipt.note),
        Receipt(3, receipt.proof[::-1], receipt.note),
        Receipt(3, (), receipt.note),
        Receipt(3, receipt.proof, ledger.head_at(4).note(key.public)),
        Receipt(3, receipt.proof, Note(receipt.note.text, cosignatures(receipt.checkpoint))),
    ):
        with pytest.raises(VerificationError):
            changed.verify(record, key, WitnessPolicy.k_of_n(0, KEYS))
    for wrong in (ledger.record(2).to_bytes(), record + b"\0", b"", receipt.proof[0]):
        with pytest.raises(VerificationError, match="not in the tree"):
            receipt.verify(wrong, key)
    for other in (VerifierKey(key.name, LOG.public), VerifierKey("example.org/other", key.public)):
        with pytest.raises(VerificationError):
            receipt.verify(record, other)


def test_extra_data_changes_nothing(ledger: Ledger) -> None:
    receipt = ledger.receipt(3)
    for extra in (b"x", bytes(MAX_EXTRA)):
        with_extra = Receipt.from_bytes(Receipt(3, receipt.proof, receipt.note, extra).to_bytes())
        assert with_extra.extra == extra
        with_extra.verify(ledger.record(3).to_bytes(), ledger.verifier_key)


# What a ledger keeps


def test_cosignatures_are_kept_for_checkpoints_and_receipts(ledger: Ledger) -> None:
    first, second, _ = WITNESSES
    assert ledger.add_cosignatures(cosigned(ledger, second), KEYS) == (KEYS[1],)
    assert ledger.add_cosignatures(cosigned(ledger, first), KEYS) == (KEYS[0],)
    with Ledger(ledger.path, read_only=True) as again:
        note = Note.from_bytes(again.checkpoint())
        assert note.to_bytes() == ledger.checkpoint()
        assert [key for key, _ in note.verify([again.verifier_key, *KEYS])] == [again.verifier_key, *KEYS[:2]]
        receipt = Receipt.from_bytes(again.receipt(2).to_bytes())
        policy = WitnessPolicy.k_of_n(2, KEYS)
        found = receipt.verify(again.record(2).to_bytes(), again.verifier_key, policy, now=NOW)
        assert found.witnesses == {first: NOW, second: NOW}
        with pytest.raises(VerificationError, match="not the quorum"):
            receipt.verify(again.record(2).to_bytes(), again.verifier_key, WitnessPolicy.k_of_n(3, KEYS), now=NOW)
    fill(ledger, 1)
    assert len(Note.from_bytes(ledger.checkpoint()).signatures) == 1
    assert len(Note.from_bytes(ledger.checkpoint(5)).signatures) == 3


def test_the_newest_head_that_passes_a_policy_gives_the_receipt(ledger: Ledger) -> None:
    ledger.add_cosignatures(cosigned(ledger, *list(WITNESSES)[:2], size=3), KEYS)
    ledger.add_cosignatures(cosigned(ledger, *list(WITNESSES)[:1], size=4), KEYS)
    for quorum, size in ((0, 5), (1, 4), (2, 3)):
        policy = WitnessPolicy.k_of_n(quorum, KEYS)
        receipt = ledger.receipt(2, policy=policy)
        receipt.verify(ledger.record(2).to_bytes(), ledger.verifier_key, policy)
        assert receipt.checkpoint.size == size
    assert ledger.receipt(2, 4, policy=WitnessPolicy.k_of_n(1, KEYS)).checkpoint.size == 4
    for index, wanted, quorum in ((3, None, 2), (4, None, 1), (2, None, 3), (2, 5, 1)):
        with pytest.raises(LedgerError, match="no signed head") as caught:
            ledger.receipt(index, wanted, policy=WitnessPolicy.k_of_n(quorum, KEYS))
        assert not isinstance(caught.value, LedgerDamaged)


def test_of_two_cosignatures_of_one_witness_the_later_is_kept(ledger: Ledger) -> None:
    name = KEYS[0].name
    for seconds, kept in ((NOW, NOW), (NOW - 1, NOW), (NOW + 1, NOW + 1), (256, NOW + 1)):
        assert ledger.add_cosignatures(cosigned(ledger, name, seconds=seconds), KEYS) == (KEYS[0],)
        found = WitnessPolicy.k_of_n(1, KEYS).verify(
            Note.from_bytes(ledger.checkpoint()), ledger.verifier_key, now=2**41
        )
        assert found.witnesses == {name: kept}
    # One whose time has not come would keep all later ones out.
    assert ledger.add_cosignatures(cosigned(ledger, name, seconds=2**40), KEYS) == ()


def test_the_log_is_no_witness_of_its_own() -> None:
    line = cosign(LOG, "somebody", HEAD.checkpoint, NOW)
    note = HEAD.note(LOG.public, [line])
    with pytest.raises(VerificationError, match="not the quorum"):
        WitnessPolicy.k_of_n(1, [WitnessKey("somebody", LOG.public)]).verify(note, LOG_KEY, now=NOW)


def test_pinned_witnesses_are_known_and_others_are_ignored(ledger: Ledger) -> None:
    first, second, _ = KEYS
    pinned = Trust(log=ledger.log_public, origin=ORIGIN, witnesses=Roster({first.name: first.public}))
    pinned.save(ledger.trust_path)
    everybody = cosigned(ledger)
    assert ledger.add_cosignatures(everybody) == (first,)
    with pytest.raises(VerificationError, match="known key"):
        ledger.add_cosignatures(cosigned(ledger, second.name))
    assert ledger.add_cosignatures(everybody, [second]) == (first, second)


def test_what_is_not_a_cosignature_of_this_log_is_refused_and_not_kept(ledger: Ledger) -> None:
    before, checkpoint = ledger.checkpoint(), ledger.head().checkpoint
    fork = Checkpoint(ORIGIN, 5, merkle.leaf_hash(b"another history"))
    other = Checkpoint("example.org/other", 5, checkpoint.root)
    longer = Checkpoint(ORIGIN, 6, checkpoint.root)
    extended = Checkpoint(ORIGIN, 5, checkpoint.root, ("extension",))
    for wrong in (fork, other, longer, extended):
        with pytest.raises(VerificationError, match="signed no such checkpoint"):
            ledger.add_cosignatures(Note(wrong.text, cosignatures(wrong)).to_bytes(), KEYS)
    misplaced = cosignatures(fork)
    with pytest.raises(VerificationError, match="does not verify"):
        ledger.add_cosignatures(Note(checkpoint.text, misplaced).to_bytes(), KEYS)
    one_bad = (*cosignatures(checkpoint)[:2], misplaced[2])
    with pytest.raises(VerificationError, match="does not verify"):
        ledger.add_cosignatures(Note(checkpoint.text, one_bad).to_bytes(), KEYS)
    plain = sign_text(WITNESSES[KEYS[0].name], KEYS[0].name, checkpoint.text)
    for lines in ((plain,), ledger.head().note(ledger.log_public).signatures):
        with pytest.raises(VerificationError, match="known key"):
            ledger.add_cosignatures(Note(checkpoint.text, lines).to_bytes(), KEYS)
    for malformed in (b"", checkpoint.text.encode(), cosigned(ledger) + b"x", b"text\n\n" + cosigned(ledger)[-100:]):
        with pytest.raises(VerificationError):
            ledger.add_cosignatures(malformed, KEYS)
    assert ledger.checkpoint() == before


def test_a_ledger_that_is_only_read_keeps_no_cosignatures(ledger: Ledger) -> None:
    with Ledger(ledger.path, read_only=True) as reader, pytest.raises(LedgerRefused, match="reading only"):
        reader.add_cosignatures(cosigned(ledger), KEYS)


def test_a_checkpoint_never_has_more_lines_than_a_note_can_hold(ledger: Ledger) -> None:
    checkpoint = ledger.head().checkpoint
    identities = [Identity(f"w{i}", (i + 1).to_bytes(32, "big")) for i in range(MAX_SIGNATURES)]
    keys = [WitnessKey(identity.name, identity.public) for identity in identities]
    lines = [cosign(identity, identity.name, checkpoint, NOW) for identity in identities]
    ledger.add_cosignatures(Note(checkpoint.text, tuple(lines[:-1])).to_bytes(), keys)
    full = ledger.checkpoint()
    assert len(Note.from_bytes(full).signatures) == MAX_SIGNATURES
    with pytest.raises(LedgerRefused, match="room for 99"):
        ledger.add_cosignatures(Note(checkpoint.text, (lines[-1],)).to_bytes(), keys)
    ledger.add_cosignatures(Note(checkpoint.text, (lines[0],)).to_bytes(), keys)
    assert ledger.checkpoint() == full


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cosignatures SET signature = zeroblob(72)",
        "UPDATE cosignatures SET signature = zeroblob(7)",
        "UPDATE cosignatures SET signature = 'text'",
        "UPDATE cosignatures SET witness = 'nobody'",
        "UPDATE cosignatures SET witness = x'00'",
        "UPDATE cosignatures SET size = 4",
    ],
)
def test_a_changed_cosignature_is_noticed(ledger: Ledger, statement: str) -> None:
    ledger.add_cosignatures(cosigned(ledger, KEYS[0].name), KEYS)
    with sqlite3.connect(ledger.path) as database:
        assert database.execute(statement).rowcount == 1
    database.close()
    with pytest.raises(LedgerDamaged, match="cosignature"):
        ledger.checkpoint(4 if statement.endswith("4") else 5)


# What a verifier has pinned


def test_a_pinned_quorum_refuses_a_result_that_too_few_witnesses_have_seen(ledger: Ledger) -> None:
    witnesses = Roster({key.name: key.public for key in KEYS})
    record = ledger.record(3)
    for quorum in (None, 1, 2, 3):
        trust = Trust(log=ledger.log_public, origin=ORIGIN, witnesses=witnesses, quorum=quorum)
        trust = Trust.from_json(trust.to_json())
        for cosigning in range(4):
            checkpoint = ledger.head().checkpoint
            lines = cosignatures(checkpoint, *list(WITNESSES)[:cosigning]) if cosigning else ()
            receipt = Receipt(3, ledger.receipt(3).proof, ledger.head().note(ledger.log_public, lines))
            if cosigning >= (quorum or 0):
                found = trust.verify_receipt(record, receipt, now=NOW)
                assert found.witnesses == dict.fromkeys(list(WITNESSES)[:cosigning], NOW)
            else:
                with pytest.raises(VerificationError, match="not the quorum"):
                    trust.verify_receipt(record, receipt, now=NOW)


def test_a_pinned_log_is_meant_by_key_and_by_origin(ledger: Ledger) -> None:
    """One key may sign two logs, and witnesses may have seen both."""
    key, record = ledger._identity, ledger.record(0)
    assert key is not None
    other = SignedHead.sign(key, "example.org/other", 1, merkle.root([record.to_bytes()]))
    receipt = Receipt(0, (), other.note(key.public))
    witnesses = Roster({name: identity.public for name, identity in WITNESSES.items()})
    Trust(log=key.public).verify_receipt(record, receipt)
    for quorum in (None, 1):
        with pytest.raises(VerificationError, match=r"'example\.org/other'"):
            Trust(log=key.public, origin=ORIGIN, witnesses=witnesses, quorum=quorum).verify_receipt(record, receipt)
    with pytest.raises(VerificationError):
        Trust(log=LOG.public).verify_receipt(record, receipt)
    with pytest.raises(TrustError, match="no ledger is pinned"):
        Trust().verify_receipt(record, receipt)
    with pytest.raises(VerificationError, match="not in the tree"):
        Trust(log=key.public).verify_receipt(make_record(9), receipt)


def test_a_log_whose_name_can_not_be_a_keys_is_not_the_pinned_one() -> None:
    checkpoint = Checkpoint("a log", 1, HASHES[0])
    receipt = Receipt(0, (), Note(checkpoint.text, (SignatureLine("a-log", bytes(4), bytes(64)),)))
    with pytest.raises(VerificationError, match="can't be the pinned one"):
        Trust(log=LOG.public).verify_receipt(make_record(0), receipt)
