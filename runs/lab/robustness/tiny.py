"""A sweep of seconds with many checkpoints, to be killed: ccenv.runs.lab.robustness.tiny:TINY."""

from typing import Any

from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.runs.config.sweep import Cell, Sweep

SETTINGS: dict[str, Any] = {
    **PROBE_SETTINGS,
    "images": 4_800,
    "batch_size": 64,
    "eval_every": 320,
    "learning_rate": 0.03,
}
"""Of both the sweep and the single run; a checkpoint is written with each validation."""
TINY = Sweep(
    name="faults-tiny",
    description="Two learners on the probe, seconds each.",
    settings=SETTINGS,
    cells=(Cell("reinforce", "reinforce"), Cell("actor_critic", "actor_critic")),
    minutes=0.1,
    seeds=(0,),
)
