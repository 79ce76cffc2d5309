"""Settings of the environment: (their names and values) -> the simulator that they ask for."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ccenv.base.registry import check_keywords
from ccenv.simulator.simulator import EXTENSIONS, Simulator


def setting_defaults() -> dict[str, Any]:
    """Names and defaults of the settings that every view takes; `EXTENSIONS` default to None."""
    return dict(own_defaults())


@functools.cache
def own_defaults() -> dict[str, Any]:
    """The same, found once: a study of 10,000 runs asks 70,000 times."""
    parameters = list(inspect.signature(Simulator).parameters.values())
    others = ("num_images", *EXTENSIONS)
    return {p.name: p.default for p in parameters if p.name not in others}


def make_simulator(num_images: int, settings: Mapping[str, Any]) -> Simulator:
    """Builds a simulator from a view's keyword arguments; UnexpectedKeywordError of others."""
    check_keywords(settings, [*setting_defaults(), *EXTENSIONS], "environment setting")
    return Simulator(num_images, **settings)
