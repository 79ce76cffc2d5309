"""A plan: agent, environment, program and seed -> the run's identity, folder and JSON."""

import dataclasses
import functools
import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.base.earlier_settings import earlier_of, in_earlier_names
from ccenv.base.registry import OWN_PACKAGE, import_object
from ccenv.base.trust import is_below
from ccenv.envs import PRESETS
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.config.values import coerce
from ccenv.runs.store.identity import Key, Program, chosen_settings, key_of, short_name

OF_CODE = ("reward", "network", "observation")
"""Settings of the environment that may name code of yours."""
OLDER = "agent's, reward's or network's file"
"""What makes another result of the same settings."""
NO_SOURCE = hashlib.sha256().hexdigest()[:12]
"""In `code_digests`, of what has no file, such as a class that was typed into a terminal."""


@dataclass(frozen=True)
class Plan:
    """One agent, one environment, one seed: all that a run depends on."""

    agent: str
    """a name in `ccenv.agents.AGENTS` or `module:Class`."""
    agent_class: Any
    """what the name stands for."""
    agent_settings: dict[str, Any]
    """keyword arguments of the agent, defaults included."""
    environment: dict[str, Any]
    """keyword arguments of the environment, defaults included."""
    program: Program
    """what the run does around them."""

    @property
    def num_envs(self) -> int:
        """Rows of the environment: every input fills a whole group of them."""
        return self.program.batch_size * int(self.environment["group_size"])

    @property
    def num_updates(self) -> int:
        """Batches of the whole run."""
        return -(-self.program.images // self.program.batch_size)

    @property
    def has_own_code(self) -> bool:
        """Whether a name is `module:name`: an error may then be a bug of the user's."""
        named = (self.agent, *self.environment.values())
        return any(isinstance(name, str) and ":" in name for name in named)

    @property
    def has_own_network(self) -> bool:
        """Whether the network is `module:name` and not the project's."""
        module, colon, _ = str(self.environment["network"]).partition(":")
        return bool(colon) and not is_below(module, (OWN_PACKAGE,))

    def config(self) -> dict[str, Any]:
        """Names and numbers only, ready for JSON."""
        return {
            "agent": self.agent,
            "agent_settings": self.agent_settings,
            "environment": self.environment,
            **vars(self.program),
        }

    @functools.cached_property
    def _chosen(self) -> dict[str, Any]:
        usual, _ = agent_parameters(self.agent_class)
        chosen = chosen_settings(self.config(), usual)
        return in_earlier_names(chosen, earlier_of(self.agent_class).names)

    def chosen(self) -> dict[str, Any]:
        """Settings that differ from the defaults, by name; see `ccenv.runs.store.identity`."""
        return dict(self._chosen)

    def key(self) -> Key:
        """The run's identity."""
        return key_of(self.agent, self._chosen, self.program.seed)

    def folder(self) -> Path:
        """Where the run writes."""
        names = (self.program.env, self.agent, self.environment["reward"])
        expected = PRESETS[self.program.env] | self.agent_class.env_defaults
        parts = (*map(safe_name, names), short_name(self._chosen, expected))
        return Path(self.program.log_dir).joinpath(*parts, f"seed-{self.program.seed}")

    def with_seed(self, seed: int) -> "Plan":
        """The same run from another seed."""
        program = dataclasses.replace(self.program, seed=checked_seed(seed))
        return dataclasses.replace(self, program=program)


def safe_name(name: str) -> str:
    """A name that is a folder's on every system.

    >>> safe_name("my_module:MyAgent")
    'my_module.MyAgent'
    """
    return "".join(c if c.isalnum() or c in "-_." else "." for c in name).strip(".") or "unnamed"


def code_digests(plan: Plan) -> dict[str, str]:
    """Hashes of the files that define the agent, and reward, network, observation if yours.

    A result is identified by its settings alone; these say whether it comes from older code.
    """
    objects = {plan.agent: plan.agent_class}
    for name in (plan.environment[key] for key in OF_CODE):
        if ":" in name:
            objects[name] = import_object(name, "setting")
    return {name: source_digest(code) for name, code in objects.items()}


def source_digest(code: Any) -> str:
    """Hash of the file that defines a class or function; that of nothing where there is none."""
    try:
        source = inspect.getsource(inspect.getmodule(code) or code)
    except (OSError, TypeError):
        source = ""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def checked_seed(seed: Any) -> int:
    """A seed as a plan holds it."""
    number: int = coerce("seed", seed, int)
    if number < 0:
        raise ValueError(f"expected seed of at least 0, got {number}")
    return number
