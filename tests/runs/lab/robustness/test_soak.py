"""Laws of a soak: each subject works, and what grows is told from what does not."""

import pytest

from ccenv.runs.lab.robustness.soak import SUBJECTS, Sample, fitted, soak


def test_every_subject_is_used_in_turns_and_looked_at():
    works = {name: make() for name, make in SUBJECTS.items()}
    found = soak(works, seconds=0.01, turn=0.01)
    assert [sample.what for sample in found] == list(SUBJECTS)
    assert all(sample.rate > 0 and sample.mebibytes > 1 for sample in found)


def test_a_line_tells_growth_and_a_falling_rate_from_flatness():
    looks = [Sample("a", n, 100 + 2.0 * n, 50 - n) for n in range(1, 11)]
    looks += [Sample("b", n, 100, 50) for n in range(1, 11)]
    growing, flat = (fitted(looks, what) for what in "ab")
    # The first fifth is left out: from the second look to the tenth.
    assert growing["growth"] == pytest.approx(16)
    assert growing["rate_change"] == pytest.approx(-8 / 44)
    assert flat["growth"] == pytest.approx(0, abs=1e-9)
    assert flat["rate_change"] == pytest.approx(0, abs=1e-9)
    assert max(growing["rate_error"], flat["rate_error"]) < 1e-9
    noisy = fitted([Sample("c", n, 100, 50 + (-1) ** n) for n in range(1, 41)], "c")
    assert abs(noisy["rate_change"]) < noisy["rate_error"]
