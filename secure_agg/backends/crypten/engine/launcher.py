"""Starts the parties and the provider as processes of this machine and gives them jobs.

Each process has a channel of its own, and a party's shares go over that one only. In a deployment each party's
operator runs ``party.serve`` on its own machine, on a channel of its own; this launcher is for one machine, where
whoever may read all processes' memory learns everything: for simulation, tests and measurements.
"""

from __future__ import annotations

import contextlib
import functools
import math
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.backends.crypten.engine import jobs, loader, nursery
from secure_agg.backends.crypten.engine.channel import Channel, ChannelClosed
from secure_agg.backends.crypten.engine.jobs import (
    MAX_PARTIES,
    MIN_PARTIES,
    Done,
    Failed,
    FromProcess,
    JobHeader,
    Layout,
    NormBound,
    Ping,
    Pong,
    Ready,
    Result,
    Start,
    Work,
    check_job,
    check_shares,
    read_answer,
)
from secure_agg.backends.crypten.engine.nursery import START_SECONDS, Begin, Child
from secure_agg.backends.crypten.engine.randomness import Words
from secure_agg.errors import ConfigError, LocalProtocolError, MalformedMessage, RoundAborted

PHASE: Final = "compute"
"""The phase that errors name."""
_BLAME_SECONDS: Final = 2.0  # after a first complaint: for the process that caused it to show

Shares = Sequence[npt.NDArray[Any]]
"""One matrix for each party, (clients, coordinates), int64 or uint64: the sum of all, modulo 2^64, are the values."""


class _Process:
    """A party or the provider, seen from here."""

    def __init__(self, name: str, begin: Callable[[socket.socket, IO[bytes]], Child], folder: Path, timeout: float):
        self.name = name
        ours, theirs = socket.socketpair()
        self._log = folder / name.replace(" ", "-")
        try:
            with theirs, self._log.open("wb") as log:
                self._process = begin(theirs, log)
        except BaseException:
            ours.close()
            raise
        self.channel = Channel(ours)
        self.channel.limit_waits(timeout)
        self.asked: float | None = None  # since when a ping is unanswered

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self.channel.fileno()

    def ping(self) -> None:
        if self.asked is None:
            self.asked = time.monotonic()
            self.channel.send(msgspec.msgpack.encode(Ping()))

    def last_words(self) -> str:
        """How it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"exit status {self._process.returncode}" + (f", {lines[-1][:300]}" if lines else "")

    def end(self) -> None:
        self.channel.close()
        self._process.kill()  # also one that is stopped; it holds nothing that needs putting in order
        self._process.wait()


class Parties:
    """k parties and a provider, for one job after another. Use as a context manager; not thread-safe.

    Parties and provider are semi-honest (they follow the protocol) and all are needed: one that is lost ends the job. A
    party that doesn't follow it can change results, unnoticed, and with them what is revealed. k − 1 parties learn
    nothing together beyond the results; the provider together with any one party learns everything, so it must be
    nobody's. Clients may send any shares at all. Each job reveals its own result: two sums over sets of clients that
    differ by one give this client away, so a caller takes one result of a client's vector.

    Args:
        parties: k, 2 to 5.
        timeout: seconds, at least 1, after which a process that doesn't answer is given up; twice as long may a
            party wait for another that does.

    Raises:
        ConfigError: a number out of range; on entry, CrypTen isn't installed.
        RoundAborted: on entry, the processes don't start.
    """

    def __init__(self, parties: int, *, timeout: float = 60.0) -> None:
        if not MIN_PARTIES <= parties <= MAX_PARTIES:
            raise ConfigError(f"{parties} parties, outside [{MIN_PARTIES}, {MAX_PARTIES}]")
        if not 1 <= timeout < math.inf:
            raise ConfigError(f"a timeout of {timeout} seconds is outside [1, infinity)")
        self._count, self._timeout = parties, timeout
        self._processes: list[_Process] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __repr__(self) -> str:
        return f"Parties({self._count}, timeout={self._timeout})"

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the parties, then the provider's; empty when closed."""
        return tuple(process.pid for process in self._processes)

    def __enter__(self) -> Self:
        if self._processes:
            raise LocalProtocolError("the parties are running")
        loader.require()
        self._folder = tempfile.TemporaryDirectory(prefix="secure-agg-")
        folder = Path(self._folder.name)
        try:
            for rank in range(self._count + 1):
                name = f"party {rank}" if rank < self._count else "provider"
                place = Begin(rank, self._count, (folder / "rendezvous").as_uri(), 2 * self._timeout)
                self._processes.append(_Process(name, functools.partial(self._begin, place), folder, self._timeout))
            self._collect(Ready, 0)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        while self._processes:
            self._processes.pop().end()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _begin(self, place: Begin, channel: socket.socket, log: IO[bytes]) -> Child:
        return nursery.shared().begin(place, channel, log)

    # --- jobs -----------------------------------------------------------------------------------------------

    def norm_bounded_sum(self, shares: Shares, layout: Layout, bound: NormBound) -> Result:
        """The sum of those clients' vectors that are in range in every coordinate and within the norm bound.

        Reveals which clients these are and the sum. Not which coordinate or test failed, no norm, and nothing else of
        the others. An out-of-range vector passes with probability at most 2^-64; otherwise exact.

        Args:
            shares: see ``Shares``.
            layout: range of each coordinate, and whether it counts for the norm.
            bound: the norm's.

        Returns:
            ``values`` (d) are sums of ``addends`` vectors; empty with ``addends`` 0 if nobody is accepted.

        Raises:
            ConfigError: a job that can't be computed exactly.
            MalformedMessage: shares of another shape or type.
            RoundAborted: a process has ended or doesn't answer (``culprit`` names it: "party 1", "provider"), or
                something failed; the pool is closed then.
            LocalProtocolError: the parties aren't running.
        """
        return self._run(jobs.NORM_BOUNDED_SUM, shares, layout, bound=bound)

    def judge(self, shares: Shares, layout: Layout, bound: NormBound | None = None) -> tuple[bool, ...]:
        """Which clients' vectors are in range, and within the bound if there is one; nothing else is revealed.

        Raises:
            As ``norm_bounded_sum``.
        """
        return self._run(jobs.JUDGE, shares, layout, bound=bound).accepted

    def trimmed_mean(self, shares: Shares, layout: Layout, trim: int) -> Result:
        """Coordinate by coordinate, the sum of the values that are left without the ``trim`` least and greatest.

        Clients with any coordinate out of range are left out first. Reveals who is left and the sums; with n' left,
        ``addends`` is n' − 2·trim. If that is below 1, ``addends`` is 0 and there are no values.

        Raises:
            As ``norm_bounded_sum``.
        """
        return self._run(jobs.TRIMMED_SUM, shares, layout, trim=trim)

    def median(self, shares: Shares, layout: Layout) -> Result:
        """Coordinate by coordinate, the middle value, or the sum of the two in the middle (``addends`` 1 or 2).

        Clients with any coordinate out of range are left out first. Reveals who is left and these values.

        Raises:
            As ``norm_bounded_sum``.
        """
        return self._run(jobs.MEDIAN, shares, layout)

    def mpc_sum(self, shares: Shares) -> Result:
        """The sum of all clients' vectors modulo 2^64 as CrypTen's ``MPCTensor`` computes it; nothing is checked.

        Raises:
            As ``norm_bounded_sum``.
        """
        length = shares[0].shape[-1] if len(shares) and shares[0].ndim == 2 else 0
        return self._run(jobs.SUM, shares, Layout((jobs.Range(length, jobs.MAX_BITS),)))

    def _run(
        self, function: str, shares: Shares, layout: Layout, *, bound: NormBound | None = None, trim: int = 0
    ) -> Result:
        if not self._processes:
            raise LocalProtocolError("the parties aren't running")
        clients = shares[0].shape[0] if len(shares) and shares[0].ndim == 2 else 0
        centre = None if bound is None else bound.centre_for(layout)
        squared = 0 if bound is None else bound.squared
        words = check_shares(shares, self._count, clients, layout.length)
        job = JobHeader(function, clients, layout.ranges, bound is not None, squared, trim)
        check_job(job, centre)
        try:
            return self._do(job, words, () if centre is None else (centre.view(np.uint64),))
        except BaseException:
            self.close()  # whatever the processes are at, it is no longer awaited
            raise

    def _do(self, job: JobHeader, words: list[Words], centre: tuple[Words, ...]) -> Result:
        for process, bulk in zip(self._processes, [*words, None], strict=True):
            order = Start() if bulk is None else Work(job)
            try:
                process.channel.send(msgspec.msgpack.encode(order), () if bulk is None else (bulk, *centre))
            except ChannelClosed:
                raise _ended(process) from None
            except TimeoutError:
                raise _silent(process) from None
        (answer, values), *others = self._collect(Done, job.words())[:-1]
        if (
            not isinstance(answer, Done)
            or answer.outcome is None
            or any(other != answer or not np.array_equal(seen, values) for other, seen in others)
        ):
            raise RoundAborted("the parties' results differ", phase=PHASE)
        return Result(answer.outcome.accepted, answer.outcome.addends, values.view(np.int64))

    def _collect(self, kind: type[Ready | Done], limit: int) -> list[tuple[FromProcess, Words]]:
        """An answer of this kind from every process, in order, each with at most ``limit`` words.

        Pings them meanwhile: one that doesn't answer hangs, whatever the others complain of.

        Raises:
            RoundAborted: somebody has ended, is silent, or complains.
        """
        starting = kind is Ready  # no pings: a process answers them once it has imported enough
        deadline = time.monotonic() + START_SECONDS if starting else math.inf
        answers: dict[_Process, tuple[FromProcess, Words]] = {}
        complaint: RoundAborted | None = None
        next_ping = time.monotonic() + self._timeout / 4
        with selectors.DefaultSelector() as selector:
            for process in self._processes:
                selector.register(process, selectors.EVENT_READ, process)
            while len(answers) < len(self._processes):
                now = time.monotonic()
                if not starting and now >= next_ping:
                    _ping(self._processes)
                    next_ping = now + self._timeout / 4
                for key, _ in selector.select(0.05 if complaint else min(self._timeout / 8, 1.0)):
                    process = key.data
                    answer, words = _receive(process, limit)
                    if isinstance(answer, Pong):
                        process.asked = None
                    elif isinstance(answer, Failed):
                        if complaint is None:
                            complaint, deadline = _complaint(process, answer), now + _BLAME_SECONDS
                            if not starting:
                                _ping(self._processes)
                    elif isinstance(answer, kind):
                        answers[process] = answer, words
                    else:
                        raise RoundAborted("an answer to something else", phase=PHASE, culprit=process.name)
                self._judge_silence(complaint, deadline, answers)
                if complaint and not starting and all(process.asked is None for process in self._processes):
                    raise complaint  # everybody is there: nobody else is the cause
        return [answers[process] for process in self._processes]

    def _judge_silence(self, complaint: RoundAborted | None, deadline: float, answers: Container[_Process]) -> None:
        """Give up whoever has been silent for too long; or on the complaint, once everybody is known to be alive.

        Raises:
            RoundAborted: in these cases.
        """
        now = time.monotonic()
        for process in self._processes:
            if process.asked is not None and now >= min(process.asked + self._timeout, deadline):
                raise _silent(process)
        if complaint and now >= deadline:
            raise complaint
        if now >= deadline:
            late = next(process for process in self._processes if process not in answers)
            raise RoundAborted(f"not ready within {START_SECONDS:.0f} seconds", phase=PHASE, culprit=late.name)


def _ping(processes: list[_Process]) -> None:
    for process in processes:
        try:
            process.ping()
        except ChannelClosed:
            raise _ended(process) from None
        except TimeoutError:
            raise _silent(process) from None


def _receive(process: _Process, limit: int) -> tuple[FromProcess, Words]:
    try:
        header, words = process.channel.receive(limit)
        return read_answer(header), words
    except ChannelClosed:
        raise _ended(process) from None
    except TimeoutError:
        raise _silent(process) from None
    except MalformedMessage as error:
        raise RoundAborted(f"no answer: {error}", phase=PHASE, culprit=process.name) from error


def _ended(process: _Process) -> RoundAborted:
    return RoundAborted(f"the process has ended: {process.last_words()}", phase=PHASE, culprit=process.name)


def _silent(process: _Process) -> RoundAborted:
    return RoundAborted("the process doesn't answer", phase=PHASE, culprit=process.name)


def _complaint(process: _Process, failed: Failed) -> RoundAborted:
    return RoundAborted(
        f"{process.name} has failed: {failed.reason}", phase=PHASE, culprit=process.name if failed.own else None
    )
