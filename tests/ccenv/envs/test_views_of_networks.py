"""Action views on gates of unequal numbers of blocks, on units and on exits: rows alike in all."""

import numpy as np
import pytest
import torch

import ccenv
from ccenv.data import load_split
from ccenv.data.toy import probe_exit_masks, probe_unit_masks
from ccenv.envs.actions import VectorActionView

PROBES = {"probe-residual": probe_unit_masks, "probe-exit": probe_exit_masks}


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
