"""Tables and figures of a README from recorded results: lab tables FILE... [--check].

Between `<!-- table: NAME -->` and `<!-- end -->` stands the table of runs/results/NAME.json, or one
of several results: `beside-mnist` and the like put the paper's numbers beside ours. `SWEEP/TABLE`
is a table of the sweep's report, made of its recorded runs.

With `--figures` every picture is drawn, too, whose link ends in `figures/RESULT--FIGURE.png`: a
figure of a sweep's report that compares it with dense networks, the paper or a base, such as
`equal-cost-mnist--equal-macs-mode` or `paper-mnist--fig1`, or the figure of recorded speeds, such
as `kernel-speed--fig5.2`.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.registry import check_names
from ccenv.runs.commands.frame import Parser, program
from ccenv.runs.config.sweep import Sweep
from ccenv.runs.engine.recordings import recorded_path
from ccenv.runs.engine.sweep_runs import Finished, SweepRuns
from ccenv.runs.lab import suite_agents
from ccenv.runs.lab.paper_beside import BESIDE
from ccenv.runs.lab.registry import experiments
from ccenv.runs.report.dense import AGAINST_DENSE
from ccenv.runs.report.publish import make_report
from ccenv.runs.report.tables import all_tables
from ccenv.runs.store import recorded
from ccenv.runs.studies import STUDIES, find_study
from ccenv.runs.tables import sweep_table as report
from ccenv.runs.tables.drawing import Picture, drawn_in_style
from ccenv.runs.tables.mask_table import all_masks_table

MARKED = re.compile(r"(<!-- table: ([\w./-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
FOLDER = "figures"
LINK = re.compile(
    rf"\]\((?:(?:runs/|\.\./|\.\./\.\./)results/)?{FOLDER}/([\w.-]+?)--([\w.-]+?)\.png\)"
)
Link = tuple[str, str]
"""Result and figure."""


TABLES: dict[str, Callable[[Any], str]] = {
    "comparison": report.table,
    "mask-table": all_masks_table,
} | {one.recorded_kind: one.table for one in experiments().values()}
"""Kind of a recorded result -> its table: of the product's commands, and of every experiment."""


TOGETHER = BESIDE | suite_agents.TABLES
"""Name of a table that several results make, or one that is no table of its kind."""
TIMES = {one.recorded_kind for one in experiments().values() if one.names_machine}
"""Kinds whose figures hold on the processor that they were taken on."""
FIGURES = {
    one.recorded_kind: one.figure for one in experiments().values() if one.figure is not None
}
"""Kind of a recorded result that is no sweep -> its figure."""


Tables = Callable[[str, Path], dict[str, report.Table]]


def render(text: str, results_dir: Path, tables_of: Tables | None = None) -> str:
    """A text with every marked table made anew."""
    tables_of = tables_of or functools.cache(of_report)

    def replace(match: re.Match[str]) -> str:
        if match[2] in TOGETHER:
            return f"{match[1]}{TOGETHER[match[2]](results_dir)}\n{match[3]}"
        if "/" in match[2]:
            sweep_name, table_name = match[2].split("/", maxsplit=1)
            tables = tables_of(sweep_name, results_dir)
            check_names([table_name], tables, f"table in the report of {sweep_name}")
            made = report.markdown(tables[table_name].columns, tables[table_name].lines)
            return f"{match[1]}{made}\n{match[3]}"
        path = results_dir / f"{match[2]}.json"
        if not path.exists():
            raise ValueError(f"expected the recorded result {path}, got none; record it first")
        content = recorded.read_table(path)
        check_names([content["kind"]], TABLES, f"kind of table in {path}")
        made = TABLES[content["kind"]](content["rows"]) + place_of(content)
        return f"{match[1]}{made}\n{match[3]}"

    return MARKED.sub(replace, text)


def place_of(content: Mapping[str, Any]) -> str:
    """A line below a table of times: on which processor they were taken; nothing of others."""
    machine = content.get("machine") or {}
    if content["kind"] not in TIMES or "cpu" not in machine:
        return ""
    threads = machine.get("threads", 1)
    vectors = f", vectors of {machine['lanes']} floats" if "lanes" in machine else ""
    told = f"{threads} threads" if threads > 1 else "one thread"
    return f"\n\nMeasured on: {machine['cpu']}{vectors}, {told}."


def recorded_comparison(sweep: Sweep, results_dir: Path) -> SweepRuns:
    """What is recorded of a sweep's rows and seeds, and nothing else: the same on every machine."""
    cells: dict[tuple[str, int], dict[str, Any]] = {}
    for result in recorded.read_cells(recorded_path(sweep, results_dir)):
        # Behind the sweep's own runs stand those that it no longer asks for.
        cells.setdefault((result["label"], result["seed"]), result)
    asked = [(cell.label, settings["seed"]) for cell, settings in sweep.runs()]
    finished = [Finished(run[0], cells[run], recorded=True) for run in asked if run in cells]
    if not finished:
        raise ValueError(f"expected recorded runs of {sweep.name!r} in {results_dir}, got none")
    return SweepRuns(sweep, tuple(finished), ())


def of_report(sweep_name: str, results_dir: Path) -> dict[str, report.Table]:
    """The tables of a sweep's report by name, from recorded runs alone."""
    study = find_study(sweep_name)
    comparison = recorded_comparison(study.sweep, results_dir)
    parts = [section.make(comparison, results_dir) for section in (AGAINST_DENSE, *study.sections)]
    groups = [*all_tables(comparison).values(), *(part.tables for part in parts)]
    return {table.name: table for table in itertools.chain.from_iterable(groups)}


def links(text: str) -> list[Link]:
    """Result and figure of each link in a text.

    >>> links("![Fronts](runs/results/figures/equal-cost-mnist--equal-macs.png)")
    [('equal-cost-mnist', 'equal-macs')]
    """
    return list(dict.fromkeys(LINK.findall(text)))


def figures_of(wanted: Iterable[Link], results_dir: Path) -> dict[Link, Picture]:
    """Figures from recorded results alone; each result is read once."""
    by_result: dict[str, list[str]] = {}
    for result, name in wanted:
        by_result.setdefault(result, []).append(name)
    drawn: dict[Link, Picture] = {}
    for result, names in by_result.items():
        recorded_names = [path.stem for path in results_dir.glob("*.json")]
        check_names([result], [*STUDIES, *recorded_names], "sweep or recorded result")
        with drawn_in_style():
            figures = figures_from(result, results_dir)
        by_name = {figure.name: figure for figure in figures}
        check_names(names, by_name, f"figure of {result}")
        drawn |= {(result, name): by_name[name] for name in names}
    return drawn


def figures_from(result: str, results_dir: Path) -> list[Picture]:
    """The figure of a recorded result, or what a study's report adds to that of any sweep."""
    if result not in STUDIES:
        content = recorded.read_table(results_dir / f"{result}.json")
        check_names([content["kind"]], FIGURES, f"kind of figure in {result}")
        return [FIGURES[content["kind"]](content["rows"])]
    study = STUDIES[result]
    comparison = recorded_comparison(study.sweep, results_dir)
    report = make_report(comparison, results_dir, study.sections)
    folded = (figure for part in report.parts.values() for figure in part.figures)
    return [*report.narrow.values(), *folded]


def draw_figures(text: str, results_dir: Path) -> None:
    """Draws every linked figure into its file; none if one of them cannot be drawn."""
    figures = figures_of(links(text), results_dir)
    (results_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    for (result, name), figure in figures.items():
        (results_dir / FOLDER / f"{result}--{name}.png").write_bytes(figure.png)


@program("lab tables")
def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites the tables of files, or checks them; see --help."""
    parser = Parser(prog="lab tables", description=main.__doc__)
    parser.add_argument(
        "files", type=Path, nargs="+", help="texts with marked tables, for example README.md"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if tables differ")
    parser.add_argument("--figures", action="store_true", help="draw linked figures too")
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    before = {file: file.read_text(encoding="utf-8") for file in options.files}
    # Pages show several tables of a sweep, whose report is made once.
    tables_of = functools.cache(of_report)
    after = {file: render(text, options.results_dir, tables_of) for file, text in before.items()}
    if options.figures and not options.check:
        draw_figures("\n".join(before.values()), options.results_dir)
    changed = [file for file in before if before[file] != after[file]]
    for file in changed:
        if options.check:
            print(f"{file}: tables differ; run python -m ccenv.runs.lab tables {file}")
        else:
            file.write_text(after[file], encoding="utf-8")
    return int(options.check and bool(changed))
