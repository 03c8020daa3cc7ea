"""The aggregator's part of screening: what it keeps, and how it opens a sum from which cheats are taken out.

Before a set is signed ``judge`` says who is left out. What only rebuilt secrets show comes after it: numbers for a self
mask or for the mask with a lost peer that are wrong, shares that rebuild nothing. Every such client is charged, the
members see the proof, give out their masks with it, and sign the set without it; its vector and those masks leave the
sum. That may show that somebody else has covered for it, who is charged next.

Where a norm is bounded the sum may then be what was committed to, and its sketch not: somebody's C' is of another
vector than its C. Members are shown the sum, which fails before their eyes, and report once more, on sketches; who is
charged by that leaves the sum in the same way. Whoever is silent stays in it: without it the sum would tell its vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mpc import keys, ring, shamir
from mpc.keys import KeyPair
from mpc.masks import Mask
from mpc.ring import Vector
from mpc.shamir import ShareError
from secure_agg.backends.contract import Said, Session
from secure_agg.backends.masking import faults, rules, screening
from secure_agg.backends.masking.inputs import KeptInputs
from secure_agg.backends.masking.judge import Edges, Judge, check_opened
from secure_agg.backends.masking.rules import DISPUTE, DISPUTE_SKETCHES, SCREEN, SCREEN_SKETCHES, UNMASK, Plan
from secure_agg.backends.masking.wire import (
    MASK_KEY,
    Charge,
    Charges,
    DealtShares,
    Excised,
    FailedSum,
    OpenedMask,
    ShownCharges,
    seed_hash,
    share_hash,
    split_part,
)
from secure_agg.errors import (
    BadShare,
    DealerFault,
    LocalProtocolError,
    MalformedMessage,
    TooFewClients,
    Unattributed,
    VerificationError,
)
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.executing.vectors import add_masks
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import Header, decode, encode, header_limit, pack

Released = Mapping[int, Mapping[int, Vector]]
"""Shares by holder and dealer."""


def by_dealer(released: Released) -> Mapping[int, Mapping[int, Vector]]:
    """Shares by dealer and holder; none of who is missing."""
    held: dict[int, dict[int, Vector]] = defaultdict(dict)
    for holder, shares in sorted(released.items()):
        for dealer, share in shares.items():
            held[dealer][holder] = share
    return held


class Screened:
    """One round's screening and excisions.

    Attributes:
        inputs: that were accepted.
        dealt: each client's message with confirmations and hashes of shares.
        charges: what is proved and has not been dealt with.
        total: the sum without masks, once nothing speaks against it.
        executor: makes the masks.
    """

    executor: Executor = IN_PROCESS

    def __init__(self, config: RoundConfig, elements: int) -> None:
        """
        Args:
            elements: of each masked vector.
        """
        self._config = config
        self.inputs = KeptInputs(elements)
        self.dealt: dict[int, Header] = {}
        self.charges: tuple[Charge, ...] = ()
        self.total: Vector | None = None
        self._judge: Judge | None = None
        self._again: Judge | None = None
        self._failed = b""
        self._awaits_reports = False
        self._signed: frozenset[int] | None = None
        self._charged: dict[int, Charge] = {}
        self._opened: dict[tuple[int, int], bytes] = {}
        self._key_shares: dict[int, dict[int, Vector]] = {}

    def begin(
        self,
        session: Session,
        plan: Plan,
        edges: Edges,
        chosen: Mapping[int, frozenset[int]],
        active: Mapping[int, frozenset[int]],
        seed_hashes: Mapping[int, bytes],
    ) -> None:
        """The participants are fixed. The mappings grow later."""
        self._session, self._plan, self._edges, self._chosen = session, plan, edges, chosen
        self._active, self._seed_hashes = active, seed_hashes
        self._judge = Judge(session, edges, active, self.inputs)

    @property
    def judge(self) -> Judge:
        """Once the participants are fixed."""
        if self._judge is None:
            raise LocalProtocolError("the participants are not fixed", phase=SCREEN)
        return self._judge

    # --- messages -------------------------------------------------------------------------------------------

    def ask(self, phase: str, me: int) -> bytes:
        """What one client is asked."""
        if phase == SCREEN:
            return encode(self.judge.screening)
        if phase == DISPUTE:
            return encode(self.judge.disputes(me))
        if phase == SCREEN_SKETCHES and self._failed:
            return self._failed
        if phase == DISPUTE_SKETCHES and self._again:
            return encode(self._again.disputes(me))
        if self._session.near is None:
            return encode(Charges(self.charges))
        return encode(ShownCharges(self.charges, faults.show(self._session, self.charges)))

    def take(self, phase: str, me: int, said: Said) -> None:
        """Take one answer."""
        if phase == SCREEN:
            self.judge.take_report(me, self._seed_hashes[me], said.message)
        elif phase == DISPUTE:
            self.judge.take_openings(me, said.part)
        elif phase == SCREEN_SKETCHES and self._again:
            self._again.take_report(me, self._seed_hashes[me], said.message)
        elif phase == DISPUTE_SKETCHES and self._again:
            self._again.take_openings(me, said.part)
        else:
            self._take_excised(phase, me, said)

    def wants(self, phase: str, survivors: frozenset[int], released: Released, masked: Vector) -> bool:
        """Whether there is anything to ask in a phase; see ``settle`` for its arguments."""
        if phase == DISPUTE:
            return self.judge.judge_reports()
        if phase == DISPUTE_SKETCHES:
            self._awaits_reports = False
            return self._again is not None and self._again.judge_reports()
        charged = self.settle(survivors, released, masked)
        return self._awaits_reports if phase == SCREEN_SKETCHES else charged

    def check_masks(self, phase: str, me: int, masks: Sequence[OpenedMask], asked: frozenset[int]) -> None:
        """Check that a client has opened its masks with just these peers.

        Raises:
            MalformedMessage, BadShare: it has not.
        """
        name = self._session.members[me]
        if [mask.peer for mask in masks] != sorted(asked):
            raise MalformedMessage("other masks are opened than were asked for", phase=phase, culprit=name)
        for mask in masks:
            check_opened(self._session, self._edges, me, mask, phase=phase)

    def keep_masks(self, me: int, masks: Sequence[OpenedMask]) -> None:
        """Keep the secrets of a client's masks, which have been checked."""
        self._opened |= {(me, mask.peer): mask.secret for mask in masks}

    def _take_excised(self, phase: str, me: int, said: Said) -> None:
        excised = decode(Excised, said.part, len(said.part), phase=phase, culprit=said.name)
        charged = [charge.culprit for charge in self.charges]
        self.check_masks(phase, me, excised.masks, self._active[me].intersection(charged))
        dealers = [share.dealer for share in excised.shares]
        if dealers != sorted(set(dealers)) or not set(charged).issuperset(dealers):
            raise MalformedMessage("shares of others than those who are charged", phase=phase, culprit=said.name)
        for share in excised.shares:
            edge, dealer = self._edges[share.dealer].get(me), self._session.members[share.dealer]
            hashed = share_hash(self._session.sid, MASK_KEY, dealer, said.name, share.share)
            if edge is None or len(share.share) != shamir.SHARE_BYTES or hashed != edge.mask_hash:
                raise BadShare(f"the share of {dealer!r} is not the one dealt", phase=phase, culprit=said.name)
        try:
            values = [ring.from_bytes(share.share) for share in excised.shares]
        except ValueError as error:
            raise BadShare(f"a share is not canonical: {error}", phase=phase, culprit=said.name) from error
        self.keep_masks(me, excised.masks)
        for dealer_index, value in zip(dealers, values, strict=True):
            self._key_shares.setdefault(dealer_index, {})[me] = value

    # --- who is left ----------------------------------------------------------------------------------------

    def left(self) -> frozenset[int]:
        """The clients whose inputs are in the sum; once a set was put to the vote, the same but for who is charged.

        Whoever dealt so few good shares, or is denied them by so many, that its seed could not be rebuilt from the
        others is left out too; which of the two it is can't be told.
        """
        if self._signed is not None:
            self.check_number()
            return self._signed - self._charged.keys()
        self.judge.judge_openings(self._messages())
        self.check_number()
        left = self.inputs.items.keys() - self.judge.silent - self.judge.guilty.keys()
        self._signed = rules.can_be_unmasked(self._session, self._plan, left, self._chosen, self._active)
        return self._signed

    @property
    def faults(self) -> list[FaultProof]:
        """What is proved, for anybody to check."""
        if self._judge is None:
            return []
        return [faults.prove(self._session, charge) for _, charge in sorted(self._proved().items())]

    def _proved(self) -> dict[int, Charge]:
        """One charge against each client that is proved to cheat."""
        return (self._again.guilty if self._again else {}) | self._charged | self.judge.guilty

    # --- opening --------------------------------------------------------------------------------------------

    def check_number(self) -> None:
        """Refuse to go on without more clients than may be corrupt.

        Raises:
            TooFewClients: so many are proved to cheat.
        """
        gone, most = len(self._proved()), self._config.policy.max_corrupt
        if gone > most:
            phase = UNMASK if self._charged else SCREEN
            raise TooFewClients(f"{gone} clients are proved to cheat, more than the {most} that may", phase=phase)

    def opened(self) -> Vector:
        """The sum without masks."""
        if self.total is None:
            raise LocalProtocolError("masks are still in the sum", phase=UNMASK)
        return self.total

    def settle(self, survivors: frozenset[int], released: Released, masked: Vector) -> bool:
        """Take the masks off the sum.

        Args:
            survivors: the set that was signed first.
            released: shares, of the seeds of its members and of the mask keys of lost peers.
            masked: the sum of its members' masked vectors.

        Returns:
            Whether somebody is charged by that; if nobody is, the sum is right, or reports on sketches are awaited.

        Raises:
            TooFewClients: too few shares were released to open anything.
            DealerFault: a mask with somebody who is charged was not opened, and its key can't be rebuilt, from bad
                shares or, where honest clients are lost as well, from too few.
        """
        if self.total is not None or self._awaits_reports:
            return False
        charges: dict[int, Charge] = {}
        members = survivors - self._charged.keys()
        seeds = self._seeds(members, released, charges)
        others = frozenset().union(*(self._active[member] for member in members)) - members
        secrets = self._mask_secrets(members, others, survivors, released, charges)
        lost = self._lost_masks(members, others, secrets, charges)
        if not charges:
            total = masked.copy()
            for client in survivors & self._charged.keys():
                ring.subtract_from(total, self.inputs.vector(client))
            own = [Mask(key, -1) for key in self._self_keys(seeds).values()]
            away = [Mask(key, -1 if member < peer else 1) for (member, peer), key in lost.items()]
            add_masks(self.executor, self._config.context, total, [*own, *away])
            right = self._is_committed(total, members)
            if right and not self._sketch_fails(total, members):
                self.total, self.charges = total, ()
                return False
            if right and self._again is None:
                self.charges = ()
                return self._ask_again(total, members)
            judge = self._again if right and self._again else self.judge
            if right:
                judge.judge_openings(self._messages())
                charges |= {client: charge for client, charge in judge.guilty.items() if client in members}
            self._charge_members(judge, seeds, lost, secrets, charges)
            if not charges:
                raise Unattributed(
                    "sketches are of other vectors than were summed; who has answered is not shown to be at fault"
                    if right
                    else "the sum is not what the clients committed to",
                    phase=UNMASK,
                )
        self.charges = self._fitting([charges[client] for client in sorted(charges)])
        self._charged |= {charge.culprit: charge for charge in self.charges}
        return True

    def _sketch_fails(self, total: Vector, members: frozenset[int]) -> bool:
        """Whether it can be shown that somebody's sketch is of another vector; else whoever checks the sum says what is
        wrong with it, and nobody is named.
        """
        if not rules.tests_sketches(self._config):
            return False
        sketches = [item.sketch for i in sorted(members) if (item := self.inputs.items[i].committed).sketch]
        return bool(sketches) and screening.sketch_fails(self._config, self._session.sid, sketches, total)

    def _ask_again(self, total: Vector, members: frozenset[int]) -> bool:
        """Have members report on sketches, where the sum fails before the eyes of anybody; nobody is charged yet."""
        shown = FailedSum(tuple(self.inputs.shown(client) for client in sorted(members)), ring.to_bytes(total))
        listed = {item.client: item.value for item in self.judge.screening.inputs}
        try:
            screening.check_failed(self._session, listed, shown, members)
        except VerificationError as error:
            raise Unattributed(f"the sum is not what the clients committed to: {error}", phase=UNMASK) from error
        root = screening.failed_root(self.judge.root, shown.total)
        phases = SCREEN_SKETCHES, DISPUTE_SKETCHES
        self._again = Judge(self._session, self._edges, self._active, self.inputs, phases)
        self._again.ask(root, screening.sketch_challenge(self._config, self._session.sid, root))
        self._failed, self._awaits_reports = encode(shown), True
        return False

    def _messages(self) -> dict[int, bytes]:
        """Each client's message with its confirmations, as it was signed."""
        return {client: pack(encode(header)) for client, header in self.dealt.items()}

    def _fitting(self, charges: Sequence[Charge]) -> tuple[Charge, ...]:
        """As many charges as fit in a message; the others come to light again."""
        room = rules.request_limit(self._config) - header_limit(self._config.cohort_size) // 2
        found: list[Charge] = []
        for charge in charges:
            room -= len(encode(charge))
            if found and room < 0:
                break
            found.append(charge)
        return tuple(found)

    def _self_keys(self, seeds: Mapping[int, bytes]) -> dict[int, bytes]:
        names, sid = self._session.members, self._session.sid
        return {member: screening.self_mask_key(sid, names[member], seed) for member, seed in seeds.items()}

    def _is_committed(self, total: Vector, members: frozenset[int]) -> bool:
        committed = screening.add_committed([self.inputs.items[member].committed for member in members])
        functional = self.judge.functional
        return bool(np.array_equal(functional.of([], [total])[0], functional.of_commitment(*committed, len(members))))

    def _seeds(self, members: frozenset[int], released: Released, charges: dict[int, Charge]) -> dict[int, bytes]:
        """The members' seeds; who has dealt shares of none, or of another, is charged."""
        seeds, held = {}, by_dealer(released)
        for member in sorted(members):
            name = self._session.members[member]
            shares, seed = self._rebuild(member, held[member])
            if seed is not None and seed_hash(self._session.sid, name, seed) == self._seed_hashes[member]:
                seeds[member] = seed
            else:
                exhibits = pack(encode(self.dealt[member])), encode(shares), self.judge.report(member)
                charges[member] = Charge(faults.BAD_SEED_SHARES, member, exhibits)
        return seeds

    def _mask_secrets(
        self,
        members: frozenset[int],
        others: frozenset[int],
        survivors: frozenset[int],
        released: Released,
        charges: dict[int, Charge],
    ) -> dict[int, bytes]:
        """The mask keys of those whose masks are left in the sum and were not opened, as far as they can be rebuilt;
        who has dealt bad shares is charged, unless it was before.
        """
        secrets = {}
        hidden = (
            {peer for peer in self._active[member] & others if (member, peer) not in self._opened} for member in members
        )
        dealt = by_dealer(released)
        for peer in sorted(frozenset().union(*hidden)):
            if peer in survivors:
                held: Mapping[int, Vector] = self._key_shares.get(peer, {})
                if len(held) < self._plan.threshold:
                    continue
            else:
                held = dealt[peer]
            shares, secret = self._rebuild(peer, held)
            if secret is not None and KeyPair.from_secret(secret).public == self._mask_key(peer):
                secrets[peer] = secret
            elif peer not in self._charged:
                exhibits = pack(encode(self.dealt[peer])), encode(shares)
                charges[peer] = Charge(faults.BAD_KEY_SHARES, peer, exhibits)
        return secrets

    def _mask_key(self, client: int) -> bytes:
        name = self._session.members[client]
        return split_part(name, self._session.parts[name])[1]

    def _rebuild(self, dealer: int, held: Mapping[int, Vector]) -> tuple[DealtShares, bytes | None]:
        """As many shares as rebuild a secret, and the secret, if they do."""
        threshold = self._plan.threshold
        if len(held) < threshold:
            raise TooFewClients(
                f"{len(held)} shares of {self._session.members[dealer]!r}, {threshold} are needed", phase=UNMASK
            )
        holders = sorted(held)[:threshold]
        values = np.array([held[holder] for holder in holders])
        shares = DealtShares(tuple(holders), b"".join(ring.to_bytes(held[holder]) for holder in holders))
        try:
            return shares, shamir.combine([holder + 1 for holder in holders], values[:, None, :])[0]
        except ShareError:
            return shares, None

    def _lost_masks(
        self,
        members: frozenset[int],
        others: frozenset[int],
        secrets: Mapping[int, bytes],
        charges: Mapping[int, Charge],
    ) -> dict[tuple[int, int], bytes]:
        """The stream keys of members' masks with others, as a member has opened them, or as the other's key gives."""
        names, sid, found = self._session.members, self._session.sid, {}
        for member in sorted(members):
            for peer in sorted(self._active[member] & others):
                shared = self._opened.get((member, peer))
                if shared is None and peer in secrets:
                    shared = KeyPair.from_secret(secrets[peer]).shared_secret(self._mask_key(member))
                if shared is not None:
                    found[member, peer] = keys.mask_key(shared, sid, names[member].encode(), names[peer].encode())
                elif peer not in charges and member not in charges:
                    raise DealerFault(
                        f"{names[peer]!r} is proved to cheat; its mask with {names[member]!r} was not opened, and "
                        "the shares of its key that came rebuild nothing",
                        phase=UNMASK,
                        culprit=names[peer],
                    )
        return found

    def _charge_members(
        self,
        judge: Judge,
        seeds: Mapping[int, bytes],
        lost: Mapping[tuple[int, int], bytes],
        secrets: Mapping[int, bytes],
        charges: dict[int, Charge],
    ) -> None:
        """Compare every number that was reported with what has come to light of its mask."""
        own = self._self_keys(seeds)
        own = {member: key for member, key in own.items() if judge.has_heard(member)}
        lost = {pair: key for pair, key in lost.items() if judge.has_heard(pair[0])}
        values = judge.functional.of([*own.values(), *lost.values()])
        for member, value in zip(own, values, strict=False):
            if not np.array_equal(judge.said(member).own, value):
                exhibits = judge.report(member), seeds[member]
                charges.setdefault(member, Charge(faults.BAD_SELF_MASK, member, exhibits))
        for (member, peer), value in zip(lost, values[len(own) :], strict=True):
            if np.array_equal(judge.said(member).peers[peer], value):
                continue
            if (member, peer) not in self._opened:
                exhibits = judge.report(member), keys.clamped(secrets[peer])
                charges.setdefault(member, Charge(faults.BAD_LOST_EDGE, member, exhibits))
            else:
                shown = (
                    pack(encode(self.dealt[member])),
                    self._session.members[peer].encode(),
                    self._opened[member, peer],
                )
                charges.setdefault(member, Charge(faults.BAD_EDGE, member, (judge.report(member), *shown)))
