"""NVFlare's FedAvg, with rounds that learn nothing but a verified mean.

Everything but a round is the stock controller's: models are loaded and saved by its persistor, clients get them in its
``train`` task, events, metrics and stop conditions work as ever.
"""

from __future__ import annotations

import contextlib
import math
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.fedavg import FedAvg

from secure_agg.errors import (
    ConfigError,
    LocalProtocolError,
    MalformedMessage,
    RoundAborted,
    RunStopped,
    SecureAggError,
    StoreError,
)
from secure_agg.executing import HERE, executor_of
from secure_agg.fl.layers import Layers
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator, Outcome
from secure_agg.plugins.core.phases import Ask, Late, Payload, answer_limit
from secure_agg.plugins.homes import kept
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.plugins.nvflare import given, models, wire
from secure_agg.plugins.nvflare.peers import Answer, Peers
from secure_agg.plugins.nvflare.site import server_home

_POLL_S: Final = 0.2
_PROBE_S: Final = 5.0
"""Between two looks at whether sites that train are still there; who is missed twice is gone."""


class SecureFedAvg(FedAvg):  # type: ignore[misc]  # nvflare has no types
    """FedAvg over a verified sum.

    Args:
        train_timeout: seconds that sites have to train in a round; whoever takes longer is left out of it.
        phase_timeout: seconds that sites have to answer in each of a round's phases, at least: three times as long as
            the slowest message of the job so far. None for what is configured in the server's home.
        executor: does the aggregator's work on long vectors, by its name: see ``secure_agg.executing``.
        *args, **kwargs: as ``FedAvg`` takes them, but for what needs one site's result.

    Raises:
        ConfigError: an argument asks for what a sum can't give.
    """

    def __init__(
        self,
        *args: Any,
        train_timeout: float = 3600.0,
        phase_timeout: float | None = None,
        executor: str = HERE,
        **kwargs: Any,
    ) -> None:
        for name in ("aggregator", "aggregation_weights", "exclude_vars"):
            if kwargs.get(name):
                raise ConfigError(f"{name} can't be kept: only the sum over all sites is known")
        super().__init__(*args, **{**kwargs, "ignore_result_error": True})
        self.train_timeout = train_timeout
        self.phase_timeout = phase_timeout
        self.executor = executor
        self._joined: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._most = parcels.SMALL
        self._aggregate: FLModel | None = None
        self._home: ServerHome | None = None

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Open the server's home and ledger.

        Raises:
            SecureAggError: it can't be opened; the job ends.
        """
        super().start_controller(fl_ctx)
        self._home = home = ServerHome.open(server_home(fl_ctx))
        self._workers = executor_of(self.executor)
        self._coordinator = Coordinator(
            home, phase_s=self.phase_timeout, train_s=self.train_timeout, executor=self._workers
        )
        self._peers = Peers(self.engine, self._coordinator)
        self._weight_key = home.weight_key

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Close the home, and end the workers."""
        super().stop_controller(fl_ctx)
        if self._home is not None:
            self._home.close()
            self._workers.close()

    @property
    def home(self) -> ServerHome:
        """The server's home, from the start of the job on.

        Raises:
            LocalProtocolError: the job has not started.
        """
        if self._home is None:
            raise LocalProtocolError("a controller has its home once its job has started")
        return self._home

    def sample_clients(self, num_clients: int | None = None) -> list[str]:
        """All sites: who takes part in a round is pinned in the roster, and a sum over few of many hides less."""
        sites: list[str] = super().sample_clients(None)
        return sites

    def send_model(self, *, data: FLModel, targets: Sequence[str], **_: Any) -> None:
        """Run a whole round: when this returns, no task is standing and the stock controller goes on to the result."""
        self._aggregate = self._round(data, targets)

    def _get_aggregated_result(self) -> FLModel:
        return self._aggregate

    def _round(self, model: FLModel, sites: Sequence[str]) -> FLModel:
        """What a verified round makes of ``model``; the model itself where the round comes to nothing.

        Raises:
            RoundAborted: the job was aborted.
            RunStopped, ConfigError: no round from this model can succeed, or this was the job's last and none has. The
                job fails with it: it would end as one that has completed, with an untrained model for its result.
        """
        named = models.named(model)
        layers = Layers.of(named)
        self._begin(model, sites)
        try:
            outcome = self._attempt(model)
        except (ConfigError, RunStopped):
            raise
        except SecureAggError as error:
            if self.abort_signal.triggered:
                raise
            self.error(f"Round {self.current_round}: the model stays as it was: {type(error).__name__}: {error}")
            self._coordinator.check_hope(error, more=self.current_round + 1 < self.start_round + self.num_rounds)
            return self._result(model.params, None)
        trained = layers.restore(named, outcome.model)
        self._keep(trained)
        return self._result(trained, outcome)

    def train(self, model: FLModel, sites: Sequence[str]) -> Outcome:
        """Make one attempt at a secure round from a model, and return all that it has come to.

        Raises:
            SecureAggError: it came to nothing.
        """
        self._begin(model, sites)
        return self._attempt(model)

    def _begin(self, model: FLModel, sites: Sequence[str]) -> None:
        """Look at the model, and at who is there, before anybody is asked to join."""
        named = models.named(model)
        self._coordinator.check_model(Layers.of(named).floats(named))
        if self._home is not None:
            kept.keep_first(self._home, named)
        self._peers.identify(sites)

    def _attempt(self, model: FLModel) -> Outcome:
        named = models.named(model)
        around = self._coordinator.surroundings(self._peers.members)
        told = given.instructions(given.as_it_arrives(model), self._weight_key, around)
        return self._coordinator.round(Layers.of(named).floats(named), self._ask(model), told.digest)

    def _keep(self, model: Mapping[str, Any]) -> None:
        """The round stands, whatever becomes of this copy of its model: the chain has it too."""
        try:
            if self._home is not None:
                kept.keep(self._home, model)
        except StoreError as error:
            self.error(str(error))

    def save_model(self, model: FLModel) -> None:
        """Save what a verified round has led to. Before the first one there is nothing that is worth a file."""
        if self._coordinator.verified:
            super().save_model(model)
        else:
            self.info("no round of this job is verified yet: the model is not saved")

    def _result(self, params: Mapping[str, Any], outcome: Outcome | None) -> FLModel:
        self._received_count = len(outcome.participants) if outcome else 0
        return FLModel(
            params_type=ParamsType.FULL,
            params=dict(params),
            metrics=outcome.metrics if outcome else None,
            current_round=self.current_round,
            meta={
                "nr_aggregated": self._received_count,
                "current_round": self.current_round,
                AppConstants.METRICS_AGGREGATION_INFO: self._make_metrics_aggregation_info(),
            },
        )

    # --- asking the sites -------------------------------------------------------------------------------------

    def _ask(self, model: FLModel) -> Ask:
        def ask(kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float) -> Iterator[Answer]:
            if kind == parcels.JOIN:
                return self._train(model, requests, deadline_s)
            return self._peers.ask(kind, requests, deadline_s)

        return ask

    def _train(self, model: FLModel, requests: Sequence[tuple[str, Payload]], deadline_s: float) -> Iterator[Answer]:
        """Send the request to join ahead, then the model as the stock controller does; results come sealed."""
        end = time.monotonic() + deadline_s
        awaited: dict[str, str] = {}
        ahead_s = min(deadline_s, self._coordinator.deadlines.phase_s)
        for name, answer in self._peers.ask(parcels.JOIN, requests, ahead_s):
            site = self._peers.site(name)
            if isinstance(answer, Exception) or site is None:
                yield name, answer
            else:
                awaited[site] = name
        if not awaited:
            return
        self._joined = queue.SimpleQueue()
        self._most = max(answer_limit(payload) for _, payload in requests)
        self.broadcast_model(
            data=model,
            task_name=wire.TRAIN,
            targets=list(awaited),
            timeout=max(1, math.ceil(end - time.monotonic())),
            blocking=False,
            callback=self._take,
        )
        try:
            for site, answer in self._arrivals(set(awaited)):
                yield awaited[site], answer
        finally:
            self.cancel_all_tasks()  # what is still under way is for nothing

    def _arrivals(self, awaited: set[str]) -> Iterator[Answer]:
        """What comes of a train task, site by site. NVFlare waits for a site that is gone until the task's end."""
        standing, suspects, probe_at = True, set[str](), time.monotonic() + _PROBE_S
        while awaited and standing:
            if self.abort_signal.triggered:
                raise RoundAborted("the job was aborted")
            standing = self.get_num_standing_tasks() > 0
            with contextlib.suppress(queue.Empty):
                site, answer = self._joined.get(timeout=_POLL_S)
                standing = True
                if site in awaited:
                    awaited.remove(site)
                    yield site, self._peers.why(site, answer) if isinstance(answer, wire.Refused) else answer
            if time.monotonic() >= probe_at:
                gone = self._peers.unreachable(sorted(awaited))
                for site in sorted(gone & suspects):
                    awaited.remove(site)
                    yield site, wire.Unreachable(f"{site!r} is gone", culprit=site)
                suspects, probe_at = gone, time.monotonic() + _PROBE_S
        for site in sorted(awaited):
            yield site, Late(self.train_timeout)

    def _take(self, result: FLModel) -> bool:
        """One site's result, from NVFlare's thread."""
        site = result.meta["client_name"]
        try:
            self._joined.put((site, wire.unseal(result.params, site, self._most)))
        except MalformedMessage as error:
            self._joined.put((site, error))
            return False
        return True

    def _accept_train_result(
        self, client_name: str, result: Shareable, fl_ctx: FLContext, is_unknown_task: bool = False
    ) -> bool:
        accepted: bool = super()._accept_train_result(client_name, result, fl_ctx, is_unknown_task)
        if not accepted and not is_unknown_task:
            refusal = wire.Refused(f"{client_name!r} answers {result.get_return_code()}", culprit=client_name)
            self._joined.put((client_name, refusal))
        return accepted
