"""What a party itself holds and believes: never taken from a message of the round or from the bundle that
it checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from secure_agg import files, formats
from secure_agg.arguments import checked_class
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError, TrustError, VerificationError
from secure_agg.protocol.claims import SUMS_ONLY, check_claims, in_order
from secure_agg.protocol.config import NO_DIGEST, Policy, RoundConfig
from secure_agg.protocol.epoch import Record
from secure_agg.protocol.epoch.body import check_threshold
from secure_agg.protocol.identity import Roster, check_id, check_public_key
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.tlog.cosignature import WitnessKey
from secure_agg.tlog.note import VerifierKey, check_key_name
from secure_agg.tlog.policy import Witnessed, WitnessPolicy
from secure_agg.tlog.receipt import Receipt

_FORMAT: Final = "secure-agg-trust/2"
_MAX_BYTES: Final = 64 << 20
_LOOKED_AT: Final = 4096
_OPTIONAL: Final = ("origin", "quorum")
"""Fields that a trust file leaves out where they are None."""
_CHANGING: Final = ("administrators", "threshold", "epoch", "epoch_digest", "closure")
"""The same of a task's, where nobody administers it, and where it is pinned from its first epoch on."""


def _none() -> Roster:
    return Roster({})


@checked_class
@dataclass(frozen=True)
class TaskTrust:
    """What is pinned for one training task.

    Attributes:
        roster: who may take part.
        policy: under which rules.
        claims: what its results may claim: ``sum``, by default nothing else; ``attested`` for functions that are no
            sums, whose results nothing proves. Any iterable of them is taken.
        beacon: whose pulses draw the cohorts, where the policy has them drawn. None where each verifier knows the
            public randomness of a round in some other way, and says it. Its first pulse has to be published after
            everybody has pinned roster and beacon.
        administrators: who authorises a change of all this; nobody where its members do.
        threshold: how many of them do, more than half of them; 0 exactly where there are none.
        epoch: of the task, in which all this is in force; 0 of what is pinned before its first round.
        epoch_digest: of that epoch's body; zeros for epoch 0, which follows from the pins: see ``roles.epochs``.
        closure: digest of the certificate by which the members of the epoch before have closed it, checked when this
            one was followed; zeros for none.

    Raises:
        ConfigError: something that is no claim, a beacon where no cohort is drawn, or administrators of whom two halves
            could authorise two things.
    """

    roster: Roster
    policy: Policy
    claims: frozenset[str] = SUMS_ONLY
    beacon: BeaconSource | None = None
    administrators: Roster = field(default_factory=_none)
    threshold: int = 0
    epoch: int = 0
    epoch_digest: bytes = NO_DIGEST
    closure: bytes = NO_DIGEST

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", check_claims(self.claims))
        if self.beacon is not None and not self.policy.cohort_size:
            raise ConfigError("a beacon is pinned, and the policy draws no cohort: it has no cohort_size")
        check_threshold(self.administrators, self.threshold)
        if (self.epoch == 0) != (self.epoch_digest == NO_DIGEST) or len(self.epoch_digest) != len(NO_DIGEST):
            raise ConfigError(f"epoch {self.epoch} has the digest {self.epoch_digest.hex()}")
        if len(self.closure) != len(NO_DIGEST):
            raise ConfigError(f"a certificate's digest has {len(self.closure)} bytes, not {len(NO_DIGEST)}")

    def __repr__(self) -> str:
        drawn = f", beacon={self.beacon.key.hex()[:16]}…" if self.beacon else ""
        return f"TaskTrust({self.roster!r}, backend={self.policy.backend!r}, claims={in_order(self.claims)}{drawn})"


@checked_class
@dataclass(frozen=True)
class Trust:
    """Everything a client, a ledger or an auditor has pinned.

    Attributes:
        tasks: by task id.
        operators: identity keys of the aggregators (and key holders), by their ids.
        log: the ledger's public key, or None.
        witnesses: identity keys of the ledger's witnesses, by their names in cosignatures.
        origin: the ledger's unique name, or None. One key can sign several logs: who counts on witnesses has to
            know which of them is meant.
        quorum: how many of the witnesses must have cosigned the checkpoint of a receipt, or None if none need have.
    """

    tasks: Mapping[str, TaskTrust] = field(default_factory=dict)
    operators: Roster = field(default_factory=_none)
    log: bytes | None = None
    witnesses: Roster = field(default_factory=_none)
    origin: str | None = None
    quorum: int | None = None

    def __post_init__(self) -> None:
        for task, trust in self.tasks.items():
            check_id(task)
            both = [name for name in self.operators if name in trust.roster]
            if both:
                raise ConfigError(f"{both[0]!r} is the id of an operator and of a client of task {task!r}")
        if self.log is not None:
            check_public_key(self.log)
        if self.origin is not None:
            check_key_name(self.origin)
        if self.quorum is not None:
            if not 1 <= self.quorum <= len(self.witnesses):
                raise ConfigError(f"a quorum of {self.quorum} is not within the {len(self.witnesses)} witnesses")
            if self.log is None or self.origin is None:
                raise ConfigError("a quorum of witnesses is for one log: its key and origin have to be pinned too")
            self.witness_keys()

    def __repr__(self) -> str:
        tasks = ", ".join(f"{name!r}: {len(trust.roster)} clients" for name, trust in list(self.tasks.items())[:4])
        more = f", and {len(self.tasks) - 4} more" if len(self.tasks) > 4 else ""
        log = f"{self.log.hex()[:16]}…" if self.log else None
        return (
            f"Trust(tasks={{{tasks}{more}}}, operators={len(self.operators)}, log={log}, "
            f"witnesses={len(self.witnesses)}, quorum={self.quorum})"
        )

    def task(self, name: str) -> TaskTrust:
        """What is pinned for a task.

        Raises:
            TrustError: nothing is.
        """
        if name not in self.tasks:
            raise TrustError(f"no roster and policy are pinned for task {name!r}")
        return self.tasks[name]

    def cohort(self, task: str, beacon: bytes = b"") -> Roster:
        """G: the task's whole roster, or the part that the beacon draws."""
        trust = self.task(task)
        size = trust.policy.cohort_size
        return trust.roster.sample(size, beacon) if size else trust.roster

    def check(self, config: RoundConfig, beacon: bytes | None = None) -> frozenset[str]:
        """Compare a round's configuration with what is pinned.

        Args:
            beacon: the public randomness as this party knows it; needed where the policy draws cohorts, and no beacon
                is pinned for the task. Where one is, the round's randomness is verified by itself.

        Returns:
            What was compared: ``policy``, ``roster``, and where they are pinned ``beacon``, ``operators``, ``log``,
            ``witnesses``.

        Raises:
            TrustError: something differs.
        """
        pinned = {"policy", "roster"}
        trust = self.task(config.task)
        if config.epoch != trust.epoch:
            raise TrustError(f"the round is of epoch {config.epoch}, and what is pinned is in force in {trust.epoch}")
        if config.policy != trust.policy:
            names = [f for f in Policy.__struct_fields__ if getattr(config.policy, f) != getattr(trust.policy, f)]
            raise TrustError(f"the round's policy differs from the pinned one in {', '.join(names)}")
        if config.beacon and trust.beacon is not None:
            trust.beacon.check(config.round, config.draw, config.beacon)
            pinned.add("beacon")
        if config.beacon and beacon != config.beacon and (beacon is not None or trust.beacon is None):
            raise TrustError("the round's beacon is not the one this party knows")
        try:
            cohort = self.cohort(config.task, config.beacon)
        except ConfigError as error:
            raise TrustError(f"the pinned roster can't give the round's cohort: {error}") from error
        if (config.cohort_size, config.cohort_root) != (len(cohort), cohort.root()):
            raise TrustError("the round's cohort is not drawn from the pinned roster")
        for name, theirs, ours in (
            ("operators", config.operators, self.operators.digest()),
            ("witnesses", config.witnesses, self.witnesses.digest()),
        ):
            if theirs != ours:
                raise TrustError(f"the round's {name} are not the pinned ones")
        if len(self.operators):
            pinned.add("operators")
        if len(self.witnesses):
            pinned.add("witnesses")
        if config.log_key != (self.log or b""):
            raise TrustError("the round's ledger key is not the pinned one")
        if self.log:
            pinned.add("log")
        return frozenset(pinned)

    def has_checked(self, certificate: RenunciationCertificate, task: str) -> bool:
        """Whether a certificate of renunciation is the one that closed the epoch before, whose members' signatures were
        checked when the epoch in force was followed; False for one of this epoch's own members.

        Raises:
            TrustError: it closes an epoch, and is not that one.
        """
        if not certificate.statement.successor:
            return False
        if certificate.digest() != self.task(task).closure:
            raise TrustError("the certificate is not the one by which the epoch before was closed")
        return True

    def witness_keys(self) -> tuple[WitnessKey, ...]:
        """The witnesses as the keys that cosign.

        Raises:
            ConfigError: one has an id that can't name a key in a note.
        """
        return tuple(WitnessKey(name, key) for name, key in self.witnesses.items())

    def witness_policy(self, quorum: int | None = None) -> WitnessPolicy:
        """What a checkpoint of the ledger has to pass: so many of the pinned witnesses.

        Args:
            quorum: how many; by default what is pinned, else 0.

        Raises:
            ConfigError: more than there are, or a witness has the log's key.
        """
        if self.log in self.witnesses.values():
            raise ConfigError("a witness has the log's own key: it witnesses nothing")
        wanted = self.quorum if quorum is None else quorum
        logs = [VerifierKey(self.origin, self.log)] if self.log is not None and self.origin is not None else []
        return WitnessPolicy.k_of_n(wanted or 0, self.witness_keys(), logs)

    def verify_receipt(self, record: Record, receipt: Receipt, *, now: float | None = None) -> Witnessed:
        """Check that a verified round or an epoch is in the pinned ledger, and the pinned quorum of witnesses saw it.

        A client loads a result after this, an auditor believes that everybody is shown the same one.

        Args:
            record: of the round, from ``verify``; never from whoever sent the receipt.
            receipt: from the ledger.
            now: POSIX time in seconds; by default the system's.

        Returns:
            The checkpoint, and when which pinned witness cosigned it.

        Raises:
            TrustError: no ledger is pinned.
            VerificationError: the record is not in it, or too few witnesses have cosigned.
        """
        if self.log is None:
            raise TrustError("no ledger is pinned that a receipt could be from")
        try:
            log = VerifierKey(self.origin or receipt.checkpoint.origin, self.log)
        except ConfigError as error:
            raise VerificationError(f"the receipt's ledger can't be the pinned one: {error.args[0]}") from error
        return receipt.verify(record.to_bytes(), log, self.witness_policy(), now=now)

    def with_task(self, name: str, trust: TaskTrust) -> Trust:
        """A copy that pins one more task.

        Raises:
            ConfigError: the task is pinned to something else; names what differs.
        """
        old = self.tasks.get(name)
        if old is not None and old != trust:
            differs = [f for f in Policy.__struct_fields__ if getattr(old.policy, f) != getattr(trust.policy, f)]
            if old.roster != trust.roster:
                differs.insert(0, "roster")
            differs += [f for f in ("claims", "beacon", *_CHANGING) if getattr(old, f) != getattr(trust, f)]
            raise ConfigError(
                f"task {name!r} is pinned with another {', '.join(differs)}: keep it, or use a new task name"
            )
        return replace(self, tasks={**self.tasks, name: trust})

    def to_json(self) -> str:
        """The trust file's text: keys in hex, stable order."""
        document = {
            "format": _FORMAT,
            "log": self.log.hex() if self.log else None,
            "operators": _keys_to_json(self.operators),
            "witnesses": _keys_to_json(self.witnesses),
            **{name: value for name in _OPTIONAL if (value := getattr(self, name)) is not None},
            "tasks": {
                name: {
                    "policy": trust.policy.document(),
                    "roster": _keys_to_json(trust.roster),
                    "claims": in_order(trust.claims),
                    **({"beacon": trust.beacon.to_document()} if trust.beacon else {}),
                    **_changing_to_json(trust),
                }
                for name, trust in sorted(self.tasks.items())
            },
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Trust:
        """Parse a trust file.

        Raises:
            ConfigError: not JSON, fields missing or unknown, or a value out of range.
        """
        try:
            document = json.loads(text, object_pairs_hook=_no_duplicates)
            if document["format"] != _FORMAT:
                raise ConfigError(f"trust file of format {document['format']!r}, not {_FORMAT!r}")
            _only(document, {"format", "log", "operators", "witnesses", "tasks", *_OPTIONAL})
            tasks = {}
            for name, entry in document["tasks"].items():
                _only(entry, {"policy", "roster", "claims", "beacon", *_CHANGING})
                claims = msgspec.convert(entry["claims"], list[str])
                if claims != in_order(claims):
                    raise ConfigError(f"a trust file has the claims {claims!r}, which are unknown or out of order")
                roster = _keys_from_json(entry["roster"])
                tasks[name] = TaskTrust(
                    roster,
                    Policy.from_document(entry["policy"]),
                    frozenset(claims),
                    BeaconSource.from_document(entry["beacon"]) if "beacon" in entry else None,
                    _keys_from_json(entry.get("administrators", {})),
                    msgspec.convert(entry.get("threshold", 0), int),
                    msgspec.convert(entry.get("epoch", 0), int),
                    bytes.fromhex(entry["epoch_digest"]) if "epoch_digest" in entry else NO_DIGEST,
                    bytes.fromhex(entry["closure"]) if "closure" in entry else NO_DIGEST,
                )
            return Trust(
                tasks=tasks,
                operators=_keys_from_json(document["operators"]),
                log=bytes.fromhex(document["log"]) if document["log"] is not None else None,
                witnesses=_keys_from_json(document["witnesses"]),
                origin=msgspec.convert(document.get("origin"), str | None),
                quorum=msgspec.convert(document.get("quorum"), int | None),
            )
        except ConfigError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            other = formats.instead(text[:_LOOKED_AT].encode("utf-8", "surrogateescape"), formats.TRUST)
            raise ConfigError(f"this is no trust file: {type(error).__name__}: {error}{other}") from error

    @staticmethod
    def load(path: str | Path) -> Trust:
        """Read a trust file.

        Raises:
            ConfigError: see ``from_json``; also for a file that is missing or above 64 MiB.
        """
        return Trust.of_file(Trust.read(path), path)

    @staticmethod
    def read(path: str | Path) -> bytes:
        """A trust file's bytes.

        Raises:
            ConfigError: it is missing or above 64 MiB.
        """
        data = files.read(Path(path), _MAX_BYTES, "trust file")
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"trust file {path} is above {_MAX_BYTES} bytes")
        return data

    @staticmethod
    def of_file(data: bytes, path: str | Path) -> Trust:
        """What a trust file's bytes say.

        Args:
            path: of the file, for an error.

        Raises:
            ConfigError: see ``from_json``; or it is no text.
        """
        try:
            return Trust.from_json(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            other = formats.instead(data, formats.TRUST)
            raise ConfigError(f"trust file {path} is not UTF-8{other}") from error

    def save(self, path: str | Path) -> None:
        """Write a trust file so that a crash leaves either the old one or the new one.

        Raises:
            ConfigError: it can't be written; the old one stays.
        """
        files.replace(Path(path), self.to_json().encode())


def _changing_to_json(trust: TaskTrust) -> dict[str, Any]:
    """What a task's entry says of epochs, where it says anything."""
    document: dict[str, Any] = {}
    if trust.threshold:
        document |= {"administrators": _keys_to_json(trust.administrators), "threshold": trust.threshold}
    if trust.epoch:
        document |= {"epoch": trust.epoch, "epoch_digest": trust.epoch_digest.hex(), "closure": trust.closure.hex()}
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ConfigError("a trust file has a key twice")
    return dict(pairs)


def _only(document: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(document) - known)
    if unknown:
        raise ConfigError(f"a trust file has the unknown field {unknown[0]!r}")


def _keys_to_json(roster: Roster) -> dict[str, str]:
    return {name: key.hex() for name, key in roster.items()}


def _keys_from_json(document: Mapping[str, str]) -> Roster:
    return Roster({name: bytes.fromhex(key) for name, key in document.items()})
