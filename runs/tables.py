"""Tables of a README from recorded results: python -m runs.tables README.md [--check].

Between `<!-- table: NAME -->` and `<!-- end -->` stands the table of runs/results/NAME.json.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ccenv.registry import check_names
from runs import benchmark, report
from runs.leaderboard import leaderboard_table
from runs.timing import kernel_report, route_costs, training_report

MARKED = re.compile(r"(<!-- table: ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLES: dict[str, Callable[[Any], str]] = {
    "comparison": report.table,
    "leaderboard": leaderboard_table,
    "speed": benchmark.table,
    "kernels": kernel_report.table,
    "routes": kernel_report.routes_table,
    "route-costs": route_costs.table,
    "training": training_report.table,
}


def render(text: str, results_dir: Path) -> str:
    """A text with every marked table made anew.

    Raises:
        ValueError: if a result is not recorded or of a kind without a table.
    """

    def replace(match: re.Match[str]) -> str:
        path = results_dir / f"{match[2]}.json"
        if not path.exists():
            raise ValueError(f"expected the recorded result {path}, got none; record it first")
        content = json.loads(path.read_text())
        check_names([content["kind"]], TABLES, f"kind of table in {path}")
        return f"{match[1]}{TABLES[content['kind']](content['rows'])}\n{match[3]}"

    return MARKED.sub(replace, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites a file's tables, or checks them; see --help."""
    parser = argparse.ArgumentParser(prog="python -m runs.tables", description=main.__doc__)
    parser.add_argument(
        "file", type=Path, help="the text with marked tables, for example README.md"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if tables differ")
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    try:
        before = options.file.read_text()
        after = render(before, options.results_dir)
    except (ValueError, OSError) as error:
        print(f"runs.tables: {error}", file=sys.stderr)
        return 2
    if options.check:
        if after != before:
            print(f"{options.file}: tables differ; run python -m runs.tables {options.file}")
        return int(after != before)
    options.file.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
