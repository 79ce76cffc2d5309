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
from torch import Tensor

from ccenv.agents.rloo import Rloo
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.mdp import dynamics
from ccenv.runs.lab import over_text_experts as experts
from ccenv.runs.lab.experiment import Experiment, Options, Row, formatted
from ccenv.runs.lab.over_text_experts import Judged
from ccenv.runs.stats.intervals import mean_interval
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import Rollout
from ccenv.simulator.simulator import Simulator

ROWS, COPIES, FEW_COPIES = 256, 16, 4
"""Episodes of a rollout, and how many of them are of one sequence, where these are compared: few
where the network learns from them as well."""
OF_RLOO = {
    "num_kept": 1,
    "diversity_weight": 0.0,
    "num_epochs": 4,
    "num_minibatches": 4,
}
SEARCHED = 512
"""Validation sequences by which rules are searched."""
COMMON = 32
"""Commonest symbols, of which a table says what each does; others do what most do."""
NUM_THRESHOLDS = 24


@dataclass(frozen=True)
class Text:
    """A frozen network over a text, whose gates have one block each, or which has experts."""

    length: int
    network: str
    sizes: dict[str, Any]
    fast_memory: int | None = None
    """experts that fit, of which one computes each position; None: of gates."""

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
    "updates": Text(16, "skip_gru", {"width": 48, "embedding_size": 16}),
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


@dataclass(frozen=True)
class Seen:
    """What a rule knows at a gate of a position; a row for each sequence."""

    step: int
    """positions times gates so far."""
    place: int
    symbol: Tensor
    """int64 [rows]; just read."""
    surprise: Tensor
    """[rows]; nats of that symbol under the answer before it; 0 before the first."""
    entropy: Tensor
    """[rows]; nats of that answer."""


Choose = Callable[[Seen], Any]
"""What is known -> whether each row keeps the gate, bool [rows], or one truth value for all."""


def play(simulator: Simulator, choose: Choose, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Returns of sequences under a rule, and mean compute costs of their positions: [n] each."""
    judged: Any = simulator.on_split(simulator.split, len(indices))
    judged.begin(indices)
    return follow(judged, choose)


def follow(judged: Any, choose: Choose) -> tuple[Tensor, Tensor]:
    """The same of sequences that have begun."""
    before, paid, costs, gates = None, 0.0, 0.0, judged.num_layers
    for step in range(judged.num_steps):
        symbol = judged.state.images[:, -1]
        if step % gates == 0:
            nothing = torch.zeros(len(symbol))
            surprise, entropy = nothing, nothing
            if before is not None:
                surprise = -before.gather(1, symbol[:, None])[:, 0]
                entropy = -(before.exp() * before).sum(dim=1)
        kept = choose(Seen(step, step // gates, symbol, surprise, entropy))
        mask = torch.as_tensor(kept).expand(len(symbol)).unsqueeze(1)
        found = judged.step(mask)
        paid, costs = paid + found.reward, costs + found.outcome.layer_cost
        if found.outcome.logits is not None:
            before = found.outcome.logits.log_softmax(dim=1)
    return torch.as_tensor(paid), torch.as_tensor(costs) / judged.positions


def costs_of(simulator: Simulator, choose: Choose) -> float:
    """Mean compute cost of some sequences under a rule."""
    return float(play(simulator, choose, torch.arange(8))[1].mean())


def searched(
    shape: tuple[int, int], rule: Callable[[np.ndarray], Choose], score: "Score"
) -> Choose:
    """The best rule of bits [gates, n] that single flips find.

    They start from all, from none, and from each gate alone: where one gate can do another's work,
    no flip of a single bit leads from none to one of them.
    """
    starts = [np.full(shape, kept) for kept in (True, False)]
    if shape[0] > 1:
        starts += [
            np.eye(shape[0], dtype=bool)[:, [gate]].repeat(shape[1], axis=1)
            for gate in range(shape[0])
        ]
    ends = []
    for bits in starts:
        found = score(rule(bits))
        for place in [*np.ndindex(shape)] * 2:
            tried = bits.copy()
            tried[place] = ~tried[place]
            if (value := score(rule(tried))) > found:
                bits, found = tried, value
        ends.append((found, bits))
    return rule(max(ends, key=lambda one: one[0])[1])


Score = Callable[[Choose], float]
"""Mean return of a rule."""


def score_on(simulator: Simulator, split: str) -> Score:
    """The score on the first sequences of a split."""
    judged = simulator.on_split(split, SEARCHED)
    indices = torch.arange(min(SEARCHED, judged.num_episodes))
    return lambda choose: float(play(judged, choose, indices)[0].mean())


def rules_of(simulator: Simulator, score: Score) -> Iterator[tuple[str, Choose]]:
    """Names and rules, of which the best by a score on validation sequences."""
    validation = simulator.on_split("validation", SEARCHED)
    indices = torch.arange(min(SEARCHED, validation.num_episodes))
    yield "always", same(True)
    yield "never", same(False)
    patterns = [every_kth(every, first) for every in (2, 3, 4) for first in range(every)]
    yield "best every k-th", max(patterns, key=score)

    gates = simulator.num_layers

    def static(bits: np.ndarray) -> Choose:
        return lambda seen: bool(bits[seen.step % gates, seen.place])

    yield "best static pattern", searched((gates, simulator.positions), static, score)
    symbols = validation.data.batch(torch.arange(len(indices) * simulator.positions))[0][:, -1]
    common = symbols.bincount(minlength=129).argsort(descending=True)[:COMMON]
    number = torch.full((129,), COMMON)
    number[common] = torch.arange(len(common))

    def table(bits: np.ndarray) -> Choose:
        of_gate = torch.from_numpy(bits)
        return lambda seen: of_gate[seen.step % gates][number[seen.symbol]]

    yield "best table by symbol", searched((gates, COMMON + 1), table, score)
    for name in ("surprise", "entropy"):
        seen_values: list[Tensor] = []

        def watch(seen: Seen, name: str = name, values: list[Tensor] = seen_values) -> bool:
            values.append(getattr(seen, name))
            return True

        play(validation, watch, indices)
        levels = torch.cat(seen_values[gates:]).quantile(torch.linspace(0, 1, NUM_THRESHOLDS))
        for kept_is in ("above", "below"):
            tried = [
                alone(threshold(name, float(level), kept_is), gates, gate, others)
                for level in levels
                for gate, others in [(None, True), *alone_in(gates)]
            ]
            yield f"best threshold, kept {kept_is} in {name}", max(tried, key=score)


def alone_in(gates: int) -> list[tuple[int | None, bool]]:
    """Each of several gates, with the others kept and skipped."""
    return [(gate, others) for gate in range(gates) for others in (True, False) if gates > 1]


def alone(choose: Choose, gates: int, gate: int | None, others: bool) -> Choose:
    """A rule of one gate, where the others are kept or skipped; of all gates without one."""
    return lambda seen: choose(seen) if gate in (None, seen.step % gates) else others


def same(kept: bool) -> Choose:
    """Keeps every gate, or none."""
    return lambda seen: kept


def every_kth(every: int, first: int) -> Choose:
    """Keeps every so many-th position."""
    return lambda seen: seen.place % every == first


def threshold(name: str, level: float, kept_is: str) -> Choose:
    """Keeps where a number is above a level, or below; the first position always."""

    def choose(seen: Seen) -> Tensor:
        value = getattr(seen, name)
        return (value > level if kept_is == "above" else value < level) | (seen.place == 0)

    return choose


TAUGHT_BY = {
    "always": same(True),
    "every second": every_kth(2, 0),
    "surprise": threshold("surprise", 1.0, "above"),
}
"""Rules under which weights learn."""


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
            state, found = judged.state, 0.0
            while state.layer < judged.num_layers:
                with torch.no_grad():
                    state, outcome = dynamics.transition(judged.network, state, mask)
                found = found + judged.reward.paid(outcome, judged.checks)[1]
                mask = torch.ones_like(mask)
            worth.append(torch.as_tensor(found))
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
            found = [judged.step(rows[:, step : step + 1]) for step in range(steps)]
            nll = sum(one.outcome.log_likelihood for one in found)
            parts.append((nll, sum(one.outcome.layer_cost for one in found)))
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
}
"""What learns, of as many episodes each."""


def learned(
    text: Text, price: float, rollouts: int, algorithm: Any, seed: int
) -> tuple[float, float]:
    """Nats of a test position without and with the price, what the policy costs included."""
    settings = text.settings(price)
    env: Any
    model: Any
    if algorithm is PPO:
        env, model = by_ppo(text, settings, rollouts, seed)
    else:
        env = Simulator(ROWS, **settings, group_size=COPIES)
        env.seed(seed)
        model = by_copies(text, env, rollouts, algorithm, seed)
    return judged_policy(text, price, env, model)


def judged_policy(text: Text, price: float, env: Any, model: Any) -> tuple[float, float]:
    """As of `learned`."""
    verdict = evaluate(env, model, deterministic=True)
    paid = -verdict.mean_return / text.length
    if text.fast_memory is None:
        # What choosing costs is paid as the gates are.
        simulator = text.simulator(price)
        paid += cost_weight(simulator) * verdict.policy_cost - always_paid(simulator)
    return verdict.nll, paid


def by_copies(text: Text, simulator: Simulator, rollouts: int, algorithm: Any, seed: int) -> Rloo:
    """What learned in an environment of copies."""
    is_gated = text.fast_memory is None
    own: dict[str, Any] = {"sampling": "independent", "learning_rate": 0.01}
    if not is_gated:
        own = {"sampling": "ordered", "learning_rate": 0.003}
    agent: Rloo = algorithm(simulator, seed=seed, **own, **OF_RLOO)
    if not is_gated:
        experts.start_at_router(agent)
    agent.learn(rollouts * simulator.num_images // simulator.group_size)
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
            for price in options.prices:
                yield from cotrained_rows(name, price, options)
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
        known = {} if tried is None else knowing(test, tried, cost_weight(simulator))
        bounds = [
            judged(simulator, price, name, math.nan, returns, costs / text.length)
            for name, (returns, costs) in known.items()
        ]
        return judged_rules(simulator, price), bounds

    return judge


def judged(
    simulator: Simulator, price: float, decides: str, value: float, returns: Tensor, costs: Tensor
) -> Judged:
    """What decides, by its mean return on validation, and test returns and costs of sequences."""
    free, length = always_paid(simulator), simulator.positions
    spent = (cost_weight(simulator) * float(costs.mean()) - free) / price
    return Judged(decides, -value / length - free, -returns / length - free, spent)


def judged_rules(simulator: Simulator, price: float) -> list[Judged]:
    """All rules, found on validation sequences for the network as it is."""
    score, test = score_on(simulator, "validation"), simulator.on_split("test", 8)
    whole = torch.arange(test.num_episodes)
    return [
        judged(simulator, price, name, score(choose), *play(test, choose, whole))
        for name, choose in rules_of(simulator, score)
    ]


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


def cotrained_rows(name: str, price: float, options: Options) -> Iterator[Row]:
    """Rows of a price where weights learn along: under each of `TAUGHT_BY`, or under a policy.

    After that the best of all rules is found for each network, so that a rule may be another than
    the one that it learned under. Of each seed the best of them on validation is compared with.
    """
    text = TEXTS[name]
    levels, spent, values, likely = [], [], [], []
    for seed in range(options.seeds):
        rules = []
        for choose in TAUGHT_BY.values():
            simulator = cotrained(text, price, options.rollouts, seed, copies=1)
            for _ in range(options.rollouts):
                simulator.begin()
                follow(simulator, choose)
                simulator.update_network()
            rules += judged_rules(simulator, price)
        best = min(rules, key=lambda rule: rule.score)
        levels.append(float(best.objectives.mean()))
        spent.append(best.spent)
        simulator = cotrained(text, price, options.rollouts, seed, FEW_COPIES)
        agent = by_copies(text, simulator, options.rollouts, Rloo, seed)
        nll, value = judged_policy(text, price, simulator, agent)
        likely.append(nll)
        values.append(value)
    gains = [level - value for level, value in zip(levels, values, strict=True)]
    told = {"text": f"{name}, co-trained", "price": price}
    mean = float(np.mean(values))
    yield told | {
        "decides": "best rule",
        "objective": float(np.mean(levels)),
        "spent": float(np.mean(spent)),
        "gains": [0.0],
    }
    yield told | {
        "decides": "rloo, credit over time",
        "objective": mean,
        "spent": (mean - float(np.mean(likely))) / price,
        "gains": gains,
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
        level = float(best.objectives.mean())
        found = [
            learned(TEXTS[name], price, options.rollouts, LEARNED[decides], seed)
            for seed in range(options.seeds)
        ]
        nll, values = zip(*found, strict=True)
        objective, gains = float(np.mean(values)), [level - value for value in values]
        yield row(decides, objective, (objective - float(np.mean(nll))) / price, gains)


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


def shown(row: Row) -> dict[str, Any]:
    """The mean gain, and its interval."""
    gain = mean_interval(row["gains"])
    is_one = len(row["gains"]) == 1
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
    """Rows of a network and a price together; of rules the best, and those that beat it on test."""
    order = {name: place for place, name in enumerate(TEXTS)}
    kept = [
        row
        for row in rows
        if row["decides"] in LEARNED or len(row["gains"]) > 1 or row["gains"][0] >= 0
    ]
    kept.sort(key=lambda row: (order.get(row["text"], len(order)), row["price"]))
    return formatted(COLUMNS, [{**row, **shown(row)} for row in kept])


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
