"""The forest: the sessions of all edges of one attempt at a tree's round, fixed before any commitment is shown.

A commitment is a promise only if it was made before others were seen. Within a round sid sees to that: it follows from
all D_i, and nobody shows C_i before it knows sid. Across edges it takes one thing more. Whoever knew the sums C_j of
all other edges could let the last edge's clients commit to h(Y) − Σ C_j, for any Y, and every check on the total would
pass; and one corrupt member of an edge knows its C_j. So each edge's session follows from its own D_i and from the
list of all edges' sessions: no honest client of any edge shows anything before all D_i of all edges are fixed.
"""

from __future__ import annotations

import functools
from typing import Final

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import MalformedMessage, PolicyViolation, WrongContext
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import edge_task
from secure_agg.protocol.identity import check_id, is_id_order
from secure_agg.protocol.messages import ADVERTISE, Wire, decode, encode
from zk.transcript import DIGEST_BYTES, digest

FOREST_VERSION: Final = 1
MAX_EDGES: Final = 256
MAX_FOREST: Final = 1 << 20
_LEAST_EDGES: Final = 2


class EdgeSession(Wire, frozen=True, gc=False):
    """An edge's session as its members' advertisements alone make it.

    Attributes:
        name: the edge's, which is its operator's id.
        context: of its configuration.
        session: D("session", …) of its advertisements.
    """

    name: str
    context: bytes
    session: bytes


class Common(Wire, frozen=True, kw_only=True):
    """What the rounds of all edges and of the top have in common: fields of ``RoundConfig`` and ``Policy``."""

    protocol: str
    round: int
    attempt: int
    epoch: int
    generation: int
    draw: int
    start_model: bytes
    base_model: bytes
    previous_record: bytes
    renounced: bytes
    weight_limit: int
    shapes: tuple[tuple[int, ...], ...]
    log_key: bytes
    witnesses: bytes
    clip: float
    bits: int
    commit_packed: bool
    max_error: float
    max_weight: int
    weight_scale: int
    weight_span: int
    first_weight: int
    max_clients: int
    max_parameters: int


COMMON_POLICY: Final = (
    "clip", "bits", "commit_packed", "max_error", "max_weight", "weight_scale", "weight_span", "first_weight",
    "max_clients", "max_parameters",
)  # fmt: skip
"""Fields in which the policies of a tree's tasks agree: all that a vector, and sums of vectors, are made by."""
_COMMON_ROUND: Final = tuple(name for name in Common.__struct_fields__ if name not in COMMON_POLICY)


@functools.lru_cache(maxsize=64)
def common(config: RoundConfig) -> bytes:
    """Digest of what has to be the same in every round of one attempt at a tree's."""
    fields = {name: getattr(config, name) for name in _COMMON_ROUND}
    fields |= {name: getattr(config.policy, name) for name in COMMON_POLICY}
    return digest("tree-common", encode(Common(**fields)))


@checked_class
class Forest(Wire, frozen=True, kw_only=True):
    """All edges that take part in an attempt at a tree's round.

    Attributes:
        version: of the format, 1.
        task: the tree's.
        round, attempt: which.
        instructions: of the edges' configurations; the top's are its roll.
        common: see ``common``.
        beacon: public randomness that drew the members into edges; empty where edges are fixed.
        edges: in id order.

    Raises:
        ConfigError: a field has another type.
        PolicyViolation: no forest: too few or too many edges, out of order, one session twice, no digests.
    """

    version: int
    task: str
    round: int
    attempt: int
    instructions: bytes
    common: bytes
    beacon: bytes
    edges: tuple[EdgeSession, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        check_id(self.task)
        if self.version != FOREST_VERSION:
            raise PolicyViolation(f"forest version {self.version} is not {FOREST_VERSION}", phase=ADVERTISE)
        names = [edge.name for edge in self.edges]
        if not _LEAST_EDGES <= len(names) <= MAX_EDGES or not is_id_order(names):
            raise PolicyViolation(
                f"{len(names)} edges, not {_LEAST_EDGES} to {MAX_EDGES} in id order, each once", phase=ADVERTISE
            )
        values = [value for edge in self.edges for value in (edge.context, edge.session)]
        if len(set(values)) != len(values) or len(self.beacon) > 2 * DIGEST_BYTES:
            raise PolicyViolation("two edges have one context or session, or the beacon is too long", phase=ADVERTISE)
        if any(len(value) != DIGEST_BYTES for value in (self.instructions, self.common, *values)):
            raise PolicyViolation("something in a forest is no digest", phase=ADVERTISE)

    def to_bytes(self) -> bytes:
        """The one encoding."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Forest:
        """Decode strictly.

        Raises:
            MalformedMessage: not a forest in canonical form, or above 1 MiB.
            PolicyViolation: see the class.
        """
        return decode(Forest, data, MAX_FOREST, phase=ADVERTISE)

    def digest(self) -> bytes:
        """32 bytes; every edge's session follows from it."""
        return digest("forest", self.to_bytes())

    def edge(self, name: str) -> EdgeSession | None:
        """The entry of an edge, if it takes part."""
        return next((edge for edge in self.edges if edge.name == name), None)

    def session(self, own: bytes) -> bytes:
        """An edge's sid in this forest.

        Args:
            own: the session that its advertisements alone make.
        """
        return digest("edge-session", own, self.digest())


def planted(config: RoundConfig, own: bytes, data: bytes) -> bytes:
    """The sid of an edge's round, whose forest this is: checked as every member, the edge's operator and every auditor
    of the edge do.

    Args:
        config: the edge's.
        own: the session that its advertisements alone make.
        data: the forest.

    Raises:
        MalformedMessage: there is none, or it is not canonical.
        WrongContext: it is of another tree, round or attempt, or does not hold this very edge and session.
        PolicyViolation: no forest, or one of edges under another policy, model, epoch or instructions than this one's.
    """
    if not data:
        raise MalformedMessage("an edge's round has a forest, and there is none", phase=ADVERTISE)
    forest = Forest.from_bytes(data)
    mine = next((edge for edge in forest.edges if edge.context == config.context), None)
    if (forest.round, forest.attempt) != (config.round, config.attempt) or mine is None:
        raise WrongContext("the forest is of another round or attempt, or this edge is not in it", phase=ADVERTISE)
    if config.task != edge_task(forest.task, mine.name) or mine.session != own:
        raise WrongContext("the forest holds another session of this edge, or is another tree's", phase=ADVERTISE)
    if (forest.common, forest.instructions) != (common(config), config.instructions):
        raise PolicyViolation(
            "the edges of the forest have another policy, model, epoch or instructions than this one", phase=ADVERTISE
        )
    return forest.session(own)
