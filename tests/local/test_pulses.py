"""Where a leader gets its pulses: a server on this machine that answers as drand's does, and waiting for one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.beacons import QUICKNET_PULSES, rehearsal

from secure_agg.beacon.pulse import Pulse
from secure_agg.beacon.recorded import BeaconFile, PulseFolder
from secure_agg.beacon.source import quicknet
from secure_agg.errors import ConfigError, PulseMissing
from secure_agg.local.pulses import WebPulses, await_pulse, beacon_file, places

PUBLISHED = {number: Pulse(number, bytes.fromhex(text)) for number, text in QUICKNET_PULSES.items()}
SOURCE = quicknet(1000)
DUE = 1692803367 + 3 * 999


class Relay(BaseHTTPRequestHandler):
    """Answers ``/chain/public/<number>``; what is still to come with 425, as some do."""

    def do_GET(self) -> None:
        number = int(self.path.rpartition("/")[2])
        pulse = PUBLISHED.get(number)
        body = pulse.to_json().encode() if pulse else b"too early"
        if number == 5:
            body = b"x" * 10_000
        self.send_response(200 if pulse or number == 5 else 404 if number == 6 else 425)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def relay() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/chain"
        server.shutdown()


def test_pulses_are_fetched_as_the_api_has_them(relay: str) -> None:
    pulses = WebPulses(relay)
    assert pulses.get(1000) == PUBLISHED[1000]
    assert pulses.get(6) is None
    for number in (5, 7):
        with pytest.raises(PulseMissing):
            pulses.get(number)


def test_places_are_urls_folders_and_beacon_files(tmp_path: Path, relay: str) -> None:
    BeaconFile(SOURCE, PUBLISHED).save(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    found = places([relay, tmp_path / "folder", tmp_path / "file"])
    assert [type(place) for place in found] == [WebPulses, PulseFolder, BeaconFile]
    assert await_pulse(SOURCE, 1000, found) == PUBLISHED[1000]
    with pytest.raises(ConfigError):
        places([tmp_path / "nothing"])
    assert beacon_file(tmp_path / "file") == beacon_file(BeaconFile(SOURCE, PUBLISHED))
    assert beacon_file(SOURCE).pulses == {}
    with pytest.raises(ConfigError, match="name a beacon file"):
        beacon_file(relay)


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self, now: float) -> None:
        self.now, self.slept = now, list[float]()

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_pulse_that_is_still_to_come_is_waited_for_and_one_that_is_too_far_off_is_not() -> None:
    here = [BeaconFile(SOURCE, PUBLISHED)]
    clock = Clock(DUE - 100)
    assert await_pulse(SOURCE, 1000, here, clock=clock.time, sleep=clock.sleep) == PUBLISHED[1000]
    assert clock.slept == [100]
    clock = Clock(DUE - 100)
    with pytest.raises(PulseMissing, match="due in 100 s") as caught:
        await_pulse(SOURCE, 1000, here, patience_s=99, clock=clock.time, sleep=clock.sleep)
    assert (clock.slept, caught.value.due) == ([], DUE)


def test_a_relay_that_is_late_is_asked_again_and_one_that_has_nothing_is_not() -> None:
    class Late:
        """Has it the third time."""

        asked = 0

        def get(self, number: int) -> Pulse | None:
            self.asked += 1
            return PUBLISHED[number] if self.asked > 2 else None

    clock = Clock(DUE)
    assert await_pulse(SOURCE, 1000, [late := Late()], clock=clock.time, sleep=clock.sleep) == PUBLISHED[1000]
    assert late.asked == 3
    clock = Clock(DUE + 86400)
    with pytest.raises(PulseMissing):
        await_pulse(SOURCE, 1000, [Late()], clock=clock.time, sleep=clock.sleep)
    with pytest.raises(PulseMissing):
        await_pulse(rehearsal([1]).source, 2, [rehearsal([1])], clock=clock.time, sleep=clock.sleep)
    assert clock.slept == []
