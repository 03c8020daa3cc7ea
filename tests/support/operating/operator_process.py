"""An operator's process with a role of the tests' own: ``python operator_process.py KEYFILE PEERCARD TRUST ADDRESS``.

The file's passphrase is ``test``. Lines on stdout say what happens, so that tests wait for events and not for time.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

from secure_agg.errors import AlreadyReleased
from secure_agg.roles.trust import Trust
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import OperatorCard
from secure_agg.transport.server import OperatorServer, serve


class Role:
    """Answers with what it got; never to ``hang``."""

    def receive(self, request: bytes, /) -> bytes:
        say(f"received {request[:16]!r}")
        if request == b"hang":
            threading.Event().wait()
        if request == b"again":
            raise AlreadyReleased("it was given out before", phase="decrypt", culprit="aggregator")
        return request


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    key, peer, trust, address = sys.argv[1:]
    keys, card = keyfile.load(Path(key), "test"), OperatorCard.load(Path(peer))
    server = OperatorServer(Role(), keys, [card], Trust.load(trust).operators)
    asyncio.run(serve(server, address, say, until_eof=True))
    say("stopped")


if __name__ == "__main__":
    main()
