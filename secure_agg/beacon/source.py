"""Which beacon a task draws its cohorts by, and when: pinned before the first pulse that counts.

The pulse of draw k of round r is ρ = ρ0 + (16·r + k)·step, and no other: whoever leads rounds chooses neither the
moment nor the pulse. Everybody who is on the roster has to be on it before anybody can know pulse ρ0, or ids could
be tried until they are drawn: so ρ0 lies after the pins.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from secure_agg import extras
from secure_agg.arguments import check_fields, checked_class
from secure_agg.beacon.pulse import MAX_PULSE, SCHEME, Pulse
from secure_agg.errors import ConfigError, TrustError
from secure_agg.protocol.config.round_config import MAX_DRAWN_ROUNDS, MAX_DRAWS
from secure_agg.protocol.config.settings import within
from secure_agg.protocol.messages import Wire, decode, encode
from secure_agg.protocol.ready import ready
from zk import bls
from zk.bls import BlsError

_MAX_STEP: Final = 1 << 32
_MAX_TIME: Final = 1 << 53
_MAX_BYTES: Final = 512


@checked_class
class BeaconSource(Wire, frozen=True, kw_only=True):
    """A beacon, and the schedule by which its pulses draw the cohorts of a task.

    Attributes:
        scheme: ``bls-unchained-g1-rfc9380``, and nothing else yet.
        key: of the beacon, 96 bytes: a point of G2, compressed.
        first: ρ0, number of the pulse of round 0, draw 0.
        step: pulses from one draw to the next.
        genesis: POSIX time of pulse 1, in seconds; 0 where the beacon keeps no time.
        period: seconds from one pulse to the next; 0 likewise.

    Raises:
        ConfigError: out of range, an unfit key, or the extra ``beacon`` is not installed: without it nothing of a task
            that draws can be verified.
    """

    scheme: str
    key: bytes
    first: int
    step: int
    genesis: int
    period: int

    def __post_init__(self) -> None:
        check_fields(self)
        if self.scheme != SCHEME:
            raise ConfigError(f"a beacon's scheme is {self.scheme!r}, not {SCHEME!r}")
        within("a beacon's first pulse", self.first, 1, _MAX_TIME)
        within("a beacon's step", self.step, 1, _MAX_STEP)
        within("a beacon's genesis", self.genesis, 0, _MAX_TIME)
        within("a beacon's period", self.period, 0, _MAX_STEP)
        if bool(self.genesis) != bool(self.period):
            raise ConfigError("a beacon has both genesis and period, or keeps no time and has neither")
        extras.require("beacon")
        try:
            bls.check_key(self.key)
        except BlsError as error:
            raise ConfigError(f"a beacon's {error}") from None

    def number(self, round: int, draw: int) -> int:
        """ρ, of the pulse that draws this cohort.

        Raises:
            ConfigError: a round or draw has none.
        """
        within("the round of a drawn cohort", round, 0, MAX_DRAWN_ROUNDS - 1)
        within("draw", draw, 0, MAX_DRAWS - 1)
        number = self.first + (MAX_DRAWS * round + draw) * self.step
        within("a pulse's number", number, 1, MAX_PULSE)
        return number

    def check(self, round: int, draw: int, beacon: bytes) -> None:
        """Whether the randomness in a round's configuration is that of the pulse which has to draw its cohort.

        Args:
            beacon: of the configuration: the pulse's signature.

        Raises:
            TrustError: it is another pulse, another beacon's, or not in canonical form.
        """
        try:
            number = self.number(round, draw)
        except ConfigError as error:
            raise TrustError(f"no pulse draws this cohort: {error.args[0]}") from None
        try:
            Pulse(number, beacon).verify(self.key)
        except TrustError as error:
            raise TrustError(f"round {round}, draw {draw}: {error.args[0]}") from None

    def time(self, number: int) -> int | None:
        """POSIX time in seconds at which a pulse is published; None where the beacon keeps no time."""
        return self.genesis + (number - 1) * self.period if self.period else None

    def check_ahead(self, now: float) -> None:
        """Refuse to pin a schedule that has begun: ids of its roster could have been chosen by its pulses.

        Args:
            now: POSIX time in seconds.

        Raises:
            ConfigError: pulse ρ0 is there already. Nothing is checked where the beacon keeps no time.
        """
        due = self.time(self.first)
        if due is not None and due <= now:
            raise ConfigError(
                f"pulse {self.first}, the first that draws, was published {now - due:.0f} s ago: whoever joins now "
                f"could choose an id that it draws. Pin one that is still to come, {self.pulse_after(now)} or later"
            )

    def pulse_after(self, now: float) -> int:
        """Number of the first pulse after a POSIX time in seconds.

        Raises:
            ConfigError: the beacon keeps no time.
        """
        if not self.period:
            raise ConfigError("this beacon keeps no time: name its first pulse")
        return max(1, int((now - self.genesis) // self.period) + 2)

    def to_bytes(self) -> bytes:
        """The canonical encoding."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> BeaconSource:
        """Decode strictly and validate.

        Raises:
            MalformedMessage: not canonical, over 512 bytes, or refused by the validation.
        """
        return decode(BeaconSource, data, _MAX_BYTES)

    def to_document(self) -> dict[str, Any]:
        """For JSON: the fields by name, the key in hex."""
        return {name: getattr(self, name) for name in self.__struct_fields__} | {"key": self.key.hex()}

    @staticmethod
    def from_document(document: Any) -> BeaconSource:
        """What ``to_document`` has made.

        Raises:
            ConfigError: fields missing or unknown, or a value out of range.
        """
        names = BeaconSource.__struct_fields__
        if not isinstance(document, dict) or set(document) != set(names):
            raise ConfigError(f"a beacon has the fields {', '.join(names)}, and no others")
        try:
            fields = [bytes.fromhex(document[name]) if name == "key" else document[name] for name in names]
            return msgspec.convert(fields, ready(BeaconSource))
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"this is no beacon: {error}") from None


def quicknet(first: int, step: int = 1) -> BeaconSource:
    """drand's network ``quicknet``, a pulse every 3 seconds, by the League of Entropy's 2023 key.

    Chain hash 52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971, by which its HTTP API names it.
    """
    key = bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
    )
    return BeaconSource(scheme=SCHEME, key=key, first=first, step=step, genesis=1692803367, period=3)
