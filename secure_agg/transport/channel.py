"""What the two ends of a connection have in common: addresses, limits, and what gRPC is told.

A connection is HTTP/2 over TLS, with one unary method that takes a role's message and returns the role's answer, as
the bytes they are, and another that has the role follow the epochs of a task. Needs the extra ``operators``, once there
is a connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpc.optional import Optional
from secure_agg.errors import ConfigError
from secure_agg.protocol.messages import Wire
from secure_agg.transport.credentials import OperatorCard
from secure_agg.transport.entrance import HANDSHAKE_S

if TYPE_CHECKING:
    import grpc
    import grpc.aio
else:
    grpc = Optional("grpc", "operators")  # ``grpc.aio`` is there with it

__all__ = [
    "CALLS",
    "DEFAULT_LIMIT",
    "FAILURE_KEY",
    "FOLLOW",
    "MAX_LIMIT",
    "MAX_METADATA",
    "PING",
    "RECEIVE",
    "SERVICE",
    "Endpoint",
    "Following",
    "Pong",
    "check_address",
    "check_limit",
    "client_options",
    "grpc",
    "server_options",
]

SERVICE: Final = "secure_agg.Operator"
RECEIVE: Final = "Receive"
PING: Final = "Ping"
FOLLOW: Final = "Follow"
FAILURE_KEY: Final = "secure-agg-failure-bin"
"""The trailer that holds a ``Failure``; the suffix tells gRPC that it is bytes."""

DEFAULT_LIMIT: Final = 512 << 20
"""Most bytes of a message unless said otherwise: a share of 100 million parameters has 400 MB."""
MAX_LIMIT: Final = (1 << 31) - 1
"""gRPC keeps limits in 32 bits with a sign: a long share of 536 million parameters. Above, the model is aggregated
in parts.
"""
CALLS: Final = 8
"""Most calls that an operator takes in at once of one peer: a bound on what it keeps in memory. Further ones are
refused. A coordinator has five on their way at most.
"""

MAX_METADATA: Final = 8 << 10
"""Most bytes of a call's HTTP/2 headers, and of its answer's: a failure is among them."""

KEEPALIVE_S: Final = 10.0
"""An idle connection, or one that waits for an answer, is probed this often."""
PROBE_S: Final = 20.0
"""A probe that is not answered for so long ends the connection: a machine that lost its power sends no goodbye."""


class Pong(Wire, frozen=True):
    """Answer to a ping: who is there."""

    name: str


class Following(Wire, frozen=True):
    """What an operator is asked for that follows the epochs of a task; it answers how far it has come, a ``Where``.

    Attributes:
        task: the root task.
        steps: epochs, encoded ``Steps``; empty to ask only.
    """

    task: str
    steps: bytes


@dataclass(frozen=True)
class Endpoint:
    """Where an operator listens, and the card that it is known by there.

    Attributes:
        address: ``HOST:PORT``, an IPv6 address in brackets.
        card: checked by whoever opens the connection.
    """

    address: str
    card: OperatorCard


def check_address(address: str) -> str:
    """Return ``address`` if it is HOST:PORT: a name or IPv4 address, or an IPv6 address in brackets.

    Raises:
        ConfigError: it is not. gRPC takes many other kinds of address, which nobody wants here.
    """
    found = re.fullmatch(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})", address)
    if found is None or int(found[1]) > 65535:
        raise ConfigError(f"{address!r} is no address of the form HOST:PORT")
    return address


def check_limit(limit: int) -> int:
    """Return a limit of bytes per message that gRPC can keep.

    Raises:
        ConfigError: it can't.
    """
    if not 1024 <= limit <= MAX_LIMIT:
        raise ConfigError(f"a message's limit is 1024 to {MAX_LIMIT} bytes, not {limit}")
    return limit


def _options(limit: int) -> list[tuple[str, int]]:
    """gRPC channel arguments of both ends."""
    return [
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.keepalive_time_ms", round(KEEPALIVE_S * 1000)),
        ("grpc.keepalive_timeout_ms", round(PROBE_S * 1000)),
        ("grpc.http2.ping_timeout_ms", round(PROBE_S * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def server_options(limit: int) -> list[tuple[str, int]]:
    """gRPC channel arguments of an operator."""
    return [
        *_options(limit),
        ("grpc.so_reuseport", 0),  # a port that another process has is refused, not shared with it
        ("grpc.max_concurrent_streams", CALLS),
        ("grpc.http2.max_ping_strikes", 0),  # peers are known, and may probe as often as they like
        ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_S * 1000)),
        ("grpc.max_metadata_size", MAX_METADATA),
        ("grpc.absolute_max_metadata_size", MAX_METADATA),
    ]


def client_options(limit: int, host: str) -> list[tuple[str, int | str]]:
    """gRPC channel arguments of whoever connects to the operator whose certificate is for ``host``."""
    return [
        *_options(limit),
        ("grpc.ssl_target_name_override", host),
        ("grpc.enable_http_proxy", 0),  # an address is that operator's, whatever the environment says
        ("grpc.enable_retries", 0),  # a message that may have been processed is not sent again
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 2000),  # also the time that a handshake may take
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
