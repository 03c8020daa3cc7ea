"""The contract's client: deploys it, anchors rounds, challenges and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from secure_agg.errors import ConfigError, LedgerError, VerificationError
from secure_agg.ledger.evm.node import LocalAccount, Web3, send
from secure_agg.ledger.evm.reader import RegistryReader, Terms, artifact
from secure_agg.ledger.evm.registration import AnchoredRound
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.tlog.proof import check_consistency


class Registry(RegistryReader):
    """A deployed contract, as one account uses it or, without one, a reader."""

    def __init__(self, web3: Web3, address: str, account: LocalAccount | None = None) -> None:
        """
        Args:
            web3, address: as for ``RegistryReader``, with its errors.
            account: that sends transactions.
        """
        super().__init__(web3, address)
        self._account = account

    @staticmethod
    def deploy(web3: Web3, account: LocalAccount, terms: Terms) -> Registry:
        """Deploy the contract and wait for it.

        Raises:
            LedgerRefused: terms that the contract does not take.
            LedgerError: nobody answers, or the account can't pay.
        """
        compiled = artifact()
        contract: Any = web3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
        call = contract.constructor(terms.publisher, terms.log_key, terms.window, terms.response, terms.bond)
        receipt = send(web3, account, "deploy", call, 0)
        return Registry(web3, receipt["contractAddress"], account)

    def store_checkpoint(self, ledger: Ledger) -> int:
        """Bring the contract up to the ledger's newest head.

        Returns:
            Its size.

        Raises:
            VerificationError: the contract is another log's, or what it holds is not the ledger's beginning.
            LedgerRefused: the account is not the publisher.
        """
        if ledger.log_public != self.terms.log_key:
            raise VerificationError(f"the contract is of another log: its key is {self.terms.log_key.hex()}")
        head = ledger.head()
        size, root = self.checkpoint()
        if size > head.size:
            raise VerificationError(f"the contract knows {size} records of this log, the ledger has {head.size}")
        proof = ledger.consistency(size, head.size)
        check_consistency(size, head.size, root, head.root, proof)
        if size != head.size:
            self._transact("store_checkpoint", size, root, head.size, head.root, list(proof))
        return head.size

    def register(self, round: AnchoredRound, index: int, path: Sequence[bytes]) -> None:
        """Register a round, and post its bond.

        Args:
            index: of its record in the log.
            path: inclusion proof of the record under the contract's checkpoint.

        Raises:
            LedgerRefused: names what the contract refuses.
        """
        statement = round.statement
        self._transact(
            "register",
            record_fields(round.record),
            statement.members,
            [entry.words() for entry in statement.entries],
            list(statement.sums),
            index,
            list(path),
            statement.open(self.domain),
            value=self.terms.bond,
        )

    def anchor(self, ledger: Ledger, task: str, number: int) -> AnchoredRound:
        """Bring the checkpoint up to date, verify a round of the ledger from its evidence, and register it.

        Raises:
            LedgerError: the ledger holds no such round.
            VerificationError: its evidence does not prove it, or the contract is another log's.
            ConfigError: it is of a kind that can't be anchored.
            LedgerRefused: names what the contract refuses; for one, that it has the round already.
        """
        index = ledger.find(task, number)
        if index is None:
            raise LedgerError(f"ledger {ledger.path} holds no round {number} of task {task!r}")
        record = ledger.record(index)
        round = AnchoredRound.of(ledger.evidence(record))
        if round.record != record:
            raise VerificationError(f"the evidence of round {number} of task {task!r} does not prove its record")
        size = self.store_checkpoint(ledger)
        self.register(round, index, ledger.receipt(index, size).proof)
        return round

    def challenge(self, task: str, number: int, index: int) -> None:
        """Claim, under a bond, that an entry is not of its participant's commitment.

        Raises:
            LedgerRefused: names what the contract refuses.
        """
        self._transact("challenge", task.encode(), number, index, value=self.terms.bond)

    def answer(self, round: AnchoredRound, index: int) -> None:
        """Answer a challenge. Anybody may who has the evidence.

        Raises:
            LedgerRefused: names what the contract refuses.
        """
        record, shown = round.record, round.answer(index, self.domain)
        self._transact(
            "answer",
            record.task.encode(),
            record.round,
            index,
            shown.entry.words(),
            list(shown.entry_path),
            shown.participant.name.encode(),
            shown.participant.commitment,
            record.attempt,
            shown.participant.nonce,
            list(shown.member_path),
            shown.opening,
        )

    def settle(self, task: str, number: int, index: int) -> None:
        """Close a challenge that was not answered in time, which strikes the round.

        Raises:
            LedgerRefused: names what the contract refuses.
        """
        self._transact("settle", task.encode(), number, index)

    def release(self, task: str, number: int) -> None:
        """Give the publisher the bond of a final round back.

        Raises:
            LedgerRefused: names what the contract refuses.
        """
        self._transact("release", task.encode(), number)

    def withdraw(self) -> None:
        """Have paid out what the account is owed.

        Raises:
            LedgerRefused: the account does not take it.
        """
        self._transact("withdraw")

    def _transact(self, function: str, *arguments: Any, value: int = 0) -> None:
        if self._account is None:
            raise ConfigError(f"{function} needs an account's key")
        send(self._web3, self._account, function, self._contract.functions[function](*arguments), value)


def record_fields(record: RoundRecord) -> tuple[Any, ...]:
    """A record as the contract takes it: without version and claim, which it knows, and without commitment_sum."""
    weights = (
        record.weight_limit,
        record.weight_sum,
        record.weights_lowered,
        record.weights_raised,
        record.error_bound,
        record.next_weight_limit,
    )
    return (
        record.task.encode(),
        record.round,
        record.attempt,
        record.context,
        record.session,
        record.cohort_size,
        record.participants,
        record.participants_root,
        b"".join(map(msgspec.msgpack.encode, weights)),
        record.start_model,
        record.result_model,
        record.previous_record,
        record.evidence,
    )
