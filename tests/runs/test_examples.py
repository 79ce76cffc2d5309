"""Laws of the examples: short scripts, on a page, that run from an empty folder."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from ccenv.annexes.tasks.catalogue import TASKS
from ccenv.runs.comparing import Comparison
from ccenv.runs.engine import pool

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "runs" / "examples").glob("*.py"))
LEARNED = {
    "sb3_ppo": ("steps", 20_480, -0.42),
    "maskable_ppo": ("steps", 20_480, -0.42),
    "dqn_menu": ("steps", 60_000, -0.4),
    "cleanrl_ppo": ("updates", 60, 0.85),
    "reinforce": ("updates", 80, 0.85),
    "tianshou_dqn": ("epochs", 2, -0.48),
    "rllib_ppo": ("iterations", 8, -0.48),
}
"""Example -> how long its `main` trains here, and a return that needs learning.

Random masks of one rate reach -0.5 at best in the first of the two rewards, 0.75 in the second.
"""
LIBRARIES = {
    "maskable_ppo": "sb3_contrib",
    "tianshou_dqn": "tianshou",
    "rllib_ppo": "ray.rllib",
    "optuna_search": "optuna",
}
"""Example -> what it needs beyond this package's own requirements."""
TINY = {
    "gate_torchvision": {"epochs": 0, "images": 64, "side": 8, "most": 96},
    "three_rewards": {
        "cost_weights": (0.5, 2.0),
        "images": 64,
        "seeds": 2,
        "batch_size": 32,
        "latency": False,
    },
    "own_data": {"images": 64},
    "optuna_search": {"trials": 2, "images": 64},
}
"""Example -> arguments of its `main` with which it takes a second."""


def called(path, monkeypatch, **arguments):
    """What `main` of an example gives."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # Runs name functions of a script by its module.
    monkeypatch.setitem(sys.modules, path.stem, module)
    monkeypatch.syspath_prepend(str(path.parent))
    with torch.random.fork_rng():
        spec.loader.exec_module(module)
        return module.main(**arguments)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_is_run_here(path):
    assert len(path.read_text().splitlines()) <= 80
    assert (path.stem in LEARNED) != (path.stem in TINY)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LIBRARIES)) for name in LEARNED],
)
def test_an_example_that_trains_a_policy_learns_what_none_has_before(name, tmp_path, monkeypatch):
    library = LIBRARIES.get(name, "ccenv")
    pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    length, enough, bound = LEARNED[name]
    path = next(path for path in EXAMPLES if path.stem == name)
    before, after = (called(path, monkeypatch, **{length: n}) for n in (0, enough))
    assert before.mean_return < bound < after.mean_return


@pytest.mark.parametrize("name", TINY)
def test_an_example_runs_from_an_empty_folder(name, tmp_path, monkeypatch):
    pytest.importorskip(LIBRARIES.get(name, "ccenv"))
    path = next(path for path in EXAMPLES if path.stem == name)
    monkeypatch.chdir(tmp_path)
    # Here: a process for each run takes longer than the run.
    monkeypatch.setattr(pool, "run_all", lambda tasks, workers: pool.run_here(tasks))
    results = called(path, monkeypatch, **TINY[name])
    for result in results if isinstance(results, list) else [results]:
        if isinstance(result, Comparison):
            assert len(result.rows) == 6
            assert not result.failures
            continue
        if name == "optuna_search":
            assert len(result.values) == len(result.params) == 2
            continue
        error = result.error if isinstance(result.error, float) else result.error.mean
        assert 0 <= error <= 1


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("cleanrl_ppo", {"updates": 8, "env_id": "ccenv:suite/depth-2-v0"}),
        ("sb3_ppo", {"steps": 256, "task": "depth-2"}),
    ],
)
def test_a_script_of_another_library_is_scored_by_the_name_of_a_task(
    name, own, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TASKS, "depth-2", dataclasses.replace(TASKS["depth-2"], episodes=128))
    path = next(path for path in EXAMPLES if path.stem == name)
    called(path, monkeypatch, num_envs=16, **own)
    found = json.loads(Path("runs/suite/depth-2/0/score.json").read_text())
    assert found["episodes"] == 128
    assert all(-0.5 <= one <= 0.875 for one in found["returns"])


def test_the_page_lists_every_example():
    page = (ROOT / "runs" / "docs" / "examples.md").read_text()
    assert all(f"(../examples/{path.name})" in page for path in EXAMPLES)
