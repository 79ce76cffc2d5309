"""Settings of relaxed gates that learn updates of `skip_gru` on text -> validation nats of each.

`over_text` has the best of each in `CHOSEN`, for all prices and for weights that learn along.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from ccenv.annexes.agents.gumbel import Gumbel
from ccenv.annexes.agents.straight_through import StraightThrough
from ccenv.runs.lab import over_text
from ccenv.runs.lab.experiment import Experiment, Options, Row

RATES = (0.01, 0.03)
OTHERS: dict[Any, tuple[str, Sequence[Any]]] = {
    Gumbel: ("temperature", (1.0, 0.5)),
    StraightThrough: ("sampling", ("bernoulli", "threshold")),
}
"""What is tried beside the learning rate."""
START = 0.25
"""Share of positions that a gate keeps at first: the agents' default."""


def measured(options: Options) -> Iterator[Row]:
    """A row for each try."""
    text = over_text.TEXTS["updates"]
    for algorithm, (name, values) in OTHERS.items():
        for rate, value in itertools.product(RATES, values):
            simulator = text.simulator(options.price)
            settings = {"learning_rate": rate, name: value, "target_density": START}
            agent = over_text.taught(text, simulator, options.rollouts, algorithm, 0, **settings)
            judged = over_text.judged_policy(text, options.price, simulator, agent, "validation")
            yield {
                "agent": algorithm.__name__,
                "price": options.price,
                "learning_rate": rate,
                "other": f"{name}={value}",
                "objective": judged[1],
            }


def add_options(parser: argparse.ArgumentParser) -> None:
    """At which price, and how long."""
    add = parser.add_argument
    add("--price", type=float, default=0.2, help="nats a position")
    add("--rollouts", type=int, default=100, help=f"of {over_text.ROWS} sequences")


TUNING = Experiment(
    name="over-text-tuning",
    about="settings of relaxed gates that learn updates on text, by validation sequences",
    run=measured,
    columns={
        "agent": "<{agent}",
        "learning rate": ">{learning_rate}",
        "other": "<{other}",
        "validation nats with the price": ">{objective:.4f}",
    },
    add_options=add_options,
    key=("agent", "learning_rate", "other"),
)
