"""Tables of all masks: ccenv table build NETWORK DATASET -> a file; show, pack, judge ENTRY...."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccenv.base.joined import joined
from ccenv.base.ranks import ALONE, OneProcess, Ranks, RanksError
from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.data import SPLITS
from ccenv.mask_table import (
    MaskTable,
    Outcomes,
    build,
    drawn_menu,
    front,
    judge_policy,
    read_policy,
    read_table,
    write_table,
)
from ccenv.mask_table.builder import help_build
from ccenv.mask_table.policy_file import of_rows
from ccenv.mask_table.shipped import small
from ccenv.mask_table.times import read_times
from ccenv.runs.leaderboard import judge_entries
from ccenv.runs.plan.values import parse_pairs
from ccenv.runs.programs import program
from ccenv.runs.show import mask_table, standings
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.machine import machine, most_threads, versions
from ccenv.runs.store.seal import sealed
from ccenv.runs.table_settings import SETTINGS, read_settings, said_of
from ccenv.runs.table_times import time_units
from ccenv.simulator.simulator import Simulator


def build_table(
    network: str,
    dataset: str,
    out: Path,
    *,
    split: str = "test",
    limit: int | None = None,
    menu: int | None = None,
    seed: int = 0,
    processes: int = 1,
    batch_size: int = 64,
    progress: bool = False,
    ranks: OneProcess = ALONE,
    **settings: Any,
) -> MaskTable:
    """Builds a table of a frozen or shipped network; the same as the command line.

    Args:
        network: as the environment's; with `weights` left out, shipped ones are used where there
            are any, else frozen ones.
        dataset: as the environment's.
        out: the file.
        split: train, validation or test.
        limit: the first so many inputs.
        menu: most masks a gate, drawn at all densities; None for all.
        seed: of the menus.
        processes: at once.
        batch_size: inputs at a time.
        progress: show a bar, and the time before it starts.
        ranks: processes that build it together; the others call `help_table` with the same.
        **settings: those of `SETTINGS`.

    Raises:
        ValueError: if a setting is wrong or the table too large.
        OSError: if the file cannot be written.
    """
    check_names([split], SPLITS, "split")
    if not 1 <= processes <= most_threads():
        raise ValueError(f"expected processes in 1..{most_threads()}, got {processes}")
    environment = read_settings(network, dataset, settings)
    torch.set_num_threads(1)
    out.parent.mkdir(parents=True, exist_ok=True)
    simulator = Simulator(1, split=split, **environment)
    with tqdm(unit="input", disable=not progress) as bar:
        bar.total = len(simulator.data) if limit is None else limit
        return build(
            simulator.network,
            simulator.data,
            out,
            said=said_of(environment, split),
            menus=menus_drawn(simulator, menu, seed),
            limit=limit,
            batch_size=batch_size,
            processes=processes,
            ranks=ranks,
            tell=lambda plan: (
                bar.write(mask_table.plan_text(plan), file=sys.stderr) if progress else None
            ),
            progress=lambda done: bar.update(done - bar.n),
        )


def help_table(
    ranks: Ranks,
    network: str,
    dataset: str,
    *,
    split: str = "test",
    menu: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    **settings: Any,
) -> None:
    """Does a share of the table that rank 0 builds with the same settings.

    Raises:
        ValueError: if a setting is wrong.
        RanksError: if another rank ends.
    """
    check_names([split], SPLITS, "split")
    torch.set_num_threads(1)
    simulator = Simulator(1, split=split, **read_settings(network, dataset, settings))
    chosen = menus_drawn(simulator, menu, seed)
    help_build(simulator.network, simulator.data, ranks, menus=chosen, batch_size=batch_size)


def menus_drawn(simulator: Simulator, menu: int | None, seed: int) -> list[Any] | None:
    """At most so many masks for each gate; None for all."""
    if menu is None:
        return None
    generator = stream(seed, "menus of masks")
    return [drawn_menu(gate.num_blocks, menu, generator) for gate in simulator.network.gates]


def show_table(
    path: Path,
    choose: Path | None = None,
    policy: Path | None = None,
    times: Path | None = None,
) -> dict[str, Any]:
    """What a table reaches: the dense network, static, random and the oracle's masks.

    Args:
        path: of the table that judges; without `choose` its odd inputs judge what its even ones
            choose.
        choose: of the table whose inputs choose static masks.
        policy: of a policy for the inputs of the table, see `ccenv.mask_table.read_policy`.
        times: of `ccenv table times`: costs are then shares of a machine's time, not of MACs.

    Raises:
        ValueError: if a file is damaged, or the tables are not of one network and data set.
        FileNotFoundError: if there is no such file.
    """
    table = read_table(path)
    known = None if times is None else read_times(times)
    outcomes = table.outcomes(times=known)
    chosen_by = outcomes.of_images(slice(0, None, 2))
    judged = slice(1, None, 2) if choose is None else slice(None)
    if choose is not None:
        other = read_table(choose)
        check_alike(table, other)
        chosen_by = other.outcomes(times=known)
    judge = outcomes.of_images(judged)
    if not len(judge.scores):
        raise ValueError(f"expected a table of at least 2 inputs to choose and judge, in {path}")
    placed = None
    if policy is not None:
        own = of_rows(read_policy(policy), len(outcomes.scores), judged)
        placed = dataclasses.asdict(judge_policy(judge, chosen_by, **own))
    return {
        "header": dataclasses.asdict(table.header),
        "num_masks": table.header.num_masks,
        "num_bytes": path.stat().st_size,
        "machine": None if known is None else known.machine["name"],
        "choose": len(chosen_by.scores),
        "judge": len(judge.scores),
        "dense_error": dense_error(judge),
        "policy": placed,
        "rows": [dataclasses.asdict(point) for point in front(judge, chosen_by)],
    }


def recorded(found: dict[str, Any], name: str) -> dict[str, Any]:
    """What was shown as a result of its own, sealed: without sizes of files, with versions."""
    said = {key: found["header"][key] for key in ("network", "settings", "dataset", "split")}
    said |= {key: found["header"][key] for key in ("weights", "data", "num_images", "dense_macs")}
    numbers = {key: found[key] for key in ("num_masks", "choose", "judge", "dense_error")}
    content = {"kind": "mask-table", "name": name, **said, **numbers}
    return sealed(
        run_folder.finite(
            content | {"versions": versions(), "machine": machine(), "rows": found["rows"]}
        )
    )


def dense_error(judge: Outcomes) -> float | None:
    """Share of wrong answers with everything kept; None where a menu has no such mask."""
    is_dense = judge.costs == 1
    return float(1 - judge.scores[:, is_dense][:, -1].mean()) if is_dense.any() else None


def check_alike(table: MaskTable, other: MaskTable) -> None:
    """Refuses to choose masks by another network's table."""
    for name in ("weights", "gates", "menus", "dataset", "transforms"):
        expected, got = getattr(table.header, name), getattr(other.header, name)
        if expected != got:
            raise ValueError(
                f"expected two tables of one network and data set, got another {name}: "
                f"{got!r} beside {expected!r}"
            )
    if (table.header.split, table.header.data) == (other.header.split, other.header.data):
        raise ValueError("expected other inputs to choose by, got the same; leave --choose out")


def parser_of() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ccenv table", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="build a table; goes on from what was finished")
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
    make.add_argument("--out", type=Path, help="default: NETWORK-DATASET-SPLIT.safetensors")
    look = commands.add_parser("show", help="what static, random and the oracle's masks reach")
    look.add_argument("file", type=Path)
    look.add_argument("--choose", type=Path, help="table whose inputs choose static masks")
    look.add_argument("--policy", type=Path, help="safetensors file of a policy to be placed")
    look.add_argument("--times", type=Path, help="file of ccenv table times: costs are its time")
    look.add_argument("--record", type=Path, help="JSON file of a result to keep, for pages")
    look.add_argument("--json", action="store_true", help="print the result as JSON only")
    clock = commands.add_parser("times", help="measure a network's units on this machine")
    clock.add_argument("network", help="name of a network, such as resnet")
    clock.add_argument("dataset", help="name of a data set, such as cifar10")
    clock.add_argument("settings", nargs="*", metavar="key=value", help=text)
    clock.add_argument("--batch", type=int, default=1, help="inputs of a pass")
    clock.add_argument("--threads", type=int, default=1, help="torch's threads")
    clock.add_argument("--machine", help="its name in the file; default: the processor's")
    clock.add_argument("--out", type=Path, help="default: NETWORK-DATASET-times.json")
    board = commands.add_parser("judge", help="rank entries by regret at three prices")
    board.add_argument("entries", nargs="*", type=Path, metavar="ENTRY", help="files of entries")
    board.add_argument("--table", type=Path, help="whose inputs judge; default: test images")
    board.add_argument("--choose", type=Path, help="whose inputs choose the best static mask")
    board.add_argument("--json", action="store_true", help="print the result as JSON only")
    pack = commands.add_parser("pack", help="keep bits and first looks alone, in few bytes")
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
        print(json.dumps(standing, indent=2) if options.json else standings.text(standing))
        return int(bool(standing["refused"]))
    if options.command == "pack":
        write_table(options.out, small(read_table(options.file)))
        print(f"{options.out}: {options.out.stat().st_size:,} bytes")
        return 0
    if options.command == "show":
        found = show_table(options.file, options.choose, options.policy, options.times)
        if options.record is not None:
            run_folder.write_json(options.record, recorded(found, options.record.stem))
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
            **parse_pairs(options.settings),
        )
        print(f"{out}: {mask_table.times_text(times)}")
        return 0
    with joined() as ranks:
        return build_by(ranks, options)


def build_by(ranks: OneProcess, options: argparse.Namespace) -> int:
    """Builds a table, alone or with other ranks that torchrun started; rank 0 writes it."""
    network, dataset = options.network, options.dataset
    settings = parse_pairs(options.settings) | {
        **{name: getattr(options, name) for name in ("split", "menu", "seed")},
        "batch_size": options.batch,
    }
    if isinstance(ranks, Ranks) and not ranks.leads:
        help_table(ranks, network, dataset, **settings)
        return 0
    out = options.out or Path(file_name(network, dataset, f"{options.split}.safetensors"))
    how = {"limit": options.limit, "processes": options.processes, "progress": True}
    table = build_table(network, dataset, out, ranks=ranks, **how, **settings)
    print(f"{out}: {mask_table.size_text(table.header.num_masks, table.header.num_images)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
