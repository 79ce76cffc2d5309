"""This machine's own figures in half a minute, beside those of machines that were measured.

Speed-ups of one machine do not hold on another: on an Intel Cascade Lake Xeon some were a third of
those recorded on an AMD EPYC. What `ccenv benchmark kernels` measures at length stands here in a
few rows, so that nobody need take another machine's figures for his own.
"""

from collections.abc import Iterator

from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Case, Row, measure
from ccenv.runs.speed.masks import layer_case
from ccenv.runs.speed.networks import TRAINED, cifar_case

LAYER, NETWORK, STEP = "layer 1,024 wide, 32 blocks", "CIFAR-10 network", "its training step"
ELSEWHERE = {
    (LAYER, 32, 0.05): (38.0, 18.7),
    (LAYER, 32, 0.3): (5.8, 3.2),
    (LAYER, 32, 0.9): (1.32, 1.32),
    (LAYER, 1024, 0.05): (56.0, 18.7),
    (LAYER, 1024, 0.3): (7.0, 3.6),
    (LAYER, 1024, 0.9): (1.12, 0.62),
    (NETWORK, 128, 1 / 16): (12.2, 5.2),
    (NETWORK, 1, 1 / 16): (8.0, 9.4),
    (STEP, 128, 1 / 16): (5.3, 2.2),
}
"""What, rows and density -> speed-up over dense layers on an AMD EPYC as recorded, and as measured
by hand on an Intel Cascade Lake Xeon in 2026-11, both with AVX-512, one thread; of kernels before
`auto` measured machines."""
NOTES = """\
Speed-up: time of torch's dense layers over time, median [quartiles], one thread, policies of whole
networks included. Elsewhere: an AMD EPYC as it was recorded, an Intel Cascade Lake Xeon as it was
measured by hand (2026-11), both with AVX-512. More:
`ccenv benchmark kernels`."""
COLUMNS = {
    "what": "<{what}",
    "rows": ">{batch:,}",
    "density": ">{asked:.2f}",
    "speed-up here": "<{speedup:.2f} [{speedup_low:.2f}, {speedup_high:.2f}]",
    "AMD EPYC": ">{epyc:.2f}",
    "Cascade Lake": ">{cascade_lake:.2f}",
    "ms": ">{milliseconds:.3f}",
    "dense GFLOP/s": ">{dense_gflops:.0f}",
    "GFLOP/s": ">{gflops:.0f}",
}


def case_of(what: str, batch: int, density: float, *, quick: bool) -> Case:
    """What is measured; quick: a smaller layer in place of any."""
    if quick:
        return layer_case(256, 8, density, min(batch, 32))
    if what == LAYER:
        return layer_case(1024, 32, density, batch)
    return cifar_case(density, batch, TRAINED if what == STEP else "")


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every case in turn."""
    for (what, batch, density), (epyc, cascade_lake) in ELSEWHERE.items():
        row = measure(case_of(what, batch, density, quick=quick), rounds)
        told = {"what": what, "asked": density, "epyc": epyc, "cascade_lake": cascade_lake}
        yield told | row


MACHINE = benchmark(
    "machine",
    "this machine's own figures in half a minute, beside those of others",
    measured,
    COLUMNS,
    recorded_as="own-figures",
    rounds=5,
    notes=NOTES,
)
