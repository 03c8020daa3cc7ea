"""X25519 pairs, confirmations and sealed channels: published vectors, and everything that must be refused."""

from __future__ import annotations

import pytest

from mpc import keys
from mpc.keys import KeyAgreementError, KeyPair, confirmation, confirms, mask_key, seal, unseal

FIELD = 2**255 - 19
TOP = 2**255
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = [0, 1, FIELD - 1, *ORDER_8]
OTHER_SPELLINGS = [FIELD, FIELD + 1, 2 * FIELD - 1, 2 * FIELD, 2 * FIELD + 1, *(FIELD + u for u in ORDER_8)]
SHARED, SESSION = bytes(range(32)), b"\x07" * 32
ALICE = KeyPair.from_secret(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
BOB = KeyPair.from_secret(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))


def sealed(message: bytes = b"forty-two bytes of a Shamir share, or so..") -> bytes:
    return seal(SHARED, SESSION, b"a", b"b", message, b"bound")


# --- agreement ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scalar", "point", "product"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (  # its point has the unused top bit set in the RFC, which we refuse; cleared, it is the same point
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a413",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_scalar_multiplication_gives_the_rfc_7748_vectors(scalar: str, point: str, product: str) -> None:
    """Section 5.2."""
    assert KeyPair.from_secret(bytes.fromhex(scalar)).shared_secret(bytes.fromhex(point)).hex() == product


def test_public_keys_are_those_of_rfc_7748() -> None:
    """Section 6.1."""
    assert ALICE.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert BOB.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"


def test_both_ends_agree_on_the_secret_of_rfc_7748() -> None:
    expected = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert ALICE.shared_secret(BOB.public).hex() == BOB.shared_secret(ALICE.public).hex() == expected


@pytest.mark.parametrize("u", [*LOW_ORDER, *OTHER_SPELLINGS, *(TOP + u for u in LOW_ORDER)])
def test_points_of_low_order_are_refused_in_every_spelling(u: int) -> None:
    with pytest.raises(KeyAgreementError):
        ALICE.shared_secret(u.to_bytes(32, "little"))


@pytest.mark.parametrize("u", range(FIELD, TOP))
def test_keys_that_are_not_reduced_are_refused(u: int) -> None:
    with pytest.raises(KeyAgreementError, match="not reduced"):
        keys.check_public(u.to_bytes(32, "little"))


def test_a_key_with_the_unused_bit_set_is_refused() -> None:
    u = int.from_bytes(BOB.public, "little") | TOP
    with pytest.raises(KeyAgreementError, match="not reduced"):
        ALICE.shared_secret(u.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 15, 17])
def test_keys_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(KeyAgreementError, match=f"not {length}"):
        keys.check_public(BOB.public.ljust(33, b"\0")[:length])


def test_ones_own_key_reflected_is_refused() -> None:
    with pytest.raises(KeyAgreementError, match="reflected"):
        ALICE.shared_secret(ALICE.public)


def test_repr_hides_the_secret() -> None:
    assert "secret" not in repr(ALICE)
    assert repr(ALICE.secret) not in repr(ALICE)


# --- confirmation and mask keys -----------------------------------------------------------------------------


def test_a_confirmation_convinces_the_other_end() -> None:
    assert confirms(SHARED, SESSION, b"a", b"b", confirmation(SHARED, SESSION, b"a", b"b"))


@pytest.mark.parametrize(
    ("shared", "session", "sender", "recipient"),
    [
        (SHARED, SESSION, b"b", b"a"),
        (SHARED, SESSION, b"c", b"b"),
        (SHARED, SESSION, b"a", b"c"),
        (SHARED, b"\x08" * 32, b"a", b"b"),
        (SHARED[::-1], SESSION, b"a", b"b"),
    ],
    ids=["direction", "sender", "recipient", "session", "secret"],
)
def test_a_confirmation_fits_nothing_else(shared: bytes, session: bytes, sender: bytes, recipient: bytes) -> None:
    assert not confirms(SHARED, SESSION, b"a", b"b", confirmation(shared, session, sender, recipient))


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_confirmation_of_another_length_does_not_confirm(length: int) -> None:
    shown = (confirmation(SHARED, SESSION, b"a", b"b") + b"\0")[:length]
    assert not confirms(SHARED, SESSION, b"a", b"b", shown)


def test_both_ends_derive_one_mask_key() -> None:
    assert mask_key(SHARED, SESSION, b"a", b"b") == mask_key(SHARED, SESSION, b"b", b"a")


def test_sessions_and_peers_separate_mask_keys() -> None:
    derived = {
        mask_key(SHARED, SESSION, b"a", b"b"),
        mask_key(SHARED, SESSION, b"a", b"c"),
        mask_key(SHARED, b"\x08" * 32, b"a", b"b"),
        confirmation(SHARED, SESSION, b"a", b"b"),
    }
    assert len(derived) == 4


# --- sealed messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [b"", b"x", bytes(1000)])
def test_a_sealed_message_opens(message: bytes) -> None:
    assert unseal(SHARED, SESSION, b"a", b"b", sealed(message), b"bound") == message


def test_sealing_adds_16_bytes() -> None:
    assert len(sealed(bytes(100))) == 100 + keys.SEAL_OVERHEAD


def test_an_altered_byte_anywhere_is_noticed() -> None:
    for position in range(len(sealed())):
        altered = bytearray(sealed())
        altered[position] ^= 1 << (position % 8)
        with pytest.raises(KeyAgreementError, match="does not open"):
            unseal(SHARED, SESSION, b"a", b"b", bytes(altered), b"bound")


@pytest.mark.parametrize("length", [0, 1, 15, 16, 57])
def test_a_truncated_message_is_noticed(length: int) -> None:
    with pytest.raises(KeyAgreementError):
        unseal(SHARED, SESSION, b"a", b"b", sealed()[:length], b"bound")


@pytest.mark.parametrize(
    ("shared", "session", "sender", "recipient", "bound"),
    [
        (SHARED[::-1], SESSION, b"a", b"b", (b"bound",)),
        (SHARED, b"\x08" * 32, b"a", b"b", (b"bound",)),
        (SHARED, SESSION, b"b", b"a", (b"bound",)),
        (SHARED, SESSION, b"a", b"c", (b"bound",)),
        (SHARED, SESSION, b"c", b"b", (b"bound",)),
        (SHARED, SESSION, b"a", b"b", ()),
        (SHARED, SESSION, b"a", b"b", (b"boun", b"d")),
        (SHARED, SESSION, b"a", b"b", (b"bound", b"")),
    ],
    ids=["secret", "session", "direction", "recipient", "sender", "unbound", "bound-split", "bound-more"],
)
def test_a_sealed_message_opens_nowhere_else(
    shared: bytes, session: bytes, sender: bytes, recipient: bytes, bound: tuple[bytes, ...]
) -> None:
    with pytest.raises(KeyAgreementError, match="does not open"):
        unseal(shared, session, sender, recipient, sealed(), *bound)
