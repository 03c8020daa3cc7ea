"""Identities, key files and rosters: published vectors, and what must never be pinned."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import unicodedata
from pathlib import Path

import pytest
from conformance import independent_verifier, make_vectors
from hypothesis import given
from hypothesis import strategies as st

from mpc.framing import frame
from secure_agg.errors import BadSignature, ConfigError
from secure_agg.protocol.id_characters import UNICODE, is_id_character
from secure_agg.protocol.identity import (
    Identity,
    KeyDirectory,
    Member,
    Roster,
    by_id,
    check_id,
    check_public_key,
    in_id_order,
    is_id_order,
    verify_signature,
)
from zk import merkle

FIELD = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
ORDER_8_Y = (
    2707385501144840649318225287225658788936804267575313519463743609750303402022,
    55188659117513257062467267217118295137698188065244968500265048394206261417927,
)
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
FITTING_IDS = ["a", "x" * 128, "clinic-a", "Kliník Süd", "病院", "../../etc/passwd", "a b", "🏥", "é" * 64]
UNFIT_IDS = ["", "x" * 129, "é" * 65, "a\n", "\x00", "a\x7fb", "a\u200bb", "e\u0301", "A\u030a", "\ud800"]


def key(number: int) -> bytes:
    return Identity("anybody", bytes([number]) * 32).public


def roster(*names: str) -> Roster:
    return Roster({name: key(i + 1) for i, name in enumerate(names)})


def many(size: int) -> Roster:
    return Roster({f"c{i:03}": Identity("x", i.to_bytes(32, "big")).public for i in range(size)})


# --- ids and keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITTING_IDS)
def test_names_in_any_script_can_be_ids(name: str) -> None:
    assert check_id(name) == name


@pytest.mark.parametrize("name", UNFIT_IDS)
def test_empty_long_invisible_and_ambiguous_names_can_not(name: str) -> None:
    with pytest.raises(ConfigError):
        check_id(name)


def test_ids_are_of_one_version_of_unicode_whatever_python_s_own_is() -> None:
    """The product, the verifier that was written from the specification alone, and the table that this names agree."""
    assert (
        json.loads((make_vectors.DIRECTORY / make_vectors.ID_VECTORS).read_text("utf-8")) == make_vectors.id_vectors()
    )
    given = make_vectors.id_vectors()
    for name in given["accepted"]:
        assert check_id(name) == name
        independent_verifier.check_id(name)
    for name in given["refused"]:
        with pytest.raises(ConfigError):
            check_id(name)
        with pytest.raises(ValueError, match="an id"):
            independent_verifier.check_id(name)


def test_the_table_of_ids_is_unicode_s_own() -> None:
    """Where Python's version is the table's, all of it; else that none of its characters has become another."""
    for point in range(0x110000):
        mine, category = is_id_character(chr(point)), unicodedata.category(chr(point))
        if unicodedata.unidata_version == UNICODE:
            assert mine == (category[0] != "C"), hex(point)
        elif mine:
            assert category != "Cn", hex(point)


@pytest.mark.parametrize("name", [None, 7, b"a"])
def test_an_id_is_text(name: object) -> None:
    with pytest.raises(ConfigError, match="string"):
        check_id(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("y", [0, 1, FIELD - 1, *ORDER_8_Y])
def test_keys_of_small_order_are_refused(y: int, sign: int) -> None:
    with pytest.raises(ConfigError, match="small order"):
        check_public_key((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("y", range(FIELD, 2**255))
def test_keys_that_are_not_reduced_are_refused(y: int, sign: int) -> None:
    with pytest.raises(ConfigError, match="not canonical"):
        check_public_key((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [2, 7, 8, 11])
def test_keys_off_the_curve_are_refused(y: int) -> None:
    with pytest.raises(ConfigError):
        check_public_key(y.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(ConfigError, match=f"not {length}"):
        check_public_key(bytes(length))


@given(st.binary(min_size=32, max_size=32))
def test_every_generated_key_can_be_pinned(seed: bytes) -> None:
    public = Identity("a", seed).public
    assert check_public_key(public) == public


# --- signatures ---------------------------------------------------------------------------------------------


def test_a_signature_is_that_of_rfc_8032() -> None:
    """Section 7.1, test 1."""
    identity = Identity("a", RFC_SEED)
    assert identity.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert identity.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_a_signature_verifies() -> None:
    identity = Identity("a", RFC_SEED)
    verify_signature(identity.public, identity.sign(b"message"), b"message", phase="p", culprit="a")


def test_a_signature_of_another_message_key_or_length_names_phase_and_culprit() -> None:
    """Also where the right one was found good before."""
    identity = Identity("a", RFC_SEED)
    signature = identity.sign(b"message")
    verify_signature(identity.public, signature, b"message", phase="p", culprit="a")
    for public, shown, message in (
        (identity.public, signature, b"Message"),
        (key(1), signature, b"message"),
        (identity.public, signature[:63], b"message"),
        (identity.public, signature + b"\0", b"message"),
        (identity.public, b"", b"message"),
        (identity.public[:31], signature, b"message"),
    ):
        with pytest.raises(BadSignature) as caught:
            verify_signature(public, shown, message, phase="p", culprit="a")
        assert (caught.value.phase, caught.value.culprit) == ("p", "a")


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    """S + L satisfies the equation; only S below L is canonical."""
    identity = Identity("a", RFC_SEED)
    signature = identity.sign(b"message")
    other = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    with pytest.raises(BadSignature):
        verify_signature(
            identity.public, signature[:32] + other.to_bytes(32, "little"), b"message", phase="p", culprit="a"
        )


def test_generated_identities_differ() -> None:
    assert Identity.generate("a").public != Identity.generate("a").public


def test_an_identity_comes_from_the_entropy_it_is_given() -> None:
    assert Identity.generate("a", entropy=lambda size: bytes([5]) * size).public == key(5)


def test_repr_hides_the_seed() -> None:
    shown = repr(Identity("a", RFC_SEED))
    assert "9d61b19d" not in shown
    assert "d75a9801" in shown


# --- key files ----------------------------------------------------------------------------------------------


def test_a_saved_identity_comes_back(tmp_path: Path) -> None:
    Identity("a", RFC_SEED).save(tmp_path / "key")
    loaded = Identity.load("a", tmp_path / "key")
    assert loaded.sign(b"message") == Identity("a", RFC_SEED).sign(b"message")


def test_a_key_file_is_the_owners_alone(tmp_path: Path) -> None:
    Identity("a", RFC_SEED).save(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_saving_leaves_nothing_but_the_key(tmp_path: Path) -> None:
    Identity("a", RFC_SEED).save(tmp_path / "key")
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    Identity("a", RFC_SEED).save(tmp_path / "key")
    with pytest.raises(FileExistsError):
        Identity("a", bytes(32)).save(tmp_path / "key")
    assert Identity.load("a", tmp_path / "key").public == Identity("a", RFC_SEED).public
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o620, 0o666])
def test_a_key_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    Identity("a", RFC_SEED).save(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        Identity.load("a", tmp_path / "key")


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "0G" + "00" * 31, "AA" * 32, "00 " * 32])
def test_what_is_no_key_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        Identity.load("a", tmp_path / "key")


def test_a_binary_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff" * 32)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        Identity.load("a", tmp_path / "key")


def test_a_key_directory_keeps_its_keys(tmp_path: Path) -> None:
    first = KeyDirectory(tmp_path / "keys").get("client", "a")
    again = KeyDirectory(tmp_path / "keys").get("client", "a")
    assert first.public == again.public
    assert again.name == "a"


def test_a_key_directory_keeps_roles_and_names_apart(tmp_path: Path) -> None:
    keys = KeyDirectory(tmp_path / "keys")
    chosen = [keys.get("client", "a"), keys.get("aggregator", "a"), keys.get("client", "b")]
    assert len({identity.public for identity in chosen}) == 3


def test_a_key_directory_is_the_owners_alone(tmp_path: Path) -> None:
    directory = KeyDirectory(tmp_path / "deep" / "keys")
    assert list(tmp_path.iterdir()) == []  # looking for a key makes nothing
    directory.get("client", "a")
    assert stat.S_IMODE((tmp_path / "deep" / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", FITTING_IDS)
def test_every_id_is_a_file_of_the_key_directory(tmp_path: Path, name: str) -> None:
    KeyDirectory(tmp_path / "keys").get("client", name)
    assert len(os.listdir(tmp_path / "keys")) == 1


# --- rosters ------------------------------------------------------------------------------------------------


def test_a_roster_is_in_the_order_of_utf_8_bytes() -> None:
    names = ["b", "a", "B", "é", "z", "\uffee", "🏥", "aa"]
    assert list(roster(*names)) == sorted(names, key=str.encode)


def test_the_order_in_which_members_are_given_does_not_matter() -> None:
    keys = {name: key(i + 1) for i, name in enumerate("abc")}
    assert Roster(keys).root() == Roster(dict(reversed(keys.items()))).root()


def test_the_root_is_the_tree_hash_of_the_framed_members() -> None:
    members = roster("a", "b", "c")
    leaves = [frame("member", name.encode(), members[name]) for name in ("a", "b", "c")]
    assert members.root() == merkle.root(leaves)
    assert Member("a", members["a"]).encode() == leaves[0]


def test_the_root_changes_with_every_id_and_key() -> None:
    roots = {
        roster("a", "b", "c").root(),
        roster("a", "b").root(),
        roster("a", "b", "d").root(),
        roster("b", "a", "c").root(),
        Roster({"a": key(1), "b": key(2), "c": key(9)}).root(),
        Roster({}).root(),
    }
    assert len(roots) == 6


def test_the_digest_covers_the_size() -> None:
    assert roster("a").digest() != roster("a").root()
    assert roster("a").digest() != Roster({}).digest()


def test_one_key_under_two_ids_is_refused_and_both_are_named() -> None:
    with pytest.raises(ConfigError, match="'a' and 'c'"):
        Roster({"a": key(1), "b": key(2), "c": key(1)})


@pytest.mark.parametrize("name", [name for name in UNFIT_IDS if name != "\ud800"])
def test_a_roster_takes_no_unfit_id(name: str) -> None:
    with pytest.raises(ConfigError):
        Roster({"a": key(1), name: key(2)})


def test_a_roster_takes_no_lone_surrogate() -> None:
    with pytest.raises(ConfigError):
        Roster({"\ud800": key(1)})


def test_a_roster_takes_no_unfit_key() -> None:
    with pytest.raises(ConfigError, match="small order"):
        Roster({"a": bytes(32)})


def test_a_roster_is_a_mapping() -> None:
    members = roster("a", "b")
    assert members == {"a": key(1), "b": key(2)}
    assert "c" not in members


def test_a_rosters_repr_is_short() -> None:
    assert repr(many(100)).startswith("Roster(100 members, root=")


# --- cohorts ------------------------------------------------------------------------------------------------


def test_one_beacon_draws_one_cohort() -> None:
    assert many(50).sample(10, b"beacon").root() == many(50).sample(10, b"beacon").root()


def test_another_beacon_draws_another() -> None:
    assert many(50).sample(10, b"beacon").root() != many(50).sample(10, b"Beacon").root()


@pytest.mark.parametrize("size", [1, 10, 49, 50])
def test_a_cohort_has_the_size_asked_for_and_is_a_part_of_the_roster(size: int) -> None:
    drawn = many(50).sample(size, b"beacon")
    assert len(drawn) == size
    assert drawn.items() <= many(50).items()


def test_a_cohort_is_the_first_members_by_hash() -> None:
    ranked = sorted(many(50), key=lambda name: hashlib.sha256(frame("cohort", b"beacon", name.encode())).digest())
    assert set(many(50).sample(10, b"beacon")) == set(ranked[:10])


def test_a_smaller_cohort_of_one_beacon_is_inside_the_larger() -> None:
    assert set(many(50).sample(10, b"beacon")) < set(many(50).sample(20, b"beacon"))


@pytest.mark.parametrize("size", [-1, 0, 51])
def test_a_cohort_that_the_roster_does_not_have_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"cohort of {size}"):
        many(50).sample(size, b"beacon")


def test_ids_are_in_the_order_of_their_utf_8_bytes_each_once() -> None:
    ordered = ["Zoe", "ann", "bob", "bob2", "é", "\U0001f600"]
    assert in_id_order(reversed(ordered)) == sorted(ordered, key=str.encode) == ordered
    assert list(Roster({name: Identity.generate(name).public for name in reversed(ordered)})) == ordered
    assert [party.name for party in by_id([Identity.generate(name) for name in reversed(ordered)])] == ordered
    assert is_id_order(ordered)
    assert is_id_order(())
    assert not is_id_order(["ann", "ann"])
    assert not is_id_order(["bob", "ann"])
