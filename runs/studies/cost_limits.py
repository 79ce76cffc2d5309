"""Cost limits: which methods end at the wanted mean compute cost, and at what price.

The report's table "Cost limits" holds mean training costs against limits. A limit of 1 is above
the cost of any policy: there the price, which starts at 0.5, has to fall to 0. `lagrangian` comes
plain and with its quadratic term: where a limit of 0.4 asks for a price of 0.01, plain dual ascent
lags or swings by two or three per cent, whatever its rate.
"""

from collections.abc import Mapping
from typing import Any

from ccenv.runs.plan.sweep import Cell, Sweep

LIMITS = (0.1, 0.2, 0.4)
START = 0.5
"""Price that a limit of 1 has to drive to 0."""
LEARNERS = ("reinforce", "sb3_ppo")
ANNEALED: Mapping[str, Any] = {"anneal": True}
"""Learning rates fall to 0, so that the last policy is no swing about the limit."""


def under(reward: str, note: str = "", **arguments: Any) -> tuple[Cell, ...]:
    """Both learners under a reward with a moving price, at every limit.

    Args:
        reward: its name.
        note: told after it.
        **arguments: its own, but for the limit.
    """
    return tuple(
        Cell(
            f"{agent}, {reward}{note}, {limit:g}",
            agent,
            {"reward": reward, "reward_kwargs": given, "cost_limit": limit, **ANNEALED},
        )
        for agent in LEARNERS
        for limit, given in (
            *((limit, dict(arguments)) for limit in LIMITS),
            (1.0, {**arguments, "initial_price": START}),
        )
    )


def multiplied() -> tuple[Cell, ...]:
    """The agent with a multiplier of its own, at every limit."""
    agent = "reinforce_lagrangian"
    return (
        *(Cell(f"{agent}, {limit:g}", agent, {"cost_limit": limit}) for limit in LIMITS),
        Cell(f"{agent}, 1", agent, {"cost_limit": 1.0, "initial_multiplier": START}),
    )


COST_LIMITS = Sweep(
    name="cost-limits",
    description=(
        "Digits, frozen weights, 400,000 images: moving prices that end at a mean compute cost of "
        "0.1, 0.2 and 0.4, and fall to 0 under a limit of 1."
    ),
    settings={"images": 400_000, "eval_every": 80_000},
    cells=(
        *under("lagrangian", " plain"),
        *under("lagrangian", price_learning_rate=0.1, quadratic_weight=0.3),
        *under("pid_lagrangian"),
        *multiplied(),
    ),
    minutes=16,
)
