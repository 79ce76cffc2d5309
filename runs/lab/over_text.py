"""Decisions over time on real text: what is left to gain, and who gains it -> nats and prices.

Frozen networks read sequences of the bundled text. At each position a gate may be skipped, which
saves its price and changes what later positions read. Rules are searched on validation sequences.
The bound tries every mask of short sequences with the future known: no policy has it.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from torch import Tensor

from ccenv.envs.stable_baselines import BlockSelectionVecEnv
from ccenv.mdp import dynamics
from ccenv.runs.lab.experiment import Experiment, Options, Row
from ccenv.runs.stats.intervals import mean_interval
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.simulator import Simulator

ROWS = 128
"""Sequences of a rollout."""
SEARCHED = 512
"""Validation sequences by which rules are searched."""
COMMON = 32
"""Commonest symbols, of which a table says what each does; others do what most do."""
NUM_THRESHOLDS = 24


@dataclass(frozen=True)
class Text:
    """A frozen network over a text, whose gates have one block each."""

    length: int
    network: str
    sizes: dict[str, Any]
    about: str

    def simulator(self, price: float, rows: int = ROWS) -> Simulator:
        """Its environment, where all that gates may skip costs so many nats a position."""
        found = Simulator(rows, **self.settings(1.0))
        found.seed(0)
        weight = price / share_of_gates(found)
        found = Simulator(rows, **self.settings(weight))
        found.seed(0)
        return found

    def settings(self, cost_weight: float) -> dict[str, Any]:
        """Of the environment."""
        return {
            "dataset": f"python_bundled@{self.length}",
            "network": self.network,
            "network_kwargs": self.sizes,
            "episode": "sequence",
            "reward": "nll_minus_cost",
            "reward_kwargs": {"cost_weight": cost_weight},
        }


TEXTS = {
    "updates": Text(
        length=16,
        network="skip_gru",
        sizes={"width": 48, "embedding_size": 16},
        about="skip_gru of 48 units: update the state",
    ),
    "layers": Text(
        length=8,
        network="lm",
        sizes={"width": 48, "num_heads": 4, "num_experts": 1, "gates": "layers"},
        about="lm of two layers of width 48: run a layer",
    ),
    "patches": Text(
        length=16,
        network="patches",
        sizes={"width": 48, "num_heads": 4, "ffn_width": 96, "context": 4, "patch_size": 8},
        about="patches of 8 symbols: refresh the summary",
    ),
}


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
    before, paid, costs, gates = None, 0.0, 0.0, judged.num_layers
    for step in range(judged.num_steps):
        symbol = judged.state.images[:, -1]
        if step % gates == 0:
            nothing = torch.zeros(len(indices))
            surprise, entropy = nothing, nothing
            if before is not None:
                surprise = -before.gather(1, symbol[:, None])[:, 0]
                entropy = -(before.exp() * before).sum(dim=1)
        kept = choose(Seen(step, step // gates, symbol, surprise, entropy))
        mask = torch.as_tensor(kept).expand(len(indices)).unsqueeze(1)
        found = judged.step(mask)
        paid, costs = paid + found.reward, costs + found.outcome.layer_cost
        if found.outcome.logits is not None:
            before = found.outcome.logits.log_softmax(dim=1)
    return torch.as_tensor(paid), torch.as_tensor(costs) / judged.positions


def costs_of(simulator: Simulator, choose: Choose) -> float:
    """Mean compute cost of some sequences under a rule."""
    return float(play(simulator, choose, torch.arange(8))[1].mean())


def searched(length: int, rule: Callable[[np.ndarray], Choose], score: "Score") -> Choose:
    """The best rule of so many bits that single flips find, from all and from none."""
    ends = []
    for kept in (True, False):
        bits = np.full(length, kept)
        found = score(rule(bits))
        for place in [*range(length)] * 2:
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

    def static(bits: np.ndarray) -> Choose:
        return lambda seen: bool(bits[seen.step])

    yield "best static pattern", searched(simulator.num_steps, static, score)
    symbols = validation.data.batch(torch.arange(len(indices) * simulator.positions))[0][:, -1]
    common = symbols.bincount(minlength=129).argsort(descending=True)[:COMMON]
    number = torch.full((129,), COMMON)
    number[common] = torch.arange(len(common))
    gates = simulator.num_layers

    def table(bits: np.ndarray) -> Choose:
        of_gate = torch.from_numpy(bits).view(gates, COMMON + 1)
        return lambda seen: of_gate[seen.step % gates][number[seen.symbol]]

    yield "best table by symbol", searched(gates * (COMMON + 1), table, score)
    for name in ("surprise", "entropy"):
        seen_values: list[Tensor] = []

        def watch(seen: Seen, name: str = name, values: list[Tensor] = seen_values) -> bool:
            values.append(getattr(seen, name))
            return True

        play(validation, watch, indices)
        levels = torch.cat(seen_values[gates:]).quantile(torch.linspace(0, 1, NUM_THRESHOLDS))
        for kept_is in ("above", "below"):
            tried = [threshold(name, float(level), kept_is) for level in levels]
            yield f"best threshold, kept {kept_is} in {name}", max(tried, key=score)


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


def learned(text: Text, price: float, rollouts: int, gamma: float, seed: int) -> Any:
    """What an evaluation says of PPO on the test split."""
    simulator = text.simulator(price)
    env = BlockSelectionVecEnv(ROWS, **text.settings(price / share_of_gates(simulator)))
    steps = simulator.num_steps
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=steps,
        batch_size=ROWS * steps // 4,
        n_epochs=4,
        gamma=gamma,
        gae_lambda=0.9,
        learning_rate=lambda left: 2e-3 * left,
        ent_coef=0.003,
        stats_window_size=ROWS,
        seed=seed,
        device="cpu",
    ).learn(rollouts * ROWS * steps)
    return evaluate(env, model, deterministic=True)


LEARNED = {"PPO, credit over time": 1.0, "PPO, paid by its own step": 0.0}
"""What learns -> its discount."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which problems, and how long."""
    add = parser.add_argument
    add("--text", choices=list(TEXTS), nargs="+", default=list(TEXTS), help="which networks")
    add("--prices", type=float, nargs="+", default=[0.2, 0.4], help="nats a position")
    add("--rollouts", type=int, default=200, help=f"of {ROWS} sequences")
    add("--seeds", type=int, default=5, help="of what learns; 0: rules and bounds alone")
    add(
        "--bound", type=int, default=24, help="test sequences of which every mask is tried; 0: none"
    )


def measured(options: Options) -> Iterator[Row]:
    """Rows of each network and price."""
    for name in options.text:
        simulator = TEXTS[name].simulator(1.0).on_split("test", 8)
        tried = bound(simulator, options.bound) if options.bound else None
        for price in options.prices:
            yield from rows_of(name, price, tried, options)


def rows_of(
    name: str, price: float, tried: tuple[Tensor, Tensor] | None, options: Options
) -> Iterator[Row]:
    """Rows of a price: rules, what knows more than a policy may, and what learns."""
    text = TEXTS[name]
    simulator = text.simulator(price)
    test, positions = simulator.on_split("test", 8), simulator.positions
    least, share = costs_of(test, same(False)), share_of_gates(simulator)
    weight = price / share
    score = score_on(simulator, "validation")

    def nats(returns: Tensor | float) -> Any:
        """Of a position, with what its gates have spent."""
        return -returns / positions - weight * least

    def row(decides: str, objective: float, cost: float, gains: Sequence[float]) -> Row:
        spent = (cost - least) / share
        told = {"text": name, "price": price, "decides": decides, "objective": objective}
        return told | {"spent": spent, "gains": list(gains)}

    rules, whole = dict(rules_of(simulator, score)), torch.arange(test.num_episodes)
    best = max(rules, key=lambda rule: score(rules[rule]))
    of_rules = {rule: play(test, choose, whole) for rule, choose in rules.items()}
    level = nats(of_rules[best][0])
    for rule, (returns, costs) in of_rules.items():
        gains = [float((level - nats(returns)).mean())]
        yield row(rule, float(nats(returns).mean()), float(costs.mean()), gains)
    if tried is not None:
        few = torch.arange(len(tried[0]))
        of_few = nats(play(test, rules[best], few)[0])
        for decides, (found, costs) in knowing(test, tried, weight).items():
            gains = (of_few - nats(found)).tolist()
            yield row(decides, float(nats(found).mean()), float(costs.mean()) / positions, gains)
    for decides, gamma in LEARNED.items() if options.seeds else ():
        verdicts = [
            learned(text, price, options.rollouts, gamma, seed) for seed in range(options.seeds)
        ]
        values = [nats(one.mean_return) for one in verdicts]
        cost = float(np.mean([one.compute_cost for one in verdicts]))
        gains = [float(level.mean()) - value for value in values]
        yield row(decides, float(np.mean(values)), cost, gains)


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


OVER_TEXT = Experiment(
    name="over-text",
    about="decisions over time on real text: rules, policies, and what is left to gain",
    run=measured,
    columns={
        "network": "<{text}",
        "price": ">{price:.1f}",
        "decides": "<{decides}",
        "nats with the price": ">{objective:.3f}",
        "spent": ">{spent:.2f}",
        "gain over the best rule": ">{gain:.3f}",
        "95 %": "<{interval}",
    },
    shown=shown,
    notes="""\
Nats of a position with the price of what its gates run; spent: share of that price. The best rule
is chosen on validation sequences. Gains of bounds are of the same few test sequences, with
intervals over these; those of policies are of all test sequences, with intervals over seeds.""",
    settings={"rows": ROWS, "searched": SEARCHED},
    add_options=add_options,
    key=("text", "price", "decides"),
)
