"""What one client can do to the rounds that come after: nothing. A round that it has spoilt ends with a typed error,
and a round of the same clients, operators, stores and ledger from a new model is verified and recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from federation import Federation, Tape

from secure_agg import backends, client, committing
from secure_agg.committing import Committed
from secure_agg.config import RoundConfig
from secure_agg.errors import AlreadyReleased, RoundAborted, TaskSpent, Unattributed
from secure_agg.keyholder import MAX_FAILURES
from secure_agg.ledger.log import Ledger
from zk import commitment

CHEAT = "c002"
FLIPPED, LONG = "flipped", "long"
CASES = [
    ("masking", {}, FLIPPED),
    ("masking", {}, LONG),
    ("plain", {}, FLIPPED),
    ("additive", {}, LONG),
    ("crypten", {"norm_bound_milli": 100_000}, FLIPPED),
    ("bfv", {}, FLIPPED),
    ("ckks", {}, FLIPPED),
    ("paillier", {"modulus_bits": 2048}, FLIPPED),
    ("paillier", {"modulus_bits": 2048, "holders": 4}, FLIPPED),
]


def cheating(monkeypatch: pytest.MonkeyPatch, federation: Federation, how: str) -> None:
    """From now on the cheat hides another vector than it commits to, or commits to one that no honest client has."""
    honest = committing.commit_update
    its = federation.updates[CHEAT]

    def commit(config: RoundConfig, update: Sequence[npt.NDArray[Any]], *rest: Any) -> Committed:
        made = honest(config, update, *rest)
        if update is not its:
            return made
        vector = made.vector.copy()
        if how == FLIPPED:
            vector[3] ^= 1
            return Committed(vector, made.commitment, made.clipped)
        vector[3] = 1 << 24
        size = config.layout.committed
        return Committed(vector, commitment.commit(vector[:size], vector[size:], config.commitment.rank), made.clipped)

    monkeypatch.setattr(client, "commit_update", commit)


def federation_of(backend: str, options: Mapping[str, int], ledger: Ledger) -> Federation:
    """Homes' worth of state that outlives a round: stores, key holders' keys, and a ledger."""
    federation = Federation(5, backend=backend, options=options, policy_changes={"bits": 8})
    ledger.pin(federation.task, federation.trust.tasks[federation.task], federation.trust.operators)
    federation.trust = ledger.trust
    return federation


def start(federation: Federation, ledger: Ledger, number: int, **changes: Any) -> Tape:
    """A round bound to the ledger."""
    return Tape.start(federation, round=number, log_key=ledger.trust.log or b"", **changes)


@pytest.mark.parametrize(("backend", "options", "how"), CASES)
def test_an_honest_round_from_a_new_model_follows_a_spoilt_one(
    backend: str, options: dict[str, int], how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Ledger(tmp_path / "rounds.db") as ledger:
        federation = federation_of(backend, options, ledger)
        with monkeypatch.context() as patched:
            cheating(patched, federation, how)
            with pytest.raises(Unattributed) as caught:
                start(federation, ledger, 0).finish()
        assert caught.value.culprit is None
        assert caught.value.phase is not None

        again = start(federation, ledger, 0, attempt=1).until("advertise")
        with pytest.raises(TaskSpent):
            again.answer("c000")  # from the same model a second sum would give somebody away

        tape = start(federation, ledger, 1, start_model=bytes([7] * 32))
        evidence = tape.finish()
        assert set(evidence.participants) == set(federation.names), "who has signed before is in it too"
        ledger.append(evidence)
        assert set(tape.local.deliver()) == set(federation.names)
        assert np.isfinite(tape.aggregator.verified.average[0]).all()  # type: ignore[union-attr]


@pytest.mark.parametrize(("backend", "options"), [("bfv", {}), ("paillier", {"modulus_bits": 2048})])
def test_a_key_bears_so_many_failures_and_a_fresh_one_goes_on_without_new_pins(
    backend: str, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(5, backend=backend, options=options, policy_changes={"bits": 8})
    name = federation.holder_names[0]
    with monkeypatch.context() as patched:
        cheating(patched, federation, FLIPPED)
        for number in range(MAX_FAILURES):
            assert federation.holder().failures == number
            with pytest.raises(Unattributed):
                Tape.start(federation, round=number, start_model=bytes([number] * 32)).finish()
    tape = Tape.start(federation, round=50, start_model=bytes([50] * 32)).until("decrypt")
    with pytest.raises(AlreadyReleased, match="certify a fresh one"):
        tape.answer(name)

    federation.openers = dict(backends.load(backend).generate(federation.config(), federation.holder_names))
    federation.certificate = federation.certify(federation.openers[name].public)
    assert Tape.start(federation, round=51, start_model=bytes([51] * 32)).finish()


def test_a_spoilt_round_names_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(5)
    cheating(monkeypatch, federation, FLIPPED)
    with pytest.raises(RoundAborted) as caught:
        Tape.start(federation).finish()
    assert (type(caught.value), caught.value.culprit) == (Unattributed, None)
