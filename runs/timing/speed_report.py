"""Speeds of the environment's views to a table in Markdown, and the targets that they miss."""

from collections.abc import Sequence
from typing import Any

from runs.report import markdown

TARGETS = {"vector_env": 0.9, "sb3_vec_env": 0.7}
NOTES = """\
784-256-256-10, 16 blocks a layer; rates in images per second, medians; ratios to the bare network
(the kernels, without an environment) in the same round: median [quartiles]; and to the same network
by dense products times masks. Single environments (DummyVecEnv, SyncVectorEnv) hold one
image each."""


def misses(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Targets that were not met, in words."""
    by_key = {(row["view"], row["num_images"]): row for row in rows}
    missed = [
        f"{view}, {size} images: {row['ratio']:.2f} of the bare network's rate, "
        f"target {TARGETS[view]}"
        for (view, size), row in by_key.items()
        if view in TARGETS and row["ratio"] < TARGETS[view]
    ]
    singles = [size for view, size in by_key if view == "dummy_vec_env"]
    for view in TARGETS:
        for size in singles:
            rates = [by_key[v, size]["images_per_second"] for v in (view, "dummy_vec_env")]
            if rates[0] < 10 * rates[1]:
                missed.append(
                    f"{view}, {size} images: {rates[0] / rates[1]:.1f} times DummyVecEnv, target 10"
                )
    return missed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Speeds in Markdown."""
    columns = {
        "view": "left",
        "images": "right",
        "images/s": "right",
        "env steps/s": "right",
        "of the bare network": "left",
        "of the dense loop": "right",
    }
    lines = [
        [
            row["view"],
            f"{row['num_images']:,}",
            f"{row['images_per_second']:,.0f}",
            f"{row['steps_per_second']:,.0f}",
            f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
            f"{row['dense_ratio']:.2f}",
        ]
        for row in rows
    ]
    return markdown(columns, lines)
