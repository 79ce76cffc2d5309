"""Reads sweeps from files: TOML -> `Sweep`.

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

What stands later is laid over what stands earlier: settings of the sweep, `[shared.NAME]` for rows
with `shared = "NAME"`, the rows' own, their entries of `each`, their grid. Tables such as
`weights_kwargs` are laid over each other too, but for an empty one, which replaces. `each` may be
several lists of entries: every combination. A label holds `{setting}`, `{setting:format}`,
`{table.setting}` or `{list.0}`, and so do `method` (what a row counts to, where its agent and
network do not say it), `place`, `budget` and `setting`, of which a row without a label has one.

Agents, rewards and networks are names of the project's tables, or `module:name` of modules that the
reader trusts. Runs are written where the reader says: a file holds no `log_dir`.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.agents import AGENTS
from ccenv.base.given_files import check_content, read_toml
from ccenv.base.registry import ELSEWHERE, check_names
from ccenv.base.trust import leaves_of
from ccenv.base.values import LONGEST_LABEL, check_printable, shown
from ccenv.runs.config.agent_settings import find_agent, known_settings
from ccenv.runs.config.settings import setting_names
from ccenv.runs.config.sweep import Cell, Sweep, check_run_count
from ccenv.runs.config.values import opened
from ccenv.runs.store.untrusted_files import check_trusted

OF_SWEEP = (
    "name",
    "description",
    "minutes",
    "seeds",
    "settings",
    "shared",
    "miniature",
    "rows",
    "budgets",
    "memory_budgets",
    "places",
    "measure",
)
SAID = ("method", "place", "budget", "setting")
"""What a row says of itself; its label if it has none."""
OF_EACH = ("agent", "label", "seeds", "masks", *SAID)
"""Names of an entry of `each` that are no settings."""
OF_ROWS = (*OF_EACH, "shared", "settings", "grid", "each")
ROWS = "[[rows]] number"
HOW = {
    "agent": 'write agent = "NAME", a name that ccenv list agents shows',
    "each": "write each = [{ label = TEXT, SETTING = VALUE }, ...]",
    "grid": "write grid = { SETTING = [VALUE, ...] }",
    "label": 'write label = "TEXT {SETTING}"',
    "minutes": "write minutes = 2",
    "rows": "write [[rows]], in two brackets, above each",
    "seeds": "write seeds = [0, 1, 2]",
    "settings": "write settings = { SETTING = VALUE } in a row, or [settings] for all rows",
    "shared": 'write shared = "NAME" in a row, and [shared.NAME] with its settings',
}
"""What to write for a key that came wrong."""
PROSE = re.compile(rf"name|description|(rows(\.each)?|shared\.[^.]*)\.(label|{'|'.join(SAID)})")
"""Where a text is for people: its colons lead to no module."""
SECTION = re.compile(r"^(settings|miniature|shared\.[^.]*|rows(\.(settings|each|grid))?)\.")
"""What stands before the name of a setting, in its dotted place in a file."""
LOG_DIR = ".log_dir"
USUAL_SEEDS = (0, 1, 2)
FIELD = re.compile(r"\{([\w.]+)(?::([,.%\ddefg]{1,4}))?\}")
"""Of a label: the name of a setting, dotted for one inside another, and how it is written."""


def read_sweep(path: Path, trusted: Sequence[str] = ()) -> Sweep:
    """Reads a sweep and checks its form; settings are checked when its runs are planned.

    Args:
        path: of the TOML file.
        trusted: modules of the reader's own that it may name, see `ccenv.base.trust`.

    Raises:
        ValueError: naming the file, what was expected and what came.
    """
    try:
        content = read_toml(path)
    except FileNotFoundError as error:
        raise ValueError(f"expected a sweep as TOML in {path}, got no such file") from error
    try:
        sweep = sweep_of({"name": path.stem, **content}, trusted)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error
    cells = (dataclasses.replace(one, origin=f"{path}: {one.origin}") for one in sweep.cells)
    return dataclasses.replace(sweep, cells=tuple(cells))


def sweep_of(content: Mapping[str, Any], trusted: Sequence[str] = ()) -> Sweep:
    """A sweep of what a file holds; arguments as those of `read_sweep`."""
    # Of a row is said which.
    groups = expected(content, "rows", list, [])
    check_allowed({name: value for name, value in content.items() if name != "rows"}, trusted)
    check_keys(content, OF_SWEEP, "a sweep", "under [settings]")
    settings = opened(expected(content, "settings", dict, {}).items())
    shared = expected(content, "shared", dict, {})
    cells: list[Cell] = []
    for number, group in enumerate(groups, start=1):
        origin = f"{ROWS} {number}"
        try:
            check_allowed({"rows": [group]}, trusted)
            in_group = cells_in(group, settings, shared)
            cells += [dataclasses.replace(cell, origin=origin) for cell in in_group]
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error
    if not cells:
        raise ValueError("expected rows, got none; add [[rows]] with an agent")
    sweep = Sweep(
        name=expected(content, "name", str, ""),
        description=expected(content, "description", str, ""),
        cells=tuple(cells),
        minutes=float(expected(content, "minutes", int | float, 1.0)),
        settings=frozen(settings),
        seeds=seeds_in(content, USUAL_SEEDS),
        mini=frozen(opened(expected(content, "miniature", dict, {}).items())),
        budgets=budgets_in(content, "budgets"),
        memory_budgets=budgets_in(content, "memory_budgets"),
        places=expected(content, "places", dict, {}),
        measure=expected(content, "measure", str, "error"),
    )
    check_run_count(sweep.num_runs)
    return sweep


def check_allowed(content: Mapping[str, Any], trusted: Sequence[str]) -> None:
    """Refuses what no part of a file may hold, before any part is read.

    That is code of modules that are not trusted, a folder to write to, and what
    `check_content` refuses.
    """
    check_content(content)
    for place, value in leaves_of(content):
        if place.endswith(LOG_DIR):
            raise ValueError(
                f"expected no {place}, got {shown(value)}: the reader of a sweep chooses where its "
                "runs are written; leave it out, and give --log-dir (log_dir=)"
            )
        if isinstance(value, str) and not PROSE.fullmatch(place):
            check_trusted({SECTION.sub("", place): value}, trusted)


def check_keys(content: Mapping[str, Any], allowed: Sequence[str], kind: str, where: str) -> None:
    """Refuses keys that are not known; a setting among them, its agent's too, gets its place."""
    unknown = [name for name in content if name not in allowed]
    agent = content.get("agent", "")
    is_known = isinstance(agent, str) and agent in AGENTS
    names = known_settings(find_agent(agent)) if unknown and is_known else []
    for name in unknown:
        if ELSEWHERE.get(name, name).partition(".")[0] in setting_names(names or ()):
            raise ValueError(f"{name} is no key of {kind}; it is a setting and stands {where}")
    check_names(unknown, allowed, f"key of {kind}")


def cells_in(
    group: Any,
    common: Mapping[str, Any],
    shared: Mapping[str, Mapping[str, Any]],
) -> Iterator[Cell]:
    """The rows of a group: one for every combination of its entries of `each` and of its grid."""
    if not isinstance(group, Mapping):
        raise ValueError(f"expected [[rows]] to be tables, got {shown(group)}")
    check_keys(group, OF_ROWS, "a row", "in settings = { SETTING = VALUE } of the row")
    named = [expected(group, "shared", str, None)] if "shared" in group else []
    for name in named:
        if name not in shared:
            raise ValueError(f"expected [shared.{name}] for shared = {name!r}, got none")
    group_settings = opened(expected(group, "settings", dict, {}).items())
    for name in named:
        base = opened(expected(shared, name, dict, None).items())
        group = {**{word: base[word] for word in SAID if word in base}, **group}
        group_settings = laid_over(
            {word: base[word] for word in base if word not in SAID}, group_settings
        )
    lists = entries_of(group)
    axes = axes_of(expected(group, "grid", dict, {}))
    # A grid of a few words may have more rows than memory holds.
    every: list[list[Any]] = [*lists, *axes]
    check_run_count(math.prod(len(axis) for axis in every))
    for parts in itertools.product(*lists, *axes):
        entry: Mapping[str, Any] = {}
        for part in parts:
            entry = laid_over(entry, part)
        settings = opened((name, v) for name, v in entry.items() if name not in OF_EACH)
        yield row_cell({**group, **entry}, laid_over(group_settings, settings), common)


def row_cell(
    row: Mapping[str, Any], settings: Mapping[str, Any], common: Mapping[str, Any]
) -> Cell:
    """One row."""
    tables = {"[settings]": common, "settings": settings}
    if "agent" not in row and (places := [place for place in tables if "agent" in tables[place]]):
        raise ValueError(f"agent stands under {places[0]}; it belongs in each [[rows]]")
    if seeded := [place for place in tables if "seed" in tables[place]]:
        raise ValueError(f"seed stands under {seeded[0]}; write seeds = [0], in the row or on top")
    agent = expected(row, "agent", str, None)
    if ":" not in agent:
        check_names([agent], AGENTS, "agent")
    named = {"agent": agent, **settings}
    texts: dict[str, Any] = {name: labelled(row[name], named) for name in SAID if name in row}
    label = labelled(row["label"], named) if "label" in row else usual_label(agent, **texts)
    whole = laid_over(common, settings)
    of_row = frozen({name: whole[name] for name in settings})
    masks = expected(row, "masks", str, "")
    return Cell(label, agent, of_row, seeds_in(row, None), **texts, masks=masks)


def usual_label(
    agent: str, method: str = "", place: str = "", budget: str = "", setting: str = ""
) -> str:
    """What a row is called that has no label.

    >>> usual_label("rloo"), usual_label("rloo", place="mlp", budget="2 of 8", setting="rate 0.1")
    ('rloo', 'mlp: rloo 2 of 8, rate 0.1')
    """
    name = " ".join(filter(None, [f"{place}:" if place else "", method or agent, budget]))
    return f"{name}, {setting}" if setting else name


def entries_of(group: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """The lists of entries of a group's `each`."""
    if "each" not in group:
        return []
    each = nonempty(group, "each")
    lists = each if all(isinstance(one, list) for one in each) else [each]
    for entries in lists:
        if not entries or not all(isinstance(entry, Mapping) for entry in entries):
            raise ValueError(
                f"expected entries of each to be tables, got {shown(entries)}; {HOW['each']}"
            )
    return lists


def axes_of(grid: Mapping[str, Any], place: str = "") -> list[list[dict[str, Any]]]:
    """The values of each setting of a grid, as settings.

    >>> axes_of({"a": [1, 2], "b": {"c": [3]}})
    [[{'a': 1}, {'a': 2}], [{'b': {'c': 3}}]]
    """
    axes: list[list[dict[str, Any]]] = []
    for name, values in grid.items():
        if isinstance(values, Mapping):
            inner = axes_of(values, f"{place}{name}.")
            axes += [[{name: point} for point in points] for points in inner]
        elif isinstance(values, list) and values:
            axes.append([{name: value} for value in values])
        else:
            raise ValueError(
                f"expected a list of values of {place + name!r} in the grid, got {shown(values)}; "
                "one value stands in settings"
            )
    return axes


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them; tables are laid over tables, but an empty one replaces.

    >>> laid_over({"a": {"b": 1, "c": 2}, "d": {"e": 1}}, {"a": {"b": 3}, "d": {}})
    {'a': {'b': 3, 'c': 2}, 'd': {}}
    """
    whole = dict(below)
    for name, value in above.items():
        under = below.get(name)
        if isinstance(under, Mapping) and isinstance(value, Mapping) and value:
            whole[name] = laid_over(under, value)
        else:
            whole[name] = value
    return whole


def frozen(value: Any) -> Any:
    """Lists of a file as tuples, as settings hold them."""
    if isinstance(value, Mapping):
        return {name: frozen(inner) for name, inner in value.items()}
    return tuple(frozen(inner) for inner in value) if isinstance(value, list) else value


def labelled(label: Any, settings: Mapping[str, Any]) -> str:
    """A label with the values of the settings that it names.

    >>> labelled("rloo, {num_kept} of {sizes}, {macs:,} MACs", {"num_kept": 2, "sizes": [8, 16],
    ...     "macs": 7168})
    'rloo, 2 of 8, 16, 7,168 MACs'
    """

    def value(match: re.Match[str]) -> str:
        entry: Any = settings
        for name in match[1].split("."):
            if isinstance(entry, list | tuple):
                entry = dict(zip(map(str, range(len(entry))), entry, strict=True))
            if not isinstance(entry, Mapping) or name not in entry:
                raise ValueError(
                    f"expected the label {label!r} to name settings of its row, got {match[0]}; "
                    f"the row has {', '.join(settings) or 'none'}"
                )
            entry = entry[name]
        return value_text(entry, match[2] or "")

    if not isinstance(label, str) or not label:
        raise ValueError(f"expected a label as a text, got {shown(label)}; {HOW['label']}")
    whole = FIELD.sub(value, label)
    check_printable(whole, "a label", LONGEST_LABEL)
    return whole


def value_text(value: Any, spec: str) -> str:
    """A value as a label says it.

    >>> value_text(0.50, ""), value_text(0.5, ".1%"), value_text((32, 32), "")
    ('0.5', '50.0%', '32, 32')
    """
    if isinstance(value, list | tuple):
        return ", ".join(value_text(inner, spec) for inner in value)
    usual = "g" if isinstance(value, float) else ""
    return format(value, spec or usual)


def seeds_in(content: Mapping[str, Any], usual: Any) -> Any:
    """Seeds as a file gives them: a list of whole numbers."""
    if "seeds" not in content:
        return usual
    seeds = nonempty(content, "seeds")
    whole = all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise ValueError(f"expected seeds as different whole numbers of at least 0, got {seeds}")
    return tuple(seeds)


def budgets_in(content: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Budgets as a file gives them: ascending whole numbers."""
    numbers = nonempty(content, name) if name in content else []
    if not all(type(number) is int for number in numbers) or numbers != sorted(set(numbers)):
        raise ValueError(f"expected {name} as ascending whole numbers, got {numbers}")
    return tuple(numbers)


def nonempty(content: Mapping[str, Any], name: str) -> list[Any]:
    """A list that is not empty."""
    entries: list[Any] = expected(content, name, list, None)
    if not entries:
        raise ValueError(f"expected {name} to hold something, got an empty list")
    return entries


def expected(content: Mapping[str, Any], name: str, kind: Any, usual: Any) -> Any:
    """A value of a file, of the right kind."""
    if name not in content and usual is not None:
        return usual
    value = content.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = {str: "a text", list: "a list", dict: "a table"}
        got = shown(value) if name in content else "none"
        how = f"; {HOW[name]}" if name in HOW else ""
        raise ValueError(f"expected {name} as {kinds.get(kind, 'a number')}, got {got}{how}")
    return value
