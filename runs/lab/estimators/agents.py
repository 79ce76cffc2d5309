"""Agents of `ccenv.agents` on the table: (tables) -> share of the gap closed on unseen inputs.

Each agent is built as it is on a simulator that looks answers up, in the form of one step in which
all units are decided (`by_gate=False`), and is held to a budget by the reward `lagrangian`. What it
reaches is no sample: its chances of all masks are summed. Beside them a contextual bandit over the
best static masks. Runs are stopped by inputs that neither fit nor judge.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream_seed
from ccenv.mask_table import MaskTable
from ccenv.mask_table.environment import mask_chances, table_simulator
from ccenv.runs.lab.estimators.fitted import Data, data_of
from ccenv.runs.lab.mask_tables.at_cost import CostPoint
from ccenv.runs.lab.mask_tables.learning import LinUCB
from ccenv.runs.lab.table_studies import interval_of_each

BANDIT = "LinUCB, menu"
PRICE = {"initial_price": 1.5, "price_scale": 1.0, "quadratic_weight": 10.0, "smoothing": 0.5}
"""Of the reward `lagrangian`, whose objective is the log-likelihood."""
WIDE = {"hidden_units": 32, "learning_rate": 0.03}
"""Of the package's own agents: few updates ask for larger steps than their defaults."""
KINDS: dict[str, dict[str, Any]] = {
    "reinforce": {"settings": WIDE},
    "actor_critic": {"settings": WIDE},
    "rloo": {"settings": {**WIDE, "draw": "independent", "num_kept": 4}, "group_size": 8},
    "disarm": {"settings": WIDE, "group_size": 2},
    "imitation": {"settings": {**WIDE, "menu_size": 512}},
    "sb3_a2c": {"settings": {}},
    "sb3_ppo": {"settings": {}},
}
"""Agent -> its settings that differ from its defaults, and masks of an input."""


@dataclass(frozen=True)
class Sizes:
    """How much is learned."""

    seeds: int = 10
    """runs that are judged."""
    budgets: tuple[float, ...] = (0.5, 0.35)
    """of mean compute cost."""
    choosing: int = 768
    """last inputs of the fitting table, which choose."""
    judging: int = 1280
    """first inputs of the other table, which judge."""
    look_ups: int = 512
    """masks of an update."""
    updates: tuple[int, ...] = (50, 100)
    """after which a run may have stopped."""
    searched: int = 64
    """inputs of an update of `imitation`, which tries all masks of each."""
    searches: tuple[int, ...] = (16, 32)
    """updates after which `imitation` may have stopped."""
    agents: tuple[str, ...] = field(default=(*KINDS, BANDIT))
    """who learns."""


@dataclass(frozen=True)
class Tables:
    """What agents learn by, and what judges them."""

    fitting: MaskTable
    """inputs that fit and choose."""
    judging: MaskTable
    """inputs that judge."""
    data: Data
    """the same as outcomes and looks."""

    @staticmethod
    def made(fitting: MaskTable, judging: MaskTable, sizes: Sizes) -> "Tables":
        """Takes the first inputs that judge."""
        judging = judging.first(min(sizes.judging, judging.header.num_images))
        return Tables(fitting, judging, data_of(fitting, judging, sizes.choosing))


def agent_rows(tables: Tables, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A row for each budget and agent, over seeds."""
    for budget in sizes.budgets:
        for name in sizes.agents:
            points = [judged(tables, sizes, budget, name, seed) for seed in range(sizes.seeds)]
            yield {
                "budget": budget,
                "agent": name,
                "seeds": len(points),
                **interval_of_each(points),
            }


def judged(tables: Tables, sizes: Sizes, budget: float, name: str, seed: int) -> dict[str, float]:
    """What one run reaches on the inputs that judge, stopped by those that choose.

    Returns:
        Numbers of a `CostPoint` where masks are drawn, and `mode_cost` and `mode_gap` where the
        likeliest mask of each input is taken.
    """
    if name == BANDIT:
        return bandit_point(tables.data, sizes, budget, seed)
    kind = KINDS[name]
    simulator = simulator_for(tables, sizes, budget, name, kind)
    simulator.seed(seed)
    own = {"cost_limit": budget} if name == "imitation" else {}
    agent = resolve(name, AGENTS, "agent")(simulator, seed=seed, **kind["settings"], **own)
    best: list[Any] = [-np.inf, None]
    updates = sizes.searches if name == "imitation" else sizes.updates
    count = 0

    def look(images_seen: int, scalars: Mapping[str, float]) -> None:
        nonlocal count
        count += 1
        if count in updates:
            chances = mask_chances(simulator, agent, "validation")
            closed = tables.data.choose.place(masks=chances).gap_closed
            if closed > best[0]:
                best[:] = closed, {k: v.detach().clone() for k, v in agent.parameters().items()}

    agent.learn(updates[-1] * simulator.num_images // simulator.group_size, look)
    agent.load_parameters(best[1])
    chances = mask_chances(simulator, agent, "test")
    drawn = tables.data.judge.place(masks=chances)
    return both(drawn, tables.data.judge.place(numbers=chances.argmax(axis=1)))


def both(drawn: CostPoint, mode: CostPoint) -> dict[str, float]:
    """Numbers of drawn masks, and what the likeliest ones differ in."""
    return {**vars(drawn), "mode_cost": mode.cost, "mode_gap": mode.gap_closed}


def simulator_for(
    tables: Tables, sizes: Sizes, budget: float, name: str, kind: Mapping[str, Any]
) -> Any:
    """An agent's environment over the tables."""
    reward: dict[str, Any] = {
        "reward": "lagrangian",
        "reward_kwargs": {"cost_limit": budget, **PRICE},
    }
    if name == "imitation":
        # It finds a price itself, beside the reward's own.
        reward = {"reward": "negative_nll"}
    rows = sizes.searched if name == "imitation" else sizes.look_ups
    return table_simulator(
        tables.fitting,
        tables.judging,
        num_images=rows,
        choosing=sizes.choosing,
        by_gate=False,
        group_size=kind.get("group_size", 1),
        **reward,
    )


WAYS = tuple((ridge, doubt) for ridge in (30.0, 300.0) for doubt in (1.0,))
"""Ridge and doubt of a bandit; a seed takes what chooses best."""


def bandit_point(data: Data, sizes: Sizes, budget: float, seed: int) -> dict[str, float]:
    """What a contextual bandit reaches; it draws nothing once it has learned."""
    fitting, choosing, judging = data.looks["linear"]
    menu, best = np.array(data.menu), (-np.inf, np.empty(0, dtype=np.int64))
    for ridge, doubt in WAYS:
        generator = np.random.default_rng(stream_seed(seed, f"bandit {budget} {ridge} {doubt}"))
        bandit = LinUCB.made(data.fit.costs[menu], fitting.shape[1], ridge, doubt)
        for update in range(1, sizes.updates[-1] + 1):
            rows = generator.integers(len(fitting), size=sizes.look_ups)
            looks = fitting[rows]
            arms = bandit.tried(looks, bandit.price_for(looks, budget))
            bandit.learn(looks, arms, data.fit.scores[rows, menu[arms]].astype(np.float64))
            if update not in sizes.updates:
                continue
            price = bandit.price_for(fitting, budget)
            point = data.choose.place(numbers=menu[bandit.chosen(choosing, price)])
            if point.gap_closed > best[0]:
                best = point.gap_closed, menu[bandit.chosen(judging, price)]
    point = data.judge.place(numbers=best[1])
    return both(point, point)
