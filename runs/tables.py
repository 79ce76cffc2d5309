"""Tables of a README from recorded results: python -m runs.tables FILE... [--check].

Between `<!-- table: NAME -->` and `<!-- end -->` stands the table of runs/results/NAME.json, or one
of several results: `beside-mnist` and the like put the paper's numbers beside ours. `SWEEP/TABLE`
is a table of the sweep's report, made of its recorded runs.
"""

import argparse
import functools
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ccenv.registry import check_names, resolve
from runs import report
from runs.jobs import recorded_comparison
from runs.page.ablation import ablation
from runs.page.dense_tables import dense_tables
from runs.page.publish import MASKS, contests_of, times_in
from runs.page.report_tables import all_tables
from runs.paper.beside import BESIDE
from runs.programs import program
from runs.sweeps import SWEEPS, Sweep
from runs.timing import (
    front_times,
    kernel_routes,
    kernel_timing,
    route_costs,
    speed,
    training_speed,
)

MARKED = re.compile(r"(<!-- table: ([\w./-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLES: dict[str, Callable[[Any], str]] = {
    "comparison": report.table,
    "speed": speed.table,
    "kernels": kernel_timing.table,
    "block-sizes": kernel_timing.table,
    "routes": kernel_routes.table,
    "route-costs": route_costs.table,
    "training": training_speed.table,
    "front-times": front_times.table,
}


def render(text: str, results_dir: Path) -> str:
    """A text with every marked table made anew.

    Raises:
        ValueError: if a result is not recorded or of a kind without a table.
    """
    # A page shows several tables of a sweep, whose report is made once.
    tables_of = functools.cache(of_report)

    def replace(match: re.Match[str]) -> str:
        if match[2] in BESIDE:
            return f"{match[1]}{BESIDE[match[2]](results_dir)}\n{match[3]}"
        if "/" in match[2]:
            sweep_name, table_name = match[2].split("/", maxsplit=1)
            found = tables_of(sweep_name, results_dir)
            check_names([table_name], found, f"table in the report of {sweep_name}")
            made = report.markdown(found[table_name].columns, found[table_name].lines)
            return f"{match[1]}{made}\n{match[3]}"
        path = results_dir / f"{match[2]}.json"
        if not path.exists():
            raise ValueError(f"expected the recorded result {path}, got none; record it first")
        content = json.loads(path.read_text())
        check_names([content["kind"]], TABLES, f"kind of table in {path}")
        return f"{match[1]}{TABLES[content['kind']](content['rows'])}\n{match[3]}"

    return MARKED.sub(replace, text)


def of_report(sweep_name: str, results_dir: Path) -> dict[str, report.Table]:
    """The tables of a sweep's report by name, from recorded runs alone.

    Raises:
        ValueError: if there is no such sweep or result.
    """
    sweep: Sweep = resolve(sweep_name, SWEEPS, "sweep")
    comparison = recorded_comparison(sweep, results_dir)
    found = {one.name: one for group in all_tables(comparison).values() for one in group}
    found |= {one.name: one for one in ablation(comparison)[0]}
    contests = contests_of(comparison, {}, times_in(results_dir, sweep_name))
    for masks, contest in contests.items():
        found |= {one.name: one for one in dense_tables(contest, masks, MASKS[masks])}
    return found


@program("runs.tables")
def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites the tables of files, or checks them; see --help."""
    parser = argparse.ArgumentParser(prog="python -m runs.tables", description=main.__doc__)
    parser.add_argument(
        "files", type=Path, nargs="+", help="texts with marked tables, for example README.md"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if tables differ")
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    before = {file: file.read_text() for file in options.files}
    after = {file: render(text, options.results_dir) for file, text in before.items()}
    changed = [file for file in before if before[file] != after[file]]
    for file in changed:
        if options.check:
            print(f"{file}: tables differ; run python -m runs.tables {file}")
        else:
            file.write_text(after[file])
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
