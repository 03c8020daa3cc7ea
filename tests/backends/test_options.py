"""Options are declared once: policies are checked against that, and the documents say the same."""

from __future__ import annotations

import pytest
from support.source_tree import ROOT

from secure_agg import backends
from secure_agg.backends.contract import OptionRule
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import Option, Policy

DECLARED = [(name, rule) for name in backends.names() for rule in backends.load(name).options]


def row(backend: str, rule: OptionRule) -> str:
    step = f", multiples of {rule.step}" if rule.step > 1 else ""
    default = rule.usual if rule.default is None else str(rule.default)
    meanings = "".join(f"; {value}: {meaning}" for value, meaning in rule.meanings.items())
    return f"| `{backend}` | `{rule.name}` | {rule.low} to {rule.high}{step} | {default} | {rule.help}{meanings} |"


def test_the_document_has_the_options_that_are_declared() -> None:
    rows = "\n".join(row(name, rule) for name, rule in DECLARED)
    wanted = f"| backend | option | range | default | what it sets |\n|---|---|---|---|---|\n{rows}\n"
    assert wanted in (ROOT / "docs" / "backends.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "rule"), DECLARED, ids=lambda value: getattr(value, "name", value))
def test_what_is_out_of_an_options_range_is_refused(name: str, rule: OptionRule) -> None:
    outside = [value for value in (rule.low - 1, rule.high + 1) if 0 <= value < 1 << 32]
    outside += [rule.low + 1] if rule.step > 1 else []
    for value in outside:
        policy = Policy.default(4, backend=name, bits=8, options=(Option(rule.name, value),))
        with pytest.raises(ConfigError, match=rf"{rule.name} is {value}, (outside|no multiple of \d+ in) \["):
            backends.load(name).check_policy(policy)


def test_a_default_is_in_range_and_what_follows_from_others_is_said_in_words() -> None:
    for name, rule in DECLARED:
        assert rule.help, name
        if rule.default is None:
            assert rule.usual
        else:
            rule.check(rule.default)
