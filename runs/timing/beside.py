"""Today's kernels beside those of another checkout, in turns in one process: (its folder) -> rows.

    git worktree add /tmp/before v0.1
    ccenv benchmark kernels --beside /tmp/before

Both packages are called `ccenv`: the other one's modules stand in `sys.modules` while one of its
passes is made or timed, and today's at all other times, for functions import on their first call.
Timed are the cases of `ccenv benchmark kernels` that both know, and layers whose weights lie as
`torch.nn.Linear` makes them; each case's dense layers are today's, torch's own.
"""

import contextlib
import itertools
import statistics
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from gymnasium.envs.registration import registry

from ccenv.base.clock import calls_for, quartiles_of_ratio, time_calls
from ccenv.base.seeding import stream
from ccenv.runs.engine.stops import CannotStartError
from ccenv.runs.show.tables import formatted
from ccenv.runs.timing.kernels import Case, Pass, Row
from ccenv.runs.timing.masks import draw_pool, mean_densities

PACKAGE = "ccenv"
BATCHES, DENSITIES = (32, 1024), (0.05, 0.2, 0.5)
WIDTH, BLOCKS = 1024, 32
LARGE = 8192
"""Rows of a case that takes seconds a pass: left out."""
NOTES = """\
Before and now: time of torch's dense layers over the time of the other checkout's kernels and of
today's, in the same round, median [quartiles]; now over before: time before over time now. Both
packages in one process, in turns; other masks in every pass. nn.Linear: weights of an output side
by side, by the kernels; other rows as `ccenv benchmark kernels`, by `auto`."""
COLUMNS = {
    "case": "<{case}",
    "masks": "<{masks}",
    "batch": ">{batch:,}",
    "density": ">{density:.3f}",
    "before": "<{before:.2f} [{before_low:.2f}, {before_high:.2f}]",
    "now": "<{now:.2f} [{now_low:.2f}, {now_high:.2f}]",
    "now over before": "<{gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]",
}


@dataclass
class Side:
    """A package's modules, those of the other checkout or today's."""

    folder: Path | None = None
    """of the checkout; None: today's."""
    modules: dict[str, ModuleType] = field(default_factory=dict)
    """as they were left."""

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """While it lasts `import ccenv...` finds this side's modules."""
        if self.folder is None:
            yield
            return
        others = taken()
        sys.modules.update(self.modules)
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            self.modules = taken()
            sys.modules.update(others)


def taken() -> dict[str, ModuleType]:
    """The package's modules, taken out of `sys.modules`."""
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {name: sys.modules.pop(name) for name in names}


def other_side(folder: Path) -> Side:
    """The package of another checkout, which is code that will run.

    Raises:
        CannotStartError: if none is there.
    """
    if not (folder / PACKAGE / "__init__.py").is_file():
        raise CannotStartError(
            f"expected a checkout of {PACKAGE} in {folder}, got no {PACKAGE}/__init__.py; make one "
            "with git worktree add"
        )
    side, environments = Side(folder.resolve()), dict(registry)
    # It registers its own under the same names.
    registry.clear()
    try:
        with side.active():
            import ccenv as found

            place = Path(str(found.__file__)).parents[1]
    finally:
        registry.clear()
        registry.update(environments)
    if place != side.folder:
        raise CannotStartError(f"expected {PACKAGE} from {side.folder}, got that from {place}")
    return side


def cases_of(*, quick: bool) -> Iterator[Any]:
    """The active side's cases: today's `Case`, or what the other checkout calls so."""
    from ccenv.runs.timing import networks

    sizes = (256, 8) if quick else (WIDTH, BLOCKS)
    rows = [(8, 0.2)] if quick else list(itertools.product(BATCHES, DENSITIES))
    for (batch, density), way in itertools.product(rows, ("forward", "training")):
        yield linear_case(*sizes, density, batch, way)
    yield from networks.all_cases(quick=quick)


def linear_case(width: int, blocks: int, density: float, batch: int, way: str) -> Case:
    """A square layer whose weights lie as `torch.nn.Linear` makes them; see `layout_row`."""
    from ccenv.sparse.linear import block_sparse_linear

    generator, is_training = stream(0, "layouts"), way == "training"
    weight = torch.randn(width, width, generator=generator) / width**0.5
    bias = torch.randn(width, generator=generator)
    x, incoming = (torch.randn(batch, width, generator=generator) for _ in range(2))
    leaves = [each.requires_grad_(is_training) for each in (x, weight, bias)]
    pool = draw_pool(batch, (blocks, blocks), density, "independent")
    turns = itertools.cycle(pool)

    def run(masks: Sequence[torch.Tensor] | None) -> None:
        if masks is None:
            y = torch.nn.functional.linear(x, weight, bias)
        else:
            y = block_sparse_linear(x, weight, bias, *masks, backend="cpu")
        if is_training:
            torch.autograd.grad(y, leaves, incoming)

    return Case(
        name=f"nn.Linear, {width} to {width}, {blocks} blocks, {way}",
        batch=batch,
        densities=mean_densities(pool),
        macs=0.0,
        dense_macs=0.0,
        sparse=lambda: run(next(turns)),
        dense=lambda: run(None),
    )


def known(case: Any) -> tuple[Any, ...]:
    """What makes a case of one side that of the other."""
    return case.name, case.masks, case.batch


def measured(folder: Path, *, quick: bool, rounds: int) -> Iterator[Row]:
    """Every case that both sides know.

    Raises:
        CannotStartError: if the folder holds no checkout, or its cases are others.
    """
    here, there = Side(), other_side(folder)
    # Of today's definition, by the other side's modules.
    others = cases_of(quick=quick)
    for case in cases_of(quick=quick):
        other = next_of(there, others)
        if other is None or known(other) != known(case):
            got = None if other is None else known(other)
            raise CannotStartError(
                f"expected the case {known(case)} in {folder}, got {got}; take a checkout whose "
                "`ccenv benchmark kernels` times the same cases"
            )
        if case.batch < LARGE:
            passes = {"before": (there, other.sparse), "now": (here, case.sparse)}
            yield row_of(case, timed(passes | {"dense": (here, case.dense)}, rounds))


def next_of(side: Side, cases: Iterator[Any]) -> Any:
    """The next case, made by a side's modules; None behind the last."""
    with side.active():
        try:
            return next(cases, None)
        except ImportError as error:
            raise CannotStartError(
                f"expected kernels and their cases in {side.folder}: {error}"
            ) from error


def timed(passes: Mapping[str, tuple[Side, Pass]], rounds: int) -> dict[str, list[float]]:
    """Seconds of a call, a number a round; see `ccenv.base.clock.seconds_in_turns`."""
    calls: dict[str, int] = {}
    times: dict[str, list[float]] = {name: [] for name in passes}
    for name, (side, function) in passes.items():
        with side.active():
            calls[name] = calls_for(function)
    order = deque(passes)
    for _ in range(rounds):
        for name in order:
            side, function = passes[name]
            with side.active():
                function()
                times[name].append(time_calls(function, calls[name]))
        order.rotate(-1)
    return times


def row_of(case: Case, times: Mapping[str, Sequence[float]]) -> Row:
    """A case's ratios; `NOTES` tells what they say."""
    row: Row = {"case": case.name, "masks": case.masks, "batch": case.batch}
    row["density"] = statistics.mean(case.densities)
    pairs = {
        "before": ("dense", "before"),
        "now": ("dense", "now"),
        "gain": ("before", "now"),
    }
    for name, (above, below) in pairs.items():
        low, middle, high = quartiles_of_ratio(times[above], times[below])
        row |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    return row


def table(rows: Sequence[Row]) -> str:
    """Ratios in Markdown."""
    return formatted(COLUMNS, rows)
