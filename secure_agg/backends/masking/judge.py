"""Who is left out where inputs are screened: the guilty, by their own signed numbers or by an opened secret, and the
silent, as long as no set is signed.

Two clients that say different things of their mask are asked for the secret that it follows from; it has to be the one
that both have confirmed. What it gives is compared with what each of them has signed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import numpy as np

from mpc import keys
from secure_agg.backends.contract import Session
from secure_agg.backends.masking import faults, screening
from secure_agg.backends.masking.inputs import KeptInputs
from secure_agg.backends.masking.rules import DISPUTE, SCREEN
from secure_agg.backends.masking.screening import Tests, Values
from secure_agg.backends.masking.wire import (
    Charge,
    Disputes,
    Edge,
    OpenedMask,
    Openings,
    Report,
    ScreenedInput,
    Screening,
    SignedReport,
)
from secure_agg.errors import BadInput, BadShare, MalformedMessage, Unattributed
from secure_agg.protocol.messages import Header, Message, decode, encode, header_limit, pack

_REPORT_BYTES: Final = 96
"""Of a relayed report beside its body: signature, index, lengths."""
_HEADER_BYTES: Final = 2048
"""Of a request beside its body, at most."""

Edges = Mapping[int, Mapping[int, Edge]]


def check_opened(session: Session, edges: Edges, me: int, opened: OpenedMask, *, phase: str) -> None:
    """Refuse the secret of a mask that is not the one both ends have confirmed.

    Raises:
        BadShare: names the client that has shown it: its own confirmation is of another secret, or it has used a mask
            with a peer that confirmed another.
    """
    name, peer = session.members[me], session.members[opened.peer]
    for one, other, sender, recipient in ((me, opened.peer, name, peer), (opened.peer, me, peer, name)):
        shown = edges[one][other].confirmation
        if not keys.confirms(opened.secret, session.sid, sender.encode(), recipient.encode(), shown):
            raise BadShare(f"the secret of the mask with {peer!r} is not the confirmed one", phase=phase, culprit=name)


class Judge:
    """One list of reports, from what they are about to whom they convict.

    Attributes:
        inputs: the accepted ones.
        root: what is reported on, once that is known. functional: which follows from it.
        guilty: charges, by the client.
        silent: who has not reported, or not opened a mask that is disputed: it proves nothing.
    """

    functional: Tests

    def __init__(
        self,
        session: Session,
        edges: Edges,
        active: Mapping[int, frozenset[int]],
        inputs: KeptInputs,
        phases: tuple[str, str] = (SCREEN, DISPUTE),
    ) -> None:
        """
        Args:
            edges: what each client has sent to each peer.
            active: whose masks are in each input; as it grows.
            phases: in which reports are made, and disputed.
        """
        self._reporting, self._disputing = phases
        self._session, self._edges, self._active, self.inputs = session, edges, active, inputs
        self._reports: dict[int, Values] = {}
        self._headers: dict[int, Header] = {}
        self._disputed: dict[int, list[int]] = {}
        self._opened: dict[tuple[int, int], bytes] = {}
        self._listed: Screening | None = None
        self.root = b""
        self._judged = False
        self.guilty: dict[int, Charge] = {}
        self.silent: frozenset[int] = frozenset()

    @property
    def screening(self) -> Screening:
        """The accepted inputs, fixed when they are first asked for."""
        if self._listed is None:
            items = []
            for client, item in sorted(self.inputs.items.items()):
                items.append(ScreenedInput(client, item.value))
            self._listed = Screening(tuple(items))
            root = screening.inputs_root(self._session, items)
            self.ask(root, screening.challenge(self._session.config, self._session.sid, root))
        return self._listed

    def ask(self, root: bytes, functional: Tests) -> None:
        """What is reported on is fixed."""
        self.root, self.functional = root, functional

    # --- reports --------------------------------------------------------------------------------------------

    def take_report(self, me: int, seed_hash: bytes, message: Message) -> None:
        """Take one report.

        Args:
            seed_hash: that came with its input.

        Raises:
            MalformedMessage, BadInput: it is none, or contradicts the client's own input.
        """
        name, header = self._session.members[me], message.header
        report = decode(Report, header.body, len(header.body), phase=self._reporting, culprit=name)
        try:
            said = screening.read_report(report, me, len(self._session.members))
        except ValueError as error:
            raise MalformedMessage(str(error), phase=self._reporting, culprit=name) from error
        if said.root != self.root or said.seed_hash != seed_hash or said.peers.keys() != self._active[me]:
            raise BadInput(
                "a report is about other inputs, or other masks, than were sent", phase=self._reporting, culprit=name
            )
        self._reports[me], self._headers[me] = said, header

    def has_heard(self, client: int) -> bool:
        """Whether a client has reported."""
        return client in self._reports

    def report(self, client: int) -> bytes:
        """A report as it was signed."""
        return pack(encode(self._headers[client]))

    def said(self, client: int) -> Values:
        """A report as it was read."""
        return self._reports[client]

    def judge_reports(self) -> bool:
        """Charge whoever's numbers do not explain its input.

        Returns:
            Whether two clients say different things of one mask.
        """
        self.silent = frozenset(self.inputs.items) - self._reports.keys()
        reporters = sorted(self._reports)
        found = self.functional.of([], [self.inputs.vector(client) for client in reporters])
        for client, masked in zip(reporters, found, strict=True):
            committed, said = self.inputs.items[client].committed, self._reports[client]
            if not screening.explains(self.functional, client, masked, committed, said):
                self._charge(faults.BAD_INPUT, client, self.inputs.message(client), self.report(client))
        disputed: dict[int, list[int]] = defaultdict(list)
        for client in reporters:
            for peer in self._active[client] & self._reports.keys():
                if not np.array_equal(self._reports[client].peers[peer], self._reports[peer].peers[client]):
                    disputed[client].append(peer)
        self._share_out({client: sorted(peers) for client, peers in disputed.items()})
        return bool(self._disputed)

    def _share_out(self, disputed: dict[int, list[int]]) -> None:
        """Who is asked to open which mask: both ends are, as far as the reports of a client's peers fit in a message.

        Where neither is, whoever contradicts more peers than may be corrupt is left out: no honest client does.
        """
        limit = header_limit(self._session.config.cohort_size) - _HEADER_BYTES
        longest = max((len(self._headers[client].body) for client in disputed), default=1) + _REPORT_BYTES
        self._disputed = {client: peers[: limit // longest] for client, peers in disputed.items()}
        most = self._session.config.policy.max_corrupt
        for client, peers in disputed.items():
            for peer in peers:
                if peer in self._disputed[client] or client in self._disputed[peer]:
                    continue
                out = {end for end in (client, peer) if len(disputed[end]) > most}
                if not out:
                    raise Unattributed("more masks are disputed than fit in a message", phase=self._disputing)
                self.silent |= out

    def _charge(self, kind: str, client: int, *exhibits: bytes) -> None:
        self.guilty.setdefault(client, Charge(kind, client, exhibits))

    # --- disputes -------------------------------------------------------------------------------------------

    def disputes(self, me: int) -> Disputes:
        """What a client is shown of peers that contradict it."""
        shown = [(peer, self._headers[peer]) for peer in self._disputed.get(me, ())]
        return Disputes(tuple(SignedReport(peer, header.body, header.signature) for peer, header in shown))

    def take_openings(self, me: int, body: bytes) -> None:
        """Take the secrets of the masks that a client was asked for.

        Raises:
            MalformedMessage, BadShare: they are others, or not the confirmed ones.
        """
        name = self._session.members[me]
        masks = decode(Openings, body, len(body), phase=self._disputing, culprit=name).masks
        if [mask.peer for mask in masks] != self._disputed.get(me, []):
            raise MalformedMessage("other masks are opened than are disputed", phase=self._disputing, culprit=name)
        for mask in masks:
            check_opened(self._session, self._edges, me, mask, phase=self._disputing)
        for mask in masks:
            self._opened.setdefault((min(me, mask.peer), max(me, mask.peer)), mask.secret)
        self._disputed.pop(me, None)

    def judge_openings(self, dealt: Mapping[int, bytes]) -> None:
        """Charge whoever has reported something else of a mask than its secret gives.

        Args:
            dealt: each client's message with its confirmations.
        """
        if self._judged:
            return
        self._judged = True
        self.silent |= self._disputed.keys()
        names, sid = [name.encode() for name in self._session.members], self._session.sid
        masks = [keys.mask_key(secret, sid, names[i], names[j]) for (i, j), secret in self._opened.items()]
        found = self.functional.of(masks) if masks else ()
        for ((i, j), secret), value in zip(self._opened.items(), found, strict=True):
            for me, peer in ((i, j), (j, i)):
                if not np.array_equal(self._reports[me].peers[peer], value):
                    self._charge(faults.BAD_EDGE, me, self.report(me), dealt[me], names[peer], secret)
