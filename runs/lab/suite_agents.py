"""The suite's recorded agents: lab suite -> scores of every agent, packed in one file of the wheel.

With `--tune` agents are tuned alike: of three learning rates (a third of the default, the default,
three times it) the one with the highest mean score in the last tenth on `TUNED_ON` with seed
`TUNING_SEED`, which is not recorded. Every run is one thread of one process; what is finished is
not repeated.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import Agent, OnRollout, ignore
from ccenv.base.files import write_whole
from ccenv.base.seeding import stream_seed
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.runs.commands.frame import positive, program
from ccenv.runs.config.agent_settings import agent_parameters, find_agent
from ccenv.runs.engine.errors import say
from ccenv.runs.stats.intervals import compare_intervals
from ccenv.runs.store.provenance import machine, versions
from ccenv.runs.suite.pictures import radar_drawn
from ccenv.runs.suite.play import FOLDER, Player, make_player, play_all
from ccenv.runs.suite.scores import (
    RECORDED,
    ScoredRun,
    read_folder,
    recorded,
    recorded_runs,
    write_record,
)
from ccenv.runs.suite.standing import SOLVED, Standing, agent_table, runs_in_order, score_of
from ccenv.runs.tables.sweep_table import markdown
from ccenv.tasks import suite

TUNED_ON, TUNING_SEED = ("basic-8", "together-2"), 100
LEARNING_RATE = "learning_rate"
FACTORS = (1 / 3, 1.0, 3.0)
"""Of the default learning rate."""
RULE = "best simple rule"
"""Name of the row that has at each skill the best of `RULES`."""
PICTURE = Path("runs/docs/pictures/suite-skills.png")
"""In a checkout: the first picture of the README."""
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


LEARNERS = (
    "reinforce",
    "rloo",
    "sb3_a2c",
    "sb3_ppo",
    "actor_critic",
    "straight_through",
    "topk",
    "gumbel",
    "disarm",
    "condnet",
    "sb3_trpo",
    "ccenv.runs.lab.suite_agents:MenuDqn",
    "ccenv.runs.lab.suite_agents:RecurrentPpo",
)
"""Agents that learn, each with its own default learning rate."""


def tuned(name: str, folder: Path) -> Player:
    """An agent with the learning rate that scores highest on the tuning tasks."""
    rate = float(agent_parameters(find_agent(name))[0][LEARNING_RATE])
    tried: list[tuple[float, Player]] = []
    for factor in FACTORS:
        player = make_player(name, {LEARNING_RATE: float(f"{factor * rate:.2g}")})
        tasks = [suite[task] for task in TUNED_ON]
        play_all(player, tasks, [TUNING_SEED], folder, say=say)
        runs = [run for run in read_folder(folder)[0] if run.agent == player.label]
        if len(runs) == len(tasks):
            tried.append((sum(run.last for run in runs) / len(runs), player))
    if not tried:
        raise ValueError(
            f"expected {name} to finish {', '.join(TUNED_ON)} with some rate, got none"
        )
    return max(tried, key=lambda pair: pair[0])[1]


def usual(name: str) -> Player:
    """An agent at its defaults."""
    return make_player(name, {})


def best_rule(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """Runs of the rule that scores highest at each skill, under one name."""
    found: list[ScoredRun] = []
    for skill in dict.fromkeys(run.skill for run in runs):
        own = [run for run in runs if run.skill == skill]
        means = {
            rule: sum(scores) / len(scores)
            for rule in RULES
            if (scores := [run.last for run in own if run.agent == rule])
        }
        best = max(means, key=lambda rule: means[rule], default=None)
        found += [
            ScoredRun(RULE, run.task, run.seed, run.tenths, run.seconds)
            for run in own
            if run.agent == best
        ]
    return found


def recorded_from(folder: Path, learners: Sequence[str], seeds: int) -> list[ScoredRun]:
    """Runs of learners, and of the best rules, on tasks that all seeds have finished."""
    runs = read_folder(folder / "scores")[0]
    counts = Counter((run.agent, run.task) for run in runs if run.seed < seeds)
    runs = [run for run in runs if counts[run.agent, run.task] == seeds]
    names = {learner: learner.rpartition(":")[2] for learner in learners}
    shown = {"MenuDqn": "sb3_dqn, menu", "RecurrentPpo": "sb3_recurrent_ppo"}
    found = []
    for learner, name in names.items():
        for run in runs:
            if run.agent.split()[0] == learner:
                own = shown.get(name, name)
                found.append(ScoredRun(own, run.task, run.seed, run.tenths, run.seconds))
    return [*found, *best_rule(runs)]


def real_table(results_dir: Path) -> str:
    """How long the scales of the skill real are, and what the tables' own answers say of it."""
    lines = []
    for task in suite("real"):
        gain = task.problem.gain()
        real = f"{gain.real:.3f} ± {gain.standard_error:.3f}"
        lines.append([f"`{task.name}`", task.problem.cost_weight, gain.estimated, real])
    columns = {"task": "left", "cost weight": "right g", "gain by the estimate": "right .3f"}
    return markdown(columns | {"gain in real answers": "right"}, lines)


def recorded_table(results_dir: Path) -> str:
    """All recorded agents."""
    table = agent_table(Standing(recorded_runs()))
    return markdown(table.columns, table.lines)


def skills_table(results_dir: Path) -> str:
    """At each skill the two best recorded agents, the best rule, and who solves the task."""
    standing = Standing(recorded_runs())
    lines = []
    for skill in dict.fromkeys(run.skill for run in runs_in_order(standing.runs)):
        own = {
            name: [run for run in runs if run.skill == skill]
            for name, runs in standing.by_agent.items()
        }
        scores = {name: score_of(runs) for name, runs in own.items() if runs}
        best = sorted(scores, key=lambda name: -scores[name].mean)
        worst = scores[best[-1]]
        apart = compare_intervals(worst, scores[best[0]]) == "better"
        first, second = (f"{name} {scores[name]:.2f}" for name in best[:2])
        solved = [name for name in best if min(run.last for run in own[name]) >= SOLVED]
        lines.append([skill, first, second, f"{best[-1]} {worst:.2f}", "yes" if apart else "no"])
        lines[-1].append(", ".join(solved) or "none")
    columns = ("skill", "best", "second", "last", "two apart", "solved in all seeds by")
    return markdown(dict.fromkeys(columns, "left"), lines)


TABLES = {"suite-real": real_table, "suite-agents": recorded_table, "suite-skills": skills_table}
"""Name of a page's table -> how it is made."""


@program("lab suite", (ValueError, ImportError), "stopped; the same command goes on")
def main(arguments: Sequence[str] | None = None) -> int:
    """Plays agents on the suite, tuned alike, and packs their scores; see --help."""
    parser = argparse.ArgumentParser(prog="lab suite", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("agents", nargs="*", help=f"of {', '.join(LEARNERS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="one level of each skill")
    parser.add_argument("--seeds", type=positive, default=5, help="seeds 0 to N - 1")
    parser.add_argument("--tune", action="store_true", help="try three learning rates of each")
    parser.add_argument("--folder", type=Path, default=FOLDER / "recorded", help="of the scores")
    parser.add_argument("--pack", action="store_true", help="only write what is finished")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    learners = options.agents or LEARNERS
    if not options.pack:
        tasks, seeds = list(suite(quick=options.quick)), range(options.seeds)
        for rule in RULES:
            play_all(rule_player(rule), tasks, seeds, options.folder / "scores", say=say)
        for name in learners:
            player = tuned(name, options.folder / "tuning") if options.tune else usual(name)
            play_all(player, tasks, seeds, options.folder / "scores", say=say)
            say(f"{player.label}: finished")
    runs = recorded_from(options.folder, LEARNERS, options.seeds)
    finished = Counter(run.agent for run in read_folder(options.folder / "scores")[0])
    labels = [f"{name} ({number} runs)" for name, number in sorted(finished.items())]
    tried = (
        f"{len(FACTORS)} learning rates were tried of each agent, on {' and '.join(TUNED_ON)} with "
        f"seed {TUNING_SEED}; all else is at its default"
        if any(LEARNING_RATE in agent for agent in finished)
        else "no settings were tried: every agent is at its defaults"
    )
    about = {
        "machine": machine()["cpu"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "tuning": f"Of these agents {tried}, 64 episodes at once. Played: {'; '.join(labels)}.",
    }
    write_record(runs, RECORDED, about)
    recorded.cache_clear()
    write_whole(PICTURE, radar_drawn(Standing(recorded_runs())).png)
    say(f"{len(runs)} runs of {len({run.agent for run in runs})} agents: {RECORDED}")
    return 0


def rule_player(rule: str) -> Player:
    """A rule by the words of its label."""
    name, *words = rule.split()
    pairs = dict(word.split("=") for word in words)
    return make_player(name, {key: float(value) for key, value in pairs.items()})
