"""A byte that is changed, a file that is missing, anywhere in a published ledger: the page says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.explorer.browser import make_ledger, publish
from support.explorer.core import Core, CoreRefused, in_node

import secure_agg
from secure_agg.ledger.log import Ledger


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory, core: Core) -> Path:
    """Three rounds, one of them with norm proofs, and a proof of fault."""
    return make_ledger(tmp_path_factory.mktemp("ledger"))


@pytest.fixture(scope="module")
def site(ledger: Path) -> Path:
    return publish(ledger, ledger.parent / "public")


BAD = {"failed", "unknown"}


def states(core: Core, folder: Path) -> set[str]:
    """Of all that the page checks there, the log, every round, every proof of fault; no more once something is bad."""
    try:
        opened = core("open", files=folder, trust=None, seen=None)
    except CoreRefused:
        return {"failed"}
    found = {check["state"] for check in opened["checks"]}
    for name in opened["site"]["faults"]:
        try:
            core("faultAt", hash=name)
        except CoreRefused:
            found.add("failed")
    for leaf in opened["leaves"]:
        if not found & BAD:
            found |= {check["state"] for check in core("round", index=leaf["index"])["checks"]}
    return found


def test_what_is_published_is_right(core: Core, site: Path) -> None:
    assert states(core, site) == {"passed", "skipped"}


@pytest.mark.slow
def test_a_byte_changed_anywhere_is_seen(core: Core, site: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(site, altered)
    names = sorted(file.relative_to(site) for file in site.rglob("*") if file.is_file() and file.name != "index.html")
    assert {name.parts[0] for name in names} == {"checkpoint", "evidence", "faults", "site.json", "tile"}
    for i, name in enumerate(names):
        data = (site / name).read_bytes()
        places = (
            {0, len(data) // 2, len(data) - 1, (i * 7919) % len(data)} if len(data) < 4000 else {i * 7919 % len(data)}
        )
        changes: list[Any] = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in places]
        if name.name != "site.json":  # whose last character is a newline: with it or without, it is the same JSON
            changes += [data + b"\n", data[:-1]]
        for changed in (*changes, None):
            if changed is None:
                (altered / name).unlink()
            else:
                (altered / name).write_bytes(changed)
            assert states(core, altered) & BAD, (str(name), changed and len(changed))
        (altered / name).write_bytes(data)


def test_a_ledger_that_is_another_than_was_seen_is_refused(core: Core, site: Path) -> None:
    opened = core("open", files=site, trust=None, seen=None)
    name, root = opened["seenAs"], opened["checkpoint"]["root"].hex()
    log = opened["log"].hex()

    def seen(size: int, root: str, key: str | None = log) -> tuple[str, str]:
        given = {"heads": [[name, {"size": str(size), "root": root}]], "key": key}
        found = core("open", files=site, trust=None, seen=given)
        return next((check["state"], check["detail"]) for check in found["checks"] if check["number"] == "seen")

    assert seen(3, root)[0] == "passed"
    assert seen(4, root) == ("failed", "4 records were seen, and there are fewer now")
    assert seen(2, root)[0] == "failed"
    assert seen(3, root, "00" * 32) == ("failed", "the log at this address had another key before")


def test_a_receipt_for_another_history_than_the_one_that_is_open_shows_two(
    core: Core, ledger: Path, site: Path, tmp_path: Path
) -> None:
    """A log that shows one tree to a participant, and another one here: both under its key."""
    opened = core("open", files=site, trust=None, seen=None)
    with Ledger(ledger, read_only=True) as log:
        record, receipt, origin = log.record(1).to_bytes(), log.receipt(1).to_bytes(), log.origin
    said = core("receipt", receipt=receipt, record=record, log=opened["log"])
    assert (said["index"], said["compared"]) == (1, True)
    other = tmp_path / "rounds.db"
    shutil.copytree(f"{ledger}.keys", f"{other}.keys")
    Ledger(other, origin=origin).close()
    updates = {name: [np.ones(2)] for name in ("ada", "bob", "cyn", "Zoë")}
    made = [secure_agg.aggregate(updates, ledger=other, backend="plain", task=f"t{i}") for i in range(4)]
    with pytest.raises(CoreRefused, match="two histories"):
        core("receipt", receipt=made[0].receipt.to_bytes(), record=made[0].record.to_bytes(), log=opened["log"])
    later = core("receipt", receipt=made[3].receipt.to_bytes(), record=made[3].record.to_bytes(), log=opened["log"])
    assert later["compared"] is False  # of more records than are published: it says so
