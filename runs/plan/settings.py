"""Settings of a run: (agent, given settings) -> a plan, checked before anything is built.

Settings share one flat space of names: the program's own (`Program`), the environment's (those of
`Simulator`) and the agent's (its constructor's). The environment's start from the defaults, then
come the preset's, the agent's `env_defaults` and what the user gives.
"""

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv import PRESETS
from ccenv.agents import AGENTS
from ccenv.agents.base import Agent
from ccenv.base.registry import check_names, import_object, resolve
from ccenv.data import transform_names
from ccenv.rewards import REWARDS, check_cost_limit, make_reward, reward_parameters
from ccenv.runs.plan.kinds import checked_kinds
from ccenv.runs.plan.values import annotations_of, coerce, shown
from ccenv.runs.store.identity import Key, chosen_settings, environment_defaults, key_of, short_name
from ccenv.runs.store.machine import most_threads
from ccenv.runs.store.program import Program, validations_every
from ccenv.simulator.settings import KINDS, setting_defaults
from ccenv.simulator.simulator import Simulator

OF_CODE = ("reward", "network", "observation")
"""Settings of the environment that may name code of yours."""


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
        """Rows of the environment: every image fills a whole group of them."""
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

    def config(self) -> dict[str, Any]:
        """Names and numbers only, ready for JSON."""
        return {
            "agent": self.agent,
            "agent_settings": self.agent_settings,
            "environment": self.environment,
            **vars(self.program),
        }

    def chosen(self) -> dict[str, Any]:
        """Settings that differ from the defaults, by name; see `ccenv.runs.store.identity`."""
        return dict(self._without_seed.chosen)

    def key(self) -> Key:
        """The run's identity."""
        return self.agent, self._without_seed.text, self.program.seed

    def folder(self) -> Path:
        """Where the run writes."""
        return self._without_seed.folder / f"seed-{self.program.seed}"

    @functools.cached_property
    def _without_seed(self) -> "WithoutSeed":
        # Asked for by key, folder and records of every run of a study.
        chosen = chosen_settings(self.config(), agent_parameters(self.agent_class)[0])
        names = (self.program.env, self.agent, self.environment["reward"])
        expected = PRESETS[self.program.env] | self.agent_class.env_defaults
        parts = (*map(safe_name, names), short_name(chosen, expected))
        _, text, _ = key_of(self.agent, chosen, 0)
        return WithoutSeed(chosen, text, Path(self.program.log_dir).joinpath(*parts))

    def with_seed(self, seed: int) -> "Plan":
        """The same run from another seed, as `make_plan` would make it, in a twentieth of the time.

        Raises:
            ValueError: if the seed is impossible.
        """
        program = dataclasses.replace(self.program, seed=checked_seed(seed))
        other = dataclasses.replace(self, program=program)
        # Not a field: two plans are equal by what was given.
        vars(other)["_without_seed"] = self._without_seed
        return other


@dataclass(frozen=True)
class WithoutSeed:
    """What runs that differ in their seed alone have in common."""

    chosen: dict[str, Any]
    """settings that differ from the defaults."""
    text: str
    """the same as in a key."""
    folder: Path
    """of all seeds."""


def safe_name(name: str) -> str:
    """A name that is a folder's on every system.

    >>> safe_name("my_module:MyAgent")
    'my_module.MyAgent'
    """
    return "".join(c if c.isalnum() or c in "-_." else "." for c in name).strip(".") or "unnamed"


def make_plan(agent: str, settings: Mapping[str, Any]) -> Plan:
    """Resolves names and checks settings; builds nothing and writes nothing.

    Args:
        agent: a name in `ccenv.agents.AGENTS` or `module:Class`.
        settings: program, environment and agent settings by name.

    Raises:
        ValueError: if a name is unknown (the nearest right one is suggested) or a value impossible.
    """
    agent_class = find_agent(agent)
    program_names = [f.name for f in dataclasses.fields(Program)]
    own, takes_any = agent_parameters(agent_class)
    if not takes_any:
        check_names(settings, [*program_names, *setting_defaults(), *KINDS, *own], "setting")
    given = {name: dict(v) if isinstance(v, Mapping) else v for name, v in settings.items()}
    program = make_program({n: given.pop(n) for n in program_names if n in given})
    environment = make_environment(
        program,
        agent_class,
        {n: given.pop(n) for n in (*setting_defaults(), *KINDS) if n in given},
    )
    if program.cost_limit is not None:
        given |= pass_limit_on(program.cost_limit, agent, own, environment)
    agent_settings = checked(given, hints_of_agent(agent_class), own)
    # A default that is an object stays the constructor's business.
    kept = {k: v for k, v in agent_settings.items() if k in given or is_plain(v)}
    plan = Plan(agent, agent_class, kept, environment, program)
    if environment["weights_kwargs"].get("schedule_updates") == "run":
        environment["weights_kwargs"]["schedule_updates"] = plan.num_updates
    check_plain(plan.config())
    return plan


def find_agent(agent: str) -> type[Agent]:
    """The class that a name stands for.

    Raises:
        ValueError: if the name is unknown, or no subclass of `Agent` that can act.
    """
    found = resolve(agent, AGENTS, "agent")
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise ValueError(
            f"expected agent {agent!r} to be a subclass of ccenv.agents.base.Agent, "
            f"got {shown(found)}"
        )
    if found.act is Agent.act and found.distribution is Agent.distribution:
        raise ValueError(f"expected agent {agent!r} to define act or distribution, got neither")
    return found


def pass_limit_on(
    limit: float, agent: str, own: Mapping[str, Any], environment: dict[str, Any]
) -> dict[str, float]:
    """Gives the cost limit to the reward, if it takes one, and returns what the agent takes of it.

    Raises:
        ValueError: if neither takes it, or the reward was given another one.
    """
    reward, kwargs = environment["reward"], environment["reward_kwargs"]
    reward_takes = takes_limit(resolve(reward, REWARDS, "reward"))
    if kwargs.get("cost_limit", limit) != limit:
        raise ValueError(
            f"expected one cost_limit, got {limit} and reward_kwargs.cost_limit="
            f"{kwargs['cost_limit']}; leave one out"
        )
    if reward_takes:
        environment["reward_kwargs"] = {**kwargs, "cost_limit": limit}
    elif "cost_limit" not in own:
        known = [name for name, found in REWARDS.items() if takes_limit(found)]
        raise ValueError(
            f"expected a reward or an agent that takes cost_limit, got reward {reward!r} and agent "
            f"{agent!r}; choose reward={', '.join(known)} or the agent reinforce_lagrangian"
        )
    return {"cost_limit": limit} if "cost_limit" in own else {}


def takes_limit(reward: Any) -> bool:
    """Whether a reward has an argument of that name."""
    return "cost_limit" in (reward_parameters(reward) or {})


def code_digests(plan: Plan) -> dict[str, str]:
    """Hashes of the files that define the agent, and reward, network, observation if yours.

    A result is told by its settings alone; these say whether it comes from older code.
    """
    objects = {plan.agent: plan.agent_class}
    for name in (plan.environment[key] for key in OF_CODE):
        if ":" in name:
            objects[name] = import_object(name, "setting")
    digests = {}
    for name, found in objects.items():
        try:
            source = inspect.getsource(inspect.getmodule(found) or found)
        except (OSError, TypeError):
            source = ""
        digests[name] = hashlib.sha256(source.encode()).hexdigest()[:12]
    return digests


def make_program(given: dict[str, Any]) -> Program:
    """Checks the program's settings.

    Raises:
        ValueError: if one is out of range.
    """
    defaults = dataclasses.asdict(Program())
    program = Program(**checked(given, annotations_of(Program), defaults))
    check_names([program.env], PRESETS, "environment")
    if program.eval_every is None:
        program = dataclasses.replace(program, eval_every=validations_every(program.images))
    for name in ("images", "batch_size", "eval_every", "threads"):
        if getattr(program, name) < 1:
            raise ValueError(f"expected {name} of at least 1, got {getattr(program, name)}")
    if program.threads > most_threads():
        raise ValueError(
            f"expected threads of at most {most_threads()} on this machine, got {program.threads}; "
            "1 is often fastest, more than its cores never are"
        )
    if not program.log_dir.strip() or "\0" in program.log_dir:
        raise ValueError(
            f"expected log_dir to name a folder, got {program.log_dir!r}; leave it out for "
            f"{defaults['log_dir']}"
        )
    if program.cost_limit is not None:
        check_cost_limit(program.cost_limit)
    checked_seed(program.seed)
    return program


def checked_seed(seed: Any) -> int:
    """A seed as a plan holds it.

    Raises:
        ValueError: if it is no whole number of at least 0.
    """
    found: int = coerce("seed", seed, int)
    if found < 0:
        raise ValueError(f"expected seed of at least 0, got {found}")
    return found


def make_environment(program: Program, agent_class: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Lays the user's settings over the agent's wishes, the preset and the defaults.

    Raises:
        ValueError: if a setting has another type, or the reward or the context is impossible.
    """
    defaults = environment_defaults()
    wishes = dict(agent_class.env_defaults)
    if "reward" in given:
        # They belong to the reward that the agent would have chosen.
        wishes.pop("reward_kwargs", None)
    kinds = {name: given.pop(name) for name in KINDS if name in given}
    layers = PRESETS[program.env] | wishes | given
    settings = checked(layers, annotations_of(Simulator.__init__), defaults)
    for name in ("network_kwargs", "weights_kwargs", "reward_kwargs"):
        settings[name] = settings[name] or {}
    settings["transforms"] = transform_names(settings["transforms"])
    make_reward(settings["reward"], settings["reward_kwargs"]).check_is_one_number("agents")
    return settings | checked_kinds({k: v for k, v in kinds.items() if v is not None})


def agent_parameters(agent_class: Any) -> tuple[dict[str, Any], bool]:
    """Settings of an agent's constructor with their defaults, and whether it takes others too.

    An agent that hands settings on to a library lists those it prefers as `defaults`.
    """
    own, open_ended = own_parameters(agent_class)
    return own | dict(getattr(agent_class, "defaults", {})), open_ended


@functools.lru_cache(maxsize=256)
def own_parameters(agent_class: Any) -> tuple[dict[str, Any], bool]:
    """The same without what it prefers of a library."""
    parameters = inspect.signature(agent_class).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    own = {
        p.name: p.default for p in parameters if p.kind in named and p.name not in ("env", "seed")
    }
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return own, open_ended


def hints_of_agent(agent_class: Any) -> dict[str, Any]:
    """Annotations of an agent's settings, and of those that it hands on to a library's algorithm.

    Raises:
        ValueError: if it cannot name its algorithm.
    """
    own = annotations_of(agent_class.__init__)
    if not hasattr(agent_class, "algorithm"):
        return own
    try:
        return annotations_of(agent_class.algorithm().__init__) | own
    except (ImportError, TypeError) as error:
        raise ValueError(str(error)) from error


def checked(
    given: Mapping[str, Any], hints: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Fills defaults in and checks the types of what is given against annotations.

    Raises:
        ValueError: if a value has another type, or one without a default is missing.
    """
    values = {name: coerce(name, v, hints.get(name, Any)) for name, v in given.items()}
    missing = [n for n, v in defaults.items() if v is inspect.Parameter.empty and n not in values]
    if missing:
        raise ValueError(f"expected a value for {', '.join(missing)}; give {missing[0]}=...")
    return dict(defaults) | values


def check_plain(config: dict[str, Any]) -> None:
    """Refuses what JSON cannot hold: a run is names and numbers, so that it can be repeated.

    Raises:
        ValueError: if a setting is an object.
    """
    for group in (config, config["agent_settings"], config["environment"]):
        for name, value in group.items():
            if not is_plain(value):
                raise ValueError(
                    f"expected setting {name!r} to be a name or finite numbers, "
                    f"got {shown(value)}; give functions and classes as 'module:name'"
                )


def is_plain(value: Any) -> bool:
    """Whether JSON can hold a value."""
    try:
        json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError):
        return False
    return True
