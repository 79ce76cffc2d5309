"""Settings of a run that are the program's own, beside the environment's and the agent's."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Program:
    """What a run does around its agent; each field is a setting of `ccenv.runs.commands.train`."""

    env: str = field(default="BlockSelection-v0", metadata={"help": "a name in ccenv.PRESETS"})
    seed: int = field(default=0, metadata={"help": "of the environment and of the agent"})
    images: int = field(default=100_000, metadata={"help": "training images"})
    batch_size: int = field(default=256, metadata={"help": "different images of a batch"})
    eval_every: int | None = field(
        default=None, metadata={"help": "images between validations; a tenth of images if none"}
    )
    keep_best: bool = field(
        default=False,
        metadata={"help": "judge what had the fewest validation errors, not the last"},
    )
    cost_limit: float | None = field(
        default=None,
        metadata={"help": "mean compute cost to reach, for rewards and agents that take it"},
    )
    log_dir: str = field(default="runs/logs", metadata={"help": "where the run's folder goes"})
    threads: int = field(default=1, metadata={"help": "torch's threads"})
    progress: bool = field(default=False, metadata={"help": "show a progress bar"})


def validations_every(images: int) -> int:
    """Images between validations where nothing is said."""
    return max(1, images // 10)
