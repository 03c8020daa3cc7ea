"""Parties of crypten that collude sign 60000 for every coordinate of a median. Nothing says that this is a sum, and
nobody takes it who has not asked for what is no sum. Each test goes through another command or function.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.commands import Run, running
from support.federation import identity
from support.shares.crypten_round import federation, play

import secure_agg
from mpc.ring import Vector
from secure_agg import Ledger, TaskTrust, Trust
from secure_agg.backends.crypten import compute
from secure_agg.cli.terminal import exits
from secure_agg.errors import ClaimRefused, ConfigError, TrustError, VerificationError
from secure_agg.ledger.audit import audit
from secure_agg.ledger.publish.fetch import open_prefix
from secure_agg.ledger.publish.published import PublishedSource
from secure_agg.protocol.claims import ATTESTED, CLAIMS, SUM, check_claims, finding_of
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Auditor

CLIENTS = ("ann", "bob", "cyd", "dan")
MEDIAN = {"function": 2}
LIE = 60_000
A_SUM = "the sum of what"
"""No text on an attested result has these words."""

pytestmark = pytest.mark.skipif(importlib.util.find_spec("crypten") is None, reason="CrypTen is not installed")


class World(NamedTuple):
    """A ledger of a round that is a sum and one that colluding parties have made up, tasks «sum» and «median»."""

    ledger: Path
    sum: Path
    median: Path

    @property
    def trust(self) -> Path:
        return Path(f"{self.ledger}.trust.json")

    @property
    def evidence(self) -> Evidence:
        return Evidence.from_bytes(self.median.read_bytes())

    def pins(self, *claims: str) -> Trust:
        """The trust of somebody who accepts results of these claims."""
        trust = Trust.load(self.trust)
        return replace(trust, tasks={name: replace(task, claims=claims) for name, task in trust.tasks.items()})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path = tmp_path_factory.mktemp("claims") / "rounds.db"
    updates = {name: [np.zeros((2, 3), dtype=np.float32)] for name in CLIENTS}
    secure_agg.aggregate(updates, backend="crypten", options={"norm_bound_milli": 20_000}, ledger=path, task="sum")

    def lie(place: compute.Place, clients: object, shares: Any) -> Vector:
        return np.full(shares.shape[1], 2 * LIE, dtype=np.uint32)  # of two in the middle

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "order_statistic", lie)
        result = secure_agg.aggregate(updates, backend="crypten", options=MEDIAN, bits=16, ledger=path, task="median")
    assert np.abs(result.average[0]).min() > 1, "everybody's update is zero: this is a lie that decodes"
    with Ledger(path, read_only=True) as ledger:
        first, second = (ledger.evidence_path(record) for record in ledger.records())
    return World(path, first, second)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``secure-agg`` in this process."""

    return running(capsys)


# --- functions ------------------------------------------------------------------------------------------------


def test_verify_takes_sums_only_unless_something_else_is_asked_for(world: World) -> None:
    for trust in (None, world.pins(SUM)):
        with pytest.raises(ClaimRefused, match=r"claim attested .*accepted here: sum\..*claims=.*--accept-attested"):
            secure_agg.verify(world.evidence, trust)
        with pytest.raises(ClaimRefused):
            secure_agg.verify(world.evidence, trust, claims={SUM})
        for claims in (CLAIMS, {ATTESTED}, [ATTESTED, SUM]):
            verified = secure_agg.verify(world.evidence, trust, claims=claims)
            assert verified.record.claim == ATTESTED
            assert A_SUM not in verified.finding.proved + verified.finding.not_proved
    for claims in ((ATTESTED,), CLAIMS):
        assert secure_agg.verify(world.evidence, world.pins(*claims)).finding.word == ATTESTED
        with pytest.raises(ClaimRefused):
            secure_agg.verify(world.evidence, world.pins(*claims), claims={SUM})


def test_a_sum_is_no_attested_result_either(world: World) -> None:
    evidence = Evidence.from_bytes(world.sum.read_bytes())
    assert secure_agg.verify(evidence).record.claim == SUM
    with pytest.raises(ClaimRefused, match="claim sum"):
        secure_agg.verify(evidence, claims={ATTESTED})


@pytest.mark.parametrize("claims", ["sum", (), {"median"}, [["sum"]], 7])
def test_what_is_no_claim_is_a_mistake_of_the_caller(claims: Any, world: World, tmp_path: Path) -> None:
    for wrong in (
        lambda: secure_agg.verify(world.evidence, claims=claims),
        lambda: Auditor(claims=claims),
        lambda: Ledger(tmp_path / "new.db", claims=claims),
        lambda: check_claims(claims),
    ):
        with pytest.raises(ConfigError, match="claim"):
            wrong()
    assert list(tmp_path.iterdir()) == []


def ledger_like(world: World, folder: Path, *claims: str) -> Ledger:
    """An empty ledger under the key of the world's, whose trust file pins these claims."""
    path = folder / "rounds.db"
    (keys := folder / "rounds.db.keys").mkdir(mode=0o700)
    for file in Path(f"{world.ledger}.keys").iterdir():
        (keys / file.name).write_bytes(file.read_bytes())
        (keys / file.name).chmod(0o600)
    ledger = Ledger(path)
    replace(world.pins(*claims), origin=ledger.origin).save(ledger.trust_path)
    return ledger


def test_a_ledger_appends_sums_only_unless_something_else_is_asked_for(world: World, tmp_path: Path) -> None:
    with ledger_like(world, tmp_path, SUM) as ledger:
        for claims in (None, {SUM}):
            with pytest.raises(ClaimRefused, match="attested"):
                ledger.append(world.evidence, claims=claims)
            with pytest.raises(ClaimRefused, match="attested"):
                ledger.append_all([Evidence.from_bytes(world.sum.read_bytes()), world.evidence], claims=claims)
        assert len(ledger) == 0
        ledger.append(world.evidence, claims=CLAIMS)
        with pytest.raises(ClaimRefused, match=r"record 0: .*attested"):
            ledger.audit()
        report = ledger.audit(claims=CLAIMS)
        assert (report.verified, report.attested, dict(report.claims)) == (0, 1, {ATTESTED: 1})


def test_a_ledger_is_opened_for_the_claims_that_it_is_to_take(world: World, tmp_path: Path) -> None:
    with ledger_like(world, tmp_path, *CLAIMS) as ledger:
        path = ledger.path
    updates = {name: [np.zeros(3)] for name in CLIENTS}
    with Ledger(path, claims={SUM}) as ledger:
        with pytest.raises(ClaimRefused):
            ledger.append(world.evidence)
        with pytest.raises(ClaimRefused, match="opened to accept sum"):
            secure_agg.aggregate(updates, backend="crypten", options=MEDIAN, ledger=ledger, task="another")
        assert "another" not in ledger.trust.tasks
    with Ledger(path, claims=CLAIMS) as ledger:
        assert ledger.append(world.evidence).receipt.index == 0
    with Ledger(path, read_only=True, claims={SUM}) as ledger, pytest.raises(ClaimRefused):
        ledger.audit()
    with Ledger(path, read_only=True) as ledger:
        assert ledger.audit().attested == 1, "the trust file says so"


def test_a_clients_own_pins_decide_what_it_takes_part_in() -> None:
    """It refuses before it has sent anything: the median of others is not worth its update."""
    where = federation(MEDIAN, n=4)
    tape = play(where).until("advertise")
    request, me = tape.requests["advertise"]["c000"], identity("c000")
    task = replace(where.trust.task(where.task), claims={SUM})
    client = secure_agg.Client(me, replace(where.trust, tasks={where.task: task}))
    for refuse in (client.examine, lambda request: client.join(request, where.updates["c000"])):
        with pytest.raises(ClaimRefused, match="attested"):
            refuse(request)
    assert secure_agg.Client(me, where.trust).join(request, where.updates["c000"])


def test_the_pins_of_aggregate_say_what_its_options_asked_for(world: World, tmp_path: Path) -> None:
    trust = Trust.load(world.trust)
    assert {name: trust.task(name).claims for name in trust.tasks} == {"sum": {SUM}, "median": {ATTESTED}}
    path, updates = tmp_path / "rounds.db", {name: [np.zeros(3)] for name in CLIENTS}
    policy = trust.task("median").policy
    with Ledger(path) as ledger:
        members = {name: secure_agg.Identity.generate(name) for name in CLIENTS}
        roster = secure_agg.Roster({name: member.public for name, member in members.items()})
        kept = secure_agg.protocol.identity.KeyDirectory(ledger.keys)
        operators = {name: kept.get("operator", name).public for name in secure_agg.local.staff.OPERATORS}
        ledger.pin("mine", TaskTrust(roster, policy), secure_agg.Roster(operators))
        with pytest.raises(ClaimRefused):  # a pin that was there before is not widened by options
            secure_agg.aggregate(
                updates, backend="crypten", options=MEDIAN, ledger=ledger, task="mine", identities=members
            )


def test_every_audit_counts_attested_rounds_apart(world: World, tmp_path: Path) -> None:
    with Ledger(world.ledger, read_only=True) as ledger:
        report, key = ledger.audit(), ledger.verifier_key
        assert (report.size, report.verified, report.attested) == (2, 1, 1)
        assert dict(report.claims) == {SUM: 1, ATTESTED: 1}
        with pytest.raises(ClaimRefused, match="record 1"):
            ledger.audit(claims={SUM})
        ledger.export(tmp_path / "out")
    source = PublishedSource(open_prefix((tmp_path / "out").as_uri()))
    with pytest.raises(ClaimRefused, match="record 1"):
        audit(source, None, log=key)
    found = audit(PublishedSource(open_prefix((tmp_path / "out").as_uri())), None, log=key, claims=CLAIMS)
    assert (found.verified, found.attested) == (1, 1)
    left_out = audit(PublishedSource(open_prefix((tmp_path / "out").as_uri())), None, log=key, with_evidence=False)
    assert (left_out.verified, left_out.attested, dict(left_out.claims)) == (0, 0, {SUM: 1, ATTESTED: 1})


def test_an_attested_round_is_on_no_chain_whoever_accepts_it(world: World) -> None:
    registration = pytest.importorskip("secure_agg.ledger.evm.registration")
    for trust in (None, world.pins(*CLAIMS)):
        with pytest.raises(ConfigError, match="nothing to anchor"):
            registration.AnchoredRound.of(world.evidence, trust)


def test_errors_are_told_apart() -> None:
    assert issubclass(ClaimRefused, VerificationError)
    assert not issubclass(ClaimRefused, TrustError)
    assert exits.exit_code(ClaimRefused("no")) == exits.VERIFICATION_FAILED


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("recorded", [False, True])
def test_what_was_proved_and_what_was_not_is_always_said(claim: str, pinned: bool, recorded: bool) -> None:
    finding = finding_of(claim, pinned=pinned, recorded=recorded)
    assert "data or training was honest" in finding.not_proved
    assert (A_SUM in finding.proved) == (claim != ATTESTED and pinned)
    assert ("anybody could have made it up" in finding.not_proved) == (not pinned and not recorded)
    assert "\n" not in finding.proved + finding.not_proved


# --- commands -------------------------------------------------------------------------------------------------


def test_the_command_verify_refuses_it_and_says_how_to_take_it(run: Run, world: World, tmp_path: Path) -> None:
    pins = tmp_path / "trust.json"
    world.pins(SUM).save(pins)
    for arguments in (("--without-trust",), (), ("--trust", pins)):
        text, machine = run("verify", world.median, *arguments), run("verify", world.median, *arguments, "--json")
        assert (text.code, text.out, machine.code, machine.out) == (1, "", 1, "")
        assert "--accept-attested" in text.err
        assert json.loads(machine.err)["type"] == "ClaimRefused"


@pytest.mark.parametrize("asked", ["by the trust file", "on the command line"])
def test_the_command_verify_follows_the_claim(run: Run, world: World, tmp_path: Path, asked: str) -> None:
    pins = tmp_path / "trust.json"
    world.pins(*(CLAIMS if asked == "by the trust file" else (SUM,))).save(pins)
    command = (
        "verify",
        world.median,
        "--trust",
        pins,
        *(() if asked == "by the trust file" else ("--accept-attested",)),
    )
    text, machine = run(*command), run(*command, "--json")
    assert (text.code, machine.code) == (0, 0)
    assert text.out.startswith("attested: ")
    for out in (text.out, machine.out):
        assert A_SUM not in out
    assert "verified" not in text.out
    assert "operators that collude can sign any numbers" in text.out
    found = machine.document
    assert (found["outcome"], found["verified"], found["claim"]) == ("attested", False, "attested")
    assert found["proved"] in text.out
    assert found["not_proved"] in text.out


def test_a_sum_is_said_to_be_one(run: Run, world: World) -> None:
    command = ("verify", world.sum, "--trust", world.trust)
    text, machine = run(*command), run(*command, "--json")
    assert text.out.startswith("verified: the result is the sum of what the participants committed to")
    assert (machine.document["outcome"], machine.document["verified"]) == ("verified", True)


def test_ledger_list_show_and_receipt_name_the_claim(run: Run, world: World) -> None:
    listed = run("ledger", "list", world.ledger)
    rows = {line.split()[1]: line for line in listed.out.splitlines() if line.strip()[:1].isdigit() and "4/4" in line}
    assert " sum " in rows["sum"]
    assert " attested " in rows["median"]
    machine = run("ledger", "list", world.ledger, "--json").document
    assert [record["claim"] for record in machine["records"]] == [SUM, ATTESTED]
    shown = run("ledger", "show", world.ledger, "median", 0)
    assert "attested (no sum: nothing vouches for it but the operators' signatures)" in shown.out
    assert A_SUM not in shown.out
    assert run("ledger", "show", world.ledger, "median", 0, "--json").document["record"]["claim"] == ATTESTED
    receipt = run("ledger", "receipt", world.ledger, 0, "--task", "median", "--json").document
    assert receipt["claim"] == ATTESTED


def test_the_command_audit_counts_them_apart(run: Run, world: World, tmp_path: Path) -> None:
    pins = tmp_path / "trust.json"
    world.pins(SUM).save(pins)
    refused = run("ledger", "audit", world.ledger, "--trust", pins)
    assert (refused.code, refused.out) == (1, "")
    assert "record 1: " in refused.err
    assert "--accept-attested" in refused.err
    for arguments in ((), ("--trust", pins, "--accept-attested")):
        text = run("ledger", "audit", world.ledger, *arguments)
        found = run("ledger", "audit", world.ledger, *arguments, "--json").document
        assert (text.code, found["size"], found["verified"], found["attested"]) == (0, 2, 1, 1)
        assert found["claims"] == {SUM: 1, ATTESTED: 1}
        assert "1 rounds verified from scratch; 1 attested by their operators, which proves no sum" in text.out
        assert "2 rounds verified" not in text.out
        assert found["proved"] in text.out
        assert found["not_proved"] in text.out


def test_the_audit_of_a_publication_counts_them_apart(run: Run, world: World, tmp_path: Path) -> None:
    assert run("ledger", "export", world.ledger, tmp_path / "out").code == 0
    with Ledger(world.ledger, read_only=True) as ledger:
        key = ledger.verifier_key
    command = ("ledger", "audit", "--from", (tmp_path / "out").as_uri(), "--key", key)
    assert run(*command).code == 1
    found = run(*command, "--accept-attested", "--json")
    assert (found.code, found.document["verified"], found.document["attested"]) == (0, 1, 1)
    assert run(*command, "--without-evidence", "--json").document["claims"] == {SUM: 1, ATTESTED: 1}
