"""Is this the model of that round? What a user has in a file, compared with what a round's evidence names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.commands import Run
from support.federation import Federation

import secure_agg
from secure_agg import BufferedTask
from secure_agg.cli.terminal import exits
from secure_agg.fl.algorithms.buffered import Models
from secure_agg.fl.layers import apply
from secure_agg.fl.model_files import read_model
from secure_agg.fl.model_match import match, moved
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config.buffer import BufferRule
from secure_agg.protocol.config.presets import buffered_policy

CLIENTS = ("ann", "bob", "cyd")
SHAPES = ((2, 3), (4,))


class Round(NamedTuple):
    """A round in a ledger, and the model that its updates are differences from."""

    evidence: Path
    trust: Path
    average: list[Any]
    base: dict[str, Any]
    folder: Path

    def verify(self, *arguments: object) -> tuple[object, ...]:
        return ("verify", self.evidence, "--trust", self.trust, *arguments)

    def save(self, name: str, *arrays: Any, **named: Any) -> Path:
        path = self.folder / name
        np.savez(path, *arrays, **named)
        return path


@pytest.fixture
def done(tmp_path: Path) -> Round:
    rng = np.random.default_rng(4)
    base = {name: rng.normal(size=shape).astype(np.float32) for name, shape in zip(("w", "b"), SHAPES, strict=True)}
    updates = {name: [rng.normal(size=shape) for shape in SHAPES] for name in CLIENTS}
    result = secure_agg.aggregate(updates, backend="plain", ledger=tmp_path / "rounds.db")
    with secure_agg.Ledger(tmp_path / "rounds.db", read_only=True) as ledger:
        path = ledger.evidence_path(ledger.record(0))
    return Round(path, tmp_path / "rounds.db.trust.json", list(result.average), base, tmp_path)


# --- digests --------------------------------------------------------------------------------------------------


def test_the_digest_of_a_file_is_that_of_its_arrays(run: Run, done: Round) -> None:
    file = done.save("model.npz", **done.base, steps=np.array(7))
    digest = model_digest(list(done.base.values())).hex()
    assert run("model", "digest", file).out == f"{digest}\n"
    found = run("model", "digest", file, "--json").document
    assert (found["digest"], found["parameters"]) == (digest, 10)
    assert [(item["name"], item["averaged"]) for item in found["arrays"]] == [
        ("w", True),
        ("b", True),
        ("steps", False),
    ]


def test_the_digest_of_a_mean_is_what_the_record_says(run: Run, done: Round) -> None:
    file = done.save("mean.npz", *done.average)
    record = run(*done.verify("--json")).document["record"]
    assert run("model", "digest", file).out.strip() == record["result_model"]


def test_a_state_dict_has_the_same_digest(run: Run, done: Round) -> None:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(array) for name, array in done.base.items()}, done.folder / "model.pt")
    npz = done.save("model.npz", **done.base)
    assert run("model", "digest", done.folder / "model.pt").out == run("model", "digest", npz).out


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_model_is_a_usage_error(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    for file in (tmp_path / "file", tmp_path / "missing", tmp_path):
        outcome = run("model", "digest", file)
        assert (outcome.code, outcome.out) == (exits.USAGE, "")


# --- verify ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "what"), [("f8", "result_model"), ("f4", "rounded_result"), ("f2", "rounded_result")]
)
def test_the_mean_is_recognised_in_any_type(run: Run, done: Round, dtype: str, what: str) -> None:
    file = done.save("mean.npz", *(array.astype(dtype) for array in done.average))
    found = run(*done.verify("--model", file, "--json")).document["model"]
    assert (found["is"], found["base_is_bound"]) == ([what], None)
    assert "is the round's mean" in run(*done.verify("--model", file)).out


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_model_that_follows_is_recognised_with_its_base(run: Run, done: Round, dtype: str) -> None:
    base = {name: array.astype(dtype) for name, array in done.base.items()}
    new = apply(list(base.values()), done.average)
    command = ("--model", done.save("new.npz", *new), "--base", done.save("base.npz", **base))
    found = run(*done.verify(*command, "--json")).document["model"]
    assert (found["is"], found["base_is_bound"]) == (["next_model"], False)
    assert "that it was this one is your word" in run(*done.verify(*command)).out


def test_a_model_in_bfloat16_is_recognised(run: Run, done: Round) -> None:
    torch = pytest.importorskip("torch")
    base = {name: torch.from_numpy(array).bfloat16() for name, array in done.base.items()}
    moved = apply([tensor.float().numpy() for tensor in base.values()], done.average)
    new = {name: torch.from_numpy(array).bfloat16() for name, array in zip(base, moved, strict=True)}
    torch.save(base, done.folder / "base.pt")
    torch.save(new, done.folder / "new.pt")
    found = run(*done.verify("--model", done.folder / "new.pt", "--base", done.folder / "base.pt", "--json"))
    assert found.document["model"]["is"] == ["next_model"]


def test_another_model_is_refused_with_code_1(run: Run, done: Round) -> None:
    mean, base = done.average, done.save("base.npz", **done.base)
    new = apply(list(done.base.values()), mean)
    off = [array.copy() for array in new]
    off[1][2] = np.nextafter(off[1][2], np.float32(9))
    for arguments in (
        ("--model", base),
        ("--model", done.save("new.npz", *new)),
        ("--model", done.save("off.npz", *off), "--base", base),
        ("--model", done.save("first.npz", mean[0])),
        ("--model", done.save("more.npz", *mean, mean[0])),
        ("--model", done.save("swapped.npz", *mean[::-1])),
        ("--model", done.save("first32.npz", new[0]), "--base", done.save("base1.npz", w=done.base["w"])),
    ):
        outcome = run(*done.verify(*arguments))
        assert outcome.code in (exits.VERIFICATION_FAILED, exits.USAGE), arguments
        assert outcome.out == ""
        if arguments[-1] != done.folder / "base1.npz":
            assert (outcome.code, "is no model of round 0" in outcome.err) == (exits.VERIFICATION_FAILED, True)


def test_a_base_that_the_evidence_names_is_held_to_it() -> None:
    """As under the plug-ins: the base is bound, and behind the model's arrays come the metrics' coordinates."""
    rng = np.random.default_rng(2)
    base = {"w": rng.normal(size=7).astype(np.float32)}
    where = Federation(4, backend="plain")
    local = where.round(base_model=model_digest(list(base.values())))
    evidence = local.run()
    verified = secure_agg.verify(evidence, where.trust)
    assert match(evidence, verified, base).found == ("base_model",)
    new = moved(evidence, verified, base)
    assert np.array_equal(new["w"], apply([base["w"]], verified.average[:1])[0])
    found = match(evidence, verified, new, base)
    assert (found.found, found.base_is_bound) == (("next_model",), True)
    with pytest.raises(secure_agg.VerificationError, match="base model's digest"):
        match(evidence, verified, new, {"w": base["w"] + 1})


# --- export ---------------------------------------------------------------------------------------------------


def test_the_mean_is_exported_as_it_is(run: Run, done: Round) -> None:
    out = done.folder / "mean.npz"
    assert run(*done.verify("--export", out, "--json")).document["exported"] == str(out)
    exported = read_model(out)
    assert list(exported) == ["arr_0", "arr_1"]
    assert all(np.array_equal(got, want) for got, want in zip(exported.values(), done.average, strict=True))
    again = run(*done.verify("--export", out))
    assert (again.code, "never overwritten" in again.err) == (exits.USAGE, True)


def test_the_model_that_follows_is_exported_with_its_names(run: Run, done: Round) -> None:
    base = done.save("base.npz", **done.base, steps=np.array(7))
    out = done.folder / "new.npz"
    assert run(*done.verify("--export", out, "--base", base)).code == exits.OK
    exported = read_model(out)
    assert list(exported) == ["w", "b", "steps"]
    assert [exported["w"].dtype, exported["steps"].tolist()] == [np.float32, 7]
    assert run(*done.verify("--model", out, "--base", base)).code == exits.OK


def test_nothing_is_exported_that_was_not_asked_to_be_believed(run: Run, done: Round) -> None:
    out = done.folder / "mean.npz"
    assert run("verify", done.evidence, "--export", out).code == exits.USAGE
    stranger = replace(secure_agg.Trust.load(done.trust), tasks={})
    stranger.save(done.folder / "other.json")
    refused = run("verify", done.evidence, "--trust", done.folder / "other.json", "--export", out)
    assert (refused.code, out.exists()) == (exits.VERIFICATION_FAILED, False)
    assert run("verify", done.evidence, "--without-trust", "--export", out).code == exits.OK
    assert out.exists()


def test_usage_errors(run: Run, done: Round) -> None:
    base = done.save("base.npz", **done.base)
    for arguments in (
        ("--base", base),
        ("--model", done.folder / "missing"),
        ("--model", base, "--base", done.folder / "missing"),
        ("--export", done.folder / "no" / "dir.npz"),
        ("--export", done.folder / "x.npz", "--base", done.save("other.npz", np.ones(9))),
    ):
        outcome = run(*done.verify(*arguments))
        assert (outcome.code, outcome.out) == (exits.USAGE, ""), arguments


def test_of_a_buffered_round_verify_says_the_bases_and_finds_the_model_that_follows(run: Run, tmp_path: Path) -> None:
    names, base = [f"c{i}" for i in range(4)], {"w": np.arange(6, dtype=np.float64)}
    policy = buffered_policy(len(names), honest=2, max_corrupt=1, clip=1.0, options={"aggregators": 2})
    models = Models(list(base.values()), BufferRule(2, 4))
    given = {name: [np.full(6, 0.25)] for name in names[:3]}
    with BufferedTask(names, models.state.digest, policy, ledger=tmp_path / "rounds.db") as task:
        result = task.aggregate(given, dict.fromkeys(given, 0), weights=dict.fromkeys(given, 512))
    with secure_agg.Ledger(tmp_path / "rounds.db", read_only=True) as ledger:
        evidence = ledger.evidence_path(result.record)
    verify = ("verify", evidence, "--trust", tmp_path / "rounds.db.trust.json")
    seen = run(*verify, "--json").document["bases"]
    assert (seen["based"], seen["bases"][0]["model"]) == (dict.fromkeys(given, 0), models.bases[0].model.hex())
    assert "3 from base 0; base 0 is" in " ".join(run(*verify).out.split())
    models.advance(result.record, result.average)
    np.savez(tmp_path / "base.npz", **base)
    np.savez(tmp_path / "next.npz", w=models.state.shared[0])
    found = run(*verify, "--base", tmp_path / "base.npz", "--model", tmp_path / "next.npz", "--json").document["model"]
    assert (found["is"], found["base_is_bound"]) == (["next_model"], True)
    assert np.allclose(models.state.shared[0] - base["w"], 0.125, atol=1e-4)  # updates of half the weight
    assert run("ledger", "audit", tmp_path / "rounds.db", "--trust", verify[-1]).code == 0
