"""The two filters of a node: nothing is trained on that was not checked, and no result leaves that is not sealed.

They are named by a job (``secure``), or by the site itself in ``local/privacy.json`` (``configure``), where no job can
leave them out; where both do, the second of two finds the work done.
"""

from __future__ import annotations

from typing import Final

from nvflare.apis.event_type import EventType
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import FilterKey, FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.server_engine_spec import ServerEngineSpec
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from secure_agg.errors import PolicyViolation, SecureAggError
from secure_agg.plugins.nvflare import given, wire
from secure_agg.plugins.nvflare.session import Session

_CODES: Final = frozenset(code for name, code in vars(ReturnCode).items() if name.isupper())
"""What an executor may say of its failure; another code could be any text."""


class _NodeFilter(Filter):  # type: ignore[misc]  # nvflare has no types
    """Has the session made as soon as the job starts: the server's messages come before its first task.

    Attributes:
        direction: of the chain that it stands in. What has passed one chain is still nothing that may pass the other:
            an executor may put its result into what it was given, and return that.
    """

    direction: str

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start the session with the job, and end it with it; a site without a home, or a job that leaks, ends at once.

        A simulator's server has its sites' configuration too, and no session.
        """
        if isinstance(fl_ctx.get_engine(), ServerEngineSpec):
            return
        if event_type == EventType.START_RUN:
            try:
                Session.of(fl_ctx)
            except SecureAggError as error:
                self.system_panic(f"{type(error).__name__}: {error}", fl_ctx)
        elif event_type == EventType.END_RUN:
            Session.end(fl_ctx)

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Check a task, or seal its result.

        Raises:
            SecureAggError: the node refuses; it goes to the site's log, and to the server as an error code only.
        """
        session = Session.of(fl_ctx)
        if shareable is not session.passed.get(self.direction):
            session.passed[self.direction] = shareable = self._process(shareable, session, fl_ctx)
        return shareable

    def _process(self, shareable: Shareable, session: Session, fl_ctx: FLContext) -> Shareable:
        raise NotImplementedError


class SecureTaskData(_NodeFilter):
    """Before training: the last result is verified, the model is the one that follows from it, and all that the
    executor gets beside it is what every other site gets.
    """

    direction = FilterKey.IN

    def _process(self, shareable: Shareable, session: Session, fl_ctx: FLContext) -> Shareable:
        task = fl_ctx.get_prop(FLContextKey.TASK_NAME)
        if task != wire.TRAIN:
            raise PolicyViolation(f"task {task!r} is not answered: its result would leave this site in clear")
        model = FLModelUtils.from_shareable(shareable)
        session.join(model)
        return given.handed_over(model, shareable, fl_ctx)


class SecureTaskResult(_NodeFilter):
    """After training: the result stays here, and what joins the round leaves in its place."""

    direction = FilterKey.OUT

    def _process(self, shareable: Shareable, session: Session, fl_ctx: FLContext) -> Shareable:
        code = shareable.get_return_code()
        if code != ReturnCode.OK:
            session.abandon()
            known = isinstance(code, str) and code in _CODES
            reply = make_reply(code if known else ReturnCode.EXECUTION_EXCEPTION)
        else:
            payload = session.joined(FLModelUtils.from_shareable(shareable))
            reply = FLModelUtils.to_shareable(FLModel(params=wire.seal(payload)))
        return reply
