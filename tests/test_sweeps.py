"""Laws of `runs.compare`: what is there is not run again, nothing is ranked by reward."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runs import compare, report, tables
from runs.jobs import make_jobs
from runs.pool import Task, run_all
from runs.rows import Spread, error_at, judge, make_rows, spread
from runs.sweeps import SWEEPS, Cell, Sweep

ROOT = Path(__file__).parents[1]

MODULE = '''
from pathlib import Path

from agents.base import Agent
from ccenv.blocks import full_mask
from runs.sweeps import Cell, Sweep, dropout_rates, plain

HERE = Path(__file__).parent
PROBE = {
    "dataset": "probe", "network": "probe", "num_blocks": (4, 4), "block_size": 2,
    "activation": "relu", "images": 128, "batch_size": 64,
}


class Diary(Agent):
    """Notes every time it learns."""

    def act(self, observation, layer, generator=None):
        return full_mask(len(observation), self.num_blocks[layer])

    def learn(self, num_images, on_rollout=None):
        with (HERE / "diary").open("a") as diary:
            diary.write(f"{self.seed}\\n")
        return super().learn(num_images, on_rollout)


class Fails(Diary):
    def learn(self, num_images, on_rollout=None):
        raise RuntimeError("a bug of mine")


TOY = Sweep(
    name="toy",
    description="Toys.",
    settings=PROBE,
    cells=(
        Cell("diary", "toy_sweep:Diary"),
        Cell("reinforce", "reinforce", {"learning_rate": 0.001}),
        *dropout_rates(0.1, 0.9),
    ),
    minutes=0.1,
    seeds=(0, 1),
)
BROKEN = Sweep(
    name="broken",
    description="Toys that break.",
    settings=PROBE,
    cells=(
        Cell("fails", "toy_sweep:Fails"),
        *plain("dense"),
    ),
    minutes=0.1,
    seeds=(0,),
)
TYPO = Sweep("typo", "A typo.", (Cell("a", "reinforce", {"learning_rat": 1}),), 1.0)
'''


TASKS = """
import os

from runs.jobs import make_jobs
from runs.pool import Outcome


def crash_or_not(task):
    if task.label == "crash":
        os._exit(3)
    return Outcome(task, None)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with toy modules, found by this process and those it starts."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "toy_sweep.py").write_text(MODULE)
    (folder / "toy_tasks.py").write_text(TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(folder)]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.syspath_prepend(str(folder))
        yield folder


def options(place):
    return [
        *("--log-dir", str(place / "logs")),
        *("--report-dir", str(place / "reports")),
        *("--results-dir", str(place / "results")),
    ]


@pytest.fixture(scope="module")
def two_at_once(place):
    """Two compares of one sweep, started together."""
    command = [sys.executable, "-m", "runs.compare", "toy_sweep:TOY", *options(place)]
    started = [
        subprocess.Popen(
            [*command, "--jobs", "1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in started]
    return [(p.returncode, *o) for p, o in zip(started, outputs, strict=True)]


def test_two_compares_at_once_agree_and_run_no_cell_twice(two_at_once, place):
    for status, _, said in two_at_once:
        assert status == 0, said
    assert sorted((place / "diary").read_text().split()) == ["0", "1"]
    shown = [without_clock(out) for _, out, _ in two_at_once]
    assert shown[0] == shown[1]
    results = list((place / "logs").rglob("result.json"))
    assert len(results) == 8
    assert all(json.loads(path.read_text()) for path in results)


def without_clock(text):
    return re.sub(r"\d+\.\d\d / \d+\.\d\d", "", text)


def test_a_compare_says_beforehand_how_much_is_missing_and_last_how_to_see_curves(two_at_once):
    said = two_at_once[0][2].strip().splitlines()
    assert re.search(r"'toy': \d+ of 8 runs missing, about \d+ seconds", said[0])
    assert said[-1].startswith("curves: tensorboard --logdir ")


@pytest.mark.usefixtures("two_at_once")
def test_a_second_compare_runs_nothing_and_shows_mean_and_spread(place, monkeypatch, capsys):
    monkeypatch.setattr(compare, "run_all", lambda *given: pytest.fail("ran a cell again"))
    assert compare.main(["toy_sweep:TOY", *options(place)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"reinforce +\| +2 \| sampled +\| +\d+\.\d\d ± \d+\.\d\d", shown)
    assert (place / "reports" / "toy" / "table.md").read_text() in shown
    assert (place / "reports" / "toy" / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("two_at_once")
def test_rows_say_no_difference_where_intervals_overlap_and_never_show_reward(place, capsys):
    assert compare.main(["toy_sweep:TOY", "--json", *options(place)]) == 0
    rows = {row["label"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["diary", "reinforce", "block_dropout 0.1", "block_dropout 0.9"]
    assert rows["reinforce"]["verdict"] == "no difference"
    assert rows["reinforce"]["seeds"] == [0, 1]
    assert rows["block_dropout 0.1"]["verdict"] == ""
    names = {name for row in rows.values() for name in row}
    assert not any("reward" in name or "return" in name for name in names | set(report.COLUMNS))


@pytest.mark.usefixtures("two_at_once")
def test_a_recorded_result_makes_the_table_of_a_readme(place, tmp_path, capsys):
    assert compare.main(["toy_sweep:TOY", "--record", *options(place)]) == 0
    text = capsys.readouterr().out
    recorded = (place / "results" / "toy.json").read_text()
    assert str(place) not in recorded
    assert json.loads(recorded)["machines"]
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n<!-- table: toy -->\nold\n<!-- end -->\nrest\n")
    arguments = [str(readme), "--results-dir", str(place / "results")]
    assert tables.main([*arguments, "--check"]) == 1
    assert tables.main(arguments) == 0
    assert tables.main([*arguments, "--check"]) == 0
    made = readme.read_text()
    assert made.startswith("# Title\n")
    assert made.endswith("\nrest\n")
    assert "\n".join(line for line in made.splitlines() if line.startswith("|")) in text


def test_a_failing_cell_loses_no_other(place, capsys):
    assert compare.main(["toy_sweep:BROKEN", "--jobs", "1", *options(place)]) == 1
    captured = capsys.readouterr()
    assert re.search(r"dense +\| +1 \|", captured.out)
    assert "a bug of mine" in captured.err
    assert "1 of 2 runs failed" in captured.err


@pytest.mark.usefixtures("place")
def test_a_crashing_process_takes_no_other_task_along():
    from toy_tasks import crash_or_not

    tasks = [Task(label, "agent", {}) for label in ("well", "crash", "fine", "good")]
    errors = {o.task.label: o.error for o in run_all(tasks, 2, crash_or_not)}
    assert errors.pop("crash") == "its process died, twice"
    assert errors == {"well": None, "fine": None, "good": None}


@pytest.mark.parametrize(
    ("sweep", "hint"),
    [
        ("quikstart", "did you mean 'quickstart'?"),
        ("toy_sweep:TOYS", "did you mean 'TOY'?"),
        ("toy_sweep:TYPO", "did you mean 'learning_rate'?"),
        ("toy_sweep:Diary", "to be a runs.sweeps.Sweep"),
    ],
)
def test_a_wrong_sweep_gets_the_nearest_right_name_and_leaves_nothing(
    sweep, hint, place, tmp_path, capsys
):
    arguments = ["--log-dir", str(tmp_path / "logs"), "--report-dir", str(tmp_path / "reports")]
    assert compare.main([sweep, *arguments]) == 2
    assert hint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_resolves_and_no_two_cells_are_the_same_run(name):
    sweep = SWEEPS[name]
    assert sweep.name == name
    jobs = make_jobs(sweep, "unused")
    folders = {job.plan.folder() for job in jobs}
    assert len(folders) == len(jobs) == len(sweep.cells) * len(sweep.seeds)


def test_the_quickstart_compares_at_least_nine_agents_on_three_seeds():
    quickstart = SWEEPS["quickstart"]
    assert len({cell.agent for cell in quickstart.cells}) >= 9
    assert len(quickstart.seeds) >= 3
    assert quickstart.minutes <= 5


def test_a_cell_overrides_the_sweep():
    sweep = Sweep("s", "d", (Cell("a", "dense", {"images": 2}),), 1.0, {"images": 1, "env": "e"})
    assert sweep.runs()[0][1] == {"images": 2, "env": "e", "seed": 0}


def result(agent, seed, cost, error, uses_labels=False):
    """The part of a result that tables read."""
    verdict = {"split": "test", "mode": "sampled", "density": [0.5], "mean_return": 0.0}
    verdict |= {"error": error, "compute_cost": cost, "total_cost": cost, "macs": 1000 * cost}
    flags = {"learns": True, "uses_labels": uses_labels}
    both = [verdict, verdict | {"mode": "mode"}]
    return {"agent": agent, "seed": seed, "evaluations": both, "latency": [], **flags}


def rows_of(error, seeds=(0, 1, 2)):
    results = {
        "low": [result("block_dropout", s, 0.1, 0.5 + s / 1000) for s in seeds],
        "high": [result("block_dropout", s, 0.5, 0.1 + s / 1000) for s in seeds],
        "mine": [result("mine", s, 0.3, error + s / 1000) for s in seeds],
        "oracle": [result("oracle", s, 0.05, 0.0, uses_labels=True) for s in seeds],
    }
    return {row.label: row for row in make_rows(results)}


@pytest.mark.parametrize(
    ("error", "verdict"), [(0.1, "better"), (0.3, "no difference"), (0.4, "worse")]
)
def test_an_agent_is_judged_against_random_masks_at_its_own_compute_cost(error, verdict):
    row = rows_of(error)["mine"]
    assert row.dropout_error.mean == pytest.approx(0.301)
    assert row.verdict == verdict


def test_one_seed_gets_no_verdict():
    assert rows_of(0.1, seeds=(0,))["mine"].verdict == "one seed"


def test_beyond_the_rates_there_is_no_verdict():
    assert error_at([(0.1, 0.5), (0.5, 0.1)], 0.05) is None
    results = {"low": [result("block_dropout", 0, 0.1, 0.5)], "dear": [result("mine", 0, 0.3, 0.1)]}
    assert make_rows(results)[1].verdict == "outside its costs"


def test_a_ceiling_is_not_judged():
    assert rows_of(0.1)["oracle"].verdict == ""


def test_the_front_leaves_out_ceilings_and_whoever_is_beaten_in_both():
    rows = rows_of(0.4)
    assert not rows["oracle"].on_front
    assert rows["low"].on_front
    assert rows["high"].on_front
    assert rows["mine"].on_front
    assert not rows_of(0.6)["mine"].on_front


def test_an_interval_is_students():
    found = spread([0.1, 0.2, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.low == pytest.approx(2 * 4.302653 * 0.1 / 3**0.5, rel=1e-5)


def test_intervals_that_touch_make_no_difference():
    assert judge(Spread(0.1, 0.0, 0.0, 0.2), Spread(0.3, 0.0, 0.2, 0.4)) == "no difference"


def test_tables_of_the_readme_are_those_of_the_recorded_results():
    readme = ROOT / "README.md"
    assert readme.read_text().count("<!-- table:") >= 4
    assert tables.main([str(readme), "--check", "--results-dir", str(ROOT / "runs/results")]) == 0


def test_a_table_without_a_record_says_so(tmp_path, capsys):
    (tmp_path / "README.md").write_text("<!-- table: nothing -->\n<!-- end -->\n")
    arguments = [str(tmp_path / "README.md"), "--results-dir", str(tmp_path)]
    assert tables.main(arguments) == 2
    assert "record it first" in capsys.readouterr().err
