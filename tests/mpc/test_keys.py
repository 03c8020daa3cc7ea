"""X25519 pairs, confirmations and sealed channels: published vectors, and everything that must be refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mpc import keys
from mpc.keys import KeyAgreementError, KeyPair, confirmation, confirms, mask_key, seal, unseal
from mpc.keystream import derive_key

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
    """Section 5.2; what is handed on is bound to both public keys."""
    pair, peer = KeyPair.from_secret(bytes.fromhex(scalar)), bytes.fromhex(point)
    bound = derive_key(bytes.fromhex(product), "key-agreement", *sorted((pair.public, peer)))
    assert pair.shared_secret(peer) == bound


def test_public_keys_are_those_of_rfc_7748() -> None:
    """Section 6.1."""
    assert ALICE.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert BOB.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"


def test_both_ends_agree_on_the_secret_of_rfc_7748() -> None:
    raw = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    bound = derive_key(raw, "key-agreement", ALICE.public, BOB.public)
    assert ALICE.public < BOB.public
    assert ALICE.shared_secret(BOB.public) == BOB.shared_secret(ALICE.public) == bound


def test_what_both_ends_derive_is_known() -> None:
    """Known answers: RFC 7748's keys, and everything that is derived from their agreement."""
    shared = ALICE.shared_secret(BOB.public)
    assert shared.hex() == "db69492605e727ba2d3115e3b50f3231e335ca73aefa6e1805aa6d3a1495d7b9"
    assert confirmation(shared, SESSION, b"a", b"b").hex() == "aa26de269e8d94c0ba708a885d9227af"
    assert (
        mask_key(shared, SESSION, b"a", b"b").hex()
        == "2e4adb3e4ccceb4285e6f5056133b7225895ed574e0f5514a2a875aee8200533"
    )
    assert seal(shared, SESSION, b"a", b"b", b"share").hex() == "199fc14c924d919a596156f317ca8c4d233fbeb283"


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


def root(square: int) -> int | None:
    """A square root modulo 2^255 - 19."""
    found = pow(square, (FIELD + 3) // 8, FIELD)
    for candidate in (found, found * pow(2, (FIELD - 1) // 4, FIELD) % FIELD):
        if candidate * candidate % FIELD == square % FIELD:
            return candidate
    return None


def height(u: int) -> int | None:
    """A v with v^2 = u^3 + 486662 u^2 + u."""
    return root(u * (u * u + 486_662 * u + 1))


def shifted(public: bytes) -> list[bytes]:
    """The other public keys with the same raw agreements: the point plus each point of low order on the curve."""
    u = int.from_bytes(public, "little")
    v = height(u)
    assert v is not None, "a key on the twist"
    found = {pow(u, -1, FIELD)}  # the point of order 2, (0, 0)
    for low in LOW_ORDER[1:]:
        top = height(low)
        for sign in () if top is None else (top, -top):
            slope = (v - sign) * pow(u - low, -1, FIELD)
            found.add((slope * slope - 486_662 - u - low) % FIELD)
    return [x.to_bytes(32, "little") for x in sorted(found)]


def test_keys_that_differ_by_torsion_agree_on_nothing() -> None:
    """Raw X25519 gives one secret for all eight; so did every key derived from it, when the ids were the same."""
    carol = KeyPair.from_secret(b"\x21" * 32)
    twins = shifted(BOB.public)
    assert len(twins) == 7
    secrets = [carol.shared_secret(key) for key in (BOB.public, *twins)]
    raw = {
        X25519PrivateKey.from_private_bytes(carol.secret).exchange(X25519PublicKey.from_public_bytes(key))
        for key in (BOB.public, *twins)
    }
    assert len(raw) == 1
    assert len(set(secrets)) == 8
    honest = BOB.shared_secret(carol.public)
    for key, shared in zip(twins, secrets[1:], strict=True):
        keys.check_public(key)
        assert not confirms(shared, SESSION, b"b", b"c", confirmation(honest, SESSION, b"b", b"c"))
        assert mask_key(shared, SESSION, b"b", b"c") != mask_key(honest, SESSION, b"b", b"c")
        with pytest.raises(KeyAgreementError):
            unseal(shared, SESSION, b"b", b"c", seal(honest, SESSION, b"b", b"c", b"share"))


def test_ones_own_key_shifted_gives_nothing_that_its_owner_uses() -> None:
    """A reflected key that the comparison with one's own does not find."""
    for key in shifted(BOB.public):
        peer = ALICE.shared_secret(BOB.public)
        assert len({peer, BOB.shared_secret(key), ALICE.shared_secret(key)}) == 3


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
