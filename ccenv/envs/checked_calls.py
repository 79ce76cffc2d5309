"""Calls of a vector environment, judged one by one: (environment, call) -> a `Result`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from ccenv.envs.nested import leaves


@dataclass(frozen=True)
class Result:
    """What a call of the environment gave."""

    call: str
    """"reset" or "step 3": where an error was seen."""
    observation: Any
    """[num_envs, ...] in the observation space."""
    info: dict[str, Any]
    """arrays with boolean twins."""
    reward: Any = None
    """[num_envs]; None after reset."""
    terminated: Any = None
    """bool [num_envs]; None after reset."""
    truncated: Any = None
    """bool [num_envs]; None after reset."""

    @property
    def done(self) -> np.ndarray:
        """Rows whose episode this call has ended: bool [num_envs]."""
        done: np.ndarray = np.logical_or(self.terminated, self.truncated)
        return done

    @property
    def ends(self) -> bool:
        """Whether this call was a step that ended an episode."""
        return self.reward is not None and bool(self.done.any())


def require(condition: Any, message: str) -> None:
    """Raises AssertionError unless the condition holds, also under `python -O`."""
    if not condition:
        raise AssertionError(message)


def checked_reset(env: VectorEnv, call: str, **arguments: Any) -> Result:
    """Resets and checks what comes back."""
    returned = env.reset(**arguments)
    require(
        isinstance(returned, tuple) and len(returned) == 2,
        f"{call}: expected (observations, info), got {value_in_words(returned)}",
    )
    result = Result(call, *returned)
    check_member(result.observation, env.observation_space, f"{call}: observations")
    check_info(result.info, env.num_envs, f"{call}: info")
    return result


def checked_step(env: VectorEnv, call: str, action: Any) -> Result:
    """Steps and checks what comes back."""
    returned = env.step(action)
    require(
        isinstance(returned, tuple) and len(returned) == 5,
        f"{call}: expected (observations, rewards, terminations, truncations, info), "
        f"got {value_in_words(returned)}",
    )
    observation, reward, terminated, truncated, info = returned
    check_member(observation, env.observation_space, f"{call}: observations")
    check_column(reward, env.num_envs, np.floating, f"{call}: rewards")
    require(np.isfinite(reward).all(), f"{call}: expected finite rewards, got {reward}")
    check_column(terminated, env.num_envs, np.bool_, f"{call}: terminations")
    check_column(truncated, env.num_envs, np.bool_, f"{call}: truncations")
    check_info(info, env.num_envs, f"{call}: info")
    return Result(call, observation, info, reward, terminated, truncated)


def check_column(column: Any, count: int, kind: type, name: str) -> None:
    """One number for each row: an array [count] of a kind of dtype."""
    require(
        isinstance(column, np.ndarray)
        and column.shape == (count,)
        and np.issubdtype(column.dtype, kind),
        f"{name}: expected an array of shape [{count}] and dtype {kind.__name__}, "
        f"got {value_in_words(column)}",
    )


def check_member(value: Any, space: gym.Space, name: str) -> None:
    """A value lies in a space, with the space's own dtype in every array."""
    for part, own in parts(value, space):
        # A single number of a discrete space may be Python's own.
        if own.shape and own.dtype is not None and own.dtype != object:
            require(
                isinstance(part, np.ndarray | np.generic) and part.dtype == own.dtype,
                f"{name}: expected an array of dtype {own.dtype}, got {value_in_words(part)}; "
                f"convert with .astype({own.dtype})",
            )
            require(
                part.shape == own.shape,
                f"{name}: expected shape {list(own.shape)}, got {list(part.shape)}",
            )
    require(
        space.contains(value),
        f"{name}: expected a member of {space}, got {value_in_words(value)} outside of it "
        "(a value beyond the bounds, NaN, or another structure)",
    )


def parts(value: Any, space: gym.Space) -> Iterator[tuple[Any, gym.Space]]:
    """Pairs the arrays of a value with the spaces they should lie in; odd structures end early."""
    if isinstance(space, gym.spaces.Dict) and isinstance(value, dict):
        for key in space.spaces.keys() & value.keys():
            yield from parts(value[key], space.spaces[key])
    elif isinstance(space, gym.spaces.Tuple) and isinstance(value, tuple):
        for part, own in zip(value, space.spaces, strict=False):
            yield from parts(part, own)
    elif not isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        yield value, space


def check_info(info: Any, count: int, name: str) -> None:
    """Every key has a boolean twin that says which rows have it, and one entry for each row."""
    require(isinstance(info, dict), f"{name}: expected a dict, got {value_in_words(info)}")
    for key, value in info.items():
        if key.startswith("_"):
            require(key[1:] in info, f"{name}: expected {key[1:]!r} beside {key!r}, got none")
            check_column(value, count, np.bool_, f"{name}[{key!r}]")
            continue
        require(
            f"_{key}" in info,
            f"{name}: expected a boolean twin '_{key}' of {key!r}, got none; "
            "it says which rows have the key",
        )
        if key == "final_obs":
            continue
        if isinstance(value, dict):
            check_entries(value, count, f"{name}[{key!r}]")
        else:
            check_rows(value, count, f"{name}[{key!r}]")


def check_entries(info: dict[str, Any], count: int, name: str) -> None:
    """Entries of a nested info; their twins are optional, for the key above has one."""
    for key, value in info.items():
        if isinstance(value, dict):
            check_entries(value, count, f"{name}[{key!r}]")
        elif key.startswith("_"):
            check_column(value, count, np.bool_, f"{name}[{key!r}]")
        else:
            check_rows(value, count, f"{name}[{key!r}]")


def check_rows(value: Any, count: int, name: str) -> None:
    """One entry for each row: an array [count, ...]."""
    require(
        isinstance(value, np.ndarray) and value.ndim >= 1 and len(value) == count,
        f"{name}: expected an array with {count} rows, got {value_in_words(value)}",
    )


def arrays(result: Result) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays of a result with their names."""
    for name in ("observation", "reward", "terminated", "truncated", "info"):
        yield from leaves(getattr(result, name), name)


def value_in_words(value: Any) -> str:
    """Type, and shape and dtype where there are any."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)} and dtype {value.dtype}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{type(value).__name__} {value!r}"
