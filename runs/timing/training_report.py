"""Speeds of training loops to a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from runs.report import markdown

NOTES = """\
Over masked dense: time of the same training loop by dense products times masks over time, in the
same round, median [quartiles]; over dense: the same of the dense network's loop. Rows: images times
masks of each, all of which train the network. Parts of an update, medians: rollout (images,
observations, policy, network, rewards), the agent's own update, the network's forward, backward and
optimiser. condnet starts at its target density, where the paper's training ends."""
COLUMNS = {
    "training": "left",
    "route": "left",
    "density": "right",
    "images/s": "right",
    "rows/s": "right",
    "over masked dense": "left",
    "over dense": "right",
    "rollout ms": "right",
    "agent ms": "right",
    "network ms": "right",
}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Training speeds in Markdown."""
    return markdown(COLUMNS, [cells(row) for row in rows])


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    images = row["images_per_second"]
    noisy = "" if ":" not in row["dataset"] else " (noise)"
    return [
        row["training"] + noisy,
        row["route"],
        f"{row['density']:.3f}",
        f"{images:,.0f}",
        f"{images * row['num_rows'] / row['num_images']:,.0f}",
        f"{row['speedup']:.2f} [{row['speedup_low']:.2f}, {row['speedup_high']:.2f}]",
        f"{row['dense_speedup']:.2f}",
        f"{row['rollout_milliseconds']:.1f}",
        f"{row['agent_milliseconds']:.1f}",
        f"{row['network_milliseconds']:.1f}",
    ]
