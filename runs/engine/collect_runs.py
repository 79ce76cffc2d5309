"""Folders of finished runs, whatever made them -> one comparison; runs no code and trains nothing.

Runs that differ in their seed alone are one row, named by the agent and by the settings in which it
differs from the agent's other rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.registry import resolve
from ccenv.rewards import REWARDS, reward_parameters
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.config.values import compact
from ccenv.runs.engine.sweep_runs import Finished, SweepRuns
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.identity import validations_every
from ccenv.runs.store.untrusted_files import stored_result

Result = dict[str, Any]
Settings = Mapping[str, str]
COST_WEIGHT = "reward_kwargs.cost_weight"
FIRST = "reward", COST_WEIGHT
"""Settings that stand before others in a name."""
APART = ("seed", "log_dir", "progress", "threads")
"""Settings that tell no row from another."""


def gather_folders(roots: Sequence[Path], name: str) -> SweepRuns:
    """Every finished run at or below some folders."""
    folders = [folder for root in roots for folder in run_folder.run_folders(root)]
    results = [stored_result(folder) | {"folder": str(folder)} for folder in folders]
    rows = in_rows(results)
    cells = tuple(Cell(label, runs[0]["agent"]) for label, runs in rows.items())
    about = f"{len(results)} finished runs below {', '.join(map(str, roots))}."
    sweep = Sweep(name, about, cells, minutes=0.0, seeds=())
    finished = [Finished(label, result) for label, runs in rows.items() for result in runs]
    return SweepRuns(sweep, tuple(finished), ())


def in_rows(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Label -> results by seed; a run that is there twice (copied) counts once."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], dict[int, Result]] = {}
    for result in results:
        key = result["agent"], tuple(sorted(settings_of(result).items()))
        groups.setdefault(key, {}).setdefault(result["seed"], result)
    labels = row_labels([(agent, dict(settings)) for agent, settings in groups])
    rows = {
        label: [by_seed[seed] for seed in sorted(by_seed)]
        for label, by_seed in zip(labels, groups.values(), strict=True)
    }
    return dict(sorted(rows.items()))


def settings_of(result: Result, form: Callable[[Any], Any] = compact) -> dict[str, Any]:
    """A run's settings as text, named as on the command line; those that make it another run.

    >>> settings_of({"settings": {"seed": 3, "environment": {"reward_kwargs": {"weight": 2}}}})
    {'reward_kwargs.weight': '2'}
    """
    settings = {k: v for k, v in result.get("settings", {}).items() if k not in APART}
    if settings.get("eval_every") == validations_every(settings.get("images", 0)):
        del settings["eval_every"]
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = value if isinstance(value, Mapping) else {name: value}
        flat |= dotted({key: item for key, item in inner.items() if key not in APART}, form)
    return flat


def dotted(
    settings: Mapping[str, Any], form: Callable[[Any], Any] = lambda value: value
) -> dict[str, Any]:
    """Settings without levels: those of a setting are named behind it and a dot."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in dotted(value, form).items()}
        else:
            flat[name] = form(value)
    return flat


def telling_settings(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Of each run: reward, cost weight, what differs between runs (or those of the same agents)."""
    settings = [settings_of(result, lambda value: value) for result in results]
    for of_run in settings:
        if (reward := str(of_run.get("reward"))) in REWARDS and COST_WEIGHT not in of_run:
            parameters = reward_parameters(resolve(reward, REWARDS, "reward")) or {}
            of_run |= (
                {COST_WEIGHT: parameters["cost_weight"]} if "cost_weight" in parameters else {}
            )
    of_agents = {n for one in results for n in one.get("settings", {}).get("agent_settings", {})}
    names = [*FIRST]
    for name in dict.fromkeys(name for one in settings for name in one):
        having = [one for one in settings if name in one] if name in of_agents else settings
        if name not in (*names, "agent") and len({compact(one.get(name)) for one in having}) > 1:
            names.append(name)
    return [{name: one.get(name) for name in names} for one in settings]


def row_labels(rows: Sequence[tuple[str, Settings]]) -> list[str]:
    """A name for each row: its agent, and what tells it from the agent's other rows.

    The reward and its cost weight come first.

    >>> row_labels([("dense", {}), ("rloo", {"rate": "0.1", "k": "2"}), ("rloo", {"rate": "1"})])
    ['dense', 'rloo rate=0.1 k=2', 'rloo rate=1']
    """
    labels = []
    for agent, settings in rows:
        alike = [others for name, others in rows if name == agent]
        names = [name for name in dict.fromkeys((*FIRST, *settings)) if name in settings]
        telling = [n for n in names if len({others.get(n) for others in alike}) > 1]
        labels.append(" ".join([agent, *(f"{n}={settings[n]}" for n in telling)]))
    return labels
