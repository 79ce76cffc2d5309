"""Agents tuned alike: the chosen setting of each -> a table by bits, with two baselines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.show.tables import Table
from ccenv.runs.stats.bits import bits_of
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.results import Result, evaluation
from ccenv.runs.stats.verdict import Contender, Score, verdict
from ccenv.runs.studies.text_agents import AGENTS, CHOSEN, FIXED, rows

NOTE = (
    "Greedy masks; random masks are sampled. Interval: Student's, 95 %, over seeds. The "
    "setting has the least bits of four on validation text; no others were tried. MACs include the "
    "policy's own."
)


def tuned(comparison: Comparison, results_dir: Path) -> Part:
    """The chosen rows and those without a choice, in the order of their mean bits."""
    found = comparison.results
    chosen = {label: rows(label)[CHOSEN[label][0]].label for label in AGENTS}
    kept = {name: row for name, row in chosen.items() if found.get(row)}
    kept |= {name: name for name in FIXED if found.get(name)}
    lines = [line_of(name, row, found[row]) for name, row in kept.items()]
    return Part([tuned_table(lines)] if lines else [])


BITS_SCORE = Score("mean bits a symbol", more_is_better=False, ends=(0.0, math.inf))
TUNED = Section("tuned", "Agents tuned alike", tuned)
Line = tuple[str, str, int, float, Interval]


def line_of(name: str, row: str, results: Sequence[Result]) -> Line:
    """Agent, its setting, seeds, MACs and test bits."""
    draw = "sampled" if name == "block_dropout" else "mode"
    verdicts: list[Mapping[str, float]] = [evaluation(one, draw) for one in results]
    macs = sum(v["macs"] for v in verdicts) / len(verdicts)
    bits = mean_interval([bits_of(v["nll"]) for v in verdicts])
    return name, row.removeprefix(name).removeprefix(", "), len(verdicts), macs, bits


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
