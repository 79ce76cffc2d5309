"""Action views on gates of unequal numbers of blocks, on units and on exits: rows alike in all."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from torch import nn

import ccenv
from ccenv.data import load_split
from ccenv.data.toy import probe_exit_masks, probe_unit_masks
from ccenv.envs.actions import ActionView, VectorActionView
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.stages.linear import BlockLinear
from ccenv.networks.vision.conv import BlockConv2d
from ccenv.networks.vision.residual import ResidualUnit

BLOCKS = (4, 1, 1, 3)


def mixed(input_shape=(1, 8, 8), num_classes=10):
    """Groups of channels, an exit, a unit and neighbouring units."""
    side = input_shape[1]
    parts = {
        "groups": BlockConv2d(input_shape[0], 8, 3, 4, stride=2),
        "exit": Exit(nn.Sequential(nn.Flatten(), nn.Linear(8 * side**2 // 4, num_classes))),
        "unit": ResidualUnit(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())),
        "units": BlockLinear(8 * side**2 // 4, 3, 4),
    }
    example = torch.zeros(1, *input_shape)
    network = GatedSequential(nn.Identity(), parts, nn.Linear(12, num_classes), example)
    network.has_own_weights = True
    return network


MIXED = {"dataset": "digits", "network": f"{__name__}:mixed"}
VIEWS = [
    ("multi_discrete", {}),
    ("box", {}),
    ("menu", {}),
    ("menu", {"menu": "single"}),
    ("menu", {"menu": "all"}),
    ("menu", {"menu": "random", "size": 7, "seed": 1}),
]
PROBES = {"probe-residual": probe_unit_masks, "probe-exit": probe_exit_masks}


def scalar_env(**settings):
    return gym.make("BlockSelection-v0", **(MIXED | settings))


@pytest.mark.parametrize(("code", "settings"), VIEWS)
def test_checkers_are_silent_on_gates_of_unequal_numbers_of_blocks(code, settings):
    sb3_check_env(ActionView(scalar_env().unwrapped, code, **settings), warn=True)
    envs = ccenv.BlockSelectionVectorEnv(3, **MIXED)
    ccenv.check_vector_env(VectorActionView(envs, code, **settings))


@pytest.mark.parametrize(("code", "settings"), VIEWS)
def test_rows_are_alike_in_all_three_views_and_stopped_ones_compute_nothing(code, settings):
    rows = 8
    envs = VectorActionView(ccenv.BlockSelectionVectorEnv(rows, **MIXED), code, **settings)
    envs.action_space.seed(2)
    actions = [envs.action_space.sample() for _ in BLOCKS]
    envs.reset(seed=0, options={"indices": list(range(rows))})
    infos, rewards = [], np.zeros(rows)
    for action in actions:
        _, reward, _, _, info = envs.step(action)
        infos.append(info)
        rewards += reward
    venv = ActionViewVecEnv(BlockSelectionVecEnv(rows, **MIXED), code, **settings)
    venv.set_options({"indices": list(range(rows))})
    venv.reset()
    for action in actions:
        *_, last = venv.step(action)
    env = ActionView(scalar_env(), code, **settings)
    for row in range(rows):
        env.reset(seed=0, options={"indices": [row]})
        results = [env.step(action[row]) for action in actions]
        for (*_, one), info in zip(results, infos, strict=True):
            np.testing.assert_array_equal(one["mask"], info["mask"][row])
            assert one["macs"] == info["macs"][row]
        assert sum(result[1] for result in results) == pytest.approx(float(rewards[row]), abs=1e-5)
        assert last[row]["episode"]["r"] == pytest.approx(float(rewards[row]), abs=1e-5)
    stopped = ~infos[1]["mask"][:, 0]
    assert not any(info["mask"][stopped].any() for info in infos[2:])
    assert all((info["cost"][stopped] == 0).all() for info in infos[2:])


@pytest.mark.parametrize("code", ["multi_discrete", "box", "menu"])
@pytest.mark.parametrize("network", PROBES)
def test_the_best_masks_can_be_said_and_earn_the_most_in_every_view(code, network):
    rows = 32
    settings = {"dataset": "probe", "network": network, "reward_kwargs": {"cost_weight": 0.5}}
    envs = VectorActionView(ccenv.BlockSelectionVectorEnv(rows, **settings), code)
    best = PROBES[network](load_split("probe", "train").batch(torch.arange(rows))[0])

    def earned(masks):
        envs.reset(seed=0, options={"indices": list(range(rows))})
        total = np.zeros(rows)
        for mask in masks:
            # The menu of one block is: skip it, keep it.
            bits = mask.numpy()[:, 0] if code == "menu" else mask.numpy().astype(np.float32)
            _, reward, *_, info = envs.step(bits.astype(np.int64) if code != "box" else bits)
            total += reward
            np.testing.assert_array_equal(info["mask"][:, 0] & ~mask.numpy()[:, 0], False)
        return total

    most = earned(best)
    for gate in range(len(best)):
        other = [~mask if i == gate else mask for i, mask in enumerate(best)]
        assert (earned(other) <= most + 1e-6).all()


def test_a_spec_of_a_network_with_sizes_of_its_own_survives_json():
    sizes = {"depth": 8, "width": 4}
    settings = {"network": "resnet", "network_kwargs": sizes, "weights": "cotrain"}
    env = ActionView(scalar_env(**settings), "menu")
    spec = gym.envs.registration.EnvSpec.from_json(json.dumps(json.loads(env.spec.to_json())))
    again = gym.make(spec)
    assert again.action_space == env.action_space == gym.spaces.Discrete(2)
    first = [one.reset(seed=4)[0] for one in (env, again)]
    np.testing.assert_array_equal(*first)


@pytest.mark.parametrize("as_dataset", [True, False])
def test_a_data_set_of_ones_own_goes_through_the_vector_environment_with_any_network(as_dataset):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(60, 1, 8, 8, generator=generator)
    labels = torch.arange(60) % 3
    given = {
        split: torch.utils.data.TensorDataset(images, labels)
        if as_dataset
        else (images.numpy(), labels.numpy())
        for split in ("train", "validation", "test")
    }
    settings = {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}}
    envs = ccenv.BlockSelectionVectorEnv(4, dataset=given, weights="cotrain", **settings)
    ccenv.check_vector_env(envs)
