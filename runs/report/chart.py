"""A front to an interactive chart: rows of one data set -> a Vega-Lite specification, as JSON.

Altair writes it and vl-convert brings Vega's own script, so that the page needs no network; without
them (`pip install "ccenv[page]"`) the page has the same front as a picture.
"""

import functools
import json
import math
from collections.abc import Sequence
from typing import Any

from ccenv.runs.report.families import DROPOUT, Families
from ccenv.runs.stats.intervals import FEWEST, told
from ccenv.runs.tables.drawing import INK
from ccenv.runs.tables.sweep_table import Row, interval, name_of

QUANTITIES = {"error": "Q", "macs": "Q", "total": "Q", "seeds": "Q"}
"""Fields that are numbers."""
ERROR = "test error in %"
HEIGHT = 380
"""Pixels of the chart, without its legend; as wide as the page lets it be."""
SHAPES = {"s": "square", "o": "circle", "^": "triangle-up", "D": "diamond", "v": "triangle-down"}
SHAPES |= {"P": "cross", "<": "triangle-left", ">": "triangle-right", "X": "wedge", ".": "circle"}
"""Vega's names of the markers of the pictures."""
TIPS = {
    "label": "row",
    "family": "agent",
    "shaping": "learned from",
    "error": "test error %",
    "interval": "95 %",
    "macs": "MACs",
    "total": "total cost",
    "seeds": "seeds",
    "verdict": "against random",
}
"""Field -> what it is called when one points at it."""


@functools.cache
def scripts() -> str | None:
    """Vega, Vega-Lite and Vega-Embed as one script; None where they are not installed."""
    try:
        import altair  # noqa: F401
        import vl_convert
    except ImportError:
        return None
    # Its stub asks for the snippet that it has a default for.
    bundle: Any = vl_convert.javascript_bundle
    return str(bundle())


def chart(rows: Sequence[Row], families: Families) -> dict[str, Any] | None:
    """The specification of one data set's front; None where Altair is not installed.

    Its data are the named source `rows`, so that `page.js` may filter them; that also chooses the
    scales. Colours are those of the pictures; ink is `INK`, in whose place the reader's comes.
    """
    if scripts() is None:
        return None
    import altair as alt

    points = [point(row, families) for row in rows]
    shown = list(dict.fromkeys(one["family"] for one in points))
    color, shape = scales(alt, shown, families)
    chosen = alt.selection_point(name="chosen", fields=["family"], bind="legend")
    shared = {
        "x": alt.X("macs:Q", title="MACs of an image, policy included"),
        "y": alt.Y("error:Q", title=ERROR),
        "opacity": alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.12)),
    }
    base = alt.Chart(alt.NamedData(name="rows")).encode(**shared)
    front = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color=INK, strokeWidth=1, strokeDash=[4, 3]
    )
    lines = base.transform_filter("datum.line").mark_line(strokeWidth=1.6)
    bars = base.mark_rule(strokeWidth=1.4).encode(
        y=alt.Y("low:Q", title=ERROR), y2=alt.Y2("high:Q", title=ERROR), color=color
    )
    tips = [alt.Tooltip(f"{n}:{QUANTITIES.get(n, 'N')}", title=title) for n, title in TIPS.items()]
    hollow, dots = (
        base.transform_filter(test)
        .mark_point(size=64, strokeWidth=1.6, filled=test.startswith("!"))
        .encode(color=color, shape=shape, tooltip=tips)
        for test in ("datum.ceiling", "!datum.ceiling")
    )
    # Its own opacity: the front belongs to nobody.
    front = front.encode(opacity=alt.value(0.8))
    zoom = alt.selection_interval(name="zoom", bind="scales")
    whole = alt.layer(front, lines.encode(color=color, order="macs:Q"), bars, hollow, dots)
    whole = whole.add_params(zoom).properties(width="container", height=HEIGHT)
    found: dict[str, Any] = json.loads(whole.to_json(validate=False))
    dot = found["layer"][-1]
    # Chosen in the legend, which the dots have; Altair would hoist and rename it.
    dot.setdefault("params", []).append(chosen.param.to_dict())
    found["datasets"] = {"rows": points}
    return found


def scales(alt: Any, shown: Sequence[str], families: Families) -> tuple[Any, Any]:
    """Colour and shape of each family, in one legend that wraps."""
    styles = [families.styles[name] for name in shown]
    legend = alt.Legend(title=None, orient="bottom", columns=4, symbolLimit=0, labelLimit=150)
    colors = alt.Scale(domain=list(shown), range=[style["color"] for style in styles])
    shapes = alt.Scale(domain=list(shown), range=[SHAPES[style["marker"]] for style in styles])
    return (
        alt.Color("family:N", scale=colors, legend=legend),
        alt.Shape("family:N", scale=shapes, legend=legend),
    )


def point(row: Row, families: Families) -> dict[str, Any]:
    """What the chart knows of a row; shares in per cent, no number that JSON lacks."""
    error, family = interval(row, "error"), families.of[row["label"]]
    is_known = error.high is not None and bool(error.sd) and len(row["seeds"]) >= FEWEST
    low, high = (error.low, error.high) if is_known else (error.mean, error.mean)
    return {
        "label": name_of(row),
        "family": family,
        "shaping": row["shaping"] if row["learns"] else "",
        "error": number(100 * error.mean),
        "low": number(100 * max(low or 0.0, 0.0)),
        "high": number(100 * min(high or 0.0, 1.0)),
        "interval": told(error, len(row["seeds"]), ".2%"),
        "macs": number(row["macs"]["mean"]),
        "total": number(row["total_cost"]["mean"]),
        "seeds": len(row["seeds"]),
        "verdict": row["verdict"],
        "ceiling": bool(row["uses_labels"]),
        "front": bool(row["on_front"]),
        "line": family == DROPOUT or not (family in families.learn or row["uses_labels"]),
    }


def number(value: float) -> float | None:
    """Six digits of a number; None of what JSON cannot hold."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def embedded(content: Any) -> str:
    r"""JSON that may stand in a page's script: no text of it can end the script or open a tag.

    >>> embedded({"a": "</script>"})
    '{"a":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
