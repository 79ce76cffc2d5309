"""Settings of an analysis of a frozen network: those of the program and of the environment."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ccenv.base.annotations import annotations_of
from ccenv.base.registry import check_names
from ccenv.data.registry import SPLITS
from ccenv.runs.config.values import checked
from ccenv.runs.store.provenance import most_threads
from ccenv.simulator.settings import EnvironmentSettings, setting_defaults

UNUSED = (
    "reward",
    "reward_kwargs",
    "observation",
    "group_size",
    "weights_kwargs",
    "split",
    "episode",
)
"""Settings of the environment that no frozen network depends on, and `split`, the program's own."""


@dataclass(frozen=True)
class AnalysisSettings:
    """What is evaluated, and how."""

    split: str = field(default="test", metadata={"help": "train, validation or test"})
    images: int = field(default=2000, metadata={"help": "inputs, drawn once from the split"})
    batch_size: int = field(default=32, metadata={"help": "inputs at a time; for speed alone"})
    seed: int = field(default=0, metadata={"help": "of the inputs and the random half"})
    threads: int = field(default=1, metadata={"help": "torch's threads"})
    out: str | None = field(default=None, metadata={"help": "a JSON file to record the result in"})

    def __post_init__(self) -> None:
        """Refuses impossible numbers and an unknown split."""
        check_names([self.split], SPLITS, "split")
        for name in ("images", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.threads > most_threads() or self.seed < 0:
            raise ValueError(
                f"expected threads of at most {most_threads()} and seed of at least 0, got "
                f"{self.threads} and {self.seed}"
            )


def read_analysis(given: Mapping[str, Any]) -> tuple[AnalysisSettings, dict[str, Any]]:
    """Parts and checks settings: the program's own, and those of a network that does not learn."""
    own = {one.name: one.default for one in dataclasses.fields(AnalysisSettings)}
    defaults = {name: v for name, v in setting_defaults().items() if name not in UNUSED}
    check_names(given, [*own, *defaults], "setting")
    mine = {name: value for name, value in given.items() if name in own}
    environment = {name: value for name, value in given.items() if name in defaults}
    settings = AnalysisSettings(**checked(mine, annotations_of(AnalysisSettings), own))
    environment = checked(environment, annotations_of(EnvironmentSettings), defaults)
    if environment["weights"] == "cotrain":
        raise ValueError(
            "expected weights that are there, got weights='cotrain'; choose frozen or shipped"
        )
    return settings, environment
