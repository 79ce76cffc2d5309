"""Measures, shows and records: an experiment's options -> rows -> a table and a sealed file.

An `Experiment` says what is measured and how it is shown; `run_experiment` does the rest, alike for
all: options that all take, rows on stderr as they come, the table, and with `--record` a file that
says on which machine and with which versions the rows were measured.
"""

import argparse
import json
import os
import string
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccenv.base.files import finite, write_sealed, write_whole
from ccenv.runs.commands.frame import Parser
from ccenv.runs.stats.intervals import Interval
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.provenance import load_average, machine, versions
from ccenv.runs.store.recorded import read_table
from ccenv.runs.tables.drawing import Picture, drawn_in_style
from ccenv.runs.tables.short_table import print_text
from ccenv.runs.tables.sweep_table import markdown

Row = Mapping[str, Any]
Rows = Sequence[Row]
Options = argparse.Namespace


@dataclass(frozen=True)
class Experiment:
    """What is measured, how it is shown, and under which name it is recorded."""

    name: str
    """the word that starts it."""
    about: str
    """what it measures, in a sentence."""
    run: Callable[[Options], Iterable[Row]]
    """options -> rows, one after the other."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """heading of its table -> cells, as `formatted` has them."""
    shown: Callable[[Row], Row] = dict
    """row -> further fields that columns need."""
    pivot: Callable[[Any], str] | None = None
    """rows -> Markdown, in place of columns, where a line of the table is not a row."""
    kind: str = ""
    """of its recorded results, by which tables are found; the name by default."""
    recorded_as: str | Callable[[Options], str] = ""
    """stem of the file, or how options make it; the name by default."""
    settings: Mapping[str, Any] | None = None
    """that the file says in addition to its rows: what is the same in all of them."""
    add_options: Callable[[argparse.ArgumentParser], None] | None = None
    """adds options of its own."""
    head: Callable[[Options, Mapping[str, Any]], Mapping[str, Any]] | None = None
    """(options, what was recorded before) -> what else the file says, where options decide it."""
    key: tuple[str, ...] = ()
    """columns that name a row: recorded rows with other values in them stay; none of them if ()."""
    kept: Callable[[Rows], Rows] = list
    """what is shown and recorded of the rows."""
    notes: str = ""
    """below the table."""
    figure: Callable[[Any], Picture] | None = None
    """rows -> a picture."""
    advice: Callable[[Rows], list[str]] | None = None
    """rows -> what to choose on this machine."""
    failed: Callable[[Rows], bool] | None = None
    """rows -> whether something came out as it must not: the exit status."""
    names_machine: bool = False
    """whether a line below its recorded table names the processor."""

    @property
    def recorded_kind(self) -> str:
        """Of its recorded results."""
        return self.kind or self.name

    def table(self, rows: Any) -> str:
        """Rows -> Markdown."""
        if self.pivot is not None:
            return self.pivot(rows)
        return formatted(self.columns, [{**row, **self.shown(row)} for row in rows])


def make_parser(experiment: Experiment, program: str) -> argparse.ArgumentParser:
    """The command line of an experiment."""
    parser = Parser(prog=f"{program} {experiment.name}", description=experiment.about)
    if experiment.add_options is not None:
        experiment.add_options(parser)
    add = parser.add_argument
    add("--threads", type=int, default=1, help="torch's threads")
    add("--json", action="store_true", help="print JSON only")
    add("--record", action="store_true", help="write the result to --results-dir")
    add("--results-dir", type=Path, default=Path("runs/results"), help="folder of --record")
    add("--report-dir", type=Path, default=Path("runs/reports"), help="folder of the figure")
    return parser


def run_experiment(experiment: Experiment, program: str, arguments: Sequence[str]) -> int:
    """Measures, shows and, where asked, records.

    Returns:
        The exit status: 1 where something came out as it must not.
    """
    import torch

    parser = make_parser(experiment, program)
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error(f"expected --threads of at least 1, got {options.threads}")
    torch.set_num_threads(options.threads)
    if options.record:
        run_folder.check_writable(options.results_dir)
    result = measure_rows(experiment, options)
    kept = {**result, "rows": experiment.kept(result["rows"])}
    if options.record:
        path = record_rows(experiment, options, kept)
        print(f"recorded in {path}", file=sys.stderr)
    if options.json:
        print(json.dumps(finite(result)))
    else:
        print_text(shown_text(experiment, kept, options.report_dir))
    return int(experiment.failed is not None and experiment.failed(kept["rows"]))


def measure_rows(experiment: Experiment, options: Options) -> dict[str, Any]:
    """Measures row by row; says on which machine, and with which versions."""
    load, began = load_average(), time.process_time()
    rows: list[Row] = []
    for row in experiment.run(options):
        rows.append(row)
        print(json.dumps(finite(row))[:160], file=sys.stderr, flush=True)
    named = experiment.recorded_as
    return {
        "kind": experiment.recorded_kind,
        "name": (named(options) if callable(named) else named) or experiment.name,
        "rows": rows,
        "cpu_seconds": round(time.process_time() - began, 1),
        "machine": machine() | {"load_average": load, "variables": tuned()},
        "versions": versions(),
    }


def tuned() -> dict[str, str]:
    """Environment variables that change speed and are set: threads and the allocator's habits."""
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(("OMP_", "MALLOC_"))}


def record_rows(experiment: Experiment, options: Options, result: Mapping[str, Any]) -> Path:
    """Writes a result; rows of an earlier one stay where they are about something else."""
    path: Path = options.results_dir / f"{result['name']}.json"
    before = read_table(path) if path.exists() else {}
    content = dict(result)
    if experiment.settings is not None:
        content["settings"] = experiment.settings
    if experiment.head is not None:
        content |= experiment.head(options, before)
    if experiment.key:
        measured = {key_in(row, experiment.key) for row in result["rows"]}
        others = [r for r in before.get("rows", []) if key_in(r, experiment.key) not in measured]
        content["rows"] = [*others, *result["rows"]]
    write_sealed(path, content)
    return path


def key_in(row: Row, key: Sequence[str]) -> tuple[Any, ...]:
    """The values that name a row; None where it has no such column.

    >>> key_in({"what": "train", "kills": 20}, ["what"])
    ('train',)
    """
    return tuple(row.get(name) for name in key)


def shown_text(experiment: Experiment, result: Mapping[str, Any], report_dir: Path) -> str:
    """The table with its notes, the figure's file, advice, and the machine."""
    rows = result["rows"]
    parts = [f"{experiment.table(rows)}\n\n{experiment.notes}".strip()]
    if experiment.figure is not None:
        with drawn_in_style():
            figure = experiment.figure(rows)
        path = report_dir / f"{result['name']}.png"
        write_whole(path, figure.png)
        parts.append(f"figure: {path}")
    parts += experiment.advice(rows) if experiment.advice is not None else []
    return "\n".join([*parts, str(result["machine"])])


class Fields(string.Formatter):
    """Formats fields of a row.

    >>> Fields().format("{0!p:.1f} {0!n:.2f} {1!i:.1f}", 0.25, {"mean": 2.0, "low": 1, "high": 3})
    '25.0 -0.25 2.0 [1.0, 3.0]'
    """

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        """`!p` is per cent, `!n` the negative, `!i` an `Interval`; the rest are Python's own."""
        if conversion == "p":
            return 100 * value
        if conversion == "n":
            return -value
        if conversion == "i":
            return Interval(**value)
        return super().convert_field(value, conversion)


def formatted(columns: Mapping[str, str], rows: Sequence[Row]) -> str:
    """A Markdown table of rows with the same fields.

    >>> columns = {"what": "<{name}", "ms": ">{seconds:.1f}", "load": ">?{load}"}
    >>> print(formatted(columns, [{"name": "a", "seconds": 2}]))
    | what |  ms |
    |------|----:|
    | a    | 2.0 |

    Args:
        columns: heading -> "<" (left) or ">" (right), "?" where rows may lack the fields, then a
            format of a row's fields; see `Fields`. A column whose fields no row has is left out.
        rows: field -> value.
    """
    cells = {name: [field_text(text[1:], row) for row in rows] for name, text in columns.items()}
    shown = {name: texts for name, texts in cells.items() if not rows or set(texts) != {None}}
    sides = {name: "left" if columns[name][0] == "<" else "right" for name in shown}
    return markdown(sides, list(zip(*shown.values(), strict=True)))


def field_text(form: str, row: Row) -> str | None:
    """One cell of such a table; None where the row lacks a field that it may lack."""
    try:
        return Fields().vformat(form.removeprefix("?"), (), row)
    except KeyError:
        if form.startswith("?"):
            return None
        raise
