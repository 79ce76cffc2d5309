"""Odd arguments: (function or name, its arguments) -> taken, refused in words, or a crash."""

import contextlib
import dis
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

import ccenv
from ccenv.agents import AGENTS
from ccenv.agents.reference_policies import BlockDropout
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.data.user_data import check_given, given_split
from ccenv.rewards import REWARDS, make_reward, reward_parameters
from ccenv.runs.config.agent_settings import agent_parameters, find_agent
from ccenv.runs.lab.robustness.command_lines import (
    REFUSED,
    TAKEN,
    WORK,
    Crash,
    WorkBeginsError,
    crash_of,
    replaced,
)
from ccenv.runs.lab.robustness.odd import ODD_VALUES, strategies
from ccenv.runs.lab.robustness.tiny import TINY
from ccenv.sb3 import BlockSelectionVecEnv
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator

ODD_OBJECTS: list[Any] = [
    np.array(3),
    np.zeros((2, 2)),
    torch.zeros(3),
    torch.zeros(2, 2, dtype=torch.int64),
    nn.Sequential(*(nn.Linear(4, 4) for _ in range(40))),
    nn.Linear,
    len,
    "/no/such/place",
    np.int64(-1),
    np.ones((4, 4)),
    np.full((4, 4), np.nan),
    np.ones((3, 4)),
    np.full(4, 99),
    np.ones((4, 4), dtype=object),
    np.zeros((3, 1, 2, 2), dtype=np.uint8),
]
"""What a program gives by mistake in the place of something else."""
WORLD: dict[str, Any] = {
    "dataset": "synthetic",
    "weights": "cotrain",
    "num_blocks": (4,),
    "block_size": 4,
}
SHORT = {"progress": False, "latency": False, "images": 64, "batch_size": 32}
ROW = torch.zeros(1, 8)
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
NAMED = (ValueError, TypeError, OSError, ImportError)
"""What an entry of a table may raise of its settings."""


@functools.cache
def world() -> Simulator:
    """A tiny environment, which nothing that is refused may change."""
    simulator = Simulator(4, **PROBE_SETTINGS, weights="cotrain")
    simulator.seed(0)
    return simulator


def model() -> nn.Module:
    """A user's model."""
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def stepped(view: Any, action: Any = None, **arguments: Any) -> None:
    """Resets a view and steps it once."""
    env = view(**WORLD) if view is ccenv.BlockSelectionEnv else view(4, **WORLD)
    try:
        if view is BlockSelectionVecEnv:
            env.reset()
            env.step(action)
        else:
            env.reset(**arguments)
            env.step(env.action_space.sample() if action is None else action)
    finally:
        env.close()


def learned(num_images: Any) -> None:
    """An agent that learns."""
    resolve("reinforce", AGENTS, "agent")(world(), seed=0).learn(num_images)


def own_split(images: Any, labels: Any) -> None:
    """A user's arrays as data."""
    dataset = {"train": (images, labels), "test": (images, labels)}
    check_given(dataset)
    given_split(dataset, "train", "odd")


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    "train": (ccenv.train, lambda: {"agent": "dense", "seeds": None, "anew": False,
        "export": False, **WORLD, **SHORT}),
    "compare": (ccenv.compare, lambda: {"sweep": TINY, "write_page": False,
        "use_recorded": False}),
    "load": (ccenv.load, dict),
    "evaluate": (ccenv.evaluate, lambda: {"env": world(), "policy": BlockDropout(world())}),
    "gate": (ccenv.gate, lambda: {"model": model(), "units": {"0": "unit"}, "example": ROW}),
    "gateable": (ccenv.gateable, lambda: {"model": model(), "example": ROW}),
    "check_network": (ccenv.check_network, lambda: {"network": ccenv.GatedMLP(8, (2,), 4, 3),
        "example": ROW}),
    "check_vector_env": (ccenv.check_vector_env, lambda: {
        "env": ccenv.BlockSelectionVectorEnv(4, **WORLD)}),
    "block_sparse_linear": (ccenv.block_sparse_linear, lambda: {"x": ROW,
        "weight": torch.zeros(8, 8), "bias": torch.zeros(8)}),
    "explain_backend": (ccenv.explain_backend, lambda: {"x": ROW, "weight": torch.zeros(8, 8)}),
    "GatedMLP": (ccenv.GatedMLP, lambda: {"in_features": 8, "num_blocks": (2,)}),
    "GatedMLP.forward": (lambda **arguments: ccenv.GatedMLP(8, (2,), 4, 3)(**arguments), lambda: {
        "inputs": ROW, "masks": [torch.ones(1, 2, dtype=torch.bool)]}),
    "GatedSequential": (ccenv.GatedSequential, lambda: {"stem": nn.Identity(),
        "parts": [ccenv.Exit(nn.Linear(8, 3))], "head": nn.Linear(8, 3), "example": ROW}),
    "Exit": (ccenv.Exit, lambda: {"head": nn.Linear(8, 3)}),
    "Gate": (ccenv.Gate, lambda: {"name": "a", "num_blocks": 2, "look_size": 3}),
    "BlockSelectionEnv": (ccenv.BlockSelectionEnv, lambda: dict(WORLD)),
    "BlockSelectionVectorEnv": (ccenv.BlockSelectionVectorEnv, lambda: {"num_envs": 4, **WORLD}),
    "BlockSelectionVecEnv": (BlockSelectionVecEnv, lambda: {"num_envs": 4, **WORLD}),
    "ActionView": (ccenv.ActionView, lambda: {"env": ccenv.BlockSelectionEnv(**WORLD),
        "code": "menu", "menu": "single"}),
    "VectorActionView": (ccenv.VectorActionView, lambda: {
        "env": ccenv.BlockSelectionVectorEnv(4, **WORLD), "code": "menu", "menu": "single"}),
    "suite": (ccenv.suite, lambda: {"skill": "basic", "quick": True}),
    "suite.report": (ccenv.suite.report, lambda: {"folder": "nowhere"}),
    "Task.make_vec": (ccenv.suite["basic-4"].make_vec, lambda: {"num_envs": 4, "seed": 0}),
    "env": (functools.partial(stepped, ccenv.BlockSelectionEnv), lambda: {"seed": 0,
        "options": None, "action": None}),
    "vector env": (functools.partial(stepped, ccenv.BlockSelectionVectorEnv), lambda: {"seed": 0,
        "options": None, "action": None}),
    "SB3 env": (functools.partial(stepped, BlockSelectionVecEnv), lambda: {
        "action": np.ones((4, 4))}),
    "Simulator": (Simulator, lambda: {"num_images": 4, **setting_defaults(), **WORLD}),
    "Agent.learn": (learned, dict),
    "collect_rollout": (collect_rollout, lambda: {"simulator": world(),
        "policy": BlockDropout(world()), "generator": None}),
    "SkippingClassifier.load": (SkippingClassifier.load, lambda: {"path": "nowhere"}),
    "load_split": (load_split, lambda: {"dataset": "synthetic", "split": "train"}),
    "given_split": (own_split, lambda: {"images": np.zeros((3, 2, 2), dtype=np.uint8),
        "labels": np.zeros(3, dtype=np.int64)}),
    "make_reward": (make_reward, lambda: {"reward": "accuracy_minus_cost", "arguments": None}),
}  # fmt: skip
"""Name -> a function and arguments that it takes; one or more of them are replaced."""


TABLES: dict[str, Mapping[str, Any]] = {"agent": AGENTS, "reward": REWARDS, "network": SMALL}
"""Kind -> its names: "agent rloo" and the like are fuzzed as functions of their settings."""


def of_table(name: str) -> tuple[Callable[..., Any], Iterable[str]]:
    """What an entry of a table is made by, and names of its settings."""
    kind, entry = name.split()
    if kind == "agent":
        made = functools.partial(resolve(entry, AGENTS, "agent"), world(), seed=0)
        return made, agent_parameters(find_agent(entry))[0]
    if kind == "reward":
        reward = resolve(entry, REWARDS, "reward")
        return lambda **odd: make_reward(entry, odd), reward_parameters(reward) or ()

    def network(**odd: Any) -> Simulator:
        return Simulator(4, **WORLD, network=entry, network_kwargs=SMALL[entry] | odd)

    return network, [*SMALL[entry], "num_blocks", "block_size", "macs"]


def parameters_of(name: str) -> list[str]:
    """Names of a function's arguments, those of its settings too."""
    if name not in FUNCTIONS:
        return sorted({*of_table(name)[1], "x"})
    function, sound = FUNCTIONS[name]
    parameters = inspect.signature(function).parameters.values()
    plain = [
        one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    return sorted({*plain, *sound()} - {"view"})


def is_worded(error: BaseException) -> bool:
    """Whether an exception was raised by a statement of this project, in few lines.

    Python, torch and numpy raise theirs in an operation, and a dictionary's key is no sentence.
    """
    last: TracebackType | None = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    operations = {one.offset: one.opname for one in dis.get_instructions(code)}
    is_raised = operations.get(last.tb_lasti) == "RAISE_VARARGS"
    text = str(error)
    # Gymnasium's views give Gymnasium's own errors, which say what they want as well.
    is_ours = last.tb_frame.f_globals.get("__name__", "").startswith(("ccenv", "gymnasium"))
    return is_ours and is_raised and 0 < len(text) <= 1000 and len(text.splitlines()) < 4


def came_of(call: tuple[str, Mapping[str, Any]]) -> str | Crash:
    """Calls a function: `TAKEN`, `REFUSED` in words, or a crash."""
    name, odd = call
    function, sound = FUNCTIONS[name] if name in FUNCTIONS else (of_table(name)[0], dict)
    places = (*WORK["train"], *WORK["compare"], "torch:Tensor.backward")
    with contextlib.ExitStack() as stack:
        for place in places:
            stack.enter_context(replaced(place, WorkBeginsError(place)))
        try:
            function(**(sound() | dict(odd)))
        except WorkBeginsError:
            return TAKEN
        except Exception as error:
            # What a user's function raises, where one is called at once, is the user's own.
            is_theirs = any(callable(odd.get(name)) for name in ("change", "code", "dataset"))
            # Torch calls a lack of memory a RuntimeError, with this word.
            is_large = isinstance(error, MemoryError) or "allocate" in str(error)
            # A class that is given what no command line lets through may leave types to Python.
            is_named = name not in FUNCTIONS and isinstance(error, NAMED)
            is_told = is_theirs or is_large or is_named or is_worded(error)
            return REFUSED if is_told else crash_of(call, error)
    return TAKEN


def calls() -> Any:
    """A strategy of (function, odd arguments)."""
    st = strategies()
    entries = [f"{kind} {name}" for kind, names in TABLES.items() for name in names]

    def call(name: str) -> Any:
        odd = st.sampled_from([*ODD_VALUES, *ODD_OBJECTS] if name in FUNCTIONS else ODD_VALUES)
        some = st.sampled_from(parameters_of(name))
        return st.tuples(st.just(name), st.dictionaries(some, odd, min_size=1, max_size=3))

    return (st.sampled_from(sorted(FUNCTIONS)) | st.sampled_from(entries)).flatmap(call)
