"""Tables of all masks: ccenv table build NETWORK DATASET -> a file; show, pack."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccenv.annexes.mask_table import write_table
from ccenv.annexes.mask_table.table import SHIPPED, opened_table, small
from ccenv.base.files import write_sealed
from ccenv.base.registry import check_names
from ccenv.runs.commands.frame import Parser, program
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.tables import mask_table
from ccenv.runs.tables.mask_table import all_masks_text, size_text
from ccenv.runs.tables.short_table import print_text


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="ccenv table", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="build a table; goes on from what was finished")
    make.add_argument("--split", default="test", help="train, validation or test (default)")
    make.add_argument("--limit", type=int, help="the first so many inputs; all by default")
    make.add_argument("--menu", type=int, help="most masks a gate, drawn; all by default")
    make.add_argument("--seed", type=int, default=0, help="of the menus")
    make.add_argument("--processes", type=int, default=1, help="at once, a thread each")
    make.add_argument("--batch", type=int, default=64, help="inputs at a time")
    text = "of the file; a larger table is refused; half a GiB by default"
    make.add_argument("--bytes", type=int, help=text)
    make.add_argument("--out", type=Path, help="default: NETWORK-DATASET-SPLIT.safetensors")
    look = commands.add_parser("show", help="what static, random and the oracle's masks reach")
    look.add_argument("table", help=f"a file, or one of {', '.join(SHIPPED)}")
    look.add_argument("--choose", help="table whose inputs choose static masks")
    look.add_argument("--record", type=Path, help="JSON file of a result to keep, for pages")
    look.add_argument("--json", action="store_true", help="print the result as JSON only")
    make.add_argument("network", help="name of a network, such as resnet")
    make.add_argument("dataset", help="name of a data set, such as cifar10")
    settings = "settings of the environment, such as network_kwargs.depth=20"
    make.add_argument("settings", nargs="*", metavar="key=value", help=settings)
    pack = commands.add_parser("pack", help="keep bits and first looks alone, in few bytes")
    pack.add_argument("file", type=Path)
    pack.add_argument("--out", type=Path, required=True)
    return parser


def file_name(network: str, dataset: str, last: str) -> str:
    """Where a file lies by default."""
    return f"{network}-{dataset}-{last}".replace(":", "-").replace("/", "-")


@program("ccenv table", (ValueError, ImportError, IndexError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, shows or packs a table of all masks; see --help."""
    options = make_parser().parse_args(arguments)
    if options.command == "pack":
        write_table(options.out, small(opened_table(options.file)))
        print(f"{options.out}: {options.out.stat().st_size:,} bytes")
        return 0
    if options.command == "show":
        table = mask_table.show_table(options.table, options.choose)
        if options.record is not None:
            result = mask_table.as_result(table, options.record.stem)
            write_sealed(options.record, result)
        if options.json:
            print(json.dumps(table, indent=2))
        else:
            print_text(all_masks_text(table))
        return 0
    return build_and_write(options)


def environment_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of the environment from `key=value` pairs."""
    from ccenv.runs.mask_tables.build import SETTINGS

    settings = parse_pairs(options.settings)
    for name, value in settings.items():
        if name in ("network", "dataset"):
            raise ValueError(f"expected the {name} before the settings, got {name}={value!r}")
        if name in vars(options).keys() - {"command", "settings"}:
            raise ValueError(f"expected --{name} {value}, got {name}={value!r}: it is an option")
    check_names(settings, SETTINGS, "setting")
    return settings


def build_and_write(options: argparse.Namespace) -> int:
    """Builds a table and writes it."""
    from ccenv.annexes.mask_table.checks import MOST_BYTES
    from ccenv.runs.mask_tables.build import build_table

    network, dataset = options.network, options.dataset
    settings = environment_settings(options) | {
        **{name: getattr(options, name) for name in ("split", "menu", "seed")},
        "batch_size": options.batch,
    }
    out = options.out or Path(file_name(network, dataset, f"{options.split}.safetensors"))
    table = build_table(
        network,
        dataset,
        out,
        limit=options.limit,
        processes=options.processes,
        most_bytes=MOST_BYTES if options.bytes is None else options.bytes,
        progress=True,
        **settings,
    )
    print(f"{out}: {size_text(table.header.num_masks, table.header.num_images)}")
    return 0
