"""An executor whose workers are actors of a Ray cluster, on one machine or on many.

Without an address a cluster of this machine's own is started: on the loopback interface, with a token that only this
process and its workers know, and in a folder that only its user may enter. Ray moves arrays through its object store
and places actors; which shard is done by whom, and again if it was lost, is ``pool``'s as everywhere.

Who can speak to a Ray cluster can run code in it, and its object store holds what workers are handed: it belongs to the
executor's owner alone, in a network of its own (docs/threat-model.md).
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Final

from mpc import parallel
from mpc.optional import Optional
from secure_agg import extras
from secure_agg.errors import ExecutorError, WorkerLost
from secure_agg.executing.executor import LEAST, check_workers
from secure_agg.executing.pool import Desk, Pool, Worker

ray: Any = Optional("ray", "ray")
_starting = threading.Lock()
_ENVIRONMENT: Final = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # elsewhere than on Linux that is how it is anyway
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
"""What makes a cluster one of this machine, and of this process, alone. Ray reads it when it is imported, so that it is
of no use to whoever has imported Ray before; what a caller has set goes before it.
"""


_LONGEST_PLACE: Final = 20
HANDING: Final = 20.0
"""As much as a coordinate's 4 bytes take on their way by a network of 5 Gbit/s."""


class Ray(Pool):
    """Workers on a Ray cluster, each with one core of it."""

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        least: int = LEAST,
        handing: float = HANDING,
    ) -> None:
        """
        Args:
            workers: how many, each with a core of the cluster's; by default as many as this machine has cores.
            address: of a cluster that is there, as ``ray.init`` takes it; by default the one that this process is
                connected to, and if it is to none a new one on this machine, which ends with the executor.
            least, handing: see ``Executor``.

        Raises:
            ConfigError: a number out of range, or Ray is not installed.
            ExecutorError: the cluster can't be reached, does not start, or has fewer cores.
        """
        extras.require("ray")
        count = parallel.cores() if workers is None else check_workers(workers)
        super().__init__(count, least=least, handing=handing)
        self._owns, self._folder = False, ""
        with _starting, _quiet():
            if address is None and "ray" not in sys.modules:
                for name, value in _ENVIRONMENT.items():
                    os.environ.setdefault(name, value)
            if not ray.is_initialized():
                if not address:
                    self._folder = _private_folder()
                self._connect(address, count, self._folder)
                self._owns = True
            cores = int(ray.cluster_resources().get("CPU", 0))
        if cores < count:  # some would be waited for, for ever
            self.close()
            raise ExecutorError(f"{count} workers take as many cores, and the Ray cluster has {cores}")

    @staticmethod
    def _connect(address: str | None, count: int, folder: str) -> None:
        own = {
            # Without it Ray joins what RAY_ADDRESS or a file below /tmp names: a cluster of who knows whom.
            "address": "local",
            # Ray lets everybody write into its folder, also put a socket in the place of another: so it is in another.
            "_temp_dir": os.path.join(folder, "ray"),
            "num_cpus": count,
            "include_dashboard": False,
            "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
        }
        try:
            ray.init(**({"address": address} if address else own), log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of many types, and of Ray's own
            raise ExecutorError(f"no Ray cluster: {type(error).__name__}: {error}") from error

    @staticmethod
    def _start() -> Worker:
        with _quiet():
            return _Actor(ray.remote(num_cpus=1, max_restarts=0)(_Desk).remote())

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        super().close()
        if self._owns:
            self._owns = False
            with _starting, _quiet():
                ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder() -> str:
    """A new one of mode 0700. Sockets in it have names of some 70 characters more, and no more than 107 in all."""
    place = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="ray-", dir=place if len(place) <= _LONGEST_PLACE else "/tmp")  # noqa: S108
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # of an executor that nobody has closed
    return folder


class _Desk(Desk):
    """A desk that says where it is."""

    def pid(self) -> int:
        return os.getpid()


class _Actor(Worker):
    def __init__(self, actor: Any) -> None:
        self._actor = actor
        try:
            self._pid: int = ray.get(actor.pid.remote())
        except ray.exceptions.RayError as error:
            raise WorkerLost(f"an actor did not start ({type(error).__name__})") from error

    def ask(self, call: tuple[str, Any]) -> tuple[bool, Any]:
        """Through the object store."""
        try:
            answer: tuple[bool, Any] = ray.get(self._actor.answer.remote(call))
        except ray.exceptions.RayError as error:
            raise WorkerLost(f"an actor is gone ({type(error).__name__})") from error
        return answer

    def pid(self) -> int:
        """Of its process, on its machine."""
        return self._pid

    def end(self) -> None:
        """Kill it: it holds nothing that is not here too, or is lost anyway."""
        with contextlib.suppress(Exception):  # the cluster may be gone
            ray.kill(self._actor)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray's own warnings, of itself and of files that it leaves open, are none of its caller's business."""
    with warnings.catch_warnings():
        for kind in (FutureWarning, DeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        yield
