"""What a client of a sparse session is sent: bits for who, hashes for whatever it does not have to see."""

from __future__ import annotations

from secure_agg.protocol.evidence import CohortMember
from secure_agg.protocol.messages import Wire


class Roll(Wire, frozen=True):
    """Who advertised.

    Attributes:
        present: a bit for each position in the cohort, lowest bits of the first byte first.
        root: of the tree over all positions: each one's SignedAdvertisement, or nothing.
    """

    present: bytes
    root: bytes


class ShownAdvertisement(Wire, frozen=True, gc=False):
    """A SignedAdvertisement by its sender's position in the cohort."""

    position: int
    body: bytes
    signature: bytes


class Shown(Wire, frozen=True):
    """Some advertisements.

    Attributes:
        advertisements: in order of positions.
        path: what leads from their leaves to the roll's root, 32 bytes each: see ``merkle.subset_proof``.
    """

    advertisements: tuple[ShownAdvertisement, ...]
    path: bytes


class RollCall(Wire, frozen=True):
    """First request after *advertise*: who is there, the recipient's own advertisement, and the backend's own part."""

    roll: Roll
    own: Shown
    backend: bytes


class ShownSet(Wire, frozen=True):
    """Phase *consistency*, request: the set.

    Attributes:
        members: a bit for each position.
        root: over the set's entries, in order.
        path: of the recipient's own entry, 32 bytes each.
    """

    members: bytes
    root: bytes
    path: bytes


class Countersigned(Wire, frozen=True):
    """A request after the set was signed.

    Attributes:
        signers: a bit for each position.
        signatures: theirs, 64 bytes each, in order.
        backend: the backend's part.
    """

    signers: bytes
    signatures: bytes
    backend: bytes


class SmallerSet(Wire, frozen=True):
    """Stands in ``Countersigned.backend`` where somebody is taken out of the set: of what is left the root and the path
    of the recipient's own entry, as in ``ShownSet``, and the backend's own part.
    """

    root: bytes
    path: bytes
    backend: bytes


class SparseExhibit(Wire, frozen=True):
    """A session for whoever was not in it: its cohort, its roll, and the advertisements that matter."""

    cohort: tuple[CohortMember, ...]
    roll: Roll
    shown: Shown
