"""Laws of one agent's rewards compared: Python, one command and a file are the same runs."""

import pytest

import ccenv
from ccenv.rewards import correct
from ccenv.runs.commands import cli
from ccenv.runs.engine import pool

SMALL = {"dataset": "probe", "images": 256, "batch_size": 64, "latency": False}
FILE = """
seeds = [0, 1]

[[rows]]
agent = "reinforce"
label = "{reward}, cost weight {reward_kwargs.cost_weight}"
settings = { dataset = "probe", images = 256, batch_size = 64, latency = false }
grid.reward = ["accuracy_minus_cost", "test_shapings_compared:squared"]
grid.reward_kwargs.cost_weight = [0.5, 2.0]
"""


def squared(outcome, cost_weight=1.0):
    """Pays one for a right answer, and charges the square of each layer's cost."""
    return correct(outcome) - cost_weight * outcome.layer_cost**2


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where runs go, one after the other, and no figure is drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pool, "run_all", lambda tasks, workers: pool.run_here(tasks))
    monkeypatch.setattr("ccenv.runs.report.publish.publish", lambda *given: None)
    monkeypatch.setattr("ccenv.runs.report.over_seeds.write_sweep", lambda *given: "")
    return tmp_path


def test_python_a_command_and_a_file_compare_the_same_runs(place, monkeypatch, capsys):
    found = ccenv.compare(
        agent=("reinforce", SMALL),
        rewards=["accuracy_minus_cost", squared],
        cost_weights=[0.5, 2.0],
        seeds=2,
    )
    assert [row["label"] for row in found.rows] == [
        "accuracy_minus_cost, cost weight 0.5",
        "accuracy_minus_cost, cost weight 2",
        "test_shapings_compared:squared, cost weight 0.5",
        "test_shapings_compared:squared, cost weight 2",
    ]
    assert [row["method"] for row in found.rows] == 2 * ["accuracy_minus_cost"] + 2 * ["squared"]
    assert found.verdict.startswith("On probe, reinforce under accuracy_minus_cost and squared: ")
    assert len(found.results.finished) == 8
    # What is done is not done again: nobody trains from here on.
    monkeypatch.setattr(pool, "run_all", None)
    (place / "mine.toml").write_text(FILE)
    trusted = ["--trust", "test_shapings_compared"]
    words = ["--agent", "reinforce", *(f"{k}={str(v).lower()}" for k, v in SMALL.items())]
    words += ["--rewards", "accuracy_minus_cost,test_shapings_compared:squared"]
    words += ["--cost-weights", ".5,2", "--seeds", "2"]
    for given in (words, ["mine.toml", *trusted]):
        capsys.readouterr()
        assert cli.main(["compare", *given]) == 0
        said = capsys.readouterr().out
        assert " ".join(found.verdict.split()) in " ".join(said.split())
