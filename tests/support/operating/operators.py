"""What the tests of operators' connections share."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from support.federation import channel, identity

from secure_agg.protocol.identity import Roster
from secure_agg.transport.channel import Endpoint
from secure_agg.transport.client import Operators
from secure_agg.transport.credentials import OperatorKeys

OPERATOR, OTHER, COORDINATOR = (OperatorKeys.generate(name) for name in ("aggregator-1", "aggregator-2", "aggregator"))
ROSTER = Roster({keys.name: keys.identity.public for keys in (OPERATOR, OTHER, COORDINATOR)})
ANYWHERE = "127.0.0.1:0"
_E = TypeVar("_E", bound=Exception)


def operators(*endpoints: Endpoint, keys: OperatorKeys = COORDINATOR, **changes: Any) -> Operators:
    return Operators(keys, endpoints, ROSTER, **{"deadline": 120.0} | changes)


async def fails(call: Awaitable[object], kind: type[_E], match: str | None = None) -> _E:
    with pytest.raises(kind, match=match) as caught:
        await call
    return caught.value


def running(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 600)

    asyncio.run(bounded())


def keys_of(name: str, *, share_holder: bool = False) -> OperatorKeys:
    """Keys of an operator of the tests' federation."""
    keys = OperatorKeys.generate(name, seed=identity(name)._key.private_bytes_raw())
    return dataclasses.replace(keys, channel=channel(name)) if share_holder else keys
