"""A party's process, or the provider's: ``python -m secure_agg.backends.crypten.engine.party`` with its place and the
descriptor of its channel.

A party's shares come over its own channel only. It holds them for the length of a job. The process ends when the other
end of its channel is closed, in the middle of whatever it does, and so with the process that started it.
"""

from __future__ import annotations

import argparse
import os
import queue
import socket
import threading
import traceback
from typing import NoReturn

import msgspec
import numpy as np

from secure_agg.backends.crypten.engine.channel import Channel, ChannelClosed
from secure_agg.backends.crypten.engine.jobs import (
    MAX_WORDS,
    Done,
    Failed,
    JobHeader,
    Layout,
    Outcome,
    Ping,
    Pong,
    Ready,
    Start,
    Vector,
    Work,
    check_job,
    read_order,
)
from secure_agg.backends.crypten.engine.randomness import Words
from secure_agg.errors import ConfigError, MalformedMessage

_REASON = 1000  # characters of an error that are passed on


def _unpack(job: JobHeader, bulk: Words) -> tuple[Words, Vector | None]:
    """Shares and centre of a job.

    Raises:
        ConfigError: a job that can't be computed.
        MalformedMessage: a bulk of another size than the job's.
    """
    if bulk.size != job.words():
        raise MalformedMessage(f"{bulk.size} words came with a job of {job.words()}")
    length = Layout(job.ranges).length
    shares = bulk[: job.clients * length].reshape(job.clients, length)
    centre = bulk[job.clients * length :].view(np.int64) if job.bounded else None
    check_job(job, centre)
    return shares, centre


class _Orders:
    """Reads the channel in a thread of its own: it answers pings whatever the process does, and ends the process when
    the channel is closed.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.queue: queue.SimpleQueue[tuple[Start | Work, Words]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> NoReturn:
        try:
            while True:
                header, bulk = self._channel.receive(MAX_WORDS)
                order = read_order(header)
                if isinstance(order, Ping):
                    self._channel.send(msgspec.msgpack.encode(Pong()))
                else:
                    self.queue.put((order, bulk))
        except (ChannelClosed, MalformedMessage):
            os._exit(0)


def serve(channel: Channel, rank: int, parties: int, rendezvous: str, timeout: float) -> NoReturn:
    """Take part until the channel is closed.

    Args:
        channel: where this party's orders and shares come from.
        rank: 0 to parties − 1, or ``parties`` for the provider.
        parties: k.
        rendezvous: where the processes meet, see ``link.Place``.
        timeout: seconds that a wait for another process may take.
    """
    orders = _Orders(channel)
    try:
        _serve(channel, orders, rank, parties, rendezvous, timeout)
    except ChannelClosed:
        os._exit(0)
    except Exception as error:  # whatever it is, the others must hear that this party can't go on
        reason = "".join(traceback.format_exception_only(error)).strip()[:_REASON]
        traceback.print_exc()
        channel.send(msgspec.msgpack.encode(Failed(reason, not isinstance(error, RuntimeError))))
    while True:  # pings are answered until the channel closes: who is alive is not who is at fault
        threading.Event().wait()


def _serve(channel: Channel, orders: _Orders, rank: int, parties: int, rendezvous: str, timeout: float) -> NoReturn:
    import torch

    torch.set_num_threads(1)
    from secure_agg.backends.crypten.engine import loader

    crypten = loader.load()  # before the modules that work on it: it says what is missing
    from secure_agg.backends.crypten.engine import functions, link, provider

    place = link.Place(rank, parties, rendezvous, timeout)
    link.join(crypten, place)
    channel.send(msgspec.msgpack.encode(Ready()))
    while True:
        order, bulk = orders.queue.get()
        outcome: Outcome | None = None
        values: tuple[Words, ...] = ()
        if place.provider:
            provider.serve_job(crypten, place)
        elif isinstance(order, Work):
            shares, centre = _unpack(order.job, bulk)
            keys = link.agree_keys(crypten, place)
            loader.use_keys(crypten, keys)
            source = provider.KeyStreamProvider(crypten, place, keys.provider)
            crypten.mpc.get_default_provider = lambda source=source: source
            party = functions.Party(crypten, rank, keys, source)
            outcome, words = functions.compute(party, order.job, shares, centre)
            source.finish()
            values = (words,)
            del shares, bulk
        else:
            raise ConfigError("a party was told to be the provider")
        channel.send(msgspec.msgpack.encode(Done(outcome)), values)


def main() -> NoReturn:
    """Read the place from the command line."""
    parser = argparse.ArgumentParser(description="A party of a multi-party computation, started by its launcher.")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--parties", type=int, required=True)
    parser.add_argument("--rendezvous", required=True)
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--channel", type=int, required=True, help="descriptor of a connected stream socket")
    args = parser.parse_args()
    channel = Channel(socket.socket(fileno=args.channel))
    serve(channel, args.rank, args.parties, args.rendezvous, args.timeout)


if __name__ == "__main__":
    main()
