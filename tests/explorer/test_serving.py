"""The site on this machine: the page beside a ledger, and a server that answers for nothing else."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import secure_agg
from secure_agg import explorer
from secure_agg.cli import main
from secure_agg.errors import ConfigError
from secure_agg.explorer.serving import SiteServer
from secure_agg.explorer.site import write_site
from secure_agg.ledger.log import Ledger


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "rounds.db"
    secure_agg.aggregate({name: [np.array([0.5, 1.0])] for name in "abc"}, ledger=path, backend="plain")
    return path


@pytest.fixture(scope="module")
def site(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with Ledger(ledger, read_only=True) as log:
        log.export(folder)
        assert write_site(log, folder).page == explorer.digest()
    return folder


@pytest.fixture
def server(site: Path) -> Iterator[SiteServer]:
    with SiteServer((site,)) as running:
        yield running


def ask(server: SiteServer, path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*server.authority.split(":"), timeout=120)  # type: ignore[arg-type]
    connection.request(method, path, headers={"Host": server.authority if host is None else host})
    answer = connection.getresponse()
    try:
        if answer.status == 200:
            assert answer.getheader("X-Content-Type-Options") == "nosniff"
            assert answer.getheader("Cache-Control") == "no-store"
        return answer.status, answer.read()
    finally:
        connection.close()


def test_what_is_published_is_served(server: SiteServer, site: Path) -> None:
    assert ask(server, "/") == (200, explorer.PAGE.read_bytes())
    for file in site.rglob("*"):
        if file.is_file():
            assert ask(server, f"/{file.relative_to(site)}") == (200, file.read_bytes())
    assert ask(server, "/checkpoint", method="HEAD") == (200, b"")


def test_a_site_says_whose_word_it_is(site: Path, ledger: Path) -> None:
    document = json.loads((site / "site.json").read_text("utf-8"))
    assert document["format"] == "secure-agg-site/1"
    assert document["trust"] == Path(f"{ledger}.trust.json").read_text("utf-8")
    assert document["faults"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/../rounds.db",
        "/%2e%2e/rounds.db",
        "//etc/passwd",
        "/tile/0/../../x",
        "/evidence/",
        "/x",
        "/site.json?x",
        "/.a",
    ],
)
def test_nothing_else_is(server: SiteServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("host", ["example.org", "localhost", "127.0.0.1", ""])
def test_who_asks_under_another_name_is_refused(server: SiteServer, host: str) -> None:
    """A page of somebody else's, whose name leads here, reads nothing."""
    assert ask(server, "/checkpoint", host) == (403, b"")


def test_other_methods_are_refused(server: SiteServer) -> None:
    assert ask(server, "/checkpoint", method="POST")[0] == 501


def test_export_writes_the_page_only_where_it_is_asked_for(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, expected in (((), None), (("--site",), explorer.digest())):
        with pytest.raises(SystemExit) as ended:
            main(["ledger", "export", str(ledger), *option, str(tmp_path / "public"), "--json"])
        assert ended.value.code == 0
        assert json.loads(capsys.readouterr().out)["page"] == expected
        assert (tmp_path / "public" / "index.html").exists() == bool(option)


def test_the_digest_is_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explore", "--digest"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == hashlib.sha256(explorer.PAGE.read_bytes()).hexdigest()


def test_explore_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in ((["explore"], "name a ledger"), (["explore", str(tmp_path)], "no folder of a published")):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert words in " ".join(capsys.readouterr().err.split())
    with SiteServer((tmp_path,)) as server, pytest.raises(ConfigError, match="can't listen"):
        SiteServer((tmp_path,), server.server_address[1])


@pytest.mark.slow
@pytest.mark.parametrize("published", [False, True], ids=["a ledger", "a folder that somebody has published"])
def test_explore_serves_the_package_s_own_page_until_it_is_stopped(ledger: Path, site: Path, published: bool) -> None:
    if published:
        (site / "index.html").write_bytes(b"<p>All is right.</p>")
    command = [
        sys.executable,
        "-m",
        "secure_agg",
        "explore",
        str(site if published else ledger),
        "--no-browser",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline()
        document = json.loads(text)
        host, port = document["url"].removeprefix("http://").rstrip("/").split(":")
        for path, expected in (("/", explorer.PAGE.read_bytes()), ("/checkpoint", (site / "checkpoint").read_bytes())):
            connection = http.client.HTTPConnection(host, int(port), timeout=120)
            connection.request("GET", path)
            assert connection.getresponse().read() == expected
            connection.close()
        name = next((site / "evidence").rglob("*.evidence"))
        connection = http.client.HTTPConnection(host, int(port), timeout=120)
        connection.request("GET", f"/{name.relative_to(site)}")
        assert connection.getresponse().read() == name.read_bytes()
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
