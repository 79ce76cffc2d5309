"""Laws of sweeps on many machines: every engine and all shards together give one table."""

import argparse
import contextlib
import importlib.util
import json
import pickle
import random
import sys
import threading
import time
from pathlib import Path

import pytest

from ccenv.base.modules_here import modules_of
from ccenv.runs.commands import compare
from ccenv.runs.engine.jobs import Shard, make_jobs, read_shard
from ccenv.runs.engine.machines import engines, remote
from ccenv.runs.engine.machines.pool import Task, do_task
from ccenv.runs.sweeps import SWEEPS
from ccenv.tasks.probe import PROBE_SETTINGS

ROOT = Path(__file__).parents[3]
TOY = """
import dataclasses

from ccenv.tasks.probe import PROBE_SETTINGS
from ccenv.runs.sweeps import Cell, Sweep

TOY = Sweep(
    name="toy-engines",
    description="Toys.",
    settings=PROBE_SETTINGS | {"images": 128, "batch_size": 64},
    cells=(
        Cell("reinforce", "reinforce"),
        Cell("block_dropout 0.5", "block_dropout", {"keep_probability": 0.5}),
    ),
    minutes=0.1,
    seeds=(0,),
)
LONG = dataclasses.replace(
    TOY, name="toy-long", settings=TOY.settings | {"images": 32_768}, seeds=(0, 1, 2)
)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a toy sweep, found by this process and those it starts."""
    (tmp_path / "toy_engines.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), str(ROOT), *sys.path]))
    monkeypatch.setattr(engines, "run_all", lambda tasks, workers: closing(map(do_task, tasks)))
    # Figures take longer than the runs.
    monkeypatch.setattr("ccenv.runs.report.publish.publish", lambda *given: "")
    monkeypatch.setattr("ccenv.runs.report.over_seeds.write_sweep", lambda *given: "")
    yield tmp_path
    sys.modules.pop("toy_engines", None)


def closing(outcomes):
    yield from outcomes


def loopback(setup):
    """An engine whose far machine is this process: all that travels is pickled."""

    def run(tasks):
        for task in tasks:
            order = pickle.loads(pickle.dumps(remote.order_of(task, setup.terms)))
            yield remote.accept(task, pickle.loads(pickle.dumps(remote.carry_out(order))))

    return contextlib.nullcontext(engines.Engine(1, "loopback", run))


@pytest.fixture
def with_loopback(monkeypatch):
    monkeypatch.setitem(engines.ENGINES, "loopback", f"{__name__}:loopback")
    monkeypatch.setitem(engines.USUAL, "loopback", "sent")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def table(place, capsys, name, *arguments, sweep="TOY"):
    """Rows of a toy sweep without what a clock says, run in a folder of its own."""
    folders = [f"--{kind}-dir={place / name / kind}" for kind in ("log", "report", "results")]
    status = compare.main([f"toy_engines:{sweep}", "--json", *folders, *arguments])
    out, said = capsys.readouterr()
    if status:
        raise AssertionError(said)
    rows = json.loads(out) if out else []
    return [{name: value for name, value in row.items() if name != "speedup"} for row in rows]


@pytest.mark.usefixtures("with_loopback")
def test_pool_shards_and_far_machines_give_the_same_table(place, capsys):
    here = table(place, capsys, "local")
    assert [row["label"] for row in here] == ["reinforce", "block_dropout 0.5"]
    assert [row["seeds"] for row in here] == [[0], [0]]
    for way in ("sent", "shared"):
        option = f"--engine-option=results={way}"
        assert table(place, capsys, way, "--engine=loopback", option) == here
    (sent,) = (place / "sent").rglob("reinforce/**/seed-0")
    local = place / "local" / sent.relative_to(place / "sent")
    # Event files are named after the moment.
    names = [
        {p.name for p in folder.rglob("*") if "tfevents" not in p.name} for folder in (sent, local)
    ]
    assert names[0] == names[1]
    assert not list((place / "sent").rglob(".arriving*"))
    table(place, capsys, "shards", "--shard=2/2")
    assert len(list((place / "shards").rglob("result.json"))) == 1
    assert table(place, capsys, "shards", "--shard=1/2") == here


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("ray",), ("slurm", "--engine-option=cluster=local")], ids=["ray", "slurm"]
)
def test_an_engine_of_a_library_gives_the_table_of_the_pool(options, place, capsys):
    library = {"ray": "ray", "slurm": "submitit"}[options[0]]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed: pip install 'ccenv[{options[0]}]'")
    there = table(place, capsys, "there", "--jobs=2", f"--engine={options[0]}", *options[1:])
    assert there == table(place, capsys, "local")


@pytest.mark.slow
def test_a_node_of_a_cluster_that_is_killed_costs_nothing_but_time(place, capsys):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install 'ccenv[ray]'")
    from ray.cluster_utils import Cluster

    # The driver's node runs nothing, so that runs are under way on both of the others.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    killed = []

    def kill(node):
        while not list((place / "there").rglob("result.json")):
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)
        killed.append(len(list((place / "there").rglob("result.json"))))

    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        killer = threading.Thread(target=kill, args=(nodes[1],), daemon=True)
        killer.start()
        address = f"--engine-option=address={cluster.address}"
        there = table(place, capsys, "there", "--engine=ray", address, sweep="LONG")
        killer.join(60)
    finally:
        cluster.shutdown()
    assert killed
    assert killed[0] < 6
    assert there == table(place, capsys, "local", sweep="LONG")


def test_a_far_worker_finds_modules_of_the_drivers_working_folder(place):
    (place / "here").mkdir()
    text = "from ccenv.agents.rloo import Rloo\n\n\nclass Mine(Rloo): ...\n"
    (place / "here" / "agent_of_here.py").write_text(text)
    with modules_of(str(place / "here")), remote.terms(None) as given:
        pass
    small = PROBE_SETTINGS | {"images": 64, "batch_size": 64, "log_dir": str(place)}
    order = remote.Order(Task("mine", "agent_of_here:Mine", small), given, None)
    assert remote.carry_out(order).error is None
    sys.modules.pop("agent_of_here")


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


@pytest.mark.usefixtures("with_loopback")
def test_a_worker_of_another_version_or_without_the_folder_is_refused(place, capsys, monkeypatch):
    with remote.terms(place / "shared") as given:
        assert remote.refusal(given) is None
    assert "results=sent" in remote.refusal(given)
    own = remote.own_version()
    monkeypatch.setattr(remote, "refusal", lambda given: "expected ccenv (this), got (that)")
    with pytest.raises(AssertionError, match=r"ccenv compare: expected ccenv \(this\), got"):
        table(place, capsys, "other", "--engine=loopback")
    assert not list((place / "other").rglob("result.json"))
    monkeypatch.undo()
    monkeypatch.setattr(remote, "own_version", lambda: "0.0.1, source 0")
    assert f"expected ccenv ({own})" in remote.refusal(given)


def test_an_engine_that_is_not_there_is_told_in_a_line(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    for engine, told in (
        ("ray", r"expected ray to be installed.*pip install 'ccenv\[ray\]'$"),
        ("slurm", r"expected submitit to be installed.*pip install 'ccenv\[slurm\]'$"),
        ("rai", "unknown engine 'rai'.*ray"),
    ):
        with pytest.raises(AssertionError, match=told):
            table(place, capsys, "none", f"--engine={engine}")
