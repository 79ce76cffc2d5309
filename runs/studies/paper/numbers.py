"""Points of figures of the paper and of its first author's thesis.

Read from the vector figures of the thesis (E. Bengio, MSc thesis, McGill 2016), to about 0.3 % of
an axis. A figure that is also in the paper (Bengio, Bacon, Pineau, Precup 2015, arXiv 1511.06297)
has the paper's number.

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
from pathlib import Path
from statistics import median

POINTS = Path(__file__).with_name("digitised.csv")
Series = dict[str, list[tuple[float, float]]]


@functools.cache
def digitised(figure: str) -> Series:
    """Points of a figure by series, in the order of the file; see the top of this module."""
    series: Series = {}
    with POINTS.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["figure"] == figure:
                points = series.setdefault(row["series"], [])
                points.append((float(row["x"]), float(row["y"])))
    return series


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
