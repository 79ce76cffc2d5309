"""Tables of the reference pages: names, settings, meanings -> Markdown, from the code alone."""

import ast
import functools
import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import ccenv
from ccenv.annexes.tasks import SKILLS
from ccenv.base.registry import check_names, resolve
from ccenv.data import Split
from ccenv.envs import ENVIRONMENTS
from ccenv.envs.infos import INFO_KEYS
from ccenv.mdp import observations
from ccenv.mdp.dynamics import StepOutcome
from ccenv.mdp.observations import make_observer
from ccenv.networks import NETWORKS
from ccenv.networks.core.arguments import MLP_SIZES, takes_features
from ccenv.runs.commands.cli import GROUPS
from ccenv.runs.commands.list import cell_text, first_line, list_kind
from ccenv.runs.config.values import compact, fits_json
from ccenv.runs.store.identity import Program
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings

PROMISED: dict[str, str] = {
    "ccenv.BlockSelectionEnv": "",
    "ccenv.BlockSelectionVectorEnv": "",
    "ccenv.sb3.BlockSelectionVecEnv": "",
    "ccenv.ActionView": "",
    "ccenv.VectorActionView": "",
    "ccenv.sb3.ActionViewVecEnv": "",
    "ccenv.train": "",
    "ccenv.compare": "",
    "ccenv.load": "",
    "ccenv.evaluate": "",
    "ccenv.runs.api.Run": "",
    "ccenv.runs.api.Runs": "",
    "ccenv.runs.api.Comparison": "",
    "ccenv.check_vector_env": "",
    "ccenv.gate": "",
    "ccenv.gateable": "",
    "ccenv.check_network": "",
    "ccenv.GatedNetwork": "",
    "ccenv.GatedSequential": "",
    "ccenv.GatedMLP": "",
    "ccenv.Gate": "",
    "ccenv.Stage": "",
    "ccenv.Exit": "",
    "ccenv.block_sparse_linear": "",
    "ccenv.explain_backend": "",
    "ccenv.suite": "The suite's tasks: `ccenv.suite()` iterates over them.",
    "ccenv.ENVIRONMENTS": "All environments by id: the settings that make them.",
    "ccenv.PRESETS": "Those that `ccenv train env=` takes.",
    "ccenv.agents.AGENTS": "Agents by name: classes, imported on use.",
    "ccenv.agents.base.Agent": "",
    "ccenv.rewards.REWARDS": "Rewards by name: functions and classes, imported on use.",
    "ccenv.rewards.StatefulReward": "",
    "ccenv.mdp.dynamics.StepOutcome": "",
    "ccenv.networks.NETWORKS": "Networks by name: functions and classes, imported on use.",
    "ccenv.data.DATASETS": "Data sets by name: functions, imported on use.",
    "ccenv.runs.sweeps.SWEEPS": "Sweeps by name.",
    "ccenv.simulator.simulator.Simulator": "",
    "ccenv.simulator.rollout.collect_rollout": "",
    "ccenv.simulator.rollout.Rollout": "",
    "ccenv.simulator.evaluate.Evaluation": "",
    "ccenv.annexes.deploy.export.SkippingClassifier": "",
    "ccenv.annexes.deploy.fused.classifier.FusedClassifier": "",
    "ccenv.runs.config.sweep.Sweep": "",
    "ccenv.runs.config.sweep.Cell": "",
    "ccenv.runs.engine.study.Study": "",
}
"""Names that do not change; an empty text: the first line of the docstring says what it is."""
DICTIONARIES = tuple(name for name, about in PROMISED.items() if about)
"""Plain dictionaries, which have no page of their own."""
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "svhn": (3, 32, 32)}
"""Shape of an input of data sets that are downloaded."""
GIVEN = ("input_shape", "in_features", "num_classes")
"""Arguments of a builder that the data set decides."""
MASK = "mask"
"""The key of `info` that is wider than a number an image."""


def grid(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    r"""A Markdown table without padding, so that one changed row is one changed line.

    >>> print(grid(["a"], [["x|y"]]))
    | a |
    |---|
    | x\|y |
    """
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def code(text: str) -> str:
    """Text as it is typed; nothing stays nothing."""
    return f"`{text}`" if text else ""


def each(settings: Mapping[str, Any]) -> str:
    """Settings with their values, as the command line takes them."""
    return " ".join(code(f"{name}={compact(value)}") for name, value in settings.items())


def bound(value: float | None, without: str) -> str:
    """An end of a range, and what stands for none."""
    return without if value is None else f"{value:g}"


def mdp() -> str:
    """The specification: the docstring of the scalar environment, examples as blocks of code."""
    paragraphs = (inspect.getdoc(ccenv.BlockSelectionEnv) or "").split("\n\n")
    return "\n\n".join(f"```pycon\n{p}\n```" if p.startswith(">>>") else p for p in paragraphs)


def agents() -> str:
    """Every agent with what it wants and its settings."""
    lines = list_kind("agents").items()
    rows = [
        [
            code(name),
            "yes" if line["learns"] else "no",
            each(line["wants"]),
            each(line["settings"]),
        ]
        for name, line in lines
    ]
    return grid(["agent", "learns", "wants", "settings"], rows)


def rewards() -> str:
    """Every reward with its formula and what holds of it."""
    heads = ["keeps optimum", "remembers", "depends on machine"]
    rows = [
        [
            code(name),
            code(line["formula"] or ""),
            f"{bound(line['low'], '-inf')} to {bound(line['high'], 'inf')}",
            each(line["reward_kwargs"]),
            ", ".join(head for head in heads if line[head]),
        ]
        for name, line in list_kind("rewards").items()
    ]
    return grid(["reward", "formula", "range", "reward_kwargs", "also"], rows)


def outcome() -> str:
    """What a reward reads: the fields of an outcome, then its properties, in their own words."""
    (definition,) = ast.parse(inspect.getsource(StepOutcome)).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for part, below in itertools.pairwise(definition.body):
        if isinstance(part, ast.AnnAssign) and isinstance(below, ast.Expr):
            texts[ast.unparse(part.target)] = ast.literal_eval(below.value)
        elif isinstance(below, ast.FunctionDef):
            texts[below.name] = ast.get_docstring(below)
    rows = [[code(name), " ".join(text.split()).removesuffix(".")] for name, text in texts.items()]
    return grid(["field", "what"], rows)


def networks() -> str:
    """Every network with its own sizes; nothing is built, so that no weights need to be here."""
    rows = []
    for name in NETWORKS:
        builder = resolve(name, NETWORKS, "network")
        parameters = inspect.signature(builder).parameters.values()
        outer = MLP_SIZES if takes_features(builder) else ()
        sizes_of = {p.name: p.default for p in parameters if p.name not in (*GIVEN, *outer)}
        sizes_of = {
            key: v
            for key, v in sizes_of.items()
            if v is not inspect.Parameter.empty and fits_json(v)
        }
        sizes = " ".join(map(code, outer)) if outer else each(sizes_of)
        rows.append([code(name), first_line(builder), sizes])
    return grid(["network", "what it is", "sizes"], rows)


def observation_kinds() -> str:
    """What each kind shows, in the words of the file that makes them."""
    return (inspect.getdoc(observations) or "").split("\n\n")[2]


def observation_sizes() -> str:
    """Informative columns before each gate, and columns in all."""
    resnet = resolve("resnet", NETWORKS, "network")
    shapes = {"digits, mlp": (1, 8, 8), "CIFAR-10, resnet of depth 8": (3, 32, 32)}
    mlp = ccenv.GatedMLP(64, num_blocks=(10, 10), block_size=16)
    built = [mlp, resnet((3, 32, 32), 10, depth=8)]
    rows = []
    for (name, shape), network in zip(shapes.items(), built, strict=True):
        for kind in ("layer_input", "summary"):
            observer = make_observer(kind, network.eval(), shape)
            rows.append(
                [name, code(kind), cell_text(list(observer.lengths[:-1])), str(observer.obs_size)]
            )
    return grid(["network", "observation", "columns that inform", "obs_size"], rows)


def settings_of(kind: Any) -> str:
    """The fields of a dataclass whose metadata say what they mean, but for the extensions."""
    rows = [
        [code(one.name), code(compact(one.default)), one.metadata["help"]]
        for one in fields(kind)
        if one.name not in EXTENSIONS
    ]
    return grid(["setting", "default", "what"], rows)


def environment(name: str) -> str:
    """Spaces, size and settings of an environment, as the environment itself has them."""
    settings = ENVIRONMENTS[name]
    env: Any = gym.make(name, **without_downloads(name)).unwrapped
    rows = [
        ["Action space", code(str(env.action_space))],
        ["Observation space", code(str(env.observation_space))],
    ]
    rows += [
        ["Steps of an episode", str(env.simulator.num_steps)],
        ["MACs of the dense network", f"{env.simulator.network.dense_macs:,}"],
    ]
    rows += [
        ["Create", code(f'gymnasium.make("ccenv:{name}")')],
        ["Settings that differ from the defaults", each(settings) or "none"],
    ]
    return grid(["", ""], rows)


def without_downloads(name: str) -> dict[str, Any]:
    """Settings that make an environment's spaces without its data and its trained weights."""
    dataset, settings = ENVIRONMENTS[name].get("dataset"), {"weights": "cotrain"}
    if dataset not in SHAPES:
        return settings
    one_input = Split(torch.zeros(1, *SHAPES[dataset]), torch.zeros(1, dtype=torch.int64), 10)
    return settings | {"dataset": lambda split: one_input}


def info() -> str:
    """Keys of `info` with shapes, dtypes and meanings; the shapes are those of a real step."""
    env = ccenv.BlockSelectionVectorEnv(
        2, dataset="synthetic", num_blocks=[4, 4], weights="cotrain", reward="lagrangian"
    )
    env.reset(seed=0)
    infos = [env.step(env.action_space.sample())[-1] for _ in range(2)]
    first, last = infos
    term = next(key for key in first if key.startswith("reward/"))
    # What a reward calls its own stands under one word.
    example = {"reward/<term>": term, "<number>": "price"}
    rows = []
    for key, text in INFO_KEYS.items():
        there = example.get(key, key)
        shape = "[batch, max(num_blocks)]" if key == MASK else "[batch]"
        when = "every step" if there in first else "the last step"
        rows.append([code(key), shape, str(last[there].dtype), when, text])
    return grid(["key", "shape", "dtype", "when", "what"], rows)


def api() -> str:
    """Every promised name with the first line of its docstring."""
    rows = []
    for name, text in PROMISED.items():
        module, _, attribute = name.rpartition(".")
        about = text or first_line(resolve(f"{module}:{attribute}", {}, "name"))
        rows.append([code(name), about])
    return grid(["name", "what"], rows)


def tasks() -> str:
    """Every skill of the suite with its levels, budgets and the rule that scores 0."""
    rows = []
    for skill, skill_record in SKILLS.items():
        tasks_of = list(ccenv.suite(skill))
        budgets = sorted({task.episodes for task in tasks_of}, reverse=True)
        levels = " ".join(f"**{t.level}**" if t.quick else t.level for t in tasks_of)
        episodes = ", ".join(f"{budget:,}" for budget in budgets)
        rows.append([code(skill), skill_record.text, levels, episodes, tasks_of[0].rule])
    return grid(["skill", "what is varied", "levels", "episodes", "scores 0"], rows)


def commands() -> str:
    """Every command and what it does, in the groups of `ccenv --help`."""
    rows = [
        [group, code(f"ccenv {name}"), about]
        for group, commands in GROUPS.items()
        for name, about in commands.items()
    ]
    return grid(["group", "command", "what"], rows)


FACTS: dict[str, Callable[[], str]] = {
    "mdp": mdp,
    "agents": agents,
    "rewards": rewards,
    "outcome": outcome,
    "networks": networks,
    "observations": observation_kinds,
    "observation sizes": observation_sizes,
    "run settings": lambda: settings_of(Program),
    "environment settings": lambda: settings_of(EnvironmentSettings),
    "info": info,
    "api": api,
    "commands": commands,
    "tasks": tasks,
    **{name: functools.partial(environment, name) for name in ENVIRONMENTS},
}
"""Name between the marks of a page -> what is made for it."""
MARKED = re.compile(r"(<!-- made: ([\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def made_anew(text: str) -> str:
    """A text whose marked places hold what the code says now."""

    def replace(match: re.Match[str]) -> str:
        check_names([match[2]], FACTS, "marked place")
        return f"{match[1]}\n{FACTS[match[2]]()}\n\n{match[3]}"

    return MARKED.sub(replace, text)


def differing(folder: Path) -> dict[Path, str]:
    """Pages of a folder whose marked places are not what the code says, with their new texts."""
    before = {page: page.read_text() for page in sorted(folder.rglob("*.md"))}
    after = {page: made_anew(text) for page, text in before.items() if MARKED.search(text)}
    return {page: text for page, text in after.items() if text != before[page]}
