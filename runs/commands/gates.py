"""Which gates of a network matter: ccenv analyze gates network=... dataset=... -> a table."""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccenv.base.checked_file import content_digest
from ccenv.base.registry import check_names
from ccenv.data import SPLITS
from ccenv.runs.analysis.gate_sweep import chosen_inputs, judge_gates
from ccenv.runs.config.agent_settings import explained
from ccenv.runs.config.values import annotations_of, checked, is_plain, parse_pairs
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file
from ccenv.runs.store.identity import canonical, same
from ccenv.runs.store.provenance import data_of, machine, most_threads, versions
from ccenv.runs.store.seal import sealed
from ccenv.runs.tables import gate_table
from ccenv.runs.tensorboard.tracking import compact
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator

UNUSED = ("reward", "reward_kwargs", "observation", "group_size", "weights_kwargs", "split")
"""Settings of the environment that no frozen network depends on, and `split`, the program's own."""
LEARNING = "cotrain"


@dataclass(frozen=True)
class Settings:
    """What is judged, and how."""

    split: str = field(default="test", metadata={"help": "train, validation or test"})
    images: int = field(default=2000, metadata={"help": "inputs, drawn once from the split"})
    batch_size: int = field(default=32, metadata={"help": "inputs at a time; for speed alone"})
    seed: int = field(default=0, metadata={"help": "of the inputs and the random half"})
    threads: int = field(default=1, metadata={"help": "torch's threads"})
    out: str | None = field(default=None, metadata={"help": "a JSON file to record the result in"})

    def __post_init__(self) -> None:
        """Checks.

        Raises:
            ValueError: if a number or the split is impossible.
        """
        check_names([self.split], SPLITS, "split")
        for name in ("images", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.threads > most_threads() or self.seed < 0:
            raise ValueError(
                f"expected threads of at most {most_threads()} and seed of at least 0, got "
                f"{self.threads} and {self.seed}"
            )


def gates(*, progress: bool = False, **settings: Any) -> dict[str, Any]:
    """Judges a frozen or shipped network without each of its gates; the same as the command line.

    Args:
        progress: show a bar.
        **settings: fields of `Settings`, and settings of the environment, of its network and data.

    Returns:
        What `out` holds: rows (see `ccenv.runs.analysis.gate_sweep`), the settings that differ from
        the defaults, how many inputs and answers, checksums, versions and machine.

    Raises:
        ValueError: if a setting is wrong.
        OSError: if `out` cannot be written.
    """
    return judged(settings, progress)


def judged(settings: Mapping[str, Any], progress: bool) -> dict[str, Any]:
    """Does what `gates` does, of settings that a command line names."""
    own, environment = read_settings(settings)
    if own.out is not None:
        run_folder.check_writable(Path(own.out).parent)
    torch.set_num_threads(own.threads)
    simulator = Simulator(1, split=own.split, **environment)
    indices = chosen_inputs(simulator.data, own.images, own.seed)
    with tqdm(total=len(indices), unit="input", disable=not progress) as bar:
        rows = judge_gates(
            simulator.network,
            simulator.data,
            indices.to(simulator.device),
            batch_size=own.batch_size,
            seed=own.seed,
            progress=lambda done: bar.update(done - bar.n),
        )
    found = json_file.finite(described(own, environment, simulator, len(indices)) | {"rows": rows})
    result: dict[str, Any] = sealed(found)
    if own.out is not None:
        Path(own.out).parent.mkdir(parents=True, exist_ok=True)
        json_file.write_json(Path(own.out), result)
    return result


def read_settings(given: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Parts and checks settings: the program's own, and those of the environment.

    Raises:
        ValueError: if a name is unknown, a value impossible, or the network would learn.
    """
    own = {one.name: one.default for one in dataclasses.fields(Settings)}
    defaults = {name: v for name, v in setting_defaults().items() if name not in UNUSED}
    check_names(given, [*own, *defaults], "setting")
    mine = {name: value for name, value in given.items() if name in own}
    environment = {name: value for name, value in given.items() if name in defaults}
    settings = Settings(**checked(mine, annotations_of(Settings), own))
    environment = checked(environment, annotations_of(Simulator.__init__), defaults)
    if environment["weights"] == LEARNING:
        raise ValueError(
            f"expected weights that are there, got weights={LEARNING!r}; choose frozen or shipped"
        )
    return settings, environment


def described(
    own: Settings, environment: Mapping[str, Any], simulator: Simulator, num_inputs: int
) -> dict[str, Any]:
    """All of a result but its rows."""
    network, defaults = simulator.network, setting_defaults()
    chosen = {
        name: canonical(value) if is_plain(value) else str(value)
        for name, value in environment.items()
        if not same(value, defaults[name])
    }
    everywhere = network.defines("logits_everywhere")
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    dataset = environment["dataset"]
    return {
        "kind": "gates",
        "name": Path(own.out).stem if own.out else "gates",
        "settings": chosen,
        "split": own.split,
        "seed": own.seed,
        "inputs": num_inputs,
        "answers": num_inputs * (simulator.image_shape[0] if everywhere else 1),
        "dense_macs": network.dense_macs,
        "weights": content_digest(weights, {})[:24],
        "data": data_of(dataset) if isinstance(dataset, str) else {},
        "versions": versions(),
        "machine": machine(),
    }


def show(result: Mapping[str, Any]) -> str:
    """What was judged, the table and how to read it."""
    settings = ", ".join(f"{k}={compact(v)}" for k, v in result["settings"].items()) or "defaults"
    said = (
        f"{settings}: {result['answers']:,} answers for {result['inputs']:,} inputs "
        f"({result['split']}), dense {result['dense_macs']:,} MACs"
    )
    return f"{said}\n\n{gate_table.table(result['rows'])}\n\n{gate_table.NOTES}"


def settings_help() -> Iterator[str]:
    """Every setting with its default and its meaning, a line each."""
    yield "settings of the program:"
    for option in dataclasses.fields(Settings):
        yield f"  {option.name}={compact(option.default)}  {option.metadata['help']}"
    yield "settings of the environment (see ccenv.simulator.simulator.Simulator):"
    meaning = explained(Simulator.__init__)
    for name, value in setting_defaults().items():
        if name not in UNUSED:
            yield f"  {name}={compact(value)}  {meaning.get(name, '')}".rstrip()


def add_to(analyses: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the analysis to the words of `ccenv analyze`."""
    parser = analyses.add_parser(
        "gates",
        help="error, nll and cost of a frozen network without each of its gates",
        description="Error, nll and cost of a frozen network without each of its gates.",
        epilog="\n".join(settings_help()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see below")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.set_defaults(analyze=analyze)


def analyze(options: argparse.Namespace) -> int:
    """Leaves out each gate in turn, and prints the table; returns the exit status."""
    result = judged(parse_pairs(options.settings), progress=not options.json)
    print(json.dumps(result, indent=2) if options.json else show(result))
    return 0
