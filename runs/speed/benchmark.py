"""Makes an experiment of what is timed in rounds: (quick=, rounds=) -> rows."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.store.provenance import tuned
from ccenv.sparse.cpu.codegen.compiled import LANES

USUAL_LANES = 16
"""floats of a vector; results of machines with others have names of their own."""
QUICK_ROUNDS = 3
Timed = Callable[..., Iterable[Row]]
"""(quick=, rounds=) -> rows, one after the other."""


def benchmark(
    name: str,
    about: str,
    timed: Timed,
    columns: Mapping[str, str],
    *,
    recorded_as: str = "",
    rounds: int = 11,
    on_card: bool = False,
    names_machine: bool = True,
    **shown: Any,
) -> Experiment:
    """An experiment whose rows are timings.

    Args:
        name: see `Experiment`.
        about: see `Experiment`.
        timed: measures each case once a round.
        columns: see `Experiment`.
        recorded_as: name of the usual result, and its kind unless one is given; other vectors,
            threads and allocator settings are added to it. The experiment's name by default.
        rounds: unless asked for otherwise.
        on_card: whether the processor's vectors do not matter.
        names_machine: see `Experiment`.
        **shown: other fields of `Experiment`.
    """
    usual_name = recorded_as or name

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--quick", action="store_true", help="a few small cases, seconds only")
        parser.add_argument("--repeats", type=int, help=f"rounds of each case; {rounds} by default")

    def run(options: Options) -> Iterable[Row]:
        if options.repeats is not None and options.repeats < 2:
            raise ValueError(f"expected --repeats of at least 2, got {options.repeats}")
        usual = QUICK_ROUNDS if options.quick else rounds
        return timed(quick=options.quick, rounds=options.repeats or usual)

    def file_name(options: Options) -> str:
        lanes = f"-{LANES}-lanes" if LANES != USUAL_LANES and not on_card else ""
        threads = f"-{options.threads}-threads" if options.threads > 1 else ""
        memory = "-kept-memory" if any(word.startswith("MALLOC_") for word in tuned()) else ""
        return f"{usual_name}{lanes}{threads}{memory}"

    return Experiment(
        name=name,
        about=about,
        run=run,
        columns=columns,
        kind=shown.pop("kind", usual_name),
        recorded_as=file_name,
        add_options=add_options,
        names_machine=names_machine,
        **shown,
    )
