"""Measured speed: ccenv benchmark [machine|environment|kernels|networks|...].

`environment`: the views of the environment beside the bare network; an image is one episode of two
steps. `kernels`: block-sparse layers and networks beside dense ones, dense products times masks and
dense ones of as many MACs; on a GPU with `--device cuda`. `networks`: networks of any kind with
some of their blocks skipped, beside their plain modules. `network-rates`: the environment's rate
and memory on these, as its rows grow. `block-sizes`: one layer in blocks of 4
to 128 units. `layouts`: one layer with its weights as torch.nn.Linear keeps them in memory and as
GatedMLP does, forward and backward. `training`: whole training loops with the kernels and without.
`routes`: the ways to compute a layer over a grid, and what is fitted to it to choose between them.
`table`: look-ups in the table of all masks beside the simulated environment. `machine`, which
`--quick` alone means: this machine's own figures beside those of others, in half a minute. `auto`:
how the choice between kernels and dense products stands beside dense ones, on layers that nothing
was fitted to. `onnx`: ONNX files beside the classifier that they are written from, compared on
whole test sets and timed for one input. `torchrl`: its view beside the vector environment. `sizes`:
time and memory of a pass and a training step as width, depth, blocks and batch grow. `kernels
--beside FOLDER`: today's kernels beside those of another checkout.
Everything is measured in one process, in turns, on masks drawn beforehand: a ratio compares
neighbouring timings, so that a busy machine slows all.

With glibc, batches of thousands of images pay for memory that is given back to the system and
fetched again every step; `MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000` in
the environment keeps it. The machine's card names what was set.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ccenv.runs.engine.stops import CannotStartError
from ccenv.runs.programs import program
from ccenv.runs.show.drawing import drawn_in_style
from ccenv.runs.store import json_file
from ccenv.runs.store.machine import load_average, machine, tuned, versions
from ccenv.runs.timing import (
    auto,
    beside,
    environment,
    gpu,
    growth,
    kernels,
    layers,
    layouts,
    network_rates,
    network_speed,
    networks,
    onnx_times,
    own_figures,
    routes,
    table_rates,
    torchrl_rates,
    training,
)
from ccenv.runs.timing.speed_figures import SPEED_FIGURES
from ccenv.sparse.cpu.codegen.registers import LANES
from ccenv.sparse.machine_prices import machine_prices

MACHINE = "machine"
USUAL_LANES = 16
"""floats of a vector; results of machines with others have names of their own."""
Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Benchmark:
    """What can be measured."""

    kind: str
    """of table, see `ccenv.runs.tables`."""
    name: str
    """of the result; vectors, threads, allocator settings that are not the usual are added."""
    measured: Callable[..., Iterable[dict[str, Any]]]
    """(quick=, rounds=) -> rows, one after the other."""
    table: Callable[[Rows], str]
    """shows them."""
    notes: str = ""
    """below the table."""
    misses: Callable[[Rows], list[str]] | None = None
    """says which targets were not met."""
    advice: Callable[[Rows], list[str]] | None = None
    """says what to choose on this machine."""
    rounds: int = 11
    """of each case, unless asked for otherwise."""
    kept: Callable[[Rows], Rows] = list
    """what is shown and recorded of the rows."""


BENCHMARKS = {
    "environment": Benchmark(
        *("speed", "environment-speed", environment.measured),
        *(environment.table, environment.NOTES, environment.misses),
        advice=environment.advice,
    ),
    "kernels": Benchmark(
        *("kernels", "kernel-speed", networks.measured, kernels.table, kernels.NOTES)
    ),
    "networks": Benchmark(
        *("networks", "network-speed", network_speed.measured),
        *(network_speed.table, network_speed.NOTES, network_speed.misses),
    ),
    "network-rates": Benchmark(
        *("network-rates", "network-rates", network_rates.measured),
        *(network_rates.table, network_rates.NOTES),
        rounds=7,
    ),
    "block-sizes": Benchmark(
        *("block-sizes", "block-sizes", layers.measured, kernels.table, kernels.NOTES)
    ),
    "layouts": Benchmark(
        *("layouts", "weight-layouts", layouts.measured),
        *(layouts.table, layouts.NOTES, layouts.misses),
    ),
    "training": Benchmark(
        *("training", "training-speed", training.measured, training.table, training.NOTES)
    ),
    "table": Benchmark(
        *("table-rates", "table-rates", table_rates.measured),
        *(table_rates.table, table_rates.NOTES, table_rates.misses),
    ),
    "machine": Benchmark(
        *("own-figures", "own-figures", own_figures.measured),
        *(own_figures.table, own_figures.NOTES),
        rounds=5,
    ),
    "auto": Benchmark(
        *("auto-grid", "auto-grid", auto.measured, auto.table, auto.NOTES),
        rounds=auto.ROUNDS,
        kept=auto.summary,
    ),
    "onnx": Benchmark(
        *("onnx-times", "onnx-times", onnx_times.measured),
        *(onnx_times.table, onnx_times.NOTES),
    ),
    "torchrl": Benchmark(
        *("torchrl-rates", "torchrl-rates", torchrl_rates.measured),
        *(torchrl_rates.table, torchrl_rates.NOTES),
    ),
    "sizes": Benchmark(
        *("growth", "growth", growth.measured, growth.table, growth.NOTES), rounds=3
    ),
    # Of thousands of rows only what is fitted to them is worth keeping; --json prints all.
    "routes": Benchmark(
        *("route-costs", "route-costs", routes.measured, routes.table),
        rounds=routes.ROUNDS,
        kept=routes.fit,
    ),
}
"""What can be measured on a processor, by name."""
BESIDE = Benchmark(
    *("kernels-beside", "kernel-speed-beside", beside.measured, beside.table, beside.NOTES)
)
ON_A_CARD = Benchmark(
    *("gpu-kernels", "gpu-speed", gpu.measured, kernels.table, kernels.NOTES, gpu.misses)
)


def measure(benchmark: Benchmark, options: argparse.Namespace) -> dict[str, Any]:
    """Measures row by row and says on which machine."""
    torch.set_num_threads(options.threads)
    load, rows, told = load_average(), [], 0.0
    rounds = options.repeats or (3 if options.quick else benchmark.rounds)
    for row in benchmark.measured(quick=options.quick, rounds=rounds):
        rows.append(row)
        if time.monotonic() - told > 1:
            shown = [str(value) for value in row.values() if isinstance(value, str | int)]
            print(f"measured {len(rows)}: {', '.join(shown)}", file=sys.stderr, flush=True)
            told = time.monotonic()
    on_card = options.device == "cuda"
    name = benchmark.name
    name += f"-{LANES}-lanes" if LANES != USUAL_LANES and not on_card else ""
    name += f"-{options.threads}-threads" if options.threads > 1 else ""
    name += "-kept-memory" if any(text.startswith("MALLOC_") for text in tuned()) else ""
    prices = "shipped" if machine_prices(options.threads) is None else "measured"
    place = machine() | {"load_average": load, "variables": tuned(), "prices": prices}
    return {
        "kind": benchmark.kind,
        "name": name,
        "rows": rows,
        "machine": place | (gpu.card() if on_card else {}),
        "versions": versions(),
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
    parts += benchmark.advice(result["rows"]) if benchmark.advice else []
    parts += [f"target missed: {line}" for line in result.get("misses", [])]
    return "\n".join([*parts, str(result["machine"])])


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv benchmark",
        description="Speed as ratios measured in one process, in turns.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "what",
        nargs="?",
        choices=tuple(BENCHMARKS),
        help="this machine's own figures in half a minute (the default with --quick); the "
        "environment's views beside the bare network (the default); sparse layers and networks "
        "beside dense ones; networks of any kind beside their plain modules; the environment's "
        "rate and memory on them; one layer in blocks of several sizes, and with its weights laid "
        "out both ways; training loops with the "
        "kernels and without; all routes over a grid, and auto beside dense on another one; "
        "look-ups in the table of all masks; ONNX files beside what they are written from; "
        "TorchRL's view beside the vector environment; how time and memory grow",
    )
    add("--quick", action="store_true", help="a few small cases, seconds only")
    add("--json", action="store_true", help="print JSON only")
    add(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where layers are measured; cuda is for kernels alone",
    )
    add("--beside", type=Path, metavar="FOLDER", help="kernels of another checkout, in turns")
    add("--threads", type=int, default=1, help="torch's threads")
    add("--repeats", type=int, help="rounds of each case, at least 2")
    add("--record", action="store_true", help="write the result to --results-dir")
    add("--results-dir", default="runs/results", help="folder of --record")
    add("--report-dir", default="runs/reports", help="folder of the plot")
    return parser


@program("ccenv benchmark", (CannotStartError,), measures=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; see --help."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    what = options.what or (MACHINE if options.quick else "environment")
    benchmark = BENCHMARKS[what]
    if options.repeats is not None and options.repeats < 2:
        parser.error(f"expected --repeats of at least 2, got {options.repeats}")
    if options.device == "cuda":
        if what != "kernels":
            parser.error(f"expected kernels with --device cuda, got {what}")
        benchmark, reason = ON_A_CARD, gpu.why_not_measured()
        if reason is not None:
            print(f"nothing was measured: {reason}", file=sys.stderr)
            return 1
    if options.beside:
        if what != "kernels" or options.device == "cuda":
            parser.error(f"expected kernels on the CPU with --beside, got {what}")
        measured = functools.partial(beside.measured, options.beside)
        benchmark = dataclasses.replace(BESIDE, measured=measured)
    # Without a name --quick asks for the few rows that the machine's table has anyway.
    options.quick &= options.what is not None
    result = measure(benchmark, options)
    kept = {**result, "rows": benchmark.kept(result["rows"])}
    if options.record:
        json_file.write_json(Path(options.results_dir) / f"{kept['name']}.json", kept)
    print(
        json.dumps(json_file.finite(result))
        if options.json
        else show(benchmark, kept, Path(options.report_dir))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
