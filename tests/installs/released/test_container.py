"""The container's files say what the command and the package have, and its user is not root. Nothing is built here."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from support.commands import every_command
from support.source_tree import ROOT

import secure_agg

CONTAINERFILE = ROOT / "container" / "Containerfile"
COMPOSE = ROOT / "container" / "compose.yaml"
LINTERS = ROOT / "build" / "lint" / "node_modules" / ".bin"


def instructions() -> list[tuple[str, str]]:
    text = CONTAINERFILE.read_text("utf-8").replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def last(name: str) -> str:
    return [rest for found, rest in instructions() if found == name][-1]


def command() -> list[str]:
    return [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]


def option(name: str) -> str:
    words = command()
    return words[words.index(name) + 1]


def test_it_runs_as_a_number_that_is_not_root() -> None:
    names = [name for name, _ in instructions()]
    user, group = map(int, last("USER").split(":"))
    assert min(user, group) > 999
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]


def test_what_it_copies_is_there_and_is_not_left_out() -> None:
    let_in = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    ]
    assert set(sources) == let_in
    assert all((ROOT / source).exists() for source in sources)


def test_what_it_runs_is_a_command_with_these_options() -> None:
    program, name, *words = command()
    assert program == "secure-agg"
    serve = every_command().commands[name]
    known = {text for parameter in serve.params for text in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert f"http://{option('--monitor')}/health/ready" in last("HEALTHCHECK")
    assert option("--listen").endswith(f":{last('EXPOSE')}")


def test_it_is_of_a_python_and_extras_that_the_package_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    arguments = dict(rest.split("=", 1) for name, rest in instructions() if name == "ARG")
    assert set(arguments["EXTRAS"].split(",")) <= set(project["optional-dependencies"])
    version = arguments["BASE"].rpartition(":")[2].split("-")[0]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_the_composed_service_is_this_version_and_may_write_to_its_home_only() -> None:
    (service,) = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"].values()
    assert service["image"] == f"secure-agg:{secure_agg.__version__}"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    targets = [volume.rpartition(":")[2] for volume in service["volumes"]]
    assert targets == [last("WORKDIR"), service["environment"]["TMPDIR"]]
    assert [port.rpartition(":")[2] for port in service["ports"]] == [last("EXPOSE")]


def linter(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    if not (LINTERS / name).exists() or shutil.which("node") is None:
        pytest.skip("'make container-lint' brings the linters, from npm")
    return subprocess.run([LINTERS / name, *map(str, words)], capture_output=True, text=True, check=False)


def test_linters_find_nothing_and_find_what_is_wrong(tmp_path: Path) -> None:
    found = linter("dockerfile-utils", "lint", CONTAINERFILE)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout
    found = linter("dclint", "--max-warnings", "0", COMPOSE)
    assert found.returncode == 0, found.stdout
    wrong = tmp_path / "Containerfile"
    wrong.write_text(CONTAINERFILE.read_text("utf-8").replace("ENTRYPOINT", "ENTRYPIONT"))
    assert linter("dockerfile-utils", "lint", wrong).returncode != 0
    other = tmp_path / "compose.yaml"
    other.write_text(COMPOSE.read_text("utf-8").replace("0.0.0.0:8470:8470", "8470:8470"))
    assert linter("dclint", "--max-warnings", "0", other).returncode != 0
