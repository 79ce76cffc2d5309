"""Stable-Baselines3's A2C, PPO and TRPO as agents: same inputs, network and curves as the rest."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import mean
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from torch import Tensor

from ccenv.agents.base import Agent, OnRollout, ignore
from ccenv.agents.distributions import IndependentBlocks
from ccenv.agents.sb3_settings import (
    actor_choosers,
    complete_settings,
    falling_rate,
    mlp_actor_macs,
)
from ccenv.base.seeding import stream_seed
from ccenv.base.snapshot import restore_state, state_of
from ccenv.envs.stable_baselines import BlockSelectionVecEnv
from ccenv.mdp.choosers import Chooser
from ccenv.simulator.policy import follow
from ccenv.simulator.rollout import episode_curves, episode_means

NET_ARCH = {"pi": [16], "vf": [64]}
"""Hidden units of actor and critic; only the actor's are billed."""


class SB3Agent(Agent):
    """Lets an algorithm of Stable-Baselines3 learn on the agent's simulator.

    Settings are the algorithm's own; those that the number of layers and rows decides are filled
    in: `n_steps` (one episode), `gamma` (1), `gae_lambda` (1), `stats_window_size` (one batch).

    The policy is SB3's `MlpPolicy`: one network for all layers, which reads the whole observation
    with the layer's index, and an independent coin for each block of the widest layer. Where layers
    have different numbers of blocks, **the coins beyond a layer's own count in SB3's
    log-probability and entropy**: they add noise to its gradient, but never cost anything and never
    reach the network. This package's own agents leave them out. The policy's MACs are those of all
    its actor's weights, padded coins included, for every layer.
    """

    sequences = True

    env_defaults: ClassVar[dict[str, Any]] = {"observation": "summary"}
    resumes: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {}
    """settings that differ from the algorithm's own defaults, made for longer episodes."""

    def __init__(self, env: Any, *, seed: int = 0, anneal: bool = False, **settings: Any) -> None:
        """Builds the algorithm.

        Args:
            anneal: let the learning rate fall to 0 linearly.
            num_minibatches: equal parts of a rollout, where the algorithm splits it; 4 where that
                is possible. SB3's `batch_size`, the steps of a part, may be given instead.
            **settings: keyword arguments of the algorithm's class.

        Raises:
            ValueError: if a setting is unknown, would cut episodes, or discounts.
            ImportError: if the algorithm's library is missing.
        """
        super().__init__(env, seed=seed)
        algorithm = self.algorithm()
        rows, num_layers = self.simulator.num_images, self.simulator.num_layers
        num_steps = self.simulator.num_steps
        # A copy, because SB3 writes into the policy_kwargs that it is given.
        requested = copy.deepcopy(self.defaults | settings)
        arguments = complete_settings(algorithm, requested, num_steps, rows)
        if anneal:
            arguments["learning_rate"] = falling_rate(algorithm, arguments)
        self.vec_env = BlockSelectionVecEnv(simulator=self.simulator)
        sb3_seed = stream_seed(seed, "stable-baselines3")
        self._global_streams = (
            torch.Generator().manual_seed(sb3_seed % 2**63).get_state(),
            np.random.RandomState(sb3_seed % 2**32).get_state(),
        )
        self._is_inside = False
        with self._own_streams():
            self.model = algorithm("MlpPolicy", self.vec_env, device="cpu", **arguments)
        self.model.set_logger(Logger(None, []))
        self.policy = self.model.policy
        self.policy_macs = [mlp_actor_macs(self.policy)] * num_layers
        follow(self, self.simulator)

    @classmethod
    def algorithm(cls) -> Any:
        """The class of Stable-Baselines3 that learns."""
        raise TypeError(f"{cls.__name__} must define algorithm()")

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks:
        """Masks of a layer's inputs, without the coins beyond its own blocks."""
        coins = self.policy.get_distribution(observation.to(self.policy.device)).distribution
        probability = coins.probs[:, : self.num_blocks[layer]]
        return IndependentBlocks(probability.to(observation.device))

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`; None unless the actor is affine maps, with tanh or ReLU between."""
        rule = "greedy" if deterministic else "sampled"
        return actor_choosers(self.policy, self.simulator.observe, self.num_blocks, rule)

    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """Runs SB3's `learn`; see `Agent.learn`. A whole rollout is always finished."""
        steps = self.model.n_steps * self.simulator.num_images
        listener = RolloutListener(self, on_rollout)
        goes_on = self.images_done > 0
        listener.images_seen, self.images_done = self.images_done, 0
        follow(self, self.simulator)
        num_rollouts = -(-(num_images - listener.images_seen) // listener.images_of_rollout)
        with self._own_streams():
            self.model.learn(
                num_rollouts * steps,
                callback=listener,
                log_interval=None,
                reset_num_timesteps=not goes_on,
            )
        return listener.images_seen

    def torch_optimizers(self) -> list[torch.optim.Optimizer]:
        """See `Agent.torch_optimizers`; the policy's, whose gradients SB3 may have clipped."""
        return [self.policy.optimizer]

    def state(self) -> dict[str, Any]:
        """See `Agent.state`: networks, optimiser, how far it is, and what it looks at next."""
        model = self.model
        streams = global_states() if self._is_inside else self._global_streams
        return {
            "policy": state_of(model.policy),
            "optimizer": state_of(model.policy.optimizer),
            "num_timesteps": model.num_timesteps,
            "num_updates": model._n_updates,
            "observation": model._last_obs,
            "global_streams": streams,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Agent.load_state`."""
        model = self.model
        restore_state(model.policy, state["policy"], "policy")
        restore_state(model.policy.optimizer, state["optimizer"], "optimizer")
        model.num_timesteps, model._n_updates = state["num_timesteps"], state["num_updates"]
        # SB3 starts an episode only where it has no observation; the simulator's state follows.
        self.vec_env.reset()
        model._last_obs = state["observation"]
        model._last_episode_starts = np.ones(self.vec_env.num_envs, dtype=bool)
        self._global_streams = state["global_streams"]

    @contextmanager
    def _own_streams(self) -> Iterator[None]:
        # SB3 draws from the global generators of torch and numpy: lend it this agent's own, so that
        # the seed decides alone, and give the caller's back.
        before = global_states()
        set_global_states(self._global_streams)
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False
            self._global_streams = global_states()
            set_global_states(before)


class A2CAgent(SB3Agent):
    """Advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783): one update a rollout."""

    defaults: ClassVar[dict[str, Any]] = {
        "learning_rate": 0.01,
        "use_rms_prop": False,
        "normalize_advantage": True,
        "policy_kwargs": {"net_arch": NET_ARCH},
    }

    @classmethod
    def algorithm(cls) -> Any:
        """`stable_baselines3.A2C`."""
        return A2C


class PPOAgent(SB3Agent):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

    defaults: ClassVar[dict[str, Any]] = {
        "num_minibatches": None,
        "learning_rate": 0.01,
        "n_epochs": 2,
        "policy_kwargs": {"net_arch": NET_ARCH},
    }

    @classmethod
    def algorithm(cls) -> Any:
        """`stable_baselines3.PPO`."""
        return PPO


class TRPOAgent(SB3Agent):
    """Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477), of sb3-contrib."""

    defaults: ClassVar[dict[str, Any]] = {
        "num_minibatches": None,
        "n_critic_updates": 4,
        "policy_kwargs": {"net_arch": NET_ARCH},
    }

    @classmethod
    def algorithm(cls) -> Any:
        """`sb3_contrib.TRPO`.

        Raises:
            ImportError: if sb3-contrib is not installed.
        """
        try:
            from sb3_contrib import TRPO
        except ModuleNotFoundError as error:
            raise ImportError(
                'expected sb3-contrib for TRPO, found none; run: pip install -e ".[contrib]"'
            ) from error
        return TRPO


class RolloutListener(BaseCallback):
    """Reports each rollout after SB3 has learned from it, and then lets the network learn."""

    def __init__(self, agent: SB3Agent, on_rollout: OnRollout) -> None:
        """Listens for an agent."""
        super().__init__()
        self.agent, self.on_rollout = agent, on_rollout
        simulator = agent.simulator
        episodes = agent.model.n_steps // simulator.num_steps
        self.images_of_rollout = episodes * simulator.num_images // simulator.group_size
        self.images_seen = 0
        self.episodes: list[dict[str, float]] = []

    # SB3 ends a rollout before it learns from it: the next start, or the end of all, comes after.
    def _on_rollout_start(self) -> None:
        self.report()

    def _on_training_end(self) -> None:
        self.report()

    def _on_step(self) -> bool:
        steps = self.agent.vec_env.steps
        if steps[-1].is_over:
            self.episodes.append(episode_means(steps, self.agent.simulator.checks))
        return True

    def report(self) -> None:
        """Tells the listener of the agent about the rollout that SB3 has just learned from."""
        if not self.episodes:
            return
        self.images_seen += self.images_of_rollout
        curves = episode_curves(
            {name: mean([means[name] for means in self.episodes]) for name in self.episodes[0]}
        )
        scalars = clean_scalars(self.logger.name_to_value) | self.agent.vec_env.update_network()
        self.logger.dump()
        self.episodes = []
        self.on_rollout(self.images_seen, curves | {f"agent/{k}": v for k, v in scalars.items()})


def clean_scalars(logged: Mapping[str, Any]) -> dict[str, float]:
    """SB3's values of an update under short names: `train/policy_gradient_loss` loses `train/`.

    >>> clean_scalars({"train/loss": 1, "time/fps": 3, "train/name": "x"})
    {'loss': 1.0}
    """
    return {
        name.removeprefix("train/"): float(value)
        for name, value in logged.items()
        if name.startswith("train/") and isinstance(value, int | float | np.number)
    }


def global_states() -> tuple[Tensor, Any]:
    """State of the global generators of torch (CPU) and numpy."""
    return torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 -- SB3 draws from it


def set_global_states(states: tuple[Tensor, Any]) -> None:
    """Puts the global generators in a state."""
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 -- SB3 draws from it
