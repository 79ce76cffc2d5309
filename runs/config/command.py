"""A plan to the command line that repeats it, and a file of settings to the same settings.

A file is TOML (or JSON, as a run's own `config.json`): settings by name, `[reward_kwargs]` and the
like as tables; `[environment]` and `[agent_settings]` may group them, as a run's own file does.
"""

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.given_files import read_json, read_toml
from ccenv.base.trust import check_named
from ccenv.base.values import shown
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import lay_over_usual
from ccenv.runs.config.values import opened, parse_value
from ccenv.runs.store.identity import GROUPS, Program, same, validations_every
from ccenv.runs.store.untrusted_files import PLACES

AGENT = "agent"


def command_line(plan: Plan) -> str:
    """What one types to make the same run again, in the folder in which it was made.

    Settings at their defaults are left out; the command is read by POSIX shells.
    """
    words = [
        f"{n}={w}" for name, v in beyond_defaults(plan).items() for n, w in setting_words(name, v)
    ]
    return shlex.join(["ccenv", "train", plan.agent, *words])


def beyond_defaults(plan: Plan) -> dict[str, Any]:
    """Settings that differ from what the agent's name and the preset's alone would give."""
    program, usual = dataclasses.asdict(plan.program), dataclasses.asdict(Program())
    del program["progress"]
    if program["eval_every"] == validations_every(program["images"]):
        del program["eval_every"]
    environment = lay_over_usual(plan.program.env, plan.agent_class, {})
    if plan.environment["reward"] != environment["reward"]:
        # The agent's wishes for its own reward go with it.
        environment["reward_kwargs"] = {}
    groups = (
        (program, usual),
        (plan.environment, environment),
        (plan.agent_settings, agent_parameters(plan.agent_class)[0]),
    )
    return {
        name: value
        for group, expected in groups
        for name, value in group.items()
        if name not in expected or not same(value, expected[name])
    }


def setting_words(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A setting as words of the command line: dicts that are not empty one level down.

    >>> list(setting_words("reward_kwargs", {"cost_weight": 0.5}))
    [('reward_kwargs.cost_weight', '0.5')]
    """
    if isinstance(value, Mapping) and value and all(isinstance(key, str) for key in value):
        for key, inner in value.items():
            yield f"{name}.{key}", value_word(inner)
    else:
        yield name, value_word(value)


def value_word(value: Any) -> str:
    """A value that `ccenv.runs.config.values.parse_value` reads back.

    >>> value_word("rloo"), value_word("10"), value_word(None)
    ('rloo', "'10'", 'none')
    """
    if isinstance(value, str) and parse_value(value) == value:
        return value
    is_word = value is None or isinstance(value, bool)
    return str(value).lower() if is_word else repr(value)


def read_config(path: Path, trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Settings of a file by name, with `agent` among them where it names one.

    Args:
        path: `.toml`, or `.json` as a run writes it.
        trusted: modules of the reader's own that it may name, see `ccenv.base.trust`.

    Raises:
        ValueError: if it cannot be read, sets something twice, or names code that is neither the
            project's nor trusted. Whether names and values are right is the plan's to say.
    """
    try:
        content = read_json(path) if path.suffix == ".json" else read_toml(path)
    except OSError as error:
        raise ValueError(
            f"expected settings as TOML (or a run's config.json) in {path}, got {error}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"expected settings by name in {path}, got {type(content).__name__}")
    settings = {name: value for name, value in content.items() if name not in GROUPS}
    if "agent_settings" in content:
        # Of a run of an earlier version; reward or agent say it too.
        settings.pop("cost_limit", None)
    for group in GROUPS:
        inner = content.get(group, {})
        if not isinstance(inner, dict):
            raise ValueError(f"expected [{group}] to be a table in {path}, got {shown(inner)}")
        for name, value in inner.items():
            if name in settings:
                raise ValueError(f"expected {name} once in {path}, got it again in [{group}]")
            settings[name] = value
    # Data may lie anywhere: whose settings these are says where, and data are not run.
    places = {name: kind for name, kind in PLACES.items() if kind != "dataset"}
    settings = opened(settings.items())
    check_named(settings, places, trusted)
    return settings
