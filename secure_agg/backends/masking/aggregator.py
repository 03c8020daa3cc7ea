"""The masking backend's part of the aggregator: relays, adds up, and removes the masks that the agreed set
calls for.

State per client is a few hundred bytes for each of its edges; there is one vector, the sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import numpy as np

from mpc import keys, ring, shamir
from mpc.framing import integer
from mpc.keys import KeyPair
from mpc.keystream import derive_key
from mpc.masks import Mask
from mpc.ring import Vector
from mpc.shamir import ShareError
from secure_agg.backends.contract import AggregatorSide, Hidden, Outcome, Said, Session, hidden_vector
from secure_agg.backends.masking import rules
from secure_agg.backends.masking.rules import CHOOSE_PEERS, CONFIRM_EDGES, MASKED_INPUT, SHARE_KEYS, UNMASK
from secure_agg.backends.masking.screened import Screened, by_dealer
from secure_agg.backends.masking.screening import decode_committed, input_value
from secure_agg.backends.masking.wire import (
    MASK_KEY,
    SELF_SEED,
    Choice,
    Choosers,
    Confirmed,
    Edge,
    Edges,
    KeyShares,
    MaskedPart,
    OpenedMask,
    Released,
    ScreenedRelease,
    SignedChoice,
    check_edge_sizes,
    seed_hash,
    share_hash,
    split_part,
)
from secure_agg.errors import (
    BadInput,
    BadShare,
    DealerFault,
    Disputed,
    DuplicateMessage,
    MalformedMessage,
    TooFewClients,
    Unattributed,
    UnknownSender,
)
from secure_agg.executing.vectors import Sum, add_masks
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY, decode, encode, header_limit
from secure_agg.protocol.norm.wire import sketch_digest
from zk.transcript import DIGEST_BYTES, digest


class MaskingAggregator(AggregatorSide):
    """Knows public keys, confirmations, sealed shares and hashes; learns of each client one kind of share."""

    def __init__(self, config: RoundConfig) -> None:
        self._config = config
        self._limit = header_limit(config.cohort_size)
        self._form = rules.form(config)
        self._sum = Sum(self._form.zero())
        self._public_keys: dict[bytes, str] = {}
        self._choices: dict[int, SignedChoice] = {}
        self._chosen: dict[int, frozenset[int]] = {}
        self._choosers: dict[int, set[int]] = defaultdict(set)
        self._shown: dict[int, frozenset[int]] = {}
        self._shares: dict[int, KeyShares] = {}
        self._edges: dict[int, dict[int, Edge]] = {}
        self._incoming: dict[int, dict[int, Edge]] = defaultdict(dict)
        self._seed_hashes: dict[int, bytes] = {}
        self._active: dict[int, frozenset[int]] = {}
        self._released: dict[int, dict[int, Vector]] = {}
        self._survivors: frozenset[int] = frozenset()
        self._screened = Screened(config, self._form.elements) if rules.screens(config) else None
        self._confirmed: dict[int, frozenset[int]] = {}
        self._mutual: dict[int, frozenset[int]] = {}
        self._may_send: frozenset[int] = frozenset()

    @property
    def faults(self) -> list[FaultProof]:  # type: ignore[override]
        """What screening has proved."""
        return self._screened.faults if self._screened else []

    def take(self, phase: str, said: Said) -> None:
        """Take one client's answer: its keys, whom it chose, its shares, its masked vector, what it releases."""
        if phase == ADVERTISE:
            self._take_keys(said.name, said.part)
        elif phase == CHOOSE_PEERS:
            self.take_choice(said.name, said.part, said.message.header.signature)
        elif phase == SHARE_KEYS:
            self.take_shares(said.name, said.part)
            if self._screened:
                self._screened.dealt[self._index[said.name]] = said.message.header
        elif phase == CONFIRM_EDGES:
            self._take_confirmed(said.name, said.part)
        elif phase == MASKED_INPUT:
            self._take_input(said)
        elif self._screened and phase != UNMASK:
            self._screened.take(phase, self._index[said.name], said)
        else:
            self._take_release(said.name, said.part)

    def _take_keys(self, name: str, part: bytes) -> None:
        """Refuse bad keys, and keys that somebody else has shown."""
        pair = split_part(name, part)
        for key in pair:
            if key in self._public_keys:
                # Who has copied whom can't be told: the copy may have come first.
                raise DuplicateMessage(
                    f"{name!r} shows a public key of {self._public_keys[key]!r} again", phase=ADVERTISE
                )
        self._public_keys.update(dict.fromkeys(pair, name))

    def begin(self, session: Session) -> None:
        """The participants are fixed; on a complete graph so are the edges."""
        self._session = session
        self._plan = rules.plan(session)
        self._index = {name: i for i, name in enumerate(session.members)}
        if self._plan.complete:
            everybody = frozenset(range(len(session.members)))
            self._chosen = {i: everybody - {i} for i in everybody}
            self._choosers |= {i: set(peers) for i, peers in self._chosen.items()}
        if self._screened:
            self._screened.executor = self.executor
            self._screened.begin(session, self._plan, self._edges, self._chosen, self._active, self._seed_hashes)

    # --- relaying -------------------------------------------------------------------------------------------

    def ask(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """What the peers have sent for this client."""
        me = self._index[name]
        if phase == SHARE_KEYS and self._session.near is not None:
            return encode(self._neighbours(me)), b""
        if phase == MASKED_INPUT and self._screened:
            return encode(Confirmed(tuple(sorted(self._both_confirmed(me))))), b""
        if phase in (MASKED_INPUT, CONFIRM_EDGES):
            relayed = [
                Edge(i, edge.confirmation, edge.sealed, edge.mask_hash, edge.seed_hash)
                for i, edge in sorted(self._incoming[me].items())
                if i in self._edges[me]
            ]
            return encode(Edges(tuple(relayed))), b""
        if self._screened and phase != UNMASK:
            return self._screened.ask(phase, me), b""
        return b"", b""

    def _neighbours(self, me: int) -> Choosers:
        """What a client that has chosen is shown: by whom it is chosen, and all their advertisements."""
        session, choosers = self._session, self._choosers_shown(me)
        names = [session.members[peer] for peer in choosers | self._chosen[me]]
        choices = () if self._plan.complete else tuple(self._choices[peer] for peer in sorted(choosers))
        return Choosers(choices, session.neighbourhood.show(names, session.advertisements))

    def peers(self, me: int) -> list[tuple[int, bool]]:
        """With whom a client is to have edges, in order, and whether it deals shares to each."""
        chosen = self._chosen[me]
        return [(peer, peer in chosen) for peer in sorted(chosen | self._choosers_shown(me))]

    def _choosers_shown(self, me: int) -> frozenset[int]:
        """Who has chosen a client, as many as it takes. Where corrupt clients have all chosen one, some edges of others
        with it come to nothing: those that it has chosen itself, which hold its shares, are none of them, and which
        they are is nobody's to choose.
        """
        if me not in self._shown:
            choosers, most, sid = self._choosers[me], rules.most_choosers(self._plan), self._session.sid

            def turn(peer: int) -> tuple[bool, bytes]:
                return peer not in self._chosen[me], digest("chooser", sid, integer(me), integer(peer))

            fits = len(choosers) <= most
            self._shown[me] = frozenset(choosers if fits else sorted(choosers, key=turn)[:most])
        return self._shown[me]

    def take_choice(self, name: str, body: bytes, signature: bytes) -> None:
        """Take in whom a client has chosen."""
        me = self._index[name]
        peers = decode(Choice, body, self._limit, phase=CHOOSE_PEERS, culprit=name).peers
        allowed = range(len(self._session.members))
        if list(peers) != sorted(set(peers)) or any(peer not in allowed or peer == me for peer in peers):
            raise MalformedMessage(
                "chosen peers are not in order, each another client", phase=CHOOSE_PEERS, culprit=name
            )
        if len(peers) != self._plan.neighbours:
            raise MalformedMessage(
                f"{len(peers)} peers chosen, not {self._plan.neighbours}", phase=CHOOSE_PEERS, culprit=name
            )
        if not self._plan.complete:
            self._choices[me] = SignedChoice(me, body, signature)
            self._chosen[me] = frozenset(peers)
            for peer in peers:
                self._choosers[peer].add(me)

    def take_shares(self, name: str, body: bytes) -> None:
        """Take in what a client has for its peers."""
        me = self._index[name]
        shares = decode(KeyShares, body, self._limit, phase=SHARE_KEYS, culprit=name)
        expected = self.peers(me)
        if [edge.peer for edge in shares.edges] != [peer for peer, _ in expected]:
            raise MalformedMessage(
                f"shares for other peers than the {len(expected)} expected", phase=SHARE_KEYS, culprit=name
            )
        for edge, (_, dealt) in zip(shares.edges, expected, strict=True):
            check_edge_sizes(edge, dealt, phase=SHARE_KEYS, culprit=name)
        if len(shares.own_hash) != (DIGEST_BYTES if self._plan.complete else 0):
            raise MalformedMessage("a client's own share hash has a wrong size", phase=SHARE_KEYS, culprit=name)
        self._shares[me] = shares
        self._edges[me] = {edge.peer: edge for edge in shares.edges}
        for edge in shares.edges:
            self._incoming[edge.peer][me] = edge

    # --- adding up ------------------------------------------------------------------------------------------

    def _take_confirmed(self, name: str, body: bytes) -> None:
        """Which edges a client accepts, before anybody masks anything: an edge that one end denies is no edge."""
        me = self._index[name]
        peers = decode(Confirmed, body, self._limit, phase=CONFIRM_EDGES, culprit=name).peers
        accepted = set(peers)
        if list(peers) != sorted(accepted) or not accepted <= self._edges[me].keys() & self._incoming[me].keys():
            raise MalformedMessage("edges with others than this client's peers", phase=CONFIRM_EDGES, culprit=name)
        self._check_claims(name, me, accepted, CONFIRM_EDGES)
        self._confirmed[me] = frozenset(accepted)

    def _both_confirmed(self, me: int) -> frozenset[int]:
        """A client's edges that both ends accept. Nobody masks with whoever may become impossible to unmask: should it
        be lost, its masks would stay in the inputs of those who then don't open them.
        """
        if not self._mutual:
            said = self._confirmed
            mutual = {i: frozenset(j for j in peers if i in said.get(j, ())) for i, peers in said.items()}
            self._may_send = rules.can_be_unmasked(self._session, self._plan, mutual.keys(), self._chosen, mutual)
            self._mutual = {i: peers & self._may_send for i, peers in mutual.items()}
        return self._mutual[me]

    def _take_input(self, said: Said) -> None:
        """Add a masked vector.

        Both ends of an edge must have used its mask, or neither; whichever of the two comes second and says
        otherwise is refused here, because the sum can't be separated again. It is not accused by that: a bad
        confirmation, or a bad sealed share, and a false complaint of one look alike.
        """
        name, hidden = said.name, said.message.bulk
        me = self._index[name]
        masked = decode(MaskedPart, said.part, self._limit, phase=MASKED_INPUT, culprit=name)
        active = set(masked.active)
        if list(masked.active) != sorted(active) or not active <= self._edges[me].keys() & self._incoming[me].keys():
            raise MalformedMessage("masks with others than this client's peers", phase=MASKED_INPUT, culprit=name)
        if self._screened is None:
            self._check_claims(name, me, active, MASKED_INPUT)
        elif active != self._both_confirmed(me):
            raise BadInput("masks of other edges than both ends have accepted", phase=MASKED_INPUT, culprit=name)
        else:
            self._check_denied(name, me, active)
        if len(masked.seed_hash) != DIGEST_BYTES:
            raise MalformedMessage("a seed's hash is no digest", phase=MASKED_INPUT, culprit=name)
        for other in self._edges[me].keys() & self._active.keys():
            if (other in active) != (me in self._active[other]):
                raise Disputed(
                    f"the mask of {name!r} and {self._session.members[other]!r} is in one of the two inputs only: "
                    "the second is left out, and which of them is wrong can't be told",
                    phase=MASKED_INPUT,
                )
        if self._screened:
            hidden_vector(hidden, phase=MASKED_INPUT, culprit=name)
            header, sketch, proof = said.message.header, b"", b""
            committed = decode_committed(self._config, said.commitment, said.sketch.sketch if said.sketch else b"")
            if said.sketch:
                proof = said.sketch.proof
                sketch = sketch_digest(said.sketch.sketch, proof)
            value = input_value(said.commitment, header.bulk_digest, sketch)
            self._screened.inputs.add(me, header, committed, value, hidden, proof)
        vector = self._form.read(hidden, phase=MASKED_INPUT, culprit=name)
        self._sum.add(self.executor, self._config.context, vector)
        self._seed_hashes[me], self._active[me] = masked.seed_hash, frozenset(active)

    def _check_claims(self, name: str, me: int, active: set[int], phase: str) -> None:
        """Refuse an input that an honest client would not send: it denies corrupt peers only, and keeps a quorum.

        Without this one client that comes first and denies everybody would have all others refused. Too few active
        edges break a rule whoever is right about the others; denials beyond those that may be corrupt only say that
        somebody is.
        """
        try:
            rules.check_active(self._session, self._plan, active, self._chosen[me])
        except TooFewClients as error:
            raise BadInput(str(error.args[0]), phase=phase, culprit=name) from error
        present = self._edges[me].keys() & self._incoming[me].keys()
        if len(present - active) > self._config.policy.max_corrupt:
            raise Disputed(
                f"{name!r} denies {len(present - active)} of {len(present)} peers, more than the "
                f"{self._config.policy.max_corrupt} that may be corrupt: it is left out, which of them is wrong can't "
                "be told",
                phase=phase,
            )

    def _check_denied(self, name: str, me: int, active: set[int]) -> None:
        """Refuse an input whose secrets too few hold, or may come to hold."""
        if me not in self._may_send:
            raise Disputed(
                f"{name!r} is denied by so many that its masks might stay in the sum: it is left out, which of them is "
                "wrong can't be told",
                phase=MASKED_INPUT,
            )
        try:
            rules.check_active(self._session, self._plan, active, self._chosen[me])
        except TooFewClients as error:
            raise Disputed(str(error.args[0]), phase=MASKED_INPUT) from error

    def wants(self, phase: str) -> bool:
        """Disputes where there are any, excisions as long as somebody is proved to cheat, and tests of sketches where
        they have failed.
        """
        if self._screened is None:
            return False
        return self._screened.wants(phase, self._survivors, self._released, self._sum.total)

    def survivors(self) -> tuple[str, ...] | None:
        """Where inputs are screened, whoever has reported, and is not charged."""
        if self._screened is None:
            return None
        left = self._screened.left()
        return tuple(name for name in self._session.members if self._index[name] in left)

    def agree(self, survivors: tuple[str, ...]) -> None:
        """S has been fixed. Before anybody signs it: can every secret that it takes be rebuilt from its members?

        Raises:
            Unattributed: too few members say that they hold a good share of somebody's. That they deny it proves
                nothing against the dealer.
        """
        members = frozenset(self._index[name] for name in survivors)
        if self._screened:  # which has left out whoever can't be unmasked
            self._survivors = members
            for client in self._active.keys() - members:
                ring.subtract_from(self._sum.total, self._screened.inputs.vector(client))
            return
        lost = frozenset().union(*(self._active[member] for member in members)) - members
        for dealer in sorted(members | lost):
            holders = sum(dealer in self._active[member] for member in members & self._chosen[dealer])
            if self._plan.complete and dealer in members:
                holders += 1
            if holders < self._plan.threshold:
                raise Unattributed(
                    f"{holders} members of the set say that they hold a good share of "
                    f"{self._session.members[dealer]!r}, {self._plan.threshold} are needed; whether it dealt bad ones "
                    "or is denied good ones can't be told",
                    phase=CONSISTENCY,
                )
        self._survivors = members

    def summed(self) -> Hidden | None:
        """The masked sum. Where inputs are screened whoever is proved to cheat is taken out again, so each is kept."""
        return None if self._screened else bytes(self._form.to_bytes(self._sum.total))

    def restore(self, summed: bytes) -> None:
        """Go on from the masked sum."""
        self._sum = Sum(self._form.from_bytes(summed, phase=MASKED_INPUT))

    # --- unmasking ------------------------------------------------------------------------------------------

    def _take_release(self, name: str, body: bytes) -> None:
        """Take one holder's shares, each checked against the hash its dealer signed."""
        holder = self._index[name]
        masks: tuple[OpenedMask, ...] = ()
        if self._screened:
            screened = decode(ScreenedRelease, body, self._limit, phase=UNMASK, culprit=name)
            released, masks = screened.shares, screened.masks
            self._screened.check_masks(UNMASK, holder, masks, self._active[holder] - self._survivors)
        else:
            released = decode(Released, body, self._limit, phase=UNMASK, culprit=name).shares
        dealers = [share.dealer for share in released]
        if dealers != sorted(set(dealers)):
            raise DuplicateMessage("shares are not in order, one for each dealer", phase=UNMASK, culprit=name)
        for share in released:
            self._check_share(name, holder, share.dealer, share.share)
        try:
            values = ring.from_bytes(b"".join(share.share for share in released))
        except ValueError as error:  # an honest holder would have refused it when it was dealt
            raise BadShare(f"a share is not canonical: {error}", phase=UNMASK, culprit=name) from error
        self._released[holder] = dict(zip(dealers, values.reshape(-1, shamir.LIMBS), strict=True))
        if self._screened:
            self._screened.keep_masks(holder, masks)

    def _check_share(self, name: str, holder: int, dealer: int, share: bytes) -> None:
        shares = self._shares.get(dealer)
        if shares is None or not (dealer == holder or holder in self._chosen[dealer]):
            raise UnknownSender(f"a share of {dealer}, who dealt none to this client", phase=UNMASK, culprit=name)
        in_set = dealer in self._survivors
        if dealer == holder:
            vouched = shares.own_hash
        else:
            edge = self._edges[dealer][holder]
            vouched = edge.seed_hash if in_set else edge.mask_hash
        hashed = share_hash(
            self._session.sid, SELF_SEED if in_set else MASK_KEY, self._session.members[dealer], name, share
        )
        if len(share) != shamir.SHARE_BYTES or hashed != vouched:
            raise BadShare(
                f"the share of {self._session.members[dealer]!r} is not the one dealt",
                phase=UNMASK,
                culprit=name,
            )

    def outcome(self) -> Outcome:
        """Rebuild the survivors' seeds and the mask keys of those who dropped out, and remove their masks
        from the sum.
        """
        if self._screened is not None:
            self._screened.check_number()
            # Nobody is asked after the last of those who may be corrupt.
            self._screened.settle(self._survivors, self._released, self._sum.total)
            self._screened.check_number()
            return Outcome(self._form.unload(self._screened.opened(), phase=UNMASK))
        session, sid = self._session, self._session.sid
        terms: list[Mask] = []
        for member, seed in self._rebuild(sorted(self._survivors)).items():
            name = session.members[member]
            if seed_hash(sid, name, seed) != self._seed_hashes[member]:
                raise DealerFault("the shares rebuild another seed than announced", phase=UNMASK, culprit=name)
            terms.append(Mask(derive_key(seed, "self-mask", sid, name.encode()), -1))
        lost: dict[int, list[int]] = defaultdict(list)
        for member in sorted(self._survivors):
            for peer in self._active[member] - self._survivors:
                lost[peer].append(member)
        for peer, secret in self._rebuild(sorted(lost)).items():
            name = session.members[peer]
            pair = KeyPair.from_secret(secret)
            if pair.public != split_part(name, session.parts[name])[1]:
                raise DealerFault("the shares rebuild another mask key than advertised", phase=UNMASK, culprit=name)
            terms += [self._lost_mask(pair, peer, member).inverse() for member in lost[peer]]
        total = self._sum.total
        add_masks(self.executor, self._config.context, total, terms)
        return Outcome(self._form.unload(total, phase=UNMASK))

    def _lost_mask(self, pair: KeyPair, peer: int, member: int) -> Mask:
        """The mask that ``member`` added for its edge with ``peer``, from the key pair of ``peer``."""
        names = self._session.members
        shared = pair.shared_secret(split_part(names[member], self._session.parts[names[member]])[1])
        key = keys.mask_key(shared, self._session.sid, names[peer].encode(), names[member].encode())
        return Mask(key, 1 if member < peer else -1)

    def _rebuild(self, dealers: Collection[int]) -> dict[int, bytes]:
        """The secret of each dealer. Dealers with the same holders are combined in one go."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        held = by_dealer(self._released)
        for dealer in dealers:
            have = list(held[dealer])
            if len(have) < self._plan.threshold:
                raise TooFewClients(
                    f"{len(have)} shares of {self._session.members[dealer]!r}, {self._plan.threshold} are needed",
                    phase=UNMASK,
                )
            groups[tuple(have[: self._plan.threshold])].append(dealer)
        secrets: dict[int, bytes] = {}
        for holders, group in groups.items():
            shares = np.array([[self._released[holder][dealer] for dealer in group] for holder in holders])
            try:
                secrets |= zip(group, shamir.combine([holder + 1 for holder in holders], shares), strict=True)
            except ShareError as error:
                culprit = self._session.members[group[error.index or 0]]
                raise DealerFault(f"valid shares rebuild no secret: {error}", phase=UNMASK, culprit=culprit) from error
        return secrets
