"""A task as whoever leads its rounds sees it: what is pinned, and the configuration that follows from what has been."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.protocol.config import NO_DIGEST, Policy, RoundConfig
from secure_agg.protocol.epoch import Record
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.memory.rounds import RoundLog
from secure_agg.roles.trust import TaskTrust, Trust


@dataclass(frozen=True)
class Task:
    """One model's training, between two rounds of it.

    Attributes:
        name: its id.
        trust: what everybody has pinned, this task among it.
        last: its newest record, of a round or an epoch; None before the first.
        closure: the certificate that closed the epoch before, where no round was made since; else empty.
    """

    name: str
    trust: Trust
    last: Record | None = None
    closure: bytes = b""

    @property
    def pins(self) -> TaskTrust:
        """What is pinned of this task."""
        return self.trust.task(self.name)

    @property
    def policy(self) -> Policy:
        """Of its rounds."""
        return self.pins.policy

    @property
    def roster(self) -> Roster:
        """Its members."""
        return self.pins.roster

    @property
    def next_number(self) -> int:
        """Of the round that follows the last one in the ledger."""
        return self.last.round + 1 if self.last else 0

    def next_round(
        self,
        shapes: tuple[tuple[int, ...], ...],
        *,
        number: int | None = None,
        attempt: int = 0,
        weight_limit: int | None = None,
        start_model: bytes | None = None,
        base_model: bytes = NO_DIGEST,
        instructions: bytes = NO_DIGEST,
        draw: int = 0,
        beacon: bytes = b"",
        setup: bytes = b"",
        renounced: RenunciationCertificate | None = None,
        grouping: tuple[int, ...] = (),
    ) -> RoundConfig:
        """The configuration of an attempt at the round that follows the last one.

        Args:
            shapes: of the model's arrays.
            number: of the round; by default the next.
            weight_limit: M, where the policy keeps weights: by default its ``max_weight``. Where it limits them M
                follows from the last record, and this does not count.
            start_model: digest of the model that updates are relative to; by default of the last result.
            draw: which of the round's draws of a cohort this is.
            beacon: where cohorts are drawn the randomness that does: of a pinned beacon the signature of the pulse that
                is due, see ``BeaconSource.number``.
            attempt, base_model, instructions, setup: see ``RoundConfig``.
            grouping: see ``RoundConfig.create``. Clips that are adaptive follow from the last record.
            renounced: the certificate that has ended the generation before; by default the one that closed the epoch
                before, if the newest record is an epoch's; else None, in a first generation.

        Raises:
            ConfigError: a setting is out of range, contradicts another, or would be insecure.
        """
        policy, last, trust = self.policy, self.last, self.trust
        certificate = renounced if renounced is not None else self._closed_by
        if policy.weight_scale:
            weight_limit = (last.next_weight_limit or None) if last else None
            if weight_limit is not None:  # an evaluation's may be of the epoch before
                weight_limit = min(weight_limit, policy.max_weight)
        return RoundConfig.create(
            task=self.name,
            round=self.next_number if number is None else number,
            attempt=attempt,
            epoch=self.pins.epoch,
            policy=policy,
            weight_limit=weight_limit,
            cohort=trust.cohort(self.name, beacon),
            shapes=shapes,
            start_model=start_model or (last.result_model if last else NO_DIGEST),
            base_model=base_model,
            generation=certificate.statement.generation + 1 if certificate else 0,
            renounced=certificate.digest() if certificate else NO_DIGEST,
            instructions=instructions,
            previous_record=last.digest() if last else NO_DIGEST,
            draw=draw,
            beacon=beacon,
            operators=trust.operators,
            log_key=trust.log or b"",
            witnesses=trust.witnesses,
            setup=setup,
            grouping=grouping,
            clips=(last.next_clips or None) if last else None,
        )

    def lead(
        self,
        identity: Identity,
        config: RoundConfig,
        setup: bytes = b"",
        convicted: Collection[str] = (),
        *,
        renounced: RenunciationCertificate | None = None,
        log: RoundLog | None = None,
        executor: Executor = IN_PROCESS,
    ) -> Aggregator:
        """The aggregator of one attempt.

        Args:
            identity: a pinned operator's.
            config: from ``next_round``.
            setup: the backend's public material that the configuration names.
            convicted: clients who are proved to have broken the protocol in this task.
            renounced: the certificate that it goes on from; None in a first generation.
            log: of this attempt; see ``Aggregator``.
            executor: see ``Aggregator``.

        Raises:
            ConfigError, RemoteProtocolError: see ``Aggregator``.
        """
        cohort = self.trust.cohort(self.name, config.beacon)
        certificate = renounced if renounced is not None or not config.generation else self._closed_by
        return Aggregator(
            identity,
            config,
            cohort,
            operators=self.trust.operators,
            setup=setup,
            convicted=convicted,
            renounced=certificate.to_bytes() if certificate else b"",
            log=log,
            executor=executor,
        )

    @property
    def _closed_by(self) -> RenunciationCertificate | None:
        """The certificate that closed the epoch before, where it has begun a generation that still goes on."""
        return RenunciationCertificate.from_bytes(self.closure) if self.closure else None
