"""Laws of shards: all of them together give the table of one machine."""

import argparse
import json
import random
import sys

import pytest

from ccenv.runs.commands import compare
from ccenv.runs.engine import pool
from ccenv.runs.engine.jobs import Shard, make_jobs, read_shard
from ccenv.runs.sweeps import SWEEPS

TOY = """
from ccenv.tasks.probe import PROBE_SETTINGS
from ccenv.runs.sweeps import Cell, Sweep

TOY = Sweep(
    name="toy-shards",
    description="Toys.",
    settings=PROBE_SETTINGS | {"images": 128, "batch_size": 64},
    cells=(
        Cell("reinforce", "reinforce"),
        Cell("block_dropout 0.5", "block_dropout", {"keep_probability": 0.5}),
    ),
    minutes=0.1,
    seeds=(0,),
)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a toy sweep."""
    (tmp_path / "toy_shards.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pool, "run_all", lambda tasks, workers: pool.run_here(tasks))
    # Figures take longer than the runs.
    monkeypatch.setattr("ccenv.runs.report.publish.publish", lambda *given: "")
    monkeypatch.setattr("ccenv.runs.report.over_seeds.write_sweep", lambda *given: "")
    yield tmp_path
    sys.modules.pop("toy_shards", None)


def table(place, capsys, name, *arguments):
    """Rows of the toy sweep without what a clock says, run in a folder of its own."""
    folders = [f"--{kind}-dir={place / name / kind}" for kind in ("log", "report", "results")]
    assert compare.main(["toy_shards:TOY", "--json", *folders, *arguments]) == 0
    out = capsys.readouterr().out
    rows = json.loads(out) if out else []
    return [{name: value for name, value in row.items() if name != "speedup"} for row in rows]


def test_all_shards_give_the_table_of_one_machine(place, capsys):
    here = table(place, capsys, "local")
    assert [row["label"] for row in here] == ["reinforce", "block_dropout 0.5"]
    assert [row["seeds"] for row in here] == [[0], [0]]
    table(place, capsys, "shards", "--shard=2/2")
    assert len(list((place / "shards").rglob("result.json"))) == 1
    assert table(place, capsys, "shards", "--shard=1/2") == here


def test_shards_share_out_all_runs_whatever_is_missing_when_they_look():
    jobs = make_jobs(SWEEPS["quickstart"], "nowhere")
    shards = [Shard(number, 4) for number in range(1, 5)]
    whole = [{job.plan.key() for job in shard.share(jobs, jobs)} for shard in shards]
    assert sum(map(len, whole)) == len(set().union(*whole)) == len({j.plan.key() for j in jobs})
    assert max(map(len, whole)) - min(map(len, whole)) <= 1
    missing = random.Random(0).sample(jobs, len(jobs) // 2)
    for shard, own in zip(shards, whole, strict=True):
        assert {job.plan.key() for job in shard.share(jobs, missing)} <= own


def test_a_shard_out_of_range_is_refused():
    for text in ("0/3", "4/3", "1/0", "1", "a/b", "-1/2"):
        with pytest.raises(argparse.ArgumentTypeError, match="i from 1 to n"):
            read_shard(text)
