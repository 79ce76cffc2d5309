"""The sizes of the code only fall, unless a line of `ratchet.toml` says why one rises."""

import ast
import tomllib
from collections import Counter

from test_architecture import MODULES, ROOT, part_of, tree_of

FIGURES = tomllib.loads((ROOT / "tests" / "ratchet.toml").read_text())
SLACK = 0.01
"""Share by which a figure may lie below what the file allows: then the file is lowered."""


def lines_of(paths):
    return sum(len(path.read_text().splitlines()) for path in paths)


def modules_of(part):
    return [path for name, path in MODULES.items() if part_of(name) == part]


def members_of(name, module):
    """Members that a class of a module defines or declares, private ones left out."""
    [definition] = [n for n in tree_of(MODULES[module]).body if getattr(n, "name", "") == name]
    targets = (getattr(n, "target", None) for n in definition.body)
    names = [getattr(n, "name", "") for n in definition.body]
    names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if name and not name.startswith("_")]


def names_defined_twice():
    """Public names of functions, classes and constants at the top of two or more files."""
    kinds = ast.FunctionDef | ast.ClassDef
    counts = Counter(
        name
        for module, path in MODULES.items()
        # Specifications say again, on purpose, what the core says.
        if part_of(module) != "lab" and not module.startswith("ccenv.minimal")
        for name in {n.name for n in tree_of(path).body if isinstance(n, kinds)}
        if not name.startswith("_")
    )
    return [name for name, count in counts.items() if count > 1]


MEASURED = {
    "core_lines": lambda: lines_of(modules_of("core")),
    "core_files": lambda: len(modules_of("core")),
    "annexes_lines": lambda: lines_of(modules_of("annexes")),
    "runs_lines": lambda: lines_of(modules_of("runs")),
    "lab_lines": lambda: lines_of(modules_of("lab")),
    "tests_lines": lambda: lines_of((ROOT / "tests").rglob("*.py")),
    "product_files": lambda: sum(part_of(name) != "lab" for name in MODULES),
    "members_of_gated_network": lambda: len(
        members_of("GatedNetwork", "ccenv.networks.core.protocol")
    ),
    "names_defined_twice": lambda: len(names_defined_twice()),
}


def test_every_figure_has_a_line():
    assert set(MEASURED) == set(FIGURES)


def advice_on(figures, measured):
    """What to write into the file, one line for each figure that is not as it allows."""
    advice = []
    for name, number in measured.items():
        most = figures[name]["least"] + sum(one["by"] for one in figures[name].get("raised", []))
        if number > most:
            line = f'{{ by = {number - most}, why = "..." }}'
            advice.append(f"[{name}] raised: add {line}  (it is {number:,}, allowed is {most:,})")
        elif number < most * (1 - SLACK):
            advice.append(f"[{name}] least = {number}, without raised  (it has fallen)")
    return advice


def test_figures_rise_only_with_a_reason():
    raised = [one for figure in FIGURES.values() for one in figure.get("raised", [])]
    assert all(one["by"] > 0 and len(one["why"].split()) > 3 for one in raised)
    advice = advice_on(FIGURES, {name: measure() for name, measure in MEASURED.items()})
    lines = "\n".join(advice)
    assert not advice, f"delete as much as you add, or write into tests/ratchet.toml:\n{lines}"


def test_all_lines_to_write_are_said_at_once():
    figures = {name: {"least": 100} for name in ("more", "same", "fewer")}
    figures["more"]["raised"] = [{"by": 5, "why": "..."}]
    more, fewer = advice_on(figures, {"more": 112, "same": 100, "fewer": 80})
    assert more.startswith('[more] raised: add { by = 7, why = "..." }')
    assert fewer.startswith("[fewer] least = 80")
