"""What an update costs on the wire: real messages have the bytes of the table, and a policy says in what form.

The table is of fields as wide as a sum; digits take no more. What a value takes is what the messages of a longer vector
have more, divided by how many values it has more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.federation import Federation
from support.source_tree import ROOT

from mpc.ring import P
from secure_agg import aggregate, backends
from secure_agg.backends.masking import rules
from secure_agg.backends.packed import Committed, PackedWords
from secure_agg.errors import ConfigError
from secure_agg.planning.coefficients import shipped
from secure_agg.planning.prediction import predict
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Group, Option, Policy, RoundConfig
from secure_agg.roles.client import client as client_module
from secure_agg.roles.client.committing import commit_update

FIELDS = {
    "masking": {2: (12, 8, 5), 4: (8, 5, 4), 8: (5, 4, 3), 16: (3, 2, 2)},
    "additive": {2: (5, 3, 2), 4: (3, 2, 1), 8: (2, 1, 1), 16: (1, 1, 1)},
}
"""Values of a word of 64 bits, and of an element of 27, by bits and for sums of 10, 100 and 1,000."""
CLIENTS = (10, 100, 1000)
LONGER = 5040
"""Values, so many that whole elements hold them whatever an element holds, 14 at most."""


def fields(bits: int, clients: int, room: int) -> int:
    """⌊room / f⌋, f the bits of a sum."""
    return room // (clients * ((1 << bits) - 2)).bit_length()


def digits(bits: int, clients: int, room: int) -> int:
    """The most digits in a base above a sum."""
    return max(k for k in range(1, room) if (clients * ((1 << bits) - 2) + 1) ** k <= 1 << room)


def bytes_of(backend: str, bits: int, clients: int) -> Fraction:
    """Of a value, by the formulas of the specification."""
    if backend == "additive":
        return Fraction(4, digits(bits, clients, 27))
    held = digits(bits, clients, 64)
    return Fraction(8, held) if held > 2 else Fraction(4)


@pytest.mark.parametrize(("backend", "bits"), [(backend, bits) for backend, of in FIELDS.items() for bits in of])
@pytest.mark.parametrize("place", range(3))
def test_no_setting_takes_more_than_the_table(backend: str, bits: int, place: int) -> None:
    clients, room, element = CLIENTS[place], *((64, 8) if backend == "masking" else (27, 4))
    assert fields(bits, clients, room) == FIELDS[backend][bits][place]
    assert bytes_of(backend, bits, clients) <= Fraction(element, FIELDS[backend][bits][place])
    kind, params = backends.load(backend), 10_000_000
    config = Setting(backend, params, clients, bits=bits).config
    size = kind.hidden_sizes(config)[0] if backend == "masking" else 4 * config.layout.elements
    assert size / params == pytest.approx(float(bytes_of(backend, bits, clients)), rel=1e-2)


def uploaded(backend: str, params: int, options: Mapping[str, int] | None = None, **changes: Any) -> float:
    """Bytes of all that a client sends in a round of three."""
    shapes = ((params,),)
    made = Federation(3, backend=backend, shapes=shapes, options=options or {}, policy_changes=changes).round()
    made.run()
    assert made.aggregator.evidence is not None
    return made.stats()["client.upload_bytes"]


@pytest.mark.parametrize(
    ("backend", "bits", "clients"),
    [
        *(("masking", bits, clients) for bits in (2, 4, 8, 16) for clients in CLIENTS),
        *(("plain", bits, 100) for bits in (4, 16)),
        *(("additive", bits, clients) for bits, clients in ((2, 10), (4, 100), (8, 10), (8, 1000))),
    ],
)
def test_real_messages_take_what_the_formulas_say(backend: str, bits: int, clients: int) -> None:
    few, many = (uploaded(backend, params, bits=bits, max_clients=clients) for params in (1, 1 + LONGER))
    assert Fraction(int(many - few), LONGER) == bytes_of(backend, bits, clients)


def test_real_ciphertexts_take_what_the_formula_says() -> None:
    """A slot has the bits of a sum: 8 for 100 clients of 2 bits, 255 slots in a plaintext of 2048 bits."""
    longer, options = 4 * 255, {"modulus_bits": 2048}
    few, many = (uploaded("paillier", params, options, bits=2, max_clients=100) for params in (1, 1 + longer))
    assert many - few == 4 * 512
    config = Setting("paillier", 10_000_000, 100, bits=2).config
    assert backends.load("paillier").hidden_sizes(config)[0] / 10_000_000 == pytest.approx(2.0, rel=5e-3)


def test_the_documented_table_is_what_rounds_take() -> None:
    """All messages of a client in a round of ten million parameters; lattice ciphertexts are compressed."""
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    table = text[text.index("| bits | `masking`, 10 clients") :].split("\n\n")[0].splitlines()[2:]
    assert [int(row.split("|")[1]) for row in table] == [2, 4, 6, 8, 12, 16]
    columns = [(backend, n) for backend in ("masking", "additive") for n in CLIENTS]
    columns += [(backend, 100) for backend in ("paillier", "bfv", "ckks")]
    for row in table:
        bits, *stated = (float(cell) for cell in row.strip("|").split("|"))
        for (backend, clients), shown in zip(columns, stated, strict=True):
            found = predict(Setting(backend, 10_000_000, clients, bits=int(bits)), shipped()).bytes_per_parameter
            assert shown == pytest.approx(found, rel=0.03 if backend in ("bfv", "ckks") else 0.005), (bits, backend)


@pytest.mark.parametrize("transport", [0, 1])
def test_a_round_of_either_transport_has_the_same_sum(transport: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With clients that are lost in every phase; the attempts' secrets are all that the vectors follow from."""
    vectors = []

    def keep(config: RoundConfig, *args: Any) -> Any:
        made = commit_update(config, *args)
        vectors.append(made.vector.copy())
        return made

    monkeypatch.setattr(client_module, "commit_update", keep)
    federation = Federation(10, options={"transport": transport}, policy_changes={"bits": 6})
    made = federation.round({"c006": "masked-input", "c001": "consistency", "c003": "unmask"})
    made.run()
    evidence = made.aggregator.evidence
    assert evidence is not None
    expected = np.sum(vectors, axis=0, dtype=np.uint64) - vectors[6]
    assert np.array_equal(evidence.sums, expected)
    form = rules.form(evidence.config)
    assert isinstance(form, PackedWords if transport else Committed)
    assert (form.size < 4 * evidence.config.layout.total) == bool(transport)


def policy_of(**options: int) -> Policy:
    return Policy.default(5, bits=6, options=tuple(Option(name, value) for name, value in sorted(options.items())))


def config_of(policy: Policy) -> RoundConfig:
    federation = Federation(5)
    cohort = federation.trust.cohort(federation.task)
    return RoundConfig.create(task="task", round=0, policy=policy, cohort=cohort, shapes=((7,),))


def test_who_names_no_transport_has_the_shorter_one_unless_inputs_are_screened() -> None:
    chosen: dict[str, Callable[[], Policy]] = {
        "words": lambda: policy_of(),
        "named": lambda: policy_of(transport=1),
        "elements": lambda: policy_of(transport=0),
        "screened": lambda: policy_of(screening=1),
        "both named": lambda: policy_of(screening=1, transport=0),
    }
    forms = {name: rules.form(config_of(make())) for name, make in chosen.items()}
    assert [name for name, form in forms.items() if isinstance(form, PackedWords)] == ["words", "named"]
    assert forms["words"].size == forms["named"].size < forms["elements"].size == forms["screened"].size


@pytest.mark.parametrize("screening", [1, 2])
def test_the_smallest_transport_and_screening_are_refused_together(screening: int) -> None:
    masking = backends.load("masking")
    with pytest.raises(ConfigError, match=r"either the smallest transport .* or screening"):
        masking.check_policy(policy_of(screening=screening, transport=1))
    named = (Option("transport", 1),)
    bounded = Policy.default(5, bits=6, options=named, norm_bound=3.0)  # a norm bound turns screening on
    with pytest.raises(ConfigError, match=r"screening 0\) or screening"):
        masking.check_policy(bounded)
    masking.check_policy(Policy.default(5, bits=6, options=(Option("screening", 0), *named), norm_bound=3.0))


def test_what_screening_tests_is_lost_where_words_wrap() -> None:
    """Why: an element that was masked modulo p is, less its mask, what was committed to; a word that was masked modulo
    2^64 only where nothing wrapped. What is tested of an honest client would say that it cheats.
    """
    rng = np.random.default_rng(3)
    word = int(rng.integers(0, 1 << 60))
    masks = [int(mask) for mask in rng.integers(0, 1 << 64, 1000, dtype=np.uint64)]
    assert all(((word % P + mask % P) % P - mask) % P == word % P for mask in masks)
    honest = sum(((word + mask) % 2**64 - mask) % P == word % P for mask in masks)
    assert 0 < honest < 1000


def grouped(backend: str = "masking", **changes: Any) -> Federation:
    """Values of 2, 6 and 16 bits, of which neighbours have different ranges."""
    return Federation(
        5, shapes=((300,), (40,), (7,)), backend=backend,
        policy_changes={"groups": [Group(name=f"g{bits:02}", bits=bits, clip=1.0) for bits in (2, 6, 16)], **changes},
    )  # fmt: skip


def ranged_config(federation: Federation) -> RoundConfig:
    return RoundConfig.create(
        task=federation.task,
        round=0,
        policy=federation.policy,
        cohort=federation.trust.cohort(federation.task),
        shapes=federation.shapes,
        grouping=(0, 1, 2),
    )


@pytest.mark.parametrize("packed", [False, True])
def test_runs_of_several_ranges_ride_in_one_vector_each_with_its_own_digits(packed: bool) -> None:
    """A range of 2 bits does not pay for the 16 of another, in words or in what is committed to."""
    config = ranged_config(grouped(commit_packed=packed))
    layout, rng = config.layout, np.random.default_rng(4)
    assert [run.length for run in layout.runs] == [300, 40, 7 + layout.limbs]
    vectors = []
    for client in range(5):
        tops = np.repeat([run.top for run in layout.runs], [run.length for run in layout.runs])
        x = tops if client < 3 else rng.integers(0, tops + 1)
        s = rng.integers(0, 1 << 10, layout.randomness)
        vectors.append(np.concatenate([x, s]).astype(np.uint32))
    expected = np.sum(vectors, axis=0, dtype=np.uint64)
    held = [digits(bits, 5, 27) for bits in (2, 6, 16)]
    if packed:
        assert config.commitment.runs is not None
        assert [each.count for each, _ in config.commitment.runs.parts] == held == [7, 3, 1]
        assert layout.elements == -(-300 // 7) - (-40 // 3) + 7 + layout.limbs
    for form in (rules.form(config), Committed(config)):
        total = form.zero()
        for vector in vectors:
            total += form.load(vector)
        assert np.array_equal(form.unload(total, phase="unmask"), expected)
    held = [digits(bits, 5, 64) for bits in (2, 6, 16)]
    held.append(held[-1])  # s is as wide as 16 bits
    sizes = zip([300, 40, 7 + layout.limbs, layout.randomness], held, strict=True)
    words = rules.form(ranged_config(grouped()))
    assert words.size == 8 * sum(-(-length // count) for length, count in sizes)


@pytest.mark.parametrize("backend", ["masking", "additive", "paillier"])
def test_rounds_of_several_ranges_have_exact_means(backend: str) -> None:
    """Each backend packs its own way; the mean of every group is that of what its clients gave."""
    rng = np.random.default_rng(11)
    groups = [Group(name="fine", bits=16, clip=1.0), Group(name="coarse", bits=2, clip=1.0)]
    given = {f"c{i}": [rng.choice([-1.0, 0.0, 1.0], 50), rng.uniform(-1, 1, 9)] for i in range(4)}
    options = {"modulus_bits": 2048} if backend == "paillier" else {}
    found = aggregate(given, groups=groups, grouping=("coarse", "fine"), backend=backend, options=options)
    assert np.allclose(found.average[0], np.mean([arrays[0] for arrays in given.values()], axis=0), atol=1e-12)
    assert np.allclose(found.average[1], np.mean([arrays[1] for arrays in given.values()], axis=0), atol=1e-4)
