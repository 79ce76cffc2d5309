"""TorchRL's view is the vector environment in tensors."""

import re
from pathlib import Path

import pytest
import torch

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from tests.ccenv.episodes import DOCUMENTS

envs = pytest.importorskip("torchrl.envs", reason='needs pip install "ccenv[torchrl]"')
TensorDict = pytest.importorskip("tensordict").TensorDict
BlockSelectionEnv = pytest.importorskip("ccenv.torchrl").BlockSelectionEnv

ROWS = 6


@pytest.mark.parametrize("settings", [PROBE_SETTINGS, DOCUMENTS | {"fast_memory": 2}])
def test_torchrls_own_checker_passes_and_every_step_is_the_vector_environments(settings):
    env = BlockSelectionEnv(ROWS, **settings)
    envs.check_env_specs(env)
    env.set_seed(3)
    vector = ccenv.BlockSelectionVectorEnv(ROWS, **settings)
    seen, _ = vector.reset(seed=3)
    now = env.reset()
    generator = torch.Generator().manual_seed(0)
    for _ in range(2 * vector.simulator.num_steps):
        assert torch.equal(now["observation"], torch.from_numpy(seen))
        mask = torch.rand(env.action_spec.shape, generator=generator) < 0.5
        # Floats of 0 and 1 are what distributions of bits sample.
        stepped, now = env.step_and_maybe_reset(now.set("action", mask.float()))
        seen, reward, ended, _, info = vector.step(mask.numpy())
        after = stepped["next"]
        assert torch.equal(after["reward"][:, 0], torch.from_numpy(reward))
        assert torch.equal(after["done"][:, 0], torch.from_numpy(ended))
        for name in ("mask", "cost", "compute_cost"):
            expected = torch.from_numpy(info[name]).reshape(ROWS, -1)
            assert torch.equal(after[name], expected), name
        if ended.all():
            assert torch.equal(after["correct"][:, 0], torch.from_numpy(info["correct"]))
            assert torch.equal(after["observation"], torch.from_numpy(info["final_obs"]))


def test_what_is_no_mask_and_what_resets_some_rows_is_refused():
    env = BlockSelectionEnv(ROWS, **PROBE_SETTINGS)
    now = env.reset()
    with pytest.raises(ValueError, match="0 and 1"):
        env.step(now.set("action", torch.full(env.action_spec.shape, 0.5)))
    with pytest.raises(ValueError, match=r"got NaN, .*at 0\.5; sample"):
        env.step(now.set("action", torch.full(env.action_spec.shape, torch.nan)))
    some = torch.zeros(ROWS, 1, dtype=torch.bool)
    some[0] = True
    with pytest.raises(ValueError, match="all rows"):
        env.reset(now.set("_reset", some))


@pytest.mark.slow
def test_the_pages_ppo_of_torchrl_learns():
    page = Path(__file__).parents[3] / "runs" / "docs" / "howto" / "torchrl.md"
    (block,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    rollout = names["rollout"]
    greedy = rollout["logits"] > 0
    assert (rollout["action"].bool() != greedy).any(), "no exploration"
    actor = names["actor"]
    with pytest.raises(TypeError, match="or evaluate a function such as"):
        ccenv.evaluate(names["env"], actor)
    found = ccenv.evaluate(names["env"], lambda seen: actor(TensorDict(observation=seen))["action"])
    assert found.error < 0.2
    first, last = names["history"][0], names["history"][-1]
    assert last > first + 0.1
