"""How a client reads what all of a session are shown, or in a sparse one what it is shown alone: who is in it, which
set is put to the vote, who has signed that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from secure_agg.errors import MalformedMessage, PolicyViolation
from secure_agg.protocol.agreement import AgreedSet, Agreement, leaf
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import EDGE, level
from secure_agg.protocol.identity import SIGNATURE_BYTES, Roster
from secure_agg.protocol.messages import (
    ADVERTISE,
    AdvertisementList,
    Agreed,
    Rooted,
    Signature,
    Statement,
    StatementEntry,
    decode,
)
from secure_agg.protocol.session import Session
from secure_agg.protocol.sparse.opening import learn
from secure_agg.protocol.sparse.roll import split_hashes
from secure_agg.protocol.sparse.wire import Countersigned, RollCall, ShownSet, SmallerSet
from secure_agg.roles.client.shared import SharedChecks
from secure_agg.roles.participants import open_roll, open_session
from zk import merkle


def read_first(
    config: RoundConfig, cohort: Roster, body: bytes, limit: int, shared: SharedChecks | None, *, sparse: bool
) -> tuple[bytes, bytes, Session]:
    """The request in which the participants are fixed: an edge's forest, the backend's part, the session.

    Args:
        limit: most bytes.
        sparse: whether a client sees its neighbours only.

    Raises:
        RemoteProtocolError, TooFewClients: see ``open_session``.
    """

    def rooted(part: bytes) -> tuple[bytes, bytes]:
        if level(config.policy) != EDGE:
            return b"", part
        found = decode(Rooted, part, limit, phase=ADVERTISE)
        return found.forest, found.backend

    def once(of: tuple[bytes, ...], opened: Callable[[], tuple[bytes, bytes, Session]]) -> tuple[bytes, bytes, Session]:
        return opened() if shared is None else shared.once("session", (config.context, *of), opened)

    def whole() -> tuple[bytes, bytes, Session]:
        found = decode(AdvertisementList, body, limit, phase=ADVERTISE)
        forest, part = rooted(found.backend)
        return forest, part, open_session(config, cohort, found.advertisements, forest)

    if not sparse:
        return once((hashlib.sha256(body).digest(),), whole)
    call = decode(RollCall, body, limit, phase=ADVERTISE)
    forest, part = rooted(call.backend)
    roll = call.roll
    opened = once(
        (roll.present, roll.root, forest, part), lambda: (forest, part, open_roll(config, cohort, roll, forest))
    )
    learn(opened[2], call.own, phase=ADVERTISE)
    return opened


def read_set(
    session: Session, agreement: Agreement, body: bytes, own: StatementEntry, limit: int, *, phase: str
) -> tuple[AgreedSet, Statement | None]:
    """The set that is put to the vote, and the list of its entries where that is shown.

    Args:
        own: this client's entry, as it has to be.

    Raises:
        PolicyViolation: that one is missing or another.
        RemoteProtocolError, TooFewClients: it is no set, or too small.
    """
    if session.near is not None:
        shown = decode(ShownSet, body, limit, phase=phase)
        names = session.near.members(shown.members, phase=phase)
        agreement.check_names(session, names)
        return read_own_entry(session, agreement, names, shown.root, shown.path, own, phase=phase), None

    def checked() -> tuple[AgreedSet, Statement]:
        statement = decode(Statement, body, limit, phase=phase)
        agreement.check_statement(session, statement)
        return agreement.agreed(session, statement), statement

    agreed, statement = session.once("set", hashlib.sha256(body).digest(), checked)
    if own not in statement.entries:
        raise PolicyViolation("this client's own entry in the set is missing or wrong", phase=phase)
    return agreed, statement


def read_own_entry(
    session: Session,
    agreement: Agreement,
    names: tuple[str, ...],
    root: bytes,
    path: bytes,
    own: StatementEntry,
    *,
    phase: str,
) -> AgreedSet:
    """A set of which a client is shown the root, and that its own entry is under it.

    Raises:
        PolicyViolation: it is not.
        MalformedMessage: no root, or no path.
    """
    if own.name not in names:
        raise PolicyViolation("this client's own entry in the set is missing", phase=phase)
    hashes = split_hashes(path, phase=phase)
    try:
        merkle.verify_inclusion(merkle.leaf_hash(leaf(own)), names.index(own.name), len(names), hashes, root)
    except merkle.MerkleError as error:
        raise PolicyViolation(f"this client's own entry is not shown to be in the set: {error}", phase=phase) from error
    return agreement.sign_over(session, names, root)


def read_smaller(
    session: Session, agreement: Agreement, body: bytes, own: StatementEntry, limit: int, *, phase: str
) -> tuple[bytes, Callable[[tuple[str, ...]], AgreedSet]]:
    """In a sparse session, what a client is shown of the set without those who are taken out of it.

    Returns:
        The backend's part, and what makes the set of those who that leaves.
    """
    shown = decode(SmallerSet, body, limit, phase=phase)

    def smaller(names: tuple[str, ...]) -> AgreedSet:
        agreement.check_names(session, names)
        return read_own_entry(session, agreement, names, shown.root, shown.path, own, phase=phase)

    return shown.backend, smaller


def read_signatures(session: Session, body: bytes, limit: int, *, phase: str) -> tuple[tuple[Signature, ...], bytes]:
    """A request after the set was signed: the signatures, and the backend's part.

    Raises:
        MalformedMessage: it is none.
    """
    if session.near is None:
        agreed = decode(Agreed, body, limit, phase=phase)
        return agreed.signatures, agreed.backend
    signed = decode(Countersigned, body, limit, phase=phase)
    names, data, size = session.near.members(signed.signers, phase=phase), signed.signatures, SIGNATURE_BYTES
    if len(data) != len(names) * size:
        raise MalformedMessage(f"{len(data)} bytes are not {len(names)} signatures", phase=phase)
    found = (Signature(name, data[i * size : (i + 1) * size]) for i, name in enumerate(names))
    return tuple(found), signed.backend
