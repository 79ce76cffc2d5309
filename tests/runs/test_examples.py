"""Laws of the examples: short scripts, on a page, that run from an empty folder."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "runs" / "examples").glob("*.py"))
TINY = {
    "sb3_ppo": {"steps": 64, "num_envs": 16},
    "cleanrl_ppo": {"updates": 1, "num_envs": 16},
    "reinforce": {"updates": 1, "num_envs": 16},
    "dqn_menu": {"steps": 64, "num_envs": 4},
    "gate_torchvision": {"epochs": 0, "images": 64, "side": 8, "most": 96},
    "three_rewards": {"images": 64, "seeds": 2, "batch_size": 32, "latency": False},
    "own_data": {"images": 64},
}
"""Example -> arguments of its `main` with which it takes a second."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs_from_an_empty_folder(path, tmp_path, monkeypatch):
    assert len(path.read_text().splitlines()) < 80
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # Runs name functions of a script by its module.
    monkeypatch.setitem(sys.modules, path.stem, module)
    with torch.random.fork_rng():
        spec.loader.exec_module(module)
        results = module.main(**TINY[path.stem])
    for result in results if isinstance(results, list) else [results]:
        error = result.error if isinstance(result.error, float) else result.error.mean
        assert 0 <= error <= 1


def test_the_page_lists_every_example():
    page = (ROOT / "runs" / "docs" / "examples.md").read_text()
    assert all(f"(../examples/{path.name})" in page for path in EXAMPLES)
