"""What chooses masks: observations and a gate -> masks, as a rollout and an evaluation want it.

Models of Stable-Baselines3 are policies too; nothing of it is imported, a model brings it along.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ccenv.base.masks import as_mask, bits_of
from ccenv.base.seeding import integers, uniform
from ccenv.base.values import lacking, shown
from ccenv.mdp.action_codes import ActionCode
from ccenv.mdp.dynamics import EpisodeState
from ccenv.networks.core.abilities import Continues, PlaysWindows
from ccenv.networks.core.count_macs import counted
from ccenv.simulator.simulator import Simulator


class OtherWidthError(ValueError):
    """A policy that takes observations of another width than the environment shows."""


class Policy:
    """What can be rolled out and evaluated: an agent, or any object with `act` and `policy_macs`.

    An object that is no subclass gets defaults of all else where it comes in, see `as_policy`.

    `act` is given nothing of the labels, but the simulator's state, which `begin_episode` is given,
    holds them: a policy that reads them declares `uses_labels`. Python hides nothing from one that
    means to look; that masks stay the same under other labels shows that it did not.
    """

    policy_macs: Sequence[int]
    """MACs of choosing one input's mask, for each gated layer."""
    learns: ClassVar[bool] = True
    """False of rules that training would not change."""
    taught_every: int = 1
    """a co-trained network learns from every so many-th row of its rollouts: all, or the first of
    each group."""
    uses_labels: ClassVar[bool] = False
    """True of ceilings that look at the true label, which tables mark; never exported."""
    as_given: bool = False
    """True where greedy and sampled masks are the same: a function's actions as they are."""
    deterministic: bool = False
    """whether it is meant for greedy masks instead of sampled ones: `evaluate` and tables judge it
    by these, unless others are asked for."""

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Chooses masks for the inputs at a layer.

        Args:
            observation: [batch, obs_size] float32.
            layer: number of the gated layer.
            generator: source of randomness; None asks for the greedy mask.

        Returns:
            bool [batch, num_blocks[layer]]; int64 [batch, k], the kept blocks as sampled; or
            float32 [batch, num_blocks[layer]] in [0, 1], gate values: blocks of value 0 are not
            computed, outputs of the others are multiplied with theirs.
        """
        raise NotImplementedError(
            f"expected {type(self).__name__} to define act(observation, layer, generator) -> masks"
        )

    def begin_episode(self, simulator: Any) -> None:
        """Called when an episode's inputs are there, before the first `act`."""

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor | None:
        """Shown in place of the masks: [batch, num_blocks[layer]] in [0, 1], None to show these."""
        return None

    def choosers(self, *, deterministic: bool) -> Sequence[Any] | None:
        """How masks are chosen in one compiled call, a `Chooser` a layer like `act`, or None."""
        return None

    def rule_of_windows(self, surface: Any, generator: torch.Generator | None) -> Any:
        """Masks of the positions of windows before the last, a `Rule` of `PlaysWindows.played`.

        Its own greedy masks; None, the network's own rule, if it reads labels, which these
        positions do not have.

        Args:
            surface: a simulator, or what has its network and its observer.
            generator: which draws the masks of the episode that follows.
        """
        return None if self.uses_labels else GreedyRule(self, surface)


class OtherPolicy(Policy):
    """An object that acts and is no `Policy`, with the defaults of what it lacks."""

    def __init__(self, policy: Any) -> None:
        """Takes what the object has."""
        names = [name for name in (*vars(Policy), "policy_macs") if not name.startswith("_")]
        missing = lacking(policy, *names)
        vars(self).update({name: getattr(policy, name) for name in names if name not in missing})


def as_policy(policy: Any) -> Policy:
    """A policy as it is; any other object that acts as one; TypeError of one that does not."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, type) or not callable(getattr(policy, "act", None)):
        raise TypeError(
            "expected a policy with act(observation, layer, generator) -> masks, got "
            f"{shown(policy)}; wrap it, such as an actor of another library, in a class with such "
            "an act and with policy_macs, the MACs of choosing one input's mask at each gate, or "
            "evaluate a function such as lambda x: actor(TensorDict(observation=x))['action']"
        )
    return OtherPolicy(policy)


class Actor(Policy):
    """A torch module or a function, whose actions are taken as they are.

    A module's MACs are counted. A function's are those of its own `policy_macs`, else NaN.
    """

    as_given = True

    def __init__(self, actor: Any, simulator: Simulator) -> None:
        """Takes float32 [batch, obs_size] -> 0 and 1 or bool, [batch, max(num_blocks)]."""
        self.actor, self.num_blocks = actor, simulator.num_blocks
        example = torch.zeros(1, simulator.obs_size, device=simulator.device)
        is_module = isinstance(actor, torch.nn.Module)
        try:
            macs = counted(lambda: actor(example))[0] if is_module else math.nan
        except RuntimeError as error:
            raise OtherWidthError(
                f"expected a module of observations {list(example.shape)}, got {shown(actor)}: "
                f"{error}"
            ) from error
        stated = getattr(actor, "policy_macs", [macs] * simulator.num_layers)
        self.policy_macs: Sequence[Any] = stated

    def act(self, observation: Tensor, layer: int, generator: Any = None) -> Tensor:
        """See `Policy.act`; TypeError, ValueError of what are no bits."""
        answer, width = self.actor(observation), max(self.num_blocks)
        if getattr(answer, "ndim", 0) != 2:
            raise TypeError(
                f"expected bits [batch, {width}] from {shown(self.actor)}, got {shown(answer)}; "
                "give a function from observations to the action alone"
            )
        bits = bits_of(torch.as_tensor(answer))
        if bits.shape != (len(observation), width):
            raise ValueError(
                f"expected masks [batch, {width}] from {shown(self.actor)}, here of "
                f"{len(observation)} inputs, got {list(bits.shape)}"
            )
        return bits[:, : self.num_blocks[layer]].to(observation.device)


class GreedyRule:
    """Greedy actions of a policy for the positions of windows, see `PlaysWindows.played`."""

    def __init__(self, policy: Policy, surface: Any) -> None:
        """Takes the policy, and what shows it states: a simulator, or what has its observer.

        Raises:
            ValueError: if episodes have cost weights or budgets of their own.
        """
        observe = surface.observe
        if hasattr(observe, "ranges"):
            raise ValueError(
                "expected no context with a network whose rows read earlier positions, which have "
                "no cost weight or budget; leave context out"
            )
        self.policy, self.observe, self.checks = policy, observe, surface.checks
        self.num_blocks = surface.num_blocks

    def __call__(self, gate: int, hidden: Any, inputs: Tensor) -> Tensor:
        """Returns an action for each position, see `Policy.act`; inputs int64 [n, window]."""
        nothing = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        state = EpisodeState(inputs, nothing, gate, hidden, None, nothing)
        action = self.policy.act(self.observe(state), gate, None)
        if action.is_floating_point():
            return action
        return as_mask(action, self.num_blocks[gate], self.checks)


def follow(policy: Policy, surface: Any, generator: torch.Generator | None = None) -> None:
    """Lets a network of windows play their positions under a policy's greedy masks.

    They are the surface's `rule`, by which each batch is played. A surface is a simulator, or what
    has its network and its observer.
    """
    # Of a network that does not continue no mask changes what positions leave.
    if {Continues, PlaysWindows} <= {*surface.network.abilities}:
        surface.rule = policy.rule_of_windows(surface, generator)


class ModelPolicy(Policy):
    """A model's actor, or its greedy actions by value, as a `Policy`.

    Models with an independent coin for each block (PPO, A2C, TRPO on `MultiBinary`) are drawn from
    with the generator that an evaluation is given, block by block, as this package's own agents
    are. Others draw from torch's global stream, which is lent to them. A model that learned behind
    `VecNormalize` sees what that makes of an observation. A memory (RecurrentPPO) is empty at the
    start of each episode. Like `evaluate_policy` of Stable-Baselines3 it is judged by greedy masks.
    """

    deterministic = True
    memory: Any = None
    """state of a recurrent network behind the last gate; None at the start of an episode."""

    def __init__(self, model: Any, simulator: Simulator, env: Any) -> None:
        """Takes a model as it is now; it may go on learning.

        Args:
            model: of Stable-Baselines3 or sb3-contrib.
            simulator: the environment's.
            env: in which the model is judged; its action view is used, else that of the model's.

        Raises:
            TypeError, ValueError: if its actions are no masks, or it learned on observations of
                another size, or behind a `VecNormalize` that is not there.
        """
        shape = (simulator.obs_size,)
        if model.observation_space.shape != shape:
            raise OtherWidthError(
                f"expected a model of observations {list(shape)}, as this environment shows them, "
                f"got one of {model.observation_space.shape}"
            )
        if lacks_normaliser(model):
            raise ValueError(
                "expected the statistics of VecNormalize, behind which this model learned, got "
                "none; a zip does not hold them: save them in its folder, NAME.pkl for NAME.zip "
                "(env.save), or give a model after model.set_env(VecNormalize.load(FILE, env))"
            )
        self.policy, self.num_blocks = model.policy, simulator.num_blocks
        self.has_memory = hasattr(self.policy, "lstm_actor")
        self.normalize = model.get_vec_normalize_env()
        self.code = action_code(model, simulator, env)
        example = np.zeros((1, *shape), dtype=np.float32)
        macs, _ = counted(lambda: self.policy.predict(example, deterministic=True))
        self.policy_macs: Sequence[int] = [macs] * simulator.num_layers

    def begin_episode(self, simulator: Any) -> None:
        """Empties the memory."""
        self.memory = None

    def rule_of_windows(self, surface: Any, generator: torch.Generator | None) -> Any:
        """See `Policy.rule_of_windows`; ValueError of a model with a memory."""
        if self.has_memory:
            raise ValueError(
                "expected a model without a memory on a network that reads earlier positions, each "
                "of which would need a memory of its own; take a model such as PPO"
            )
        return super().rule_of_windows(surface, generator)

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Policy.act`; policies by value choose greedily in either case."""
        probability = self.keep_probability(observation, layer)
        if probability is None:
            return self._predict(observation, layer, generator)
        if generator is None:
            return probability > 0.5
        return uniform(probability.shape, generator, probability.device) < probability

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor | None:
        """Keep probabilities [batch, num_blocks[layer]], None of models without coins."""
        has_coins = self.code is None and hasattr(self.policy, "get_distribution")
        if self.has_memory or not has_coins:
            return None
        with torch.no_grad():
            seen = observation if self.normalize is None else self._seen(observation)
            seen = torch.as_tensor(seen, device=self.policy.device)
            coins = vars(self.policy.get_distribution(seen)).get("distribution")
        if not isinstance(coins, torch.distributions.Bernoulli):
            return None
        return coins.probs[:, : self.num_blocks[layer]].to(observation.device)

    def _seen(self, observation: Tensor) -> np.ndarray:
        array: np.ndarray = observation.cpu().numpy()
        return array if self.normalize is None else self.normalize.normalize_obs(array)

    def _predict(
        self, observation: Tensor, layer: int, generator: torch.Generator | None
    ) -> Tensor:
        seed = 0 if generator is None else int(integers(2**31, (), generator, "cpu"))
        device = torch.device(self.policy.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            actions, self.memory = self.policy.predict(
                self._seen(observation), self.memory, deterministic=generator is None
            )
        bits = (
            actions if self.code is None else self.code.masks(actions, np.random.default_rng(seed))
        )
        mask = torch.from_numpy(np.ascontiguousarray(bits).astype(bool))
        return mask[:, : self.num_blocks[layer]].to(observation.device)


def lacks_normaliser(model: Any) -> bool | None:
    """Whether a model learned behind `VecNormalize` and was loaded without it; None if none knows.

    Its file's only trace is an observation of before the normaliser, which algorithms without a
    replay buffer (PPO, A2C, TRPO) keep if there is one. Others (DQN, SAC, TD3) keep one always.
    """
    has_trace = getattr(model, "_last_original_obs", None) is not None
    if not has_trace or model.get_vec_normalize_env() is not None:
        return False
    if hasattr(model, "replay_buffer"):
        return None if model.get_env() is None else False
    return hasattr(model, "rollout_buffer")


def action_code(model: Any, simulator: Simulator, env: Any) -> ActionCode | None:
    """The action view that a model acts through, None of bits; TypeError if there is none."""
    space = model.action_space
    if type(space).__name__ == "MultiBinary" and space.shape == (simulator.max_blocks,):
        return None
    for view in (env, model.get_env()):
        while view is not None:
            parts = vars(view)
            code: ActionCode | None = parts.get("code")
            if code is not None and code.space == space:
                return code
            inner = parts.get("env") or parts.get("venv")
            view = inner or next(iter(parts.get("envs", ())), None)
    raise TypeError(
        f"expected a model that acts with {simulator.max_blocks} bits, or an environment in the "
        f"action view that it learned with (see ccenv.envs.actions), got a model of {space}"
    )
