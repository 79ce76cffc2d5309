"""Skip RNN's adding task: (a network, a price) -> updates that a policy keeps, and its error.

Campos et al. 2018 (arXiv 1708.06834, section 4.1). Ours, on a small machine: 15 digits and a
question in place of 50 numbers; `skip_gru` learns first, under masks that keep the marked digits
and the question and others at random, by the answer's loss and a tenth of that of other positions.
In the mean over all positions, as a network is trained elsewhere, the answer counts for little,
and the same network needs more than twice as many sequences. Then `actor_critic` learns which
positions update the state.
"""

import argparse
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ccenv.agents.reinforce import ActorCritic
from ccenv.annexes.data import tasks
from ccenv.annexes.networks.baselines.skip_gru import SkipGRU
from ccenv.base.seeding import stream, stream_seed
from ccenv.runs.lab.experiment import Experiment, Options, Row
from ccenv.runs.stats.intervals import mean_interval
from ccenv.simulator.policy import Policy
from ccenv.simulator.rollout import walk
from ccenv.simulator.simulator import Simulator

DIGITS = 15
LENGTH = DIGITS + 1
NEEDED = 3 / LENGTH
"""Share of updates that suffice: two marked digits and the question."""
ROWS = 128
"""Sequences of a batch."""
UNITS, EMBEDDED = 110, 32
RATE = 3e-3
OTHERS = 0.1
"""Weight of the loss of positions that ask nothing."""
DATA = functools.partial(tasks.adding, numbers=DIGITS)


class Always(Policy):
    """Updates at every position."""

    policy_macs = (0,)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Policy`."""
        return torch.ones(len(observation), 1, dtype=torch.bool)


def taught(seed: int, updates: int) -> SkipGRU:
    """A network that answers, whichever digits that are not marked its state skips."""
    split = DATA("train")
    windows, labels = split.batch(torch.arange(len(split)))
    symbols, labels = windows[:, -1].view(-1, LENGTH), labels.view(-1, LENGTH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "network"))
        network = SkipGRU((LENGTH,), tasks.ASK + 1, UNITS, EMBEDDED)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    draws = stream(seed, "adding")
    for update in range(updates):
        rows = torch.randint(len(symbols), (ROWS,), generator=draws)
        loss = loss_of(network, symbols[rows], labels[rows], draws)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = RATE * (1 - update / updates)
        optimizer.step()
    return network.eval()


def loss_of(network: SkipGRU, symbols: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
    """The loss of sequences int64 [rows, length], of whose unmarked digits some are skipped."""
    shapes = symbols.shape, (len(symbols), 1)
    drawn, density = (torch.rand(shape, generator=draws) for shape in shapes)
    keeps = (drawn < density) | (symbols >= tasks.DIGITS)
    logits = answers(network, symbols, keeps)
    asked = cross_entropy(logits[:, -1], labels[:, -1])
    return asked + OTHERS * cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, :-1].flatten())


def answers(network: SkipGRU, symbols: Tensor, keeps: Tensor) -> Tensor:
    """Logits at each position where the state skips some: [rows, length, classes].

    A state that skips a symbol is that of a sequence without it, so that whole sequences run at
    once.
    """
    order = (~keeps).byte().argsort(dim=1, stable=True)
    states, _ = network.stem.gru(network.stem.embedding(symbols.gather(1, order)))
    states = nn.functional.pad(states, (0, 0, 1, 0))
    # Behind each position the state of the last one that was kept.
    last = keeps.cumsum(dim=1)[:, :, None].expand(-1, -1, states.shape[2])
    states = states.gather(1, last)
    return network.answer(states.flatten(0, 1), symbols.flatten()).unflatten(0, symbols.shape)


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long, and at which prices."""
    add = parser.add_argument
    add("--updates", type=int, default=600, help=f"of the network, of {ROWS} sequences")
    add("--rollouts", type=int, default=400, help=f"of the policy, of {ROWS} sequences")
    add("--seeds", type=int, default=3, help="of networks and policies")
    add("--prices", type=float, nargs="+", default=[0.02], help="cost weights")


def measured(options: Options) -> Iterator[Row]:
    """A row for each price: before and after the policy has learned."""
    networks = [taught(seed, options.updates) for seed in range(options.seeds)]
    for price in options.prices:
        reward = {"reward": "nll_minus_cost", "reward_kwargs": {"cost_weight": price}}
        numbers_of: dict[str, list[tuple[float, float]]] = {"always": [], "policy": []}
        for seed, network in enumerate(networks):
            simulator = Simulator(ROWS, dataset=DATA, network=network, episode="sequence", **reward)
            simulator.seed(seed)
            agent = ActorCritic(
                simulator,
                seed=seed,
                hidden_units=32,
                gae_lambda=0.95,
                learning_rate=RATE,
                num_epochs=4,
                num_minibatches=4,
            )
            numbers_of["always"].append(judged(simulator, Always()))
            agent.learn(options.rollouts * ROWS)
            numbers_of["policy"].append(judged(simulator, agent))
        for decides, numbers in numbers_of.items():
            errors, updates = zip(*numbers, strict=True)
            told = {"batches": options.updates, "rollouts": options.rollouts}
            row = {"price": price, "decides": decides, "errors": errors, "updates": updates}
            yield row | told


def judged(simulator: Simulator, policy: Policy) -> tuple[float, float]:
    """Share of questions that are answered wrongly, and of positions that update the state."""
    test: Any = simulator.on_split("test", simulator.num_images)
    _, _, steps = walk(test, policy, None, torch.arange(test.num_episodes))
    kept = torch.cat([step.outcome.mask for step in steps]).float().mean()
    return 1 - float(steps[-1].outcome.correct.mean()), float(kept)


def shown(row: Row) -> dict[str, Any]:
    """Means and intervals over seeds, in percent."""
    return {name: f"{mean_interval(row[name]):.1%}" for name in ("errors", "updates")}


ADDING = Experiment(
    name="adding",
    about="Skip RNN's adding task in small: updates that a policy keeps, and its error",
    run=measured,
    columns={
        "cost weight": ">{price}",
        "decides": "<{decides}",
        "wrong answers %": ">{errors}",
        "updates used %": ">{updates}",
    },
    shown=shown,
    settings={"digits": DIGITS, "units": UNITS, "needed": NEEDED, "rows": ROWS},
    add_options=add_options,
    key=("price", "decides"),
)
