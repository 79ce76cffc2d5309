"""The rule of a gate in tensor operations alone chooses what its policy chooses."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ccenv.agents.rloo import Rloo
from ccenv.base.masks import as_mask
from ccenv.deploy.mask_rules import MaskRule
from ccenv.mdp.observations import LAST_SYMBOLS
from ccenv.simulator.settings import make_simulator

PRICED = {"context": {"cost_weight": [0.1, 0.5]}, "reward": "accuracy_minus_cost"}


def agent_of(size, hidden, more):
    own = {"num_blocks": (6,), "block_size": 2, "observation": LAST_SYMBOLS, "group_size": 2}
    simulator = make_simulator(40, {"dataset": "digits", "weights": "cotrain"} | own | more)
    simulator.seed(0)
    agent = Rloo(simulator, num_kept=2, hidden_units=hidden, embedding_size=size)
    with torch.no_grad():
        for linear in (m for m in agent.scores.modules() if isinstance(m, torch.nn.Linear)):
            linear.bias.normal_(generator=torch.Generator().manual_seed(1))
    return agent


@pytest.mark.parametrize("more", [{}, PRICED])
@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize("size", [0, 5, "one_hot"])
def test_it_chooses_what_the_policy_chooses_for_as_many_products(size, hidden, more):
    agent = agent_of(size, hidden, more)
    seen = agent.simulator.begin()[:, : agent.scores.lengths[0]]
    (chooser,) = agent.choosers(drawn=False)
    rule = MaskRule(chooser, 6)
    with FlopCounterMode(display=False) as counter:
        found = rule(seen, None)
    assert torch.equal(found, as_mask(agent.act(seen, 0), 6))
    # The counter takes a product and a sum for two.
    assert counter.get_total_flops() == 2 * len(seen) * sum(agent.policy_macs)
