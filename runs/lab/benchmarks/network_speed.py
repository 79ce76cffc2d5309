"""Networks of any kind beside their plain modules: a subject -> times of passes and of training.

Frozen networks are packed, as the environment runs them, and a small policy is part of a pass: an
affine map of each gate's look and a draw. Other masks in every pass, from a pool drawn beforehand.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, work_clock
from ccenv.runs.lab.benchmarks.network_passes import make_passes
from ccenv.runs.lab.benchmarks.subjects import Subject, chosen
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Row
from ccenv.runs.store.provenance import load_average
from ccenv.runs.tables.sweep_table import formatted

FORWARD, TRAINED = "pass", "training step"
SECONDS = 0.1
"""length of one timing: of a single input some dozen passes, each with masks of its own."""
NOTES = """\
Frozen and packed, one thread; a single input of a sequence of stages by
`networks.core.one_row`, its dense pass too. Seconds of the processor (of the wall with several
threads). MACs saved: of the dense network's, the policy's own counted (an affine map of the look
and a draw for each gate). Time saved: 1 - time over that of the same packed modules with everything
kept and no masks, in the same round, median [quartiles], policy included; of it: time saved over
MACs saved, with the policy's work and without. Faster than dense: the same as a speed-up; than
plain: over the module as torch has it (norms apart, `TransformerEncoderLayer`, one hidden layer for
all experts). Over equal: time over that of one dense hidden layer of the executed units. A training
step is forward and backward without an optimiser, masks given, beside the same modules with
everything kept."""
COLUMNS = {
    "network": "<{network}",
    "kept": "<{kept}",
    "what": "<{way}",
    "batch": ">{batch:,}",
    "MACs saved": ">{saved_macs:.1%}",
    "time saved": "<{shown_time}",
    "of it": ">{of_saved:.2f}",
    "without policy": ">{shown_given}",
    "faster than dense": ">{speedup:.2f}",
    "than plain": ">{plain_speedup:.2f}",
    "over equal": ">{shown_equal}",
    "ms": ">{gated_milliseconds:.2f}",
}


def measure(subject: Subject, batch: int, rounds: int, *, training: bool = False) -> Row:
    """Times a network in turns, at least two rounds; `NOTES` tells what the row says."""
    passes = make_passes(subject, batch, training=training)
    times = seconds_in_turns(passes.timed, min(rounds, subject.most_rounds), SECONDS, work_clock())
    low, middle, high = quartiles_of_ratio(times["gated"], times["dense"])
    saved = 1 - (passes.macs + passes.policy_macs) / passes.dense_macs
    row = {
        "network": subject.network,
        "kept": subject.kept,
        "way": TRAINED if training else FORWARD,
        "batch": batch,
        "saved_macs": saved,
        "policy_macs": passes.policy_macs / passes.dense_macs,
        "saved_time": 1 - middle,
        "saved_time_low": 1 - high,
        "saved_time_high": 1 - low,
        "of_saved": (1 - middle) / saved,
        "speedup": quartiles_of_ratio(times["dense"], times["gated"])[1],
        "plain_speedup": quartiles_of_ratio(times["plain"], times["gated"])[1],
        "load_average": load_average(),
        "rounds": len(times["gated"]),
    }
    row |= {f"{n}_milliseconds": 1e3 * statistics.median(found) for n, found in times.items()}
    if "given" in times:
        given = quartiles_of_ratio(times["given"], times["dense"])[1]
        row["of_saved_given"] = (1 - given) / (1 - passes.macs / passes.dense_macs)
    if "equal" in times:
        row["over_equal"] = quartiles_of_ratio(times["gated"], times["equal"])[1]
    return row


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every network and batch in turn, and a training step of each."""
    for subject in chosen(quick=quick).values():
        for batch in subject.batches:
            yield measure(subject, batch, rounds)
        yield measure(subject, subject.training_batch, rounds, training=True)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Times in Markdown."""
    return formatted(COLUMNS, [{**row, **shown(row)} for row in rows])


def shown(row: Mapping[str, Any]) -> dict[str, str]:
    """Cells that not every row has, and the quartiles."""
    quartiles = f"[{100 * row['saved_time_low']:.1f}, {100 * row['saved_time_high']:.1f}]"
    given, equal = (row.get(name) for name in ("of_saved_given", "over_equal"))
    return {
        "shown_time": f"{row['saved_time']:.1%} {quartiles}",
        "shown_given": "" if given is None else f"{given:.2f}",
        "shown_equal": "" if equal is None else f"{equal:.2f}",
    }


NETWORKS = benchmark(
    "networks",
    "networks of any kind with some blocks skipped, beside their plain modules",
    measured,
    table,
    kind="networks",
    recorded_as="network-speed",
    notes=NOTES,
)
