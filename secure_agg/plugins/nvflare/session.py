"""A node's side of a job: one participant, and the training that it waits for.

The participant joins a round with a function that trains; NVFlare instead calls the executor between two filters. So
the participant runs in a thread of its own, which stops where it wants a trained model: it gets there only after it
has verified the last result and the model that was handed out, and until then the executor is not called.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.widgets.convert_to_fed_event import ConvertToFedEvent
from nvflare.app_common.widgets.metric_relay import MetricRelay

from secure_agg.errors import LocalProtocolError, PolicyViolation, RoundAborted
from secure_agg.fl.layers import Layers
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.instructions import Instructions
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.core.training import Trained
from secure_agg.plugins.homes import tenants
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.nvflare import given, wire
from secure_agg.plugins.nvflare.models import named, trained
from secure_agg.plugins.nvflare.site import client_home

_PROP: Final = "secure_agg.roles.session"
_log = logging.getLogger("secure_agg.plugins")


class Joining:
    """One round's training: from the model that has come to the payload that joins."""

    def __init__(
        self,
        participant: Participant,
        turn: threading.Lock,
        request: bytes,
        model: FLModel,
        instructions: Instructions,
        weight_key: str | None,
    ) -> None:
        self._participant, self._turn, self._request = participant, turn, request
        self._instructions, self._weight_key = instructions, weight_key
        self.task = threading.current_thread()  # in which NVFlare handles one task from its data to its result
        arrays = named(model)
        self._layers = Layers.of(arrays)
        # A copy: an executor may train in the very arrays that it is handed, and then nothing would have changed.
        self._model = [array.copy() for array in self._layers.floats(arrays)]
        self._begun = threading.Event()
        self._trained: Future[Trained] = Future()
        self._answer: Future[bytes] = Future()
        threading.Thread(target=self._run, name="secure-agg-join", daemon=True).start()

    def _run(self) -> None:
        try:
            with self._turn:
                answer = self._participant.handle(self._request, self._model, self._train, self._instructions)
            self._answer.set_result(answer)
        except Exception as error:
            self._answer.set_exception(error)
        finally:
            self._begun.set()

    def _train(self) -> Trained:
        self._turn.release()  # the server's messages are answered meanwhile
        try:
            self._begun.set()
            return self._trained.result()
        finally:
            self._turn.acquire()

    def checked(self) -> None:
        """Return once training may begin.

        Raises:
            SecureAggError: the node refuses this model, or this round.
        """
        self._begun.wait()
        if self._answer.done():
            self._answer.result()

    def answer(self, result: FLModel) -> bytes:
        """The payload that joins the round.

        Raises:
            SecureAggError: the result is unfit.
        """
        try:
            self._trained.set_result(trained(result, self._layers, self._model, self._weight_key))
        except Exception as error:  # the thread that waits has to end
            self._trained.set_exception(error)
        return self._answer.result()

    def abandon(self) -> None:
        """Let the thread end: nothing was trained."""
        self._trained.set_exception(RoundAborted("nothing was trained"))


class Session:
    """What the two filters and the messages of one job share, in one process."""

    def __init__(self, home: ClientHome, leave: Callable[[], None], surroundings: bytes) -> None:
        """``leave`` lets another node have the home."""
        self._home, self._leave, self._surroundings = home, leave, surroundings
        self._participant = Participant(home, surroundings)
        self._mailbox = wire.Mailbox(self._handle)
        self._turn = threading.Lock()
        self._request: bytes | None = None
        self._joining: Joining | None = None
        self._refusal: Exception | None = None
        self._begins = threading.Lock()
        self.passed: dict[str, Shareable] = {}  # what has left a chain of filters last, by its direction

    @staticmethod
    def of(fl_ctx: FLContext) -> Session:
        """This job's session on this site; made, and ready for messages, when it is first asked for.

        Raises:
            SecureAggError: the site's home can't be opened or is another node's too, or the job's files can't be read.
            PolicyViolation: the job would send what training reports past the aggregation.
        """
        found = fl_ctx.get_prop(_PROP)
        if isinstance(found, Session):
            return found
        engine = fl_ctx.get_engine()
        _refuse_leaks(engine.get_all_components())
        around = given.surroundings(fl_ctx)
        home = ClientHome.open(client_home(fl_ctx))
        try:
            leave = tenants.hold(home)
        except BaseException:
            home.close()
            raise
        session = Session(home, leave, around)
        engine.register_aux_message_handler(wire.TOPIC, session._receive)
        engine.register_aux_message_handler(wire.WHY, session._say_why)
        engine.register_aux_message_handler(wire.ALIVE, _say_so)
        fl_ctx.set_prop(_PROP, session, private=True, sticky=True)
        return session

    @staticmethod
    def end(fl_ctx: FLContext) -> None:
        """End this job's session, if there is one."""
        found = fl_ctx.get_prop(_PROP)
        if isinstance(found, Session):
            found.abandon()
            with found._turn:  # nobody is at it any more
                found._home.close()
                found._leave()

    def join(self, model: FLModel) -> None:
        """Check the model that a train task has brought; returns if it may be trained on.

        Raises:
            LocalProtocolError: the server has not asked for a round first.
            PolicyViolation: another task is under way. NVFlare lets a server have several done at once, and what was
                trained as one says would be taken for the result of the other.
            SecureAggError: this node refuses.
        """
        self._refusal = None
        try:
            self._join(model)
        except Exception as error:
            self._refusal = error
            raise

    def _join(self, model: FLModel) -> None:
        with self._begins:
            if self._joining is not None and self._joining.task is not threading.current_thread():
                raise PolicyViolation("a train task came while another one is under way")
            request, self._request = self._request, None
            self.abandon()
            if request is None:
                raise LocalProtocolError("a train task came without a request to join a round")
            key = self._home.weight_key
            instructions = given.instructions(model, key, self._surroundings)
            joining = Joining(self._participant, self._turn, request, model, instructions, key)
            self._joining = joining
        try:
            joining.checked()
        except Exception:
            self._joining = None  # a task that was refused is over, whatever thread the next one comes in
            raise

    def joined(self, result: FLModel) -> bytes:
        """The payload that joins the round with what training has come to.

        Raises:
            LocalProtocolError: no model was handed out.
            SecureAggError: the result is unfit.
        """
        joining, self._joining = self._joining, None
        if joining is None:
            raise LocalProtocolError("a result came without a train task")
        try:
            return joining.answer(result)
        except Exception as error:
            self._refusal = error
            raise

    def abandon(self) -> None:
        """Leave the round that was begun: nothing was trained."""
        if self._joining is not None:
            self._joining.abandon()
            self._joining = None

    def _receive(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one message of the server."""
        try:
            return self._mailbox.receive(request)
        except Exception as error:
            _log.error("a message of the server was refused: %s: %s", type(error).__name__, error)
            return wire.refuse(error)

    def _say_why(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """The name of the error by which this node has refused its last task; NVFlare's own answer has none."""
        return wire.refuse(self._refusal) if self._refusal else make_reply(ReturnCode.OK)

    def _handle(self, kind: str, payload: bytes) -> bytes:
        if kind == parcels.JOIN:  # the model comes as a task; what goes with it is kept for that
            self._request = payload
            return b""
        with self._turn:
            return self._participant.handle(payload)


def _say_so(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
    """This node is there, whatever else it is at."""
    return make_reply(ReturnCode.OK)


def _refuse_leaks(components: dict[str, FLComponent]) -> None:
    """Experiment tracking sends every value that a site reports to the server, one by one and in clear."""
    for name, component in components.items():
        if isinstance(component, MetricRelay) or (
            isinstance(component, ConvertToFedEvent) and component.events_to_convert
        ):
            raise PolicyViolation(
                f"component {name!r} of the job sends this site's metrics to the server in clear: "
                "secure_agg.plugins.nvflare.secure(recipe) takes it out; metrics travel in the aggregate"
            )
