"""Certificates of renunciation: how many are enough, and that nothing else passes for one."""

from __future__ import annotations

import itertools
import math

import pytest
from msgspec.structs import replace
from support.federation import Federation, identity

from mpc import graph
from mpc.graph import Degree
from secure_agg.errors import BadSignature, TooFewClients, VerificationError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.messages import Signature
from secure_agg.protocol.renunciation import (
    Renouncers,
    Renunciation,
    RenunciationCertificate,
    of_complete_graph,
    of_operators,
    of_sparse_graph,
    split_bits,
)


def _both(members: int, corrupt: int, opening: int, renouncing: int) -> bool:
    """Whether some honest members can release, and others renounce, so that a sum is opened and there is a certificate:
    corrupt members do both, and each honest one does nothing, release, or renounce.
    """
    honest = members - corrupt
    for choices in itertools.product(("nothing", "release", "renounce"), repeat=honest):
        released, renounced = choices.count("release"), choices.count("renounce")
        if released + corrupt >= opening and renounced + corrupt >= renouncing:
            return True
    return False


@pytest.mark.parametrize(("members", "enough"), [(10, 6), (20, 13), (100, 65)])
def test_so_many_of_a_complete_graph_are_enough(members: int, enough: int) -> None:
    policy = Policy.default(members)
    quorum = policy.quorum(members)
    found = of_complete_graph(members, policy.max_corrupt, quorum)
    assert found == enough
    assert found <= quorum


def test_on_small_complete_graphs_no_sum_is_opened_where_there_is_a_certificate_and_one_fewer_is_too_few() -> None:
    for members in range(3, 10):
        for corrupt in range((members - 1) // 3 + 1):
            quorum = (members + corrupt) // 2 + 1
            enough = of_complete_graph(members, corrupt, quorum)
            assert not _both(members, corrupt, quorum, enough), (members, corrupt)
            if corrupt < enough - 1:
                assert _both(members, corrupt, quorum, enough - 1), (members, corrupt)


def test_of_few_operators_no_sum_is_opened_where_there_is_a_certificate() -> None:
    for parties in range(2, 8):
        for needed in range(1, parties + 1):
            for corrupt in range(needed):
                enough = of_operators(parties, needed, corrupt)
                assert not _both(parties, corrupt, needed, enough), (parties, needed, corrupt)
    assert of_operators(3, 3, 2) == 3, "additive: all of them"
    assert of_operators(5, 4, 2) == 4, "a committee with as many corrupt members as it bears: its threshold"


def _shape(policy: Policy) -> object:
    def shape(size: int) -> Degree | None:
        return graph.degree(size, policy.max_corrupt, max(1, math.floor(size * graph.EXPECTED_DROPOUT)))

    return shape


@pytest.mark.parametrize(
    ("members", "enough", "quorum"),
    [
        (256, 185, 167),
        pytest.param(1000, 723, 650, marks=pytest.mark.slow),
        pytest.param(10_000, 7248, 6500, marks=pytest.mark.slow),
    ],
)
def test_so_many_of_a_sparse_graph_are_enough_and_a_quorum_is_not(members: int, enough: int, quorum: int) -> None:
    policy = Policy.default(members)
    assert policy.quorum(members) == quorum
    arguments = (members, policy.max_corrupt, quorum, policy.min_advertised, _shape(policy))
    assert of_sparse_graph(*arguments) == enough  # type: ignore[arg-type]


def test_no_number_of_those_who_advertise_needs_more_than_those_that_are_tried() -> None:
    policy = Policy.default(160)
    shape = _shape(policy)
    quorum = policy.quorum(160)
    enough = of_sparse_graph(160, policy.max_corrupt, quorum, policy.min_advertised, shape)  # type: ignore[arg-type]
    for size in range(policy.min_advertised, 161):
        found = shape(size)  # type: ignore[operator]
        assert split_bits(160, policy.max_corrupt, quorum, enough, size, found) <= -40, size


FEDERATION = Federation(5)
CONFIG = FEDERATION.config()
STATEMENT = Renunciation.of(CONFIG)
MEMBERS = [identity(name) for name in FEDERATION.names]
VOTERS = Renouncers({member.name: member.public for member in MEMBERS}, 4)


def _certificate(count: int) -> RenunciationCertificate:
    return RenunciationCertificate.of(STATEMENT, [STATEMENT.sign(member) for member in MEMBERS[:count][::-1]])


def test_a_certificate_is_one_byte_string_and_admits_to_the_next_generation_of_its_own_model_alone() -> None:
    found = RenunciationCertificate.from_bytes(_certificate(4).to_bytes())
    assert found == _certificate(4)
    following = replace(CONFIG, generation=1, renounced=found.digest())
    found.check_precedes(following, VOTERS)
    for change in (
        {"start_model": bytes(31) + b"\1"},
        {"base_model": bytes(31) + b"\1"},
        {"round": 1},
        {"epoch": 1},
        {"generation": 2},
        {"cohort_root": bytes(31) + b"\1"},
        {"task": "another"},
    ):
        with pytest.raises(VerificationError, match="over another model, cohort"):
            found.check_precedes(replace(following, **change), VOTERS)
    with pytest.raises(VerificationError, match="not the one that the configuration names"):
        _certificate(5).check_precedes(following, VOTERS)


def test_what_is_not_signed_by_enough_is_no_certificate() -> None:
    with pytest.raises(TooFewClients, match="3 of 5 renounced generation 0 of round 0, 4 are needed"):
        _certificate(3).check(VOTERS)
    with pytest.raises(TooFewClients):
        _certificate(5).check(Renouncers(VOTERS.voters, 6))
    good = _certificate(4)
    twice = replace(good, signatures=(good.signatures[0], *good.signatures))
    with pytest.raises(VerificationError, match="not in id order, each once"):
        twice.check(VOTERS)
    stranger = RenunciationCertificate.of(STATEMENT, [*good.signatures, STATEMENT.sign(identity("stranger"))])
    with pytest.raises(VerificationError, match="'stranger' has no right to renounce"):
        stranger.check(VOTERS)
    spoilt = RenunciationCertificate.of(STATEMENT, [*good.signatures[1:], Signature(MEMBERS[0].name, bytes(64))])
    with pytest.raises(BadSignature):
        spoilt.check(VOTERS)
    other = replace(STATEMENT, generation=1)
    with pytest.raises(BadSignature):
        replace(good, statement=other).check(VOTERS)


def test_bytes_that_are_no_certificate_are_refused() -> None:
    encoded = _certificate(4).to_bytes()
    for data in (encoded + b"\0", encoded[:-1], b"", replace(_certificate(4), version=2).to_bytes()):
        with pytest.raises(VerificationError):
            RenunciationCertificate.from_bytes(data)
