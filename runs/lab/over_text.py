"""Decisions over time on real text: what is left to gain, and who gains it -> nats and prices.

Frozen networks read sequences of the bundled text. At each position a gate may be skipped, which
saves its price and changes what later positions read; or one of several experts computes, and one
that is not in fast memory costs its price (`over_text_experts`). Rules are searched on validation
sequences. The bound is the best of all masks with the future known: no policy has it.
"""

import argparse
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from torch import Tensor

from ccenv.agents.base import Agent
from ccenv.agents.rloo import Rloo
from ccenv.annexes.agents.gumbel import Gumbel
from ccenv.annexes.agents.straight_through import StraightThrough
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.mdp import dynamics
from ccenv.runs.lab import over_text_experts as experts
from ccenv.runs.lab.experiment import Experiment, Options, Row, formatted
from ccenv.runs.lab.over_text_experts import Judged
from ccenv.runs.lab.over_text_rules import (
    COUNTING,
    SEARCHED,
    TAUGHT_BY,
    Choose,
    costs_of,
    fitted,
    follow,
    play,
    rules_of,
    same,
    score_on,
)
from ccenv.runs.stats.intervals import mean_interval
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import Rollout
from ccenv.simulator.simulator import Simulator

ROWS, COPIES, FEW_COPIES = 256, 16, 4
"""Episodes of a rollout, and how many of them are of one sequence, where these are compared: few
where the network learns from them as well."""
FEW_ROWS = 64
"""Episodes of a rollout where a gradient passes through them, in one step each."""
OF_RLOO = {
    "num_kept": 1,
    "diversity_weight": 0.0,
    "num_epochs": 4,
    "num_minibatches": 4,
}


@dataclass(frozen=True)
class Text:
    """A frozen network over a text, whose gates have one block each, or which has experts."""

    length: int
    network: str
    sizes: dict[str, Any]
    fast_memory: int | None = None
    """experts that fit, of which one computes each position; None: of gates."""
    updates: bool = False
    """whether its gate updates a state: rules then count positions since, and `RELAXED` learn."""

    def simulator(self, price: float, rows: int = ROWS) -> Simulator:
        """Its environment, see `settings`."""
        simulator = Simulator(rows, **self.settings(price))
        simulator.seed(0)
        return simulator

    def settings(self, price: float) -> dict[str, Any]:
        """Of the environment, where all that gates may skip costs so many nats a position.

        Or each expert that is loaded.
        """
        if self.fast_memory is not None:
            paid = {"cost_weight": 0.0, "load_weight": price * self.sizes["num_experts"]}
            return {**self.weighted(paid), "fast_memory": self.fast_memory}
        free = Simulator(8, **self.weighted({"cost_weight": 1.0}))
        free.seed(0)
        return self.weighted({"cost_weight": price / share_of_gates(free)})

    def weighted(self, weights: dict[str, float]) -> dict[str, Any]:
        """Settings with these weights of the reward."""
        return {
            "dataset": f"python_bundled@{self.length}",
            "network": self.network,
            "network_kwargs": self.sizes,
            "episode": "sequence",
            "reward": "nll_minus_cost",
            "reward_kwargs": weights,
        }


ROUTED = {"width": 48, "num_heads": 4, "num_experts": 16, "ffn_width": 48}
"""`lm` of one layer with a router."""
TEXTS = {
    "updates": Text(16, "skip_gru", {"width": 48, "embedding_size": 16}, updates=True),
    "layers": Text(8, "lm", {"width": 48, "num_heads": 4, "num_experts": 1, "gates": "layers"}),
    "patches": Text(
        16, "patches", {"width": 48, "num_heads": 4, "ffn_width": 96, "context": 4, "patch_size": 8}
    ),
    "experts, 2 of 16": Text(32, "ccenv.runs.lab.over_text_experts:RoutedText", ROUTED, 2),
    "experts, 4 of 16": Text(32, "ccenv.runs.lab.over_text_experts:RoutedText", ROUTED, 4),
}
"""Updates of the state of `skip_gru`, layers of `lm`, refreshes of a patch's summary, experts."""


def share_of_gates(simulator: Simulator) -> float:
    """Largest share of the dense network's MACs that the masks of a position can save."""
    kept, skipped = (costs_of(simulator, same(kept)) for kept in (True, False))
    return kept - skipped


def myopic(simulator: Simulator, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Returns, and costs in all, where each gate does what pays best at its own position: [n] each.

    The label is known. Gates of a position behind the one that is decided are kept.
    """
    judged: Any = simulator.on_split(simulator.split, len(indices))
    judged.begin(indices)
    paid, costs = torch.zeros(len(indices)), torch.zeros(len(indices))
    for _ in range(judged.num_steps):
        worth = []
        for kept in (True, False):
            mask = torch.full((len(indices), 1), kept)
            state, pay_so_far = judged.state, 0.0
            while state.layer < judged.num_layers:
                with torch.no_grad():
                    state, outcome = dynamics.transition(judged.network, state, mask)
                pay_so_far = pay_so_far + judged.reward.paid(outcome, judged.checks)[1]
                mask = torch.ones_like(mask)
            worth.append(torch.as_tensor(pay_so_far))
        step = judged.step((worth[0] >= worth[1])[:, None])
        paid, costs = paid + step.reward, costs + step.outcome.layer_cost
    return paid, costs


def bound(simulator: Simulator, count: int) -> tuple[Tensor, Tensor]:
    """Log-likelihoods and shares of the price of every mask of some sequences: [count, masks]."""
    steps = simulator.num_steps
    masks = torch.tensor([*itertools.product((False, True), repeat=steps)])
    likely, spent = [], []
    for index in range(count):
        parts = []
        for rows in masks.split(8192):
            judged: Any = simulator.on_split(simulator.split, len(rows))
            judged.begin(torch.full((len(rows),), index))
            taken = [judged.step(rows[:, step : step + 1]) for step in range(steps)]
            nll = sum(one.outcome.log_likelihood for one in taken)
            parts.append((nll, sum(one.outcome.layer_cost for one in taken)))
        likely.append(torch.cat([one for one, _ in parts]))
        spent.append(torch.cat([one for _, one in parts]))
    return torch.stack(likely), torch.stack(spent)


class OwnStep(Rloo):
    """Learns as if a decision changed nothing later: each is paid by its own step alone."""

    def update(self, rollout: Rollout) -> dict[str, float]:
        """See `Agent.update`."""
        return super().update(dataclasses.replace(rollout, returns=rollout.rewards))


LEARNED: dict[str, Any] = {
    "rloo, credit over time": Rloo,
    "rloo, paid by its own step": OwnStep,
    "PPO, credit over time": PPO,
    "gumbel, through the network": Gumbel,
    "straight_through, through the network": StraightThrough,
}
"""What learns, of as many episodes each."""
OF_RELAXED = {"target_density": 0.9}
"""Coins of `RELAXED` nearly all keep at first, as those of `rloo`."""
RELAXED = (Gumbel, StraightThrough)
"""Of these what learns from the gradient of relaxed gates, and needs no copies."""
CHOSEN: dict[Any, dict[str, Any]] = {
    Rloo: {"learning_rate": 0.01},
    Gumbel: {"learning_rate": 0.03, "temperature": 0.5},
    StraightThrough: {"learning_rate": 0.03, "sampling": "bernoulli"},
}
"""Settings over gates; of `RELAXED` the best of `over_text_tuning`."""


def learned(
    text: Text, price: float, rollouts: int, algorithm: Any, seed: int
) -> tuple[float, float]:
    """Nats of a test position without and with the price, what the policy costs included."""
    env: Any
    model: Any
    if algorithm is PPO:
        env, model = by_ppo(text, text.settings(price), rollouts, seed)
    else:
        rows, copies = (FEW_ROWS, 1) if algorithm in RELAXED else (ROWS, COPIES)
        env = Simulator(rows, **text.settings(price), group_size=copies)
        env.seed(seed)
        model = taught(text, env, rollouts, algorithm, seed)
    return judged_policy(text, price, env, model)


def judged_policy(
    text: Text, price: float, env: Any, model: Any, split: str = "test"
) -> tuple[float, float]:
    """As of `learned`, of the positions of a split."""
    verdict = evaluate(env, model, split=split, deterministic=True)
    paid = -verdict.mean_return / text.length
    if text.fast_memory is None:
        # What choosing costs is paid as the gates are.
        simulator = text.simulator(price)
        paid += cost_weight(simulator) * verdict.policy_cost - always_paid(simulator)
    return verdict.nll, paid


def taught(
    text: Text, simulator: Simulator, rollouts: int, algorithm: Any, seed: int, **settings: Any
) -> Agent:
    """What learned in an environment, of copies of sequences where it compares these.

    `settings` are those of the agent in place of `CHOSEN`.
    """
    if text.fast_memory is not None:
        settings = {"sampling": "ordered", "learning_rate": 0.003} | OF_RLOO
    else:
        settings = settings or CHOSEN[Rloo if issubclass(algorithm, Rloo) else algorithm]
        is_relaxed = algorithm in RELAXED
        fixed = OF_RELAXED if is_relaxed else OF_RLOO | {"sampling": "independent"}
        settings = fixed | settings
    agent: Agent = algorithm(simulator, seed=seed, **settings)
    if text.fast_memory is not None:
        experts.start_at_router(agent)
    # As many episodes in rollouts of fewer.
    rows = max(ROWS, simulator.num_images)
    agent.learn(rollouts * rows // simulator.group_size)
    return agent


def by_ppo(text: Text, settings: dict[str, Any], rollouts: int, seed: int) -> tuple[Any, PPO]:
    """An environment of Stable-Baselines3, and what learned in it."""
    env: Any = BlockSelectionVecEnv(ROWS, **settings)
    steps = env.simulator.num_steps
    if text.fast_memory is not None:
        menu = np.eye(text.sizes["num_experts"], dtype=int).tolist()
        env = ActionViewVecEnv(env, "menu", menu=menu)
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=steps,
        batch_size=ROWS * steps // 4,
        n_epochs=4,
        gamma=1.0,
        gae_lambda=0.9,
        learning_rate=lambda left: 2e-3 * left,
        ent_coef=0.003,
        stats_window_size=ROWS,
        seed=seed,
        device="cpu",
    )
    model.set_logger(Logger(None, []))
    return env, model.learn(rollouts * ROWS * steps)


def cost_weight(simulator: Any) -> float:
    """Of its reward."""
    weight: float = simulator.reward.rule.arguments["cost_weight"]
    return weight


def always_paid(simulator: Simulator) -> float:
    """What a position costs that skips all that it can."""
    return cost_weight(simulator) * costs_of(simulator, same(False))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which problems, and how long."""
    add = parser.add_argument
    add("--text", choices=list(TEXTS), nargs="+", default=list(TEXTS), help="which networks")
    add("--prices", type=float, nargs="+", default=[0.1, 0.2, 0.4], help="nats a position")
    add("--learners", choices=list(LEARNED), nargs="+", default=list(LEARNED), help="what learns")
    add("--rollouts", type=int, default=200, help=f"of {ROWS} episodes")
    add("--seeds", type=int, default=5, help="of what learns; 0: rules and bounds alone")
    add("--cotrain", action="store_true", help="weights learn along, from the frozen ones")
    add(
        "--bound", type=int, default=24, help="test sequences of which every mask is tried; 0: none"
    )


def measured(options: Options) -> Iterator[Row]:
    """Rows of each network and price."""
    for name in options.text:
        text = TEXTS[name]
        if options.cotrain:
            yield from cotrained_rows(name, options)
            continue
        judges = judge_of_gates if text.fast_memory is None else judge_of_experts
        judge = judges(text, options.bound)
        for price in options.prices:
            yield from rows_of(name, price, *judge(price), options)


Judge = Callable[[float], tuple[list[Judged], list[Judged]]]
"""Price -> rules, and what knows more than a policy may."""


def judge_of_experts(text: Text, count: int) -> Judge:
    """Of experts in a fast memory."""
    assert text.fast_memory is not None
    return experts.judge(text.simulator(1.0), text.fast_memory, SEARCHED, count)


def judge_of_gates(text: Text, count: int) -> Judge:
    """Of gates that may be skipped; every mask of so many test sequences is tried once."""
    tried = bound(text.simulator(1.0).on_split("test", 8), count) if count else None

    def judge(price: float) -> tuple[list[Judged], list[Judged]]:
        simulator = text.simulator(price)
        test = simulator.on_split("test", 8)
        unattainable = {} if tried is None else knowing(test, tried, cost_weight(simulator))
        bounds = [
            judged(simulator, price, name, math.nan, returns, costs / text.length)
            for name, (returns, costs) in unattainable.items()
        ]
        return judged_rules(text, simulator, price), bounds

    return judge


def judged(
    simulator: Simulator, price: float, decides: str, value: float, returns: Tensor, costs: Tensor
) -> Judged:
    """What decides, by its mean return on validation, and test returns and costs of sequences."""
    free, length = always_paid(simulator), simulator.positions
    spent = (cost_weight(simulator) * float(costs.mean()) - free) / price
    return Judged(decides, -value / length - free, -returns / length - free, spent)


def judged_rules(text: Text, simulator: Simulator, price: float) -> list[Judged]:
    """All rules, searched on validation sequences for the network as it is, judged on others.

    Behind the best of those that are searched one is fitted, whose products are paid too.
    """
    scores = [score_on(simulator, searched=searched) for searched in (True, False)]
    test = simulator.on_split("test", 8)
    whole = torch.arange(test.num_episodes)

    def judged_rule(name: str, choose: Choose, macs: int = 0) -> Judged:
        share = macs / simulator.dense_macs
        paid = simulator.positions * cost_weight(simulator) * share
        returns, costs = play(test, choose, whole)
        value = scores[1](choose) - paid
        return judged(simulator, price, name, value, returns - paid, costs + share)

    searched = [*rules_of(simulator, scores[0], counts=text.updates)]
    rules = [judged_rule(*rule) for rule in searched]
    if not text.updates:
        return rules
    best = min(range(len(rules)), key=lambda number: rules[number].score)
    fit = fitted(simulator, searched[best][1])
    return [*rules, judged_rule(COUNTING[1], *fit)]


def cotrained(text: Text, price: float, rollouts: int, seed: int, copies: int) -> Simulator:
    """An environment whose network goes on learning, from the frozen one, for so many rollouts.

    Each is of `ROWS` sequences: who compares copies of them learns from no fewer.
    """
    learning = {"weights": "cotrain", "weights_kwargs": {"schedule_updates": rollouts}}
    settings = text.settings(price) | learning
    simulator = Simulator(ROWS * copies, **settings, group_size=copies)
    simulator.seed(seed)
    simulator.network.load_state_dict(text.simulator(price, 8).network.state_dict())
    return simulator


def taught_by_rules(text: Text, rollouts: int, seed: int) -> list[dict[str, Tensor]]:
    """Weights that have learned along under each of `TAUGHT_BY`, whatever the price."""
    weights = []
    for choose in TAUGHT_BY.values():
        simulator = cotrained(text, 1.0, rollouts, seed, copies=1)
        for _ in range(rollouts):
            simulator.begin()
            follow(simulator, choose)
            simulator.update_network()
        weights.append(simulator.network.state_dict())
    return weights


def cotrained_rows(name: str, options: Options) -> Iterator[Row]:
    """Rows of all prices where weights learn along: under each of `TAUGHT_BY`, or under a policy.

    After that the best of all rules is found for each network, so that a rule may be another than
    the one that it learned under. Of each seed the best of them on validation is compared with.
    """
    text, seeds = TEXTS[name], range(options.seeds)
    weights = [taught_by_rules(text, options.rollouts, seed) for seed in seeds]
    for price in options.prices:
        best = [best_of_weights(text, price, options.rollouts, of_seed) for of_seed in weights]
        levels = [float(rule.objectives.mean()) for rule in best]
        told = {"text": f"{name}, co-trained", "price": price}
        yield told | {
            "decides": "best rule",
            "objective": float(np.mean(levels)),
            "spent": float(np.mean([rule.spent for rule in best])),
            "gains": [0.0],
        }
        for decides in options.learners:
            numbers = [
                learned_along(text, price, options.rollouts, LEARNED[decides], seed)
                for seed in seeds
            ]
            yield told | row_of_policy(decides, price, numbers, levels)


def best_of_weights(
    text: Text, price: float, rollouts: int, weights: Sequence[dict[str, Tensor]]
) -> Judged:
    """The best rule on validation sequences of several networks."""
    rules = []
    for state_dict in weights:
        simulator = cotrained(text, price, rollouts, 0, copies=1)
        simulator.network.load_state_dict(state_dict)
        rules += judged_rules(text, simulator, price)
    return min(rules, key=lambda rule: rule.score)


def learned_along(
    text: Text, price: float, rollouts: int, algorithm: Any, seed: int
) -> tuple[float, float]:
    """As of `learned`, where the network has learned along under the policy."""
    copies = 1 if algorithm in RELAXED else FEW_COPIES
    simulator = cotrained(text, price, rollouts, seed, copies)
    return judged_policy(text, price, simulator, taught(text, simulator, rollouts, algorithm, seed))


def row_of_policy(
    decides: str, price: float, numbers: Sequence[tuple[float, float]], levels: Sequence[float]
) -> dict[str, Any]:
    """Of nats without and with the price, and of the best rule's, for each seed."""
    nll, values = zip(*numbers, strict=True)
    objective = float(np.mean(values))
    return {
        "decides": decides,
        "objective": objective,
        "spent": (objective - float(np.mean(nll))) / price,
        "gains": [level - value for level, value in zip(levels, values, strict=True)],
    }


def rows_of(
    name: str, price: float, rules: list[Judged], bounds: list[Judged], options: Options
) -> Iterator[Row]:
    """Rows of a price: rules, what knows more than a policy may, and what learns."""
    best = min(rules, key=lambda rule: rule.score)

    def row(decides: str, objective: float, spent: float, gains: Sequence[float]) -> Row:
        told = {"text": name, "price": price, "decides": decides, "objective": objective}
        return told | {"spent": spent, "gains": list(gains)}

    for rule in rules:
        gain = float((best.objectives - rule.objectives).mean())
        yield row(rule.decides, float(rule.objectives.mean()), rule.spent, [gain])
    for one in bounds:
        gains = (best.objectives[: len(one.objectives)] - one.objectives).tolist()
        yield row(one.decides, float(one.objectives.mean()), one.spent, gains)
    for decides in options.learners if options.seeds else ():
        if LEARNED[decides] in RELAXED and not TEXTS[name].updates:
            continue
        levels = [float(best.objectives.mean())] * options.seeds
        numbers = [
            learned(TEXTS[name], price, options.rollouts, LEARNED[decides], seed)
            for seed in range(options.seeds)
        ]
        yield {"text": name, "price": price} | row_of_policy(decides, price, numbers, levels)


def knowing(
    simulator: Simulator, tried: tuple[Tensor, Tensor], weight: float
) -> dict[str, tuple[Tensor, Tensor]]:
    """Who knows more than a policy may -> returns and costs in all of a few test sequences."""
    likely, spent = tried
    returns, masks = (likely - weight * spent).max(dim=1)
    count = len(likely)
    return {
        f"every mask, future known ({count} sequences)": (returns, spent.gather(1, masks[:, None])),
        f"best now, label known ({count} sequences)": myopic(simulator, torch.arange(count)),
    }


def shown(row: Row, level: float | None) -> dict[str, Any]:
    """The mean gain, and its interval, over a best rule of so many nats.

    What has learned stays where rules are found anew: its gains move with their level.
    """
    gains = row["gains"]
    if row["decides"] in LEARNED and level is not None:
        moved = level - row["objective"] - float(np.mean(gains))
        gains = [gain + moved for gain in gains]
    gain = mean_interval(gains)
    is_one = len(gains) == 1
    return {"gain": gain.mean, "interval": "" if is_one else f"[{gain.low:.3f}, {gain.high:.3f}]"}


COLUMNS = {
    "decides over": "<{text}",
    "price": ">{price:.1f}",
    "decides": "<{decides}",
    "nats with the price": ">{objective:.3f}",
    "spent": ">{spent:z.2f}",
    "gain over the best rule": ">{gain:.3f}",
    "95 %": "<{interval}",
}


def table(rows: Sequence[Row]) -> str:
    """Rows of a network and a price together; of rules the best, better ones, and `COUNTING`."""
    order = {name: place for place, name in enumerate(TEXTS)}
    rows = sorted(rows, key=lambda row: (order.get(row["text"], len(order)), row["price"]))
    levels = {(r["text"], r["price"]): r["objective"] for r in rows if r["gains"] == [0.0]}
    told = [{**row, **shown(row, levels.get((row["text"], row["price"])))} for row in rows]
    kept = [
        row
        for row in told
        if row["decides"] in (*LEARNED, *COUNTING) or len(row["gains"]) > 1 or row["gain"] >= 0
    ]
    return formatted(COLUMNS, kept)


OVER_TEXT = Experiment(
    name="over-text",
    about="decisions over time on real text: rules, policies, and what is left to gain",
    run=measured,
    pivot=table,
    notes="""\
Nats of a position with the price of what its gates run or load; spent: share of that price. The
best rule is chosen on validation sequences and has a gain of 0; rules below it are left out. MACs
of a policy cost as much as those of gates; rules are free, and so are MACs where loads cost. Gains
of bounds are of the same few test sequences, with intervals over these; those of policies are of
all test sequences, with intervals over seeds.""",
    settings={"rows": ROWS, "copies": COPIES, "searched": SEARCHED},
    add_options=add_options,
    key=("text", "price", "decides"),
)
