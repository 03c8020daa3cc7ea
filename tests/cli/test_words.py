"""What a text calls something is its key in the JSON, with spaces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import secure_agg
from secure_agg.cli import main
from secure_agg.cli.terminal import exits, output

VECTORS: Final = Path(__file__).parents[2] / "docs" / "vectors"
PINNED: Final = ("--trust", "{db}.trust.json")

COMMANDS: Final = {
    "verify": ("verify", "{evidence}", *PINNED),
    "verify alone": ("verify", "{evidence}", "--without-trust"),
    "verify all": ("verify", "{evidence}", *PINNED, "--receipt", "{proof}", "--model", "{mean}", "--export", "{new}"),
    "verify a fault": ("verify", VECTORS / "additive.fault", "--trust", VECTORS / "additive.trust.json"),
    "list": ("ledger", "list", "{db}"),
    "show": ("ledger", "show", "{db}"),
    "receipt": ("ledger", "receipt", "{db}", "--out", "{new}"),
    "audit": ("ledger", "audit", "{db}"),
    "checkpoint": ("ledger", "checkpoint", "{db}"),
    "fsck": ("ledger", "fsck", "{db}"),
    "export": ("ledger", "export", "{db}", "{new}"),
    "audit, published": ("ledger", "audit", "--from", "file://{public}", "--trust", "{db}.trust.json"),
    "model digest": ("model", "digest", "{mean}"),
    "backends": ("backends",),
    "keygen": ("keygen", "ann", "--out", "{new}"),
    "init": ("federation", "init", "{new}", "--client", "ann", "--client", "bob", "--client-key", "cyd={public_key}"),
    "init, operators": (
        *("federation", "init", "{new}", "--client", "ann", "--client", "bob", "--client", "cyd"),
        *("--backend", "additive", "--option", "aggregators=2", "--any-model"),
    ),
    "join": ("federation", "join", "{new}", "--name", "cyd", "--identity", "{key}", "--trust", "{homes}/trust.json"),
    "aggregator": ("aggregator", "init", "aggregator-1", "--out", "{new}", "--passphrase-file", "{words}"),
    "key holder": ("keyholder", "keys", "keyholder-1", "--out", "{new}", "--passphrase-file", "{words}"),
    "plan": ("plan", "--parameters", "100000", "--clients", "20"),
    "plan, nothing fits": ("plan", "--parameters", "100000", "--clients", "20", "--post-quantum"),
}
WITHOUT_LABELS: Final = ("checkpoint", "fsck", "model digest")
"""Commands whose text is the thing itself, or sentences."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the commands work on: a ledger of two rounds, its evidence and receipt, and homes."""
    folder = tmp_path_factory.mktemp("words")
    db = folder / "rounds.db"
    updates = {name: [np.full(3, i / 10)] for i, name in enumerate(("ann", "bob", "cyd", "dan"))}
    secure_agg.aggregate(updates, ledger=db)
    average = secure_agg.aggregate(updates, ledger=db, dropouts={"dan": "masked-input"}).average
    np.savez(folder / "mean.npz", *average)
    with secure_agg.Ledger(db, read_only=True) as log:
        evidence = log.evidence_path(log.record(1))
        (folder / "proof").write_bytes(log.receipt(1).to_bytes())
        log.export(folder / "public")
    key = secure_agg.Identity.generate("cyd")
    key.save(folder / "cyd.key")
    (folder / "words").write_text("correct horse battery staple\n")
    (folder / "words").chmod(0o600)
    here = {name: folder / name for name in ("proof", "public", "homes", "words")}
    mine = {"key": folder / "cyd.key", "public_key": key.public.hex(), "mean": folder / "mean.npz"}
    return {"db": db, "evidence": evidence} | here | mine


@pytest.fixture(scope="module")
def homes(places: dict[str, Any]) -> None:
    clients = ("--client", "ann", "--client", "bob", "--client-key", f"cyd={places['public_key']}")
    with pytest.raises(SystemExit) as exit_:
        main(["federation", "init", str(places["homes"]), *clients, "--json"])
    assert exit_.value.code == exits.OK


def names(document: Any) -> Iterator[str]:
    """Every key of a document; and for what stands by parties' names, one of many and which."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from names(value)
            if isinstance(value, dict) and key.endswith("s"):
                yield from (f"{key.removesuffix('s')} {name}" for name in value)
    elif isinstance(document, list):
        for item in document:
            yield from names(item)


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize("which", COMMANDS)
def test_a_text_calls_things_what_the_json_calls_them(
    which: str,
    places: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    label: Callable[[str], str] = output.label
    monkeypatch.setattr(output, "label", lambda key: said.append(key) or label(key))

    def run(new: str, *more: str) -> str:
        where = {name: str(value) for name, value in places.items()} | {"new": str(tmp_path / new)}
        with pytest.raises(SystemExit) as exit_:
            main([str(word).format(**where) for word in COMMANDS[which]] + list(more))
        found = capsys.readouterr()
        assert exit_.value.code == exits.OK, found.err
        return found.out

    document = json.loads(run("json.npz", "--json"))
    assert not said
    text = run("text.npz")
    assert set(said) <= set(names(document))
    assert bool(said) is (which not in WITHOUT_LABELS)
    for key in said:
        assert key.replace("_", " ") in text
    # What has no label of its own is called by its key, too.
    if which == "list":
        assert f"\nkey {document['key']}\n" in text
    if which == "fsck":
        assert text.startswith("sound: ")
    if which == "model digest":
        assert text.strip() == document["digest"]


def test_a_round_is_told_alike_by_verify_and_show(places: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for command in (["verify", str(places["evidence"]), "--without-trust"], ["ledger", "show", str(places["db"])]):
        with pytest.raises(SystemExit):
            main(command)
        lines = capsys.readouterr().out.splitlines()
        texts.append({line.partition("  ")[0]: line.partition("  ")[2].strip() for line in lines})
    shared = texts[0].keys() & texts[1].keys()
    assert {"task", "round", "claim", "weight sum", "error bound", "start model", "result model", "digest"} <= shared
    assert {key: texts[0][key] for key in shared} == {key: texts[1][key] for key in shared}
