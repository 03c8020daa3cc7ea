"""Signed notes, checkpoints and cosignatures: vectors of other implementations, and everything malformed.

The vectors are public: of the C2SP specifications, of Go's golang.org/x/mod/sumdb/note, of Go's checksum database, of
a staging log of Certificate Transparency, and of transparency-dev/formats.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records.logs import sign_text

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.protocol.identity import Identity
from secure_agg.tlog.checkpoint import MAX_SIZE, Checkpoint, parse_decimal
from secure_agg.tlog.cosignature import MAX_TIMESTAMP, WitnessKey, cosign, timestamp
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import (
    MAX_NOTE,
    MAX_SIGNATURES,
    Note,
    SignatureLine,
    VerifierKey,
    decode_base64,
    encode_base64,
)
from zk.merkle import EMPTY_ROOT

# golang.org/x/mod/sumdb/note
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = decode_base64("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# C2SP signed-note
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# sum.golang.org/latest, 2024-09-23: the origin is not the key's name
SUM = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUM_NOTE = (
    "go.sum database tree\n30055305\nmXfgRcJ0bG0j3CPdKwgGWtUzBUbX67saZGRmFuJGGsM=\n\n"
    "— sum.golang.org Az3grpgEild5qw7+5dtV13Kf1C2Xurm8q4fhdxvcsDHnqNTaxL2AFjBY+2TyGKevucFcAAlWFJJYle3EJlDCrQ+y3A8=\n"
)
# A real checkpoint with signatures of types 0x05, 0x01 and, by four witnesses, 0x04
ARCHE = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
REMORA = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
ARCHE_NOTE = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIg\
IpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59\
RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP\
3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWV\
uE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0D\
rAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKF\
Ye/TmN9DAg==
"""
# Made by transparency-dev/formats from fixed seeds
VECTOR_LOG = "example.com/vector-log+4516a1da+ARGkVJ4QEa2MOOLGBO6i7NVSJ1FQ97tIX+w+Ku0RZ6Em"
VECTOR_SEED = decode_base64("BJEX3xv88eoQIKT4E+GkxZcXaJCYlQfi/GJ3NDFmZIW8")[1:]
VECTOR_WITNESS = "witness.example.com/vector+416f103d+BK/QmJFVP3SKJOqAMhFxBQPtylo3sjwWibyFDAlZKK8B"
VECTOR_TEXT = "example.com/vector-log\n1234\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n"
VECTOR_LOG_LINE = (
    "— example.com/vector-log RRah2qlLrSlk6J8DA1HmNewppUM15Quhs5cAIb1KjBsV3otVirJTW8AFVsQtJkTW1Zny7GuoAxZpI6bUPcpM68QO"
    "IgE=\n"
)
VECTOR_WITNESS_LINE = (
    "— witness.example.com/vector QW8QPQAAAABqwLUbDdj7sDNRIVjmjYgqFI6y4UJhPg/UAA8J8wAdqSd3q4PedRhkgXA4xFN/Jg5uWn7ZkBA+"
    "H/UHQs5d9hITdXmQAA==\n"
)
VECTOR_TIME = 1791014171


def parse(text: str) -> Note:
    return Note.from_bytes(text.encode())


def keys(*texts: str) -> list[VerifierKey]:
    return [VerifierKey.parse(text) for text in texts]


def names(note: Note, *known: VerifierKey) -> list[str]:
    return [key.name for key, _ in note.verify(known)]


# Known answers


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (TEXT + "\n" + PETER_LINE, PETER),
        (TEXT + "\n" + ENOCH_LINE, ENOCH),
        (FOO_NOTE, FOO),
        (SUM_NOTE, SUM),
        (ARCHE_NOTE, ARCHE),
        (VECTOR_TEXT + "\n" + VECTOR_LOG_LINE, VECTOR_LOG),
    ],
    ids=["PeterNeumann", "EnochRoot", "C2SP", "sum.golang.org", "arche", "formats"],
)
def test_notes_of_other_implementations_verify(text: str, key: str) -> None:
    note = parse(text)
    assert note.to_bytes() == text.encode()
    assert names(note, *keys(key)) == [VerifierKey.parse(key).name]
    assert str(VerifierKey.parse(key)) == key
    with pytest.raises(VerificationError, match="does not verify"):
        Note("x" + note.text, note.signatures).verify(keys(key))


def test_signing_gives_the_bytes_that_go_gives() -> None:
    line = sign_text(Identity("any name", PETER_SEED), "PeterNeumann", TEXT)
    assert f"{line}\n" == PETER_LINE


@pytest.mark.parametrize(
    ("text", "key", "time"),
    [(ARCHE_NOTE, REMORA, 1779573024), (VECTOR_TEXT + "\n" + VECTOR_WITNESS_LINE, VECTOR_WITNESS, VECTOR_TIME)],
    ids=["remora", "formats"],
)
def test_cosignatures_of_other_implementations_verify(text: str, key: str, time: int) -> None:
    witness = WitnessKey.parse(key)
    note = parse(text)
    ((found, line),) = note.verify([witness])
    assert (found, timestamp(line.signature), str(witness)) == (witness, time, key)
    later = line.signature[:7] + bytes([line.signature[7] ^ 1]) + line.signature[8:]
    other_root = note.text.replace("\nU7", "\nU8").replace("\nSB", "\nSC")
    for changed in (Note(note.text, (witness.line(later),)), Note(other_root, note.signatures)):
        with pytest.raises(VerificationError, match="does not verify"):
            changed.verify([witness])


def test_cosigning_gives_the_bytes_that_other_implementations_give() -> None:
    checkpoint = Checkpoint.parse(VECTOR_TEXT)
    line = cosign(Identity("any name", VECTOR_SEED), "witness.example.com/vector", checkpoint, VECTOR_TIME)
    assert f"{line}\n" == VECTOR_WITNESS_LINE


def test_a_checkpoint_of_the_specification_is_read_with_its_cosignature() -> None:
    note = parse(
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zy"
        "WE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0"
        "xUe+mbIUBkBIfZ+qnA==\n"
    )
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert timestamp(note.signatures[1].signature) == 1679315147


# Verifier keys


def test_a_key_id_is_the_hash_of_name_type_and_key() -> None:
    key, witness = VerifierKey.parse(PETER), WitnessKey("PeterNeumann", VerifierKey.parse(PETER).public)
    assert key.key_id == hashlib.sha256(b"PeterNeumann\n\x01" + key.public).digest()[:4]
    assert witness.key_id == hashlib.sha256(b"PeterNeumann\n\x04" + key.public).digest()[:4]
    assert WitnessKey.parse(str(witness)) == witness
    assert witness != key


def test_no_piece_and_no_neighbour_of_a_verifier_key_is_one() -> None:
    """The manglings that Go's own test tries."""
    pieces = [PETER[i:j] for i in range(len(PETER)) for j in range(i + 1, len(PETER) + 1) if j - i < len(PETER)]
    neighbours = [PETER[:i] + chr(ord(PETER[i]) + 1) + PETER[i + 1 :] for i in range(len(PETER))]
    for mangled in (*pieces, *neighbours, ""):
        with pytest.raises(ConfigError):
            VerifierKey.parse(mangled)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "not of the form"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "type 0x65"),
        (REMORA, "type 0x04"),
        (PETER.replace("c74f20a3", "C74F20A3"), "has the id"),
        (PETER.replace("c74f20a3", "c7 4f20a3"), "has the id"),
        (PETER + "=", "not of the form"),
        (PETER + "\n", "not of the form"),
        (PETER + "+", "not of the form"),
        ("x+00000000+" + encode_base64(b"\x01" + bytes(31)), "32 bytes, not 31"),
        ("x+00000000+" + encode_base64(b"\x01" + bytes(32)), "small order"),
        ("a b" + PETER, "key name"),
        ("x" * 2000 + PETER, "1024 characters"),
        ("rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEG", "type 0x02"),
    ],
)
def test_a_malformed_verifier_key_is_refused_and_says_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\u00a0b", "a\nb", "a\tb", "\x85", "\ud800"])
def test_a_key_name_has_no_space_and_no_plus(name: str) -> None:
    for make in (VerifierKey, WitnessKey):
        with pytest.raises(ConfigError, match="key name"):
            make(name, VerifierKey.parse(PETER).public)


# Notes


def test_signatures_of_unknown_keys_are_ignored() -> None:
    note = parse(TEXT + "\n" + PETER_LINE + ENOCH_LINE)
    assert names(note, *keys(PETER)) == ["PeterNeumann"]
    assert names(note, *keys(ENOCH)) == ["EnochRoot"]
    assert names(note, *keys(ENOCH, PETER)) == ["PeterNeumann", "EnochRoot"]
    for unknown in ([], keys(FOO)):
        with pytest.raises(VerificationError, match="known key"):
            note.verify(unknown)


def test_a_key_of_the_same_name_or_the_same_id_is_another_key() -> None:
    peter, enoch = keys(PETER, ENOCH)
    line = parse(TEXT + "\n" + PETER_LINE).signatures[0]
    same_name = SignatureLine(line.name, enoch.key_id, bytes(64))
    same_id = SignatureLine("Somebody", line.key_id, bytes(64))
    assert names(Note(TEXT, (same_name, same_id, line)), peter) == ["PeterNeumann"]


def test_a_known_key_whose_signature_fails_spoils_the_note() -> None:
    peter, enoch = keys(PETER, ENOCH)
    good = parse(TEXT + "\n" + PETER_LINE + ENOCH_LINE).signatures
    for bad in (bytes(64), good[1].signature, good[0].signature[:-1], good[0].signature + b"\0", b"\0"):
        wrong = peter.line(bad)
        for lines in ((wrong,), (wrong, *good), (*good, wrong), (good[1], wrong)):
            with pytest.raises(VerificationError, match="'PeterNeumann' does not verify"):
                Note(TEXT, lines).verify([peter, enoch])
        assert names(Note(TEXT, (wrong, good[1])), enoch) == ["EnochRoot"]


def test_a_repeated_signature_is_verified_again_and_named_again() -> None:
    line = parse(TEXT + "\n" + PETER_LINE).signatures[0]
    assert names(Note(TEXT, (line, line)), *keys(PETER)) == ["PeterNeumann"] * 2


def test_two_known_keys_of_one_name_and_id_are_a_mistake_of_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    note, (peter, enoch) = parse(TEXT + "\n" + PETER_LINE), keys(PETER, ENOCH)
    monkeypatch.setattr(VerifierKey, "key_id", b"\xc7\x4f\x20\xa3")
    with pytest.raises(ConfigError, match="two keys"):
        note.verify([peter, VerifierKey("PeterNeumann", enoch.public)])
    assert names(note, peter, peter) == ["PeterNeumann"]


LINE = PETER_LINE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + LINE,
        TEXT + "\n",
        TEXT + "\n" + LINE[:-1],
        TEXT + "\n" + LINE + "\n",
        TEXT + "\n" + LINE + "x\n",
        TEXT + "\n\n" + LINE[:-1],
        TEXT + "\n" + LINE + "\n" + LINE + "\n",
        TEXT[:-1] + LINE,
        TEXT.replace("\n", "\r\n") + "\n" + LINE,
        TEXT + "\n" + LINE.replace("\n", "\r\n"),
        TEXT.replace("you", "\0", 1) + "\n" + LINE,
        TEXT.replace("you", "\t", 1) + "\n" + LINE,
        TEXT.replace("you", "\x1f", 1) + "\n" + LINE,
        TEXT + "\n" + LINE.replace("—", "-"),
        TEXT + "\n" + LINE.replace("—", "–"),
        TEXT + "\n" + LINE.replace("— ", "—"),
        TEXT + "\n" + LINE.replace("— ", "—\N{NO-BREAK SPACE}"),
        TEXT + "\n" + LINE.replace("— ", "—  "),
        TEXT + "\n " + LINE,
        TEXT + "\n" + LINE.replace("PeterNeumann ", ""),
        TEXT + "\n" + LINE.replace("PeterNeumann ", " "),
        TEXT + "\n" + LINE.replace("PeterNeumann ", "PeterNeumann  "),
        TEXT + "\n" + LINE.replace("PeterNeumann", "Peter Neumann"),
        TEXT + "\n" + LINE.replace("PeterNeumann", "Peter+Neumann"),
        TEXT + "\n" + LINE.replace("PeterNeumann", "Peter\u2009Neumann"),
        TEXT + "\n" + LINE.replace("=", ""),
        TEXT + "\n" + LINE.replace("=", "=="),
        TEXT + "\n" + LINE.replace("=", "= "),
        TEXT + "\n" + LINE.replace("nAM=", "nAN="),
        TEXT + "\n" + LINE.replace("/", "_"),
        TEXT + "\n" + LINE.replace("x08go", "x08g*"),
        TEXT + "\n" + "— PeterNeumann \n",
        TEXT + "\n" + "— PeterNeumann x08gow==\n",
        TEXT + "\n" + "— PeterNeumann x08g\n",
        TEXT + "\n" + LINE * (MAX_SIGNATURES + 1),
        "\ufeff" * MAX_NOTE + "\n\n" + LINE,
    ],
)
def test_a_malformed_note_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        parse(text)


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"], ids=lambda bad: bad.hex()
)
def test_a_note_is_utf_8(bad: bytes) -> None:
    line = LINE.encode()
    for data in (bad + TEXT.encode() + b"\n" + line, TEXT.encode() + b"\n" + line.replace(b"PeterN", bad)):
        with pytest.raises(VerificationError, match="UTF-8"):
            Note.from_bytes(data)


def test_the_last_empty_line_ends_the_text() -> None:
    text = "a first paragraph\n\na second\n\n\nand a last\n"
    signer = Identity.generate("signer")
    line = sign_text(signer, "signer", text)
    note = Note.from_bytes(Note(text, (line,)).to_bytes())
    assert (note.text, note.signatures) == (text, (line,))
    note.verify([VerifierKey("signer", signer.public)])
    nested = parse(parse(FOO_NOTE).to_bytes().decode() + "\n" + LINE)  # a whole note as the text of another
    assert nested.text == FOO_NOTE


def test_sixteen_long_signatures_are_read_and_a_hundred_of_the_usual_ones() -> None:
    long = Note(TEXT, tuple(SignatureLine(f"post-quantum-{i}", bytes(4), bytes(5000)) for i in range(16)))
    many = Note(TEXT, parse(TEXT + "\n" + LINE).signatures * MAX_SIGNATURES)
    for note in (long, many):
        assert Note.from_bytes(note.to_bytes()) == note
    for count in (0, MAX_SIGNATURES + 1):
        with pytest.raises(ConfigError, match="signatures"):
            Note(TEXT, parse(TEXT + "\n" + LINE).signatures * count)


line_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
signature_lines = st.builds(
    SignatureLine,
    st.from_regex(r"[!-*,-~é😀]{1,12}", fullmatch=True),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=1, max_size=80),
)


@given(st.lists(line_texts, min_size=1, max_size=5), st.lists(signature_lines, min_size=1, max_size=4))
def test_every_note_has_one_encoding(lines: list[str], signatures: list[SignatureLine]) -> None:
    note = Note("".join(f"{line}\n" for line in lines), tuple(signatures))
    assert Note.from_bytes(note.to_bytes()) == note


@given(st.data())
def test_a_changed_note_is_refused_or_comes_back_as_it_is(data: st.DataObject) -> None:
    original = (TEXT + "\n" + PETER_LINE + ENOCH_LINE).encode()
    begin = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(begin, min(begin + 4, len(original))))
    changed = original[:begin] + data.draw(st.binary(max_size=4)) + original[end:]
    try:
        note = Note.from_bytes(changed)
    except VerificationError:
        return
    assert note.to_bytes() == changed
    try:
        verified = note.verify(keys(PETER, ENOCH))
    except VerificationError:
        return
    assert note.text == TEXT, "a known key has signed no other text"
    assert verified


def test_every_spelling_of_base64_but_one_is_refused() -> None:
    for good in ("", "AA==", "AAA=", "AAAA"):
        assert encode_base64(decode_base64(good)) == good
    for bad in ("AA", "AA=", "AB==", "AAB=", "A===", "AAAA=", "AAAA====", "AA==AA==", " AA==", "AA==\n", "A_A=", "é"):
        with pytest.raises(ValueError):
            decode_base64(bad)


# Checkpoints


def test_a_checkpoint_is_three_lines_and_extensions() -> None:
    root = hashlib.sha256(b"root").digest()
    checkpoint = Checkpoint("example.org/log", 7, root, ("an extension", "another — é"))
    encoded = base64.b64encode(root).decode()
    assert checkpoint.text == f"example.org/log\n7\n{encoded}\nan extension\nanother — é\n"
    assert Checkpoint.parse(checkpoint.text) == checkpoint
    for size in (0, 1, 9, 10, MAX_SIZE):
        assert Checkpoint.parse(Checkpoint("o", size, root).text).size == size
    assert Checkpoint.parse(parse(SUM_NOTE).text).origin == "go.sum database tree"


def test_a_number_has_one_spelling_and_fits_63_bits() -> None:
    assert [parse_decimal(str(value)) for value in (0, 1, 10, MAX_SIZE)] == [0, 1, 10, MAX_SIZE]
    for text in ("", "-0", "00", "01", "+1", " 1", "1\n", "1_0", "٣", str(MAX_SIZE + 1), "9" * 5000):
        with pytest.raises(ValueError, match="leading zeros"):
            parse_decimal(text)


ROOT_LINE = "SBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "o\n7\n",
        "o\n7\n" + ROOT_LINE[:-1],
        "\n7\n" + ROOT_LINE,
        "o" * 1025 + "\n7\n" + ROOT_LINE,
        "o\n\n" + ROOT_LINE,
        *(
            f"o\n{size}\n{ROOT_LINE}"
            for size in (
                "-1",
                "+1",
                "01",
                "00",
                " 1",
                "1 ",
                "1_0",
                "0x1",
                "1e3",
                "1.0",
                "٣",
                "²",
                "9223372036854775808",
            )
        ),
        "o\n" + "9" * 5000 + "\n" + ROOT_LINE,
        "o\n7\n\n",
        "o\n7\n" + ROOT_LINE.replace("I=", "J="),
        "o\n7\n" + ROOT_LINE.replace("=", ""),
        "o\n7\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "o\n7\n" + base64.b64encode(bytes(33)).decode() + "\n",
        "o\n7\n" + bytes(32).hex() + "\n",
        "o\n7\n" + ROOT_LINE + "\n",
        "o\n7\n" + ROOT_LINE + "extension",
        "o\n7\n" + ROOT_LINE + "extension\n\nextension\n",
        "o\r\n7\n" + ROOT_LINE,
        "o\n7\n" + ROOT_LINE + "a\ttab\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(VerificationError, match="checkpoint"):
        Checkpoint.parse(text)


@given(
    st.from_regex(r"[!-~é ]{1,20}", fullmatch=True),
    st.integers(0, MAX_SIZE),
    st.binary(min_size=32, max_size=32),
    st.lists(line_texts.filter(bool), max_size=3),
)
def test_every_checkpoint_has_one_text(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert Checkpoint.parse(checkpoint.text) == checkpoint


# Cosignatures

WITNESS = Identity("witness", bytes(range(32)))
KEY = WitnessKey("witness.example/w", WITNESS.public)
HEAD = Checkpoint("example.org/log", 7, hashlib.sha256(b"root").digest(), ("an extension",))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: Checkpoint("example.org/other", c.size, c.root, c.extensions),
        lambda c: Checkpoint(c.origin, 8, c.root, c.extensions),
        lambda c: Checkpoint(c.origin, c.size, bytes(32), c.extensions),
        lambda c: Checkpoint(c.origin, c.size, c.root),
        lambda c: Checkpoint(c.origin, c.size, c.root, ("An extension",)),
    ],
    ids=["origin", "size", "root", "no extension", "extension"],
)
def test_a_cosignature_is_on_the_whole_checkpoint(change: Callable[[Checkpoint], Checkpoint]) -> None:
    line = cosign(WITNESS, KEY.name, HEAD, 1000)
    KEY.verify(HEAD.text, line.signature)
    with pytest.raises(VerificationError):
        KEY.verify(change(HEAD).text, line.signature)


def test_a_cosignature_is_on_its_time_and_has_one() -> None:
    signature = cosign(WITNESS, KEY.name, HEAD, 1000).signature
    assert timestamp(signature) == 1000
    for seconds in (999, 1001, MAX_TIMESTAMP):
        with pytest.raises(VerificationError, match="does not verify"):
            KEY.verify(HEAD.text, seconds.to_bytes(8, "big") + signature[8:])
    for seconds in (0, MAX_TIMESTAMP + 1, 2**64 - 1):  # signed all the same
        signed = WITNESS.sign(f"cosignature/v1\ntime {seconds}\n{HEAD.text}".encode())
        with pytest.raises(VerificationError, match="timestamp"):
            KEY.verify(HEAD.text, seconds.to_bytes(8, "big") + signed)
    for seconds in (1, MAX_TIMESTAMP):
        KEY.verify(HEAD.text, cosign(WITNESS, KEY.name, HEAD, seconds).signature)
    for seconds in (-1, 0, MAX_TIMESTAMP + 1):
        with pytest.raises(ConfigError, match="timestamp"):
            cosign(WITNESS, KEY.name, HEAD, seconds)
    for changed in (signature[:-1], signature + b"\0", signature[8:], b""):
        with pytest.raises(VerificationError, match="72 bytes"):
            KEY.verify(HEAD.text, changed)


def test_a_cosignature_is_no_signature_and_a_signature_is_no_cosignature() -> None:
    plain = VerifierKey(KEY.name, WITNESS.public)
    cosigned, signed = cosign(WITNESS, KEY.name, HEAD, 1000), sign_text(WITNESS, KEY.name, HEAD.text)
    assert cosigned.key_id != signed.key_id
    both = Note(HEAD.text, (cosigned, signed))
    assert [key for key, _ in both.verify([plain])] == [plain]
    assert [key for key, _ in both.verify([KEY])] == [KEY]
    for key, signature in ((plain, cosigned.signature[8:]), (KEY, bytes(7) + b"\1" + signed.signature)):
        with pytest.raises(VerificationError):
            key.verify(HEAD.text, signature)


def test_a_witness_cosigns_nothing_but_checkpoints() -> None:
    text = "not a checkpoint\n"
    signature = (1000).to_bytes(8, "big") + WITNESS.sign(f"cosignature/v1\ntime 1000\n{text}".encode())
    with pytest.raises(VerificationError, match="checkpoint"):
        KEY.verify(text, signature)


# Heads as notes


def test_a_head_is_a_note_and_back() -> None:
    log, cosigner = Identity.generate("log"), cosign(WITNESS, KEY.name, Checkpoint("o/log", 0, EMPTY_ROOT), 9)
    head = SignedHead.sign(log, "o/log", 0, EMPTY_ROOT)
    note = Note.from_bytes(head.note(log.public, (cosigner,)).to_bytes())
    key = VerifierKey("o/log", log.public)
    assert [found for found, _ in note.verify([key, KEY])] == [key, KEY]
    assert SignedHead.from_note(note, key) == head


def test_a_note_of_another_log_or_with_extensions_is_no_head() -> None:
    log = Identity.generate("log")
    key = VerifierKey("o/log", log.public)
    for text, match in (
        (Checkpoint("o/other", 0, EMPTY_ROOT).text, "of log 'o/other'"),
        (Checkpoint("o/log", 0, EMPTY_ROOT, ("extension",)).text, "extension"),
        ("no checkpoint\n", "three lines"),
    ):
        with pytest.raises(VerificationError, match=match):
            SignedHead.from_note(Note(text, (sign_text(log, "o/log", text),)), key)
    good = SignedHead.sign(log, "o/log", 0, EMPTY_ROOT).note(log.public)
    with pytest.raises(VerificationError, match="known key"):
        SignedHead.from_note(good, VerifierKey("o/log", Identity.generate("other").public))
