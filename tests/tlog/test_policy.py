"""Witness policies: the file of C2SP tlog-policy, and which checkpoints pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records.logs import sign_text

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.protocol.identity import Identity
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, cosign
from secure_agg.tlog.note import Note, SignatureLine, VerifierKey
from secure_agg.tlog.policy import CLOCK_TOLERANCE, MAX_POLICY, Group, WitnessPolicy

NOW = 1_700_000_000
LOG = Identity("log", bytes(range(32)))
LOG_KEY = VerifierKey("example.org/log", LOG.public)
NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")
WITNESSES = {name: Identity(name, bytes([i + 1]) * 32) for i, name in enumerate(NAMES)}
KEYS = {name: WitnessKey(f"witness.example/{name}", identity.public) for name, identity in WITNESSES.items()}
CHECKPOINT = Checkpoint(LOG_KEY.name, 7, hashlib.sha256(b"root").digest())
LOG_LINE = sign_text(LOG, LOG_KEY.name, CHECKPOINT.text)


def line(name: str, checkpoint: Checkpoint = CHECKPOINT, seconds: int = NOW) -> SignatureLine:
    return cosign(WITNESSES[name], KEYS[name].name, checkpoint, seconds)


def note(*witnesses: str) -> Note:
    """The checkpoint, signed by the log and by witnesses."""
    return Note(CHECKPOINT.text, (LOG_LINE, *map(line, witnesses)))


def passing(policy: WitnessPolicy, names: Iterable[str] = NAMES) -> set[frozenset[str]]:
    """The sets of witnesses that a policy is content with."""
    result = set()
    for count in range(len(tuple(names)) + 1):
        for chosen in combinations(names, count):
            try:
                found = policy.verify(note(*chosen), LOG_KEY, now=NOW)
            except VerificationError:
                continue
            assert found.witnesses == dict.fromkeys(chosen, NOW)
            result.add(frozenset(chosen))
    return result


# The example of the specification

EXAMPLE = f"""\
log {LOG_KEY}

witness X1 {KEYS["X1"]}
witness X2 {KEYS["X2"]}
witness X3 {KEYS["X3"]}
group X-witnesses 2 X1 X2 X3

witness Y1 {KEYS["Y1"]}
witness Y2 {KEYS["Y2"]}
witness Y3 {KEYS["Y3"]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def test_the_example_is_read_as_the_specification_explains_it() -> None:
    policy = WitnessPolicy.parse(EXAMPLE.encode())
    assert policy.logs == (LOG_KEY,)
    assert policy.witnesses == KEYS
    assert policy.groups == {
        "X-witnesses": Group(2, ("X1", "X2", "X3")),
        "Y-witnesses": Group(1, ("Y1", "Y2", "Y3")),
        "X-and-Y": Group(2, ("X-witnesses", "Y-witnesses")),
    }
    assert passing(policy) == {
        frozenset(chosen)
        for count in range(7)
        for chosen in combinations(NAMES, count)
        if len({"X1", "X2", "X3"} & set(chosen)) >= 2 and {"Y1", "Y2", "Y3"} & set(chosen)
    }


def test_a_witness_can_be_the_quorum_and_none_asks_for_nobody() -> None:
    lines = "".join(f"witness {name} {key}\n" for name, key in KEYS.items())
    one = WitnessPolicy.parse(f"{lines}quorum Y2\n".encode())
    assert passing(one, ("Y1", "Y2", "Y3")) == {frozenset({"Y2", *more}) for more in ([], ["Y1"], ["Y3"], ["Y1", "Y3"])}
    nobody = WitnessPolicy.parse(b"quorum none\n")
    assert nobody == WitnessPolicy()
    assert nobody.verify(note("X1"), LOG_KEY, now=NOW).witnesses == {}


@pytest.mark.parametrize("quorum", range(5))
def test_k_of_n_is_content_with_any_k(quorum: int) -> None:
    chosen = NAMES[:4]
    policy = WitnessPolicy.k_of_n(quorum, [KEYS[name] for name in chosen], [LOG_KEY])
    for count in range(5):
        checked = note(*chosen[:count], "Y3")  # a witness that is not listed does not count
        if count >= quorum:
            assert policy.verify(checked, now=NOW).witnesses == {KEYS[name].name: NOW for name in chosen[:count]}
        else:
            with pytest.raises(VerificationError, match="not the quorum"):
                policy.verify(checked, now=NOW)


def test_k_of_n_refuses_what_can_not_be() -> None:
    keys = list(KEYS.values())
    for quorum in (-1, 7):
        with pytest.raises(ConfigError, match="6 witnesses"):
            WitnessPolicy.k_of_n(quorum, keys)
    with pytest.raises(ConfigError, match="public key of another"):
        WitnessPolicy.k_of_n(1, [keys[0], WitnessKey("another.name", keys[0].public)])
    with pytest.raises(ConfigError, match="is taken"):
        WitnessPolicy.k_of_n(1, [keys[0], WitnessKey(keys[0].name, keys[1].public)])
    with pytest.raises(ConfigError, match="public key of another"):
        WitnessPolicy.k_of_n(0, [], [LOG_KEY, VerifierKey("another/log", LOG_KEY.public)])
    named_like_the_group = [WitnessKey(name, KEYS["X1"].public) for name in ("quorum",)]
    assert WitnessPolicy.k_of_n(1, named_like_the_group).quorum == "quorum-0"


# The file


def test_blank_lines_comments_tabs_urls_and_order_do_not_matter() -> None:
    text = (
        f"# a comment \N{GRINNING FACE}\n\t # another\n\n  \t\n witness\tX1 \t{KEYS['X1']}   https://x.example/ü \n"
        f"group g any X1\nquorum \t g \n log {LOG_KEY} https://log.example/\n#\n"
    )
    policy = WitnessPolicy.parse(text.encode())
    assert (policy.logs, dict(policy.witnesses), policy.quorum) == ((LOG_KEY,), {"X1": KEYS["X1"]}, "g")


def test_names_are_octets() -> None:
    """«K» and the Kelvin sign are two names, and a name need not be UTF-8."""
    names = [b"K", b"\xe2\x84\xaa", b"\xff\xfe", b"any", b"2", b"#"]
    lines = [b"witness %s %s\n" % (n, str(k).encode()) for n, k in zip(names, KEYS.values(), strict=True)]
    policy = WitnessPolicy.parse(b"".join(lines) + b"group all all %s\nquorum all\n" % b" ".join(names))
    assert policy.groups["all"].threshold == 6
    assert len(policy.witnesses) == 6
    with pytest.raises(ConfigError, match="line 2"):
        WitnessPolicy.parse(lines[0] + b"quorum \xe2\x84\xaa\n")


W1, W2 = (f"witness {name} {KEYS[name]}\n" for name in ("X1", "X2"))
Q = "quorum none\n"


@pytest.mark.parametrize(
    ("text", "number", "message"),
    [
        ("", None, "no quorum line"),
        (W1, None, "no quorum line"),
        ("# quorum none\n", None, "no quorum line"),
        (Q[:-1], 1, "newline"),
        (W1 + "quorum X1", 2, "newline"),
        (Q + Q, 2, "second quorum"),
        ("Quorum none\n", 1, "'Quorum' is not one of"),
        ("quorum\n", 1, "form"),
        ("quorum none none\n", 1, "form"),
        ("quorum nobody\n", 1, "'nobody' is defined"),
        ("quorum X1\n" + W1, 1, "'X1' is defined"),
        (Q + "\rlog x\n", 2, "0x0d"),
        (Q + "log\0x\n", 2, "0x00"),
        (Q + "# \x7f\n", 2, "0x7f"),
        (Q + "# \x1b[31m\n", 2, "0x1b"),
        (Q + "log\n", 2, "form"),
        (Q + f"log {LOG_KEY} url more\n", 2, "form"),
        (Q + "log nonsense\n", 2, "verifier key"),
        (Q + f"log {KEYS['X1']}\n", 2, "type 0x04"),
        (Q + f"log {LOG_KEY}\nlog {LOG_KEY}\n", 3, "public key of another log"),
        (Q + f"log {LOG_KEY}\nlog {VerifierKey('another/log', LOG_KEY.public)}\n", 3, "public key of another log"),
        (W1 + W1 + Q, 2, "taken"),
        (W1 + W1.replace("X1", "other", 1) + Q, 2, "public key of another witness"),
        (W1 + W2.replace("X2", "X1", 1) + Q, 2, "taken"),
        ("witness X1\n" + Q, 1, "form"),
        (f"witness {KEYS['X1']}\n" + Q, 1, "form"),
        (f"witness X1 {LOG_KEY}\n" + Q, 1, "type 0x01"),
        (f"witness X1 {KEYS['X1']} url more\n" + Q, 1, "form"),
        (W1.replace("X1", "none", 1) + Q, 1, "taken"),
        (W1 + "group none any X1\n" + Q, 2, "taken"),
        (W1 + "group X1 any X1\n" + Q, 2, "taken"),
        (W1 + "group g any\n" + Q, 2, "form"),
        (W1 + "group g\n" + Q, 2, "form"),
        (W1 + "group g any none\n" + Q, 2, "member of a group"),
        (W1 + "group g any X2\n" + W2 + Q, 2, "'X2' is defined"),
        (W1 + "group g any g\n" + Q, 2, "'g' is defined"),
        (W1 + W2 + "group g any X1 X1\n" + Q, 3, "twice"),
        (W1 + W2 + "group g any X1\ngroup h any X1 X2\n" + Q, 4, "twice"),
        (W1 + "group g any X1\ngroup h any g\ngroup i any g\n" + Q, 4, "twice"),
        *(
            (W1 + W2 + f"group g {k} X1 X2\n" + Q, 3, "threshold|number")
            for k in ("0", "3", "-1", "01", "+1", "1.0", "1_0", "ALL", "٢", "9" * 40)
        ),
        (Q + f"log {LOG_KEY}\u00a0url\n", 2, "base64"),
        ("#" * (MAX_POLICY + 1), None, "at most"),
    ],
)
def test_a_malformed_policy_is_refused_with_the_line(text: str, number: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        WitnessPolicy.parse(text.encode())
    assert str(caught.value).startswith("policy, line ") == (number is not None)
    assert number is None or str(caught.value).startswith(f"policy, line {number}:")


@given(st.binary(max_size=200) | st.text("lgqwu none#\n\tX12", max_size=200).map(str.encode))
def test_any_bytes_are_a_policy_or_refused(data: bytes) -> None:
    try:
        policy = WitnessPolicy.parse(data)
    except ConfigError:
        return
    assert policy.quorum == "none"


def test_a_chain_of_a_thousand_groups_is_evaluated() -> None:
    groups = "".join(f"group g{i + 1} any g{i}\n" for i in range(1000))
    policy = WitnessPolicy.parse(f"{W1}group g0 all X1\n{groups}quorum g1000\n".encode())
    policy.verify(note("X1"), LOG_KEY, now=NOW)
    with pytest.raises(VerificationError, match="'g1000'"):
        policy.verify(note("X2"), LOG_KEY, now=NOW)


def test_thirty_two_of_everything_are_read() -> None:
    """The specification's recommendation."""
    identities = [Identity("x", bytes([i + 1]) * 32) for i in range(64)]
    logs = "".join(f"log {VerifierKey(f'log{i}', identities[i].public)}\n" for i in range(32))
    lines = "".join(f"witness w{i} {WitnessKey(f'w{i}', identities[32 + i].public)}\n" for i in range(32))
    groups = "".join(f"group g{i} any w{i}\n" for i in range(31))
    every = " ".join(f"g{i}" for i in range(31))
    policy = WitnessPolicy.parse(f"{logs}{lines}{groups}group g31 all {every} w31\nquorum g31\n".encode())
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == (32, 32, 32)


def test_a_file_is_read_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text(EXAMPLE)
    assert WitnessPolicy.load(tmp_path / "policy") == WitnessPolicy.parse(EXAMPLE.encode())
    with pytest.raises(ConfigError, match="can't be read"):
        WitnessPolicy.load(tmp_path / "missing")
    (tmp_path / "large").write_bytes(b"#" * (MAX_POLICY + 100))
    with pytest.raises(ConfigError, match="at most"):
        WitnessPolicy.load(tmp_path / "large")


# Checkpoints


def test_the_log_has_to_have_signed_whoever_cosigned() -> None:
    everybody = tuple(map(line, NAMES))
    policy = WitnessPolicy.parse(EXAMPLE.encode())
    for lines in (everybody, (SignatureLine(LOG_KEY.name, bytes(4), bytes(64)), *everybody)):
        with pytest.raises(VerificationError, match="not signed by the pinned log key"):
            policy.verify(Note(CHECKPOINT.text, lines), now=NOW)
    with pytest.raises(VerificationError, match="does not verify"):
        policy.verify(Note(CHECKPOINT.text, (LOG_KEY.line(bytes(64)), *everybody)), now=NOW)


def test_one_witness_counts_once() -> None:
    policy = WitnessPolicy.k_of_n(2, list(KEYS.values()))
    several = [line("X1", seconds=NOW - i) for i in range(5)]
    with pytest.raises(VerificationError, match=r"cosigned by witness\.example/X1 of 6"):
        policy.verify(Note(CHECKPOINT.text, (LOG_LINE, *several)), LOG_KEY, now=NOW)
    for order in (several, several[::-1]):
        found = policy.verify(Note(CHECKPOINT.text, (*order, line("X2"), LOG_LINE)), LOG_KEY, now=NOW)
        assert found.witnesses == {KEYS["X1"].name: NOW, KEYS["X2"].name: NOW}


def test_a_witness_under_another_name_does_not_count() -> None:
    """Neither do its signatures as an ordinary key, and the log's as a witness."""
    policy = WitnessPolicy.k_of_n(1, list(KEYS.values()))
    for stranger in (
        cosign(WITNESSES["X1"], "another.example", CHECKPOINT, NOW),
        sign_text(WITNESSES["X1"], KEYS["X1"].name, CHECKPOINT.text),
        cosign(LOG, LOG_KEY.name, CHECKPOINT, NOW),
    ):
        with pytest.raises(VerificationError, match="cosigned by none of 6"):
            policy.verify(Note(CHECKPOINT.text, (LOG_LINE, stranger)), LOG_KEY, now=NOW)


def test_a_bad_cosignature_of_a_known_witness_spoils_the_checkpoint() -> None:
    policy = WitnessPolicy.k_of_n(1, list(KEYS.values()))
    fork = Checkpoint(CHECKPOINT.origin, CHECKPOINT.size, bytes(32))
    for bad in (line("X2", fork), KEYS["X2"].line(bytes(72)), KEYS["X2"].line(bytes(64))):
        with pytest.raises(VerificationError):
            policy.verify(Note(CHECKPOINT.text, (LOG_LINE, line("X1"), bad)), LOG_KEY, now=NOW)


def test_a_cosignature_of_the_future_does_not_count() -> None:
    policy = WitnessPolicy.k_of_n(1, list(KEYS.values()))
    for ahead, counts in ((0, True), (CLOCK_TOLERANCE, True), (CLOCK_TOLERANCE + 1, False), (2**62, False)):
        ahead_of_us = Note(CHECKPOINT.text, (LOG_LINE, line("X1", seconds=NOW + ahead)))
        if counts:
            assert policy.verify(ahead_of_us, LOG_KEY, now=NOW).witnesses == {KEYS["X1"].name: NOW + ahead}
        else:
            with pytest.raises(VerificationError, match="cosigned by none"):
                policy.verify(ahead_of_us, LOG_KEY, now=NOW)
    old = Note(CHECKPOINT.text, (LOG_LINE, line("X1", seconds=1)))
    assert policy.verify(old, LOG_KEY).witnesses == {KEYS["X1"].name: 1}


def test_a_checkpoint_is_of_a_log_that_is_listed_and_of_the_one_that_is_meant() -> None:
    other = Identity.generate("other")
    other_key = VerifierKey("example.org/other", other.public)
    two = WitnessPolicy((LOG_KEY, other_key))
    second = Checkpoint(other_key.name, 7, CHECKPOINT.root)
    of_other = Note(second.text, (sign_text(other, other_key.name, second.text),))
    assert two.verify(note()).checkpoint == CHECKPOINT
    assert two.verify(of_other).checkpoint == two.verify(of_other, other_key).checkpoint == second
    with pytest.raises(VerificationError, match=r"'example\.org/other', not 'example\.org/log'"):
        two.verify(of_other, LOG_KEY)
    with pytest.raises(VerificationError, match="does not list"):
        WitnessPolicy((LOG_KEY,)).verify(of_other, other_key)
    with pytest.raises(VerificationError, match="does not list"):
        WitnessPolicy((LOG_KEY,)).verify(note(), VerifierKey(LOG_KEY.name, other.public))
    with pytest.raises(ConfigError, match="lists no log"):
        WitnessPolicy().verify(note())
    with pytest.raises(VerificationError):  # a log that signs under the name of another
        two.verify(Note(CHECKPOINT.text, (sign_text(other, other_key.name, CHECKPOINT.text),)))
    with pytest.raises(VerificationError, match="three lines"):
        two.verify(Note("text\n", (LOG_LINE,)))
