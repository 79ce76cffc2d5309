"""A run's identity: its agent, seed, and settings that differ from the defaults.

A setting that a stored run does not name was at its default, so a new setting, at its default,
changes no run's identity. Changing the default of a setting changes what stored runs mean: write
the old value into them first.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ccenv.runs.store import LOGS
from ccenv.simulator.settings import EXTENSIONS, setting_defaults


@dataclass(frozen=True)
class Program:
    """What a run does around its agent; each field is a setting of `ccenv train`."""

    env: str = field(default="BlockSelection-v0", metadata={"help": "a name in ccenv.PRESETS"})
    seed: int = field(default=0, metadata={"help": "seed of the environment and of the agent"})
    images: int = field(default=100_000, metadata={"help": "training images"})
    batch_size: int = field(default=256, metadata={"help": "different images per batch"})
    eval_every: int | None = field(
        default=None, metadata={"help": "images between validations; by default a tenth of images"}
    )
    keep_best: bool = field(
        default=False,
        metadata={"help": "evaluate the weights with the fewest validation errors, not the last"},
    )
    log_dir: str = field(default=LOGS, metadata={"help": "folder of the runs"})
    latency: bool | None = field(
        default=None,
        metadata={
            "help": "measure the latency of one input and of a batch; by default not of networks "
            "that are too small for kernels"
        },
    )
    threads: int = field(default=1, metadata={"help": "number of torch threads"})
    progress: bool = field(default=False, metadata={"help": "show a progress bar"})


def validations_every(images: int) -> int:
    """Inputs between validations where nothing is said."""
    return max(1, images // 10)


Key = tuple[str, str, int]
"""Agent, its chosen settings as canonical JSON, seed."""
AROUND = ("seed", "log_dir", "threads", "progress")
"""Settings of the program that are not part of the identity: the seed is stored with them, and the
others do not change results."""
GROUPS = ("environment", "agent_settings")
SHORT = 60
"""Characters of a folder's name that say what was chosen."""

PLAIN = (bool, int, float, str)
"""Types whose equal values JSON writes alike."""


def environment_defaults() -> dict[str, Any]:
    """Defaults of the environment's settings as a plan holds them."""
    return setting_defaults() | {"network_kwargs": {}, "weights_kwargs": {}, "reward_kwargs": {}}


def chosen_settings(config: Mapping[str, Any], agent_defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run that differ from the defaults, by name, as JSON holds them."""
    program = {k: v for k, v in config.items() if k not in (*AROUND, *GROUPS, "agent")}
    if program.get("eval_every") == validations_every(program["images"]):
        del program["eval_every"]
    defaults = vars(Program()), environment_defaults(), agent_defaults
    groups = program, config["environment"], config["agent_settings"]
    return {
        name: canonical(value)
        for group, usual in zip(groups, defaults, strict=True)
        for name, value in group.items()
        if name not in usual or not same(value, usual[name])
    }


def whole_config(agent: str, chosen: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Settings in their groups, defaults of program and environment filled in; `chosen` undone.

    The agent's own settings are those that were chosen: its class is not asked.
    """
    program = dict(vars(Program(seed=seed)))
    environment = environment_defaults() | dict.fromkeys(EXTENSIONS)
    of_agent = {k: v for k, v in chosen.items() if k not in {*program, *environment}}
    program |= {k: v for k, v in chosen.items() if k in program}
    if program["eval_every"] is None:
        program["eval_every"] = validations_every(program["images"])
    environment |= {k: v for k, v in chosen.items() if k in environment}
    environment = {k: v for k, v in environment.items() if k not in EXTENSIONS or v is not None}
    config = {"agent": agent, "agent_settings": of_agent, "environment": environment, **program}
    return as_stored(config)


def as_stored(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from JSON: tuples as lists."""
    stored: dict[str, Any] = json.loads(json.dumps(config))
    return stored


def key_of(agent: str, chosen: Mapping[str, Any], seed: int) -> Key:
    """A run's identity.

    >>> key_of("rloo", {"rate": 1.0, "kept": (2,)}, 0)
    ('rloo', '{"kept": [2], "rate": 1}', 0)
    """
    return agent, json.dumps(canonical(chosen), sort_keys=True), seed


def short_name(chosen: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """A folder's name: what was chosen beyond what is expected, cut short, and a hash of all of it.

    >>> short_name({"images": 512, "dataset": "probe"}, {"dataset": "probe"})
    'images=512-94940faa'
    """
    parts = [
        f"{name}={json.dumps(value, separators=(',', ':'))}".replace('"', "")
        for name, value in sorted(chosen.items())
        if name not in ("env", "reward") and not (name in expected and same(value, expected[name]))
    ]
    digest = hashlib.sha256(key_of("", chosen, 0)[1].encode()).hexdigest()[:8]
    text = "".join(c if c.isalnum() or c in "-_.=," else "." for c in ",".join(parts))
    return f"{text[:SHORT].strip('.,') or 'defaults'}-{digest}"


def same(one: Any, other: Any) -> bool:
    """Whether two values are one to JSON; what JSON cannot hold equals itself alone."""
    # Nearly all pairs are: found without writing them.
    if one is other or (type(one) is type(other) and type(one) in PLAIN and one == other):
        return True
    try:
        return json.dumps(canonical(one), sort_keys=True) == json.dumps(
            canonical(other), sort_keys=True
        )
    except TypeError:
        return one is other


def canonical(value: Any) -> Any:
    """A value as JSON holds it, whole floats as integers: 20 and 20.0 are one setting."""
    if isinstance(value, Mapping):
        return {str(name): canonical(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
