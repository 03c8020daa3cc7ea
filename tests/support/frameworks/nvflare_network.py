"""NVFlare's engines in one process: our filters, controller and messages as the framework calls them.

What a site does with a task is what NVFlare's client runner does: data filters, executor, result filters, and an error
code in place of whatever raises. Every message is encoded and decoded by NVFlare.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.client import Client
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.server_engine_spec import ServerEngineSpec
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.utils.task_utils import apply_filters
from nvflare.apis.workspace import Workspace
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.fuel.utils import fobs
from nvflare.private.fed.app.fl_conf import create_privacy_manager
from nvflare.private.fed.utils.fed_utils import nvflare_fobs_initialize
from nvflare.private.privacy_manager import Scope

from secure_agg.plugins.nvflare import SecureFedAvg, SecureTaskData, SecureTaskResult, configure

Train = Callable[[str, FLModel], FLModel | Shareable]
"""A script's work, or what an executor replies."""
Tamper = Callable[[str, Shareable], Shareable]

nvflare_fobs_initialize()


def carried(message: Shareable) -> Shareable:
    """What arrives of a message."""
    arrived: Shareable = fobs.loads(fobs.dumps(message))
    return arrived


class SiteEngine:
    """A client's engine, as far as we ask it."""

    def __init__(self, name: str, workspace: Workspace, components: Mapping[str, Any]) -> None:
        self.components, self.handlers, self.panics = dict(components), dict[str, Any](), list[str]()
        self._workspace = workspace
        self._manager = FLContextManager(self, name, "job", private_stickers={})

    def get_all_components(self) -> dict[str, Any]:
        return self.components

    def get_workspace(self) -> Workspace:
        return self._workspace

    def register_aux_message_handler(self, topic: str, message_handle_func: Any) -> None:
        assert topic not in self.handlers  # NVFlare refuses a second one
        self.handlers[topic] = message_handle_func

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.FATAL_SYSTEM_ERROR:
            self.panics.append(fl_ctx.get_prop(FLContextKey.EVENT_DATA))

    def new_context(self) -> FLContext:
        return self._manager.new_context()


class Site:
    """A client's job process, with filters named by the job and by the site itself, which NVFlare reads and applies.

    Attributes:
        scope: what the site's ``privacy.json`` puts before and behind every task; None for a site without one.
        of_job: what the job puts there, by chain.
        left: results as they left the site, in order.
        errors: what its filters have raised.
    """

    def __init__(self, name: str, root: Path, home: Path, train: Train, components: Mapping[str, Any]) -> None:
        self.name, self.train = name, train
        for folder in ("startup", "local"):
            (root / folder).mkdir(parents=True)
        configure(root / "local", home)
        workspace = Workspace(str(root), name)
        manager = create_privacy_manager(workspace, names_only=False)
        self.engine = SiteEngine(name, workspace, {**components, **manager.components})
        self.scope: Scope | None = manager.get_scope(None)
        self.of_job = {
            Scope.TASK_DATA_FILTERS_NAME: {_key("train", FilterKey.IN): [SecureTaskData()]},
            Scope.TASK_RESULT_FILTERS_NAME: {_key("train", FilterKey.OUT): [SecureTaskResult()]},
        }
        self.left: list[Shareable] = []
        self.errors: list[Exception] = []
        self._fire(EventType.START_RUN)

    def _fire(self, event: str) -> None:
        filters = [f for chain in self.of_job.values() for each in chain.values() for f in each]
        for component in (*self.engine.components.values(), *filters):
            component.handle_event(event, self.engine.new_context())

    def close(self) -> None:
        self._fire(EventType.END_RUN)

    def strip(self, *, job: bool, site: bool) -> None:
        """Leave out the filters that the job names, or those of the site."""
        if job:
            self.of_job = {chain: {} for chain in self.of_job}
        if site:
            self.scope = None

    def receive(self, topic: str, message: Shareable) -> Shareable:
        """An auxiliary message."""
        if topic not in self.engine.handlers:
            return make_reply(ReturnCode.TOPIC_UNKNOWN)
        reply: Shareable = self.engine.handlers[topic](topic, message, self.engine.new_context())
        return reply

    def filtered(self, chain: str, direction: str, task: str, data: Shareable) -> Shareable:
        """What NVFlare makes of a task's data or result."""
        fl_ctx = self.engine.new_context()
        fl_ctx.set_prop(FLContextKey.TASK_NAME, task, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.SCOPE_OBJECT, self.scope, private=True, sticky=False)
        filtered: Shareable = apply_filters(chain, data, fl_ctx, self.of_job[chain], task, direction)
        return filtered

    def do(self, task: str, data: Shareable) -> Shareable:
        """A task."""
        code = ReturnCode.TASK_DATA_FILTER_ERROR
        try:
            data = self.filtered(Scope.TASK_DATA_FILTERS_NAME, FilterKey.IN, task, data)
            code = ReturnCode.TASK_RESULT_FILTER_ERROR
            trained = self.train(self.name, FLModelUtils.from_shareable(data))
            result = FLModelUtils.to_shareable(trained) if isinstance(trained, FLModel) else trained
            result = self.filtered(Scope.TASK_RESULT_FILTERS_NAME, FilterKey.OUT, task, result)
        except Exception as error:
            self.errors.append(error)
            result = make_reply(code)
        self.left.append(result)
        return result


def _key(task: str, direction: str) -> str:
    return f"{task}{FilterKey.DELIMITER}{direction}"


class ServerEngine(ServerEngineSpec):  # type: ignore[misc]
    """The server's engine, as far as we and the stock controller ask it."""

    def __init__(self, workspace: Workspace) -> None:
        self.sites: dict[str, Site] = {}
        self.gone: set[str] = set()
        self.threads: list[threading.Thread] = []
        self.tamper_request: Tamper = lambda name, message: message
        self.tamper_reply: Tamper = lambda name, message: message
        self._workspace = workspace
        self._manager = FLContextManager(self, "server", "job", private_stickers={})

    def send_aux_request(self, targets: list[str], topic: str, request: Shareable, **_: Any) -> dict[str, Shareable]:
        (name,) = targets
        if name in self.gone:
            return {name: make_reply(ReturnCode.COMMUNICATION_ERROR)}
        message = self.tamper_request(name, carried(request))
        return {name: self.tamper_reply(name, carried(self.sites[name].receive(topic, message)))}

    def get_clients(self) -> list[Client]:
        return [Client(name, "token") for name in self.sites]

    @contextmanager
    def new_context(self) -> Iterator[FLContext]:
        yield self._manager.new_context()

    def get_workspace(self) -> Workspace:
        return self._workspace

    def get_component(self, component_id: str) -> None:
        return None

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None: ...


# The specification is abstract in much that nobody here calls.
ServerEngine.__abstractmethods__ = frozenset()


class Straight:
    """Of a controller: tasks go straight to the sites."""

    def broadcast_model(self, data: FLModel, task_name: str, targets: list[str], **_: Any) -> None:
        self._standing = len(targets)
        for name in targets:
            task = carried(FLModelUtils.to_shareable(data))
            thread = threading.Thread(target=self._send, args=(name, task_name, task))
            thread.start()
            self.engine.threads.append(thread)

    def _send(self, name: str, task: str, data: Shareable) -> None:
        result = carried(self.engine.sites[name].do(task, data))
        if self._accept_train_result(name, result, self.fl_ctx):
            model = FLModelUtils.from_shareable(result)
            model.meta["client_name"] = name
            self._take(model)
        self._standing -= 1

    def get_num_standing_tasks(self) -> int:
        return self._standing

    def cancel_all_tasks(self, *_: Any) -> None: ...


class Controller(Straight, SecureFedAvg):
    """Ours, as it is."""


class Network:
    """A server and its sites over the homes of one federation."""

    def __init__(self, root: Path, federation: Path, train: Train, controller: SecureFedAvg | None = None) -> None:
        for folder in ("startup", "local"):
            (root / "server" / folder).mkdir(parents=True)
        configure(root / "server" / "local", federation / "server")
        self._root, self._federation, self._train = root, federation, train
        self.engine = ServerEngine(Workspace(str(root / "server"), "server"))
        self.controller = controller or Controller(persistor_id="", train_timeout=60.0, phase_timeout=60.0)
        self.controller.abort_signal = Signal()
        self.controller.current_round = 0
        with self.engine.new_context() as fl_ctx:
            self.controller.start_controller(fl_ctx)

    def add(self, name: str, home: Path | None = None, components: Mapping[str, Any] | None = None) -> Site:
        """A site, with its own home or another."""
        home = home or self._federation / "clients" / name
        site = Site(name, self._root / name, home, self._train, components or {})
        self.engine.sites[name] = site
        return site

    def round(self, params: Mapping[str, np.ndarray]) -> FLModel:
        """What the stock controller does in a round."""
        self.controller.send_model(data=FLModel(params=dict(params)), targets=list(self.engine.sites))
        result: FLModel = self.controller._get_aggregated_result()
        return result

    def close(self) -> None:
        for thread in self.engine.threads:
            thread.join()
        for site in self.engine.sites.values():
            site.close()
        with self.engine.new_context() as fl_ctx:
            self.controller.stop_controller(fl_ctx)
