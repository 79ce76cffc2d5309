"""The suite's recorded agents: lab suite -> scores of every agent, packed in one file of the wheel.

Agents are tuned alike: of the settings in `TRIED` that of the highest mean score in the last
tenth on `TUNED_ON` with seed `TUNING_SEED`, which is not recorded. Every run is one thread of one
process; what is finished is not repeated.
"""

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from torch import Tensor, nn

from ccenv.agents.base import Agent, OnRollout, ignore
from ccenv.annexes.tasks import TASKS, Task, suite
from ccenv.annexes.tasks.catalogue import VERSION
from ccenv.annexes.tasks.real import Real
from ccenv.base.files import write_whole
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream_seed
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.runs.commands.frame import Parser, positive, program
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.engine.errors import say
from ccenv.runs.stats.intervals import compare_intervals
from ccenv.runs.store.provenance import machine, versions
from ccenv.runs.suite.pictures import radar_drawn
from ccenv.runs.suite.play import (
    FOLDER,
    Player,
    choosing_macs,
    make_envs,
    make_player,
    play_all,
)
from ccenv.runs.suite.scores import (
    RECORDED,
    ScoredRun,
    read_folder,
    recorded,
    recorded_runs,
)
from ccenv.runs.suite.standing import SOLVED, Standing, agent_table, runs_in_order, score_of
from ccenv.runs.tables.sweep_table import markdown

TUNED_ON, TUNING_SEED = ("basic-8", "together-2", "depth-4", "drift-4"), 100
RULE = "best simple rule"
"""Name of the row that has at each skill the best of `RULES`."""
PICTURE = Path("runs/docs/pictures/suite-skills.png")
"""In a checkout: the first picture of the README."""
SHOWN = {
    "ccenv.runs.lab.suite_agents:MenuDqn": "sb3_dqn, menu",
    "ccenv.runs.lab.suite_agents:RecurrentPpo": "sb3_recurrent_ppo",
}
"""Names of some agents in tables."""
LEVELS: dict[str, Callable[[], list[Task]]] = {
    "quick": lambda: list(suite(quick=True)),
    "highest": lambda: list({task.skill: task for task in suite()}.values()),
    "all": lambda: list(suite()),
}
"""Which tasks are played."""
RULES = ("dense", "fixed_mask", "block_dropout keep_probability=0.1", "block_dropout")


class OfLibrary(Agent):
    """An algorithm of Stable-Baselines3 on the agent's simulator, which is scored as it learns."""

    sequences: ClassVar[bool] = True

    def __init__(self, env: Any, *, seed: int = 0, learning_rate: float = 1e-3) -> None:
        """Builds the algorithm, whose optimiser has the learning rate."""
        super().__init__(env, seed=seed)
        self.vec_env = BlockSelectionVecEnv(simulator=self.simulator)
        self.rate = learning_rate
        torch.manual_seed(stream_seed(seed, "library") % 2**63)
        self.model = self.made(stream_seed(seed, "library") % 2**32)
        self.model.set_logger(Logger(None, []))
        # Weights are matrices; the rest are biases.
        weights = [w for part in self.choosing() for w in part.parameters() if w.dim() == 2]
        self.policy_macs = [sum(w.numel() for w in weights)] * self.simulator.num_layers

    def choosing(self) -> Sequence[nn.Module]:
        """Parts of the algorithm's policy that choose masks, each of whose weights is read once."""
        raise NotImplementedError

    def made(self, seed: int) -> Any:
        """The algorithm."""
        raise NotImplementedError

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Refuses: it plays through Stable-Baselines3's own loop."""
        raise TypeError(f"expected {type(self).__name__} to learn, not to act alone")

    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Learns for so many episodes."""
        self.model.learn(num_images * self.simulator.num_steps, log_interval=None)
        return num_images

    def parameters(self) -> dict[str, Tensor]:
        """Of the policy."""
        return dict(self.model.policy.state_dict())


class MenuDqn(OfLibrary):
    """DQN (Mnih et al. 2015) on a menu: no block, each block alone, all."""

    def choosing(self) -> Sequence[nn.Module]:
        """See `OfLibrary`."""
        return [self.model.q_net]

    def made(self, seed: int) -> Any:
        """`stable_baselines3.DQN`."""
        from stable_baselines3 import DQN

        return DQN(
            "MlpPolicy",
            ActionViewVecEnv(self.vec_env, "menu", menu="single"),
            gamma=1.0,
            learning_rate=self.rate,
            learning_starts=1000,
            batch_size=64,
            buffer_size=50_000,
            gradient_steps=4,
            target_update_interval=500,
            exploration_fraction=0.5,
            stats_window_size=self.vec_env.num_envs,
            policy_kwargs={"net_arch": [64]},
            seed=seed,
            device="cpu",
        )


class RecurrentPpo(OfLibrary):
    """PPO with an LSTM, of sb3-contrib: remembers earlier gates and positions."""

    def choosing(self) -> Sequence[nn.Module]:
        """See `OfLibrary`."""
        policy = self.model.policy
        return [policy.lstm_actor, policy.mlp_extractor.policy_net, policy.action_net]

    def made(self, seed: int) -> Any:
        """`sb3_contrib.RecurrentPPO`."""
        from sb3_contrib import RecurrentPPO

        steps, rows = self.simulator.num_steps, self.vec_env.num_envs
        return RecurrentPPO(
            "MlpLstmPolicy",
            # Its buffer of sequences takes no MultiBinary actions.
            ActionViewVecEnv(self.vec_env, "multi_discrete"),
            gamma=1.0,
            gae_lambda=1.0,
            n_steps=steps,
            batch_size=steps * rows // 4,
            n_epochs=2,
            learning_rate=self.rate,
            stats_window_size=rows,
            policy_kwargs={"net_arch": {"pi": [16], "vf": [64]}, "lstm_hidden_size": 32},
            seed=seed,
            device="cpu",
        )


Settings = dict[str, Any]


def rates(*values: float, **others: Any) -> list[Settings]:
    """So many learning rates, each with the same other settings."""
    return [{"learning_rate": value, **others} for value in values]


GRADIENT = [
    *rates(0.03, 0.1, 0.3, min_probability=0.01),
    *rates(0.03, 0.1, 0.3, min_probability=0.001),
]
DENSITIES = [{"target_density": density} for density in (0.06, 0.25, 0.5, 0.75, 0.9, 1.0)]
TRIED: dict[str, list[Settings]] = {
    # What is recorded is what the command without settings plays.
    "ppo": [{}],
    "reinforce": GRADIENT,
    "actor_critic": GRADIENT,
    "rloo": [
        *rates(0.05, 0.15, num_kept=1),
        *rates(0.05, 0.15, sampling="independent"),
        *rates(0.05, 0.15, sampling="independent", min_probability=0.001),
    ],
    "sb3_ppo": [*rates(0.003, 0.01, 0.03), *rates(0.003, 0.01, 0.03, ent_coef=0.02)],
    "sb3_a2c": [*rates(0.003, 0.01, 0.03), *rates(0.003, 0.01, 0.03, ent_coef=0.02)],
    "disarm": rates(0.005, 0.015, 0.05, 0.15, 0.5, 1.5),
    "sb3_trpo": [
        *rates(0.001, 0.01, target_kl=0.01),
        *rates(0.001, 0.01, target_kl=0.03),
        *rates(0.001, 0.01, target_kl=0.1),
    ],
    "ccenv.runs.lab.suite_agents:MenuDqn": rates(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "ccenv.runs.lab.suite_agents:RecurrentPpo": rates(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "topk": [*rates(0.005, 0.05, 0.5, num_kept=1), *rates(0.005, 0.05, 0.5, num_kept=2)],
    "gumbel": DENSITIES,
    "straight_through": DENSITIES,
    "condnet": DENSITIES,
}
"""Agents that learn, and the settings of each, six as a rule; what a wanted density is to some, is
a learning rate to others."""


def tuned(name: str, folder: Path) -> Player:
    """An agent with the settings that score highest on the tuning tasks."""
    if len(TRIED[name]) == 1:
        return make_player(name, TRIED[name][0])
    tried: list[tuple[float, Player]] = []
    for settings in TRIED[name]:
        player = make_player(name, settings)
        tasks = [suite[task] for task in TUNED_ON]
        play_all(player, tasks, [TUNING_SEED], folder, say=say)
        runs = [run for run in read_folder(folder)[0] if run.agent == player.label]
        if len(runs) == len(tasks):
            tried.append((sum(run.last for run in runs) / len(runs), player))
    if not tried:
        raise ValueError(
            f"expected {name} to finish {', '.join(TUNED_ON)} with some setting, got none"
        )
    return max(tried, key=lambda pair: pair[0])[1]


def best_rules(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """Task -> the rule that scores highest at its skill."""
    best_of: dict[str, str] = {}
    for skill in dict.fromkeys(run.skill for run in runs):
        of_skill = [run for run in runs if run.skill == skill]
        means = {
            rule: sum(scores) / len(scores)
            for rule in RULES
            if (scores := [run.last for run in of_skill if run.agent == rule])
        }
        if means:
            best = max(means, key=lambda rule: means[rule])
            best_of |= {run.task: best for run in of_skill if run.agent == best}
    return best_of


def recorded_from(folder: Path, seeds: int) -> tuple[list[ScoredRun], dict[str, Any]]:
    """What is recorded of tasks that so many seeds have finished.

    Returns:
        Runs of learners, and of the best rules under one name; and of each agent in tables its name
        and settings, as `ccenv suite` takes them, by task where it has several.
    """
    runs = read_folder(folder / "scores")[0]
    counts = Counter((run.agent, run.task) for run in runs)
    runs = [run for run in runs if counts[run.agent, run.task] >= seeds]
    labels = {(run.agent.split()[0], run.agent) for run in runs if run.agent.split()[0] in TRIED}
    twice = [name for name, number in Counter(name for name, _ in labels).items() if number > 1]
    if twice:
        raise ValueError(f"expected one setting of each agent in {folder}, got several of {twice}")
    finished = [
        replace(run, agent=SHOWN.get(name, name))
        for name in TRIED
        for run in runs
        if run.agent.split()[0] == name
    ]
    played: dict[str, Any] = played_labels(run.agent for run in runs)
    if best_of := best_rules(runs):
        played[RULE] = best_of
        finished += [replace(run, agent=RULE) for run in runs if run.agent == best_of.get(run.task)]
    return finished, played


def real_gain(problem: Real) -> tuple[float, float]:
    """What choosing by the estimate really earns above the best static mask, and its error.

    By the answers of the table, of inputs that the estimate was not fitted on.
    """
    right = np.concatenate([table.is_right() for table in problem.tables])
    chosen = (problem.estimate - problem.costs).argmax(axis=1)
    lead = right[np.arange(len(right)), chosen] - problem.costs[chosen]
    lead -= right[:, problem.static] - problem.costs[problem.static]
    return float(lead.mean()), float(lead.std() / np.sqrt(len(lead)))


def real_table(results_dir: Path) -> str:
    """How long the scales of the skill real are, and what the tables' own answers say of it."""
    lines = []
    for task in suite("real"):
        estimated = task.problem.optimum() - task.problem.reference()
        gain, error = real_gain(task.problem)
        real = f"{gain:.3f} ± {error:.3f}"
        lines.append([f"`{task.name}`", task.problem.cost_weight, estimated, real])
    columns = {"task": "left", "cost weight": "right g", "gain by the estimate": "right .3f"}
    return markdown(columns | {"gain in real answers": "right"}, lines)


def at_level(level: str) -> Standing:
    """Recorded agents on one level of each skill, or who has played every task; see `LEVELS`."""
    tasks = {task.name for task in LEVELS[level]()}
    runs = [run for run in recorded_runs() if run.task in tasks]
    played = Counter(agent for agent, _ in {(run.agent, run.task) for run in runs})
    fewest = len(tasks) if level == "all" else 1
    return Standing([run for run in runs if played[run.agent] >= fewest])


def recorded_table(level: str) -> str:
    """All recorded agents at a level, without their settings, which commands say."""
    table = agent_table(at_level(level))
    place = [*table.columns].index("settings")
    columns = {heading: form for heading, form in table.columns.items() if heading != "settings"}
    return markdown(columns, [[*line[:place], *line[place + 1 :]] for line in table.lines])


def skills_table(level: str) -> str:
    """At each skill the two best recorded agents, the last one, and who solves the task."""
    standing = at_level(level)
    lines = []
    for task in dict.fromkeys(run.task for run in runs_in_order(standing.runs)):
        runs_of = {
            name: [run for run in runs if run.task == task]
            for name, runs in standing.by_agent.items()
        }
        scores = {name: score_of(runs) for name, runs in runs_of.items() if runs}
        best = sorted(scores, key=lambda name: -scores[name].mean)
        apart = compare_intervals(scores[best[-1]], scores[best[0]]) == "better"
        # A line of its own keeps the table as narrow as a page.
        places = [f"{name}\n{scores[name]:.2f}" for name in (*best[:2], best[-1])]
        solved = [name for name in best if min(run.last for run in runs_of[name]) >= SOLVED]
        verdict = ["yes" if apart else "no", ", ".join(solved) or "none"]
        lines.append([f"`{task}`", *places, *verdict])
    columns = ("task", "best", "second", "last", "two apart", "solved in all seeds by")
    return markdown(dict.fromkeys(columns, "left"), lines)


def commands_table() -> str:
    """How each recorded agent was played, as a command."""
    pairs = recorded()["played"].items()
    one = [(name, label) for name, label in pairs if isinstance(label, str)]
    lines = [[f"`{name}`", f"`ccenv suite {label}`"] for name, label in one]
    return markdown(dict.fromkeys(("recorded agent", "command"), "left"), lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "suite-real": real_table,
    "suite-agents": lambda results_dir: recorded_table("quick"),
    "suite-commands": lambda results_dir: commands_table(),
    "suite-skills": lambda results_dir: skills_table("quick"),
    "suite-whole-agents": lambda results_dir: recorded_table("all"),
    "suite-highest": lambda results_dir: skills_table("highest"),
}
"""Name of a page's table -> how it is made."""


@program("lab suite", (ValueError, ImportError), "stopped; the same command goes on")
def main(arguments: Sequence[str] | None = None) -> int:
    """Plays agents on the suite, tuned alike, and packs their scores; see --help."""
    parser = Parser(prog="lab suite", description=main.__doc__)
    parser.add_argument("agents", nargs="*", help=f"of {', '.join(TRIED)}; default: all, and rules")
    parser.add_argument("--levels", choices=LEVELS, default="quick", help="of each skill")
    parser.add_argument("--seeds", type=positive, default=5, help="seeds 0 to N - 1")
    parser.add_argument("--folder", type=Path, default=FOLDER / "recorded", help="of the scores")
    parser.add_argument("--pack", action="store_true", help="only write what is finished")
    parser.add_argument("--count", action="store_true", help="only count what choosing costs")
    parser.add_argument("--picture", action="store_true", help="only draw what is recorded")
    options = parser.parse_args(arguments)
    if options.picture:
        write_whole(PICTURE, radar_drawn(at_level("quick")).png)
        return 0
    if options.count:
        about = {name: recorded()[name] for name in ("machine", "versions", "tuning", "played")}
        write_record(with_policy_macs(recorded_runs()), RECORDED, about)
        return 0
    torch.set_num_threads(1)
    if not options.pack:
        check_names(options.agents, TRIED, "agent of the record")
        tasks, seeds = LEVELS[options.levels](), range(options.seeds)
        # At other levels the best blind rule, which scores 0, is enough to compare with.
        for rule in RULES if options.levels == "quick" and not options.agents else ():
            play_all(rule_player(rule), tasks, seeds, options.folder / "scores", say=say)
        for name in options.agents or TRIED:
            player = tuned(name, options.folder / "tuning")
            play_all(player, tasks, seeds, options.folder / "scores", say=say)
            say(f"{player.label}: finished")
    runs, played = recorded_from(options.folder, options.seeds)
    finished = Counter(run.agent for run in read_folder(options.folder / "scores")[0])
    labels = [f"{name} ({number} runs)" for name, number in sorted(finished.items())]
    most = max(map(len, TRIED.values()))
    tried = (
        f"up to {most} settings of each agent were tried on {', '.join(TUNED_ON)} with seed "
        f"{TUNING_SEED}; all else is at its default"
    )
    about = {
        "machine": machine()["cpu"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "tuning": f"Of learners {tried}. 64 episodes at once. Played: {'; '.join(labels)}.",
        "played": played,
    }
    runs, about = with_recorded(runs, about)
    write_record(runs, RECORDED, about)
    recorded.cache_clear()
    write_whole(PICTURE, radar_drawn(at_level("quick")).png)
    say(f"{len(runs)} runs of {len({run.agent for run in runs})} agents: {RECORDED}")
    return 0


def with_recorded(
    again: list[ScoredRun], about: dict[str, Any]
) -> tuple[list[ScoredRun], dict[str, Any]]:
    """The record's runs, those that were played again in place of its own, and where all are from.

    Of a folder that lacks some of them, as where an agent is new, or a rule of some tasks.

    Raises:
        ValueError: if an agent has other settings than in runs of the record that remain.
    """
    before = {(run.agent, run.task, run.seed): run for run in recorded_runs()}
    played = {(run.agent, run.task, run.seed): run for run in again}
    if before.keys() <= played.keys():
        return again, about
    labels, again_played = recorded()["played"], about["played"]
    remaining = {agent for agent, _, _ in before.keys() - played.keys()} - {RULE}
    for agent in remaining & labels.keys() & again_played.keys():
        if again_played[agent] != labels[agent]:
            raise ValueError(
                f"expected {agent} as it is recorded, {labels[agent]}, or all its runs again, got "
                f"{again_played[agent]}"
            )
    agents = {run.agent for run in before.values()}
    what = dict.fromkeys(run.task if run.agent in agents else run.agent for run in again)
    where = {name: recorded()[name] for name in about}
    for name in ("machine", "versions"):
        where[name] += f"; of {', '.join(what)}: {about[name]}"
    where["played"] = labels | again_played
    if RULE in where["played"]:
        where["played"][RULE] = labels.get(RULE, {}) | again_played.get(RULE, {})
    return [*(before | played).values()], where


def with_policy_macs(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """Recorded runs, with the MACs of choosing where the record lacks them."""
    macs_of = functools.cache(policy_macs_of)
    return [
        replace(run, policy_macs=macs_of(run.agent, run.task)) if run.policy_macs is None else run
        for run in runs
    ]


def policy_macs_of(agent: str, task: str) -> float | None:
    """MACs of choosing one input's masks at all gates, of a recorded agent that is built anew."""
    if agent == RULE:
        # None of them reads the input, and the record may not say which it was.
        return 0.0
    name, *pairs = recorded()["played"][agent].split()
    player = make_player(name, parse_pairs(pairs))
    envs = make_envs(player, suite[task], seed=0)
    try:
        return choosing_macs(player.agent(envs, seed=0, **player.settings))
    finally:
        envs.close()


def played_labels(labels: Iterable[str]) -> dict[str, str]:
    """Name in tables -> agent and settings, as `ccenv suite` takes them; of agents that learn.

    >>> played_labels(["dense", "disarm learning_rate=0.05"])
    {'disarm': 'disarm learning_rate=0.05'}
    """
    tried = [(name, make_player(name, settings)) for name in TRIED for settings in TRIED[name]]
    played = {*labels}
    return {SHOWN.get(name, name): one.label for name, one in tried if one.label in played}


def write_record(runs: Sequence[ScoredRun], path: Path, about: Mapping[str, Any]) -> None:
    """Writes runs as the package's record.

    Args:
        runs: to be recorded.
        path: of the file.
        about: where they come from: machine, versions, how agents were tuned.
    """
    tasks = {
        name: [float(TASKS[name].reference), float(TASKS[name].optimum)]
        for name in TASKS
        if any(run.task == name for run in runs)
    }
    agents: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs:
        seconds = None if run.seconds is None else round(run.seconds, 1)
        one = {"tenths": [round(x, 4) for x in run.tenths], "seconds": seconds}
        if run.policy_macs is not None:
            one["policy_macs"] = run.policy_macs
        if run.spent and TASKS[run.task].problem.cost_limit is not None:
            one["spent"] = [round(x, 4) for x in run.spent]
        agents.setdefault(run.agent, {}).setdefault(run.task, {})[str(run.seed)] = one
    content = {"suite": VERSION, **about, "tasks": tasks, "agents": agents}
    write_whole(path, json.dumps(content, allow_nan=False) + "\n")


def rule_player(rule: str) -> Player:
    """A rule by the words of its label."""
    name, *words = rule.split()
    pairs = dict(word.split("=") for word in words)
    return make_player(name, {key: float(value) for key, value in pairs.items()})
