"""What the contract holds of rounds, for anybody who asks a node: and how it compares with their evidence."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from secure_agg.errors import ConfigError, LedgerRefused, VerificationError
from secure_agg.ledger.evm.node import Web3, errors
from secure_agg.ledger.evm.registration import AnchoredRound
from secure_agg.ledger.evm.statement import Domain, Entry, entries_root, leaf_at


@functools.cache
def artifact() -> dict[str, Any]:
    """The compiled contract, as ``secure_agg.ledger.evm.compile`` has written it."""
    data: dict[str, Any] = json.loads(resources.files("secure_agg.ledger.evm").joinpath("registry.json").read_bytes())
    return data


@dataclass(frozen=True)
class Terms:
    """What a contract is deployed with, for good.

    Attributes:
        publisher: address that stores checkpoints and registers rounds, and posts the bonds of rounds.
        log_key: Ed25519 key of the log, 32 bytes. The contract states it; it can't check the log's signatures.
        window: seconds after a registration in which it can be challenged.
        response: seconds to answer a challenge.
        bond: wei, of a registration and of a challenge.
    """

    publisher: str
    log_key: bytes
    window: int
    response: int
    bond: int


@dataclass(frozen=True)
class RegisteredRound:
    """What the contract holds of a round.

    Attributes:
        model: digest of the result.
        leaf: RFC 9162 leaf hash of the record.
        entries: tree head over the entries.
        participants_root: as the record has it.
        participants: number of entries.
        members: leaves of the statement that was signed.
        registered: seconds since 1970, the block's.
        open: challenges that wait for their answer.
        struck: a challenge was not answered.
        released: its bond was given back.
    """

    model: bytes
    leaf: bytes
    entries: bytes
    participants_root: bytes
    participants: int
    members: int
    registered: int
    open: int
    struck: bool
    released: bool


@dataclass(frozen=True)
class OnChain:
    """What a comparison of a round's evidence with the chain has found in order.

    Attributes:
        round: as registered.
        final: whether the contract gives out the model: the window is over and no challenge is open.
        closes: seconds since 1970 when the window ends.
    """

    round: RegisteredRound
    final: bool
    closes: int


class RegistryReader:
    """A deployed contract, as whoever needs no account reads it."""

    def __init__(self, web3: Web3, address: str) -> None:
        """
        Args:
            web3: connection to the chain. What it says is believed: use a node of your own, or one that you trust.
            address: of the contract, 20 bytes in hexadecimal, from the publisher. Its code is compared with this
                version's, and not how it was deployed: see docs/anchor.md, trust and money.

        Raises:
            ConfigError: no address.
            LedgerError: nobody answers.
            VerificationError: there is no contract, or another one.
        """
        if not Web3.is_address(address):
            raise ConfigError(f"{address!r} is no address of a contract: 0x and 40 hexadecimal digits")
        self._web3 = web3
        self.address: Final = Web3.to_checksum_address(address)
        compiled = artifact()
        with errors("contract"):
            self.domain: Final = Domain(web3.eth.chain_id, bytes.fromhex(self.address[2:]))
            code = bytes(web3.eth.get_code(self.address))[: compiled["runtime_bytes"]]
        if hashlib.sha256(code).hexdigest() != compiled["runtime_sha256"]:
            raise VerificationError(f"at {self.address} is {'another' if code else 'no'} contract than this version's")
        self._contract: Any = web3.eth.contract(address=self.address, abi=compiled["abi"])

    @functools.cached_property
    def terms(self) -> Terms:
        """What it was deployed with."""
        names = ("PUBLISHER", "LOG_KEY", "WINDOW", "RESPONSE", "BOND")
        return Terms(*(self._read(name) for name in names))

    def checkpoint(self) -> tuple[int, bytes]:
        """Size and root of the newest head of the log that the contract holds."""
        return self._read("size"), self._read("root")

    def credit(self, address: str) -> int:
        """What an account is owed, in wei."""
        return int(self._read("credits", address))

    def get_model(self, task: str, number: int) -> bytes:
        """Digest of a round's result, 32 bytes.

        Raises:
            VerificationError: it is not registered, not final, challenged or struck.
        """
        try:
            return bytes(self._read("get_model", task.encode(), number))
        except LedgerRefused as error:
            raise VerificationError(f"round {number} of task {task!r}: {error.args[0]}") from error

    def get_round(self, task: str, number: int) -> RegisteredRound:
        """What the contract holds of a round, final or not.

        Raises:
            VerificationError: it is not registered.
        """
        round = RegisteredRound(*self._read("get_round", task.encode(), number))
        if not round.registered:
            raise VerificationError(f"round {number} of task {task!r} is not registered at {self.address}")
        return round

    def get_entries(self, task: str, number: int, *, from_block: int = 0) -> tuple[Entry, ...]:
        """The entries of a round, from the contract's events.

        Args:
            from_block: at or before the registration; nodes limit how many blocks they search.

        Raises:
            VerificationError: the round is not registered, or the node gave out other events.
        """
        held = self.get_round(task, number)
        events = self._events("EntryRegistered", task, number, from_block)
        entries = tuple(Entry.from_words(event["entry"]) for event in events)
        if len(entries) != held.participants or entries_root(entries) != held.entries:
            raise VerificationError(f"the events of round {number} of task {task!r} are not those of its entries")
        return entries

    def open_challenges(self, task: str, number: int, *, from_block: int = 0) -> tuple[int, ...]:
        """Indices of the participants of a round whose challenges wait for their answer.

        Args:
            from_block: as in ``get_entries``.
        """
        found = []
        for event in self._events("Challenged", task, number, from_block):
            _, _, closed = self._read("get_challenge", task.encode(), number, event["index"])
            if not closed:
                found.append(int(event["index"]))
        return tuple(sorted(found))

    def verify_chain(self, round: AnchoredRound) -> OnChain:
        """Compare what the contract holds of a round with what its evidence says: every K_i computed again.

        Raises:
            VerificationError: names what differs; or the round is not registered, or struck.
        """
        record = round.record
        where = f"round {record.round} of task {record.task!r}"
        held = self.get_round(record.task, record.round)
        for what, registered, proved in (
            ("record", held.leaf, round.leaf),
            ("result", held.model, record.result_model),
            ("root of the participants", held.participants_root, record.participants_root),
            ("number of participants", held.participants, len(round.participants)),
            ("number of members", held.members, len(round.members)),
            ("entries", held.entries, entries_root(round.entries)),
        ):
            if registered != proved:
                raise VerificationError(f"{where} is registered with another {what} than its evidence has")
        if held.struck:
            raise VerificationError(f"{where} is struck: a challenge was not answered")
        closes = held.registered + self.terms.window
        with errors("newest block"):
            now = int(self._web3.eth.get_block("latest")["timestamp"])
        return OnChain(held, now >= closes and not held.open, closes)

    def find_fault(self, round: AnchoredRound, *, from_block: int = 0) -> int | None:
        """An entry that can't stand a challenge, by the round's evidence; None if every one can.

        If there is no such entry, but one of a member that the evidence has no commitment of, it is that one: whoever
        has the commitment and its nonce can answer, and the bond is lost.

        Args:
            from_block: as in ``get_entries``.

        Raises:
            VerificationError: the round is not registered, or with another set of participants than the evidence has.
        """
        record = round.record
        held = self.get_round(record.task, record.round)
        if held.participants_root != record.participants_root:
            raise VerificationError(
                f"round {record.round} of task {record.task!r} is registered with another statement"
            )
        true = {who.place: (who, entry.point) for who, entry in zip(round.participants, round.entries, strict=True)}
        unknown = None
        for index, entry in enumerate(self.get_entries(record.task, record.round, from_block=from_block)):
            place = leaf_at(entry.place, held.members, len(round.members))
            if place is not None and place not in true:
                unknown = index if unknown is None else unknown
                continue
            if place is None or true[place][1] != entry.point:
                return index
            # Where the statement is said to have members besides the participants, no answer without a nonce is taken.
            if held.members != held.participants and not true[place][0].nonce:
                return index
        return unknown

    def _events(self, name: str, task: str, number: int, from_block: int) -> list[Any]:
        """The contract's events of one kind about one round, in order."""
        key = self._read("round_key", task.encode(), number)
        with errors(name):
            logs = self._contract.events[name]().get_logs(from_block=from_block, argument_filters={"key": key})
        return [log["args"] for log in logs]

    def _read(self, function: str, *arguments: Any) -> Any:
        with errors(function):
            return self._contract.functions[function](*arguments).call()
