"""Kinds of rounds that docs/vectors has no evidence of, and those that the page does not verify: never green."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import independent_verifier as spec
from conformance.verdicts import by_product, rearranged
from support.buffered import Buffered
from support.explorer.browser import publish
from support.explorer.core import Core, CoreRefused, in_node
from support.federation import replace

import secure_agg
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.config.buffer import Base
from secure_agg.protocol.evidence import Evidence

WHO = ("c000", "c001", "c002")


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


@pytest.mark.slow
def test_buffered_rounds_and_bases_that_are_refused(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    where = Buffered()
    first = where.play(*WHO)
    where.go_on(first)
    where.based = {"c003": where.bases[0].model}
    second = where.play("c000", "c003", "c004")
    for evidence in (first.to_bytes(), second.to_bytes()):
        product = by_product(evidence, where.trust.to_json(), None, None)
        assert core.verdict(evidence, where.trust.to_json()) == product[0]
    said = core("evidence", evidence=second.to_bytes())
    assert dict(said["based"]) == {"c000": 1, "c003": 0, "c004": 1}
    assert [base["number"] for base in said["bases"]] == [0, 1]

    def forged(bases: tuple[Base, ...]) -> Evidence:
        """Everybody has signed it: nobody has looked at the bases."""
        with monkeypatch.context() as patch:
            patch.setattr("secure_agg.backends.contract.setup.check_bases", lambda *_, **__: None)
            patch.setattr("secure_agg.roles.client.invitation.choose_base", lambda _s, _c, _t, bases, _m: bases[-1])
            patch.setattr("secure_agg.roles.auditor.auditor.based_on", lambda _: {})
            other = Buffered()
            other.go_on(other.play(*WHO))
            return other.play(*WHO, bases=bases)

    older, newest = where.bases
    for bases in ((newest,), (replace(older, record=newest.record), newest), (older, replace(newest, model=bytes(32)))):
        evidence = forged(bases).to_bytes()
        assert isinstance(by_product(evidence, None, None, None), str)
        failed = [
            check["number"] for check in core("evidence", evidence=evidence)["checks"] if check["state"] == "failed"
        ]
        assert failed == ["3"], bases


def test_which_bases_follow_those_of_the_round_before(core: Core) -> None:
    policy = spec.encode("Policy", spec.decode("RoundConfig", Buffered().config().to_bytes(), 2**20)["policy"])
    bases = [{"number": i, "record": bytes([i]) * 32, "model": bytes([64 + i]) * 32} for i in range(5)]

    def follows(now: list[dict[str, Any]], before: list[dict[str, Any]] | None) -> bool:
        try:
            core("follows", policy=policy, bases=now, before=before)
        except CoreRefused:
            return False
        return True

    assert follows(bases[:1], None)
    assert follows(bases[:2], bases[:1])
    assert follows(bases[1:3], bases[:2])  # not more than one and the staleness
    assert not follows(bases[1:2], None)
    assert not follows(bases[:2], None)
    assert not follows(bases[:3], bases[:2])
    assert not follows(bases[2:4], bases[:2])
    assert not follows([bases[1] | {"model": bytes(32)}, bases[2]], bases[:2])
    assert not follows([bases[1], bases[3]], bases[:2])


@pytest.mark.slow
def test_a_ledger_of_rounds_with_noise_and_records_that_spend_too_much(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    budget = secure_agg.Privacy(epsilon=8.0, delta=1e-5, norm=1.0, rounds=2)
    rng = np.random.default_rng(3)
    for _ in range(2):
        updates = {name: [rng.normal(size=(70, 5)), rng.normal(size=3)] for name in "abcd"}
        made = secure_agg.aggregate(updates, privacy=budget, backend="plain", ledger=path)
    opened = core("open", files=publish(path, tmp_path / "public"), trust=None, seen=None)
    assert {check["state"] for check in opened["checks"]} <= {"passed", "skipped"}
    for index in (0, 1):
        assert {check["state"] for check in core("round", index=index)["checks"]} <= {"passed", "skipped"}
    found = core("budgets")
    assert [check["state"] for check in found["checks"]] == ["passed"]
    (told,) = found["budgets"]
    assert (told["task"], told["rounds"]) == ("default", 2)
    assert dict(told["clients"]) == dict.fromkeys("abcd", made.record.spent)
    said = core("evidence", evidence=made.evidence.to_bytes())
    assert said["means"] == np.concatenate([array.ravel() for array in made.average]).tobytes()
    with Ledger(path, read_only=True) as log:
        first, second = (spec.decode("PrivateRecord", record.to_bytes(), 2**16) for record in log.records())

    policy = spec.decode("RoundConfig", made.evidence.config.to_bytes(), 2**20)["policy"]

    def spent(*ratios: int) -> tuple[str, dict[str, int]]:
        """Rounds of another ratio each, as after epochs; Dan is in the first only."""
        rounds = []
        for i, ratio in enumerate(ratios):
            options = [
                item | {"value": ratio} if item["name"] == "privacy_ratio" else item for item in policy["options"]
            ]
            encoded = spec.encode("Policy", policy | {"options": options})
            rounds.append({"policy": encoded, "participants": list("abcd"[: 3 if i else 4])})
        found = core("spent", rounds=rounds)
        return found["checks"][0]["state"], dict(found["budgets"][0]["clients"])

    ratio = next(item["value"] for item in policy["options"] if item["name"] == "privacy_ratio")
    state, clients = spent(ratio, 2 * ratio)
    assert state == "passed"
    assert first["spent"] == clients["d"] < clients["a"] == clients["b"] < made.record.spent
    assert spent(ratio, ratio, ratio)[0] == "failed"

    # Under a smaller budget others may go on, and who has spent more before may not.
    smaller = {"privacy_epsilon": first["spent"] - 1, "privacy_ratio": 16 * ratio}
    options = [item | {"value": smaller.get(item["name"], item["value"])} for item in policy["options"]]
    later = spec.encode("Policy", policy | {"options": options})
    for names, state in ((["x", "y"], "passed"), (["x", "d"], "failed")):
        rounds = [
            {"policy": spec.encode("Policy", policy), "participants": list("abcd")},
            {"policy": later, "participants": names},
        ]
        assert core("spent", rounds=rounds)["checks"][0]["state"] == state

    def chain(spent: int, **changes: Any) -> int:
        leaves = [
            spec.encode("PrivateRecord", first),
            spec.encode("PrivateRecord", second | {"spent": spent} | changes),
        ]
        found: int = core("chains", leaves=leaves)
        return found

    assert first["spent"] < second["spent"] <= second["epsilon"]
    assert chain(second["spent"]) == chain(first["spent"]) == 1
    with pytest.raises(CoreRefused, match="has spent less"):
        chain(first["spent"] - 1)
    with pytest.raises(CoreRefused, match="more than the task's privacy budget"):
        chain(second["epsilon"] + 1)
    with pytest.raises(CoreRefused, match="fields of another claim"):
        chain(second["spent"], claim="sum")


@pytest.mark.parametrize(
    "options",
    [{"buffer_staleness": 256}, {"buffer_honest": 1}, {"buffer_honest": None}, {"buffer_honest": 3}],
    ids=str,
)
def test_a_policy_that_is_none_of_buffered_rounds_is_refused(core: Core, options: dict[str, int | None]) -> None:
    def altered(header: dict[str, Any]) -> None:
        config = spec.decode("RoundConfig", header["config"], 2**20)
        named = {item["name"]: item["value"] for item in config["policy"]["options"]} | options
        items = [{"name": name, "value": named[name]} for name in sorted(named) if named[name] is not None]
        config["policy"]["options"] = items
        header["config"] = spec.encode("RoundConfig", config)

    said = core("evidence", evidence=rearranged(Buffered().play(*WHO).to_bytes(), altered))
    assert said["checks"][0]["state"] == "failed", said["checks"][0]
