"""The page in a headless Chromium: a real ledger turns green, and a byte changed anywhere turns it red."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from support.beacons import rehearsal
from support.epochs import Changing
from support.explorer.browser import (
    MILLISECONDS,
    browser,
    make_ledger,
    new_page,
    publish,
    standing,
    visit,
    wait_for_view,
)
from support.federation import identity

import secure_agg
from secure_agg.explorer import PAGE
from secure_agg.explorer.serving import SiteServer
from secure_agg.ledger.log import Ledger

pytestmark = pytest.mark.slow
WIDTHS: Final = (360, 768, 1440)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Path:
    """Made once, and only where there is a browser to look at it."""
    return make_ledger(tmp_path_factory.mktemp("ledger"))


@pytest.fixture(scope="module")
def site(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(ledger, tmp_path_factory.mktemp("site") / "public")


@pytest.fixture(scope="module")
def tab(chromium: Any) -> Any:
    """One for all tests: a page of its own, in a process of its own, takes a second of a core."""
    return new_page(chromium)


@contextmanager
def opened(tab: Any, folder: Path, path: str = "") -> Iterator[Any]:
    """A page that has seen nothing before, on what a folder publishes: each server is another origin."""
    with SiteServer((folder,)) as server:
        tab.goto(f"{server.url}{path}")
        try:
            yield tab
        finally:
            tab.goto("about:blank")


def choose(page: Any, label: str, *files: Path) -> None:
    page.get_by_label(label).first.set_input_files([str(file) for file in files])


def test_a_ledger_is_consistent_by_itself_and_right_by_the_reader_s_pins(tab: Any, ledger: Path, site: Path) -> None:
    hosts: list[str] = []
    tab.on("request", lambda request: hosts.append(request.url))
    with opened(tab, site) as page:
        assert standing(page) == "passed"
        assert "Nothing of yours was compared" in page.inner_text("#status")
        choose(page, "Choose your trust file", Path(f"{ledger}.trust.json"))
        page.wait_for_selector("body[data-pins=own]", timeout=MILLISECONDS)
        assert standing(page) == "passed"
        assert "against your own pins" in page.inner_text("#status")
        assert page.locator("li[data-check=key]").inner_text().count("pinned by you") == 1
        assert page.locator("[data-state=failed], [data-state=unknown]").count() == 0
        own = page.url.split("/", 3)[2]
        assert {url.split("/", 3)[2] for url in hosts if not url.startswith(("blob:", "data:", "about:"))} == {own}


def test_what_the_page_shows_is_what_the_ledger_holds(tab: Any, ledger: Path, site: Path) -> None:
    with opened(tab, site) as page, Ledger(ledger, read_only=True) as log:
        assert standing(page) == "passed"
        for index, record in enumerate(log.records()):
            visit(page, f"record/{index}")
            page.wait_for_selector("h2:has-text('Who took part')", timeout=MILLISECONDS)
            text = page.inner_text("main")
            assert record.result_model.hex() in text
            assert f"{record.participants} of {record.cohort_size}" in text
            (bound,) = re.findall(r"less than ([\d.e-]+)", text)
            assert record.error_bound <= float(bound) <= 1.02 * record.error_bound
            assert len(bound) < 14, "a bound has three digits"
        page.click("text=Faults")
        wait_for_view(page, "faults")
        assert "two-advertisements: bob has broken the protocol" in page.inner_text("main")
        page.fill("#search", record.digest().hex()[:12])
        page.click("#results a")
        wait_for_view(page, "record/2")
        page.fill("#search", "cyn")
        assert "cyn" in page.inner_text("#results")


@pytest.mark.long
def test_a_byte_changed_turns_the_page_red(tab: Any, site: Path, tmp_path: Path) -> None:
    """In one file of each kind; of all files and many places `test_tampering` has the same, without a browser."""
    altered = tmp_path / "altered"
    shutil.copytree(site, altered)
    evidence = sorted((altered / "evidence").rglob("*.evidence"), key=lambda file: file.stat().st_size)
    kinds = [
        altered / "checkpoint",
        altered / "tile" / "0" / "000.p" / "3",
        altered / "tile" / "entries" / "000.p" / "3",
        evidence[0],
        evidence[-1],
        next((altered / "faults").iterdir()),
    ]
    for file in kinds:
        data = file.read_bytes()
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        with opened(tab, altered) as page:
            assert standing(page) == "failed", file.name
            assert "WRONG" in page.inner_text("#status")
        file.write_bytes(data)
    (altered / "site.json").unlink()
    with opened(tab, altered) as page:
        assert standing(page) == "unknown"  # no key of the log is known: nothing is checked, and nothing is green


def test_what_is_not_checked_is_said_with_the_command_that_does(tab: Any, site: Path) -> None:
    """Of each round in its own list; of all on the page about the page, in one column on a phone."""
    with opened(tab, site, "#/record/0") as page:
        page.wait_for_selector("li[data-check=chain].skipped", timeout=MILLISECONDS)
        assert "--chain URL --contract ADDRESS does" in page.locator("li[data-check=chain]").inner_text()
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(f"{page.url.split('#')[0]}#/about")
        page.wait_for_selector("code.command")
        shown = page.get_by_role("region", name="Not checked here")
        for word in ("anchors", "ciphertexts", "secure-agg keyholder serve", "secure-agg ledger audit"):
            assert word in shown.inner_text()
        lefts = "e => Math.round(e.getBoundingClientRect().left)"
        assert len({code.evaluate(lefts) for code in shown.locator("code").all()}) == 1
        assert all(cell.inner_text().strip() for cell in shown.locator("tbody td").all())
        page.set_viewport_size({"width": 1280, "height": 720})


def test_another_history_than_was_seen_turns_red(tab: Any, ledger: Path, site: Path, tmp_path: Path) -> None:
    """The log's own key signs both: only what the browser has kept shows it."""
    folder = tmp_path / "served"
    shutil.copytree(site, folder)
    with opened(tab, folder) as page:
        assert standing(page) == "passed"
        shutil.rmtree(folder)
        publish(make_ledger_again(ledger, tmp_path), folder)
        page.reload()
        assert standing(page) == "failed"
        assert "others than were seen" in page.locator("li[data-check=seen]").inner_text()


def make_ledger_again(ledger: Path, folder: Path) -> Path:
    """Another ledger under the same key and name, as who has stolen it, or a log that lies, would make it."""
    path = folder / "rounds.db"
    shutil.copytree(f"{ledger}.keys", f"{path}.keys")
    with Ledger(ledger, read_only=True) as log:
        origin = log.origin
    Ledger(path, origin=origin).close()
    rng = np.random.default_rng(8)
    for _ in range(3):
        updates = {name: [rng.normal(size=3)] for name in ("ada", "bob", "cyn", "Zoë")}
        secure_agg.aggregate(updates, ledger=path, backend="plain")
    return path


def test_what_a_reader_knows_is_compared_and_what_rounds_have_spent_is_shown(tab: Any, tmp_path: Path) -> None:
    """A question mark where no beacon is pinned, until the reader says what drew the cohort."""
    path = tmp_path / "rounds.db"
    updates = {f"c{i}": [np.full(3, i / 8)] for i in range(6)}
    drawn: dict[str, Any] = {"sample": 4, "corruption_rate": 0.0, "beacon": rehearsal(range(1, 40))}
    made = secure_agg.aggregate(updates, ledger=path, backend="plain", task="drawn", **drawn)
    budget = secure_agg.Privacy(epsilon=8.0, delta=1e-5, norm=1.0, rounds=2)
    spent = secure_agg.aggregate(updates, ledger=path, backend="plain", task="noise", privacy=budget).record.spent
    pins = json.loads(Path(f"{path}.trust.json").read_text("utf-8"))
    del pins["tasks"]["drawn"]["beacon"]
    (tmp_path / "own.json").write_text(json.dumps(pins), "utf-8")
    with opened(tab, publish(path, tmp_path / "public"), "#/record/0") as page:
        assert standing(page) == "passed"  # by the log's own pins, which are not the reader's
        visit(page, "")
        choose(page, "Choose your trust file", tmp_path / "own.json")
        page.wait_for_selector("body[data-pins=own]", timeout=MILLISECONDS)
        assert standing(page) == "unknown"
        visit(page, "record/0")
        page.wait_for_selector("li[data-check='1'].unknown")
        assert page.locator("li.failed").count() == 0
        for said, state in (("00" * 48, "failed"), (made.evidence.config.beacon.hex().upper(), "passed")):
            page.fill("#randomness", said)
            page.keyboard.press("Enter")
            page.wait_for_selector(f"body[data-standing={state}]", timeout=MILLISECONDS)
        visit(page, "task/noise")
        page.wait_for_selector("h2:has-text('Members')")
        assert f"ε {spent / 10**6} of 8" in page.inner_text("main")


@pytest.mark.long
def test_an_epoch_has_a_list_of_its_own(tab: Any, tmp_path: Path) -> None:
    task = Changing(tmp_path, 3, administrators=1, min_clients=2)
    task.round()
    task.change(join={"new": identity("new").public}, new={"new": identity("new")})
    task.round()
    task.ledger.close()
    with opened(tab, publish(task.path, tmp_path / "public"), "#/record/1") as page:
        assert standing(page) == "passed"
        page.wait_for_selector("h2:has-text('Epoch 1 of task task')")
        shown = page.get_by_role("list", name="Checks of this epoch")
        assert shown.get_by_role("listitem").count() == 5
        assert "members new: new" in shown.inner_text()
        assert "administrators admin0; 1 of 1 are needed" in shown.inner_text()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.locator("html").evaluate("e => e.scrollWidth") <= width
        page.set_viewport_size({"width": 1280, "height": 720})


def test_files_are_verified_offline_from_the_page_as_a_file(
    chromium: Any, ledger: Path, site: Path, tmp_path: Path
) -> None:
    page_file = tmp_path / "index.html"
    page_file.write_bytes(PAGE.read_bytes())
    with Ledger(ledger, read_only=True) as log:
        evidence = log.evidence_path(log.record(1))
        receipt = tmp_path / "round.tlog-proof"
        receipt.write_bytes(log.receipt(1).to_bytes())
        result = [array.astype(np.float32) for array in _mean(log)]
    fault = next((site / "faults").iterdir())
    spoiled = tmp_path / "spoiled.evidence"
    data = evidence.read_bytes()
    spoiled.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    np.savez(tmp_path / "model.npz", *result)
    page = new_page(chromium, offline=True)
    page.goto(f"file://{page_file}#/files")
    choose(page, "Choose your trust file", Path(f"{ledger}.trust.json"))
    page.wait_for_selector("text=Your trust file is taken")
    choose(page, "Choose files, or drop them", evidence, receipt, fault, spoiled)
    page.wait_for_selector(f"h2:has-text('{fault.name}')", timeout=MILLISECONDS)
    text = {item.locator("h2").inner_text(): item.locator("p.note").last.inner_text() for item in sections(page)}
    assert "verified against your trust file" in text[evidence.name]
    assert "has signed a tree of 3 records with this one at 1" in text[receipt.name]
    assert "bob has broken the protocol" in text[fault.name]
    assert "proves nothing" in text[spoiled.name]
    # The folder of a whole ledger, without a server.
    visit(page, "")
    page.get_by_label("Choose a folder").set_input_files(str(site))
    assert standing(page) == "passed"
    visit(page, "record/1")
    page.wait_for_selector("h2:has-text('Is this the model')")
    choose(page, "Choose model files", tmp_path / "model.npz")
    page.wait_for_selector("text=the round's mean, rounded to the file's types", timeout=MILLISECONDS)
    page.context.close()


@pytest.mark.long
def test_a_trust_file_among_files_to_be_checked_is_not_the_reader_s(
    tab: Any, ledger: Path, site: Path, tmp_path: Path
) -> None:
    """Whoever gives a reader evidence may put pins of their own beside it, or in its place: what a file is its content
    says, and not its name. Green would say nothing then.
    """
    own, theirs = Path(f"{ledger}.trust.json"), tmp_path / "round.evidence"
    pins = json.loads(own.read_text("utf-8"))
    pins["operators"] = {}
    theirs.write_text(json.dumps(pins), "utf-8")
    evidence = next((site / "evidence").rglob("*.evidence"))
    for given in ([evidence, theirs], [theirs]):
        with opened(tab, site, "#/files") as page:
            choose(page, "Choose files, or drop them", *given)
            page.wait_for_selector("text=was NOT taken for yours", timeout=MILLISECONDS)
            assert standing(page) == "passed"
            assert page.locator("body[data-pins=own]").count() == 0
    with opened(tab, site, "#/files") as page:
        choose(page, "Choose your trust file", evidence)
        page.wait_for_selector("text=NOT one trust file", timeout=MILLISECONDS)
        choose(page, "Choose your trust file", own)
        page.wait_for_selector("body[data-pins=own]", timeout=MILLISECONDS)
        choose(page, "Choose files, or drop them", theirs)
        page.wait_for_selector("text=another one is remembered", timeout=MILLISECONDS)
        assert standing(page) == "passed"
        page.click("text=Forget it")
        page.wait_for_selector("body[data-pins=none]", timeout=MILLISECONDS)


def sections(page: Any) -> list[Any]:
    return [item for item in page.locator("main section").all() if item.locator("p.note").count()]


def _mean(log: Ledger) -> list[Any]:
    return list(secure_agg.verify(log.evidence(log.record(1))).average)


@pytest.mark.long
def test_a_round_of_a_million_values_is_verified_with_progress_while_the_page_answers(tab: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    path = tmp_path / "rounds.db"
    secure_agg.aggregate({name: [rng.normal(size=1_000_000)] for name in "abc"}, ledger=path, backend="plain")
    with opened(tab, publish(path, tmp_path / "public"), "#/record/0") as page:
        page.wait_for_selector("main progress[value]", timeout=MILLISECONDS)
        page.fill("#search", "a")
        assert "member of task default" in page.inner_text("#results")
        assert standing(page) == "passed"
        assert "numbers hashed" in page.locator("li[data-check='7']").inner_text()


@pytest.mark.long
def test_it_has_landmarks_names_and_a_way_for_the_keyboard_at_every_width(tab: Any, site: Path) -> None:
    with opened(tab, site) as page:
        assert standing(page) == "passed"
        for landmark in ("banner", "search", "navigation", "main", "contentinfo"):
            assert page.get_by_role(landmark).count() == 1, landmark
        assert page.locator("h1").count() == 1
        page.keyboard.press("Tab")
        assert page.inner_text(":focus") == "Skip to content"
        page.keyboard.press("Enter")
        assert page.locator("main:focus").count() == 1
        for path in ("", "tasks", "participants", "witnesses", "faults", "files", "about", "record/1", "task/default"):
            visit(page, path)
            page.wait_for_selector("main h2")
            nameless = [item for item in page.locator("input").all() if not item.evaluate("e => e.labels.length")]
            assert nameless == []
            for picture in page.locator("svg").all():
                assert picture.get_attribute("aria-label")
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 800})
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    wide = page.locator("html").evaluate("e => e.scrollWidth")
                    assert wide <= width, (path, width)
        page.set_viewport_size({"width": 1280, "height": 720})


@pytest.mark.long
def test_it_is_read_aloud_once_keeps_the_order_of_the_keyboard_and_has_no_need_of_its_colours(
    tab: Any, site: Path
) -> None:
    with opened(tab, site) as page:
        assert standing(page) == "passed"
        # What is said of all of it is written anew, and so read aloud, only when it is something else.
        page.evaluate("""() => {
            globalThis.told = 0;
            new MutationObserver(() => { globalThis.told++; }).observe(document.getElementById("status"),
                { childList: true, subtree: true, characterData: true });
        }""")
        for path in ("tasks", "record/0", ""):
            visit(page, path)
            page.wait_for_selector("main h2")
        assert page.evaluate("() => globalThis.told") == 0
        # Nothing is reached before what stands before it.
        assert page.locator("[tabindex]:not([tabindex='0']):not([tabindex='-1'])").count() == 0
        page.reload()
        assert standing(page) == "passed"
        order: list[int] = []
        for _ in range(12):
            page.keyboard.press("Tab")
            order.append(page.evaluate("() => [...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        assert order == sorted(set(order))
        page.emulate_media(forced_colors="active")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        current = page.locator("nav a[aria-current]")
        assert current.evaluate("e => getComputedStyle(e).borderTopWidth") == "3px"
        assert page.locator(".mark.passed").first.inner_text().strip() != ""
        page.emulate_media(forced_colors="none")
        page.set_viewport_size({"width": 1280, "height": 720})


def test_its_policy_lets_nothing_in(tab: Any, site: Path, tmp_path: Path) -> None:
    """What a ledger says becomes text, and the page runs and loads nothing that is not its own."""
    altered = tmp_path / "altered"
    shutil.copytree(site, altered)
    document = json.loads((altered / "site.json").read_text("utf-8"))
    trust = json.loads(document["trust"])
    trust["tasks"]["<img src=x onerror=alert(1)>"] = trust["tasks"]["default"]
    document["trust"] = json.dumps(trust)
    (altered / "site.json").write_text(json.dumps(document), "utf-8")
    with opened(tab, altered, "#/participants") as page:
        assert standing(page) == "passed"
        assert page.locator("main img").count() == 0
        assert "<img src=x" in page.inner_text("main")
        refused = page.locator("body").evaluate("""body => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 'taken'";
            body.append(script);
        })""")
        assert refused.startswith("script-src")
        assert page.title() != "taken"
