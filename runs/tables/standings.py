"""The leaderboard as text: (what `ccenv table judge` found) -> Markdown."""

import html
import re
from collections.abc import Mapping
from typing import Any

from ccenv.mask_table.leaderboard import APART
from ccenv.runs.tables.sweep_table import markdown

NOTES = """\
In order of the mean of the regrets at three prices: the reward of each input's best mask, less the
policy's; a right answer pays 1, less the price times the MACs as a share of the dense network's.
Exact sums over all masks, +- one standard error over the inputs. A function answers for any input
by what is seen of it, and has a rank where the inputs that judge do not ship with the package. An
open function is judged on inputs that ship: it may have been fitted to them. Answers were made for
these very inputs, so that their makers are trusted not to have looked. Both stand apart, without a
rank; ccenv table judge --table FILE ranks functions on inputs of yours. Errors in %, MACs as
shares. The best mask of each input is known by its label: no policy reaches regret 0."""
SIGNS = re.compile(r"([\\`*_\[\]#!~$])")
"""Signs that Markdown reads."""


def text(found: Mapping[str, Any]) -> str:
    """Standings, who was refused and why, and how to read it."""
    header, rows = found["header"], found["standings"]
    prices = [one["price"] for one in rows[0]["at"]]
    columns = {"rank": "right", "entry": "left", "kind": "left", "mean regret": "right .4f"}
    for price in prices:
        names = (f"regret at {price:g}", "error %", "MACs")
        columns |= dict.fromkeys(
            [names[0], *(f"{name} at {price:g}" for name in names[1:])], "right"
        )
    lines = [["apart" if row["kind"] in APART else row["rank"], *cells(row)] for row in rows]
    said = (
        f"{header['network']} on {header['dataset']} ({header['split']}), "
        f"{found['num_images']:,} inputs judge"
    )
    refused = "".join(
        f"\n\nrefused: {escaped(one['file'])}: {escaped(one['why'])}" for one in found["refused"]
    )
    return f"{said}\n\n{markdown(columns, lines)}{refused}\n\n{NOTES}"


def cells(row: Mapping[str, Any]) -> list[Any]:
    """One line behind its rank."""
    found: list[Any] = [escaped(row["name"]), row["kind"], row["regret"]]
    for one in row["at"]:
        regret = f"{one['regret']:.4f} +- {one['error_of_regret']:.4f}"
        found += [regret, f"{100 * one['error']:.2f}", f"{one['cost']:.3f}"]
    return found


def escaped(text: str) -> str:
    r"""What somebody else wrote, so that neither HTML, Markdown nor a terminal acts on it.

    >>> escaped("<b>*x*</b>" + chr(27))
    '&lt;b&gt;\\*x\\*&lt;/b&gt; '
    """
    line = "".join(c if c.isprintable() else " " for c in text)
    return html.escape(SIGNS.sub(r"\\\1", line), quote=False)
