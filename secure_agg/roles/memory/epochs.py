"""What a party has bound itself to about epochs: each is authorised for once, and closed once."""

from __future__ import annotations

from secure_agg.roles.memory.store import AttemptStore, Scope


def bind_authority(store: AttemptStore, party: str, task: str, epoch: int, body: bytes) -> bool:
    """Bind to the one body that this party authorises as an epoch, durably.

    Returns:
        Whether it stands: False where another was authorised before.
    """
    return store.put(_scope(party, task, epoch), "authorised", body) == body


def bind_closure(store: AttemptStore, client: str, task: str, epoch: int, statement: bytes) -> bool:
    """Bind to the one statement that closes an epoch, durably: from now on nothing is signed in it.

    Returns:
        Whether it stands: False where another was signed before.
    """
    return store.put(_scope(client, task, epoch), "closed", statement) == statement


def may_close(store: AttemptStore, client: str, task: str, epoch: int, statement: bytes) -> bool:
    """Whether ``bind_closure`` would bind to this statement."""
    return store.get(_scope(client, task, epoch), "closed") in (None, statement)


def is_closed(store: AttemptStore, client: str, task: str, epoch: int) -> bool:
    """Whether this client has closed an epoch of a task."""
    return store.get(_scope(client, task, epoch), "closed") is not None


def approve_by_hand(store: AttemptStore, party: str, task: str, body: bytes) -> None:
    """Remember that the owner has looked at an epoch and wants it, whatever it is below."""
    store.put((party, task, "epochs"), f"approved {body.hex()}", b"1")


def is_approved(store: AttemptStore, party: str, task: str, body: bytes) -> bool:
    """Whether the owner has approved an epoch by hand."""
    return store.get((party, task, "epochs"), f"approved {body.hex()}") is not None


def _scope(party: str, task: str, epoch: int) -> Scope:
    return party, task, "epoch", epoch
