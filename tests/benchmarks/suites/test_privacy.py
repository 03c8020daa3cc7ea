"""Suite ``privacy``: errors of means are near the Gaussian's, and the picture says of how many runs it is."""

from __future__ import annotations

from pathlib import Path

from benchmarks.privacy import means, plot
from benchmarks.results import Report, Row, machine


def test_errors_of_means_are_near_a_central_gaussian_s_and_what_has_no_room_is_named() -> None:
    missing: dict[str, str] = {}
    (found,) = means.rows([20], [4.0], [4, 14], 6, missing)
    assert (found.key, found.samples) == ("means.20.14.4", 6)
    assert found.derived is not None
    assert 0.95 < found.derived < 1.45  # 6 runs of 250 values: 4 % of deviation around 1.16
    assert found.ratio is not None
    assert found.ratio > found.derived  # with h of n counted on it is n/h times that
    assert "would do" in missing["means.20.4.4"]


def test_the_picture_says_of_how_many_runs_it_is(tmp_path: Path) -> None:
    rows = [
        Row(key=f"means.{n}.{bits}.{epsilon:g}", name="", unit="squared", median=1.0, derived=1.2, samples=7)
        for n in (100, 1000)
        for bits in (10, 16)
        for epsilon in (0.75, 4.0)
    ]
    rows += [
        Row(key=f"training.digits.{epsilon:g}", name="", unit="accuracy", median=0.8, peer_median=0.9)
        for epsilon in (1.0, 4.0)
    ]
    vector, raster = plot.draw(Report("privacy", machine(), {}, tuple(rows)), tmp_path / "privacy.png")
    assert raster.read_bytes().startswith(b"\x89PNG")
    said = vector.read_text("utf-8")
    for text in ("n = 100, 10 bits", "n = 1,000, 16 bits", "means of 7 runs", "digits"):
        assert text in said
    assert "WARNING" not in said  # errors are no times
