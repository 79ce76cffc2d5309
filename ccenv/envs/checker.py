"""Checks vector environments against Gymnasium's conventions."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ccenv.base.annotations import checks_types
from ccenv.base.values import shown


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
    for part, subspace in parts(value, space):
        # A single number of a discrete space may be Python's own.
        if subspace.shape and subspace.dtype is not None and subspace.dtype != object:
            require(
                isinstance(part, np.ndarray | np.generic) and part.dtype == subspace.dtype,
                f"{name}: expected an array of dtype {subspace.dtype}, got {value_in_words(part)}; "
                f"convert with .astype({subspace.dtype})",
            )
            require(
                part.shape == subspace.shape,
                f"{name}: expected shape {list(subspace.shape)}, got {list(part.shape)}",
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
        for part, subspace in zip(value, space.spaces, strict=False):
            yield from parts(part, subspace)
    elif not isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        yield value, space


def check_info(info: Any, count: int, name: str, *, is_nested: bool = False) -> None:
    """Every key has an entry for each row, and a boolean twin, which is optional within others."""
    require(isinstance(info, dict), f"{name}: expected a dict, got {value_in_words(info)}")
    for key, value in info.items():
        place = f"{name}[{key!r}]"
        if key.startswith("_"):
            has_twin = is_nested or key[1:] in info
            require(has_twin, f"{name}: expected {key[1:]!r} with {key!r}, got none")
            check_column(value, count, np.bool_, place)
            continue
        require(
            is_nested or f"_{key}" in info,
            f"{name}: expected a boolean twin '_{key}' of {key!r}, got none; "
            "it says which rows have the key",
        )
        if isinstance(value, dict) and key != "final_obs":
            check_info(value, count, place, is_nested=True)
        elif key != "final_obs":
            require(
                isinstance(value, np.ndarray) and value.ndim >= 1 and len(value) == count,
                f"{place}: expected an array with {count} rows, got {value_in_words(value)}",
            )


def arrays(result: Result) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays of a result with their names."""
    for name in ("observation", "reward", "terminated", "truncated", "info"):
        yield from arrays_in(getattr(result, name), name)


def value_in_words(value: Any) -> str:
    """Type, and shape, dtype or keys where there are any: it is asked for at every check."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)} and dtype {value.dtype}"
    if isinstance(value, dict):
        return f"a dict with the keys {list(value)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{type(value).__name__} {shown(value)}"


MAX_STEPS = 60


@checks_types
def check_vector_env(env: VectorEnv, *, seed: int = 0, refuses_after_close: bool = True) -> None:
    """Checks a vector environment against Gymnasium's conventions, and closes it.

    It checks that the spaces fit together; metadata; results of reset and step (types, shapes,
    dtypes, membership in the spaces); the boolean array `_key` of each key of `info`; that the same
    seed gives the same trajectory; that later calls do not overwrite results; the autoreset mode in
    `metadata`, for 60 steps; and that `step` raises after `close`.

    Args:
        env: an environment whose infos are a dict (not wrapped in `DictInfoToList`).
        seed: seed of the resets, and of the actions, which are sampled from the action space.
        refuses_after_close: whether `step` must raise after `close`; Gymnasium's own
            `SyncVectorEnv` leaves that to the environments in it, most of which do not raise.

    Raises:
        AssertionError: with the expected value, the actual one, and what to do.

    Example:
        >>> import ccenv
        >>> env = ccenv.BlockSelectionVectorEnv(4, dataset="synthetic", weights="cotrain")
        >>> ccenv.check_vector_env(env)
    """
    check_spaces(env)
    mode: Any = env.metadata.get("autoreset_mode")
    require(
        isinstance(mode, AutoresetMode),
        f"expected metadata['autoreset_mode'] to be an AutoresetMode, got {shown(mode)}; "
        "wrappers read it to know when episodes end",
    )
    env.action_space.seed(seed)
    actions = [env.action_space.sample() for _ in range(MAX_STEPS)]
    first = list(play(env, mode, actions, seed))
    check_autoreset(env, mode, first)
    if env.spec is None or not env.spec.nondeterministic:
        check_deterministic(first, list(play(env, mode, actions, seed)))
    if mode == AutoresetMode.DISABLED and any(result.ends for result in first):
        # Without autoreset an ended row cannot be stepped.
        env.reset()
        steps = (checked_step(env, f"step {i}", one) for i, one in enumerate(actions[:-1]))
        if any(step.ends for step in steps):
            refuses(env, actions[-1], "after an end with autoreset mode DISABLED, until reset")
    env.close()
    if refuses_after_close:
        refuses(env, actions[0], "after close; check self.closed in step")


def check_spaces(env: VectorEnv) -> None:
    """The batched spaces are the single ones, repeated `num_envs` times."""
    sizes = ("num_envs", "observation_space", "action_space")
    names = (*sizes, "single_observation_space", "single_action_space")
    attributes: dict[str, Any] = {name: getattr(env, name, None) for name in names}
    count = attributes["num_envs"]
    require(
        isinstance(count, int) and count >= 1,
        f"expected num_envs to be a whole number of at least 1, got {shown(count)}; "
        "set it in __init__",
    )
    for name in sizes[1:]:
        single, batched = attributes[f"single_{name}"], attributes[name]
        require(
            isinstance(single, gym.Space) and isinstance(batched, gym.Space),
            f"expected single_{name} and {name} to be spaces, got {shown(single)} "
            f"and {shown(batched)}",
        )
        expected = batch_space(single, count)
        require(
            batched == expected,
            f"expected {name} to be {expected}, got {batched}; "
            f"use gymnasium.vector.utils.batch_space(single_{name}, num_envs)",
        )


def play(
    env: VectorEnv, mode: AutoresetMode, actions: Sequence[Any], seed: int
) -> Iterator[Result]:
    """Resets, steps through the actions, checks every result, and resets by hand where needed."""
    results = [checked_reset(env, "reset", seed=seed)]
    yield results[-1]
    for index, action in enumerate(actions):
        result = checked_step(env, f"step {index}", action)
        check_nothing_shared(results[-1], result)
        results.append(result)
        yield result
        if mode == AutoresetMode.DISABLED and result.ends:
            options = {"reset_mask": result.done.copy()}
            results.append(checked_reset(env, f"reset after step {index}", options=options))
            before, after = results[-2:]
            check_nothing_shared(before, after)
            # `reset(options={"reset_mask": mask})` leaves the other rows where they were.
            for row in np.flatnonzero(~before.done).tolist():
                require(
                    equal_trees(
                        row_of_tree(before.observation, row), row_of_tree(after.observation, row)
                    ),
                    f"{after.call}: expected row {row} outside of reset_mask to stay, got another "
                    "observation",
                )
            yield after


def check_nothing_shared(before: Result, after: Result) -> None:
    """A result is not a view of the one before, so a caller's stored result never changes."""
    require(
        before.info is not after.info,
        f"expected a fresh info dict, but {after.call} returned that of {before.call} again",
    )
    olds, news = list(arrays(before)), list(arrays(after))
    for old_name, old in olds:
        for new_name, new in news:
            if np.may_share_memory(old, new):
                raise AssertionError(
                    f"expected fresh arrays, but {new_name} of {after.call} shares memory with "
                    f"{old_name} of {before.call}; return a copy"
                )


def check_autoreset(env: VectorEnv, mode: AutoresetMode, results: Sequence[Result]) -> None:
    """Ends of episodes look as the declared mode says."""
    steps = [result for result in results if result.reward is not None]
    for result in steps:
        check_final(env, mode, result)
    for before, after in itertools.pairwise(steps if mode == AutoresetMode.NEXT_STEP else []):
        rows = before.done
        require(
            not after.done[rows].any() and not np.any(after.reward[rows]),
            f"{after.call}: expected reward 0 and no end for rows {np.flatnonzero(rows).tolist()} "
            f"that ended in {before.call} (autoreset mode NEXT_STEP), got rewards "
            f"{after.reward[rows].tolist()} and ends {after.done[rows].tolist()}",
        )


def check_final(env: VectorEnv, mode: AutoresetMode, result: Result) -> None:
    """SAME_STEP hands out what the ended episodes were last like; the other modes do not."""
    for key in ("final_obs", "final_info"):
        present = result.info.get(f"_{key}", np.zeros(env.num_envs, dtype=bool))
        expected = result.done if mode == AutoresetMode.SAME_STEP else np.zeros_like(result.done)
        require(
            np.array_equal(present, expected),
            f"{result.call}: expected info['_{key}'] to be {expected.tolist()} with autoreset mode "
            f"{mode.name}, got {present.tolist()}",
        )
    if not result.ends or mode != AutoresetMode.SAME_STEP:
        return
    final = result.info["final_obs"]
    for row in np.flatnonzero(result.done).tolist():
        name = f"{result.call}: info['final_obs'] of row {row}"
        check_member(row_of_tree(final, row), env.single_observation_space, name)
    for name, array in arrays_in(final, "final_obs"):
        for _, other in arrays_in(result.observation, "observations"):
            require(
                not np.may_share_memory(array, other),
                f"{result.call}: expected {name} to be apart from the new observations, "
                "got shared memory; return a copy",
            )
    require(
        isinstance(result.info["final_info"], dict),
        f"{result.call}: expected info['final_info'] to be a dict of arrays, "
        f"got {value_in_words(result.info['final_info'])}",
    )


def refuses(env: VectorEnv, action: Any, when: str) -> None:
    """Some exception comes out of step."""
    try:
        env.step(action)
    except Exception:
        return
    raise AssertionError(f"expected step to raise {when}; got a result")


def check_deterministic(first: Sequence[Result], second: Sequence[Result]) -> None:
    """Two trajectories with one seed and the same actions are equal, bit for bit."""
    for a, b in zip(first, second, strict=True):
        for name in ("observation", "reward", "terminated", "truncated", "info"):
            one, other = getattr(a, name), getattr(b, name)
            if not equal_trees(one, other):
                raise AssertionError(
                    f"{a.call}: expected the same {name} from the same seed and actions, got "
                    f"{value_in_words(one)} and another; "
                    "draw all randomness from np_random, or set nondeterministic in the spec"
                )


def arrays_in(value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays within dicts, tuples and arrays of objects."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from arrays_in(part, f"{name}[{key!r}]")
    elif isinstance(value, tuple | list) or (
        isinstance(value, np.ndarray) and value.dtype == object
    ):
        for index, part in enumerate(value):
            yield from arrays_in(part, f"{name}[{index}]")
    elif isinstance(value, np.ndarray):
        yield name, value


def equal_trees(a: Any, b: Any) -> bool:
    """Whether two values are equal, NaN equal to itself; wrappers' clock times are skipped."""
    if isinstance(a, dict) and isinstance(b, dict):
        # {"r", "l", "t"} is RecordEpisodeStatistics' entry; its "t" is measured time.
        skipped = {"t"} if a.keys() == {"r", "l", "t"} else set()
        return a.keys() == b.keys() and all(equal_trees(a[k], b[k]) for k in a.keys() - skipped)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(equal_trees, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype == object:
            return len(a) == len(b) and all(map(equal_trees, a, b))
        inexact = np.issubdtype(a.dtype, np.inexact)
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=inexact)
    return bool(a == b)


def row_of_tree(value: Any, row: int) -> Any:
    """One row of a batch in any structure."""
    if isinstance(value, dict):
        return {key: row_of_tree(part, row) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(row_of_tree(part, row) for part in value)
    return value[row]
