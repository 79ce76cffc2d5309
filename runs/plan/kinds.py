"""Settings that ask for another kind of simulator: values as given -> checked, for a plan.

They are `context`, `concurrent` and `oblivious`; only runs have them which use them.
"""

from collections.abc import Mapping
from typing import Any

from ccenv.base.registry import check_names
from ccenv.runs.plan.values import check_sizes
from ccenv.simulator.concurrent import KINDS as CONCURRENT
from ccenv.simulator.oblivious import read_oblivious
from ccenv.simulator.ranges import read_context


def checked_kinds(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Checks what is given; the network is asked when it is built.

    Raises:
        ValueError: if one is impossible, or there are two.
    """
    if len(kinds) > 1:
        raise ValueError(f"expected one of {' and '.join(kinds)}, got both; leave one out")
    for name, value in kinds.items():
        if name == "context":
            check_sizes(name, value)
            read_context(value)
            return {name: dict(value)}
        if name == "concurrent":
            check_names([value], CONCURRENT, "kind of concurrent updates")
        if name == "oblivious":
            read_oblivious(value)
    return dict(kinds)
