"""From signed advertisements to a session: the step that clients, aggregator and auditor take in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from secure_agg import backends
from secure_agg.backends.contract import session_id
from secure_agg.errors import (
    DuplicateMessage,
    MalformedMessage,
    PolicyViolation,
    TooFewClients,
    UnknownSender,
)
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import EDGE, level
from secure_agg.protocol.evidence import CohortMember
from secure_agg.protocol.identity import Roster, is_id_order
from secure_agg.protocol.messages import ADVERTISE, Advertisement, Opening, Signature, SignedAdvertisement
from secure_agg.protocol.norm.checks import check_opening
from secure_agg.protocol.session import Participants, Session
from secure_agg.protocol.sparse.opening import open_partial, sparse_session_id
from secure_agg.protocol.sparse.roll import Neighbourhood
from secure_agg.protocol.sparse.wire import Roll
from secure_agg.protocol.tree.forest import planted
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES


def check_advertisement(config: RoundConfig, cohort: Roster, advertisement: SignedAdvertisement) -> Advertisement:
    """Check one client's advertisement and decode it.

    Raises:
        UnknownSender, BadSignature, MalformedMessage, BadKey: as they say; they name the client.
    """
    name = advertisement.name
    if name not in cohort:
        raise UnknownSender(f"{name!r} advertised but is not in the cohort", phase=ADVERTISE, culprit=name)
    body = advertisement.verify(config.context, cohort[name])
    if len(body.commitment_hash) != DIGEST_BYTES:
        raise MalformedMessage("a commitment hash is no digest", phase=ADVERTISE, culprit=name)
    backends.load(config.policy.backend).check_advertisement(name, body.backend)
    return body


def open_session(
    config: RoundConfig, cohort: Roster, advertisements: Sequence[SignedAdvertisement], setup: bytes = b""
) -> Session:
    """Check all advertisements of a round and compute its session id.

    Args:
        setup: the round's public material, which only a backend with operators that sign needs here; of an edge its
            forest.

    Raises:
        PolicyViolation: not in id order, each client once.
        TooFewClients: fewer than u_min or the quorum.
        DuplicateMessage: two clients advertise the same commitment hash.
        RemoteProtocolError: see ``check_advertisement``, and for an edge ``forest.planted``.
    """
    names = [advertisement.name for advertisement in advertisements]
    if not is_id_order(names):
        raise PolicyViolation("advertisements are not in id order, each client once", phase=ADVERTISE)
    least = least_advertised(config)
    if len(names) < least:
        raise TooFewClients(f"{len(names)} clients advertised, {least} are needed", phase=ADVERTISE)
    bodies = {item.name: check_advertisement(config, cohort, item) for item in advertisements}
    # Whoever copies another's hash could later copy the opening, and count that client's update twice. Which of the two
    # has copied nobody can tell, so none is named.
    owners: dict[bytes, str] = {}
    for name, body in bodies.items():
        if owners.setdefault(body.commitment_hash, name) != name:
            raise DuplicateMessage("two clients advertise the same commitment hash", phase=ADVERTISE)
    backend = backends.load(config.policy.backend)
    sid, near = own_session(config, cohort, advertisements)
    if level(config.policy) == EDGE:
        sid = planted(config, sid, setup)
    holders = backend.shares.share_holders(config, setup) if backend.shares else None
    return Session(
        config=config,
        sid=sid,
        members=tuple(names),
        keys={name: cohort[name] for name in names},
        commitment_hashes={name: body.commitment_hash for name, body in bodies.items()},
        parts={name: body.backend for name, body in bodies.items()},
        advertisements={item.name: item for item in advertisements},
        signers=holders.identities if holders else {},
        bases=holders.bases if holders else (),
        near=near,
    )


def least_advertised(config: RoundConfig) -> int:
    """Fewest clients that a session is opened with."""
    return max(config.policy.min_advertised, config.policy.quorum(config.cohort_size))


def own_session(
    config: RoundConfig, cohort: Roster, advertisements: Sequence[SignedAdvertisement]
) -> tuple[bytes, Neighbourhood | None]:
    """The session that advertisements alone make, and where clients choose their peers what it follows from."""
    backend = backends.load(config.policy.backend)
    if backend.is_sparse(config):
        near = Neighbourhood.of(cohort, advertisements)
        return sparse_session_id(config, near.roll), near
    return session_id(config, None if backend.shares else advertisements), None


def open_roll(config: RoundConfig, cohort: Roster, roll: Roll, forest: bytes = b"") -> Session:
    """The session of a client that sees its neighbours only, before it has seen any.

    Args:
        forest: of an edge.

    Raises:
        As ``open_session``, but for what it says of those that are not shown.
    """

    def sid_of(own: bytes) -> bytes:
        return planted(config, own, forest) if level(config.policy) == EDGE else own

    return open_partial(config, cohort, roll, sid_of, least=least_advertised(config))


def open_commitment(session: Session, name: str, commitment: bytes, nonce: bytes) -> Commitment:
    """Decode a revealed commitment and check that it is the one whose hash its owner signed before anything was fixed.

    Raises:
        UnknownSender: the owner did not advertise.
        BadCommitment: not canonical, or not what was hashed.
    """
    if name not in session.keys:
        raise UnknownSender(f"{name!r} opens a commitment but did not advertise", culprit=name)
    return backends.load(session.config.policy.backend).open_commitment(session, name, commitment, nonce)


def check_participants(
    config: RoundConfig,
    members: Sequence[CohortMember],
    advertisements: Sequence[SignedAdvertisement],
    openings: Sequence[Opening],
    agreement: Sequence[Signature],
    setup: bytes = b"",
    seen: Session | None = None,
) -> Participants:
    """Check everything public about who took part: what an auditor checks of a result, and a key holder before it.

    Args:
        seen: a session that the caller has opened itself. Where it is of these very advertisements they are not
            checked once more, nor is a quorum that was checked in it.

    Raises:
        ConfigError: an unfit id or key in the cohort.
        RemoteProtocolError, TooFewClients: whatever is not as it must be; names phase and culprit where known.
    """
    names = [member.name for member in members]
    if not is_id_order(names):
        raise PolicyViolation("the cohort is not in id order, each member once")
    cohort = Roster({member.name: member.public for member in members})
    if (len(cohort), cohort.root()) != (config.cohort_size, config.cohort_root):
        raise PolicyViolation("the cohort is not the one that the configuration names")
    if seen is not None and not setup and _is_of(seen, config, cohort, advertisements):
        session = seen
    else:
        session = open_session(config, cohort, advertisements, setup)

    names = [opening.name for opening in openings]
    if not is_id_order(names):
        raise PolicyViolation("the participants are not in id order, each once")
    rule = backends.load(config.policy.backend).agreement
    least = rule.least(session)
    if len(names) < least:
        raise TooFewClients(f"{len(names)} clients took part, {least} are needed")
    # Two equal commitments under different nonces pass as different hashes: only now it shows.
    commitments: dict[Commitment, str] = {}
    sketches = []
    for opening in openings:
        opened = open_commitment(session, opening.name, opening.commitment, opening.nonce)
        if (sketch := check_opening(session, opening)) is not None:
            sketches.append(sketch)
        if commitments.setdefault(opened, opening.name) != opening.name:
            raise DuplicateMessage("two participants have the same commitment")

    statement = rule.statement(session, {opening.name: opening.commitment for opening in openings})
    rule.check_statement(session, statement)
    agreed = rule.agreed(session, statement)
    signatures = tuple(agreement)
    session.once("quorum", (agreed.message, signatures), lambda: rule.check_quorum(session, agreed, signatures))
    return Participants(session, tuple(openings), tuple(commitments), agreed.root, tuple(sketches))


def _is_of(seen: Session, config: RoundConfig, cohort: Roster, advertisements: Sequence[SignedAdvertisement]) -> bool:
    """Whether ``open_session`` has made this session of the same, signatures included; not asked of one that follows
    from anything besides, or that was opened without seeing everybody.
    """
    return (
        seen.near is None
        and not seen.signers
        and not seen.bases
        and level(config.policy) != EDGE
        and seen.config == config
        and [seen.advertisements.get(name) for name in seen.members] == list(advertisements)
        and seen.keys == {name: cohort.get(name) for name in seen.members}
    )
