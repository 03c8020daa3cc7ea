"""The masking backend's messages, and the hashes in them. Participants are named by their index in U."""

from __future__ import annotations

from typing import Final

from mpc import keys
from mpc.keys import KeyAgreementError
from mpc.shamir import SHARE_BYTES
from secure_agg.errors import BadKey, MalformedMessage
from secure_agg.protocol.evidence import CohortMember
from secure_agg.protocol.messages import ADVERTISE, Wire
from secure_agg.protocol.sparse.wire import Shown
from zk.transcript import DIGEST_BYTES, digest

SEALED_BYTES: Final = 2 * SHARE_BYTES + keys.SEAL_OVERHEAD
MASK_KEY: Final = "mask-key"
SELF_SEED: Final = "self-seed"


def join_part(channel: bytes, mask: bytes) -> bytes:
    """The public part of an advertisement: channel key, mask key."""
    return channel + mask


def split_part(name: str, part: bytes) -> tuple[bytes, bytes]:
    """Channel key and mask key of an advertisement.

    Raises:
        MalformedMessage: not 64 bytes.
        BadKey: not canonical, of low order, or twice the same.
    """
    if len(part) != 2 * keys.PUBLIC_BYTES:
        raise MalformedMessage(f"{len(part)} bytes of public keys, not 64", phase=ADVERTISE, culprit=name)
    channel, mask = part[: keys.PUBLIC_BYTES], part[keys.PUBLIC_BYTES :]
    try:
        keys.check_public(channel)
        keys.check_public(mask)
    except KeyAgreementError as error:
        raise BadKey(str(error), phase=ADVERTISE, culprit=name) from error
    if channel == mask:
        raise BadKey("channel key and mask key are the same", phase=ADVERTISE, culprit=name)
    return channel, mask


class Choice(Wire, frozen=True):
    """Phase choose-peers, to everybody: the neighbours a client chose, in increasing order."""

    peers: tuple[int, ...]


class SignedChoice(Wire, frozen=True):
    """A choice as it is relayed to those chosen."""

    chooser: int
    body: bytes
    signature: bytes


class Choosers(Wire, frozen=True):
    """Phase share-keys, request where clients choose: who chose this client, and what they and those whom it has chosen
    have advertised.
    """

    choices: tuple[SignedChoice, ...]
    shown: Shown


class Edge(Wire, frozen=True):
    """One end of an edge: what a client sends to ``peer``; relayed with the sender's index in its place.

    Attributes:
        confirmation: shows that the sender computed the same shared secret.
        sealed: the peer's shares of the sender's mask key and seed, encrypted to it; empty where the sender
            did not choose the peer.
        mask_hash: of the share of the mask key; empty likewise.
        seed_hash: of the share of the seed; empty likewise.
    """

    peer: int
    confirmation: bytes
    sealed: bytes
    mask_hash: bytes
    seed_hash: bytes


class KeyShares(Wire, frozen=True):
    """Phase share-keys, response. ``own_hash`` is of the client's own share of its seed; empty on a sparse graph."""

    edges: tuple[Edge, ...]
    own_hash: bytes


class Edges(Wire, frozen=True):
    """Phase masked-input, request: what the peers sent to this client."""

    edges: tuple[Edge, ...]


class MaskedPart(Wire, frozen=True):
    """Phase masked-input, response: the seed's hash, and the edges whose masks went into the vector."""

    seed_hash: bytes
    active: tuple[int, ...]


class ReleasedShare(Wire, frozen=True):
    """A share of one dealer: of its seed if it is in S, of its mask key if not. Which one is not said, so
    both can't be.
    """

    dealer: int
    share: bytes


class Released(Wire, frozen=True):
    """Phase unmask, response."""

    shares: tuple[ReleasedShare, ...]


class Confirmed(Wire, frozen=True):
    """Phase confirm-edges, response, where inputs are screened: the peers whose confirmation is right, and whose shares
    are. In the request of masked-input: those of them who have said the same of this client.
    """

    peers: tuple[int, ...]


class ScreenedInput(Wire, frozen=True, gc=False):
    """An accepted input: D("screened-input", C_i, SHA-256 of the masked vector)."""

    client: int
    value: bytes


class Screening(Wire, frozen=True):
    """Phase screen, request: all accepted inputs, in order. The challenge is drawn from their root."""

    inputs: tuple[ScreenedInput, ...]


class Report(Wire, frozen=True):
    """Phases screen and screen-sketches, response, to everybody: what the challenge's functionals say of a client's
    masks.

    Attributes:
        root: of the accepted inputs; in the latter of these and the sum that has failed.
        seed_hash: of the self mask's seed, as with the input.
        peers: whose masks are in the input.
        values: five residues of the self mask, and of each peer's mask in order, before its sign.
    """

    root: bytes
    seed_hash: bytes
    peers: tuple[int, ...]
    values: bytes


class SignedReport(Wire, frozen=True):
    """A report as it is relayed."""

    client: int
    body: bytes
    signature: bytes


class Disputes(Wire, frozen=True):
    """Phases dispute and dispute-sketches, request: the reports of the peers that say something else of a mask than
    this client.
    """

    reports: tuple[SignedReport, ...]


class OpenedMask(Wire, frozen=True):
    """The secret that a client's mask with a peer follows from."""

    peer: int
    secret: bytes


class Openings(Wire, frozen=True):
    """Phases dispute and dispute-sketches, response."""

    masks: tuple[OpenedMask, ...]


class ShownInput(Wire, frozen=True, gc=False):
    """What an accepted input was known by.

    Attributes:
        client: its index.
        commitment: C_i.
        vector: SHA-256 of the masked vector.
        sketch: C'_i.
        proof: SHA-256 of its norm proof.
    """

    client: int
    commitment: bytes
    vector: bytes
    sketch: bytes
    proof: bytes


class FailedSum(Wire, frozen=True):
    """Phase screen-sketches, request: the opened sum of the inputs of S, whose sketch is not what they committed to.

    Attributes:
        inputs: of S, in order.
        total: X ‖ T ‖ T', 4 bytes each.
    """

    inputs: tuple[ShownInput, ...]
    total: bytes


class ScreenedRelease(Wire, frozen=True):
    """Phase unmask, response where inputs are screened: also this client's masks with peers that are not in S."""

    shares: tuple[ReleasedShare, ...]
    masks: tuple[OpenedMask, ...]


class DealtShares(Wire, frozen=True):
    """Shares of one secret that their dealer has signed the hashes of, by their holders, in increasing order."""

    holders: tuple[int, ...]
    shares: bytes


class Charge(Wire, frozen=True):
    """What is proved of one client within its session: see ``faults``."""

    kind: str
    culprit: int
    exhibits: tuple[bytes, ...]


class Charges(Wire, frozen=True):
    """Phase excise, request, in order of the culprits."""

    items: tuple[Charge, ...]


class ShownCharges(Wire, frozen=True):
    """The same where clients choose their peers: with what is advertised by those whom the charges are about."""

    items: tuple[Charge, ...]
    shown: Shown


class Cohort(Wire, frozen=True):
    """Everybody who could have taken part, in id order: an exhibit."""

    members: tuple[CohortMember, ...]


class Excised(Wire, frozen=True):
    """Phase excise, response: this client's masks with those who are charged, and its shares of their mask keys."""

    masks: tuple[OpenedMask, ...]
    shares: tuple[ReleasedShare, ...]


def share_hash(sid: bytes, kind: str, dealer: str, holder: str, share: bytes) -> bytes:
    """The hash by which a dealer vouches for a share."""
    return digest("share", sid, kind.encode(), dealer.encode(), holder.encode(), share)


def seed_hash(sid: bytes, owner: str, seed: bytes) -> bytes:
    """The hash by which a rebuilt seed is checked."""
    return digest("self-mask-seed", sid, owner.encode(), seed)


def check_edge_sizes(edge: Edge, chosen: bool, *, phase: str, culprit: str) -> None:
    """Refuse an edge whose fields have impossible lengths.

    Raises:
        MalformedMessage: names the sender.
    """
    sizes = (len(edge.confirmation), len(edge.sealed), len(edge.mask_hash), len(edge.seed_hash))
    digests = DIGEST_BYTES if chosen else 0
    if sizes != (keys.CONFIRMATION_BYTES, SEALED_BYTES if chosen else 0, digests, digests):
        raise MalformedMessage(f"an edge has fields of {sizes} bytes", phase=phase, culprit=culprit)
