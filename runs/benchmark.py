"""Measured speed: python -m runs.benchmark [environment|kernels].

`environment`: the views of the environment beside the bare network; an image is one episode of two
steps. `kernels`: block-sparse layers and networks beside dense ones. Everything is measured in one
process, in turns, on masks drawn beforehand: a ratio compares two neighbouring timings, so that a
busy machine slows both.

With glibc, batches of thousands of images pay for memory that is given back to the system and
fetched again every step; `MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000` in
the environment keeps it. The machine's card names what was set.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from runs import folder as run_folder
from runs import kernel_report, kernel_speed
from runs.machine import load_average, machine, tuned, versions
from runs.report import markdown
from runs.speed import make_episodes, measure

SIZES = (256, 1024, 4096)
SINGLE_SIZES = (256,)
"""batches of single environments: each image costs a Python call a step."""
TARGETS = {"vector_env": 0.9, "sb3_vec_env": 0.7}
NOTES = """\
784-256-256-10, 16 blocks a layer; rates in images per second, medians; ratios to the bare network
(the kernels, without an environment) in the same round: median [quartiles]; and to the same network
by dense products times masks. Single environments (DummyVecEnv, SyncVectorEnv) hold one
image each."""


def run_benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Measures everything and says on which machine."""
    torch.set_num_threads(options.threads)
    load, speeds = load_average(), []
    for size in SIZES[:1] if options.quick else SIZES:
        episodes = make_episodes(size, options.density, single=size in SINGLE_SIZES)
        repeats, seconds = (3, 0.02) if options.quick else (options.repeats, 0.25)
        speeds += measure(episodes, size, repeats, seconds)
        print(f"measured {size} images", file=sys.stderr, flush=True)
    rows = [asdict(speed) for speed in speeds]
    return {
        "kind": "speed",
        "name": "environment-speed",
        "density": options.density,
        "rows": rows,
        "misses": misses(rows),
        "machine": machine() | {"load_average": load, "variables": tuned()},
        "versions": versions(),
    }


def run_kernels(options: argparse.Namespace) -> dict[str, Any]:
    """Measures block-sparse layers and networks beside dense ones."""
    torch.set_num_threads(options.threads)
    load, rows = load_average(), []
    with torch.enable_grad():
        repeats = 3 if options.quick else options.repeats
        for timing in kernel_speed.all_cases(quick=options.quick, repeats=repeats):
            rows.append(asdict(timing))
            print(f"measured {timing.case}, batch {timing.batch}", file=sys.stderr, flush=True)
    name = "kernel-speed" + (f"-{options.threads}-threads" if options.threads > 1 else "")
    if any(variable.startswith("MALLOC_") for variable in tuned()):
        name += "-kept-memory"
    return {
        "kind": "kernels",
        "name": name,
        "rows": rows,
        "machine": machine() | {"load_average": load, "variables": tuned()},
        "versions": versions(),
    }


def misses(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Targets that were not met, in words."""
    by_key = {(row["view"], row["num_images"]): row for row in rows}
    missed = [
        f"{view}, {size} images: {row['ratio']:.2f} of the bare network's rate, "
        f"target {TARGETS[view]}"
        for (view, size), row in by_key.items()
        if view in TARGETS and row["ratio"] < TARGETS[view]
    ]
    for view in TARGETS:
        for size in SINGLE_SIZES:
            rates = [by_key[v, size]["images_per_second"] for v in (view, "dummy_vec_env")]
            if rates[0] < 10 * rates[1]:
                missed.append(
                    f"{view}, {size} images: {rates[0] / rates[1]:.1f} times DummyVecEnv, target 10"
                )
    return missed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Speeds in Markdown."""
    columns = {
        "view": "left",
        "images": "right",
        "images/s": "right",
        "env steps/s": "right",
        "of the bare network": "left",
        "of the dense loop": "right",
    }
    lines = [
        [
            row["view"],
            f"{row['num_images']:,}",
            f"{row['images_per_second']:,.0f}",
            f"{row['steps_per_second']:,.0f}",
            f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
            f"{row['dense_ratio']:.2f}",
        ]
        for row in rows
    ]
    return markdown(columns, lines)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m runs.benchmark",
        description="Speed as ratios measured in one process, in turns.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("environment", "kernels"),
        default="environment",
        help="the environment's views beside the bare network, or sparse layers beside dense ones",
    )
    parser.add_argument("--quick", action="store_true", help="256 images, seconds only")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument(
        "--density", type=float, default=0.5, help="share of blocks kept; 0.5 as a space's sample()"
    )
    parser.add_argument("--repeats", type=int, default=11, help="rounds")
    parser.add_argument("--record", action="store_true", help="write the result to --results-dir")
    parser.add_argument("--results-dir", default="runs/results", help="folder of --record")
    parser.add_argument("--report-dir", default="runs/reports", help="folder of the plot")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; see --help."""
    options = make_parser().parse_args(arguments)
    found = run_kernels(options) if options.what == "kernels" else run_benchmark(options)
    if options.record:
        run_folder.write_json(Path(options.results_dir) / f"{found['name']}.json", found)
    if options.json:
        print(json.dumps(found, indent=2))
    elif options.what == "kernels":
        path = Path(options.report_dir) / "kernel-speed.png"
        kernel_report.plot(found["rows"], path)
        print(f"{kernel_report.table(found['rows'])}\n\n{kernel_report.NOTES}\n{found['machine']}")
        print(f"plot: {path}")
    else:
        print(f"{table(found['rows'])}\n\n{NOTES}\n{found['machine']}")
        for line in found["misses"]:
            print(f"target missed: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
