"""Policies that were trained elsewhere: files, modules, functions and objects -> an agent to judge.

Files are those of Stable-Baselines3 and sb3-contrib. Their zips hold pickles, which run code when
they are opened: only those are opened that the user trusts by name.
"""

import importlib
import inspect
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ccenv.agents.base import Agent, OnRollout, ignore
from ccenv.base.given_files import ZIP, check_plain_file
from ccenv.base.registry import import_object
from ccenv.base.trust import check_trust
from ccenv.base.values import as_settings, in_a_line, shown
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.simulator.evaluate import policy_of
from ccenv.simulator.policy import lacks_normaliser

PARTS = {"data", "policy.pth"}
"""What a zip of Stable-Baselines3 holds at least."""
ALGORITHMS = {
    "stable_baselines3": ("PPO", "A2C", "DQN", "SAC", "TD3", "DDPG"),
    "sb3_contrib": ("TRPO", "MaskablePPO", "RecurrentPPO", "QRDQN", "TQC", "CrossQ", "ARS"),
}
"""Library -> those of its classes that may have written a file."""


class Foreign(Agent):
    """A policy that was trained elsewhere: it is judged, and learns nothing here.

    >>> from ccenv.simulator.simulator import Simulator
    >>> simulator = Simulator(4, dataset="synthetic", weights="cotrain", num_blocks=[2])
    >>> simulator.seed(0)
    >>> all_on = Foreign(simulator, lambda observation: torch.ones(len(observation), 2))
    >>> all_on.act(simulator.begin(), layer=0).int().tolist()[0], all_on.policy_macs
    ([1, 1], [nan])
    """

    sequences = True

    def __init__(
        self,
        env: Any,
        policy: Any,
        /,
        *,
        seed: int = 0,
        deterministic: bool | None = None,
        policy_macs: int | None = None,
        view: str | None = None,
        view_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes a policy, as `ccenv.evaluate` does.

        Args:
            deterministic: judge it by greedy masks, or by sampled ones; by default what it is for:
                greedy masks of models of Stable-Baselines3.
            policy_macs: MACs of choosing one input's mask at a gate; by default those counted or,
                of a function, unknown.
            view: action view in which a model acts, see `ccenv.envs.actions`.
            view_kwargs: settings of the view.

        Raises:
            TypeError, ValueError: if the policy does not fit the environment.
        """
        super().__init__(env, seed=seed)
        place: Any = self.simulator
        if view is not None:
            from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv

            settings = as_settings(view_kwargs, "view_kwargs")
            place = ActionViewVecEnv(
                BlockSelectionVecEnv(simulator=self.simulator), view, **settings
            )
        self.policy = policy_of(policy, place)
        if view is not None and getattr(self.policy, "code", None) is None:
            raise ValueError(
                f"expected no view={view!r} for a policy that acts with bits; leave it out"
            )
        parts = (policy, getattr(policy, "policy", None))
        self.module = next((part for part in parts if isinstance(part, nn.Module)), None)
        counted = self.policy.policy_macs
        self.policy_macs = counted if policy_macs is None else [policy_macs] * len(self.num_blocks)
        self.deterministic = self.policy.deterministic if deterministic is None else deterministic
        for name in ("as_given", "uses_labels", "begin_episode", "keep_probability"):
            setattr(self, name, getattr(self.policy, name))

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Policy.act`."""
        return self.policy.act(observation, layer, generator)

    def rule_of_windows(self, surface: Any, generator: torch.Generator | None) -> Any:
        """See `Policy.rule_of_windows`."""
        return self.policy.rule_of_windows(surface, generator)

    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Learns nothing."""
        return 0


def open_policies(thing: Any, trusted: Sequence[str] = ()) -> list[Any]:
    """Policies that a user names, one for each seed.

    Args:
        thing: a zip of Stable-Baselines3 or sb3-contrib, a folder of them, `module:name` of a
            function, a torch module or a model, such an object, or a list of these. Statistics
            of `VecNormalize` lie in the same folder: `ppo.pkl` of `ppo.zip`.
        trusted: zips, or folders of them, that the user made.

    Raises:
        ValueError: if a file is missing, none of Stable-Baselines3, or not trusted; nothing of it
            was unpickled then.
    """
    check_trust(trusted)
    if isinstance(thing, list | tuple):
        return [policy for one in thing for policy in open_policies(one, trusted)]
    if isinstance(thing, str) and ":" in thing and not is_file(thing):
        named = import_object(thing, "policy")
        is_text = isinstance(named, str | Path)
        return [named] if is_text else open_policies(named)
    if isinstance(thing, GatedNetwork):
        raise ValueError(
            f"expected a policy, got the network {type(thing).__name__}; a network is a setting of "
            "an agent, as the function that builds it: ('reinforce', {'network': function})"
        )
    if not isinstance(thing, str | Path):
        return [thing]
    path = Path(thing)
    if not path.is_dir():
        return [open_zip(path, trusted)]
    files = sorted(path.glob(f"*{ZIP}"), key=in_order_of_numbers)
    if not files:
        raise ValueError(f"expected zips of Stable-Baselines3 in the folder {path}, got none")
    return [open_zip(file, trusted) for file in files]


def is_file(name: Any) -> bool:
    """Whether a name is that of a file or a folder, rather than an agent's or `module:name`."""
    return isinstance(name, Path) or (
        isinstance(name, str) and (name.endswith(ZIP) or "/" in name or Path(name).is_dir())
    )


def in_order_of_numbers(path: Path) -> list[Any]:
    """By what names are sorted, so that a 10 comes behind a 9.

    >>> [path.name for path in sorted(map(Path, ["a-10", "a-9"]), key=in_order_of_numbers)]
    ['a-9', 'a-10']
    """
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def open_zip(path: Path, trusted: Sequence[str]) -> Any:
    """A model that Stable-Baselines3 or sb3-contrib saved; ValueError if it cannot be."""
    try:
        check_plain_file(path, ZIP)
    except FileNotFoundError as error:
        raise ValueError(
            f"expected a zip of Stable-Baselines3, got no such file: {path}"
        ) from error
    if not zipfile.is_zipfile(path) or not set(zipfile.ZipFile(path).namelist()) >= PARTS:
        raise ValueError(
            f"expected a zip of Stable-Baselines3 (model.save), got another file: {path}"
        )
    from stable_baselines3.common.save_util import load_from_pkl, load_from_zip_file

    def load(path: Path) -> Any:
        data, *_ = load_from_zip_file(path, device="cpu")
        return writer_of(data or {}).load(path, device="cpu")

    def load_statistics(path: Path) -> Any:
        normalizer = load_from_pkl(path)
        normalizer.normalize_obs(np.zeros(model.observation_space.shape, dtype=np.float32))
        return normalizer

    model = unpickled("a model", load, path, trusted)
    statistics = path.with_suffix(".pkl")
    if lacks_normaliser(model) is not False and statistics.is_file():
        what = "statistics of VecNormalize"
        check_plain_file(statistics, ZIP)
        normalization = unpickled(what, load_statistics, statistics, trusted)
        vars(model)["_vec_normalize_env"] = normalization
    return model


def unpickled(what: str, load: Callable[[Path], Any], path: Path, trusted: Sequence[str]) -> Any:
    """What a file of pickles holds; ValueError if it is not trusted, or cannot be read."""
    whole = path.resolve()
    if not {Path(name).resolve() for name in trusted} & {whole, *whole.parents}:
        raise ValueError(
            f"expected --trust {path}, or trust=[{str(path)!r}], got none: a file of "
            "Stable-Baselines3 holds pickles, which can run any code when they are opened; trust "
            "what you made"
        )
    try:
        return load(path)
    # Pickles may raise anything.
    except Exception as error:
        reason = f"{type(error).__name__}: {in_a_line(error)}"
        raise ValueError(f"expected {what} in {path}, got {reason}") from error


def writer_of(data: Mapping[str, Any]) -> Any:
    """The class that saved a model: its settings are all there, and no other's has more of them.

    Args:
        data: attributes of the model, as the zip holds them.
    """
    fitting: list[tuple[int, int, int, Any]] = []
    for library, names in ALGORITHMS.items():
        try:
            module = importlib.import_module(library)
        except ModuleNotFoundError:
            continue
        for algorithm in (getattr(module, name) for name in names if hasattr(module, name)):
            are_there = [name in data for name in inspect.signature(algorithm).parameters]
            if issubclass(data["policy_class"], tuple(algorithm.policy_aliases.values())):
                fitting.append((are_there.count(False), -len(are_there), len(fitting), algorithm))
    if not fitting:
        raise ValueError(f"no algorithm is known that acts by {shown(data['policy_class'])}")
    return min(fitting)[-1]
