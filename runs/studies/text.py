"""Agents tuned alike: the chosen setting of each -> a table by bits, with two baselines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccenv.runs.config.sweep import Sweep
from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.measures import Result, bits_of, shown
from ccenv.runs.stats.verdict import Contender, Score, verdict
from ccenv.runs.tables.sweep_table import Table

NOTE = (
    "Greedy masks; random masks are sampled. Interval: Student's, 95 %, over seeds. The "
    "setting has the least bits of four on validation text; no others were tried. MACs include the "
    "policy's own."
)


def tuned(comparison: Comparison, results_dir: Path) -> Part:
    """The chosen rows and those without a choice, in the order of their mean bits."""
    found = comparison.results
    lines = [
        line_of(name, setting, found[label])
        for label, (name, setting) in chosen_rows(comparison.sweep).items()
        if found[label]
    ]
    return Part([tuned_table(lines)] if lines else [])


def chosen_rows(sweep: Sweep) -> dict[str, tuple[str, str]]:
    """Label -> method and setting, of each method's row with the most seeds."""
    chosen: dict[str, tuple[str, str, int]] = {}
    for cell in sweep.cells:
        name = cell.method or cell.agent
        seeds = len(sweep.seeds if cell.seeds is None else cell.seeds)
        if name not in chosen or seeds > chosen[name][-1]:
            chosen[name] = (cell.label, cell.setting, seeds)
    return {label: (name, setting) for name, (label, setting, _) in chosen.items()}


BITS_SCORE = Score("mean bits a symbol", more_is_better=False, ends=(0.0, math.inf))
TUNED = Section("tuned", "Agents tuned alike", tuned)
Line = tuple[str, str, int, float, Interval]


def line_of(name: str, setting: str, results: Sequence[Result]) -> Line:
    """Agent, its setting, seeds, MACs and test bits."""
    verdicts: list[Mapping[str, float]] = [shown(one, "mode") for one in results]
    macs = sum(v["macs"] for v in verdicts) / len(verdicts)
    bits = mean_interval([bits_of(v["nll"]) for v in verdicts])
    return name, setting, len(verdicts), macs, bits


def tuned_table(lines: Sequence[Line]) -> Table:
    """By bits."""
    columns = {
        "agent": "left",
        "setting": "left",
        "seeds": "right",
        "MACs": "right ,.0f",
        "test bits a symbol": "right .3f",
    }
    ordered = sorted(lines, key=lambda line: line[-1].mean)
    contenders = [Contender(name, bits, seeds) for name, _, seeds, _, bits in ordered]
    note = f"{NOTE} Verdict: {verdict(contenders, BITS_SCORE).sentence}."
    return Table("tuned", "Agents tuned alike", columns, [list(line) for line in ordered], note)
