"""Searches an agent's settings: ccenv search AGENT key=low..high ... -> a Pareto front, presets."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccenv.agents import AGENTS
from ccenv.runs.commands.frame import positive, print_json, program
from ccenv.runs.config.plan import safe_name
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.space import check_space, read_space, usual_space
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.store import json_file
from ccenv.runs.store.provenance import num_cores

if TYPE_CHECKING:
    from ccenv.runs.engine.search import Tried

STOPPED = "stopped; the same command goes on with what is missing"
OWN = ("seed", "log_dir", "progress")
"""Settings of a run that a search gives itself."""


def result_lines(found: "Sequence[Tried]", front: "Sequence[Tried]") -> list[str]:
    """The Pareto front by cost, and the defaults for comparison."""
    shown = [f"{len(found)} trials; Pareto front of error and total cost on validation images:"]
    shown += [line(one) for one in front]
    usual = [one for one in found if one.is_usual]
    if not usual:
        return [*shown, "the defaults lie outside of what was searched"]
    if usual[0] in front:
        return [*shown, f"the defaults (trial {usual[0].number}) are on it"]
    return [*shown, "the defaults, for comparison:", line(usual[0])]


def line(one: "Tried") -> str:
    """A trial in a line."""
    return (
        f"  error {100 * one.error:6.2f} %  total cost {one.total_cost:.4f}  "
        f"trial {one.number:<4} {values_text(one.values, '.4g')}"
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv search",
        description="Searches settings of an agent by Optuna, on validation images.",
        epilog="without a range, learning_rate and reward_kwargs.cost_weight are varied, from a "
        "tenth to ten times of their defaults",
        allow_abbrev=False,
    )
    parser.add_argument("agent", help=f"one of {', '.join(AGENTS)}, or module:Class")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="kept; varied: key=low..high, key=a|b"
    )
    parser.add_argument("--trials", type=positive, default=50, help="how many there shall be")
    parser.add_argument("--seeds", type=positive, default=1, help="runs of each trial, averaged")
    parser.add_argument("--jobs", type=positive, default=num_cores(), help="trials at once")
    parser.add_argument("--folder", type=Path, help="of the search; runs/searches/AGENT if none")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write Pareto front and defaults there"
    )
    parser.add_argument(
        "--again", type=positive, default=5, help="runs of each recorded trial with other seeds"
    )
    parser.add_argument("--json", action="store_true", help="print all trials as JSON only")
    return parser


@program("ccenv search", (ValueError, TypeError), STOPPED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Searches settings of an agent; see --help."""
    options = make_parser().parse_intermixed_args(arguments)
    from ccenv.runs.engine.errors import say
    from ccenv.runs.engine.search import (
        PRESETS,
        Search,
        front_of,
        record_of,
        run_trials,
        tried,
        write_presets,
    )

    kept, space = read_space(parse_pairs(options.settings))
    if refused := [name for name in OWN if name in {**kept, **space}]:
        raise ValueError(f"expected no {refused[0]}: a search gives it itself; leave it out")
    space = space or usual_space(make_plan(options.agent, kept))
    check_space(options.agent, kept, space)
    folder = options.folder or Path("runs/searches") / safe_name(options.agent)
    search = Search(options.agent, kept, space, options.seeds, folder, options.trials)
    failures = run_trials(search, options.jobs)
    found = tried(search)
    front = front_of(found)
    write_presets(search, front)
    if options.record:
        json_file.write_json(options.record, record_of(search, found, options.again))
    if options.json:
        print_json([dataclasses.asdict(one) | {"on_front": one in front} for one in found])
    else:
        print("\n".join(result_lines(found, front)))
    for failure in failures:
        say(f"\nfailed: {failure.error}")
    say(f"presets: ccenv train --config {search.folder / PRESETS}/trial-N.json")
    return 0 if front and len(found) >= search.trials else 1


def values_text(values: Mapping[str, Any], form: str) -> str:
    """Settings of a trial, floats in a format."""
    return " ".join(
        f"{name}={format(value, form) if isinstance(value, float) else value}"
        for name, value in values.items()
    )
