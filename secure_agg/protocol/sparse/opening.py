"""A session from its roll alone, to which advertisements are added as they are shown."""

from __future__ import annotations

import functools
from collections.abc import Callable

from secure_agg.errors import ConfigError, MalformedMessage, TooFewClients, VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import CohortMember
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import ADVERTISE, decode, encode, public_limit
from secure_agg.protocol.session import Session
from secure_agg.protocol.sparse.roll import Neighbourhood
from secure_agg.protocol.sparse.wire import Roll, Shown, SparseExhibit
from zk.transcript import DIGEST_BYTES, digest


def sparse_session_id(config: RoundConfig, roll: Roll) -> bytes:
    """sid: of who advertised, as bits and as what they have signed."""
    return digest("sparse-session", config.context, roll.present, roll.root)


def open_partial(
    config: RoundConfig, cohort: Roster, roll: Roll, sid_of: Callable[[bytes], bytes] = bytes, *, least: int
) -> Session:
    """The session of a roll. It knows who is in it, and of nobody what they have advertised: see ``learn``.

    Args:
        sid_of: makes of the roll's session what the round's is.
        least: fewest who have to be there.

    Raises:
        MalformedMessage: no roll of this cohort.
        TooFewClients: fewer bits are set.
    """
    if len(roll.root) != DIGEST_BYTES:
        raise MalformedMessage("the root of a roll is no digest", phase=ADVERTISE)
    near = Neighbourhood.called(cohort, roll)
    members = near.members(roll.present, phase=ADVERTISE)
    if len(members) < least:
        raise TooFewClients(f"{len(members)} clients advertised, {least} are needed", phase=ADVERTISE)
    return Session(
        config=config,
        sid=sid_of(sparse_session_id(config, roll)),
        members=members,
        keys={name: cohort[name] for name in members},
        commitment_hashes={},
        parts={},
        advertisements={},
        signers={},
        near=near,
    )


def learn(session: Session, shown: Shown, *, phase: str) -> tuple[str, ...]:
    """Take in advertisements that were shown.

    Returns:
        Whose they are.

    Raises:
        LocalProtocolError: the session is one of whole lists.
        RemoteProtocolError: they are not the session's, malformed, or not signed by whom they are said to be of.
    """
    items = session.neighbourhood.read(shown, phase=phase)
    found = [session.once("advertised", item, functools.partial(session.advertised, item)) for item in items]
    for item, body in zip(items, found, strict=True):
        session.add(item.name, item, body)
    return tuple(item.name for item in items)


def exhibit(session: Session, shown: Shown) -> bytes:
    """A session for whoever was not in it."""
    near = session.neighbourhood
    members = tuple(CohortMember(name, key) for name, key in near.cohort.items())
    return encode(SparseExhibit(members, near.roll, shown))


def read_exhibit(config: RoundConfig, data: bytes) -> Session:
    """The session that an exhibit is of, with what is shown of it.

    Raises:
        VerificationError: the cohort is not the configured one.
        RemoteProtocolError: it is no session of it.
    """
    found = decode(SparseExhibit, data, public_limit(config.cohort_size))
    try:
        cohort = Roster({item.name: item.public for item in found.cohort})
    except ConfigError as error:
        raise VerificationError(str(error)) from error
    if [item.name for item in found.cohort] != list(cohort):
        raise VerificationError("the cohort is not in id order, each member once")
    if (len(cohort), cohort.root()) != (config.cohort_size, config.cohort_root):
        raise VerificationError("the cohort is not the configured one")
    session = open_partial(config, cohort, found.roll, least=0)
    learn(session, found.shown, phase=ADVERTISE)
    return session
