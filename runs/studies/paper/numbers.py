"""Numbers of the paper and of its first author's thesis: rows of tables, and points of figures.

Tables: Bengio, Bacon, Pineau, Precup 2015, arXiv 1511.06297 (v2). Single runs, no intervals. The
paper's speed-up is the time of a pass without the specialised product over that with it, of the
same network. Each `PaperRow` names the rows of ours that it is compared with.

Figures: read from the vector figures of the thesis (E. Bengio, MSc thesis, McGill 2016), to about
0.3 % of an axis. A figure that is also in the paper has the paper's number.

| name | what | x | y |
|---|---|---|---|
| fig3 | random search on SVHN, batches (thesis 5.9) | seconds of a pass | validation error |
| fig5.16 | the same, one image at a time | seconds | validation error |
| fig5a-error, fig5a-seconds | lambda_s on CIFAR-10 (5.12); seconds end at 5 | lambda_s | error, s |
| fig5b | means of the curves with the lowest and highest lambda_v, and between | epoch | error |
| fig5.7 | learned and random masks on MNIST | density | validation error |
| fig5.2 | kernels, 32 blocks of 32 on both sides; one row: 5.15 | density | speed-up |
| fig5.3 | the same by block size, times averaged over densities | units of a block | speed-up |
"""

import csv
import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

NN_TWICE = {"dropout off at test": "{}", "dropout left on": "{}, dropout left on"}
"""How the paper's NN are run here: as they should be, and as the authors' script does."""


@dataclass(frozen=True)
class PaperRow:
    """One row of a table of the paper."""

    name: str
    """the network."""
    where: str
    """section or figure."""
    error: float
    """test error as printed, a share of 1."""
    ours: Mapping[str, str]
    """how it is run here -> label in our sweep."""
    density: float | None = None
    """realised share of blocks kept, where it is known."""
    speedup: float | None = None
    """as printed."""
    conditional: bool = False
    """whether a learned policy chooses: a better one may stand next to it."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper and where ours is recorded."""

    sweep: str
    """name of the faithful sweep."""
    improved: str
    """name of the sweep with other policies and trainings; empty where there is none."""
    rows: tuple[PaperRow, ...]
    """in the paper's order."""
    note: str
    """what a reader must know."""


def nn(widths: str, where: str, error: float, slower: str = "") -> PaperRow:
    """A dense network of the paper, run in both ways, and again at a share of the learning rate."""
    name = f"NN {widths}"
    ours = {how: text.format(name) for how, text in NN_TWICE.items()}
    if slower:
        at = f"{name} at {slower} of the rate"
        ours |= {f"{how}, {slower} of the rate": text.format(at) for how, text in NN_TWICE.items()}
    return PaperRow(name, where, error, ours)


def condnet(
    label: str, where: str, error: float, speedup: float, *, stops: bool = False
) -> PaperRow:
    """A condnet by the authors' code, also stopped early where we do that."""
    ours = {"authors' code": label} | ({STOPPED: f"{label}, stopped early"} if stops else {})
    return PaperRow(label, where, error, ours, speedup=speedup, conditional=True)


STOPPED = "authors' code, stopped early"
"""How it is run, where the network and policy of the best validation are judged."""
TEXT, FIG2, FIG4 = "sec. 5.1", "Fig. 2", "Fig. 4"

MNIST = PaperTable(
    sweep="paper-mnist",
    improved="equal-cost-mnist",
    rows=(
        PaperRow(
            "condnet 16 x 16",
            TEXT,
            0.023,
            {
                "authors' code": "condnet, code",
                "authors' code, 1,000 epochs": "condnet, code, 1,000 epochs",
                "text": "condnet, text",
                "text, rates on means": "condnet, text, rates on means as printed",
                "text, slow regularizers": "condnet, text, slow regularizers",
            },
            # Mean of the means in the author's thesis, Fig. 5.6, digitised.
            density=0.212,
            conditional=True,
        ),
        PaperRow(
            "NN 256",
            TEXT,
            0.019,
            {"no dropout": "dense 256", **{k: v.format("NN 256") for k, v in NN_TWICE.items()}},
        ),
        PaperRow(
            "NN 32",
            TEXT,
            0.028,
            {"no dropout": "dense 32", **{k: v.format("NN 32") for k, v in NN_TWICE.items()}},
        ),
    ),
    note="The paper claims no speed-up on MNIST. Its density is read from the thesis (Fig. 5.6).",
)

CIFAR10 = PaperTable(
    sweep="paper-cifar10",
    improved="equal-cost-cifar10",
    rows=(
        condnet("condnet 24,24 x 64", FIG2, 0.511, 3.8),
        condnet("condnet 16,32 x 16", FIG2, 0.514, 5.7, stops=True),
        PaperRow(
            "condnet 10,10 x 64",
            FIG2,
            0.497,
            {
                "authors' code": "condnet 10,10 x 64",
                STOPPED: "condnet 10,10 x 64, stopped early",
                "weights of blockDropout.py": "condnet 10,10 x 64, weights as in blockDropout.py",
            },
            density=0.18,
            speedup=5.3,
            conditional=True,
        ),
        PaperRow("bdNN 0.17", FIG2, 0.629, {"authors' code": "bdNN 0.17"}, 0.17, 5.3),
        PaperRow("bdNN 0.2", FIG2, 0.590, {"authors' code": "bdNN 0.2"}, 0.2, 3.5),
        nn("64, 64", FIG2, 0.560),
        nn("128, 128", FIG2, 0.546),
        nn("480, 480", FIG2, 0.497),
    ),
    note="The improved rows train with flips and shifts, as their dense networks do.",
)

SVHN = PaperTable(
    sweep="paper-svhn",
    improved="equal-cost-svhn",
    rows=(
        condnet("condnet 13,8 x 16", FIG4, 0.183, 1.4),
        condnet("condnet 27,7 x 16", FIG4, 0.139, 1.6),
        condnet("condnet 25,22 x 32", FIG4, 0.073, 1.4),
        nn("288, 928", FIG4, 0.116),
        nn("800, 736", FIG4, 0.100),
        nn("1280, 1056", FIG4, 0.091, slower="0.25"),
    ),
    note=(
        "Ours is trained on 11,520 images of another part of SVHN instead of 580,000: only the "
        "order of the rows can be compared. The improved rows train with shifts."
    ),
)
SVHN_WHOLE = PaperTable(
    sweep="paper-svhn-whole",
    improved="",
    rows=(
        *(row for row in SVHN.rows if row.conditional),
        PaperRow("NN 288, 928", FIG4, 0.116, {"dropout off at test": "NN 288, 928"}),
    ),
    note=(
        "Ours is trained on 54,001 digits of the training set's photos, the paper's on 580,000 "
        "with the easier extra ones; it is judged on photos held out, not on the test set."
    ),
)

PAPER_TABLES: Mapping[str, PaperTable] = {
    **{"mnist": MNIST, "cifar10": CIFAR10},
    **{"svhn": SVHN, "svhn-whole": SVHN_WHOLE},
}


POINTS = Path(__file__).with_name("digitised.csv")
Series = dict[str, list[tuple[float, float]]]


@functools.cache
def read_points() -> dict[str, Series]:
    """Figure -> series -> points, in the order of the file."""
    figures: dict[str, Series] = {}
    with POINTS.open(newline="") as file:
        for row in csv.DictReader(file):
            series = figures.setdefault(row["figure"], {}).setdefault(row["series"], [])
            series.append((float(row["x"]), float(row["y"])))
    return figures


def digitised(figure: str) -> Series:
    """Points of a figure by series; see the top of this file.

    Raises:
        KeyError: if there is no such figure.
    """
    return read_points()[figure]


def trend(points: list[tuple[float, float]], num_bins: int = 6) -> list[tuple[float, float]]:
    """Medians of x and y over as many neighbouring groups of nearly equal size.

    >>> trend([(1.0, 5.0), (2.0, 7.0), (3.0, 1.0), (4.0, 3.0)], num_bins=2)
    [(1.5, 6.0), (3.5, 2.0)]
    """
    ordered = sorted(points)
    bins = min(num_bins, len(ordered))
    edges = [round(index * len(ordered) / bins) for index in range(bins + 1)]
    groups = [ordered[a:b] for a, b in itertools.pairwise(edges)]
    return [(median(x for x, _ in group), median(y for _, y in group)) for group in groups]
