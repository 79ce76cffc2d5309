"""Checker of vector environments, which Gymnasium lacks: a `VectorEnv` -> silence, or an error.

`check_vector_env` plays two trajectories with the same seed and judges every result by what
Gymnasium's documentation promises of a `VectorEnv`.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ccenv.envs.checked_calls import (
    Result,
    arrays,
    check_member,
    checked_reset,
    checked_step,
    require,
    value_in_words,
)
from ccenv.envs.nested import leaves, row_of, same

MAX_STEPS = 60


def check_vector_env(env: VectorEnv, *, seed: int = 0, refuses_after_close: bool = True) -> None:
    """Checks a vector environment against Gymnasium's conventions, and closes it.

    Checked are: spaces that fit together; metadata; results of reset and step (types, shapes,
    dtypes, membership in the spaces); infos with a boolean twin `_key` of each key; the same seed
    giving the same trajectory; results that later calls do not overwrite; the autoreset mode that
    `metadata` declares, in every detail that shows within 60 steps; no steps after `close`.

    Args:
        env: whose infos are a dict (not wrapped in `DictInfoToList`).
        seed: of the resets and of the actions, which are drawn from the action space.
        refuses_after_close: whether `step` must raise after `close`; Gymnasium's own
            `SyncVectorEnv` leaves that to the environments in it, most of which do not.

    Raises:
        AssertionError: that says what was expected, what came and what to do.
    """
    check_spaces(env)
    mode = check_mode(env)
    env.action_space.seed(seed)
    actions = [env.action_space.sample() for _ in range(MAX_STEPS)]
    first = list(play(env, mode, actions, seed))
    check_autoreset(env, mode, first)
    if env.spec is None or not env.spec.nondeterministic:
        check_same(first, list(play(env, mode, actions, seed)))
    if mode == AutoresetMode.DISABLED and any(result.ends for result in first):
        check_needs_reset(env, actions)
    env.close()
    if refuses_after_close:
        refuses(env, actions[0], "after close; check self.closed in step")


def check_spaces(env: VectorEnv) -> None:
    """The batched spaces are the single ones, repeated `num_envs` times."""
    count: Any = getattr(env, "num_envs", None)
    require(
        isinstance(count, int) and count >= 1,
        f"expected num_envs to be a whole number of at least 1, got {count!r}; set it in __init__",
    )
    for name in ("observation_space", "action_space"):
        single: Any = getattr(env, f"single_{name}", None)
        batched = getattr(env, name, None)
        require(
            isinstance(single, gym.Space) and isinstance(batched, gym.Space),
            f"expected single_{name} and {name} to be spaces, got {single!r} and {batched!r}",
        )
        expected = batch_space(single, count)
        require(
            batched == expected,
            f"expected {name} to be {expected}, got {batched}; "
            f"use gymnasium.vector.utils.batch_space(single_{name}, num_envs)",
        )


def check_mode(env: VectorEnv) -> AutoresetMode:
    """Metadata declares one of Gymnasium's autoreset modes."""
    mode: Any = env.metadata.get("autoreset_mode")
    require(
        isinstance(mode, AutoresetMode),
        f"expected metadata['autoreset_mode'] to be an AutoresetMode, got {mode!r}; "
        "wrappers read it to know when episodes end",
    )
    return AutoresetMode(mode)


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
            check_nothing_shared(results[-2], results[-1])
            check_only_done_rows_restart(results[-2], results[-1])
            yield results[-1]


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


def check_only_done_rows_restart(before: Result, after: Result) -> None:
    """`reset(options={"reset_mask": mask})` leaves the other rows where they were."""
    for row in np.flatnonzero(~before.done).tolist():
        require(
            same(row_of(before.observation, row), row_of(after.observation, row)),
            f"{after.call}: expected row {row} outside of reset_mask to stay, got another "
            "observation",
        )


def check_autoreset(env: VectorEnv, mode: AutoresetMode, results: Sequence[Result]) -> None:
    """Ends of episodes look as the declared mode says."""
    steps = [result for result in results if result.reward is not None]
    for result in steps:
        check_final(env, mode, result)
    if mode == AutoresetMode.NEXT_STEP:
        for before, after in itertools.pairwise(steps):
            check_reset_call(before, after)


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
        check_member(row_of(final, row), env.single_observation_space, name)
    for name, array in leaves(final, "final_obs"):
        for _, other in leaves(result.observation, "observations"):
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


def check_reset_call(before: Result, after: Result) -> None:
    """With NEXT_STEP the call after an end resets: no reward, and no end."""
    rows = before.done
    require(
        not after.done[rows].any() and not np.any(after.reward[rows]),
        f"{after.call}: expected reward 0 and no end for rows {np.flatnonzero(rows).tolist()} "
        f"that ended in {before.call} (autoreset mode NEXT_STEP), got rewards "
        f"{after.reward[rows].tolist()} and ends {after.done[rows].tolist()}",
    )


def check_needs_reset(env: VectorEnv, actions: Sequence[Any]) -> None:
    """Without autoreset an ended row cannot be stepped."""
    env.reset()
    for index, action in enumerate(actions[:-1]):
        if checked_step(env, f"step {index}", action).ends:
            refuses(env, actions[-1], "after an end with autoreset mode DISABLED, until reset")
            return


def refuses(env: VectorEnv, action: Any, when: str) -> None:
    """Some exception comes out of step."""
    try:
        env.step(action)
    except Exception:
        return
    raise AssertionError(f"expected step to raise {when}; got a result")


def check_same(first: Sequence[Result], second: Sequence[Result]) -> None:
    """Two trajectories with one seed and the same actions are equal, bit for bit."""
    for a, b in zip(first, second, strict=True):
        for name in ("observation", "reward", "terminated", "truncated", "info"):
            one, other = getattr(a, name), getattr(b, name)
            if not same(one, other):
                raise AssertionError(
                    f"{a.call}: expected the same {name} from the same seed and actions, got\n"
                    f"{one}\nand\n{other}\n"
                    "draw all randomness from np_random, or set nondeterministic in the spec"
                )
