"""A network under a budget as text: rows of its result -> a table, a line a budget."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccenv.runs.show.tables import markdown
from ccenv.runs.stats.intervals import Interval
from ccenv.runs.studies.budget.policies import LEARNERS

FORM, SHOWN = "hidden", "rloo"
"""Form of the policies that are shown, and whose cost the numbers beside them are for."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Nll of one policy beside what is known at its cost, and what all learners close of the gap.

    Args:
        rows: of a result; those of the menu's masks are left out, but for everything kept.
    """
    dense = next(row["nll"] for row in rows if row.get("skipped") == [])
    columns = {"budget": "right .2f", "MACs": "right .3f", "dense": "right .3f"}
    columns |= dict.fromkeys(("static", "random", "oracle", SHOWN), "right .3f")
    columns |= {f"gap closed: {name}": "right .2f" for name in LEARNERS}
    placed = [row for row in rows if row.get("policy") == FORM]
    lines = []
    for budget in dict.fromkeys(row["budget"] for row in placed):
        own = {row["learner"]: row for row in placed if row["budget"] == budget}
        shown = own[SHOWN]
        nlls = [-shown[name]["mean"] for name in ("static", "random", "oracle", "score")]
        gaps = [Interval(**own[name]["gap_closed"]) for name in LEARNERS]
        lines.append([budget, shown["cost"]["mean"], dense, *nlls, *gaps])
    return markdown(columns, lines)
