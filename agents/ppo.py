"""Proximal policy optimisation for masks: one setting for many skills of the suite.

Schulman et al. 2017 (arXiv 1707.06347), with what masks ask for:

- A mask is drawn from a mixture of one block (or none) and of a coin for each, see `OneOrCoins`.
  Blocks are nearly all kept at first: right answers are seen from the start, and what is
  superfluous is left out one by one. Coins alone are tossed at all gates in half of the first
  episodes. While there is time, no way of drawing is given up: what is dear at first may pay.
- What was seen at earlier gates of the input is read along, and its products are billed.
- The hidden layer is as wide as a share of the network's own cost allows, so that choosing stays
  cheap where the network is small.
- Once returns fall far behind what they were, the world has changed: policy, critic and schedule
  begin again, since what was learned makes exploring too rare (Nikishin et al. 2022, arXiv
  2205.07802, reset networks at fixed times).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.agents.base import OnRollout, ignore
from ccenv.agents.distributions import IndependentBlocks, OneOrCoins, OrderedBlocks, score_at
from ccenv.agents.passes import Passes
from ccenv.agents.policy_gradient import PolicyGradient, PolicySettings
from ccenv.agents.scores import LayerScores
from ccenv.base.annotations import checks_types
from ccenv.base.seeding import stream_seed
from ccenv.base.values import check_within, positive_int
from ccenv.mdp.choosers import MIXED, Chooser, mixed_size
from ccenv.mdp.observations import LAST_SYMBOLS
from ccenv.rewards.bind import does
from ccenv.simulator.rollout import Rollout

SMALL = 0.01
"""What the last map's first weights are multiplied with: all inputs are treated alike at first."""
LATELY = 5
"""Rollouts whose mean return is compared with the best of so many before."""
ERRORS = 9
"""Standard errors that it is behind by before the world has changed."""
START_NONE = 0.1
"""How probable none is at first, over how probable all others together are."""
LOOKS_AROUND = 0.8
"""Of the training; how far the floor under each way of drawing has fallen to 0."""
LAST_RESTART = 0.9
"""Of the training; later there is no time to learn again."""


@dataclass(frozen=True, kw_only=True)
class PpoSettings(PolicySettings):
    """Settings of `Ppo`."""

    hidden_units: int = 64
    """of the policy's hidden layer, at most."""
    policy_share: float = 0.1
    """of the dense network's MACs, or of those that it models, that choosing costs at most; the
    hidden layer is as wide as that allows, one unit at least."""
    start_kept: float = 0.9
    """probability at which a coin keeps its block at first, in (0, 1)."""
    remembers: bool = True
    """whether what was seen at earlier gates of the input is read along. What is looked up, and
    observation="summary", is the same at all gates, and read once."""
    floor: float = 0.1
    """least share of either way of drawing at first, at each of one gate and less where there are
    several; in [0, 0.2). It falls to 0 linearly, see `mixed_logs` of `ccenv.mdp.choosers`."""
    num_steps: int | None = 3700
    """gradient steps of a whole training, about: twice as many passes as parts, where `num_epochs`
    and `num_minibatches` are the most; None for always the most."""
    restart_drop: float = 0.25
    """share of what was won since the beginning that returns fall by before all is learned again; 0
    for never. Never where a multiplier moves, by which returns fall."""
    baseline: str = "critic"
    learning_rate: float = 0.003
    anneal: bool = True
    entropy_weight: float = 0.02
    min_probability: float = 1e-4
    gae_lambda: float = 0.95
    num_epochs: int = 8
    num_minibatches: int = 4
    standardised: bool = True
    max_grad_norm: float | None = 0.5

    def __post_init__(self) -> None:
        """Refuses what is out of range."""
        super().__post_init__()
        check_within("(0, inf)", policy_share=self.policy_share)
        check_within("(0, 1)", start_kept=self.start_kept)
        check_within("[0, 1]", restart_drop=self.restart_drop)
        check_within("[0, 0.2)", floor=self.floor)
        if self.num_steps is not None:
            positive_int(self.num_steps, "num_steps")


@dataclass(frozen=True)
class SideBySide:
    """What is seen at a gate, behind what was seen at the gates before it, in their order."""

    lengths: tuple[int, ...]
    """informative columns at each gate."""

    @property
    def ends(self) -> list[int]:
        """Columns of all looks up to each gate."""
        return list(itertools.accumulate(self.lengths))

    @property
    def columns(self) -> int:
        """All looks, and a column for each gate that says which one it is."""
        return sum(self.lengths) + len(self.lengths)

    def at(self, looks: Sequence[Tensor]) -> Tensor:
        """Looks at the gates up to the present one: [..., length] each -> [..., columns]."""
        gate = len(looks) - 1
        wide = looks[0].new_zeros(*looks[0].shape[:-1], self.columns)
        wide[..., : self.ends[gate]] = torch.cat(list(looks), dim=-1)
        wide[..., sum(self.lengths) + gate] = 1.0
        return wide

    def of_rollout(self, rollout: Rollout) -> Rollout:
        """The rollout as the policy saw it."""
        by_gate = rollout.observations.unflatten(0, (-1, len(self.lengths))).unbind(1)
        looks = [one[..., :length] for one, length in zip(by_gate, self.lengths, strict=True)]
        wide = [self.at(looks[: gate + 1]) for gate in range(len(looks))]
        return replace(rollout, observations=torch.stack(wide, dim=1).flatten(0, 1))


class Ppo(PolicyGradient):
    """One setting for many skills: clipped passes, a critic, a mixture over masks, a memory.

    `distribution` reads what `SideBySide` makes of observations, where there is something to
    remember. In use masks are drawn, or the likelier of what the mixture has at its best.

    >>> from ccenv.simulator.simulator import Simulator
    >>> simulator = Simulator(4, dataset="synthetic", weights="cotrain", num_blocks=[4, 2])
    >>> simulator.seed(0)
    >>> agent = Ppo(simulator)
    >>> sum(agent.policy_macs) <= 0.1 * simulator.network.dense_macs
    True
    """

    settings_class = PpoSettings
    settings: PpoSettings
    resumes: ClassVar[bool] = True
    earlier: SideBySide | None = None
    is_learning: bool = False

    def __init__(self, env: Any, *, seed: int = 0, **settings: Any) -> None:
        """Prepares policy, critic and their optimiser (Adam); see `PpoSettings`."""
        super().__init__(env, seed=seed, **settings)
        self.seen: list[Tensor] = []
        self.restarts = 0
        self.lately: list[float] = []
        """mean returns of the last rollouts."""
        self.won: list[float] = []
        """their first mean, and the best, since all began."""
        is_moving = self.settings.cost_limit or does(self.simulator.reward.rule, "update")
        self.drop = 0.0 if is_moving else self.settings.restart_drop

    def make_scores(self, seed: int) -> LayerScores:
        """Draws the scores' weights by a seed, and sets where the mixture begins."""
        record, simulator = self.settings, self.simulator
        lengths = list(simulator.observe.lengths[: len(self.num_blocks)])
        same = simulator.observe.kind in (LAST_SYMBOLS, "summary") or record.embedding_size
        if record.remembers and len(lengths) > 1 and not same:
            self.earlier = SideBySide(tuple(lengths))
            lengths = self.earlier.ends
        is_mixed = record.num_kept is None
        outputs = [mixed_size(n) if is_mixed and n > 1 else n for n in self.num_blocks]
        # Each unit multiplies all that is seen and is multiplied for all scores.
        of_unit = sum(lengths) + sum(outputs)
        dense = simulator.network.modelled_macs or simulator.network.dense_macs
        affordable = int(record.policy_share * dense / of_unit)
        units = min(record.hidden_units, max(1, affordable))
        scores = LayerScores(simulator, seed, units, record.embedding_size, outputs, lengths)
        gates = len(self.num_blocks)
        for gate, blocks in enumerate(self.num_blocks):
            last = scores.last(gate)
            with torch.no_grad():
                last.weight *= SMALL
                if is_mixed:
                    coins = slice(blocks + 1, -1) if blocks > 1 else slice(1)
                    last.bias[coins] = score_at(record.start_kept, 0.0)
                if is_mixed and blocks > 1:
                    last.bias[blocks] = math.log(START_NONE * blocks)
                    share = 1 - 0.5 ** (1 / gates)
                    low = record.floor / gates
                    last.bias[-1] = score_at((share - low) / (1 - 2 * low), 0.0)
        return scores

    @property
    def floor(self) -> float:
        """Least share of either way of drawing now; 0 but in training."""
        if not self.is_learning:
            return 0.0
        return (
            self.settings.floor / len(self.num_blocks) * max(0, 1 - (1 - self.left) / LOOKS_AROUND)
        )

    @checks_types
    def learn(self, num_images: int, on_rollout: OnRollout = ignore) -> int:
        """See `Agent.learn`."""
        record = self.settings
        if record.num_steps is not None:
            num_rollouts = max(1.0, num_images / self.simulator.num_images)
            parts = max(1, round((record.num_steps / num_rollouts / 2) ** 0.5))
            self.passes = Passes(
                min(record.num_epochs, 2 * parts), min(record.num_minibatches, parts)
            )
        self.is_learning = True
        try:
            return super().learn(num_images, on_rollout)
        finally:
            self.is_learning = False

    @property
    def columns(self) -> int:
        """See `PolicyGradient.columns`."""
        return super().columns if self.earlier is None else self.earlier.columns

    def distribution(
        self, observation: Tensor, layer: int
    ) -> IndependentBlocks | OrderedBlocks | OneOrCoins:
        """Masks of a layer's inputs: [batch, columns] -> a mixture, a coin, or k blocks."""
        if self.num_kept is None and self.num_blocks[layer] > 1:
            return OneOrCoins(self.scores(observation, layer), self.floor)
        return super().distribution(observation, layer)

    @property
    def draws_masks(self) -> bool:
        """See `Agent.draws_masks`."""
        return True

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Policy.act`; gates are asked in turn where it remembers."""
        return super().act(self.remembered(observation, layer), layer, generator)

    def keep_probability(self, observation: Tensor, layer: int) -> Tensor | None:
        """See `Policy.keep_probability`, likewise."""
        return super().keep_probability(self.remembered(observation, layer), layer)

    def remembered(self, observation: Tensor, layer: int) -> Tensor:
        """What the policy reads: [batch, obs_size] -> [batch, columns].

        Raises:
            ValueError: if these inputs were not seen at each gate before.
        """
        if self.earlier is None:
            return observation
        before = self.seen[:layer]
        if len(before) < layer or any(len(one) != len(observation) for one in before):
            raise ValueError(
                f"expected the same {len(observation)} inputs at each gate in turn, since this "
                f"policy remembers what it saw, got gate {layer} after "
                f"{[len(one) for one in before]} inputs; ask from gate 0 on, or take "
                "remembers=False"
            )
        self.seen = [*before, observation[:, : self.earlier.lengths[layer]]]
        return self.earlier.at(self.seen)

    def log_probabilities(self, rollout: Rollout) -> Tensor | None:
        """See `Agent.log_probabilities`."""
        return super().log_probabilities(self.as_seen(rollout))

    def as_seen(self, rollout: Rollout) -> Rollout:
        """A rollout with what the policy read as its observations."""
        return rollout if self.earlier is None else self.earlier.of_rollout(rollout)

    def choosers(self, *, deterministic: bool) -> list[Chooser] | None:
        """See `Agent.choosers`; None of drawn masks of a mixture."""
        choosers = super().choosers(deterministic=deterministic)
        is_mixed = [self.num_kept is None and n > 1 for n in self.num_blocks]
        if choosers is None or (any(is_mixed) and not deterministic):
            return None
        return [
            replace(
                chooser,
                rule=MIXED if mixed else chooser.rule,
                earlier=self.earlier is not None,
            )
            for chooser, mixed in zip(choosers, is_mixed, strict=True)
        ]

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Passes through the rollout; then all begins again if the world has changed."""
        scalars = super().update(self.as_seen(rollout))
        if self.has_changed(rollout.means["return"], scalars["return_error"]):
            self.restart()
        return scalars | {"restarts": self.restarts}

    def measured(self, rollout: Rollout) -> dict[str, Tensor]:
        """See `PolicyGradient.measured`: how sure a rollout's mean return is."""
        of_inputs = rollout.returns[0].view(-1, self.simulator.group_size).mean(dim=1)
        return {"return_error": of_inputs.std(correction=0) / len(of_inputs) ** 0.5}

    def has_changed(self, mean: float, error: float) -> bool:
        """Whether returns have fallen far behind what they were, by a mean and its error."""
        self.lately = [*self.lately, mean][-LATELY:]
        now = sum(self.lately) / LATELY
        if len(self.lately) < LATELY or self.drop == 0 or self.progress > LAST_RESTART:
            return False
        self.won = [now, now] if not self.won else [self.won[0], max(self.won[1], now)]
        first, best = self.won
        return now < best - max(ERRORS * error / LATELY**0.5, self.drop * (best - first))

    def restart(self) -> None:
        """Draws policy and critic again, and lets rates and the bonus fall again from here on."""
        self.restarts += 1
        seed = stream_seed(self.seed, f"restart {self.restarts}")
        self.scores.load_state_dict(self.make_scores(seed).state_dict())
        if self.critic is not None:
            self.critic.load_state_dict(self.make_critic(seed).state_dict())
        self.optimizer.state.clear()
        self.begun, self.updates = self.progress, 0
        self.lately, self.won = [], []
