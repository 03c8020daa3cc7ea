"""A site's own configuration: where its home is, and that no job gets past the filters.

Both are in the ``local`` folder of the site's workspace, which its owner writes and no job can. NVFlare sends what a
job says to every site; roster, policy and keys are never taken from there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST

from secure_agg import files
from secure_agg.errors import ConfigError

_SITE: Final = "secure-agg.json"
"""In ``local``; names the home, and the table. NVFlare sends what it finds in ``resources.json`` to the server."""

_PACKAGE: Final = "secure_agg.plugins.nvflare."
_ALLOWED: Final = "class_allow_list"
_RESOURCES: Final = "resources.json"
_SCOPE: Final = "secure-agg"
_CLIENTS: Final = "clients"
_HOME: Final = "home"
_TABLE: Final = "table"


def configure(local: Path, home: Path, table: Path | None = None) -> None:
    """Write a site's configuration.

    ``secure-agg.json`` names the home. ``resources.json`` lets jobs name this plug-in's classes, and keeps the site's
    logs, where errors name what is wrong with an update, from being sent to the server. ``privacy.json`` puts the
    filters before and behind every task of every job, whatever the job says.

    Args:
        local: folder ``local`` of the site's workspace (of the simulator's, for all of its sites).
        home: the site's home; or a folder that ``secure-agg federation init`` has made, for a simulation.
        table: a CSV file with the site's records, where it answers questions of statistics; for a simulation a folder
            with one for each site, ``site-1.csv``.

    Raises:
        ConfigError: there are privacy scopes already; the filters have to be added to them by hand.
    """
    local.mkdir(parents=True, exist_ok=True)
    resources = _read(local / _RESOURCES) or _read(local / f"{_RESOURCES}.default") or {"format_version": 2}
    allowed = list(resources.get(_ALLOWED, DEFAULT_CLASS_ALLOW_LIST))
    resources[_ALLOWED] = [*allowed, *({_PACKAGE} - set(allowed))]
    resources["allow_log_streaming"] = False
    privacy = local / "privacy.json"
    known = _read(privacy)
    if known is not None and known != _privacy():
        raise ConfigError(f"{privacy} has scopes of its own: add the filters of secure_agg.plugins.nvflare to each")
    _write(local / _RESOURCES, resources)
    _write(privacy, _privacy())
    own = {_HOME: str(home.resolve())} | ({} if table is None else {_TABLE: str(table.resolve())})
    _write(local / _SITE, own)


def configured_home(local: Path) -> Path | None:
    """What ``configure`` has written into a folder ``local``; None where it has not."""
    home = (_read(local / _SITE) or {}).get(_HOME)
    return Path(home) if isinstance(home, str) and home else None


def client_home(fl_ctx: FLContext) -> Path:
    """The home of the site that this process works for.

    Raises:
        ConfigError: its workspace names none.
    """
    home = _home(fl_ctx)
    site: str = fl_ctx.get_identity_name()
    if not (home / _CLIENTS).is_dir():
        return home
    own = home / _CLIENTS / site
    if own.resolve().parent != (home / _CLIENTS).resolve():
        raise ConfigError(f"site {site!r} has no name that a folder can have")
    return own


def client_table(fl_ctx: FLContext) -> Path | None:
    """The records of the site that this process works for; None where ``configure`` was told none.

    Raises:
        ConfigError: the site has no name that a file can have.
    """
    found = (_read(_local(fl_ctx) / _SITE) or {}).get(_TABLE)
    if not isinstance(found, str) or not found:
        return None
    if not Path(found).is_dir():
        return Path(found)
    own = Path(found) / f"{fl_ctx.get_identity_name()}.csv"
    if own.resolve().parent != Path(found).resolve():
        raise ConfigError(f"site {fl_ctx.get_identity_name()!r} has no name that a file can have")
    return own


def server_home(fl_ctx: FLContext) -> Path:
    """The server's home.

    Raises:
        ConfigError: its workspace names none.
    """
    home = _home(fl_ctx)
    return home / "server" if (home / _CLIENTS).is_dir() else home


def _home(fl_ctx: FLContext) -> Path:
    """What the workspace names: a home, or in a simulator, whose sites share one configuration, the folder of all."""
    local = _local(fl_ctx)
    home = configured_home(local)
    if home is None:
        raise ConfigError(f"{local / _SITE} names no home: secure_agg.plugins.nvflare.configure(local, home) writes it")
    return home


def _local(fl_ctx: FLContext) -> Path:
    workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT) or fl_ctx.get_engine().get_workspace()
    return Path(workspace.get_site_config_dir())


def _privacy() -> dict[str, Any]:
    data = {"path": f"{_PACKAGE}filters.SecureTaskData", "args": {}, "direction": "in"}
    result = {"path": f"{_PACKAGE}filters.SecureTaskResult", "args": {}, "direction": "out"}
    return {
        "scopes": [{"name": _SCOPE, "task_data_filters": [data], "task_result_filters": [result]}],
        "default_scope": _SCOPE,
        "components": [{"id": "secure_agg", "path": f"{_PACKAGE}filters.SecureTaskData", "args": {}}],
    }


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a JSON object")
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    files.replace(path, (json.dumps(content, indent=2) + "\n").encode())
