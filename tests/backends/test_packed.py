"""Packed vectors: fewer bits take fewer bytes, sums are exact, and a value that leaves its digit is caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from support.federation import Federation

import secure_agg.roles.client.client
from mpc.digits import Digits
from mpc.ring import P, Vector
from secure_agg.backends.contract import Hidden
from secure_agg.backends.homomorphic import coordinates
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.packed import PackedWords, Residues, carrier
from secure_agg.errors import BadInput, ConfigError, Unattributed
from secure_agg.executing import vectors
from secure_agg.local.rounds import LocalRound
from secure_agg.planning.coefficients import shipped
from secure_agg.planning.prediction import predict
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.roles.client.committing import Committed, commit_update
from zk.commitment import Commitment, commit
from zk.parameters import noise_top

BITS = (2, 3, 4, 6, 8, 12, 16, 20)
PHASES = ("advertise", "share-keys", "masked-input", "consistency", "unmask")
CHEAT = "c002"


def config_of(clients: int, bits: int, params: int = 1000, **changes: Any) -> RoundConfig:
    return Setting("masking", params, clients, bits=bits, **changes).config


# --- the form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "clients"), [(b, n) for b in BITS for n in (3, 10, 100, 1000) if b + n / 100 < 24])
def test_the_largest_values_of_every_client_sum_exactly(bits: int, clients: int) -> None:
    config = config_of(clients, bits)
    layout, policy, form = config.layout, config.policy, carrier(config)
    full = np.full(layout.total, policy.top, dtype=np.uint32)
    full[layout.committed :] = noise_top(bits, clients)
    # As many times one vector: the sum of all is that vector's form times n, in either ring.
    loaded, total = form.load(full.copy()), form.zero()
    vectors.add(total, form.read(memoryview(form.to_bytes(loaded)), phase="masked-input", culprit=CHEAT))
    if total.dtype == np.uint64:
        total *= np.uint64(clients)
    else:
        total = (total.astype(np.uint64) * np.uint64(clients) % np.uint64(P)).astype(np.uint32)
    sums = form.unload(total, phase="unmask")
    assert np.array_equal(sums, full.astype(np.uint64) * np.uint64(clients))
    assert form.size == len(memoryview(form.to_bytes(loaded))) == total.nbytes


@pytest.mark.parametrize("bits", BITS)
def test_words_are_sent_where_they_are_shorter_and_only_there(bits: int) -> None:
    config = config_of(100, bits)
    form = carrier(config)
    assert isinstance(form, PackedWords if bits <= 14 else Residues)
    assert form.size <= 4 * config.layout.total


def test_an_input_of_another_size_is_refused() -> None:
    form = carrier(config_of(10, 4))
    for size in (form.size - 8, form.size + 8, form.size - 1):
        with pytest.raises(BadInput):
            form.read(memoryview(bytes(size)), phase="masked-input", culprit=CHEAT)


# --- the sums of rounds ---------------------------------------------------------------------------------------


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, Vector]:
    """What clients commit to, by their commitments."""
    found: dict[bytes, Vector] = {}

    def keep(*args: Any) -> Committed:
        made = commit_update(*args)
        found[made.commitment.to_bytes()] = made.vector.copy()
        return made

    monkeypatch.setattr(secure_agg.roles.client.client, "commit_update", keep)
    return found


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("backend", ["masking", "plain", "additive"])
def test_a_round_gives_the_exact_sum_of_what_was_committed_to(
    backend: str, bits: int, committed: dict[bytes, Vector]
) -> None:
    """With clients lost in every phase, where the clients go through phases."""
    federation = Federation(15, backend=backend, policy_changes={"bits": bits, "max_clients": 20, "min_clients": 3})
    lost = {} if backend == "additive" else {"c001": "consistency", "c004": "masked-input"}
    if backend == "masking":
        lost = {"c003": "unmask", "c001": "consistency", "c004": "masked-input"}
    done = federation.round(lost)
    done.run()
    evidence = done.aggregator.evidence
    assert evidence is not None
    vectors = list(committed.values())
    if backend != "additive":
        vectors = [committed[opening.commitment] for opening in evidence.openings]
    assert len(vectors) == (15 if backend == "additive" else 14)
    assert np.array_equal(evidence.sums, np.sum(vectors, axis=0, dtype=np.uint64))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("bits", [4, 24])
def test_a_client_lost_in_any_phase_leaves_an_exact_sum(phase: str, bits: int, committed: dict[bytes, Vector]) -> None:
    federation = Federation(6, policy_changes={"bits": bits})
    done = federation.round({"c005": phase})
    done.run()
    evidence = done.aggregator.evidence
    assert evidence is not None
    assert ("c005" in evidence.participants) == (phase in ("consistency", "unmask"))
    vectors = [committed[opening.commitment] for opening in evidence.openings]
    assert np.array_equal(evidence.sums, np.sum(vectors, axis=0, dtype=np.uint64))


# --- clients that leave their digits --------------------------------------------------------------------------

Change = Callable[[Vector, RoundConfig], None]


def _carry(vector: Vector, config: RoundConfig) -> None:
    """What the next value's digit takes for one more."""
    vector[0] += config.policy.base


def _too_large(vector: Vector, config: RoundConfig) -> None:
    vector[0] = config.policy.max_clients * config.policy.top


def _last_digit(vector: Vector, config: RoundConfig) -> None:
    """The most significant digit of the first word: beyond it is no other."""
    vector[: config.layout.values] = 0xFFFFFFFF


def _noise(vector: Vector, config: RoundConfig) -> None:
    vector[-1] += config.policy.noise_base


def _one_more(vector: Vector, config: RoundConfig) -> None:
    vector[1] += 1


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
@pytest.mark.parametrize("change", [_carry, _too_large, _last_digit, _noise, _one_more])
def test_a_client_that_overflows_its_digits_stops_the_round_and_nobody_is_named(
    change: Change, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends another vector than it has committed to; nothing is ever accepted, and no honest client is blamed."""
    hide = MaskingClient.hide

    def altered(self: MaskingClient, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        add = hide(self, request)

        def speak(vector: Vector) -> tuple[bytes, Hidden]:
            if self._name == CHEAT:
                change(vector, self._config)
            return add(vector)

        return speak

    monkeypatch.setattr(MaskingClient, "hide", altered)
    round_of(Federation(5, policy_changes={"bits": bits}))


def round_of(federation: Federation) -> None:
    done = federation.round()
    with pytest.raises(Unattributed) as caught:
        done.run()
    assert (caught.value.culprit, caught.value.phase) == (None, "unmask")
    assert done.aggregator.evidence is None


def committed_again(config: RoundConfig, vector: Vector) -> Commitment:
    setting, count = config.commitment, config.layout.committed
    return commit(setting.pack(vector[:count]), vector[count:], setting.rank)


@pytest.mark.parametrize("backend", ["masking", "plain"])
def test_a_client_that_commits_to_a_value_beyond_its_digit_stops_the_round(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commitment and sum agree modulo p; packed, the digits of the sum are others."""

    def other(config: RoundConfig, *args: Any) -> Committed:
        made = commit_update(config, *args)
        if len(calls) == 2:
            made.vector[0] += np.uint32(config.policy.base)
            made = Committed(made.vector, committed_again(config, made.vector), made.encoded)
        calls.append(made)
        return made

    calls: list[Committed] = []
    monkeypatch.setattr(secure_agg.roles.client.client, "commit_update", other)
    done = Federation(5, backend=backend, policy_changes={"bits": 4}).round()
    with pytest.raises(Unattributed) as caught:
        done.run()
    assert caught.value.culprit is None
    assert done.aggregator.evidence is None


def additive_round_with(place: int, value: int, monkeypatch: pytest.MonkeyPatch) -> tuple[LocalRound, list[Vector]]:
    """A round of five in which the third client commits to another value, and the vectors as they are committed to."""
    vectors: list[Vector] = []

    def other(config: RoundConfig, *args: Any) -> Committed:
        made = commit_update(config, *args)
        if len(vectors) == 2:
            made.vector[place] = value
            made = Committed(made.vector, committed_again(config, made.vector), made.encoded)
        vectors.append(made.vector.copy())
        return made

    monkeypatch.setattr(secure_agg.roles.client.client, "commit_update", other)
    done = Federation(5, backend="additive", policy_changes={"bits": 4}).round()
    runs = done.aggregator.config.commitment.runs
    assert runs is not None
    assert [digits for digits, _ in runs.parts] == [Digits(5 * done.aggregator.config.policy.top + 1, 4)]
    return done, vectors


def test_where_packed_values_are_committed_to_a_carry_is_in_its_clients_own_summand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An element is what its digits are: this client has committed to 5 and to one more of the next value."""
    base = 5 * Policy.default(5, bits=4).top + 1
    done, vectors = additive_round_with(0, base + 5, monkeypatch)
    done.run()
    vectors[2][:2] = 5, vectors[2][1] + 1
    evidence = done.aggregator.evidence
    assert evidence is not None
    assert np.array_equal(evidence.sums, np.sum(vectors, axis=0, dtype=np.uint64))


@pytest.mark.parametrize(("place", "value"), [(3, 76), (2, 1 << 31)])
def test_packed_values_that_lead_to_no_sum_or_to_one_out_of_range_stop_the_round(
    place: int, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, _ = additive_round_with(place, value, monkeypatch)
    with pytest.raises(Unattributed) as caught:
        done.run()
    assert (caught.value.culprit, caught.value.phase) == (None, "partial-sum")
    assert done.aggregator.evidence is None


def test_digits_alone_would_not_notice() -> None:
    """Why the commitment is checked: a carry gives a sum in range that is nobody's."""
    config = config_of(10, 4)
    form, vector = carrier(config), np.zeros(config.layout.total, dtype=np.uint32)
    vector[0] = config.policy.base
    assert form.unload(form.load(vector), phase="unmask")[:3].tolist() == [0, 1, 0]


# --- bytes ----------------------------------------------------------------------------------------------------

MASKING = {
    2: (0.67, 1.15, 1.60),
    4: (1.00, 1.60, 2.00),
    6: (1.33, 2.00, 2.00),
    8: (1.60, 2.00, 2.67),
    12: (2.00, 2.67, 4.00),
    14: (2.67, 2.67, 4.00),
    16: (2.67, 4.00, 4.00),
}
ADDITIVE = {2: (0.80, 1.34, 2.00), 4: (1.34, 2.00, 4.00), 6: (2.00, 2.00, 4.00), 8: (2.00, 4.00, 4.00)}
HOMOMORPHIC = {
    "paillier": {2: 2.3, 4: 2.8, 6: 3.3, 8: 3.8, 12: 4.8, 14: 5.3, 16: 5.8},
    "bfv": {2: 3.2, 4: 4.0, 8: 5.3, 12: 8.0, 16: 8.0},
    "ckks": {2: 8.0, 16: 32.0},
}
"""Bytes of a parameter at most, for 10, 100 and 1000 clients; for 100 clients."""


@pytest.mark.parametrize("bits", MASKING)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_masking_and_plain_take_the_bytes_of_the_table(bits: int, place: int) -> None:
    params = 10_000_000
    for backend in ("masking", "plain"):
        config = Setting(backend, params, (10, 100, 1000)[place], bits=bits).config
        assert carrier(config).size / params < MASKING[bits][place] + 0.01


@pytest.mark.parametrize("bits", ADDITIVE)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_additive_shares_take_the_bytes_of_the_table(bits: int, place: int) -> None:
    params = 10_000_000
    setting = Setting("additive", params, (10, 100, 1000)[place], bits=bits)
    assert setting.share_bytes / params < ADDITIVE[bits][place] + 0.01


@pytest.mark.parametrize(("backend", "bits"), [(backend, bits) for backend, of in HOMOMORPHIC.items() for bits in of])
def test_ciphertexts_take_the_bytes_of_the_table(backend: str, bits: int) -> None:
    """Of what is encrypted; a ciphertext of the lattice schemes holds some thousand values."""
    params = 10_000_000
    found = predict(Setting(backend, params, 100, bits=bits), shipped())
    assert found.sent("client") / params < HOMOMORPHIC[backend][bits] * 1.03 + 0.05


@pytest.mark.parametrize(("bits", "most"), [(4, 1.7), (8, 2.7)])
def test_a_hundred_clients_of_masking_send_what_is_promised(bits: int, most: float) -> None:
    """All messages of a round; that predictions are what rounds send is ``test_plan``'s."""
    assert predict(Setting("masking", 100_000, 100, bits=bits), shipped()).sent("client") / 100_000 <= most


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_fewer_bits_take_fewer_bytes_in_a_real_round(bits: int) -> None:
    params, clients = 100_000, 5
    federation = Federation(clients, shapes=((params,),), policy_changes={"bits": bits})
    done: LocalRound = federation.round()
    done.run()
    sent = done.stats()["client.upload_bytes"]
    assert sent == pytest.approx(
        predict(Setting("masking", params, clients, bits=bits), shipped()).sent("client"), rel=0.01
    )
    assert sent / params <= {2: 0.66, 4: 1.0, 8: 1.5}[bits]


# --- what is encrypted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "pieces"), [(2, 5), (3, 4), (4, 3), (5, 2), (9, 2), (10, 1), (16, 1)])
def test_randomness_is_encrypted_in_pieces_of_the_values_width(bits: int, pieces: int) -> None:
    config, rng = config_of(10, bits, params=50), np.random.default_rng(bits)
    layout, vectors = config.layout, []
    for _ in range(10):
        vector = rng.integers(0, 1 << bits, layout.total, dtype=np.uint32)
        vector[layout.committed :] = rng.integers(0, noise_top(bits, 10) + 1, layout.randomness, dtype=np.uint32)
        vectors.append(vector)
    split = [coordinates.split(config, vector) for vector in vectors]
    assert (
        {len(item) for item in split} == {layout.committed + pieces * layout.randomness} == {coordinates.length(config)}
    )
    assert max(int(item.max()) for item in split) < 1 << bits
    total = np.sum(split, axis=0, dtype=np.uint32)
    assert np.array_equal(coordinates.join(config, total), np.sum(vectors, axis=0, dtype=np.uint32))


def test_pieces_of_no_sum_are_refused() -> None:
    config = config_of(10, 9, params=50)
    sums: npt.NDArray[np.uint32] = np.zeros(coordinates.length(config), dtype=np.uint32)
    sums[-1] = 1 << 22
    with pytest.raises(ValueError, match="not below p"):
        coordinates.join(config, sums)


# --- what can't be --------------------------------------------------------------------------------------------


def test_sums_that_no_commitment_binds_are_refused_packed_or_not() -> None:
    for packed in (False, True):
        policy = Policy.default(3, bits=16, max_clients=1 << 13, commit_packed=packed)
        assert [option.name for option in policy.options] == ["halves"]  # as which they could be
        policy = msgspec.structs.replace(policy, options=())
        with pytest.raises(ConfigError, match="29 bits wide"):
            RoundConfig.create(
                task="task", round=0, policy=policy, cohort=Federation(3).trust.cohort("task"), shapes=((3,),)
            )
