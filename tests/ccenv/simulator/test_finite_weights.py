"""Law: no reward is paid for masks of a network whose weights are not finite."""

import numpy as np
import pytest
import torch

from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.networks.core.parameters import FiniteWeights
from tests.ccenv.episodes import masks_for, seeded

# Co-trained weights need no pre-training; each view also takes its usual way, that of frozen ones.
SETTINGS = {
    "cotrain": {"dataset": "synthetic", "num_blocks": (3, 2), "block_size": 2},
    "frozen": PROBE_SETTINGS,
}


def started(**settings):
    """A simulator, and a way to take its step at a gate."""
    simulator = seeded(4, **settings)
    masks = masks_for(simulator, density=1.0)
    return simulator, lambda gate: simulator.step(masks[gate])


def in_place(layer):
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan


def through_data(layer):
    layer.bias.data.fill_(torch.inf)


def replaced(layer):
    layer.weight = torch.nn.Parameter(torch.full_like(layer.weight, torch.nan))


@pytest.mark.parametrize("weights", SETTINGS)
@pytest.mark.parametrize("spoil", [in_place, through_data, replaced])
def test_weights_that_are_not_finite_are_refused_at_the_next_first_step(spoil, weights):
    simulator, step = started(**SETTINGS[weights], weights=weights)
    simulator.begin()
    if spoil is not through_data:
        for gate in range(simulator.num_layers):
            step(gate)
    # The last layer's: no observation of the first gate shows them.
    spoil(simulator.network.head_layers[-1])
    simulator.begin()
    with pytest.raises(ValueError, match=r"expected finite weights of the network, got \d+"):
        step(0)


def test_a_network_that_diverges_while_it_learns_is_refused_before_the_next_reward():
    simulator, step = started(**SETTINGS["cotrain"], weights="cotrain")
    simulator.begin()
    for gate in range(simulator.num_layers):
        step(gate)
    with torch.no_grad():
        simulator.network.head_layers[-1].weight.fill_(torch.nan)
    assert np.isnan(simulator.update_network()["network_loss"])
    simulator.begin()
    with pytest.raises(ValueError, match="expected finite weights of the network"):
        step(0)


def test_weights_are_read_only_after_they_have_changed(monkeypatch):
    reads = []
    monkeypatch.setattr(
        "ccenv.networks.core.parameters.check_finite",
        lambda tensors, what, checks: reads.append(what),
    )
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).eval()
    weights = FiniteWeights(network)
    weights.check()
    network(torch.ones(1, 2))
    weights.check()
    assert len(reads) == 1
    for change in (
        lambda: network[0].weight.detach().add_(1),
        lambda: network[1].running_mean.zero_(),
        lambda: network.load_state_dict(network.state_dict()),
        lambda: setattr(network[0], "bias", torch.nn.Parameter(torch.ones(2))),
    ):
        change()
        weights.check()
        weights.check()
        reads.pop()
        assert len(reads) == 1
    network[0].weight.detach().add_(1)
    weights.accept()
    weights.check()
    assert len(reads) == 1


def test_weights_made_in_inference_mode_are_checked_too():
    with torch.inference_mode():
        network = torch.nn.Linear(2, 2)
    FiniteWeights(network).check()
