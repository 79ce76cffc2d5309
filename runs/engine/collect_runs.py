"""Folders of finished runs, whatever made them -> one comparison; runs no code and trains nothing.

Runs that differ in their seed alone are one row, named by the agent and by the settings in which it
differs from the agent's other rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine.jobs import Comparison, Finished
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.identity import validations_every
from ccenv.runs.store.untrusted_files import stored_result
from ccenv.runs.tensorboard.hparams import compact

Result = dict[str, Any]
Settings = Mapping[str, str]
APART = ("seed", "log_dir", "progress", "threads")
"""Settings that tell no row from another."""


def gather_folders(roots: Sequence[Path], name: str, draw: str) -> Comparison:
    """Every finished run at or below some folders.

    Raises:
        ValueError: if one of them holds no finished run, or a result was edited by hand.
    """
    folders = [folder for root in roots for folder in run_folder.run_folders(root)]
    results = [stored_result(folder) | {"folder": str(folder)} for folder in folders]
    rows = in_rows(results)
    cells = tuple(Cell(label, found[0]["agent"]) for label, found in rows.items())
    said = f"{len(results)} finished runs below {', '.join(map(str, roots))}."
    sweep = Sweep(name, said, cells, minutes=0.0, seeds=())
    finished = [Finished(label, result) for label, found in rows.items() for result in found]
    return Comparison(sweep, tuple(finished), (), draw)


def in_rows(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Label -> results by seed; a run that is there twice (copied) counts once."""
    groups: dict[tuple[str, frozenset[tuple[str, str]]], dict[int, Result]] = {}
    for result in results:
        key = result["agent"], frozenset(settings_of(result).items())
        groups.setdefault(key, {}).setdefault(result["seed"], result)
    labels = labels_of([(agent, dict(settings)) for agent, settings in groups])
    found = {
        label: [by_seed[seed] for seed in sorted(by_seed)]
        for label, by_seed in zip(labels, groups.values(), strict=True)
    }
    return dict(sorted(found.items()))


def settings_of(result: Result) -> dict[str, str]:
    """A run's settings as text, named as on the command line; those that make it another run.

    >>> settings_of({"settings": {"seed": 3, "environment": {"reward_kwargs": {"weight": 2}}}})
    {'reward_kwargs.weight': '2'}
    """
    settings = {k: v for k, v in result["settings"].items() if k not in APART}
    if settings.get("eval_every") == validations_every(settings.get("images", 0)):
        del settings["eval_every"]
    flat: dict[str, str] = {}
    for name, value in settings.items():
        inner = value if isinstance(value, Mapping) else {name: value}
        flat |= dotted({key: item for key, item in inner.items() if key not in APART})
    return flat


def dotted(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings without levels: those of a setting are named behind it and a dot."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": text for key, text in dotted(value).items()}
        else:
            flat[name] = compact(value)
    return flat


def labels_of(rows: Sequence[tuple[str, Settings]]) -> list[str]:
    """A name for each row: its agent, and what tells it from the agent's other rows.

    >>> labels_of([("dense", {}), ("rloo", {"rate": "0.1", "k": "2"}), ("rloo", {"rate": "1"})])
    ['dense', 'rloo rate=0.1 k=2', 'rloo rate=1']
    """
    labels = []
    for agent, settings in rows:
        alike = [others for name, others in rows if name == agent]
        telling = [n for n in settings if len({others.get(n) for others in alike}) > 1]
        labels.append(" ".join([agent, *(f"{n}={settings[n]}" for n in telling)]))
    return labels
