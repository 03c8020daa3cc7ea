"""``secure-agg check``: exit codes, the same in JSON and in words, presets, and the table of the document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.commands import Run, running
from support.source_tree import ROOT

from secure_agg.cli.preflight.check import _source
from secure_agg.cli.terminal import exits, output
from secure_agg.preflight import records
from secure_agg.preflight.figures import KINDS
from secure_agg.preflight.report import check
from secure_agg.protocol.config.presets import PRESETS

DOCUMENT = (ROOT / "docs" / "preflight.md").read_text("utf-8")
TWELVE = ("--preset", "hospitals", "--clients", 12)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return running(capsys, "check")


def test_what_holds_ends_well_and_what_is_broken_does_not(run: Run) -> None:
    good = run(*TWELVE, "--parameters", 1000, "--limit", "dropouts=2", "--json")
    assert (good.code, good.document["fits"], good.document["broken"]) == (exits.OK, True, [])
    bad = run(*TWELVE, "--parameters", 1000, "--limit", "dropouts=3", "--json")
    assert (bad.code, bad.document["fits"]) == (exits.LIMIT_BROKEN, False)
    (one,) = bad.document["broken"]
    assert (one["reason"], one["figure"], one["value"], one["limit"]) == ("beyond", "dropouts", 2, 3)
    assert {"min_advertised": 9, "max_corrupt": 2} in [way["changes"] for way in one["ways"]]
    said = run(*TWELVE, "--parameters", 1000, "--limit", "dropouts=3")
    assert said.code == exits.LIMIT_BROKEN
    assert one["text"] in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a policy or a home, or a --preset"),
        (("nowhere", "--preset", "audit"), "one of them"),
        (("--preset", "audit"), "--clients N says it"),
        (("--preset", "clinics", "--clients", 5), "hospitals, devices, audit"),
        ((*TWELVE, "--limit", "dropouts"), "not of the form NAME=NUMBER"),
        ((*TWELVE, "--limit", "dropouts=few"), "not of the form NAME=NUMBER"),
        ((*TWELVE, "--limit", "speed=1"), "no limit 'speed'"),
        ((*TWELVE, "--limit", "quorum=1", "--limit", "quorum=2"), "given twice"),
    ],
)
def test_a_wrong_command_line_is_usage(run: Run, words: tuple[object, ...], said: str) -> None:
    outcome = run(*words)
    assert (outcome.code, outcome.out) == (exits.USAGE, "")
    assert said in outcome.err


def test_a_text_calls_things_what_the_json_calls_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    label = output.label
    monkeypatch.setattr(output, "label", lambda key: said.append(key) or label(key))
    (tmp_path / "settings.toml").write_text(
        "clients = 8\nparameters = 62\n[policy]\nbackend = 'additive'\nmin_clients = 5\n"
        "[privacy]\nepsilon = 4\ndelta = 1e-5\nnorm = 1\n"
    )
    document = run(tmp_path / "settings.toml", "--json").document
    text = run(tmp_path / "settings.toml").out
    keys = {*document, "role", "sent", "received", "memory", "seconds", "value", "limit", "text"}
    assert set(said) <= keys
    for gap, sentence in document["not_protected"].items():
        assert f"{gap}: {sentence}" in text
    for name in ("quorum", "epsilon", "noise"):
        assert re.search(rf"^{name} ", text, re.MULTILINE)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_tell_their_price_and_the_document_has_it(run: Run, name: str) -> None:
    clients = {"devices": 2000}.get(name, 12)
    document = run("--preset", name, "--clients", clients, "--json").document
    assert document["fits"]
    share = document["figures"]["corrupt_share"]["value"]
    row = f"| `{name}` | {clients:,} | {document['price']} | {document['figures']['honest']['value']} |"
    assert row in DOCUMENT
    assert 0 < share < 1 / 3


def test_the_table_in_the_document_is_what_the_command_writes(run: Run) -> None:
    table = run("--preset", "audit", "--clients", 12, "--records")
    assert table.code == exits.OK
    assert table.out.strip() in DOCUMENT
    document = run("--preset", "audit", "--clients", 12, "--records", "--json").document
    assert document["says"] == records.NO_CLAIM
    assert [row["control"] for row in document["controls"]] == re.findall(r"^\| ([a-z][a-z ]+) \|", table.out, re.M)[1:]


def test_the_settings_in_the_document_are_some(run: Run, tmp_path: Path) -> None:
    block = re.findall(r"```toml[^\n]*\n(.*?)```", DOCUMENT, re.DOTALL)[0]
    (tmp_path / "policy.toml").write_text(block)
    document = run(tmp_path / "policy.toml", "--json").document
    assert document["fits"], document["broken"]
    assert document["figures"]["client.sent"]["limit"] == 2e6


def test_every_figure_is_in_the_document() -> None:
    table = DOCUMENT.partition("## Figures and limits")[2].partition("## ")[0]
    roles = {name.partition(".")[0] for name in KINDS if "." in name}
    for name in KINDS:
        role = name.partition(".")[0]
        shown = f"`{role}.…`" if role in roles and role != "client" else f"`{name}`"
        assert shown in table


def test_a_row_says_what_a_control_comes_to_here() -> None:
    def here(source: Any, **settings: Any) -> dict[str, str]:
        return {row.control: row.here for row in records.records(check(source, **settings))}

    hospitals = here(_source(None, "hospitals", 12))
    assert hospitals["norm bound"] == hospitals["differential privacy"] == records.OFF
    assert "8 clients" in hospitals["hidden updates"]
    from secure_agg import Policy, Privacy

    private = here(Policy.default(8, backend="plain", privacy=Privacy(epsilon=2, delta=1e-5, norm=1.0)), clients=8)
    assert private["hidden updates"] == records.OFF
    assert "epsilon = 2" in private["differential privacy"]
    assert "L2 norm at most 2" in here(Policy.default(8, norm_bound=2.0), clients=8)["norm bound"]


def test_no_row_claims_compliance() -> None:
    rows = records.records(check(_source(None, "audit", 12)))
    text = " ".join(" ".join(vars(row).values()) for row in rows).lower()
    assert not re.search(r"compl(y|ies|iant|iance)|guarante|certif", text)
    for row in rows:
        assert re.fullmatch(r"\d+\(\d\)(\([a-z]\))?(, \d+(\(\d\))?(\([a-z]\))?)*", row.gdpr)
        assert all(re.fullmatch(r"164\.(3(08|12|16)|502)(\(\w+\))+", section) for section in row.hipaa.split(", "))
