"""What can be chosen: ccenv list [KIND [NAME ...]] -> tables of names and meanings."""

import argparse
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ccenv.agents import AGENTS
from ccenv.base.registry import check_names, resolve
from ccenv.data.registry import DATASETS
from ccenv.envs import ENVIRONMENTS
from ccenv.mdp import LOOKS
from ccenv.mdp.action_codes import CODES
from ccenv.networks import NETWORKS
from ccenv.rewards import REWARDS, reward_parameters
from ccenv.rewards.bind import does
from ccenv.runs.commands.frame import Parser, print_json, program
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.config.values import compact, fits_json
from ccenv.runs.sweeps import SWEEPS
from ccenv.simulator.settings import setting_defaults

Line = dict[str, Any]

DIGIT = 64
"""Features of an input of the default data set."""
ABOUT, NAME = "about", "name"
ABOUT_WIDTH = 34
"""Characters at least of a column of sentences; other columns that do not fit are left out."""


def reward_line(reward: Any) -> Line:
    """A reward: what its description says, its arguments, and whether it remembers anything."""
    description = getattr(reward, "description", None)
    arguments = reward_parameters(reward) or {}
    return {
        "formula": description and description.formula,
        "low": description.low if description and math.isfinite(description.low) else None,
        "high": description.high if description and math.isfinite(description.high) else None,
        "deterministic": description and description.deterministic,
        "depends on machine": description and description.depends_on_machine,
        "keeps optimum": description and description.keeps_optimum,
        "remembers": does(reward, "update"),
        "numbers": len(description.components) or 1 if description else 1,
        "reward_kwargs": arguments,
        "about": first_line(reward),
    }


def agent_line(agent: Any) -> Line:
    """An agent: whether it learns, what it looks at, its settings."""
    return {
        "learns": agent.learns,
        "uses labels": agent.uses_labels,
        "wants": agent.env_defaults,
        "settings": agent_parameters(agent)[0],
        "about": first_line(agent),
    }


def environment_line(name: str) -> Line:
    """An environment: what it is of, its action space, and its other settings."""
    from ccenv.networks.core.arguments import takes_features
    from ccenv.simulator.simulator import Simulator

    preset = ENVIRONMENTS[name]
    settings = setting_defaults() | preset
    if takes_features(resolve(settings["network"], NETWORKS, "network")):
        blocks, width = settings["num_blocks"], max(settings["num_blocks"])
    else:
        settings["block_size"] = None
        # Weights that learn along need not be trained before they are looked at.
        simulator = Simulator(1, **{**preset, "weights": "cotrain"})
        blocks, width = list(simulator.num_blocks), simulator.max_blocks
    shown = {"dataset": settings["dataset"], "network": settings["network"]}
    shown |= {"num_blocks": blocks, "block_size": settings["block_size"]}
    others = {key: value for key, value in preset.items() if key not in shown}
    return {**shown, "action": f"MultiBinary({width})", "other settings": others}


def dataset_line(name: str) -> Line:
    """A data set: its test images as they are on this machine, or how to get them."""
    from ccenv.data import load_split

    try:
        test = load_split(name, "test")
    except (OSError, ImportError) as error:
        return {"here": False, "image": None, "classes": None, "test": None, "about": str(error)}
    load = DATASETS[name]
    sizes = {"image": list(test.image_shape), "classes": test.num_classes, "test": len(test)}
    return {"here": True, **sizes, "about": first_line(load)}


def network_line(builder: Any) -> Line:
    """A network: its settings as the command line takes them, its gates with their blocks, MACs.

    Sizes are those of its defaults on inputs of its default shape; none where it needs more.
    """
    from ccenv.networks.core.arguments import MLP_SIZES, arguments_of, takes_features

    parameters = inspect.signature(builder).parameters
    defaults = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
    shape = tuple(defaults.get("input_shape", (1, defaults.get("in_features", DIGIT))))
    sizes = {name: setting_defaults()[name] for name in MLP_SIZES}
    arguments = arguments_of(builder, shape, defaults.get("num_classes", 10), sizes, {})
    others = {name: value for name, value in defaults.items() if name not in arguments}
    settings = {f"network_kwargs.{name}": v for name, v in others.items() if fits_json(v)}
    network = sized(builder, arguments, others)
    if network is None and takes_features(builder):
        # The environment's sizes are not for everyone: the probe has the only ones that fit it.
        sizes = {name: defaults.get(name, value) for name, value in sizes.items()}
        network = sized(builder, arguments | sizes, others)
    settings |= sizes if takes_features(builder) else {}
    gates = (
        None
        if network is None
        else [f"{g.name}: {g.num_blocks} ({g.skipped})" for g in network.gates]
    )
    about = {"dense MACs": getattr(network, "dense_macs", None), "about": first_line(builder)}
    return {"settings": settings, "gates": gates, "input": shape, **about}


def sized(builder: Any, arguments: Mapping[str, Any], others: Mapping[str, Any]) -> Any:
    """A network, without memory where it can be built so; None where it cannot be built."""
    import torch

    # Weights of others' models need not be here to tell their sizes.
    weights = {"weights": "random"} if "weights" in others else {}
    # Networks of sequences look at the symbols of their example, of which there are none without
    # memory.
    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                return builder(**arguments, **weights)
        except (RuntimeError, ImportError, TypeError, ValueError):
            continue
    return None


def sweep_line(sweep: Any) -> Line:
    """A sweep: how many runs it is, and how long they take."""
    return {
        "cells": [cell.label for cell in sweep.cells],
        "seeds": len(sweep.seeds),
        "runs": len(sweep.runs()),
        "minutes": sweep.minutes,
        "about": sweep.description,
    }


def view_line(code: Any) -> Line:
    """A view of actions: its settings, and what its actions are."""
    parameters = inspect.signature(code).parameters.values()
    settings = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {"settings": settings, "about": first_line(code)}


def first_line(documented: Any) -> str:
    """First line of a docstring."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def of_table(
    table: Mapping[str, Any], describe: Callable[[Any], Line]
) -> tuple[Mapping[str, Any], Callable[[str], Line]]:
    """A kind whose names stand for objects that a function describes."""
    return table, lambda name: describe(resolve(name, table, "name"))


KINDS: dict[str, tuple[Mapping[str, Any], Callable[[str], Line]]] = {
    "rewards": of_table(REWARDS, reward_line),
    "agents": of_table(AGENTS, agent_line),
    "environments": (ENVIRONMENTS, environment_line),
    "datasets": (DATASETS, dataset_line),
    "networks": of_table(NETWORKS, network_line),
    "observations": (LOOKS, lambda name: {"about": LOOKS[name]}),
    "views": of_table(CODES, view_line),
    "sweeps": of_table(SWEEPS, sweep_line),
}


def list_kind(kind: str, names: Sequence[str] = ()) -> dict[str, Line]:
    """What is known of the names of a kind; yours by `module:name`.

    Raises:
        ValueError: if kind or name is unknown; the nearest right one is suggested.
    """
    check_names([kind], KINDS, "kind")
    table, describe = KINDS[kind]
    check_names([name for name in names if ":" not in name], table, kind.removesuffix("s"))
    return {name: as_plain(describe(name)) for name in names or table}


def as_plain(value: Any) -> Any:
    """A value that JSON can hold; objects become their names."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return value if fits_json(value) else getattr(value, "__name__", str(value))


def cell_text(value: Any) -> str:
    """A value as a cell of a table; names that hold a comma stand between semicolons.

    >>> [cell_text(value) for value in (True, None, ["a", "b"], ["a, 1", "b"], {"rate": 0.1})]
    ['yes', 'none', 'a, b', 'a, 1; b', 'rate=0.1']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ("; " if any("," in item for item in value) else ", ").join(value)
    return "none" if value is None else compact(value)


def overview(lines: Mapping[str, Line], width: int) -> tuple[Table, list[str]]:
    """A row for each name, in the width of a terminal, and the columns that do not fit."""
    texts = {name: {key: cell_text(v) for key, v in line.items()} for name, line in lines.items()}
    first = next(iter(texts.values()))
    keys = [key for key in first if key != ABOUT]
    last = [ABOUT] if ABOUT in first else []
    room = width - max(map(len, [NAME, *texts])) - ABOUT_WIDTH * len(last)
    shown = []
    for key in keys:
        heading = max(map(len, key.split()))
        size = max([heading, *(len(line[key]) for line in texts.values())]) + 2
        if size <= room:
            room -= size
            shown.append(key)
    hidden = [key for key in keys if key not in shown]
    table = Table(box=None, pad_edge=False)
    table.add_column(NAME, no_wrap=True)
    for key in [*shown, *last]:
        table.add_column(key, overflow="fold")
    for name, line in texts.items():
        table.add_row(*map(Text, [name, *(line[key] for key in [*shown, *last])]))
    return table, hidden


def in_full(lines: Mapping[str, Line]) -> Table:
    """All that is known of names, below each other."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, line in lines.items():
        for key, value in ({NAME: name} | line).items():
            table.add_row(Text(key), Text(cell_text(value)))
    return table


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="ccenv list", description=__doc__)
    parser.add_argument("kind", nargs="?", help=f"one of {', '.join(KINDS)}; all names if left out")
    parser.add_argument("names", nargs="*", help="only these; yours by module:name")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@program("ccenv list")
def main(arguments: Sequence[str] | None = None) -> int:
    """Shows what can be chosen; see --help."""
    options = make_parser().parse_args(arguments)
    if options.kind is None:
        names = {kind: list(table) for kind, (table, _) in KINDS.items()}
        if options.json:
            print_json({kind: {"names": of_kind} for kind, of_kind in names.items()})
            return 0
        lines = {kind: {ABOUT: of_kind} for kind, of_kind in names.items()}
    else:
        lines = list_kind(options.kind, options.names)
    if options.json:
        print_json(lines)
        return 0
    console = Console(highlight=False)
    table, hidden = overview(lines, console.width)
    if options.names:
        table, hidden = in_full(lines), []
    console.print(table)
    if hidden:
        what = f"{', '.join(hidden)}: ccenv list {options.kind} NAME"
        console.print(Text(f"\n{what}; all of it for programs: --json"))
    return 0
