"""``secure-agg trust``, and what ``serve`` and ``client`` refuse before they start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.commands import Run, running

from secure_agg.cli.terminal import exits


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return running(capsys)


@pytest.fixture
def homes(run: Run, tmp_path: Path) -> Path:
    np.save(tmp_path / "start.npy", np.zeros(3))
    clients = [word for name in ("ann", "bob", "cyd") for word in ("--client", name)]
    folder = tmp_path / "homes"
    assert run("federation", "init", folder, *clients, "--start-model", tmp_path / "start.npy").code == exits.OK
    return folder


def test_everybody_sees_one_fingerprint_and_another_file_has_another(run: Run, homes: Path, tmp_path: Path) -> None:
    first = run("trust", "show", homes / "trust.json", "--json").document
    assert run("trust", "show", homes / "clients" / "ann", "--json").document == first
    assert list(first["tasks"]["default"]["members"]) == ["ann", "bob", "cyd"]
    said = first["fingerprint"]
    assert run("trust", "show", homes / "trust.json", "--expect", said.replace(" ", "").upper()).code == exits.OK
    text = (homes / "trust.json").read_text().replace('"min_clients": 3', '"min_clients": 2')
    (tmp_path / "other.json").write_text(text)
    refused = run("trust", "show", tmp_path / "other.json", "--expect", said, "--json")
    assert (refused.code, refused.error["type"]) == (exits.VERIFICATION_FAILED, "TrustError")


def test_a_model_that_a_federation_is_made_with_is_in_the_servers_home(run: Run, homes: Path) -> None:
    with np.load(homes / "server" / "model.npz") as kept:
        assert [array.tolist() for array in kept.values()] == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("serve", "--home", "{homes}"), "folder of a whole federation"),
        (
            ("serve", "--home", "{homes}/server", "--home", "{homes}/server", "--model", "x"),
            "--model is of a single one",
        ),
        (("serve", "--home", "{homes}/server", "--certificate", "x"), "go together"),
        (("serve", "--home", "{homes}/server", "--end-seconds", "1"), "say how many"),
        (("serve", "--home", "{homes}/server", "--listen", "nowhere"), "no address of the form HOST:PORT"),
        (("serve", "--home", "{homes}/server", "--model", "{homes}/other.npy"), "not the model that is pinned"),
        (("client", "https://h", "--home", "{homes}/clients/ann"), "say what to contribute"),
        (("client", "http://h", "--home", "{homes}/clients/ann", "--command", "true"), "no URL of a service"),
        (("client", "https://h/x", "--home", "{homes}/clients/ann", "--command", "true"), "no URL of a service"),
    ],
)
def test_what_can_not_start_says_why(run: Run, homes: Path, words: tuple[str, ...], why: str) -> None:
    np.save(homes / "other.npy", np.ones(3))
    found = (
        run(*(word.format(homes=homes) for word in words), "--json")
        if words[0] == "client"
        else run(*(word.format(homes=homes) for word in words))
    )
    assert found.code == exits.USAGE
    assert why in found.err
