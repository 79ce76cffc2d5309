"""Odd constructors: (kind, name, settings) -> built, refused by name, or a crash."""

from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np
import torch

from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.data import DATASETS, load_split
from ccenv.data.user_data import check_given, given_split
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.rewards import REWARDS, make_reward, reward_parameters
from ccenv.runs.config.agent_settings import agent_parameters, find_agent
from ccenv.runs.lab.robustness.command_lines import REFUSED, TAKEN, Crash, WorkBeginsError, crash_of
from ccenv.runs.lab.robustness.odd import ODD_VALUES, strategies
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator
from ccenv.tasks.probe import PROBE_SETTINGS

LEARNING = "ccenv.simulator.network_source.frozen_weights"
"""Where the work of an environment begins: its network is learned."""
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {},
    "conv": {"channels": (4,), "num_blocks": 2, "strides": (1,)},
    "experts": {"num_experts": 4, "expert_size": 4, "channels": (4, 8)},
    "resnet": {"depth": 8, "width": 4},
    "vit": {"depth": 2, "dim": 16, "num_heads": 2, "num_groups": 4},
    "early_exit": {"units": (8, 8)},
    "cascade": {"first": (4,), "then": (8,)},
    "pondering": {"units": 8, "num_steps": 3},
    "small_conv": {"channels": (4,), "units": (8,)},
}
"""Networks that take milliseconds."""
NAMED = (ValueError, TypeError, OSError, ImportError, MemoryError)
"""What a constructor may raise of what it is given."""
TOO_LARGE = "allocate"
"""Torch calls a lack of memory a RuntimeError, with this word."""
ACTIONS: list[Any] = [
    np.zeros((4, 4), dtype=bool),
    np.ones((4, 4)),
    np.full((4, 4), np.nan),
    np.ones((3, 4)),
    np.zeros(4, dtype=np.int64),
    np.full(4, 99),
    np.ones((4, 4), dtype=object),
    [[1] * 4] * 4,
    torch.ones(4, 4, dtype=torch.bool),
]


def built(kind: str, name: str, settings: Mapping[str, Any]) -> None:
    """Constructs something, and lets an environment take a step."""
    if kind == "reward":
        make_reward(name, settings)
    elif kind == "agent":
        resolve(name, AGENTS, "agent")(probe(), seed=0, **settings)
    elif kind == "data":
        given = settings["dataset"]
        if isinstance(given, str):
            load_split(given, name)
        else:
            check_given(given)
            given_split(given, name, "odd")
    elif kind == "mask":
        env = BlockSelectionVectorEnv(4, **PROBE_SETTINGS, weights="cotrain")
        env.reset(seed=0)
        env.step(settings["action"])
    else:
        usual: dict[str, Any] = {
            "dataset": "synthetic",
            "weights": "cotrain",
            "num_blocks": (4,),
            "block_size": 4,
        }
        if kind == "network":
            settings = {"network": name, "network_kwargs": SMALL[name] | dict(settings)}
        Simulator(**(usual | {"num_images": 4} | dict(settings)))


def probe() -> Simulator:
    """A tiny environment, as agents get one."""
    simulator = Simulator(4, **PROBE_SETTINGS, weights="cotrain")
    simulator.seed(0)
    return simulator


def came_of(given: tuple[str, str, dict[str, Any]]) -> str | Crash:
    """Constructs: `TAKEN`, `REFUSED` by name, or a crash."""
    try:
        with mock.patch(LEARNING, side_effect=WorkBeginsError):
            built(*given)
    except WorkBeginsError:
        return TAKEN
    except NAMED:
        return REFUSED
    except Exception as error:
        if isinstance(error, RuntimeError) and TOO_LARGE in str(error):
            return REFUSED
        return crash_of(given, error)
    return TAKEN


def parameters_of_reward(name: str) -> Mapping[str, Any]:
    """Arguments of a reward, by its name."""
    return reward_parameters(resolve(name, REWARDS, "reward")) or {}


def constructors() -> Any:
    """A strategy of (kind, name, settings)."""
    st = strategies()
    odd = st.sampled_from(ODD_VALUES)

    def some(names: Any) -> Any:
        return st.dictionaries(st.sampled_from(sorted(names) or ["x"]), odd, max_size=3)

    def of(kind: str, names: Any, parameters: Any) -> Any:
        return st.sampled_from(sorted(names)).flatmap(
            lambda name: st.tuples(st.just(kind), st.just(name), some({*parameters(name), "x"}))
        )

    arrays = st.sampled_from([*ODD_VALUES, *ACTIONS, np.zeros((3, 1, 2, 2), dtype=np.uint8)])
    pairs = st.tuples(arrays, arrays) | arrays
    data = (
        st.fixed_dictionaries({"train": pairs, "test": pairs})
        | odd
        | st.sampled_from(sorted(DATASETS))
    )
    splits = st.sampled_from(["train", "validation", "test", "x", ""])
    return st.one_of(
        of("reward", REWARDS, parameters_of_reward),
        of("agent", AGENTS, lambda name: agent_parameters(find_agent(name))[0]),
        of("network", SMALL, lambda name: [*SMALL[name], "num_blocks", "block_size", "macs"]),
        of("environment", ["simulator"], lambda name: setting_defaults()),
        st.tuples(st.just("data"), splits, data.map(lambda found: {"dataset": found})),
        st.tuples(st.just("mask"), st.just(""), st.sampled_from([*ODD_VALUES, *ACTIONS]).map(
            lambda action: {"action": action})),
    )  # fmt: skip
