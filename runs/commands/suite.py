"""Is my agent better? ccenv suite AGENT -> its skills among recorded agents, a table and a page."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ccenv.runs.commands.frame import Parser, positive, print_json, program
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.store import REPORTS
from ccenv.runs.tables.short_table import print_text

if TYPE_CHECKING:
    from ccenv.runs.suite.standing import Standing

STOPPED = "stopped; the same command goes on with what is missing"
EPILOG = """\
examples:
  ccenv suite                           recorded agents
  ccenv suite my_module:MyAgent --quick one level of each skill: minutes
  ccenv suite rloo learning_rate=0.003 --skill depth --seeds 5

An environment of the suite keeps the score, so agents of other libraries need no command:
gym.make_vec("ccenv:suite/depth-8-v0", num_envs=64) in your script, then ccenv suite."""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv suite",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("agent", nargs="?", help="a name of ccenv list agents, or module:Class")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="of the agent, and batch_size (64)"
    )
    parser.add_argument("--quick", action="store_true", help="one level of each skill")
    parser.add_argument(
        "--skill", action="append", metavar="NAME", help="this skill alone; may be given again"
    )
    parser.add_argument("--task", action="append", metavar="NAME", help="this task alone; likewise")
    parser.add_argument(
        "--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N - 1; 3 by default"
    )
    parser.add_argument("--anew", action="store_true", help="play again what is finished")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    parser.add_argument("--folder", type=Path, default=Path("runs/suite"), help="of the scores")
    parser.add_argument("--report-dir", help=f"folder of the page; {REPORTS}/NAME of --folder")
    return parser


@program("ccenv suite", (ValueError, TypeError, ImportError), STOPPED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Plays an agent on the suite and compares it; see --help."""
    options = make_parser().parse_args(arguments)
    from ccenv.annexes.tasks import suite
    from ccenv.runs.engine.errors import say
    from ccenv.runs.suite.pictures import PAGE
    from ccenv.runs.suite.play import make_player, play_all
    from ccenv.runs.suite.reported import report

    named = [suite[name] for name in options.task or []]
    skills = options.skill or ([] if named else [None])
    tasks = [task for skill in skills for task in suite(skill, quick=options.quick)]
    label, is_played = None, True
    if options.agent is not None:
        player = make_player(options.agent, parse_pairs(options.settings))
        label = player.label
        seeds = range(options.seeds)
        tasks = [*named, *tasks]
        is_played = play_all(player, tasks, seeds, options.folder, anew=options.anew, say=say)
    place = options.report_dir or Path(REPORTS, options.folder.name)
    standing = report(options.folder, Path(place) / PAGE)
    show(standing, label, as_json=options.json)
    for line in [*standing.notes, *standing.write_page()]:
        say(line)
    return 0 if is_played else 1


def show(standing: "Standing", label: str | None, *, as_json: bool) -> None:
    """Prints the skills of one agent, or of all in the folder, and the two sentences."""
    from ccenv.runs.suite.standing import agent_table, skill_table

    chosen = None if label is None else standing.name_of(label)
    names = [name for name in standing.own if chosen in (None, name)]
    if as_json:
        print_json([row for row in standing.rows if row["agent"] in names])
        return
    for table in [skill_table(standing, name) for name in names] or [agent_table(standing)]:
        print_text(table.markdown())
    for name in names:
        print(" ".join(standing.sentences(name)), flush=True)
