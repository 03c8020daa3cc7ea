"""``aggregate`` over edges: one call, real rounds, one record in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.beacons import rehearsal

import secure_agg
from secure_agg.errors import ConfigError, LedgerDamaged, VerificationError
from secure_agg.ledger.audit import audit
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.publish.fetch import open_prefix
from secure_agg.ledger.publish.published import PublishedSource
from secure_agg.plugins.homes import federation
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.config import Group, Option, Policy
from secure_agg.roles.trust import Trust

RNG = np.random.default_rng(5)
UPDATES = {f"h{i:02d}": [RNG.normal(size=(4, 3)), RNG.normal(size=5)] for i in range(12)}
REGIONS = {"north": sorted(UPDATES)[:4], "south": sorted(UPDATES)[4:8], "west": sorted(UPDATES)[8:]}


def mean(names: list[str], weights: dict[str, int] | None = None) -> np.ndarray:
    return np.average([UPDATES[n][0] for n in names], axis=0, weights=[(weights or {}).get(n, 1) for n in names])


def test_regions_are_summed_in_one_call_and_audited_as_one_record(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    weights = {name: 1 + i for i, name in enumerate(sorted(UPDATES))}
    result = secure_agg.aggregate(UPDATES, weights=weights, edges=REGIONS, ledger=path)
    assert np.abs(result.average[0] - mean(sorted(UPDATES), weights)).max() < result.record.error_bound
    assert result.participants == tuple(sorted(UPDATES))
    assert (result.record.participants, result.record.cohort_size) == (12, 12)
    assert result.tree is not None
    assert set(result.edges) == set(REGIONS)
    again = secure_agg.aggregate(
        {name: update for name, update in UPDATES.items() if name != "h05"},
        edges=REGIONS,
        ledger=path,
        dropouts={"h09": "masked-input"},
    )
    assert again.record.round == 1
    assert again.record.participants == 10
    left = [name for name in sorted(UPDATES) if name not in ("h05", "h09")]
    assert np.abs(again.average[0] - mean(left)).max() < again.record.error_bound
    with Ledger(path) as log:
        report = log.audit()
        assert (report.size, report.verified, report.edges) == (2, 2, 6)
        trust = log.trust
        found = log.tree(again.record)
        assert found is not None
        pins = secure_agg.TreeTrust(trust, "default")
        assert secure_agg.verify_tree(*found, pins).record == again.record
        log.export(tmp_path / "public")
        stored = log._evidence.locate(again.edges["north"].digest())
    published = PublishedSource(open_prefix((tmp_path / "public").as_uri()))
    assert audit(published, trust).edges == 6
    stored.unlink()
    with Ledger(path) as log, pytest.raises(LedgerDamaged, match="edge 'north'"):
        log.audit()


def test_clients_are_dealt_into_as_many_edges_as_are_asked_for() -> None:
    result = secure_agg.aggregate(UPDATES, edges=3, backend="plain")
    assert set(result.edges) == {"edge-1", "edge-2", "edge-3"}
    assert np.abs(result.average[0] - mean(sorted(UPDATES))).max() < result.record.error_bound
    shared = secure_agg.aggregate(UPDATES, edges=3, top_backend="additive")
    assert np.abs(shared.average[0] - mean(sorted(UPDATES))).max() < shared.record.error_bound


def test_what_is_no_tree_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    for edges in (1, 7, {"north": sorted(UPDATES)}, REGIONS | {"east": ["h00"]}, {"a": ["h00"], "b": ["h01"]}):
        with pytest.raises(ConfigError):
            secure_agg.aggregate(UPDATES, edges=edges, ledger=path)
    for options in ({"backend": "additive"}, {"norm_bound": 1.0}, {"top_backend": "bfv"}):
        with pytest.raises(ConfigError):
            secure_agg.aggregate(UPDATES, edges=REGIONS, ledger=path, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="top_backend"):
        secure_agg.aggregate(UPDATES, top_backend="masking")
    assert not path.exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"norm_bound": 1.0}, "no norm is bounded in a tree"),
        ({"norm_bound": 1.0, "options": {"screening": 0}}, "no norm is bounded in a tree"),
        ({"options": {"screening": 1}}, "an edge's inputs are not screened"),
        ({"privacy": Privacy(epsilon=1.0, delta=1e-5, norm=1.0, rounds=2)}, "a tree has no differential privacy"),
        ({"groups": [Group(name="a", bits=16, clip=1.0)]}, "a tree sums one vector"),
        ({"sample": 4, "corruption_rate": 0.0, "beacon": rehearsal([1])}, "a tree's rounds draw no cohorts"),
        ({"options": {"level": 1}}, "'level' is set by what a tree is made of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_what_a_tree_is_not_together_with_is_refused_in_words(asked: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    with pytest.raises(ConfigError, match=said):
        secure_agg.aggregate(UPDATES, edges=REGIONS, ledger=path, **asked)
    assert not path.exists()


@pytest.mark.parametrize("place", [1, 2])
def test_nobody_is_in_a_tree_by_an_option(place: int, tmp_path: Path) -> None:
    """Its rounds would be led as flat ones, and fail in the middle by whoever was honest."""
    with pytest.raises(ConfigError, match="'level' is set by"):
        secure_agg.aggregate(UPDATES, ledger=tmp_path / "rounds.db", options={"level": place})
    policy = Policy.default(4, options=Option.list({"level": place}))
    with pytest.raises(ConfigError, match="no plug-in leads its rounds"):
        federation.make(tmp_path / "homes", ["a", "b", "c", "d"], policy)
    assert list(tmp_path.iterdir()) == []


def test_a_tree_keeps_its_edges(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    secure_agg.aggregate(UPDATES, edges=REGIONS, ledger=path, backend="plain")
    other = dict(zip(("north", "west", "south"), REGIONS.values(), strict=True))
    for edges in (other, 4):
        with pytest.raises(ConfigError, match="other edges"):
            secure_agg.aggregate(UPDATES, edges=edges, ledger=path, backend="plain")
    with pytest.raises(ConfigError):
        secure_agg.aggregate(UPDATES, ledger=path, backend="plain")
    secure_agg.aggregate(UPDATES, task="flat", ledger=path, backend="plain")
    with pytest.raises(ConfigError, match="without edges"):
        secure_agg.aggregate(UPDATES, task="flat", edges=REGIONS, ledger=path, backend="plain")


def test_a_ledger_takes_a_tree_with_all_its_edges_and_without_their_sums(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    first = secure_agg.aggregate(UPDATES, edges=REGIONS, ledger=path, backend="plain")
    assert first.tree is not None
    with Ledger(path) as log:
        for edges in (list(first.edges.values())[:2], []):
            with pytest.raises(VerificationError, match="all its edges"):
                log.append_tree(first.tree, edges)
        with pytest.raises(VerificationError):
            log.append(first.evidence)
        assert isinstance(log.trust, Trust)
        assert len(log) == 1
