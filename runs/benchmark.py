"""Measured speed: python -m runs.benchmark [environment|kernels|block-sizes|training|routes].

`environment`: the views of the environment beside the bare network; an image is one episode of two
steps. `kernels`: block-sparse layers and networks beside dense ones, dense products times masks and
dense ones of as many MACs; on a GPU with `--device cuda`. `block-sizes`: one layer in blocks of 4
to 128 units. `training`: whole training loops with the kernels and without. `routes`: the ways to
compute a layer over a grid, one line a case, for fitting what chooses between them.
Everything is measured in one process, in turns, on masks drawn beforehand: a ratio compares
neighbouring timings, so that a busy machine slows all.

With glibc, batches of thousands of images pay for memory that is given back to the system and
fetched again every step; `MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000` in
the environment keeps it. The machine's card names what was set.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ccenv.sparse.registers import LANES
from runs import folder as run_folder
from runs.machine import load_average, machine, tuned, versions
from runs.page.drawing import drawn_in_style
from runs.page.speed_figures import SPEED_FIGURES
from runs.programs import program
from runs.timing import (
    gpu_layers,
    gpu_speed,
    kernel_report,
    kernel_routes,
    kernel_speed,
    route_costs,
    speed_report,
    training_cases,
    training_report,
    training_speed,
)
from runs.timing.speed import make_episodes, measure

SIZES = (256, 1024, 4096)
SINGLE_SIZES = (256,)
"""batches of single environments: each image costs a Python call a step."""
ROUNDS = 11
USUAL_LANES = 16
"""floats of a vector; results of machines with others have names of their own."""
EVERY = {"routes": 100}
"""rows between two messages, by kind of result; 1 where nothing is said."""


def run_environment(options: argparse.Namespace) -> dict[str, Any]:
    """Measures the environment's views and says which targets they miss."""

    def speeds() -> Iterable[Any]:
        for size in SIZES[:1] if options.quick else SIZES:
            episodes = make_episodes(size, options.density, single=size in SINGLE_SIZES)
            repeats, seconds = (3, 0.02) if options.quick else (options.repeats or ROUNDS, 0.25)
            yield from measure(episodes, size, repeats, seconds)

    found = recorded("speed", "environment-speed", options, speeds())
    return {**found, "density": options.density, "misses": speed_report.misses(found["rows"])}


def run_kernels(options: argparse.Namespace) -> dict[str, Any]:
    """Measures block-sparse layers and networks beside dense ones."""
    if options.device == "cuda":
        return run_gpu(options)
    repeats = 3 if options.quick else options.repeats or ROUNDS
    timings = kernel_speed.all_timings(quick=options.quick, repeats=repeats)
    return recorded("kernels", "kernel-speed", options, timings)


def run_block_sizes(options: argparse.Namespace) -> dict[str, Any]:
    """Measures one layer in blocks of several sizes."""
    repeats = 3 if options.quick else options.repeats or ROUNDS
    timings = kernel_speed.block_size_timings(quick=options.quick, repeats=repeats)
    return recorded("block-sizes", "block-sizes", options, timings)


def run_gpu(options: argparse.Namespace) -> dict[str, Any]:
    """Measures block-sparse layers on a card, and says which targets they miss."""
    repeats = 3 if options.quick else options.repeats or ROUNDS
    cases = gpu_layers.QUICK if options.quick else gpu_layers.CASES
    found = recorded("kernels", "gpu-speed", options, gpu_speed.gpu_cases(repeats, cases))
    found["machine"] |= gpu_speed.card()
    return {**found, "misses": gpu_layers.misses(found["rows"])}


def run_training(options: argparse.Namespace) -> dict[str, Any]:
    """Measures whole training loops."""
    repeats, seconds = (2, 0.02) if options.quick else (options.repeats or ROUNDS, 0.3)
    speeds = (
        speed
        for training in training_cases.all_trainings(quick=options.quick)
        for speed in training_speed.time_training(training, repeats, seconds)
    )
    return recorded("training", "training-speed", options, speeds)


def run_routes(options: argparse.Namespace) -> dict[str, Any]:
    """Measures the ways to compute a layer over a grid."""
    points = kernel_routes.quick_grid() if options.quick else kernel_routes.grid()
    repeats = options.repeats or kernel_routes.ROUNDS
    times = (kernel_routes.time_routes(point, repeats) for point in points)
    return recorded("routes", "kernel-routes", options, times)


def recorded(
    kind: str, name: str, options: argparse.Namespace, measured: Iterable[Any]
) -> dict[str, Any]:
    """Measures row by row and says on which machine.

    Args:
        kind: of table, see `runs.tables`.
        name: of the result; vectors, threads, allocator settings that are not the usual are added.
        options: gives the threads.
        measured: makes the rows, dataclasses, one after the other.
    """
    torch.set_num_threads(options.threads)
    load, rows = load_average(), []
    for row in measured:
        rows.append(asdict(row))
        if len(rows) % EVERY.get(kind, 1) == 0:
            shown = [str(value) for value in rows[-1].values() if isinstance(value, str | int)]
            print(f"measured {len(rows)}: {', '.join(shown)}", file=sys.stderr, flush=True)
    if LANES != USUAL_LANES and options.device == "cpu":
        name += f"-{LANES}-lanes"
    if options.threads > 1:
        name += f"-{options.threads}-threads"
    if any(variable.startswith("MALLOC_") for variable in tuned()):
        name += "-kept-memory"
    return {
        "kind": kind,
        "name": name,
        "rows": rows,
        "machine": machine() | {"load_average": load, "variables": tuned()},
        "versions": versions(),
    }


def show_environment(found: dict[str, Any], report_dir: Path) -> str:
    """The views' table and the targets that were missed."""
    missed = [f"target missed: {line}" for line in found["misses"]]
    shown = f"{speed_report.table(found['rows'])}\n\n{speed_report.NOTES}"
    return "\n".join([shown, *missed])


def show_kernels(found: dict[str, Any], report_dir: Path) -> str:
    """The kernels' table and the targets that were missed; draws the plot."""
    missed = [f"target missed: {line}" for line in found.get("misses", [])]
    with drawn_in_style():
        figure = SPEED_FIGURES[found["kind"]](found["rows"])
    report_dir.mkdir(parents=True, exist_ok=True)
    path = report_dir / f"{found['name']}.png"
    path.write_bytes(figure.png)
    notes = f"{kernel_report.NOTES}\nplot: {path}"
    return "\n".join([f"{kernel_report.table(found['rows'])}\n\n{notes}", *missed])


def show_training(found: dict[str, Any], report_dir: Path) -> str:
    """The training loops' table."""
    return f"{training_report.table(found['rows'])}\n\n{training_report.NOTES}"


def show_routes(found: dict[str, Any], report_dir: Path) -> str:
    """How often the kernels win, by batch; the times themselves are in the JSON."""
    return kernel_report.routes_table(found["rows"])


BENCHMARKS: dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., str]]] = {
    "environment": (run_environment, show_environment),
    "kernels": (run_kernels, show_kernels),
    "block-sizes": (run_block_sizes, show_kernels),
    "training": (run_training, show_training),
    "routes": (run_routes, show_routes),
}
"""What can be measured: how, and what is shown of it."""


def one_line_each(found: dict[str, Any]) -> str:
    """A result as JSON with a line for each row."""
    head = {name: value for name, value in found.items() if name != "rows"}
    rows = ",\n".join(json.dumps(run_folder.finite(row)) for row in found["rows"])
    return f'{json.dumps(run_folder.finite(head))[:-1]}, "rows": [\n{rows}\n]}}'


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m runs.benchmark",
        description="Speed as ratios measured in one process, in turns.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=tuple(BENCHMARKS),
        default="environment",
        help="the environment's views beside the bare network; sparse layers and networks beside "
        "dense ones; one layer in blocks of several sizes; training loops with the kernels and "
        "without; all routes over a grid",
    )
    parser.add_argument("--quick", action="store_true", help="a few small cases, seconds only")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print JSON only, a line a row, or write it to FILE; give it last",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where layers are measured; cuda is for kernels alone",
    )
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument(
        "--density", type=float, default=0.5, help="share of blocks kept; 0.5 as a space's sample()"
    )
    parser.add_argument(
        "--repeats", type=int, help=f"rounds; {ROUNDS}, for routes {kernel_routes.ROUNDS}"
    )
    parser.add_argument("--record", action="store_true", help="write the result to --results-dir")
    parser.add_argument("--results-dir", default="runs/results", help="folder of --record")
    parser.add_argument("--report-dir", default="runs/reports", help="folder of the plot")
    return parser


@program("runs.benchmark", ())
def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; see --help."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.repeats is not None and options.repeats < 2:
        parser.error(f"expected --repeats of at least 2, got {options.repeats}")
    if options.device == "cuda":
        if options.what != "kernels":
            parser.error(f"expected kernels with --device cuda, got {options.what}")
        reason = gpu_speed.why_not_measured()
        if reason is not None:
            print(f"nothing was measured: {reason}", file=sys.stderr)
            return 1
    measure_it, show = BENCHMARKS[options.what]
    found = measure_it(options)
    if options.record:
        # Of thousands of rows only what is fitted to them is worth keeping.
        kept = route_costs.fit(found) if found["kind"] == "routes" else found
        run_folder.write_json(Path(options.results_dir) / f"{kept['name']}.json", kept)
    if options.json == "-":
        print(one_line_each(found))
        return 0
    if options.json:
        Path(options.json).write_text(one_line_each(found) + "\n")
    print(f"{show(found, Path(options.report_dir))}\n{found['machine']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
