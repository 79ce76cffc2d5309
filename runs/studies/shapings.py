"""Reward shapings side by side: every agent that learns from a reward, under every reward.

All rewards of one number are here but `balance`, which came later; `vector` is none. Left
out are agents that learn from the network's loss whatever the reward is (`condnet`, `topk`,
`straight_through` and others), and `reinforce_lagrangian` under a reward whose price moves as its
own multiplier does. `rloo` tosses a coin for each block, for k of n blocks cost the same under
every reward.

Weights are frozen: the network is the same under every shaping, what differs comes from the masks,
and `potential` and `latency` are fitted to a network that knows something. In a trial (MNIST,
`reinforce` under `accuracy_minus_cost`, 100,000 images) co-training took twice the time (7.5
against 3.7 seconds) and ended elsewhere on the front: 7.6 % error at a cost of 0.07 against 5.3 and
6.1 % at 0.11. On MNIST there are two gated layers, so that a bill which comes at the end differs
from one which comes layer by layer.

Arguments were chosen on validation images, one shaping at a time: of the values in `TRIED` those
with the largest mean front area, (1 - total cost) * (1 - error), of `reinforce` and `sb3_a2c` with
one seed that the sweeps do not use (100) and 50,000 images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep, dropout_rates, plain

Arguments = Mapping[str, float]

ANNEALED: Mapping[str, Any] = {"anneal": True}
AGENTS: Mapping[str, Mapping[str, Any]] = {
    "reinforce": ANNEALED,
    "actor_critic": {},
    "rloo": {"draw": "independent"},
    "sb3_a2c": ANNEALED,
    "sb3_ppo": ANNEALED,
    "sb3_trpo": ANNEALED,
}
"""Agents and their settings; learning rates fall to 0 where an agent can do that."""
PRICES = tuple({"cost_weight": price} for price in (0.3, 1.0, 3.0))
LIMITS = tuple({"cost_limit": limit} for limit in (0.05, 0.1, 0.2))
MOVING = ("lagrangian", "pid_lagrangian")
"""Rewards with a price of their own that moves."""
TRIED: Mapping[str, Sequence[Arguments]] = {
    "accuracy_minus_cost": PRICES,
    "nll_minus_cost": (*PRICES, {"cost_weight": 10.0}),
    "negative_nll": ({},),
    "terminal_cost": PRICES,
    "blockdrop": tuple({"wrong_penalty": penalty} for penalty in (0.5, 1.0, 5.0)),
    "skipnet": tuple({"skip_weight": weight} for weight in (0.1, 0.3, 1.0, 3.0, 10.0)),
    "budget_hinge": tuple(
        {"cost_limit": limit, "cost_weight": weight}
        for limit in (0.05, 0.1)
        for weight in (1.0, 3.0)
    ),
    "target_density": tuple(
        {"target_density": target, "sparsity_weight": weight}
        for target in (0.05, 0.1, 0.2)
        for weight in (0.1, 1.0, 10.0)
    ),
    "potential": PRICES,
    "lagrangian": LIMITS,
    "pid_lagrangian": LIMITS,
    "latency": PRICES,
}
"""Reward -> the arguments among which validation images chose."""
ON_DIGITS: Mapping[str, Arguments] = {
    "accuracy_minus_cost": {"cost_weight": 3.0},
    "nll_minus_cost": {"cost_weight": 10.0},
    "negative_nll": {},
    "terminal_cost": {"cost_weight": 3.0},
    "blockdrop": {"wrong_penalty": 0.5},
    "skipnet": {"skip_weight": 3.0},
    "budget_hinge": {"cost_limit": 0.05, "cost_weight": 3.0},
    "target_density": {"target_density": 0.2, "sparsity_weight": 1.0},
    "potential": {"cost_weight": 3.0},
    "lagrangian": {"cost_limit": 0.05},
    "pid_lagrangian": {"cost_limit": 0.05},
    "latency": {"cost_weight": 3.0},
}
"""Chosen for the digits."""
ON_MNIST: Mapping[str, Arguments] = {
    "accuracy_minus_cost": {"cost_weight": 1.0},
    "nll_minus_cost": {"cost_weight": 10.0},
    "negative_nll": {},
    "terminal_cost": {"cost_weight": 1.0},
    "blockdrop": {"wrong_penalty": 0.5},
    "skipnet": {"skip_weight": 10.0},
    "budget_hinge": {"cost_limit": 0.05, "cost_weight": 1.0},
    "target_density": {"target_density": 0.2, "sparsity_weight": 1.0},
    "potential": {"cost_weight": 1.0},
    "lagrangian": {"cost_limit": 0.1},
    "pid_lagrangian": {"cost_limit": 0.1},
    "latency": {"cost_weight": 1.0},
}
"""Chosen for MNIST."""


def matrix(chosen: Mapping[str, Arguments]) -> tuple[Cell, ...]:
    """One row for each agent under each reward, and random masks to hold them against.

    Args:
        chosen: reward -> its arguments.
    """
    return (
        *plain("dense"),
        *dropout_rates(0.05, 0.1, 0.2, 0.3, 0.5),
        *(
            shaped(agent, reward, arguments, **settings)
            for reward, arguments in chosen.items()
            for agent, settings in AGENTS.items()
        ),
        *(
            shaped(
                "reinforce_lagrangian",
                reward,
                arguments,
                cost_limit=arguments.get("cost_limit", chosen["lagrangian"]["cost_limit"]),
            )
            for reward, arguments in chosen.items()
            if reward not in MOVING
        ),
    )


def shaped(agent: str, reward: str, arguments: Arguments, **settings: Any) -> Cell:
    """An agent under a reward."""
    given = {"reward": reward, "reward_kwargs": dict(arguments), **settings}
    return Cell(f"{agent}, {reward}", agent, given)


SHAPINGS = Sweep(
    name="shapings",
    description=(
        "Digits, frozen weights, two gated layers of 10 blocks of 16: six agents under every "
        "reward of one number, and one with a cost limit of its own; 50,000 images."
    ),
    settings={"images": 50_000, "eval_every": 10_000},
    cells=matrix(ON_DIGITS),
    minutes=27,
    seeds=(0, 1, 2, 3, 4),
)

SHAPINGS_MNIST = Sweep(
    name="shapings-mnist",
    description=(
        "MNIST, frozen weights, two gated layers of 16 blocks of 16 ReLU units: six agents under "
        "every reward of one number, and one with a cost limit of its own; 2 epochs."
    ),
    settings={
        "env": "BlockSelectionMNIST-v0",
        "num_blocks": (16, 16),
        "activation": "relu",
        "images": 100_000,
        "eval_every": 20_000,
    },
    cells=matrix(ON_MNIST),
    minutes=29,
    seeds=(0, 1, 2, 3, 4),
)
