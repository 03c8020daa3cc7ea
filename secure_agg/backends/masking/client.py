"""The masking backend's part of a client."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from mpc import graph, keys, masks, ring, shamir
from mpc.keys import KeyAgreementError, KeyPair
from mpc.keystream import KeyStream, derive_key
from mpc.masks import Mask
from mpc.ring import Vector
from secure_agg.backends.contract import ClientSide, Hidden, Joining, Session
from secure_agg.backends.masking import claims, faults, rules, screening
from secure_agg.backends.masking.rules import (
    CHOOSE_PEERS,
    CONFIRM_EDGES,
    DISPUTE,
    DISPUTE_SKETCHES,
    MASKED_INPUT,
    SCREEN,
    SCREEN_SKETCHES,
    SHARE_KEYS,
    UNMASK,
)
from secure_agg.backends.masking.screening import Tests, Values
from secure_agg.backends.masking.wire import (
    MASK_KEY,
    SELF_SEED,
    Charge,
    Charges,
    Choice,
    Choosers,
    Confirmed,
    Disputes,
    Edge,
    Edges,
    Excised,
    FailedSum,
    KeyShares,
    MaskedPart,
    OpenedMask,
    Openings,
    Released,
    ReleasedShare,
    Report,
    ScreenedInput,
    ScreenedRelease,
    Screening,
    ShownCharges,
    SignedChoice,
    join_part,
    seed_hash,
    share_hash,
    split_part,
)
from secure_agg.errors import BadKey, PolicyViolation, VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import verify_signature
from secure_agg.protocol.messages import ADVERTISE, decode, encode, header_limit, signed_bytes
from secure_agg.protocol.sparse.opening import learn
from secure_agg.protocol.sparse.wire import Shown
from zk.commitment import Commitment

_DISPUTED: Final = {DISPUTE: SCREEN, DISPUTE_SKETCHES: SCREEN_SKETCHES}
"""Where reports are disputed, and made."""


class MaskingClient(ClientSide):
    """Masks one vector, holds shares for others, and releases of each peer either one share or the other."""

    def __init__(self, config: RoundConfig, name: str, derive: Callable[[str], bytes]) -> None:
        self._config = config
        self._name = name
        self._derive = derive
        self._channel = KeyPair.from_secret(derive("channel-key"))
        self._mask = KeyPair.from_secret(derive("mask-key"))
        self._seed = derive("self-mask-seed")
        self._agreed: dict[int, tuple[bytes, bytes]] = {}
        self._chosen: list[int] = []
        self._choosers: list[int] = []
        self._active: list[int] = []
        self._mask_shares: dict[int, bytes] = {}
        self._seed_shares: dict[int, bytes] = {}
        self._survivors: frozenset[int] = frozenset()
        self._screens = rules.screens(config)
        self._accepted: list[int] = []
        self._mask_keys: list[bytes] = []
        self._sent = b""
        self._reported: dict[str, Values] = {}
        self._listed: dict[int, bytes] = {}
        self._excised: frozenset[int] = frozenset()
        self.keeps = claims.KEPT if self._screens else ()
        self.faults: list[FaultProof] = []

    def __repr__(self) -> str:
        return f"MaskingClient({self._name!r})"

    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        """Two public keys: one for the channels that carry shares, one for the masks that may be rebuilt."""
        return Joining(nonce, join_part(self._channel.public, self._mask.public))

    def begin(self, session: Session) -> None:
        """Refuse copied keys; agree with every participant on the two secrets of each pair."""
        if session.near is None:
            session.once("distinct keys", None, lambda: rules.check_distinct_keys(session))
        self._session = session
        self._agreed.clear()
        self._plan = rules.plan(session)
        rules.check_renounceable(session, self._plan)
        self._index = session.once("index", None, lambda: {name: i for i, name in enumerate(session.members)})
        self._me = self._index[self._name]
        others = [i for i in range(len(session.members)) if i != self._me]
        if self._plan.complete:
            self._chosen, self._choosers = others, others
        else:
            stream = KeyStream(self._bound("choice"))
            self._chosen = graph.choose(len(session.members), self._me, self._plan.neighbours, stream)

    def _bound(self, label: str) -> bytes:
        """A secret of this client for this session."""
        return derive_key(self._derive(label), "session", self._session.sid)

    def _public(self, peer: int) -> tuple[bytes, bytes]:
        name = self._session.members[peer]
        return split_part(name, self._session.parts[name])

    def _secrets(self, peer: int) -> tuple[bytes, bytes]:
        """The raw channel secret and mask secret shared with a peer; kept from share-keys to masked-input."""
        if peer not in self._agreed:
            channel, mask = self._public(peer)
            try:
                self._agreed[peer] = self._channel.shared_secret(channel), self._mask.shared_secret(mask)
            except KeyAgreementError as error:
                raise BadKey(str(error), phase=ADVERTISE, culprit=self._session.members[peer]) from error
        return self._agreed[peer]

    def answer(self, phase: str, request: bytes) -> bytes:
        """Phases choose-peers, share-keys and unmask; where inputs are screened, confirm-edges, screen and dispute, and
        the last two again, of sketches.
        """
        if phase == CHOOSE_PEERS:
            return encode(Choice(tuple(self._chosen)))
        if phase == CONFIRM_EDGES:
            self._accepted = self._accept(request, phase)
            rules.check_active(self._session, self._plan, self._accepted, self._chosen)
            return encode(Confirmed(tuple(self._accepted)))
        if phase == SCREEN:
            return encode(self._report_masks(request))
        if phase == SCREEN_SKETCHES:
            return encode(self._report_sketches(request))
        if phase in _DISPUTED:
            return encode(self._open_disputed(phase, request))
        if phase == UNMASK:
            lost = [peer for peer in self._active if peer not in self._survivors]
            released = self._release(request)
            if not self._screens:
                return encode(released)
            opened = tuple(OpenedMask(peer, self._mask_secret(peer)) for peer in lost)
            return encode(ScreenedRelease(released.shares, opened))
        if self._session.near is not None:
            self._read_neighbours(request)
        return encode(self._share_keys())

    def _read_neighbours(self, request: bytes) -> None:
        """Who has chosen this client; and of them and those whom it has chosen what they have advertised: of just
        these, so that nobody can be left out whom this client has drawn, or made up.
        """
        session, limit = self._session, header_limit(self._config.cohort_size)
        found = decode(Choosers, request, limit, phase=SHARE_KEYS)
        if not self._plan.complete:
            self._choosers = self._read_choosers(found.choices)
        elif found.choices:
            raise PolicyViolation("everybody has chosen everybody: nothing is to be shown of that", phase=SHARE_KEYS)
        awaited = [session.members[peer] for peer in sorted({*self._chosen, *self._choosers})]
        if list(learn(session, found.shown, phase=SHARE_KEYS)) != awaited:
            raise PolicyViolation("others are shown than this client has chosen, or than chose it", phase=SHARE_KEYS)
        rules.check_distinct_keys(session, (self._name, *awaited))

    def _read_choosers(self, choices: Sequence[SignedChoice]) -> list[int]:
        session, most = self._session, rules.most_choosers(self._plan)
        indices = [choice.chooser for choice in choices]
        if len(indices) > most:
            raise PolicyViolation(
                f"{len(indices)} clients are said to have chosen this one, above {most}", phase=SHARE_KEYS
            )
        if indices != sorted(set(indices)) or any(not 0 <= i < len(session.members) or i == self._me for i in indices):
            raise PolicyViolation("the clients that chose this one are not in order, each once", phase=SHARE_KEYS)
        for choice in choices:
            if self._me not in session.once("choice", choice, functools.partial(self._read_choice, choice)):
                raise PolicyViolation("a client is said to have chosen this one and did not", phase=SHARE_KEYS)
        return indices

    def _read_choice(self, choice: SignedChoice) -> tuple[int, ...]:
        """The peers that another client has chosen, as it has signed."""
        session, name = self._session, self._session.members[choice.chooser]
        message = signed_bytes(session.sid, CHOOSE_PEERS, name, "", choice.body)
        verify_signature(session.keys[name], choice.signature, message, phase=CHOOSE_PEERS, culprit=name)
        return decode(Choice, choice.body, len(choice.body), phase=CHOOSE_PEERS, culprit=name).peers

    def _share_keys(self) -> KeyShares:
        """Confirm every edge; share mask key and seed among those this client chose, and never the channel key."""
        sid, me = self._session.sid, self._name.encode()
        holders = [*self._chosen, self._me] if self._plan.complete else self._chosen
        points = [holder + 1 for holder in holders]
        randomness = KeyStream(self._bound("share-polynomials"))
        dealt = shamir.split([self._mask.secret, self._seed], self._plan.threshold, points, randomness)
        shares = dict(zip(holders, dealt, strict=True))
        edges = []
        for peer in sorted({*self._chosen, *self._choosers}):
            name = self._session.members[peer]
            channel, mask = self._secrets(peer)
            sealed, hashes = b"", (b"", b"")
            if peer in shares:
                mask_share, seed_share = (ring.to_bytes(share) for share in shares[peer])
                hashes = (
                    share_hash(sid, MASK_KEY, self._name, name, mask_share),
                    share_hash(sid, SELF_SEED, self._name, name, seed_share),
                )
                sealed = keys.seal(channel, sid, me, name.encode(), mask_share + seed_share, *hashes)
            edges.append(Edge(peer, keys.confirmation(mask, sid, me, name.encode()), sealed, *hashes))
        own_hash = b""
        if self._plan.complete:
            self._seed_shares[self._me] = ring.to_bytes(shares[self._me][1])
            own_hash = share_hash(sid, SELF_SEED, self._name, self._name, self._seed_shares[self._me])
        return KeyShares(tuple(edges), own_hash)

    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        """Check what the peers sent; the masks are then added to the vector."""
        active = self._read_confirmed(request) if self._screens else self._accept(request, MASKED_INPUT)
        rules.check_active(self._session, self._plan, active, self._chosen)
        sid, me = self._session.sid, self._name.encode()
        terms = [Mask(screening.self_mask_key(sid, self._name, self._seed), 1)]
        for peer in active:
            name = self._session.members[peer].encode()
            key = keys.mask_key(self._secrets(peer)[1], sid, me, name)
            terms.append(Mask(key, 1 if self._me < peer else -1))
        self._active, self._mask_keys = active, [term.key for term in terms]
        self._agreed.clear()
        part = encode(MaskedPart(seed_hash(sid, self._name, self._seed), tuple(active)))

        def add(vector: Vector) -> tuple[bytes, Hidden]:
            form = rules.form(self._config)
            loaded = form.load(vector)
            masks.apply(loaded, terms)
            return part, form.to_bytes(loaded)

        return add

    def _read_confirmed(self, request: bytes) -> list[int]:
        """The edges that both ends have accepted."""
        limit = header_limit(self._config.cohort_size)
        peers = list(decode(Confirmed, request, limit, phase=MASKED_INPUT).peers)
        if peers != sorted(set(peers)) or not set(self._accepted).issuperset(peers):
            raise PolicyViolation("the confirmed peers are not in order, each one accepted", phase=MASKED_INPUT)
        return peers

    def _accept(self, request: bytes, phase: str) -> list[int]:
        """The peers whose confirmation is right and whose shares, where they dealt any, are good: these are kept."""
        edges = decode(Edges, request, header_limit(self._config.cohort_size), phase=phase).edges
        indices = [edge.peer for edge in edges]
        if indices != sorted(set(indices)) or not {*self._chosen, *self._choosers}.issuperset(indices):
            raise PolicyViolation("the peers' messages are not in order, each expected one once", phase=phase)
        sid, me = self._session.sid, self._name.encode()
        active = []
        taken: dict[int, tuple[bytes, bytes]] = {}
        for edge in edges:
            name = self._session.members[edge.peer].encode()
            channel, mask = self._secrets(edge.peer)
            if not keys.confirms(mask, sid, name, me, edge.confirmation):
                continue
            if edge.peer in self._choosers:
                shares = self._open_shares(edge, channel)
                if shares is None:
                    continue
                taken[edge.peer] = shares
            active.append(edge.peer)
        self._mask_shares = {peer: mask_share for peer, (mask_share, _) in taken.items()}
        own = {dealer: share for dealer, share in self._seed_shares.items() if dealer == self._me}
        self._seed_shares = own | {peer: seed_share for peer, (_, seed_share) in taken.items()}
        return active

    def _open_shares(self, edge: Edge, channel: bytes) -> tuple[bytes, bytes] | None:
        """Open and check the shares, of mask key and seed, that a peer dealt to this client. A bad share leaves the
        edge inactive.
        """
        sid, dealer = self._session.sid, self._session.members[edge.peer]
        try:
            opened = keys.unseal(
                channel,
                sid,
                dealer.encode(),
                self._name.encode(),
                edge.sealed,
                edge.mask_hash,
                edge.seed_hash,
            )
            ring.from_bytes(opened)
        except ValueError:  # does not open, or is not canonical
            return None
        mask_share, seed_share = opened[: shamir.SHARE_BYTES], opened[shamir.SHARE_BYTES :]
        hashes = (
            share_hash(sid, MASK_KEY, dealer, self._name, mask_share),
            share_hash(sid, SELF_SEED, dealer, self._name, seed_share),
        )
        if hashes != (edge.mask_hash, edge.seed_hash):
            return None
        return mask_share, seed_share

    def agree(self, survivors: tuple[str, ...]) -> None:
        """Object to a set that would leave this client's input with too few masks."""
        indices = frozenset(self._index[name] for name in survivors)
        rules.check_survivors(self._session, self._plan, indices, self._active, self._chosen)
        self._survivors = indices

    def _release(self, request: bytes) -> Released:
        """Of every dealer one share: of the seed if it is in S, else of the mask key."""
        if request:
            raise PolicyViolation("an unmask request says nothing but the agreed set", phase=UNMASK)
        shares = [
            ReleasedShare(dealer, share if dealer in self._survivors else self._mask_shares[dealer])
            for dealer, share in sorted(self._seed_shares.items())
        ]
        if not self._screens:  # of whoever is proved to cheat the mask key has to be rebuilt too
            self._mask_shares.clear()
        self._seed_shares.clear()
        return Released(tuple(shares))

    # --- screening ------------------------------------------------------------------------------------------

    def sent(self, commitment: bytes, digest: bytes, sketch: bytes) -> None:
        """What this client's input has to be known by."""
        self._sent = screening.input_value(commitment, digest, sketch)

    def _report_masks(self, request: bytes) -> Report:
        """What the functionals that follow from all inputs say of this client's masks, if its own input is right."""
        session = self._session
        inputs = decode(Screening, request, header_limit(self._config.cohort_size), phase=SCREEN).inputs
        indices = [item.client for item in inputs]
        if indices != sorted(set(indices)) or any(not 0 <= index < len(session.members) for index in indices):
            raise PolicyViolation("the accepted inputs are not in order, each once", phase=SCREEN)
        if ScreenedInput(self._me, self._sent) not in inputs:
            raise PolicyViolation("this client's own input is missing or another", phase=SCREEN)
        root = screening.inputs_root(session, inputs)
        self._listed = {item.client: item.value for item in inputs}
        return self._report(SCREEN, root, screening.challenge(self._config, session.sid, root))

    def _report(self, phase: str, root: bytes, functional: Tests) -> Report:
        values = functional.of(self._mask_keys)
        hashed = seed_hash(self._session.sid, self._name, self._seed)
        report = Report(root, hashed, tuple(self._active), ring.to_bytes(values.reshape(-1)))
        self._reported[phase] = screening.read_report(report, self._me, len(self._session.members))
        return report

    def _report_sketches(self, request: bytes) -> Report:
        """What functionals of the sketch's part say of this client's masks, where the sum of the set that it has signed
        is seen to fail: nobody asks for that at will.
        """
        session, config = self._session, self._config
        shown = decode(FailedSum, request, rules.request_limit(config), phase=SCREEN_SKETCHES)
        try:
            screening.check_failed(session, self._listed, shown, self._survivors)
        except VerificationError as error:
            raise PolicyViolation(f"no sum has failed: {error}", phase=SCREEN_SKETCHES) from error
        root = screening.failed_root(self._reported[SCREEN].root, shown.total)
        return self._report(SCREEN_SKETCHES, root, screening.sketch_challenge(config, session.sid, root))

    def _open_disputed(self, phase: str, request: bytes) -> Openings:
        """The secrets of the masks of which a peer has signed another value than this client. One of the two lies, and
        the peer is the one that knows them anyway.
        """
        session, reporting = self._session, _DISPUTED[phase]
        said = self._reported.get(reporting)
        reports = decode(Disputes, request, header_limit(self._config.cohort_size), phase=phase).reports
        indices = [item.client for item in reports]
        if said is None or indices != sorted(set(indices)) or not said.peers.keys() >= set(indices):
            raise PolicyViolation("the reports are not in order, each of a peer once", phase=phase)
        for item in reports:
            name = session.members[item.client]
            message = signed_bytes(session.sid, reporting, name, "", item.body)
            verify_signature(session.keys[name], item.signature, message, phase=reporting, culprit=name)
            report = decode(Report, item.body, len(item.body), phase=reporting, culprit=name)
            try:
                theirs = screening.read_report(report, item.client, len(session.members))
            except ValueError as error:
                raise PolicyViolation(str(error), phase=phase) from error
            if theirs.root != said.root or self._me not in theirs.peers:
                raise PolicyViolation(f"a report of {name!r} that is about other inputs or masks", phase=phase)
            if theirs.peers[self._me].tobytes() == said.peers[item.client].tobytes():
                raise PolicyViolation(f"{name!r} has reported what this client has: nothing is opened", phase=phase)
        return Openings(tuple(OpenedMask(peer, self._mask_secret(peer)) for peer in indices))

    def _mask_secret(self, peer: int) -> bytes:
        return self._mask.shared_secret(self._public(peer)[1])

    def excise(self, phase: str, request: bytes) -> tuple[tuple[str, ...], bytes]:
        """Check every charge; give out the masks with those who are charged, and the shares of their mask keys."""
        session, policy = self._session, self._config.policy
        charges, shown = self._read_charges(phase, request)
        charged = [charge.culprit for charge in charges]
        if not charged or charged != sorted(set(charged)) or self._me in charged:
            raise PolicyViolation("the charges are not in order, each of another client once", phase=phase)
        for charge in charges:
            try:
                faults.check_charge(session, charge)
            except VerificationError as error:
                raise PolicyViolation(f"a charge proves nothing: {error}", phase=phase) from error
        if len(self._excised.union(charged)) > policy.max_corrupt:
            raise PolicyViolation(f"more than {policy.max_corrupt} clients are to be taken out", phase=phase)
        left = self._survivors.difference(charged)
        rules.check_survivors(session, self._plan, left, self._active, self._chosen)
        opened = [OpenedMask(peer, self._mask_secret(peer)) for peer in charged if peer in self._active]
        shares = [
            ReleasedShare(dealer, self._mask_shares[dealer])
            for dealer in charged
            if dealer in self._survivors and dealer in self._mask_shares
        ]
        self.faults += [faults.prove(session, charge, shown) for charge in charges]
        self._survivors, self._excised = left, self._excised.union(charged)
        return tuple(session.members[i] for i in sorted(left)), encode(Excised(tuple(opened), tuple(shares)))

    def _read_charges(self, phase: str, request: bytes) -> tuple[tuple[Charge, ...], Shown | None]:
        """Charges, and in a sparse session the advertisements of those whom they are about."""
        limit = rules.request_limit(self._config)
        if self._session.near is None:
            return decode(Charges, request, limit, phase=phase).items, None
        found = decode(ShownCharges, request, limit, phase=phase)
        learn(self._session, found.shown, phase=phase)
        return found.items, found.shown

    def accuse(
        self,
        cohort: Mapping[str, bytes],
        operator: str,
        public: bytes,
        kept: Mapping[str, bytes],
        phase: str,
        request: bytes,
    ) -> Iterable[FaultProof]:
        """Two lists, a failure that is none, a charge without a proof: see ``claims``."""
        if not self._screens:
            return ()
        return claims.accuse(self._session, cohort, operator, public, kept, phase, request)
