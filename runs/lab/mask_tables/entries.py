"""Recorded policies of the challenge: lab entries [TABLE ...] -> files in the package.

Linear policies, each learned on a table's inputs to learn from at three cost weights: by the exact
gradient, and by agents of this package and of Stable-Baselines3. Their greedy masks are recorded.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ccenv.agents.reinforce import Reinforce
from ccenv.agents.rloo import Rloo
from ccenv.base.registry import check_names
from ccenv.envs.tables.sb3 import BlockSelectionTableVecEnv
from ccenv.mask_table import (
    COST_WEIGHTS,
    MaskTable,
    all_masks,
    gradient,
    number_of,
    value,
    write_entry,
)
from ccenv.mask_table.environment import table_simulator
from ccenv.mask_table.exact import FLOATS
from ccenv.mask_table.table import ENTRIES, SHIPPED, shipped_table
from ccenv.runs.commands.frame import program
from ccenv.runs.lab.mask_tables.learning import Adam, Policies, standardised

EPISODES = 400_000
"""Of an agent, at each cost weight."""
UPDATES, RATE, LOOKED_AT = 150, 0.02, 3
"""By the exact gradient; after how many of them the policy is judged."""
START = 1.0
"""Logits of the best static mask, where the exact gradient starts."""
BATCH = 512
SHARP = 1000.0
"""By which logits are multiplied: files hold greedy masks, without coins."""


def by_exact_gradient(table: MaskTable, cost_weight: float) -> FLOATS:
    """Climbs the exact mean reward of most inputs, from the best static mask.

    The policy that earns most on the other inputs is taken: later ones are overfitted.
    """
    look, outcomes = table.look.astype(np.float64), table.outcomes()
    seen = standardised(look)[0]
    is_fitted = np.arange(len(look)) % 4 > 0
    fitted, others = outcomes.of_images(is_fitted), outcomes.of_images(~is_fitted)
    earned = fitted.scores.mean(axis=0) - cost_weight * fitted.costs
    static = all_masks(table.header.menus)[earned.argmax()]
    policies = Policies([np.zeros((1, seen.shape[1], table.header.num_units))])
    policies.parameters[0][0, -1] = np.where(static, START, -START)
    adam, best = Adam(np.array([RATE])), (-np.inf, policies.parameters[0][0])
    for update in range(UPDATES):
        slopes = gradient(fitted, cost_weight, policies.keep(seen[None, is_fitted])[0], of="logits")
        adam.climb(policies, policies.slopes(seen[None, is_fitted], slopes[None]))
        if update % LOOKED_AT == 0:
            is_kept = policies.logits(seen[None, ~is_fitted])[0] > 0
            numbers = number_of(table.header.menus, is_kept)
            reward = float(value(others, cost_weight, numbers=numbers).mean())
            best = max(best, (reward, policies.parameters[0][0]), key=lambda one: one[0])
    # The same map of looks as they are stored.
    mean, deviation = look.mean(axis=0), np.maximum(look.std(axis=0), 1e-6)
    scaled = best[1][:-1] / deviation[:, None]
    found: FLOATS = np.concatenate([scaled, best[1][-1:] - mean @ scaled])
    return found


def by_agent(kind: Callable[..., Any], **settings: Any) -> Callable[[MaskTable, float], FLOATS]:
    """An agent of this package that decides all blocks in one step."""

    def learned(table: MaskTable, cost_weight: float) -> FLOATS:
        simulator = table_simulator(
            table,
            num_images=BATCH,
            choosing=1,
            score="right",
            by_gate=False,
            group_size=8,
            reward="accuracy_minus_cost",
            reward_kwargs={"cost_weight": cost_weight},
        )
        simulator.seed(0)
        agent = kind(simulator, **settings)
        agent.learn(EPISODES)
        return affine(agent.scores.layers[0][-1])

    return learned


def by_ppo(table: MaskTable, cost_weight: float) -> FLOATS:
    """Stable-Baselines3's PPO with a linear policy."""
    from stable_baselines3 import PPO

    env = BlockSelectionTableVecEnv(BATCH, table=table, cost_weight=cost_weight)
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=1,
        batch_size=BATCH,
        gamma=1.0,
        learning_rate=lambda left: 0.01 * left,
        stats_window_size=BATCH,
        policy_kwargs={"net_arch": {"pi": [], "vf": [64]}},
        seed=0,
        device="cpu",
    )
    model.learn(EPISODES)
    return affine(model.policy.action_net)


def affine(layer: torch.nn.Module) -> FLOATS:
    """A linear layer as the form `linear` of an entry: [in + 1, out]."""
    assert isinstance(layer, torch.nn.Linear)
    rows = torch.cat([layer.weight.T, layer.bias[None]]).detach().double()
    found: FLOATS = rows.numpy()
    return found


LEARNERS: dict[str, Callable[[MaskTable, float], FLOATS]] = {
    "linear, exact gradient": by_exact_gradient,
    "linear, reinforce": by_agent(Reinforce, anneal=True),
    "linear, rloo": by_agent(Rloo, sampling="independent", diversity_weight=0.0),
    "linear, SB3 PPO": by_ppo,
}
"""Name in the standings -> (table, cost weight) -> the policy's rows."""


@program("lab entries")
def main(arguments: Sequence[str] | None = None) -> int:
    """Learns the recorded policies and writes their files; see --help."""
    parser = argparse.ArgumentParser(
        prog="lab entries", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(SHIPPED)}; default: all")
    options = parser.parse_args(arguments)
    check_names(options.tables, SHIPPED, "table")
    torch.set_num_threads(1)
    ENTRIES.mkdir(exist_ok=True)
    for name in options.tables or SHIPPED:
        table = shipped_table(name)
        for learner, learn in LEARNERS.items():
            path = ENTRIES / f"{name}-{re.sub(r'[^a-z0-9]+', '-', learner.lower())}.safetensors"
            policies = {
                weight: {"linear": (SHARP * learn(table, weight)).astype(np.float32)}
                for weight in COST_WEIGHTS
            }
            write_entry(path, learner, table.header.weights, policies)
            path.chmod(0o644)
            print(path.name, flush=True)
    return 0
