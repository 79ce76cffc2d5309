"""A comparison of reward shapings as a sweep: agent, rewards, cost weights, seeds -> its rows.

The same as a file:

    seeds = [0, 1, 2]

    [[rows]]
    agent = "reinforce"
    label = "{reward}, cost weight {reward_kwargs.cost_weight}"
    settings = { images = 50_000 }
    grid.reward = ["accuracy_minus_cost", "potential", "my_rewards:gentle"]
    grid.reward_kwargs.cost_weight = [0.25, 0.5, 1.0]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.base.registry import resolve
from ccenv.base.values import shown
from ccenv.rewards import REWARDS, reward_parameters
from ccenv.runs.config.sweep import Sweep
from ccenv.runs.config.sweep_file import USUAL_SEEDS, sweep_of

LABEL = "{reward}, cost weight {reward_kwargs.cost_weight}"
MINUTES = 0.05
"""Of a run on two cores, for a forecast: that of digits."""


def shapings_sweep(
    agent: str,
    settings: Mapping[str, Any],
    rewards: Sequence[str],
    cost_weights: Sequence[float],
    num_seeds: int | None = None,
) -> Sweep:
    """A row for each reward and cost weight.

    Args:
        agent: a name in `ccenv.agents.AGENTS` or `module:Class`.
        settings: of every run, by name.
        rewards: at least two, names in `ccenv.rewards.REWARDS` or `module:name`; each takes a
            `cost_weight`.
        cost_weights: at least two, at least 0, without a unit.
        num_seeds: at least two, from 0 on; None for three.

    Raises:
        ValueError: if a name is unknown, a reward has no cost weight, or there are too few.

    >>> rewards = ["accuracy_minus_cost", "potential"]
    >>> sweep = shapings_sweep("reinforce", {"images": 512}, rewards, [0.5, 1.0])
    >>> [cell.label for cell in sweep.cells][:2], sweep.num_runs
    (['accuracy_minus_cost, cost weight 0.5', 'accuracy_minus_cost, cost weight 1'], 12)
    """
    for reward in rewards:
        check_has_cost_weight(reward)
    axes: dict[str, Sequence[Any]] = {"rewards": rewards, "cost_weights": cost_weights}
    for name, values in axes.items():
        are_different = all(one not in values[:place] for place, one in enumerate(values))
        if isinstance(values, str) or len(values) < 2 or not are_different:
            raise ValueError(f"expected {name} as a list of two or more, got {shown(values)}")
    if num_seeds is not None and num_seeds < 2:
        raise ValueError(
            f"expected at least 2 seeds, got {num_seeds}: shapings are compared by paired seeds"
        )
    names = [agent, *rewards]
    content: dict[str, Any] = {
        "name": "-".join(["shapings", *(name.rpartition(":")[2] for name in names)]),
        "description": f"{agent} under {len(rewards)} rewards, {len(cost_weights)} cost weights "
        "each.",
        "seeds": list(range(num_seeds) if num_seeds else USUAL_SEEDS),
        "rows": [
            {
                "agent": agent,
                "label": LABEL,
                "settings": dict(settings),
                "grid": {
                    "reward": list(rewards),
                    "reward_kwargs": {"cost_weight": list(cost_weights)},
                },
            }
        ],
    }
    content["minutes"] = MINUTES * len(rewards) * len(cost_weights) * len(content["seeds"])
    # Whoever names a module here trusts it.
    return sweep_of(content, [name.partition(":")[0] for name in names if ":" in name])


def check_has_cost_weight(reward: str) -> None:
    """Refuses a reward that no cost weight trades error for cost in."""
    parameters = reward_parameters(resolve(reward, REWARDS, "reward"))
    if parameters is not None and "cost_weight" not in parameters:
        raise ValueError(
            f"expected rewards with a cost_weight, got {reward!r}, whose arguments are: "
            f"{', '.join(parameters) or 'none'}; give it rows of its own in a sweep's file"
        )
