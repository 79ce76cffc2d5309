"""Laws of menus of masks: each is judged as a policy that always takes it, and none twice."""

import pytest
import torch

import ccenv
from ccenv.simulator.menus import judged
from ccenv.simulator.simulator import Simulator

LAYERS = {"dataset": "digits", "num_blocks": (3, 2), "block_size": 4, "weights": "cotrain"}
EXITS = {"dataset": "digits", "network": "early_exit", "weights": "cotrain"}


def simulator_of(settings):
    simulator = Simulator(50, **settings)
    simulator.seed(0)
    return simulator


class Always:
    """A policy of one mask."""

    def __init__(self, masks):
        self.masks, self.policy_macs = masks, [0] * len(masks)

    def act(self, observation, layer, generator=None):
        return self.masks[layer].expand(len(observation), -1).clone()


@pytest.mark.parametrize("settings", [LAYERS, EXITS], ids=["layers", "exits"])
def test_a_mask_of_a_menu_is_judged_as_a_policy_that_always_takes_it(settings):
    simulator = simulator_of(settings)
    generator = torch.Generator().manual_seed(1)
    menu = [
        torch.randint(2, (4, blocks), generator=generator).bool() for blocks in simulator.num_blocks
    ]
    table = ccenv.evaluate_menu(simulator, menu, batch_size=64)
    assert {part.dtype for part in table} == {torch.float64}
    for number in range(4):
        alone = ccenv.evaluate(simulator, Always([part[number] for part in menu]), sample=False)
        assert table.errors[:, number].mean().item() == pytest.approx(alone.error, abs=1e-9)
        assert table.nll[:, number].mean().item() == pytest.approx(alone.nll, rel=1e-6)
        assert table.compute_cost[:, number].mean().item() == pytest.approx(alone.compute_cost)


def test_what_masks_have_in_common_up_to_a_gate_is_computed_once():
    simulator = simulator_of(LAYERS)
    steps, own = [], simulator.network.step

    def counted(gate, *arguments, **settings):
        steps.append(gate)
        return own(gate, *arguments, **settings)

    simulator.network.step = counted
    batch = simulator.data.batch(torch.arange(10))
    rows = ([1, 0, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1])
    masks = torch.tensor(rows).bool()
    found = judged(simulator.network, batch, masks)
    assert found.shape == (3, 10, 4)
    assert (steps.count(0), steps.count(1)) == (2, 4)


@pytest.mark.parametrize(
    ("menu", "message"),
    [
        ([[[1, 0]], [[1, 0, 1]]], r"num_blocks=\[3, 2\], got shapes \[\[1, 2\], \[1, 3\]\]"),
        ([[[1, 0, 1]]], r"got shapes \[\[1, 3\]\]"),
        ([[[1, 0, 1]] * 2, [[1, 0]]], r"got shapes \[\[2, 3\], \[1, 2\]\]"),
        ([], r"got shapes \[\]"),
        ([[[1, 0, 2]], [[1, 0]]], "0 or 1, got"),
    ],
)
def test_a_menu_with_masks_of_another_gate_is_refused(menu, message):
    with pytest.raises(ValueError, match=message):
        ccenv.evaluate_menu(simulator_of(LAYERS), menu)
