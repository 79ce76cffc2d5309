"""Laws of `ccenv compare`: what is there is not run again, nothing is ranked by reward."""

import contextlib
import dataclasses
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from ccenv.agents.base import Agent
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.files import sealed
from ccenv.base.masks import full_mask
from ccenv.runs.commands import compare, frame
from ccenv.runs.config.plan import NO_SOURCE
from ccenv.runs.engine import pool
from ccenv.runs.engine.jobs import Shard, make_jobs
from ccenv.runs.engine.pool import Outcome, RunRequest, do_task, run_all
from ccenv.runs.lab import tables
from ccenv.runs.report.publish import publish
from ccenv.runs.store import recorded
from ccenv.runs.sweeps import SWEEPS, Cell, Sweep
from ccenv.runs.tables.sweep_table import COLUMNS

PROBE = PROBE_SETTINGS | {"images": 128, "batch_size": 64}


class Diary(Agent):
    """Notes every time it learns."""

    place: ClassVar[Path]

    def act(self, observation, layer, generator=None):
        return full_mask(len(observation), self.num_blocks[layer])

    def learn(self, num_images, on_rollout=None):
        with (self.place / "diary").open("a") as diary:
            diary.write(f"{self.seed}\n")
        return super().learn(num_images, on_rollout)


class Fails(Diary):
    def learn(self, num_images, on_rollout=None):
        raise RuntimeError("a bug of mine")


TOY = Sweep(
    name="toy",
    description="Toys.",
    settings=PROBE,
    cells=(
        Cell("diary", f"{__name__}:Diary"),
        Cell("reinforce", "reinforce", {"learning_rate": 0.001}),
        Cell("block_dropout 0.1", "block_dropout", {"keep_probability": 0.1}),
        Cell("block_dropout 0.9", "block_dropout", {"keep_probability": 0.9}),
    ),
    minutes=0.1,
    seeds=(0, 1),
)
RULES = dataclasses.replace(
    TOY,
    name="rules",
    # Who knows the label is not timed: nothing has to be compiled in another process.
    cells=(
        Cell("oracle 0.5", "oracle", {"reward_kwargs": {"cost_weight": 0.5}}),
        Cell("oracle 2", "oracle", {"reward_kwargs": {"cost_weight": 2.0}}),
    ),
    seeds=(0,),
    mini={"dataset": "probe", "images": 64},
)
BROKEN = dataclasses.replace(
    RULES, name="broken", cells=(Cell("fails", f"{__name__}:Fails"), Cell("dense", "dense"))
)
TYPO = Sweep("typo", "A typo.", (Cell("a", "reinforce", {"learning_rat": 1}),), 1.0)


def crash_or_not(task):
    if task.label == "crash":
        os._exit(3)
    return Outcome(task, None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of runs, one after the other, and of the diary."""
    Diary.place = tmp_path_factory.mktemp("sweeps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "run_all", lambda tasks, workers: pool.run_here(tasks))
        # Figures take longer than the runs.
        patch.setattr("ccenv.runs.report.publish.publish", lambda *given: "")
        patch.setattr("ccenv.runs.report.over_seeds.write_sweep", lambda *given: "")
        # To read them all takes longer, too: `test_reading_results.py` compares with the package's.
        patch.setattr(recorded, "WITH_PACKAGE", Diary.place / "package")
        yield Diary.place


def options(place):
    folders = {"log": "logs", "report": "reports", "results": "results"}
    return [f"--{kind}-dir={place / name}" for kind, name in folders.items()]


@pytest.fixture(scope="module")
def two_at_once(place):
    """Two compares of one sweep in two processes at once: what they show and say."""
    child, status = os.fork(), 1
    name = "parent" if child else "child"
    with (
        (place / f"{name}.out").open("w") as out,
        (place / f"{name}.err").open("w") as said,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(said),
    ):
        try:
            status = compare.main([f"{__name__}:TOY", *options(place)])
            out.flush()
        finally:
            if not child:
                os._exit(status)
    _, child_status = os.waitpid(child, 0)
    assert (status, child_status) == (0, 0)
    return [
        ((place / f"{name}.out").read_text(), (place / f"{name}.err").read_text())
        for name in ("parent", "child")
    ]


def test_two_compares_at_once_agree_and_run_no_cell_twice(two_at_once, place):
    assert sorted((place / "diary").read_text().split()) == ["0", "1"]
    assert two_at_once[0][0] == two_at_once[1][0]
    results = list((place / "logs").rglob("result.json"))
    assert len(results) == 8
    assert all(json.loads(path.read_text()) for path in results)


def forbid_runs(monkeypatch):
    monkeypatch.setattr(pool, "run_all", lambda *given: pytest.fail("ran a cell again"))


def test_a_compare_says_beforehand_how_much_is_missing_and_last_how_to_see_curves(two_at_once):
    said = two_at_once[0][1].strip().splitlines()
    assert re.search(r"'toy': \d+ of 8 runs missing, about [\d.]+ minutes", said[0])
    assert said[-1].startswith("curves: tensorboard --logdir ")


@pytest.fixture(scope="module")
def published(place, two_at_once):
    """What a second compare shows: it runs nothing, and leaves a whole report and a recording."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        forbid_runs(patch)
        patch.setattr("ccenv.runs.report.publish.publish", publish)
        assert compare.main([f"{__name__}:TOY", "--record", *options(place)]) == 0
    return out.getvalue()


def test_a_second_compare_runs_nothing_and_shows_mean_and_spread(published, place):
    assert re.search(r"^reinforce .*\d+\.\d\d \(2 seeds: too few\)", published, re.MULTILINE)
    whole = (place / "reports" / "toy" / "table.md").read_text()
    assert re.search(r"reinforce +\| +2 \| sampled +\| +\d+\.\d\d ± \d+\.\d\d", whole)
    assert (place / "reports" / "toy" / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("two_at_once")
def test_rows_say_no_difference_where_intervals_overlap_and_never_show_reward(place, capsys):
    assert compare.main([f"{__name__}:TOY", "--json", *options(place)]) == 0
    rows = {row["label"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["diary", "reinforce", "block_dropout 0.1", "block_dropout 0.9"]
    assert rows["reinforce"]["verdict"] == "no difference"
    assert rows["reinforce"]["seeds"] == [0, 1]
    assert rows["block_dropout 0.1"]["verdict"] == ""
    names = {name for row in rows.values() for name in row}
    assert not any("reward" in name or "return" in name for name in names | set(COLUMNS))


@pytest.fixture
def elsewhere(place, published, tmp_path):
    """A recording of the toy sweep, in the folder of a machine that has nothing else."""
    shutil.copytree(place / "results", tmp_path / "results")
    return tmp_path


def test_a_recorded_result_makes_the_table_of_a_readme(elsewhere, place):
    text = (place / "reports" / "toy" / "table.md").read_text()
    content = (elsewhere / "results" / "toy.json").read_text()
    assert str(elsewhere.parent) not in content
    assert json.loads(content)["machines"]
    readme = elsewhere / "README.md"
    readme.write_text("# Title\n<!-- table: toy -->\nold\n<!-- end -->\nrest\n")
    arguments = [str(readme), "--results-dir", str(elsewhere / "results")]
    for words, status in ((["--check"], 1), ([], 0), (["--check"], 0)):
        assert tables.main([*arguments, *words]) == status
    made = readme.read_text()
    assert (made[:8], made[-6:]) == ("# Title\n", "\nrest\n")
    assert "\n".join(line for line in made.splitlines() if line.startswith("|")) in text


def test_recorded_cells_are_not_run_again_elsewhere_and_say_where_they_come_from(
    elsewhere, place, monkeypatch, capsys
):
    forbid_runs(monkeypatch)
    capsys.readouterr()
    assert compare.main([f"{__name__}:TOY", "--json", *options(place)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert compare.main([f"{__name__}:TOY", "--json", *options(elsewhere)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == rows
    assert re.search(
        r"8 results recorded \d+-\d+-\d+ with ccenv .+ cores, vectors of .+: test_compare:Diary; ",
        said.err,
    )


@pytest.mark.parametrize("images_are_here", [True, False])
def test_recording_again_from_recorded_cells_changes_nothing(
    images_are_here, elsewhere, monkeypatch
):
    forbid_runs(monkeypatch)
    if not images_are_here:
        monkeypatch.setattr(recorded, "data_checksum", lambda dataset: None)
        monkeypatch.setattr("ccenv.runs.store.provenance.data_checksum", lambda dataset: None)
    path = elsewhere / "results" / "toy.json"
    before = path.read_bytes()
    assert compare.main([f"{__name__}:TOY", "--record", *options(elsewhere)]) == 0
    assert path.read_bytes() == before


def edit_recording(folder, change):
    path = folder / "results" / "toy.json"
    content = json.loads(path.read_text())
    change(content)
    content["cells"] = [sealed(cell) for cell in content["cells"]]
    path.write_text(json.dumps(content))


def test_a_sweep_goes_on_where_another_machine_stopped_and_keeps_what_it_recorded(
    elsewhere, capsys
):
    def lose_two(content):
        content["cells"] = [c for c in content["cells"] if c["label"] != "block_dropout 0.1"]

    edit_recording(elsewhere, lose_two)
    assert compare.main([f"{__name__}:TOY", "--record", *options(elsewhere)]) == 0
    assert re.search(r"2 of 8 runs missing, about [\d.]+ minutes", capsys.readouterr().err)
    assert len(list((elsewhere / "logs").rglob("result.json"))) == 2
    cells = json.loads((elsewhere / "results" / "toy.json").read_text())["cells"]
    assert [(c["label"], c["seed"]) for c in cells] == [
        (label, seed)
        for label in ("diary", "reinforce", "block_dropout 0.1", "block_dropout 0.9")
        for seed in (0, 1)
    ]


def test_a_run_that_another_sweep_recorded_is_not_run_again(elsewhere, monkeypatch):
    forbid_runs(monkeypatch)
    same = dataclasses.replace(TOY, name="same", cells=TOY.cells[1:3], seeds=TOY.seeds[:1])
    monkeypatch.setattr(sys.modules[__name__], "SAME", same, raising=False)
    (elsewhere / "results" / "speed.json").write_text('{"kind": "kernels", "rows": []}')
    (elsewhere / "results" / "old.json").write_text('{"cells": [{"label": "of an old form"}]}')
    assert compare.main([f"{__name__}:SAME", "--record", *options(elsewhere)]) == 0
    first, second = (
        json.loads((elsewhere / "results" / f"{name}.json").read_text())["cells"]
        for name in ("toy", "same")
    )
    names = ("label", "seed", "settings", "evaluations", "curve")
    kept = [[cell[name] for name in names] for cell in second]
    assert [cell[:2] for cell in kept] == [[cell.label, TOY.seeds[0]] for cell in same.cells]
    assert all(cell in [[c[name] for name in names] for c in first] for cell in kept)


def change_data(content):
    for cell in content["cells"]:
        cell["data"]["probe"] = "0" * 24


def break_cell(content):
    del content["cells"][0]["settings"]


def impossible_error(content):
    content["cells"][3]["evaluations"][0]["error"] = 1.5


def contradict_costs(content):
    content["cells"][3]["evaluations"][1]["macs"] /= 2


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (contradict_costs, "toy.json, 'reinforce' of seed 1: expected total_cost of the evaluatio"),
        (change_data, "expected the data set 'probe' with checksum 000000000000000000000000"),
        (break_cell, "cell 0 of"),
        (impossible_error, "error of the evaluation test, sampled in 0..1, got 1.5"),
        (None, "expected JSON in"),
    ],
)
def test_recorded_results_of_other_data_or_edited_by_hand_are_refused(
    change, hint, elsewhere, capsys
):
    if change is None:
        (elsewhere / "results" / "toy.json").write_text('{"cells": [')
    else:
        edit_recording(elsewhere, change)
    assert compare.main([f"{__name__}:TOY", "--record", *options(elsewhere)]) == 2
    assert hint in capsys.readouterr().err
    assert not (elsewhere / "logs").exists()


def test_what_was_recorded_on_other_data_is_shown_and_what_runs_here_stands_apart(
    elsewhere, capsys
):
    def of_other_data(content):
        change_data(content)
        # Of the last row only one seed is recorded.
        del content["cells"][-1]

    labels = [cell.label for cell in TOY.cells]
    here = recorded.data_checksum("probe")[:8]
    edit_recording(elsewhere, of_other_data)
    for command in (["--no-run"], [], ["--no-recorded"], ["--no-run"]):
        assert compare.main([f"{__name__}:TOY", "--json", *command, *options(elsewhere)]) == 0
        said = capsys.readouterr()
        rows = {row["label"]: (row["dataset"], row["seeds"]) for row in json.loads(said.out)}
        expected = dict.fromkeys(labels, ("probe", [0, 1]))
        if command != ["--no-recorded"]:
            assert "7 of them are on another 'probe' (checksum 00000000) than the" in said.err
            last = labels[-1]
            expected[last] = "probe", [0]
            if not command or list((elsewhere / "logs").rglob("result.json")):
                expected[f"{last}, data {here}"] = f"probe+{here}", [1]
        assert rows == expected


@pytest.mark.parametrize("digest", [NO_SOURCE, "0" * 12, None])
def test_recorded_rows_of_a_users_agent_are_taken_of_the_same_code_alone(
    digest, elsewhere, monkeypatch, capsys
):
    def claim(content):
        for cell in content["cells"][:2]:
            cell["code"] = {f"{__name__}:Diary": digest or cell["code"][f"{__name__}:Diary"]}

    edit_recording(elsewhere, claim)
    if digest == NO_SOURCE:
        # Such as of a class that was typed into a terminal: it has no file.
        monkeypatch.setattr("ccenv.runs.config.plan.inspect.getmodule", lambda found: None)
        monkeypatch.setattr("ccenv.runs.config.plan.inspect.getsource", lambda found: "")
    assert compare.main([f"{__name__}:TOY", "--no-run", *options(elsewhere)]) == 0
    said = capsys.readouterr().err
    assert ("2 recorded results were not taken" in said) == (digest is not None)
    assert ("2 runs have no result yet: diary (seeds 0, 1)" in said) == (digest is not None)
    read = 8 if digest is None else 6
    assert f"were read from {elsewhere / 'results'} ({read});" in said
    # Recording again keeps what other code recorded.
    before = json.loads((elsewhere / "results" / "toy.json").read_text())["cells"]
    assert compare.main([f"{__name__}:TOY", "--no-run", "--record", *options(elsewhere)]) == 0
    assert json.loads((elsewhere / "results" / "toy.json").read_text())["cells"] == before


def test_a_sweep_stopped_in_between_keeps_what_was_recorded_and_goes_on(
    place, tmp_path, monkeypatch, capsys
):
    def stop_after_one(tasks, workers):
        yield do_task(tasks[0])
        raise KeyboardInterrupt

    arguments = [f"{__name__}:TOY", "--record", *options(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(pool, "run_all", stop_after_one)
        assert compare.main(arguments) == frame.INTERRUPTED
    assert "goes on with what is missing" in capsys.readouterr().err
    # Each is recorded as it ends.
    assert len(json.loads((tmp_path / "results" / "toy.json").read_text())["cells"]) == 1
    forbid_runs(monkeypatch)
    assert compare.main([*arguments, "--no-run"]) == 0
    assert "7 runs have no result yet: diary (seeds 1); reinforce" in capsys.readouterr().err


def test_a_failing_cell_loses_no_other(place, tmp_path, capsys):
    assert compare.main([f"{__name__}:BROKEN", *options(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert re.search(r"^dense .* 1$", captured.out, re.MULTILINE)
    at_once, at_the_end = captured.err.split("\n\nfailed: ", 1)[0], captured.err
    assert re.search(r"failed: .*, seed 0: .*a bug of mine", at_once)
    assert "File" not in at_once
    assert re.search(r'^  File ".*test_compare.py", line \d+', at_the_end, re.MULTILINE)
    assert "1 of 2 runs failed" in captured.err


def test_a_miniature_is_run_and_leaves_no_record(place, tmp_path, capsys):
    given = [f"{__name__}:RULES", "--miniature", *options(tmp_path)]
    assert compare.main(given) == 0
    shown = capsys.readouterr().out
    assert "oracle 0.5" in shown
    assert "oracle 2" not in shown
    assert len(list((tmp_path / "logs").rglob("result.json"))) == 1
    assert not (tmp_path / "results").exists()
    assert compare.main([*given, "--record"]) == 2
    assert "leave one out" in capsys.readouterr().err


def test_all_shards_give_the_table_of_one_machine(place, tmp_path, capsys):
    def table(name, *arguments):
        """Rows without what a clock says."""
        given = [f"{__name__}:RULES", "--json", *options(tmp_path / name), *arguments]
        assert compare.main(given) == 0
        rows = json.loads(capsys.readouterr().out or "[]")
        return [{name: value for name, value in row.items() if name != "speedup"} for row in rows]

    here = table("local")
    assert [row["seeds"] for row in here] == [[0], [0]]
    table("shards", "--shard=2/2")
    assert len(list((tmp_path / "shards").rglob("result.json"))) == 1
    assert table("shards", "--shard=1/2") == here


def test_shards_share_out_all_runs_whatever_is_missing_when_they_look():
    made = make_jobs(SWEEPS["quickstart"], "nowhere")
    shards = [Shard(number, 4) for number in range(1, 5)]
    whole = [{job.plan.key() for job in shard.share(made, made)} for shard in shards]
    assert sum(map(len, whole)) == len(set().union(*whole)) == len({j.plan.key() for j in made})
    assert max(map(len, whole)) - min(map(len, whole)) <= 1
    missing = random.Random(0).sample(made, len(made) // 2)
    for shard, own in zip(shards, whole, strict=True):
        assert {job.plan.key() for job in shard.share(made, missing)} <= own


def test_a_crashing_process_takes_no_other_task_along():
    tasks = [RunRequest(label, "agent", {}) for label in ("crash", "well", "fine")]
    errors = {o.task.label: o.error for o in run_all(tasks, 2, crash_or_not)}
    assert errors == {"crash": "its process died, twice", "well": None, "fine": None}


@pytest.mark.parametrize(
    ("sweep", "hint"),
    [
        (f"{__name__}:TOYS", "did you mean 'TOY'?"),
        (f"{__name__}:TYPO", "did you mean 'learning_rate'?"),
        (f"{__name__}:Diary", "to be a Sweep or a Study"),
    ],
)
def test_a_wrong_sweep_gets_the_nearest_right_name_and_leaves_nothing(
    sweep, hint, place, tmp_path, capsys
):
    assert compare.main([sweep, *options(tmp_path)[:2]]) == 2
    assert hint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


SCRIPT = """
from ccenv.runs.engine.pool import RunRequest, run_all
print("script")
for outcome in run_all([RunRequest("row", "nobody", {"seed": 0})], 1):
    print(outcome.error.splitlines()[-1])
"""


def test_a_script_that_runs_at_once_is_not_run_again_by_its_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    first, told = ended.stdout.splitlines()
    assert first == "script"
    assert "unknown agent 'nobody'" in told
