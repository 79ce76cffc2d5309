"""One row of `ccenv validate`: what was claimed, what was found, what does not stand.

Whether result, settings and folder of a stored run are about one run.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccenv.runs.config.plan import Plan, safe_name
from ccenv.runs.store.provenance import data_of

RECOMPUTED, CHECKED, WORD = "recomputed", "checked for consistency", "the author's word"
"""A figure comes out again here; agrees with the rest of the folder; or can only be believed."""


@dataclass(frozen=True)
class Checked:
    """A row's answer."""

    folder: str
    """of the run."""
    draw: str
    """"sampled" or "mode"; "" where the run cannot be read at all."""
    claimed: dict[str, Any]
    """what the result says of the numbers that were found."""
    found: dict[str, Any]
    """what came out: of the masks that the policy gives here, or where it was not asked again, of
    the stored ones."""
    policy: str
    """"replayed", or why the stored policy was not asked again."""
    problems: tuple[str, ...]
    """what does not stand; empty for a valid row."""
    basis: dict[str, str] = field(default_factory=dict)
    """for each figure of the result "recomputed", "checked for consistency" or "the author's
    word"."""
    seed: int | None = None
    """of the run."""
    learned: tuple[str, ...] = ()
    """hashes of what training made: the agent's tensors, a co-trained network's."""

    @property
    def is_valid(self) -> bool:
        """Whether the row stands."""
        return not self.problems


NAMED = 5
"""Last parts of a folder's path that tell a run: environment, agent, reward, settings, seed."""


def check_one_run(
    folder: Path, result: Mapping[str, Any], config: Mapping[str, Any], plan: Plan
) -> list[str]:
    """Whether result, settings and the folder's name are about one run."""
    problems = []
    if result["settings"] != config:
        changed = [k for k in config if result["settings"].get(k) != config[k]]
        problems.append(f"settings of result.json differ from config.json in {changed}")
    if result["seed"] != config["seed"]:
        problems.append(f"seed: result.json says {result['seed']}, config.json {config['seed']}")
    # Settings that were added since the run are at their defaults in the plan: no contradiction.
    known = dotted_settings(json.loads(json.dumps(plan.config())))
    own = plan.agent_class.settings_of_before(config["agent_settings"])
    stored = dotted_settings({**config, "agent_settings": own})
    if other := [name for name, value in stored.items() if known.get(name) != value]:
        problems.append(f"config.json holds settings that such a run does not have: {other}")
    names = (plan.program.env, plan.agent, plan.environment["reward"])
    told = (result["env"], result["agent"], result["reward"])
    if told != names:
        problems.append(f"result.json is about {told}, config.json about {names}")
    here = data_of(plan.environment["dataset"])
    if result.get("data", here) != here:
        problems.append(f"made on data {result['data']}, replayed on {here}: other images")
    expected = [*map(safe_name, names), plan.folder().parent.name, f"seed-{plan.program.seed}"]
    found = list(folder.absolute().parts[-NAMED:])
    since = plan.agent_class.earlier_values.keys() & plan.agent_settings.keys()
    is_earlier = not since <= config["agent_settings"].keys()
    if len(found) == NAMED and (is_earlier or re.fullmatch("[0-9a-f]{12}", found[-2])):
        # A name from before a default was another cannot be made again, nor a hash from before a
        # setting was added; the settings were checked.
        expected[-2] = found[-2]
    if found != expected:
        problems.append(
            f"expected the folder .../{'/'.join(expected)}, as its settings and seed say"
        )
    return problems


def dotted_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names: those of environment and agent one level up."""
    inner = {
        f"{group}.{name}": value
        for group in ("environment", "agent_settings")
        for name, value in config[group].items()
    }
    return inner | {k: v for k, v in config.items() if not isinstance(v, Mapping)}
