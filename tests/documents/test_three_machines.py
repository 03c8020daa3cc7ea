"""The guide to three machines does what it says: its own commands, in a folder for each machine, over TLS."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.chance.ports import free_port
from support.frameworks.flower_engine import APP
from support.guides.machines import Block, Machines, blocks
from support.source_tree import ROOT

from secure_agg.ledger.log import Ledger
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.roles.trust import Trust

GUIDE = ROOT / "docs" / "three-machines.md"
SERVER, EACH = "Server", "Each ward"
WARDS = ("ward-a", "ward-b", "ward-c")
LIMIT_S = 1200.0


def of_machine(block: Block) -> list[tuple[str, str]]:
    """A block's script for each machine that it is for."""
    if block.machine == SERVER:
        return [("server", block.script)]
    assert block.machine == EACH
    return [(ward, block.script.replace("ward-a", ward)) for ward in WARDS]


def machines(root: Path) -> Machines:
    superlink, channel = free_port(), free_port()
    made = Machines(
        root,
        ("server", *WARDS),
        {
            "subjectAltName=DNS:server.example": "subjectAltName=DNS:localhost",
            "server.example:9092": f"localhost:{superlink}",
            "--port 9092": f"--port {superlink}",
            "https://server.example:8471": f"https://localhost:{channel}",
            "0.0.0.0:8471": f"127.0.0.1:{channel}",
            "--host 0.0.0.0": "--host 127.0.0.1",
            "quickstart.task import first_model": "linear.task import start",
            "first_model()": "start(1000)",
        },
    )
    for name in ("server", *WARDS):
        (made.folder(name) / "app").symlink_to(APP)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """The machines after all steps before services are started."""
    made = machines(tmp_path_factory.mktemp("machines"))
    *steps, _ = [block for block in blocks(GUIDE) if block.kind == "console"]
    for block in steps:
        for name, script in of_machine(block):
            made.run(name, script, 120)
    return made


@pytest.mark.slow
def test_every_party_ends_up_with_keys_of_its_own_and_the_same_pins(made: Machines) -> None:
    trust = Trust.load(made.folder("server") / "homes" / "trust.json")
    assert sorted(trust.task("digits").roster) == list(WARDS)
    for ward in WARDS:
        assert not (made.folder("server") / f"{ward}.key").exists()
        with ClientHome.open(made.folder(ward) / "home") as home:
            assert home.name == ward
            assert home.trust.to_json() == trust.to_json()
            assert home.start_model is not None
    said = {ward: made.run(ward, "secure-agg trust show trust.json", 60).splitlines()[-1] for ward in WARDS}
    assert len(set(said.values())) == 1


@pytest.mark.slow
def test_the_certificate_is_the_authoritys_and_for_the_servers_name(made: Machines) -> None:
    said = made.run("server", "openssl verify -CAfile ca.pem -verify_hostname localhost superlink.pem", 60)
    assert "superlink.pem: OK" in said


def test_units_have_what_systemd_asks_for(made: Machines) -> None:
    units = {block.machine: block.setting for block in blocks(GUIDE) if block.kind == "ini"}
    assert set(units) == {SERVER, EACH}
    for setting in units.values():
        assert {"ExecStart", "User", "Restart", "WantedBy", "UMask", "NoNewPrivileges"} <= set(setting)
        assert "--insecure" not in setting["ExecStart"]


@contextlib.contextmanager
def services(made: Machines) -> Iterator[None]:
    """What the units start, on every machine, and nothing of it afterwards."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number, (machine, unit) in enumerate(
            (machine, block)
            for block in blocks(GUIDE)
            if block.kind == "ini"
            for machine in (["server"] if block.machine == SERVER else WARDS)
        ):
            text = unit.text.replace("partition-id=0", f"partition-id={number - 1}")
            text = text.replace("flower-supernode ", f"flower-supernode --port {free_port()} ")
            running.append(made.service(machine, Block(unit.machine, unit.kind, text)))
        yield
    finally:
        for process in running:
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


@pytest.mark.long
def test_a_round_over_tls_and_the_channel_ends_in_a_ledger_that_audits(made: Machines, tmp_path: Path) -> None:
    *_, last = [block for block in blocks(GUIDE) if block.kind == "console"]
    run, *audit = re.split(r"(?m)^(?=secure-agg ledger audit)", last.script)
    channel = 'channel="0.0.0.0:8471"'
    assert channel in run
    run = run.replace(channel, f'{channel} nodes=3 rounds=1 out="{tmp_path / "model.npz"}" timeout-s=600.0')
    with services(made):
        try:
            log = made.run("server", run, LIMIT_S)
        finally:
            logs = {path.stem: path.read_text(errors="replace") for path in made.root.glob("*.log")}
    assert "round 0 of 'digits' is verified, over 3 of 3 clients" in log, logs
    for ward in WARDS:
        assert f"{ward}: round 0 of 'digits' is verified" in logs[ward]
        assert "without the channel" not in logs[ward]
    made.run("server", "".join(audit), 120)
    with Ledger(made.folder("server") / "homes" / "server" / "rounds.db", read_only=True) as ledger:
        assert [ledger.evidence(record).participants for record in ledger.records()] == [WARDS]
