"""Rows to families that share one colour in every figure of a report: an agent, or a rival network.

Eight colours, each used again with another marker. Dense networks are ink, random masks grey: what
others stand beside is no colour among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.runs.stats.cost_points import kind_of
from ccenv.runs.tables.drawing import COLORS, INK, MARKERS, THEIRS

DENSE, DROPOUT = "dense", "block_dropout"
NUM_COLORS = 8
OTHERS = MARKERS.replace("s", "")
"""Squares are dense networks."""
DASHES = ("-", "--", ":", "-.")

Results = Mapping[str, Sequence[Mapping[str, Any]]]
Style = dict[str, Any]


@dataclass(frozen=True)
class Families:
    """Who looks alike in a report."""

    of: Mapping[str, str]
    """label of a row -> its family."""
    styles: Mapping[str, Style]
    """family -> colour and marker, as matplotlib names them."""
    learn: frozenset[str]
    """families that learn to choose: points; others of several rows are lines."""

    def style(self, label: str) -> Style:
        """Colour and marker of a row."""
        return dict(self.styles[self.of[label]])

    def dash(self, label: str) -> str:
        """How a row's line is dashed, so that those of a colour differ."""
        alike = [name for name, family in self.of.items() if family == self.of[label]]
        return self.dashed(label, alike.index(label))

    def dashed(self, label: str, index: int) -> str:
        """Dashes of the index-th line of a row's family; a colour's second family goes on."""
        own, names = self.of[label], list(self.styles)
        colors = [self.styles[name]["color"] for name in names[: names.index(own)]]
        return DASHES[(index + colors.count(self.styles[own]["color"])) % len(DASHES)]


def make_families(results: Results) -> Families:
    """Families of all rows with a result; learners get the first colours."""
    first = {label: found[0] for label, found in results.items() if found}
    of = {label: kind_of(result) for label, result in first.items()}
    learn = {of[label] for label, result in first.items() if result["learns"]}
    names = sorted(dict.fromkeys(of.values()), key=lambda name: name not in learn)
    return Families(of, styles_of(names), frozenset(learn))


def styles_of(names: Sequence[str]) -> dict[str, Style]:
    """Colour and marker of each family.

    >>> styles_of(["rloo", "dense"])["dense"]["marker"]
    's'
    """
    found: dict[str, Style] = {
        DENSE: {"color": INK, "marker": "s"},
        DROPOUT: {"color": THEIRS, "marker": "."},
    }
    others = [name for name in names if name not in found]
    for index, name in enumerate(others):
        # A colour that comes again has another marker than before.
        marker = OTHERS[(index + index // NUM_COLORS) % len(OTHERS)]
        found[name] = {"color": COLORS[index % NUM_COLORS], "marker": marker}
    return {name: found[name] for name in names}
