"""Agents tuned alike: the chosen setting of each -> a table by bits, beside hashing and chance."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ccenv.runs.engine.jobs import Comparison
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.show.tables import Table
from ccenv.runs.stats.bits import bits_of
from ccenv.runs.stats.intervals import Interval, mean_interval
from ccenv.runs.stats.results import Result, evaluation
from ccenv.runs.studies.text_agents import AGENTS, CHOSEN, FIXED, rows

NOTE = (
    "Most probable masks; of random masks, drawn ones. Interval: Student's, 95 %, over seeds. The "
    "setting is the best of four on validation text; no others were tried. MACs with the "
    "policy's own."
)


def tuned(comparison: Comparison, results_dir: Path) -> Part:
    """The chosen rows and those without a choice, best first."""
    found = comparison.results
    chosen = {label: rows(label)[CHOSEN[label][0]].label for label in AGENTS}
    kept = {name: row for name, row in chosen.items() if found.get(row)}
    kept |= {name: name for name in FIXED if found.get(name)}
    lines = [line_of(name, row, found[row]) for name, row in kept.items()]
    return Part([tuned_table(lines)] if lines else [])


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
    return Table("tuned", "Agents tuned alike", columns, [list(line) for line in ordered], NOTE)
