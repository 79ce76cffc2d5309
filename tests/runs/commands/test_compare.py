"""Laws of `ccenv compare`: what is there is not run again, nothing is ranked by reward."""

import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ccenv.runs import studies
from ccenv.runs.commands import compare, frame
from ccenv.runs.engine import jobs, run_jobs
from ccenv.runs.engine.jobs import (
    Comparison,
    Finished,
    gather,
    make_jobs,
    recorded_comparison,
    remaining_seconds,
    source_of,
)
from ccenv.runs.engine.machines.pool import Task, run_all, work
from ccenv.runs.lab import tables
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.random_baseline import error_at, judge
from ccenv.runs.stats.rows import make_rows
from ccenv.runs.store import recorded
from ccenv.runs.store.seal import sealed
from ccenv.runs.sweeps import SWEEPS, Cell, Sweep
from ccenv.runs.tables import sweep_table as report

ROOT = Path(__file__).parents[3]

TOLD = """
import time
from types import SimpleNamespace

from tqdm import tqdm

from ccenv.sparse.cpu.codegen.compiled import announcement
from ccenv.runs.engine.machines.pool import Outcome, Task, run_all


def compiles(task):
    py_func = SimpleNamespace(__module__="ccenv.sparse.toy")
    dispatcher = SimpleNamespace(py_func=py_func, _cache=None)
    announcement.on_start(SimpleNamespace(data={{"dispatcher": dispatcher}}))
    list(tqdm(range(3)))
    time.sleep(0.2)
    return Outcome(task, None)


if __name__ == "__main__":
    outcomes = run_all([Task(str(n), "agent", {{}}) for n in range(4)], 2, compiles)
    next(outcomes)
    outcomes.close() if {stop} else list(outcomes)
"""

MODULE = '''
from pathlib import Path

from ccenv.agents.base import Agent
from ccenv.base.masks import full_mask
from ccenv.runs.sweeps import Cell, Sweep

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
        Cell("block_dropout 0.1", "block_dropout", {"keep_probability": 0.1}),
        Cell("block_dropout 0.9", "block_dropout", {"keep_probability": 0.9}),
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
        Cell("dense", "dense"),
    ),
    minutes=0.1,
    seeds=(0,),
)
TYPO = Sweep("typo", "A typo.", (Cell("a", "reinforce", {"learning_rat": 1}),), 1.0)
'''


TASKS = """
import os

from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.engine.machines.pool import Outcome


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
    command = [
        sys.executable,
        "-m",
        "ccenv",
        "compare",
        "toy_sweep:TOY",
        *options(place),
    ]
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


def forbid_runs(monkeypatch):
    monkeypatch.setattr(run_jobs, "run_all", lambda *given: pytest.fail("ran a cell again"))


def without_clock(text):
    return re.sub(r"\d+\.\d\d / \d+\.\d\d", "", text)


def test_a_compare_says_beforehand_how_much_is_missing_and_last_how_to_see_curves(two_at_once):
    said = two_at_once[0][2].strip().splitlines()
    assert re.search(r"'toy': \d+ of 8 runs missing, about \d+ seconds", said[0])
    assert said[-1].startswith("curves: tensorboard --logdir ")


@pytest.mark.usefixtures("two_at_once")
def test_a_second_compare_runs_nothing_and_shows_mean_and_spread(place, monkeypatch, capsys):
    forbid_runs(monkeypatch)
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


@pytest.fixture
def elsewhere(place, two_at_once, tmp_path):
    """A recording of the toy sweep, and the options of a machine that has nothing else."""
    assert compare.main(["toy_sweep:TOY", "--record", *options(place)]) == 0
    shutil.copytree(place / "results", tmp_path / "results")
    return tmp_path


def test_recorded_cells_are_not_run_again_elsewhere_and_say_where_they_come_from(
    elsewhere, place, monkeypatch, capsys
):
    forbid_runs(monkeypatch)
    capsys.readouterr()
    assert compare.main(["toy_sweep:TOY", "--json", *options(place)]) == 0
    here = json.loads(capsys.readouterr().out)
    assert compare.main(["toy_sweep:TOY", "--json", *options(elsewhere)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == here
    assert re.search(
        r"8 recorded results, made on .+ cores, vectors of .+: diary \(seeds 0, 1\)", said.err
    )
    page = (elsewhere / "reports" / "toy" / "index.html").read_text()
    assert "8 recorded results, made on" in page


def test_recording_again_from_recorded_cells_changes_nothing(elsewhere, monkeypatch):
    forbid_runs(monkeypatch)
    path = elsewhere / "results" / "toy.json"
    before = path.read_bytes()
    assert compare.main(["toy_sweep:TOY", "--record", *options(elsewhere)]) == 0
    assert path.read_bytes() == before


def test_recording_where_the_images_are_absent_keeps_their_checksum(elsewhere, monkeypatch):
    forbid_runs(monkeypatch)
    monkeypatch.setattr(recorded, "data_checksum", lambda dataset: None)
    monkeypatch.setattr("ccenv.runs.store.provenance.data_checksum", lambda dataset: None)
    path = elsewhere / "results" / "toy.json"
    before = path.read_bytes()
    assert compare.main(["toy_sweep:TOY", "--record", *options(elsewhere)]) == 0
    assert path.read_bytes() == before


def edit_recording(folder, change):
    path = folder / "results" / "toy.json"
    content = json.loads(path.read_text())
    change(content)
    content["cells"] = [sealed(cell) for cell in content["cells"]]
    path.write_text(json.dumps(content))


def test_a_sweep_goes_on_where_another_machine_stopped_and_keeps_what_it_recorded(
    elsewhere, monkeypatch, capsys
):
    def lose_two(content):
        content["cells"] = [c for c in content["cells"] if c["label"] != "block_dropout 0.1"]

    edit_recording(elsewhere, lose_two)
    arguments = ["toy_sweep:TOY", "--record", "--jobs", "1", *options(elsewhere)]
    assert compare.main(arguments) == 0
    assert re.search(r"2 of 8 runs missing, about \d+ seconds", capsys.readouterr().err)
    assert len(list((elsewhere / "logs").rglob("result.json"))) == 2
    cells = json.loads((elsewhere / "results" / "toy.json").read_text())["cells"]
    assert [(c["label"], c["seed"]) for c in cells] == [
        (label, seed)
        for label in ("diary", "reinforce", "block_dropout 0.1", "block_dropout 0.9")
        for seed in (0, 1)
    ]


def test_cells_of_other_settings_are_missing_and_no_recorded_runs_all(elsewhere, capsys):
    (sweep,) = [importlib.import_module("toy_sweep").TOY]
    jobs = make_jobs(sweep, str(elsewhere / "logs"))
    source = source_of(sweep, jobs, str(elsewhere / "results"))
    assert not gather(sweep, jobs, recorded.load(source)).missing
    assert len(gather(sweep, jobs, {}).missing) == 8
    changed = dataclasses.replace(sweep, settings={**sweep.settings, "images": 192})
    others = make_jobs(changed, str(elsewhere / "logs"))
    found = recorded.load(source_of(changed, others, str(elsewhere / "results")))
    assert len(gather(changed, others, found).missing) == 8


def test_a_run_that_another_sweep_recorded_is_not_run_again(elsewhere, monkeypatch):
    forbid_runs(monkeypatch)
    toy = importlib.import_module("toy_sweep").TOY
    same = dataclasses.replace(toy, name="same", cells=toy.cells[1:3], seeds=toy.seeds[:1])
    monkeypatch.setattr(importlib.import_module("toy_sweep"), "SAME", same, raising=False)
    (elsewhere / "results" / "speed.json").write_text('{"kind": "kernels", "rows": []}')
    (elsewhere / "results" / "old.json").write_text('{"cells": [{"label": "of an old form"}]}')
    assert compare.main(["toy_sweep:SAME", "--record", *options(elsewhere)]) == 0
    first, second = (
        json.loads((elsewhere / "results" / f"{name}.json").read_text())["cells"]
        for name in ("toy", "same")
    )
    names = ("label", "seed", "settings", "evaluations", "curve")
    kept = [[cell[name] for name in names] for cell in second]
    assert [cell[:2] for cell in kept] == [[cell.label, toy.seeds[0]] for cell in same.cells]
    assert all(cell in [[c[name] for name in names] for c in first] for cell in kept)


def change_data(content):
    content["cells"][0]["data"]["probe"] = "0" * 24


def break_cell(content):
    del content["cells"][0]["settings"]


def impossible_error(content):
    content["cells"][3]["evaluations"][0]["error"] = 1.5


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (change_data, "expected the data set 'probe' with checksum 000000000000000000000000"),
        (break_cell, "cell 0 of"),
        (impossible_error, "error of the evaluation test, sampled in 0..1, got 1.5"),
    ],
)
def test_recorded_results_of_other_data_or_edited_by_hand_are_refused(
    change, hint, elsewhere, capsys
):
    edit_recording(elsewhere, change)
    assert compare.main(["toy_sweep:TOY", *options(elsewhere)]) == 2
    assert hint in capsys.readouterr().err
    assert not (elsewhere / "logs").exists()


def test_what_was_recorded_on_other_data_can_be_shown_by_itself(elsewhere):
    sweep = importlib.import_module("toy_sweep").TOY
    before = recorded_comparison(sweep, elsewhere / "results").rows
    edit_recording(elsewhere, change_data)
    assert recorded_comparison(sweep, elsewhere / "results").rows == before


def test_a_recording_that_is_no_json_is_refused(elsewhere, capsys):
    (elsewhere / "results" / "toy.json").write_text('{"cells": [')
    assert compare.main(["toy_sweep:TOY", *options(elsewhere)]) == 2
    assert "expected JSON in" in capsys.readouterr().err


def test_a_result_edited_by_hand_is_refused_by_name(place, two_at_once, tmp_path, capsys):
    shutil.copytree(place / "logs", tmp_path / "logs")
    path = sorted((tmp_path / "logs").rglob("result.json"))[0]
    kept = path.read_text()
    arguments = ["toy_sweep:TOY", "--no-recorded", *options(tmp_path)]
    for old, new, hint in [
        ('"learns":', '"lerns":', "expected content with the checksum"),
        (
            '"seed": 0,\n  "settings"',
            '"seed": 7,\n  "settings"',
            "expected content with the checksum",
        ),
        ("{", "", "expected JSON in"),
    ]:
        assert old in kept
        path.write_text(kept.replace(old, new, 1))
        assert compare.main(arguments) == 2
        said = capsys.readouterr().err
        assert hint in said
        assert str(path) in said


def test_a_report_over_nothing_finished_says_what_is_missing(place, tmp_path, capsys):
    assert compare.main(["toy_sweep:TOY", "--no-run", *options(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "8 runs have no result yet: diary (seeds 0, 1); reinforce (seeds 0, 1)" in said.err
    assert said.out == ""
    assert not list(tmp_path.iterdir())


def test_each_cell_is_recorded_as_it_ends(place, tmp_path, monkeypatch):
    counts = []

    def one_after_another(tasks, workers):
        for task in tasks:
            outcome = work(task)
            path = tmp_path / "results" / "broken.json"
            counts.append(len(json.loads(path.read_text())["cells"]) if path.exists() else 0)
            yield outcome

    monkeypatch.setattr(run_jobs, "run_all", one_after_another)
    broken = importlib.import_module("toy_sweep").BROKEN
    two = dataclasses.replace(broken, cells=broken.cells[1:], seeds=(0, 1), name="broken")
    monkeypatch.setattr(sys.modules["toy_sweep"], "BROKEN", two)
    assert compare.main(["toy_sweep:BROKEN", "--record", *options(tmp_path)]) == 0
    assert counts == [0, 1]
    assert len(json.loads((tmp_path / "results" / "broken.json").read_text())["cells"]) == 2


def test_a_sweep_stopped_in_between_keeps_what_was_recorded_and_goes_on(
    place, tmp_path, monkeypatch, capsys
):
    def stop_after_one(tasks, workers):
        yield work(tasks[0])
        raise KeyboardInterrupt

    arguments = ["toy_sweep:TOY", "--record", "--jobs", "1", *options(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(run_jobs, "run_all", stop_after_one)
        assert compare.main(arguments) == frame.INTERRUPTED
    assert "goes on with what is missing" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "results" / "toy.json").read_text())["cells"]) == 1
    forbid_runs(monkeypatch)
    assert compare.main([*arguments, "--no-run"]) == 0
    assert "7 runs have no result yet: diary (seeds 1); reinforce" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", sorted((ROOT / "runs/results").glob("*.json")), ids=lambda p: p.stem
)
def test_what_was_recorded_by_older_versions_stays_readable(path):
    content = json.loads(path.read_text())
    # A comparison on several data sets has a line with their name before each table.
    assert re.search(r"^\|.*\|$", tables.TABLES[content["kind"]](content["rows"]), re.MULTILINE)
    if content["kind"] == "comparison" and content["name"] in SWEEPS:
        sweep = SWEEPS[content["name"]]
        source = source_of(sweep, make_jobs(sweep, "unused"), str(path.parent))
        found = recorded.load(source, beside_runs=False)
        assert len(found) <= len(content.get("cells", []))


def comparison_of(sweep, seconds):
    jobs = make_jobs(sweep, "unused")
    finished = [Finished(job.label, {"total_seconds": seconds}) for job in jobs[:1]]
    return Comparison(sweep, tuple(finished), tuple(jobs[1:]), "sampled")


def test_a_forecast_takes_a_cells_measured_time_and_else_the_sweeps_own_estimate():
    sweep = Sweep("s", "d", (Cell("a", "dense"), Cell("b", "reinforce")), minutes=2.0, seeds=(0, 1))
    found = comparison_of(sweep, seconds=10.0)
    # Two minutes on two cores are 60 seconds of one core for each of the four runs.
    assert remaining_seconds(found, found.missing) == (10.0 + 60.0 + 60.0, 1)
    said = run_jobs.forecast(found, found.missing, workers=1)
    assert "3 of 4 runs missing, about 2 minutes with 1 worker (65 seconds on two cores)" in said


def test_time_left_is_told_from_the_runs_after_each_workers_first():
    # The first of two workers took 300 seconds, most of it compiling; from then on 10 a run.
    ended = [(5.0, 300.0), (5.0, 301.0), (5.0, 306.0), (5.0, 311.0)]
    told = [run_jobs.seconds_left([5.0] * 8, ended[:count], workers=2) for count in range(5)]
    assert told == [None, None, None, 25.0, 20.0]


def test_help_names_every_sweep_and_reads_no_file_of_one(monkeypatch, capsys):
    monkeypatch.setattr(studies, "read_sweep", None)
    with pytest.raises(SystemExit):
        compare.main(["--help"])
    shown = "".join(capsys.readouterr().out.split())
    assert all(name in shown for name in SWEEPS)
    assert "ccenvlistsweeps" in shown


def test_a_failing_cell_loses_no_other(place, capsys):
    assert compare.main(["toy_sweep:BROKEN", "--jobs", "1", *options(place)]) == 1
    captured = capsys.readouterr()
    assert re.search(r"dense +\| +1 \|", captured.out)
    at_once, at_the_end = captured.err.split("\nfailed: ", 1)[0], captured.err
    assert re.search(r"failed: .*, seed 0: .*a bug of mine", at_once)
    assert "Traceback" not in at_once
    assert "Traceback" in at_the_end
    assert "1 of 2 runs failed" in captured.err


@pytest.mark.usefixtures("place")
def test_a_crashing_process_takes_no_other_task_along():
    from toy_tasks import crash_or_not

    tasks = [Task(label, "agent", {}) for label in ("well", "crash", "fine", "good")]
    errors = {o.task.label: o.error for o in run_all(tasks, 2, crash_or_not)}
    assert errors.pop("crash") == "its process died, twice"
    assert errors == {"well": None, "fine": None, "good": None}


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("stop", [False, True])
def test_workers_leave_no_semaphore_behind_and_say_once_that_kernels_are_compiled(tmp_path, stop):
    (tmp_path / "told.py").write_text(TOLD.format(stop=stop))
    done = subprocess.run(
        [sys.executable, "told.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "leaked" not in done.stderr
    assert done.stderr.count("compiling kernels") == 1


@pytest.mark.parametrize(
    ("sweep", "hint"),
    [
        ("quikstart", "did you mean 'quickstart'?"),
        ("toy_sweep:TOYS", "did you mean 'TOY'?"),
        ("toy_sweep:TYPO", "did you mean 'learning_rate'?"),
        ("toy_sweep:Diary", "to be a Sweep or a Study"),
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
    assert len(folders) == len(jobs) == len(sweep.runs())


def test_the_quickstart_has_six_to_nine_rows_of_three_seeds():
    quickstart = SWEEPS["quickstart"]
    assert 6 <= len(quickstart.cells) <= 9
    assert len(quickstart.seeds) >= 3
    assert quickstart.minutes <= 5


def test_a_cell_overrides_the_sweep():
    sweep = Sweep("s", "d", (Cell("a", "dense", {"images": 2}),), 1.0, {"images": 1, "env": "e"})
    assert sweep.runs()[0][1] == {"images": 2, "env": "e", "seed": 0}


NETWORK = {"network": "mlp", "num_blocks": [4], "block_size": 8, "head_units": []}


def result(agent, seed, cost, error, uses_labels=False, dataset="digits", **network):
    """The part of a result that tables read."""
    verdict = {"split": "test", "mode": "sampled", "density": [0.5], "mean_return": 0.0}
    verdict |= {"error": error, "compute_cost": cost, "total_cost": cost, "macs": 1000 * cost}
    flags = {"learns": True, "uses_labels": uses_labels}
    both = [verdict, verdict | {"mode": "mode"}]
    settings = {"environment": {"dataset": dataset, "activation": "relu", **NETWORK, **network}}
    return {
        "agent": agent,
        "reward": "accuracy_minus_cost",
        "seed": seed,
        "settings": settings,
        "dense_macs": 1000,
        "evaluations": both,
        "latency": [],
        **flags,
    }


def test_random_blocks_of_another_network_are_no_floor():
    mine = [result("mine", 0, 0.3, 0.2)]
    wider = [result("block_dropout", 0, cost, 0.5 - cost, block_size=16) for cost in (0.1, 0.9)]
    finer = {"num_blocks": [16], "block_size": 2}
    units = [result("block_dropout", 0, cost, 0.5 - cost, **finer) for cost in (0.1, 0.9)]
    own = [result("block_dropout", 0, 0.1, 0.6)]
    other_end = [result("dense", 0, 1.0, 0.5, num_blocks=[1], block_size=64)]
    end = [result("dense", 0, 1.0, 0.15, num_blocks=[1], block_size=[32])]
    results = {"mine": mine, "wider": wider, "units": units, "other end": other_end}
    assert make_rows(results)[0].verdict == "no block_dropout"
    row = make_rows({**results, "own": own, "end": end})[0]
    assert row.dropout_error.mean == pytest.approx(0.6 - 0.45 * 0.2 / 0.9)


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


def test_rows_of_different_data_sets_are_never_held_against_each_other():
    results = {
        "easy": [result("mine", s, 0.3, 0.1) for s in (0, 1)],
        "hard": [result("mine", s, 0.4, 0.5, dataset="cifar10") for s in (0, 1)],
        "low": [result("block_dropout", s, 0.1, 0.9, dataset="cifar10") for s in (0, 1)],
    }
    rows = {row.label: row for row in make_rows(results)}
    assert list(rows) == ["easy", "hard", "low"]
    assert all(row.on_front for row in rows.values())
    assert rows["easy"].verdict == "no block_dropout"
    shown = report.table([dataclasses.asdict(row) for row in rows.values()])
    first, second = shown.split("Data set cifar10:")
    assert "easy" in first
    assert "hard" not in first
    assert "low" in second


def test_an_interval_is_students():
    found = mean_interval([0.1, 0.2, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.low == pytest.approx(2 * 4.302653 * 0.1 / 3**0.5, rel=1e-5)


def test_intervals_that_touch_make_no_difference():
    assert judge(Interval(0.1, 0.0, 0.0, 0.2), Interval(0.3, 0.0, 0.2, 0.4)) == "no difference"


def test_tables_of_all_pages_are_those_of_the_recorded_results():
    pages = [ROOT / "README.md", ROOT / "runs/results/README.md", *ROOT.glob("runs/docs/**/*.md")]
    marked = [str(page) for page in pages if "<!-- table:" in page.read_text()]
    assert {Path(page).name for page in marked} > {"README.md", "text.md", "speed.md", "paper.md"}
    assert tables.main([*marked, "--check", "--results-dir", str(ROOT / "runs/results")]) == 0


def test_a_table_without_a_record_says_so(tmp_path, capsys):
    (tmp_path / "README.md").write_text("<!-- table: nothing -->\n<!-- end -->\n")
    arguments = [str(tmp_path / "README.md"), "--results-dir", str(tmp_path)]
    assert tables.main(arguments) == 2
    assert "record it first" in capsys.readouterr().err


def test_what_is_recorded_is_shown_without_a_plan(monkeypatch):
    def no_plan(*_):
        raise AssertionError("a plan was made")

    monkeypatch.setattr(jobs, "make_plan", no_plan)
    sweep = SWEEPS["paper-mnist"]
    found = recorded_comparison(sweep, ROOT / "runs/results")
    assert {row["label"] for row in found.rows} == {cell.label for cell in sweep.cells}
    fewer = dataclasses.replace(sweep, cells=sweep.cells[:1], seeds=(0,))
    (only,) = recorded_comparison(fewer, ROOT / "runs/results").finished
    assert only.run == (sweep.cells[0].label, 0)
