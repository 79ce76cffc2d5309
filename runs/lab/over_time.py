"""Problems over time with a known optimum, by who decides -> share of the way from random to it.

Rules know what `ccenv.annexes.tasks` knows of a problem, but not the future. What is
searched or learned sees training and validation sequences; greedy masks are evaluated on others.
Who learns has the same number of sequences; how many gradient steps it takes with those of one
rollout stands beside it.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.logger import Logger
from torch import Tensor

from ccenv.agents.reinforce import ActorCritic, Reinforce
from ccenv.agents.rloo import Rloo
from ccenv.annexes.tasks.loading import NUM_EXPERTS, TOKENS, best_of_documents
from ccenv.annexes.tasks.refreshing import PATCH, PATCHES, REFRESH_PRICE, best_of_staleness
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.runs.lab.experiment import Experiment, Options, Row, formatted
from ccenv.runs.stats.intervals import mean_interval
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.policy import Policy
from ccenv.simulator.simulator import Simulator

FAST_MEMORY, LOAD_PRICE = 2, 0.6
ROWS = 128
"""Sequences of a rollout."""
SINGLE = np.eye(NUM_EXPERTS, dtype=int).tolist()
"""Menu of the masks that keep one expert."""

Choose = Callable[[Tensor], Tensor]
"""Observations [rows, columns] -> masks, bool [rows, blocks]."""


class Rule(Policy):
    """Chooses by what is seen, at no cost."""

    learns = False

    def __init__(self, choose: Choose) -> None:
        """Takes the function that chooses."""
        self.choose, self.policy_macs = choose, [0]

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Policy`."""
        return self.choose(observation)


@dataclass(frozen=True)
class Problem:
    """Settings of an environment, its optimum, and rules for it."""

    settings: dict[str, Any]
    num_steps: int
    optimum: Callable[[], float]
    """mean return of the best policy, by dynamic programming."""
    random: Choose
    rules: Callable[["Problem"], Iterator[tuple[str, Choose]]]
    """names and rules; what they have to be tuned for, they are on the training split."""
    num_kept: int | None = None
    """blocks that are drawn at a gate; None: a coin for each block."""

    def score(self, choose: Choose, split: str = "test") -> float:
        """Mean return of a rule."""
        simulator = Simulator(ROWS, **self.settings)
        simulator.seed(0)
        return evaluate(simulator, Rule(choose), split=split, deterministic=True).mean_return


def one_of(numbers: Tensor) -> Tensor:
    """Int64 [rows] -> masks that keep one expert each."""
    return torch.nn.functional.one_hot(numbers, NUM_EXPERTS).bool()


def seen_documents(seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What lies in memory, qualities and the kind of each token."""
    parts = seen.split([NUM_EXPERTS, NUM_EXPERTS, 12, seen.shape[1] - 28], dim=1)
    return parts[0], parts[1], parts[2].argmax(dim=1)


def rules_of_documents(problem: Problem) -> Iterator[tuple[str, Choose]]:
    """One expert for ever, one for each kind (searched), the best one now, loads seen or not."""
    train = [problem.score(always(expert), "train") for expert in range(NUM_EXPERTS)]
    best = int(np.argmax(train))
    yield "best single expert", always(best)
    yield "best quality, loads not seen", lambda seen: one_of(seen_documents(seen)[1].argmax(dim=1))
    table, highest = [best] * 12, max(train)
    for _ in range(2):
        for kind in range(12):
            for expert in range(NUM_EXPERTS):
                tried = [*table[:kind], expert, *table[kind + 1 :]]
                value = problem.score(by_kind(tried), "validation")
                if value > highest or tried == table:
                    table, highest = tried, value
    yield "best table by kind (searched)", by_kind(table)
    yield "best now, all known", now


def always(expert: int) -> Choose:
    """The same expert."""
    return lambda seen: one_of(torch.full((len(seen),), expert))


def by_kind(table: list[int]) -> Choose:
    """An expert for each kind."""
    return lambda seen: one_of(torch.tensor(table)[seen_documents(seen)[2]])


def now(seen: Tensor) -> Tensor:
    """The expert that earns most at this token."""
    memory, quality, _ = seen_documents(seen)
    return one_of((quality - LOAD_PRICE * (1 - memory)).argmax(dim=1))


def rules_of_staleness(problem: Problem) -> Iterator[tuple[str, Choose]]:
    """Never, fixed places, and thresholds on the signal and the belief."""
    yield "never", lambda seen: torch.zeros(len(seen), 1, dtype=torch.bool)
    tried = [at_places(number) for number in range(2**PATCH)]
    yield "best fixed places", best_by(problem, tried)
    for column, name, values in (
        (0, "signal", np.linspace(-1, 3, 41)),
        (1, "belief", np.linspace(0, 1, 41)),
    ):
        tried = [above(column, float(value)) for value in values]
        yield f"best threshold on the {name}", best_by(problem, tried)


def at_places(number: int) -> Choose:
    """Refreshes at the places of a patch whose bit is set."""
    bits = torch.tensor([bool(number >> place & 1) for place in range(PATCH)])
    return lambda seen: bits[seen[:, 2 : 2 + PATCH].argmax(dim=1)][:, None]


def above(column: int, threshold: float) -> Choose:
    """Refreshes where a column of the look is above a threshold."""
    return lambda seen: seen[:, column : column + 1] > threshold


def best_by(problem: Problem, tried: list[Choose]) -> Choose:
    """The one with the highest return on the validation split."""
    return max(tried, key=lambda choose: problem.score(choose, "validation"))


PROBLEMS = {
    "documents": Problem(
        settings={
            "dataset": "documents",
            "network": "documents",
            "episode": "sequence",
            "fast_memory": FAST_MEMORY,
            "reward": "probability_minus_cost",
            "reward_kwargs": {"cost_weight": 0.0, "load_weight": LOAD_PRICE * NUM_EXPERTS},
        },
        num_steps=TOKENS,
        optimum=lambda: float(best_of_documents(FAST_MEMORY, LOAD_PRICE).mean()),
        random=lambda seen: one_of(torch.randint(NUM_EXPERTS, (len(seen),))),
        rules=rules_of_documents,
        num_kept=1,
    ),
    "staleness": Problem(
        settings={
            "dataset": "staleness",
            "network": "staleness",
            "episode": "sequence",
            "reward": "probability_minus_cost",
            "reward_kwargs": {"cost_weight": REFRESH_PRICE},
        },
        num_steps=PATCH * PATCHES,
        optimum=best_of_staleness,
        random=lambda seen: torch.rand(len(seen), 1) < 0.5,
        rules=rules_of_staleness,
    ),
}


Returns = Callable[[int], float]
"""Seed -> return."""


def learned(problem: Problem, algorithm: Any, settings: dict[str, Any], rollouts: int) -> Returns:
    """Returns of an algorithm of Stable-Baselines3 or of an agent of ours: seed -> return."""

    def by_seed(seed: int) -> float:
        if algorithm in (PPO, A2C):
            env: Any = BlockSelectionVecEnv(ROWS, **problem.settings)
            if problem.num_kept is not None:
                env = ActionViewVecEnv(env, "menu", menu=SINGLE)
            rate = settings["learning_rate"]
            agent_settings = settings | {
                "learning_rate": lambda left: rate * left,
                "n_steps": problem.num_steps,
            }
            if algorithm is PPO:
                parts = settings["num_minibatches"]
                agent_settings |= {"batch_size": ROWS * problem.num_steps // parts}
                del agent_settings["num_minibatches"]
            model = algorithm(
                "MlpPolicy",
                env,
                gamma=1.0,
                gae_lambda=0.9,
                stats_window_size=ROWS,
                seed=seed,
                device="cpu",
                **agent_settings,
            )
            model.set_logger(Logger(None, []))
            model.learn(rollouts * ROWS * problem.num_steps)
            return evaluate(env, model, deterministic=True).mean_return
        group = 8 if algorithm is Rloo else 1
        simulator = Simulator(ROWS, **problem.settings, group_size=group)
        simulator.seed(seed)
        agent = algorithm(simulator, seed=seed, **settings)
        agent.learn(rollouts * ROWS // group)
        return evaluate(simulator, agent, deterministic=True).mean_return

    return by_seed


def learners(problem: Problem, rollouts: int) -> Iterator[tuple[str, int, Returns]]:
    """Names, gradient steps of a rollout, and what learns."""
    of_theirs = {"learning_rate": 3e-3, "ent_coef": 0.01}
    clipped = {"n_epochs": 4, "num_minibatches": 4}
    yield "PPO (Stable-Baselines3)", 16, learned(problem, PPO, of_theirs | clipped, rollouts)
    yield "A2C (Stable-Baselines3)", 1, learned(problem, A2C, of_theirs, rollouts)
    sixteen = {"num_epochs": 4, "num_minibatches": 4}
    draws = {"num_kept": problem.num_kept}
    of_groups = {"num_kept": 1, "sampling": "ordered" if problem.num_kept else "independent"}
    for name, algorithm, chosen, drawn in (
        ("actor_critic", ActorCritic, {"gae_lambda": 0.9}, draws),
        ("reinforce", Reinforce, {}, draws),
        ("rloo", Rloo, {}, of_groups),
    ):
        rates = {"learning_rate": 0.01, "min_probability": 0.01}
        settings = {"hidden_units": 64} | rates | chosen
        if problem.num_kept and algorithm is not Rloo:
            yield f"{name}, coins", 1, learned(problem, algorithm, settings, rollouts)
        yield name, 1, learned(problem, algorithm, settings | drawn, rollouts)
        yield name, 16, learned(problem, algorithm, settings | drawn | sixteen, rollouts)


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--rollouts", type=int, default=500, help=f"of {ROWS} sequences")
    parser.add_argument("--seeds", type=int, default=3, help="of what learns")
    parser.add_argument("--problem", choices=list(PROBLEMS), help="one of them; both by default")
    name = "what learns and has a name that begins so, or rules"
    parser.add_argument("--only", default="", help=name)


def measured(options: Options) -> Iterator[Row]:
    """A row for each problem and who decides."""
    for name, problem in PROBLEMS.items():
        if options.problem not in (None, name):
            continue
        torch.manual_seed(0)
        random, optimum = problem.score(problem.random), problem.optimum()

        def row(
            who: str,
            returns: list[float],
            steps: int | None = None,
            name: str = name,
            random: float = random,
            optimum: float = optimum,
        ) -> Row:
            shares = [(value - random) / (optimum - random) for value in returns]
            fields = {"problem": name, "decides": who, "returns": returns, "shares": shares}
            if steps is None:
                return fields
            return fields | {"steps": steps, "rollouts": options.rollouts}

        yield row("optimum (dynamic programming)", [optimum])
        for who, steps, learn in learners(problem, options.rollouts):
            if who.startswith(options.only):
                yield row(who, [learn(seed) for seed in range(options.seeds)], steps)
        for who, choose in problem.rules(problem) if options.only in ("", "rules") else ():
            yield row(who, [problem.score(choose)])
        yield row("random", [random])


def shown(row: Row) -> dict[str, Any]:
    """Means, and the interval over seeds."""
    share, returns = mean_interval(row["shares"]), mean_interval(row["returns"])
    is_one = len(row["shares"]) == 1
    interval = "" if is_one else f"[{share.low:.3f}, {share.high:.3f}]"
    drawn = "" if "steps" not in row else f"{row['steps']}"
    return {"return": returns.mean, "share": share.mean, "interval": interval, "drawn": drawn}


COLUMNS = {
    "problem": "<{problem}",
    "decides": "<{decides}",
    "gradient steps a rollout": ">{drawn}",
    "return": ">{return:.2f}",
    "share": ">{share:.3f}",
    "95 %": "<{interval}",
}


def table(rows: Sequence[Row]) -> str:
    """Rows of a problem together, whenever they were measured, those of the highest share first."""
    shows = [{**row, **shown(row)} for row in rows]
    return formatted(COLUMNS, sorted(shows, key=lambda row: (row["problem"], -row["share"])))


OVER_TIME = Experiment(
    name="over-time",
    about="problems over time with a known optimum: share of the way from random to it",
    run=measured,
    pivot=table,
    settings={"rows": ROWS, "fast_memory": FAST_MEMORY, "load_price": LOAD_PRICE},
    add_options=add_options,
    key=("problem", "decides", "steps"),
)
