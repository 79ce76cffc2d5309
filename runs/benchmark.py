"""Measured speed: ccenv benchmark [environment|kernels|block-sizes|training|routes].

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ccenv.runs.programs import program
from ccenv.runs.show.drawing import drawn_in_style
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.machine import load_average, machine, tuned, versions
from ccenv.runs.timing import (
    gpu_speed,
    kernel_routes,
    kernel_speed,
    kernel_timing,
    route_costs,
    speed,
    training_speed,
)
from ccenv.runs.timing.speed_figures import SPEED_FIGURES
from ccenv.sparse.cpu.codegen.registers import LANES

SIZES = (256, 1024, 4096)
SINGLE_SIZES = (256,)
"""batches of single environments: each image costs a Python call a step."""
ROUNDS = 11
USUAL_LANES = 16
"""floats of a vector; results of machines with others have names of their own."""


@dataclass(frozen=True)
class Benchmark:
    """What can be measured."""

    kind: str
    """of table, see `ccenv.runs.tables`."""
    name: str
    """of the result; vectors, threads, allocator settings that are not the usual are added."""
    rows: Callable[[argparse.Namespace], Iterable[Any]]
    """makes the rows, dataclasses, one after the other."""
    table: Callable[[Sequence[Any]], str]
    """shows them."""
    notes: str = ""
    """below the table."""
    misses: Callable[[Sequence[Any]], list[str]] | None = None
    """says which targets were not met."""
    message_every: int = 1
    """rows between two messages."""


def rounds(options: argparse.Namespace, quick: int = 3) -> int:
    """Rounds of each case."""
    return quick if options.quick else options.repeats or ROUNDS


def environment_rows(options: argparse.Namespace) -> Iterable[Any]:
    """The environment's views."""
    for size in SIZES[:1] if options.quick else SIZES:
        episodes = speed.make_episodes(size, options.density, single=size in SINGLE_SIZES)
        seconds = 0.02 if options.quick else 0.25
        yield from speed.measure(episodes, size, rounds(options), seconds)


def training_rows(options: argparse.Namespace) -> Iterable[Any]:
    """Whole training loops."""
    for training in training_speed.all_trainings(quick=options.quick):
        seconds = 0.02 if options.quick else 0.3
        yield from training_speed.time_training(training, rounds(options, quick=2), seconds)


def route_rows(options: argparse.Namespace) -> Iterable[Any]:
    """The ways to compute a layer over a grid."""
    points = kernel_routes.quick_grid() if options.quick else kernel_routes.grid()
    repeats = options.repeats or kernel_routes.ROUNDS
    return (kernel_routes.time_routes(point, repeats) for point in points)


KERNEL_TABLE = (kernel_timing.table, kernel_timing.NOTES)
BENCHMARKS = {
    "environment": Benchmark(
        *("speed", "environment-speed", environment_rows, speed.table, speed.NOTES, speed.misses)
    ),
    "kernels": Benchmark(
        "kernels",
        "kernel-speed",
        lambda options: kernel_speed.all_timings(quick=options.quick, repeats=rounds(options)),
        *KERNEL_TABLE,
    ),
    "block-sizes": Benchmark(
        "block-sizes",
        "block-sizes",
        lambda options: kernel_speed.block_size_timings(
            quick=options.quick, repeats=rounds(options)
        ),
        *KERNEL_TABLE,
    ),
    "training": Benchmark(
        *("training", "training-speed", training_rows, training_speed.table, training_speed.NOTES)
    ),
    # The times themselves are in the JSON.
    "routes": Benchmark(
        *("routes", "kernel-routes", route_rows, kernel_routes.table), message_every=100
    ),
}
"""What can be measured on a processor, by name."""
ON_A_CARD = Benchmark(
    "kernels",
    "gpu-speed",
    lambda options: gpu_speed.gpu_cases(
        rounds(options), gpu_speed.QUICK if options.quick else gpu_speed.CASES
    ),
    *KERNEL_TABLE,
    gpu_speed.misses,
)


def measure(benchmark: Benchmark, options: argparse.Namespace) -> dict[str, Any]:
    """Measures row by row and says on which machine."""
    torch.set_num_threads(options.threads)
    load, rows = load_average(), []
    for row in benchmark.rows(options):
        rows.append(asdict(row))
        if len(rows) % benchmark.message_every == 0:
            shown = [str(value) for value in rows[-1].values() if isinstance(value, str | int)]
            print(f"measured {len(rows)}: {', '.join(shown)}", file=sys.stderr, flush=True)
    on_card = options.device == "cuda"
    name = benchmark.name
    name += f"-{LANES}-lanes" if LANES != USUAL_LANES and not on_card else ""
    name += f"-{options.threads}-threads" if options.threads > 1 else ""
    name += "-kept-memory" if any(text.startswith("MALLOC_") for text in tuned()) else ""
    place = machine() | {"load_average": load, "variables": tuned()}
    return {
        "kind": benchmark.kind,
        "name": name,
        "rows": rows,
        "machine": place | (gpu_speed.card() if on_card else {}),
        "versions": versions(),
        **({"density": options.density} if benchmark.kind == "speed" else {}),
        **({"misses": benchmark.misses(rows)} if benchmark.misses else {}),
    }


def show(benchmark: Benchmark, result: dict[str, Any], report_dir: Path) -> str:
    """The table, its notes and the targets that were missed; draws the plot, if it has one."""
    parts = [f"{benchmark.table(result['rows'])}\n\n{benchmark.notes}".strip()]
    if result["kind"] in SPEED_FIGURES:
        with drawn_in_style():
            figure = SPEED_FIGURES[result["kind"]](result["rows"])
        report_dir.mkdir(parents=True, exist_ok=True)
        path = report_dir / f"{result['name']}.png"
        path.write_bytes(figure.png)
        parts.append(f"plot: {path}")
    parts += [f"target missed: {line}" for line in result.get("misses", [])]
    return "\n".join([*parts, str(result["machine"])])


def one_line_each(result: dict[str, Any]) -> str:
    """A result as JSON with a line for each row."""
    head = {name: value for name, value in result.items() if name != "rows"}
    rows = ",\n".join(json.dumps(run_folder.finite(row)) for row in result["rows"])
    return f'{json.dumps(run_folder.finite(head))[:-1]}, "rows": [\n{rows}\n]}}'


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv benchmark",
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


@program("ccenv benchmark", ())
def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; see --help."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    benchmark = BENCHMARKS[options.what]
    if options.repeats is not None and options.repeats < 2:
        parser.error(f"expected --repeats of at least 2, got {options.repeats}")
    if options.device == "cuda":
        if options.what != "kernels":
            parser.error(f"expected kernels with --device cuda, got {options.what}")
        benchmark, reason = ON_A_CARD, gpu_speed.why_not_measured()
        if reason is not None:
            print(f"nothing was measured: {reason}", file=sys.stderr)
            return 1
    result = measure(benchmark, options)
    if options.record:
        # Of thousands of rows only what is fitted to them is worth keeping.
        kept = route_costs.fit(result) if result["kind"] == "routes" else result
        run_folder.write_json(Path(options.results_dir) / f"{kept['name']}.json", kept)
    if options.json == "-":
        print(one_line_each(result))
        return 0
    if options.json:
        Path(options.json).write_text(one_line_each(result) + "\n")
    print(show(benchmark, result, Path(options.report_dir)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
