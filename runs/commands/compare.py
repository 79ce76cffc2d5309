"""A sweep: run what is missing, then show table and report: ccenv compare [SWEEP]."""

import argparse
import itertools
import re
from collections.abc import Sequence
from typing import Any

from ccenv.runs.commands.frame import Parser, positive, print_json, program, takes_trust
from ccenv.runs.config.sweep import Sweep
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.engine.jobs import Shard
from ccenv.runs.store import LOGS, REPORTS
from ccenv.runs.studies import STUDIES
from ccenv.runs.tables.short_table import answer

STOPPED = "stopped; the same command goes on with what is missing"


def read_shard(text: str) -> Shard:
    """Reads a shard of the command line.

    >>> read_shard("2/5")
    Shard(number=2, of=5)
    """
    numbers = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise argparse.ArgumentTypeError(
            f"expected i/n with i from 1 to n, as 2/5 for the second of five, got {text!r}"
        )
    return Shard(int(numbers[1]), int(numbers[2]))


def compared(options: argparse.Namespace) -> int:
    """Compares as the options say, and prints the answer; returns the exit status."""
    from ccenv.runs.comparing import compare
    from ccenv.runs.engine.errors import say

    if options.record and (options.seeds or options.miniature):
        raise ValueError(
            "expected --record without --seeds and --miniature, got both: recorded runs are those "
            "of the study, and the figures of a miniature say nothing; leave one out"
        )

    def changed(sweep: Sweep) -> Sweep:
        return sweep.miniature() if options.miniature else sweep

    agent, *settings = options.agent or [None]
    comparison = compare(
        options.sweep,
        agent=agent and (agent, parse_pairs(settings)),
        rewards=options.rewards,
        cost_weights=options.cost_weights,
        seeds=options.seeds,
        add=[read_added(words) for words in options.add] or None,
        change=changed,
        jobs=options.jobs,
        use_recorded=not options.no_recorded,
        record=options.record,
        run_missing_ones=not options.no_run,
        write_page=False,
        rerun=options.rerun,
        shard=options.shard,
        trust=options.trust,
        log_dir=options.log_dir,
        report_dir=options.report_dir,
        results_dir=options.results_dir,
    )
    if options.json:
        print_json(comparison.rows)
    elif comparison.rows:
        shown = comparison.results
        about = shown.sweep.description
        print(answer(about, shown.rows, shown.sentences, shown.shaping_tables), flush=True)
    # The answer first: figures take seconds.
    page = []
    if comparison.rows and (options.page or not options.no_run):
        page = comparison.write_page(board=not options.no_run)
    elif comparison.rows:
        page = ["--page writes the page: every row, with tables and figures"]
    for line in [*comparison.lines, *page]:
        say(line)
    failures, number = comparison.failures, comparison.results.num_runs
    for failure in failures:
        say(f"\nfailed: {failure.task.label}, {failure.task.settings}\n{failure.error}")
    if failures:
        say(f"{len(failures)} of {number} runs failed; the same command tries them again")
    return 1 if failures or not (comparison.rows or options.shard) else 0


def listed(text: str) -> list[str]:
    """Reads names between commas."""
    return [name.strip() for name in text.split(",")]


def weights(text: str) -> list[float]:
    """Reads numbers between commas."""
    try:
        return [float(number) for number in listed(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected numbers between commas, as .25,.5,1, got {text!r}"
        ) from error


def read_added(words: Sequence[str]) -> tuple[str | list[str], dict[str, Any]]:
    """What `--add` names, and its settings; several files are one each seed.

    >>> read_added(["ppo-0.zip", "ppo-1.zip", "deterministic=false"])
    (['ppo-0.zip', 'ppo-1.zip'], {'deterministic': False})
    """
    names = list(itertools.takewhile(lambda word: "=" not in word, words))
    settings = parse_pairs(words[len(names) :])
    return (names[0] if len(names) == 1 else names), settings


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv compare",
        description="Runs what is missing of a sweep, then shows the table.",
        epilog=(
            "`ccenv list sweeps` shows what each compares and its minutes on two cores. A sweep of "
            "yours is a TOML file, or a Sweep or Study in a module; see the tutorial on studies."
        ),
    )
    parser.add_argument(
        "sweep",
        nargs="?",
        help=f"{', '.join(STUDIES)}, a file that ends in .toml, or module:name; quickstart by "
        "default",
    )
    parser.add_argument(
        "--agent",
        nargs="+",
        metavar=("AGENT", "key=value"),
        help="in place of a sweep: this agent under several rewards, and settings of every run",
    )
    parser.add_argument(
        "--rewards",
        type=listed,
        default=(),
        metavar="NAME,NAME",
        help="two or more that take a cost_weight, as module:name too",
    )
    parser.add_argument(
        "--cost-weights",
        type=weights,
        default=(),
        metavar="W,W",
        help="two or more: a row for each reward and weight",
    )
    parser.add_argument(
        "--add",
        action="append",
        nargs="+",
        default=[],
        metavar=("AGENT", "key=value"),
        help=(
            "compare this too: an agent (a name or module:Class), which is trained here; or a "
            "policy that is only judged: zips of Stable-Baselines3, one a seed, a folder of them, "
            "or module:name of a function or a torch module; and its settings; may be given again"
        ),
    )
    parser.add_argument(
        "--seeds", type=positive, metavar="N", help="run every row with seeds 0 to N - 1"
    )
    parser.add_argument("--jobs", type=positive, help="runs at once; as many as cores by default")
    parser.add_argument(
        "--shard", type=read_shard, metavar="i/n", help="run the i-th of n equal shares only"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    parser.add_argument(
        "--record", action="store_true", help="write runs/results/<sweep>.json, run by run"
    )
    parser.add_argument(
        "--no-recorded", action="store_true", help="run here what was recorded elsewhere, too"
    )
    parser.add_argument(
        "--no-run", action="store_true", help="show what is there; run nothing, write nothing"
    )
    parser.add_argument("--page", action="store_true", help="with --no-run, write the page, too")
    parser.add_argument(
        "--rerun", action="store_true", help="also run what comes from older code of its agent"
    )
    parser.add_argument(
        "--miniature", action="store_true", help="one short run of each kind of row, in a minute"
    )
    takes_trust(parser, "a sweep's file names")
    parser.add_argument("--log-dir", default=LOGS, help="folder of the runs")
    parser.add_argument("--report-dir", default=REPORTS, help="folder of tables and plots")
    parser.add_argument(
        "--results-dir",
        help="folder of recorded results; by default runs/results, then the package's",
    )
    return parser


@program("ccenv compare", (ValueError, TypeError), STOPPED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Compares agents; see --help."""
    return compared(make_parser().parse_args(arguments))
