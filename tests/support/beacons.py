"""Beacons for tests: known pulses of drand's quicknet, and a chain whose key everybody knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from secure_agg.beacon.recorded import BeaconFile, record

QUICKNET_PULSES: Final = {
    123: "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92",
    1000: "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
    12040883: "929906c959032ab363c9f26570d215d66f5c06cb0c44fe508c12bb5839f04ec895bb6868e5b9ff13ab289bdb5266b394",
    32281667: "b0f5ae301358ff87a9d3dd539ed4a07c0148b1ab4f7b61a8ca43c7e9ca7ca9553e4faae9188deb30b2cd1a7f447e3e5b",
    32285085: "81dbce51d584d90d618547f4b50391d53ace6f6b9aeb8fb67e1879427af9d0310ac0ec6f519271d9a313ee84b378d416",
    32285086: "a64d99fd7fa3e48912be7209c7b69c72c88fc5224be2516949b6f29f3a4b7e3fa069dd58b2bbb4bf2c34ae61ef631a44",
}
"""Published by the network under these numbers."""
QUICKNET_RANDOMNESS: Final = {32281667: "4fd2fc55983dbfa3f446d8a0bd56f16cc8c5e76afd1ec154b60d477cbabed13b"}

SECRET: Final = bytes(31) + b"\7"


def rehearsal(numbers: Iterable[int] = range(1, 65), *, step: int = 1, secret: bytes = SECRET) -> BeaconFile:
    """A chain of the known key, or of another."""
    return record(numbers, step=step, secret=secret)
