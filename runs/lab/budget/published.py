"""Published ways to spend less on CIFAR-10's residual networks: rows of papers, as shares.

Networks of 110 layers, all trained on with their masks or after pruning; ours is frozen and has 20
layers. So shares of a dense network's own MACs and errors are all that can stand side by side.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of a paper."""

    method: str
    kind: str
    """static: one smaller network for all images; by image: each has blocks of its own."""
    kept: float
    """share of the dense network's MACs."""
    accuracy: float
    """in per cent."""
    dense: tuple[float, ...]
    """accuracy of the dense network beside it, in per cent; two: where it is not known to us, the
    least and the most that ResNet-110 has in these papers."""
    source: str

    @property
    def errors(self) -> tuple[float, ...]:
        """Error over the dense network's, the least first."""
        return tuple(sorted((100 - self.accuracy) / (100 - base) for base in self.dense))


BETWEEN = (93.5, 93.8)
PRUNED = "Ma et al. 2022, doi 10.1155/2022/7775419, table 2"
RESNET_110 = (
    Published("BlockDrop", "by image", 0.36, 93.6, BETWEEN, "Wu et al. 2018, arXiv 1711.08393"),
    Published("SkipNet", "by image", 0.495, 93.3, BETWEEN, "Wang et al. 2018, arXiv 1711.09485"),
    Published("LRF", "static", 0.374, 94.34, (93.76,), PRUNED),
    Published("PPSM", "static", 0.313, 93.83, (93.60,), PRUNED),
    Published("HRank", "static", 0.314, 92.65, (93.50,), PRUNED),
)
"""BlockDrop's share is computed from the 16.9 of 54 units that it keeps and from its policy."""
