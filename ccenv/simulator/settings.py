"""Settings of the environment: (their names and values) -> the simulator that they ask for."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ccenv.base.registry import check_keywords, resolve
from ccenv.simulator.simulator import Simulator

KINDS = {
    "context": "ccenv.simulator.context:ContextSimulator",
    "concurrent": "ccenv.simulator.concurrent:ConcurrentSimulator",
    "oblivious": "ccenv.simulator.oblivious:from_settings",
}
"""Settings that ask for another kind of simulator, imported on use."""


def setting_defaults() -> dict[str, Any]:
    """Names and defaults of the settings that every view of the environment takes."""
    return dict(own_defaults())


@functools.cache
def own_defaults() -> dict[str, Any]:
    """The same, found once: a study of 10,000 runs asks 70,000 times."""
    parameters = list(inspect.signature(Simulator).parameters.values())
    return {p.name: p.default for p in parameters if p.name != "num_images"}


def make_simulator(num_images: int, settings: Mapping[str, Any]) -> Simulator:
    """Builds a simulator from a view's keyword arguments.

    Raises:
        UnexpectedKeywordError: if a setting is unknown; the nearest right one is suggested.
        ValueError: if two settings ask for different kinds of simulators.
    """
    check_keywords(settings, [*setting_defaults(), *KINDS], "environment setting")
    given = {n: value for n, value in settings.items() if n not in KINDS or value is not None}
    asked = [name for name in KINDS if name in given]
    if len(asked) > 1:
        raise ValueError(f"expected one of {' and '.join(asked)}, got both; leave one out")
    return resolve(KINDS[asked[0]] if asked else Simulator, {}, "")(num_images, **given)
