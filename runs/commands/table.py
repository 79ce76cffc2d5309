"""Tables of all masks: ccenv table build NETWORK DATASET -> a file; show, pack, judge ENTRY...."""

import argparse
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.ranks import OneProcess, Ranks, RanksError, joined
from ccenv.base.registry import check_names
from ccenv.mask_table import read_table, write_table
from ccenv.mask_table.building.checks import MOST_BYTES
from ccenv.mask_table.leaderboard import APART
from ccenv.mask_table.shipped import small
from ccenv.runs.commands.frame import program
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.mask_tables.build import SETTINGS, build_table, help_table, time_units
from ccenv.runs.mask_tables.judged import judge_entries, recorded, show_table
from ccenv.runs.store import json_file
from ccenv.runs.tables import mask_table
from ccenv.runs.tables.sweep_table import markdown


def parser_of() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ccenv table", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser(
        "build", help="build a table; goes on from what was finished", allow_abbrev=False
    )
    make.add_argument("network", help="name of a network, such as resnet")
    make.add_argument("dataset", help="name of a data set, such as cifar10")
    text = f"settings of the environment: {', '.join(SETTINGS)}"
    make.add_argument("settings", nargs="*", metavar="key=value", help=text)
    make.add_argument("--split", default="test", help="train, validation or test (default)")
    make.add_argument("--limit", type=int, help="the first so many inputs; all by default")
    make.add_argument("--menu", type=int, help="most masks a gate, drawn; all by default")
    make.add_argument("--seed", type=int, default=0, help="of the menus")
    make.add_argument("--processes", type=int, default=1, help="at once, a thread each")
    make.add_argument("--batch", type=int, default=64, help="inputs at a time")
    text = f"of the file; a larger table is refused, default {MOST_BYTES:,}"
    make.add_argument("--bytes", type=int, default=MOST_BYTES, help=text)
    make.add_argument("--out", type=Path, help="default: NETWORK-DATASET-SPLIT.safetensors")
    look = commands.add_parser(
        "show", help="what static, random and the oracle's masks reach", allow_abbrev=False
    )
    look.add_argument("file", type=Path)
    look.add_argument("--choose", type=Path, help="table whose inputs choose static masks")
    look.add_argument("--policy", type=Path, help="safetensors file of a policy to be placed")
    look.add_argument("--times", type=Path, help="file of ccenv table times: costs are its time")
    look.add_argument("--record", type=Path, help="JSON file of a result to keep, for pages")
    look.add_argument("--json", action="store_true", help="print the result as JSON only")
    clock = commands.add_parser(
        "times", help="measure a network's units on this machine", allow_abbrev=False
    )
    clock.add_argument("network", help="name of a network, such as resnet")
    clock.add_argument("dataset", help="name of a data set, such as cifar10")
    clock.add_argument("settings", nargs="*", metavar="key=value", help=text)
    clock.add_argument("--batch", type=int, default=1, help="inputs of a pass")
    clock.add_argument("--threads", type=int, default=1, help="torch's threads")
    clock.add_argument("--machine", help="its name in the file; default: the processor's")
    clock.add_argument("--out", type=Path, help="default: NETWORK-DATASET-times.json")
    board = commands.add_parser(
        "judge", help="rank entries by regret at three prices", allow_abbrev=False
    )
    board.add_argument("entries", nargs="*", type=Path, metavar="ENTRY", help="files of entries")
    board.add_argument("--table", type=Path, help="whose inputs judge; default: test images")
    board.add_argument("--choose", type=Path, help="whose inputs choose the best static mask")
    board.add_argument("--json", action="store_true", help="print the result as JSON only")
    pack = commands.add_parser(
        "pack", help="keep bits and first looks alone, in few bytes", allow_abbrev=False
    )
    pack.add_argument("file", type=Path)
    pack.add_argument("--out", type=Path, required=True)
    return parser


def file_name(network: str, dataset: str, last: str) -> str:
    """Where a file lies by default."""
    return f"{network}-{dataset}-{last}".replace(":", "-").replace("/", "-")


@program("ccenv table", (ValueError, ImportError, IndexError, RanksError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, shows or packs a table of all masks, or judges entries; see --help."""
    options = parser_of().parse_args(arguments)
    if options.command == "judge":
        standing = judge_entries(options.entries, options.table, options.choose)
        print(json.dumps(standing, indent=2) if options.json else standings_text(standing))
        return int(bool(standing["refused"]))
    if options.command == "pack":
        write_table(options.out, small(read_table(options.file)))
        print(f"{options.out}: {options.out.stat().st_size:,} bytes")
        return 0
    if options.command == "show":
        found = show_table(options.file, options.choose, options.policy, options.times)
        if options.record is not None:
            json_file.write_json(options.record, recorded(found, options.record.stem))
        print(json.dumps(found, indent=2) if options.json else mask_table.text(found))
        return 0
    names = (options.network, options.dataset)
    if options.command == "times":
        out = options.out or Path(file_name(*names, "times.json"))
        times = time_units(
            *names,
            out,
            batch_size=options.batch,
            machine=options.machine,
            threads=options.threads,
            **settings_of(options),
        )
        print(f"{out}: {mask_table.times_text(times)}")
        return 0
    with joined() as ranks:
        return build_by(ranks, options)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of the environment from `key=value` pairs."""
    given = parse_pairs(options.settings)
    for name, value in given.items():
        if name in ("network", "dataset"):
            raise ValueError(f"expected the {name} before the settings, got {name}={value!r}")
        if name in vars(options).keys() - {"command", "settings"}:
            raise ValueError(f"expected --{name} {value}, got {name}={value!r}: it is an option")
    check_names(given, SETTINGS, "setting")
    return given


def build_by(ranks: OneProcess, options: argparse.Namespace) -> int:
    """Builds a table, alone or with other ranks that torchrun started; rank 0 writes it."""
    network, dataset = options.network, options.dataset
    settings = settings_of(options) | {
        **{name: getattr(options, name) for name in ("split", "menu", "seed")},
        "batch_size": options.batch,
    }
    if isinstance(ranks, Ranks) and not ranks.leads:
        help_table(ranks, network, dataset, **settings)
        return 0
    out = options.out or Path(file_name(network, dataset, f"{options.split}.safetensors"))
    table = build_table(
        network,
        dataset,
        out,
        limit=options.limit,
        processes=options.processes,
        most_bytes=options.bytes,
        progress=True,
        ranks=ranks,
        **settings,
    )
    print(f"{out}: {mask_table.size_text(table.header.num_masks, table.header.num_images)}")
    return 0


STANDINGS_NOTES = """\
In order of the mean of the regrets at three prices: the reward of each input's best mask, less the
policy's; a right answer pays 1, less the price times the MACs as a share of the dense network's.
Exact sums over all masks, +- one standard error over the inputs. A function answers for any input
by what is seen of it, and has a rank where the inputs that judge do not ship with the package. An
open function is judged on inputs that ship: it may have been fitted to them. Answers were made for
these very inputs, so that their makers are trusted not to have looked. Both stand apart, without a
rank; ccenv table judge --table FILE ranks functions on inputs of yours. Errors in %, MACs as
shares. The best mask of each input is known by its label: no policy reaches regret 0."""
SIGNS = re.compile(r"([\\`*_\[\]#!~$])")
"""Signs that Markdown reads."""


def standings_text(found: Mapping[str, Any]) -> str:
    """Standings, who was refused and why, and how to read it."""
    header, rows = found["header"], found["standings"]
    prices = [one["price"] for one in rows[0]["at"]]
    columns = {"rank": "right", "entry": "left", "kind": "left", "mean regret": "right .4f"}
    for price in prices:
        names = (f"regret at {price:g}", "error %", "MACs")
        columns |= dict.fromkeys(
            [names[0], *(f"{name} at {price:g}" for name in names[1:])], "right"
        )
    lines = [
        ["apart" if row["kind"] in APART else row["rank"], *standing_cells(row)] for row in rows
    ]
    said = (
        f"{header['network']} on {header['dataset']} ({header['split']}), "
        f"{found['num_images']:,} inputs judge"
    )
    refused = "".join(
        f"\n\nrefused: {escaped(one['file'])}: {escaped(one['why'])}" for one in found["refused"]
    )
    return f"{said}\n\n{markdown(columns, lines)}{refused}\n\n{STANDINGS_NOTES}"


def standing_cells(row: Mapping[str, Any]) -> list[Any]:
    """One line behind its rank."""
    found: list[Any] = [escaped(row["name"]), row["kind"], row["regret"]]
    for one in row["at"]:
        regret = f"{one['regret']:.4f} +- {one['error_of_regret']:.4f}"
        found += [regret, f"{100 * one['error']:.2f}", f"{one['cost']:.3f}"]
    return found


def escaped(text: str) -> str:
    r"""What somebody else wrote, so that neither HTML, Markdown nor a terminal acts on it.

    >>> escaped("<b>*x*</b>" + chr(27))
    '&lt;b&gt;\\*x\\*&lt;/b&gt; '
    """
    line = "".join(c if c.isprintable() else " " for c in text)
    return html.escape(SIGNS.sub(r"\\\1", line), quote=False)
