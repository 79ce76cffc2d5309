"""Figures of a README from recorded results: python -m runs.figures FILE...

Draws every picture whose link ends in `figures/RESULT--FIGURE.png`: a figure of a sweep's
report that holds it against dense networks, the paper or a base, such as
`equal-cost-mnist--equal-macs-mode` or `paper-mnist--fig1`, or the figure of recorded speeds, such
as `kernel-speed--fig5.2`.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.registry import check_names
from runs.jobs import recorded_comparison
from runs.page.ablation import ablation
from runs.page.drawing import Drawn, drawn_in_style
from runs.page.publish import against_dense, beside_the_paper, borrowed, contests_of, times_in
from runs.page.speed_figures import SPEED_FIGURES
from runs.programs import program
from runs.sweeps import SWEEPS, Sweep

FOLDER = "figures"
LINK = re.compile(rf"\]\((?:runs/results/)?{FOLDER}/([\w.-]+?)--([\w.-]+?)\.png\)")
Link = tuple[str, str]
"""Result and figure."""


def links(text: str) -> list[Link]:
    """Result and figure of each link in a text.

    >>> links("![Fronts](runs/results/figures/equal-cost-mnist--equal-macs.png)")
    [('equal-cost-mnist', 'equal-macs')]
    """
    return list(dict.fromkeys(LINK.findall(text)))


def figures_of(wanted: Iterable[Link], results_dir: Path) -> dict[Link, Drawn]:
    """Figures from recorded results alone; each result is read once.

    Args:
        wanted: a sweep or the name of recorded speeds, and which of its figures.
        results_dir: folder of recorded results.

    Raises:
        ValueError: if there is no such sweep, result or figure.
    """
    wanted = list(wanted)
    speeds = recorded_speeds(results_dir)
    drawn = {}
    for result in dict.fromkeys(result for result, _ in wanted):
        if result in speeds:
            figures = [speed_figure(speeds[result])]
        else:
            check_names([result], [*SWEEPS, *speeds], "sweep or recorded speed")
            figures = sweep_figures(SWEEPS[result], results_dir)
        found = {figure.name: figure for figure in figures}
        names = [name for other, name in wanted if other == result]
        check_names(names, found, f"figure of {result}")
        drawn |= {(result, name): found[name] for name in names}
    return drawn


def recorded_speeds(results_dir: Path) -> dict[str, Mapping[str, Any]]:
    """Name -> content of the recorded results that have a figure of speed."""
    contents = {path.stem: json.loads(path.read_text()) for path in results_dir.glob("*.json")}
    return {name: c for name, c in contents.items() if c.get("kind") in SPEED_FIGURES}


def speed_figure(content: Mapping[str, Any]) -> Drawn:
    """The figure of recorded speeds."""
    with drawn_in_style():
        return SPEED_FIGURES[content["kind"]](content["rows"])


def sweep_figures(sweep: Sweep, results_dir: Path) -> list[Drawn]:
    """What holds a sweep against dense networks and against the paper."""
    comparison = recorded_comparison(sweep, results_dir)
    elsewhere = borrowed(comparison, results_dir)
    times = times_in(results_dir, sweep.name)
    contests = contests_of(comparison, elsewhere, times)
    with drawn_in_style():
        return [
            *against_dense(contests)[1],
            *beside_the_paper(comparison, elsewhere, times)[1],
            *ablation(comparison)[1],
        ]


@program("runs.figures")
def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the figures of files; see --help."""
    parser = argparse.ArgumentParser(prog="python -m runs.figures", description=main.__doc__)
    parser.add_argument(
        "files", type=Path, nargs="+", help="texts with pictures, for example README.md"
    )
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    wanted = links("\n".join(file.read_text() for file in options.files))
    drawn = figures_of(wanted, options.results_dir)
    folder = options.results_dir / FOLDER
    for (result, name), figure in drawn.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{result}--{name}.png").write_bytes(figure.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
