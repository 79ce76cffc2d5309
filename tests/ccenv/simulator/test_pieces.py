"""Law of pieces: a data set that is judged in pieces gets the verdict that it gets at once."""

import pytest
import torch

from ccenv.agents.reinforce import Reinforce
from ccenv.data.toy import PROBE_SETTINGS
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.simulator.evaluate import by_class, evaluate


def test_a_verdict_does_not_depend_on_how_many_inputs_are_judged_at_a_time():
    env = BlockSelectionVectorEnv(8, **PROBE_SETTINGS)
    env.reset(seed=0)
    agent = Reinforce(env, seed=0)
    whole, *others = (evaluate(env, agent, sample=False, batch_size=n) for n in (1000, 7, 64))
    for pieces in others:
        assert pieces.error == whole.error
        assert pieces.nll == pytest.approx(whole.nll, rel=1e-6)
        assert pieces.compute_cost == pytest.approx(whole.compute_cost, rel=1e-12)
        assert all(torch.equal(a, b) for a, b in zip(pieces.masks, whole.masks, strict=True))


def test_means_of_classes_do_not_depend_on_how_many_images_are_summed_up_at_a_time(monkeypatch):
    draws = torch.Generator().manual_seed(0)
    values, labels = torch.rand(50, 3, generator=draws), torch.arange(50).remainder(4)
    expected = torch.stack([*(values[labels == c].mean(dim=0) for c in range(4)), torch.zeros(3)])
    for part in (7, 50, 1000):
        monkeypatch.setattr("ccenv.simulator.evaluate.PART", part)
        torch.testing.assert_close(by_class(values, labels, 5), expected)
