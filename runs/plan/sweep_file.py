"""Reads sweeps from files: TOML -> `Sweep`.

    name = "my-sweep"
    description = "Two agents on the bundled digits."
    minutes = 2
    seeds = [0, 1, 2]

    [settings]                          # of every row, as in `ccenv train`
    images = 20_000

    [[rows]]
    agent = "reinforce"                 # the row is labelled by its agent

    [[rows]]
    agent = "rloo"
    label = "rloo, {num_kept} kept, rate {learning_rate}"
    grid = { num_kept = [1, 2], learning_rate = [0.01, 0.03] }    # every pair, one row each

    [[rows]]
    agent = "condnet"
    settings = { l2_weight = 0.0 }
    each = [                            # one row each, with a label and settings of its own
        { label = "condnet, few", target_density = 0.05 },
        { label = "condnet, many", target_density = 0.2, seeds = [0] },
    ]

Nothing in a file is run: agents, rewards and networks are names, as on the command line.
"""

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ccenv.agents import AGENTS
from ccenv.base.registry import check_names
from ccenv.runs.plan.sweep import Cell, Sweep

OF_SWEEP = ("name", "description", "minutes", "seeds", "settings", "miniature", "rows", "budgets")
OF_ROWS = ("agent", "label", "seeds", "settings", "grid", "each")
OF_EACH = ("label", "seeds")
"""Names of an entry of `each` that are no settings."""
USUAL_SEEDS = (0, 1, 2)
FIELD = re.compile(r"\{([\w.]+)\}")
"""of a label: the name of a setting, dotted for one inside another."""


def read_sweep(path: Path) -> Sweep:
    """Reads a sweep and checks its form; settings are checked when its runs are planned.

    Args:
        path: of the TOML file.

    Raises:
        ValueError: naming the file, what was expected and what came.
        OSError: if it cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected a sweep as TOML in {path}, got {error}") from error
    try:
        return sweep_of({"name": path.stem, **content})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def sweep_of(content: Mapping[str, Any]) -> Sweep:
    """A sweep of what a file holds.

    Raises:
        ValueError: naming what was expected and what came.
    """
    check_names(content, OF_SWEEP, "key of a sweep")
    groups = expected(content, "rows", list, [])
    cells = tuple(itertools.chain.from_iterable(cells_of(group) for group in groups))
    if not cells:
        raise ValueError("expected rows, got none; add [[rows]] with an agent")
    return Sweep(
        name=expected(content, "name", str, ""),
        description=expected(content, "description", str, ""),
        cells=cells,
        minutes=float(expected(content, "minutes", int | float, 1.0)),
        settings=expected(content, "settings", dict, {}),
        seeds=seeds_of(content, USUAL_SEEDS),
        mini=expected(content, "miniature", dict, {}),
    )


def cells_of(group: Any) -> Iterator[Cell]:
    """The rows of a group: one for every combination of its grid and entry of `each`.

    Raises:
        ValueError: naming what was expected and what came.
    """
    if not isinstance(group, Mapping):
        raise ValueError(f"expected [[rows]] to be tables, got {group!r}")
    check_names(group, OF_ROWS, "key of rows")
    agent = expected(group, "agent", str, None)
    if ":" not in agent:
        check_names([agent], AGENTS, "agent")
    shared, seeds = expected(group, "settings", dict, {}), seeds_of(group, None)
    entries = filled(group, "each", [{}])
    points = grid_points(expected(group, "grid", dict, {}), agent)
    for entry, point in itertools.product(entries, points):
        if not isinstance(entry, Mapping):
            raise ValueError(f"expected entries of each to be tables, got {entry!r}")
        own = {name: value for name, value in entry.items() if name not in OF_EACH}
        settings = {**shared, **own, **point}
        label = entry.get("label", group.get("label", agent))
        yield Cell(labelled(label, settings), agent, settings, seeds_of(entry, seeds))


def grid_points(grid: Mapping[str, Any], agent: str) -> list[dict[str, Any]]:
    """All combinations of a grid's values; the last name changes first.

    Raises:
        ValueError: if a name has no values.

    >>> grid_points({"a": [1, 2], "b": [3]}, "rloo")
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(
                f"expected a list of values of {name!r} in the grid of {agent}, got {values!r}"
            )
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def labelled(label: Any, settings: Mapping[str, Any]) -> str:
    """A label with the values of the settings that it names.

    Raises:
        ValueError: if it names one that the row does not have.

    >>> labelled("rloo, {num_kept} kept", {"num_kept": 2})
    'rloo, 2 kept'
    """

    def value(match: re.Match[str]) -> str:
        found: Any = settings
        for name in match[1].split("."):
            if not isinstance(found, Mapping) or name not in found:
                raise ValueError(
                    f"expected the label {label!r} to name settings of its row, got {match[0]}; "
                    f"the row has {', '.join(settings) or 'none'}"
                )
            found = found[name]
        return f"{found:g}" if isinstance(found, float) else str(found)

    if not isinstance(label, str) or not label:
        raise ValueError(f"expected a label as a text, got {label!r}")
    return FIELD.sub(value, label)


def seeds_of(content: Mapping[str, Any], usual: Any) -> Any:
    """Seeds as a file gives them: a list of whole numbers.

    Raises:
        ValueError: if they are something else.
    """
    if "seeds" not in content:
        return usual
    seeds = filled(content, "seeds", [])
    if not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f"expected seeds as whole numbers of at least 0, got {seeds}")
    return tuple(seeds)


def filled(content: Mapping[str, Any], name: str, usual: list[Any]) -> list[Any]:
    """A list that is not empty.

    Raises:
        ValueError: if it is empty or something else.
    """
    found: list[Any] = expected(content, name, list, usual)
    if not found:
        raise ValueError(f"expected {name} to hold something, got an empty list")
    return found


def expected(content: Mapping[str, Any], name: str, kind: Any, usual: Any) -> Any:
    """A value of a file, of the right kind.

    Raises:
        ValueError: if it is missing and has no usual value, or is of another kind.
    """
    if name not in content and usual is not None:
        return usual
    value = content.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = {str: "a text", list: "a list", dict: "a table"}
        raise ValueError(f"expected {name} as {kinds.get(kind, 'a number')}, got {value!r}")
    return value
