"""How a federation is changed from its homes: somebody proposes, owners approve, the server's nodes close.

A proposal is a file that everybody adds signatures to, in any order: copies are merged. What an owner approves is the
digest of all that the epoch says, so whoever carries the file can change nothing in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secure_agg import files
from secure_agg.errors import ConfigError, PolicyViolation, VerificationError
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.epoch.evidence import MAX_EVIDENCE
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import Signature
from secure_agg.roles.epochs import acts, checking
from secure_agg.roles.epochs.change import Change, new_keys
from secure_agg.roles.epochs.pins import authority
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust


@dataclass(frozen=True)
class Approval:
    """What one party has done with a proposal.

    Attributes:
        proposal: with its signatures.
        authorised: whether it has authorised the epoch.
        accepted: whether it has accepted it for a new key.
    """

    proposal: EpochEvidence
    authorised: bool
    accepted: bool


def propose(trust: Trust, task: str, change: Change) -> EpochEvidence:
    """A proposal without signatures.

    Args:
        trust: what is in force, of anybody's home or ledger.

    Raises:
        ConfigError: the change can't be.
    """
    return EpochEvidence(body=change.body(trust, task).to_bytes())


def approve(home: ClientHome, proposal: EpochEvidence, trust: Trust | None = None) -> Approval:
    """Approve a proposal as the owner of a node's home, who has looked at what it changes.

    It is authorised, if members' owners do that; the home will follow it even where it is below its floor; and if a key
    waits in the home that it is to be rotated to, the epoch is accepted for that.

    Args:
        trust: what is in force, where the node was away and has not followed yet; by default as far as it has come.

    Raises:
        VerificationError, ConfigError: it can't follow the epoch that is in force here.
        AlreadyReleased: this owner has authorised another.
    """
    with home.locked():
        waiting = home.next_identity
        keys = [home.identity, *([waiting] if waiting is not None else [])]
        approval = sign(home.store, keys, trust or home.trust, proposal)
        home.epochs.approve(proposal.says)
    return approval


def sign(store: AttemptStore, keys: Sequence[Identity], trust: Trust, proposal: EpochEvidence) -> Approval:
    """Add what these keys of one party have to sign: as an authority, and as new ones.

    Args:
        store: durable, of the party's own.
        trust: what is in force.

    Raises:
        PolicyViolation: none of them is asked for anything.
        VerificationError, ConfigError, AlreadyReleased: see ``approve``.
    """
    body = proposal.says
    voters, _ = authority(trust, body.task)
    wanted = new_keys(trust, body)
    authorised = [acts.authorise(store, key, trust, body) for key in keys if voters.get(key.name) == key.public]
    accepted = [acts.accept(key, trust, body) for key in keys if wanted.get(key.name) == key.public]
    by_hand = any(trust.task(body.task).roster.get(key.name) == key.public for key in keys)
    if not authorised and not accepted and not by_hand:
        raise PolicyViolation(f"epoch {body.epoch} of task {body.task!r} asks nothing of {keys[0].name!r}")
    signed = EpochEvidence(
        body=proposal.body,
        authorisations=_in_order(authorised),
        acceptances=_in_order(accepted),
    )
    return Approval(checking.merged([proposal, signed]), bool(authorised), bool(accepted))


def _in_order(signatures: Sequence[Signature]) -> tuple[Signature, ...]:
    return tuple(sorted(signatures, key=lambda item: item.name.encode()))


def submit(home: ServerHome, proposals: Sequence[EpochEvidence]) -> EpochEvidence:
    """Lay proposals of one body into the server's home: when they have all signatures, its next round begins with them.

    Returns:
        The proposal that lies there now.

    Raises:
        VerificationError: too few have authorised it, a new key has not accepted, or it does not follow.
        ConfigError: another lies there.
    """
    known = home.proposal()
    body = proposals[0].says if proposals else None
    if body is None:
        raise ConfigError("there is no proposal to submit")
    if known is not None and known.says.digest != body.digest and known.says.epoch == body.epoch:
        raise ConfigError(
            f"another proposal of epoch {body.epoch} lies in {home.proposal_path}: move it away if it is not wanted"
        )
    here = [known] if known is not None and known.body == proposals[0].body else []
    found = checking.merged([*here, *proposals])
    checking.check_ready(home.trust, found)
    files.replace(home.proposal_path, found.to_bytes(), mode=0o600)
    return found


def read(path: Path) -> EpochEvidence:
    """A proposal's file.

    Raises:
        ConfigError: it can't be read.
        VerificationError: it holds none.
    """
    data = files.read(path, MAX_EVIDENCE, "proposal")
    if not EpochEvidence.is_one(data):
        raise VerificationError(f"{path} is no proposal of an epoch")
    return EpochEvidence.from_bytes(data)
