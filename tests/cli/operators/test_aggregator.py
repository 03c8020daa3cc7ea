"""``secure-agg aggregator``: the keys it makes are served from, under the pins; the rest it refuses."""

from __future__ import annotations

import getpass
import stat
import sys
from pathlib import Path

import pytest
from support.commands import Run, running

from secure_agg.cli.terminal import exits
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import OperatorCard
from secure_agg.transport.share_holders import aggregator_set, build_share_holder

pytestmark = pytest.mark.usefixtures("quick_scrypt")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``secure-agg aggregator`` in this process."""
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")  # the command sets it for its own process, which here is the tests'

    return running(capsys, "aggregator")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A file with a passphrase."""
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text("a passphrase\n")
    return path


def test_init_makes_encrypted_keys_and_a_card_for_the_pinned_identity(run: Run, tmp_path: Path, words: Path) -> None:
    out = tmp_path / "keys"
    made = run("init", "aggregator-1", "--out", out, "--passphrase-file", words, "--json")
    assert made.code == exits.OK
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert stat.S_IMODE((out / "operator.key").stat().st_mode) == 0o600
    pinned = Roster({"aggregator-1": bytes.fromhex(made.document["public"])})
    keys = keyfile.load(Path(made.document["keys"]), "a passphrase")
    card = OperatorCard.load(Path(made.document["card"]))
    card.check(pinned)
    assert keys.channel is not None
    assert [member.channel for member in aggregator_set([card], pinned).members] == [keys.channel.public]
    role = build_share_holder(keys, Trust(operators=pinned), AttemptStore())
    assert role.identity.public == pinned["aggregator-1"]


def test_people_read_what_to_pin_and_no_secret(run: Run, tmp_path: Path, words: Path) -> None:
    text = run("init", "aggregator-1", "--out", tmp_path / "keys", "--passphrase-file", words)
    keys = keyfile.load(tmp_path / "keys" / "operator.key", "a passphrase")
    for shown in (keys.identity.public.hex(), "to be pinned", str(tmp_path / "keys" / "operator.card")):
        assert shown in text.out
    for secret in (keys.seed.hex(), "a passphrase"):
        assert secret not in text.out


def test_new_keys_can_be_made_for_an_identity_that_is_pinned(run: Run, tmp_path: Path, words: Path) -> None:
    identity = Identity.generate("aggregator-1")
    identity.save(tmp_path / "identity")
    given = ("init", "aggregator-1", "--identity", tmp_path / "identity", "--passphrase-file", words, "--json")
    first, second = (run(*given, "--out", tmp_path / name).document for name in ("first", "second"))
    assert first["public"] == second["public"] == identity.public.hex()
    cards = [OperatorCard.load(Path(document["card"])) for document in (first, second)]
    for card in cards:
        card.check(Roster({"aggregator-1": identity.public}))
    assert cards[0].certificate != cards[1].certificate
    assert cards[0].channel != cards[1].channel


def test_a_coordinator_has_no_channel_key(run: Run, tmp_path: Path, words: Path) -> None:
    made = run("init", "aggregator", "--coordinator", "--out", tmp_path / "keys", "--passphrase-file", words, "--json")
    assert OperatorCard.load(Path(made.document["card"])).channel == b""
    assert keyfile.load(Path(made.document["keys"]), "a passphrase").channel is None


def test_without_a_file_the_passphrase_is_asked_for_twice(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["one", "one", "one", "another", ""])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda _: next(typed))
    assert run("init", "aggregator-1", "--out", tmp_path / "keys").code == exits.OK
    assert keyfile.load(tmp_path / "keys" / "operator.key", "one").name == "aggregator-1"
    assert "the passphrases differ" in run("init", "aggregator-1", "--out", tmp_path / "other").err
    assert "1 to 1024 bytes" in run("init", "aggregator-1", "--out", tmp_path / "other").err
    assert not (tmp_path / "other").exists()


def test_init_refuses_and_writes_nothing(run: Run, tmp_path: Path, words: Path) -> None:
    (tmp_path / "there").mkdir()
    Identity.generate("aggregator-1").save(tmp_path / "identity")
    (tmp_path / "open").write_text((tmp_path / "identity").read_text())
    (tmp_path / "open").chmod(0o644)
    out, word = ("--out", tmp_path / "new"), ("--passphrase-file", words)
    for arguments, said in (
        (("a\nb", *out, *word), "control character"),
        (("aggregator-1", "--out", tmp_path / "there", *word), "never overwritten"),
        (("aggregator-1", *out), "no terminal to ask for a passphrase: use --passphrase-file"),
        (("aggregator-1", *out, *word, "--identity", tmp_path / "open"), "accessible to others"),
        (("aggregator-1", *out, *word, "--identity", words), "64 hexadecimal digits"),
    ):
        refused = run("init", *arguments)
        assert (refused.code, refused.out) == (exits.USAGE, "")
        assert said in refused.err
        assert not (tmp_path / "new").exists()


def test_serve_refuses_what_its_pins_forbid(run: Run, tmp_path: Path, words: Path) -> None:
    word = ("--passphrase-file", words)
    made = {}
    for name in ("aggregator-1", "aggregator", "mallory"):
        given = ("init", name, "--out", tmp_path / name, *word, "--json", *["--coordinator"] * (name == "aggregator"))
        made[name] = bytes.fromhex(run(*given).document["public"])
    mallory = made.pop("mallory")
    own, coordinator = (tmp_path / name / "operator.card" for name in ("aggregator-1", "aggregator"))
    Trust(operators=Roster(made)).save(tmp_path / "trust")
    Trust(operators=Roster(made | {"aggregator-1": mallory})).save(tmp_path / "other")
    (tmp_path / "wrong").touch(0o600)
    (tmp_path / "wrong").write_text("wrong\n")
    pins, peer = ("--trust", tmp_path / "trust"), ("--coordinator", coordinator)
    listen = ("--listen", "127.0.0.1:0")
    good = tmp_path / "aggregator-1"
    for code, arguments, said in (
        (exits.USAGE, (good, *pins, "--coordinator", own, *listen, *word), "own card"),
        (exits.USAGE, (good, "--trust", tmp_path / "other", *peer, *listen, *word), "not the pinned operator"),
        (exits.USAGE, (good, *pins, "--coordinator", words, *listen, *word), "no operator's card"),
        (exits.USAGE, (tmp_path / "aggregator", *pins, *peer, *listen, *word), "own card"),
        (exits.USAGE, (good, *pins, *peer, *listen, "--passphrase-file", tmp_path / "wrong"), "does not open"),
        (exits.USAGE, (good, *pins, *peer, "--listen", "somewhere", *word), "HOST:PORT"),
        (exits.USAGE, (good, *pins, *peer, *listen, *word, "--max-message", 1), "limit"),
        (exits.USAGE, (good, *pins, *peer, *listen), "no terminal to ask for a passphrase"),
        (
            exits.PROTOCOL_ABORT,
            (good, *pins, "--coordinator", tmp_path / "mallory" / "operator.card", *listen, *word),
            "no pinned operator",
        ),
    ):
        refused = run("serve", *arguments)
        assert (refused.code, refused.out) == (code, "")
        assert said in refused.err


def test_without_a_channel_key_nobody_holds_shares(run: Run, tmp_path: Path, words: Path) -> None:
    public = {}
    for name in ("aggregator", "aggregator-1"):
        given = ("init", name, "--coordinator", "--out", tmp_path / name, "--passphrase-file", words, "--json")
        public[name] = bytes.fromhex(run(*given).document["public"])
    Trust(operators=Roster(public)).save(tmp_path / "trust")
    refused = run(
        "serve",
        *(tmp_path / "aggregator-1", "--trust", tmp_path / "trust", "--passphrase-file", words),
        *("--coordinator", tmp_path / "aggregator" / "operator.card", "--listen", "127.0.0.1:0"),
    )
    assert refused.code == exits.USAGE
    assert "have no channel key" in refused.err
