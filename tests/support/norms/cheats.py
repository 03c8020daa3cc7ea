"""Clients of ``masking`` that cheat where inputs are screened, and rounds with any mix of them.

A cheat follows the protocol but for what its name says: its role signs whatever its changed side makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from support.federation import Federation, Tape, assert_is_mean, replace

from mpc import keys, ring, shamir
from mpc.ring import P, Vector
from secure_agg.backends.contract import Hidden
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.screening import (
    challenge,
    failed_root,
    inputs_root,
    read_report,
    sketch_challenge,
)
from secure_agg.backends.masking.wire import (
    Edge,
    FailedSum,
    KeyShares,
    Report,
    Screening,
    share_hash,
)
from secure_agg.errors import RemoteProtocolError
from secure_agg.protocol.messages import decode, encode
from secure_agg.roles.auditor import Auditor
from zk.functional import COUNT

Bend = Callable[[MaskingClient], None]
LIMIT = 1 << 24


def side_of(tape: Tape, name: str) -> MaskingClient:
    """The backend's part of a client that has joined."""
    joined = tape.client(name)._joined
    assert joined is not None
    assert isinstance(joined.side, MaskingClient)
    joined.side.role = joined  # type: ignore[attr-defined]
    return joined.side


def shift(values: Vector, by: Any) -> Vector:
    return ((values.astype(np.int64) + by) % P).astype(np.uint32)


# --- what a cheat does ----------------------------------------------------------------------------------------


def flip(side: MaskingClient, place: int = 0, by: int = 1) -> None:
    """Sends another masked vector than its numbers explain."""
    honest = side.hide

    def hide(request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        add = honest(request)

        def change(vector: Vector) -> tuple[bytes, Hidden]:
            part, hidden = add(vector)
            values = np.frombuffer(hidden, dtype=np.uint32).copy()
            values[place] = (int(values[place]) + by) % P
            return part, values.tobytes()

        return change

    side.hide = hide  # type: ignore[method-assign]


def sketch_another(side: MaskingClient, place: int = 3, by: int = 1) -> None:
    """Commits to the sketch of another vector than it has committed to, and proves that one to be short."""
    role, honest = side.role, side.hide  # type: ignore[attr-defined]
    made = role.vector

    def moved(vector: Vector, by: int) -> Vector:
        vector = vector.copy()
        vector[place] = (int(vector[place]) + by) % P
        return vector

    def hide(request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        add = honest(request)
        return lambda vector: add(moved(vector, -by))

    role.vector = lambda: moved(made(), by)
    side.hide = hide  # type: ignore[method-assign]


def sketch_effect(side: MaskingClient, request: bytes, place: int = 3, by: int = 1) -> Any:
    """What ``sketch_another`` does to the functionals of its sketch: its masks would have to make up for it."""
    root = failed_root(side._reported["screen"].root, decode(FailedSum, request, LIMIT).total)
    functional = sketch_challenge(side._config, side._session.sid, root)
    vector = np.zeros(functional.length, dtype=np.uint32)
    vector[place] = by
    return -functional.of([], [vector])[0].astype(np.int64)


def sketch_another_behind_self_mask(side: MaskingClient) -> None:
    """Its second number for the self mask explains the sketch."""
    sketch_another(side)
    report(side, lambda me, request, said: shifted(said, {None: sketch_effect(me, request)}), "screen-sketches")


def sketch_another_behind_edge(peer: int) -> Bend:
    """Its second number for a mask with a peer explains the sketch."""

    def bend(side: MaskingClient) -> None:
        sketch_another(side)

        def change(me: MaskingClient, request: bytes, said: Report) -> Report:
            return shifted(said, {peer: (1 if me._me < peer else -1) * sketch_effect(me, request)})

        report(side, change, "screen-sketches")

    return bend


def cover_sketch_for(peer: int) -> Bend:
    """Says what a colluding peer says of their mask, and makes up for it by its number for the self mask."""

    def bend(side: MaskingClient) -> None:
        def change(me: MaskingClient, request: bytes, said: Report) -> Report:
            moved = (1 if peer < me._me else -1) * sketch_effect(me, request)
            return shifted(said, {peer: moved, None: -moved if me._me < peer else moved})

        report(side, change, "screen-sketches")

    return bend


def lie_of_edge_again(peer: int) -> Bend:
    """Its sketch is right, its second numbers for a mask with a peer and for its self mask are not."""

    def bend(side: MaskingClient) -> None:
        def change(me: MaskingClient, request: bytes, said: Report) -> Report:
            return shifted(said, {peer: 1, None: -1 if me._me < peer else 1})

        report(side, change, "screen-sketches")

    return bend


def report(
    side: MaskingClient, change: Callable[[MaskingClient, bytes, Report], Report], reporting: str = "screen"
) -> None:
    """Signs other numbers."""
    honest = side.answer

    def answer(phase: str, request: bytes) -> bytes:
        body = honest(phase, request)
        if phase == reporting:
            said = change(side, request, decode(Report, body, LIMIT))
            side._reported[phase] = read_report(said, side._me, len(side._session.members))
            body = encode(said)
        return body

    side.answer = answer  # type: ignore[method-assign]


def shifted(said: Report, moves: Mapping[int | None, Any]) -> Report:
    """A report with the numbers of some masks moved; None is the self mask."""
    values = ring.from_bytes(said.values).reshape(-1, COUNT).copy()
    for peer, by in moves.items():
        place = 0 if peer is None else 1 + said.peers.index(peer)
        values[place] = shift(values[place], by)
    return replace(said, values=ring.to_bytes(values.reshape(-1)))


def effect(side: MaskingClient, request: bytes, place: int, by: int) -> Any:
    """What a changed word does to the functionals."""
    inputs = decode(Screening, request, LIMIT).inputs
    functional = challenge(side._config, side._session.sid, inputs_root(side._session, inputs))
    layout = side._config.layout
    vector = np.zeros(layout.hashed + layout.sketch, dtype=np.uint32)
    vector[place] = by
    return functional.of([], [vector])[0].astype(np.int64)


def flip_behind_self_mask(side: MaskingClient) -> None:
    """Its number for the self mask explains a changed word."""
    flip(side, 1)
    report(side, lambda me, request, said: shifted(said, {None: effect(me, request, 1, 1)}))


def flip_behind_edge(peer: int) -> Bend:
    """Its number for a mask with a peer explains a changed word."""

    def bend(side: MaskingClient) -> None:
        flip(side, 2)

        def change(me: MaskingClient, request: bytes, said: Report) -> Report:
            sign = 1 if me._me < peer else -1
            return shifted(said, {peer: sign * effect(me, request, 2, 1)})

        report(side, change)

    return bend


def cover_for(peer: int) -> Bend:
    """Says what a colluding peer says of their mask, and makes up for it by its number for the self mask."""

    def bend(side: MaskingClient) -> None:
        def change(me: MaskingClient, request: bytes, said: Report) -> Report:
            moved = (1 if peer < me._me else -1) * effect(me, request, 2, 1)
            own = -moved if me._me < peer else moved
            return shifted(said, {peer: moved, None: own})

        report(side, change)

    return bend


def cancel_with(peer: int) -> Bend:
    """Adds to its vector what a colluding peer takes from its own, and both say so of their mask."""

    def bend(side: MaskingClient) -> None:
        lower = int(side._name[1:]) < peer
        flip(side, 2, 1 if lower else P - 1)

        def change(me: MaskingClient, request: bytes, said: Report) -> Report:
            return shifted(said, {peer: effect(me, request, 2, 1)})

        report(side, change)

    return bend


def lie_of_edge(peer: int) -> Bend:
    """Its input is right, its numbers for a mask with a peer and for its self mask are not."""

    def bend(side: MaskingClient) -> None:
        def change(me: MaskingClient, request: bytes, said: Report) -> Report:
            return shifted(said, {peer: 1, None: -1 if me._me < peer else 1})

        report(side, change)

    return bend


def lie_of_all(side: MaskingClient) -> None:
    """Nothing that it reports is right."""
    report(side, lambda me, request, said: shifted(said, dict.fromkeys((None, *said.peers), 7)))


def deal(side: MaskingClient, kind: int) -> None:
    """Deals shares of no secret; their hashes are those of what it dealt. 0: of the mask key, 1: of the seed."""
    honest_split = side._share_keys

    def share_keys() -> KeyShares:
        dealt = honest_split()
        sid, me = side._session.sid, side._name
        edges: list[Edge] = []
        for edge in dealt.edges:
            name = side._session.members[edge.peer]
            if not edge.sealed:
                edges.append(edge)
                continue
            channel, _ = side._secrets(edge.peer)
            shares = [side._derive(f"bad share {edge.peer} {i}") for i in range(2)]
            right = keys.unseal(channel, sid, me.encode(), name.encode(), edge.sealed, edge.mask_hash, edge.seed_hash)
            parts = [right[: shamir.SHARE_BYTES], right[shamir.SHARE_BYTES :]]
            parts[kind] = ring.to_bytes(np.frombuffer(shares[0] + shares[1][:4], dtype=np.uint32) & np.uint32(0xFFFF))
            hashes = share_hash(sid, "mask-key", me, name, parts[0]), share_hash(sid, "self-seed", me, name, parts[1])
            sealed = keys.seal(channel, sid, me.encode(), name.encode(), parts[0] + parts[1], *hashes)
            edges.append(Edge(edge.peer, edge.confirmation, sealed, *hashes))
        return KeyShares(tuple(edges), dealt.own_hash)

    side._share_keys = share_keys  # type: ignore[method-assign]


def deal_bad_seeds(side: MaskingClient) -> None:
    deal(side, 1)


def deal_bad_keys(side: MaskingClient) -> None:
    deal(side, 0)


def confirm_wrongly(*peers: int) -> Bend:
    """Sends some peers confirmations of nothing."""

    def bend(side: MaskingClient) -> None:
        honest = side._share_keys

        def share_keys() -> KeyShares:
            dealt = honest()
            edges = [replace(e, confirmation=bytes(16)) if e.peer in peers else e for e in dealt.edges]
            return replace(dealt, edges=tuple(edges))

        side._share_keys = share_keys  # type: ignore[method-assign]

    return bend


# --- rounds ---------------------------------------------------------------------------------------------------


@dataclass
class Screened:
    """One round with cheats.

    Attributes:
        bends: what each cheat does.
        silent: client to the phase from which on it says nothing.
    """

    federation: Federation
    bends: Mapping[str, tuple[Bend, ...]] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    phases: list[str] = field(default_factory=list)
    refused: dict[str, RemoteProtocolError] = field(default_factory=dict)

    def play(self, until: str = "") -> Tape:
        """To the end, or until the requests of a phase are out; what the aggregator refuses is a silence."""
        tape = Tape.start(self.federation, self.silent)
        self.tape = tape
        while tape.pending and tape.phase != until:
            self.phases.append(tape.phase)
            for envelope in tape.pending:
                name = envelope.recipient
                if not tape.local.speaks(name, tape.phase):
                    continue
                try:
                    tape.deliver(tape.answer(name))
                except RemoteProtocolError as error:
                    self.refused[name] = error
                if tape.phase == "advertise":
                    for bend in self.bends.get(name, ()):
                        bend(side_of(tape, name))
            tape.advance()
        return tape

    @property
    def named(self) -> dict[str, str]:
        """Whom proofs name, and for what; each was checked by the pins and without."""
        found = {}
        for proof in self.tape.aggregator.faults:
            again = type(proof).from_bytes(proof.to_bytes())
            assert Auditor(self.federation.trust).verify_fault(again) == Auditor().verify_fault(again) == proof.culprit
            found[proof.culprit] = proof.kind
        return found

    def check_sum(self) -> tuple[str, ...]:
        """The mean is the exact one of the participants, and everybody who still speaks believes it."""
        evidence, aggregator = self.tape.aggregator.evidence, self.tape.aggregator
        assert evidence is not None
        assert aggregator.verified is not None
        names = evidence.participants
        weights = dict.fromkeys(self.federation.names, 1)
        average = aggregator.verified.average
        assert_is_mean(average, self.federation.updates, weights, names, aggregator.config)
        for envelope in aggregator.results():
            if envelope.recipient in names and envelope.recipient not in self.silent:
                self.tape.client(envelope.recipient).finish(envelope.data)
        return names
