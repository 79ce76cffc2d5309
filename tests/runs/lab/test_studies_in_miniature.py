"""Laws of the lab's studies and experiments: each runs in miniature, and its table is recorded."""

import math
import re
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.networks.core.unrolled import sequence_logits
from ccenv.runs.lab import adding, over_time, tables
from ccenv.runs.lab.experiment import run_experiment
from ccenv.runs.lab.registry import experiments
from ccenv.runs.studies.systems import Line, at_cost


def test_an_experiment_says_its_table_once_and_no_two_record_one_kind():
    for one in experiments().values():
        assert bool(one.columns) != (one.pivot is not None), one
        for heading, text in one.columns.items():
            # What cannot be formatted would be found when all has been measured.
            assert re.match(r"[<>]\??", text), heading
            assert list(string.Formatter().parse(text[1:].removeprefix("?"))), heading
    kinds = [one.recorded_kind for one in experiments().values()]
    assert len(set(kinds)) == len(kinds)


def rows_of(experiment, words, tmp_path):
    """Rows that an experiment records, by what decides."""
    words = [*words, "--seeds", "1", "--record"]
    words += ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert run_experiment(experiment, "lab", words) == 0
    (path,) = tmp_path.glob("*.json")
    return {row["decides"]: row for row in tables.recorded.read_table(path)["rows"]}


def test_problems_over_time_are_recorded(tmp_path, capsys):
    words = ["--rollouts", "1", "--problem", "staleness"]
    rows = rows_of(over_time.OVER_TIME, words, tmp_path)
    shares = {decides: row["shares"][0] for decides, row in rows.items()}
    assert shares["optimum (dynamic programming)"] == 1 > shares["best threshold on the belief"]
    assert shares["best threshold on the belief"] > shares["best fixed places"] > shares["random"]
    assert shares["random"] == 0
    assert "PPO (Stable-Baselines3)" in capsys.readouterr().out


def test_the_adding_task_is_recorded(tmp_path, capsys):
    rows = rows_of(adding.ADDING, ["--updates", "2", "--rollouts", "1"], tmp_path)
    assert list(rows) == ["always", "policy"]
    assert rows["always"]["updates"] == [1.0] != rows["policy"]["updates"]
    assert "wrong answers" in capsys.readouterr().out


def test_whole_sequences_without_what_is_skipped_are_the_walk_that_skips_it():
    network = adding.taught(0, updates=1)
    windows, labels = adding.DATA("test").batch(torch.arange(3 * adding.LENGTH))
    keeps = torch.rand(3, adding.LENGTH, generator=torch.Generator().manual_seed(0)) < 0.5
    symbols, labels = windows[:, -1].view(3, -1), labels.view(3, -1)
    with torch.no_grad():
        found = adding.answers(network, symbols, keeps)
        expected = sequence_logits(network, windows, [keeps.view(-1, 1)], adding.LENGTH)
    torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)
    # The last question is answered by what two marked digits say.
    marked = symbols[:, :-1] - adding.tasks.DIGITS
    assert ((marked >= 0).sum(dim=1) == 2).all()
    assert torch.equal(labels[:, -1], marked.clamp(min=0).sum(dim=1) + 1)


POINTS = st.lists(
    st.tuples(st.floats(0.01, 1), st.tuples(*[st.floats(0, 1)] * 2)),
    min_size=1,
    max_size=3,
    unique_by=lambda point: round(40 * math.log(point[0])),
).map(sorted)


@given(points=POINTS, cost=st.floats(0.001, 2))
def test_at_a_cost_an_error_lies_between_its_neighbours_and_never_below_what_was_run(points, cost):
    line = Line("a", "", True, tuple(points), 1.0)
    found = at_cost(line, cost)
    assert (found is None) == (cost < 0.99 * points[0][0])
    if found is not None:
        means = [sum(errors) / 2 for _, errors in points]
        assert min(means) - 1e-9 <= found.mean <= max(means) + 1e-9
    for own, errors in points:
        assert at_cost(line, own).mean == pytest.approx(sum(errors) / 2)
