"""Who is proved to have broken the protocol, as far as a client has seen it proved.

A member is convicted in one task, under one key; an operator's key in every task.
"""

from __future__ import annotations

from collections.abc import Mapping

from secure_agg.errors import PolicyViolation
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import tree_task
from secure_agg.protocol.fault import FaultProof
from secure_agg.roles.memory.store import AttemptStore, Scope, task_scope


class Convictions:
    """What one client remembers of others in the task of one round, on its durable store."""

    def __init__(self, store: AttemptStore, client: str, config: RoundConfig) -> None:
        self._store, self._client = store, client
        self._task = task_scope(client, tree_task(config.task, config.policy))
        self._operators: Scope = (client, "operators")

    def check_members(self, keys: Mapping[str, bytes], *, phase: str) -> None:
        """Refuse to take part with somebody who is proved to have broken the protocol in this task.

        Args:
            keys: of all members, by id. Whoever has another than the one that was convicted is somebody else: a key
                that was stolen is rotated in an epoch.

        Raises:
            PolicyViolation: says whom; who has let that client in may not know it.
        """
        convicted = frozenset(self._store.names(self._task, _fault("")))
        for name, public in keys.items() if convicted else ():
            found = self._store.get(self._task, _fault(name)) if _fault(name) in convicted else None
            if found is not None and FaultProof.from_bytes(found).public == public:
                raise PolicyViolation(
                    f"{name!r} is proved to have broken the protocol in this task: {self._client!r} takes part in no "
                    "round of it with that client",
                    phase=phase,
                )

    def check_operator(self, name: str, public: bytes, *, phase: str) -> None:
        """Refuse an operator that is proved to have broken the protocol, in whichever task.

        Raises:
            PolicyViolation: it is.
        """
        if self._store.get(self._operators, _fault(public.hex())) is not None:
            raise PolicyViolation(
                f"{name!r} is proved to have broken the protocol: {self._client!r} answers it no more",
                phase=phase,
                culprit=name,
            )

    def convict(self, proof: FaultProof) -> None:
        """Remember, durably, what was proved of a client and has been checked."""
        self._store.put(self._task, _fault(proof.culprit), proof.to_bytes())

    def convict_operator(self, proof: FaultProof) -> None:
        """The same of an operator, whose key is convicted in every task."""
        self._store.put(self._operators, _fault(proof.public.hex()), proof.to_bytes())


def _fault(culprit: str) -> str:
    return f"fault of {culprit}"
