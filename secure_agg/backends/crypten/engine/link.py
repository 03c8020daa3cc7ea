"""The network among the parties and the provider: a gloo process group of k + 1, with a time limit on every wait.

Parties have ranks 0 to k − 1, the provider rank k. It is a member of the group for its own messages with the parties,
and of no collective operation in which anything computed on data takes part.

The links are plain TCP, neither encrypted nor authenticated: on one machine they stay on the loopback interface;
between machines they need a private network (a VPN) of the parties.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np

from mpc.keystream import KEY_BYTES
from mpc.optional import Optional
from secure_agg.backends.crypten.engine.randomness import JobKeys, Stream, Words, combine_coins

torch: Any = Optional("torch", "mpc")
dist: Any = Optional("torch.distributed", "mpc")


@dataclass(frozen=True)
class Place:
    """Who this process is.

    Attributes:
        rank: 0 to parties − 1, or ``parties`` for the provider.
        parties: k.
        rendezvous: PyTorch's ``init_method``: file:///path or tcp://host:port of rank 0.
        timeout: seconds after which a wait for another process fails.
    """

    rank: int
    parties: int
    rendezvous: str
    timeout: float

    @property
    def provider(self) -> bool:
        """Whether this is the provider."""
        return self.rank == self.parties


def join(crypten: Any, place: Place) -> None:
    """Meet the others, and give CrypTen the communicator.

    Raises:
        RuntimeError: PyTorch's; somebody did not come in time.
    """
    limit = timedelta(seconds=place.timeout)
    world = place.parties + 1
    dist.init_process_group(
        "gloo", init_method=place.rendezvous, world_size=world, rank=place.rank, timeout=timedelta(seconds=120)
    )
    communicator = crypten.communicator.DistributedCommunicator
    link = communicator.__new__(communicator)  # its own __init__ sets no time limit
    link.rank, link.world_size = place.rank, place.parties
    link.distributed_backend, link.rendezvous = "gloo", place.rendezvous
    link.main_group = dist.new_group(list(range(place.parties)), timeout=limit, backend="gloo")
    link.ttp_group = dist.new_group(list(range(world)), timeout=limit, backend="gloo")
    link.ttp_initialized = False
    link.reset_communication_stats()
    link.set_name(f"party {place.rank}")
    communicator.instance = link


def _group(crypten: Any) -> Any:
    return crypten.communicator.get().ttp_group


def send(crypten: Any, words: Words, to: int) -> None:
    """Send words to one process."""
    dist.send(torch.from_numpy(words.reshape(-1).view(np.int64)), to, group=_group(crypten))


def receive(crypten: Any, count: int, source: int) -> Words:
    """Receive words from one process."""
    out = torch.empty(count, dtype=torch.int64)
    dist.recv(out, source, group=_group(crypten))
    words: Words = out.numpy().view(np.uint64)
    return words


_KEY_WORDS: Final = KEY_BYTES // 8


def _as_words(key: bytes) -> Words:
    return np.frombuffer(key, dtype=np.uint64).copy()


def agree_keys(crypten: Any, place: Place) -> JobKeys:
    """A party's keys for a job. Called once it has its shares: the coins are unknown until all parties have theirs."""
    rank = place.rank
    pairs = []
    for other in range(place.parties):
        if other == rank:
            continue
        if rank < other:
            key = secrets.token_bytes(KEY_BYTES)
            send(crypten, _as_words(key), other)
        else:
            key = receive(crypten, _KEY_WORDS, other).tobytes()
        pairs.append(Stream(key))
    part = torch.from_numpy(_as_words(secrets.token_bytes(KEY_BYTES)).view(np.int64))
    parts = crypten.communicator.get().all_gather(part)
    coins = combine_coins([piece.numpy().tobytes() for piece in parts])
    provider = receive(crypten, _KEY_WORDS, place.parties).tobytes()
    return JobKeys(rank, Stream(secrets.token_bytes(KEY_BYTES)), pairs, Stream(coins), Stream(provider))


def deal_keys(crypten: Any, place: Place) -> list[Stream]:
    """The provider's part: a fresh key to each party, in order."""
    streams = []
    for party in range(place.parties):
        key = secrets.token_bytes(KEY_BYTES)
        send(crypten, _as_words(key), party)
        streams.append(Stream(key))
    return streams
