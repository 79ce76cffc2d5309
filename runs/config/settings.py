"""Settings of a run: (agent, given settings) -> a plan, checked before anything is built.

Settings share one flat space of names: the program's own (`Program`), the environment's
(`EnvironmentSettings`) and the agent's (its constructor's). The environment's start from the
defaults, then come the preset's, the agent's `env_defaults` and what the user gives.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from ccenv.base.annotations import annotations_of
from ccenv.base.earlier_settings import earlier_of, in_todays_names
from ccenv.base.registry import check_names, resolve
from ccenv.base.values import check_at_least_zero
from ccenv.envs import ENVIRONMENTS, PRESETS, SYSTEMS
from ccenv.rewards import make_reward
from ccenv.runs.config.agent_settings import (
    agent_parameters,
    find_agent,
    hints_of_agent,
    known_settings,
)
from ccenv.runs.config.plan import Plan, checked_seed
from ccenv.runs.config.values import check_plain, check_sizes, checked, fits_json, opened
from ccenv.runs.store.identity import Program, environment_defaults, validations_every
from ccenv.runs.store.provenance import most_threads
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings, setting_defaults


def make_plan(agent: str, settings: Mapping[str, Any]) -> Plan:
    """Resolves names and checks settings; builds nothing and writes nothing.

    Args:
        agent: a name in `ccenv.agents.AGENTS` or `module:Class`.
        settings: program, environment and agent settings by name; "reward_kwargs.goal" is an
            entry of `reward_kwargs`.

    Raises:
        ValueError: if a name is unknown (the nearest right one is suggested) or a value impossible.
    """
    agent_class = find_agent(agent)
    by_name = opened((str(name), value) for name, value in settings.items())
    remaining = in_todays_names(by_name, earlier_of(agent_class).names)
    program_names = [f.name for f in dataclasses.fields(Program)]
    defaults, _ = agent_parameters(agent_class)
    names = known_settings(agent_class)
    if names is not None:
        check_names(remaining, setting_names(names), "setting")
    program = make_program({n: remaining.pop(n) for n in program_names if n in remaining})
    environment = make_environment(
        program.env,
        agent_class,
        {n: remaining.pop(n) for n in (*setting_defaults(), *EXTENSIONS) if n in remaining},
    )
    agent_settings = checked(remaining, hints_of_agent(agent_class), defaults)
    check_rates(agent_settings)
    check_timed(program, environment)
    # A default that is an object stays the constructor's business.
    kept = {k: v for k, v in agent_settings.items() if k in remaining or fits_json(v)}
    plan = Plan(agent, agent_class, kept, environment, program)
    if environment["weights_kwargs"].get("schedule_updates") == "run":
        environment["weights_kwargs"]["schedule_updates"] = plan.num_updates
    check_plain(plan.config())
    return plan


def setting_names(agent_names: Iterable[str] = ()) -> list[str]:
    """Names of all settings of a run: the program's, the environment's and the agent's own."""
    return [
        *(f.name for f in dataclasses.fields(Program)),
        *setting_defaults(),
        *EXTENSIONS,
        *agent_names,
    ]


def check_rates(settings: Mapping[str, Any]) -> None:
    """Refuses learning rates below 0; of schedules and other objects nothing is known."""
    for name, value in settings.items():
        if name.endswith(("learning_rate", "_lr")):
            for rate in value if isinstance(value, tuple | list) else (value,):
                if isinstance(rate, Real):
                    check_at_least_zero(**{name: rate})


def check_timed(program: Program, environment: Mapping[str, Any]) -> None:
    """Refuses latency of episodes over sequences: a pass that is timed is of single inputs."""
    if program.latency and environment["episode"] == "sequence":
        raise ValueError(
            "expected no latency=True with episode='sequence', whose positions are not timed; "
            "leave it out, or take episode='input'"
        )


def make_program(settings: dict[str, Any]) -> Program:
    """Checks the program's settings."""
    defaults = dataclasses.asdict(Program())
    program = Program(**checked(settings, annotations_of(Program), defaults))
    check_env(program.env)
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
    checked_seed(program.seed)
    return program


def check_env(name: str) -> None:
    """Refuses what is no preset to train in."""
    check_names([name], ENVIRONMENTS, "environment")
    if name in SYSTEMS:
        settings = " ".join(f"{setting}={value}" for setting, value in SYSTEMS[name].items())
        expected = f"expected env of {', '.join(PRESETS)}, got {name}"
        raise ValueError(f"{expected}; give its settings: {settings}")


def make_environment(env: str, agent_class: Any, requested: dict[str, Any]) -> dict[str, Any]:
    """Lays the user's settings over what is usual, see `lay_over_usual`, and checks them."""
    from ccenv.networks import NETWORKS
    from ccenv.networks.core.arguments import MLP_SIZES, arguments_of
    from ccenv.simulator.sequences import read_episode, read_extensions

    kinds = {name: requested.pop(name) for name in EXTENSIONS if name in requested}
    kinds = {name: value for name, value in kinds.items() if value is not None}
    settings = lay_over_usual(env, agent_class, requested)
    if network_kwargs := settings["network_kwargs"]:
        builder = resolve(settings["network"], NETWORKS, "network")
        arguments_of(builder, (), 0, dict.fromkeys(MLP_SIZES), network_kwargs)
    make_reward(settings["reward"], settings["reward_kwargs"]).check_is_one_number("agents")
    # The network is asked about them when it is built.
    for name, value in kinds.items():
        check_sizes(name, value)
    settings |= {k: dict(v) if isinstance(v, Mapping) else v for k, v in kinds.items()}
    asked = EnvironmentSettings(**settings)
    read_extensions(asked)
    if read_episode(asked):
        agent_class.check_over_sequences()
    return settings


def lay_over_usual(env: str, agent_class: Any, requested: dict[str, Any]) -> dict[str, Any]:
    """The user's settings over the agent's wishes, the preset and the defaults."""
    from ccenv.data import transform_names

    wishes = dict(agent_class.env_defaults)
    if "reward" in requested:
        # They belong to the reward that the agent would have chosen.
        wishes.pop("reward_kwargs", None)
    layers = PRESETS[env] | wishes | requested
    settings = checked(layers, annotations_of(EnvironmentSettings), environment_defaults())
    for name in ("network_kwargs", "weights_kwargs", "reward_kwargs"):
        settings[name] = settings[name] or {}
    settings["transforms"] = transform_names(settings["transforms"])
    return settings
