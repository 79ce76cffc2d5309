"""PonderNet: (state after a step) -> probability of halting there -> stop, or go on.

Banino, Balaguer, Blundell 2021, "PonderNet: learning to ponder" (arXiv 2107.05407). After step n a
sigmoid gives l_n, the probability to halt there if it was not before, so that a row halts at step n
with probability p_n = l_n * prod (1 - l_j), and at the last one with what is left. The loss is the
mean of the steps' losses under p, plus beta times the divergence KL(p || geometric) from a prior of
rate lambda_p, by which pondering costs something and no step is forgotten. In use a row halts by
chance: it has one step's answer, where adaptive computation time (`act`) has a mean of answers.

Faithful: p, both parts of the loss with their exact gradient in l, sampled halting, and steps that
are not run behind it. Ours: halting at any network's exits (`pondering` with
`network_kwargs.loss_weight=0` is the paper's recurrent cell), each with a unit of its own, which
reads what the environment shows, through which no gradient goes back; a network that is co-trained
learns from the step that was sampled, an unbiased estimate of the paper's mean; both p and the
prior have the rest of their mass at the last step, so that l_n = lambda_p has divergence 0. An
update computes all steps. Gates that are no exits keep all blocks. Left out: recurrence over a
sequence of inputs.
"""

from typing import Any

import torch
from torch import Tensor

from ccenv.agents.base import descend
from ccenv.agents.distributions import IndependentBlocks
from ccenv.annexes.agents.halting import HaltingAgent
from ccenv.base.masks import full_mask
from ccenv.base.values import check_at_least_zero, check_within
from ccenv.mdp.dynamics import all_or_none, initial, outcomes
from ccenv.networks.core.exit_state import early_answer
from ccenv.networks.core.unrolled import played
from ccenv.simulator.rollout import Rollout


class PonderNet(HaltingAgent):
    """Learns from the steps' losses and the prior, whatever the environment's reward."""

    def __init__(
        self,
        env: Any,
        *,
        seed: int = 0,
        prior_rate: float = 0.2,
        prior_weight: float = 0.01,
        learning_rate: float = 0.005,
        hidden_units: int = 0,
    ) -> None:
        """Prepares what `HaltingAgent` does.

        Args:
            prior_rate: the paper's lambda_p, in (0, 1); 1 / prior_rate steps are expected.
            prior_weight: the paper's beta, at least 0.
        """
        check_at_least_zero(prior_weight=prior_weight)
        check_within("(0, 1)", prior_rate=prior_rate)
        super().__init__(
            env,
            seed=seed,
            learning_rate=learning_rate,
            hidden_units=hidden_units,
            # Units start at the prior, wherever a row is.
            bias=torch.logit(torch.tensor(prior_rate)).item(),
        )
        if self.simulator.context is not None:
            raise ValueError(
                "expected no context for pondernet, which knows no cost weight or budget"
            )
        self.prior_rate, self.prior_weight = prior_rate, prior_weight

    def distribution(self, observation: Tensor, layer: int) -> IndependentBlocks:
        """Going on: [batch, obs_size] -> a coin; 1 at gates that are no exits."""
        if layer in self.exits:
            return IndependentBlocks((-self.units(observation, layer)).sigmoid())
        kept = full_mask(len(observation), self.num_blocks[layer], observation.device)
        return IndependentBlocks(kept.float())

    def act(
        self, observation: Tensor, layer: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Agent.act`; in training as gate values of 0 and 1.

        Under them the network learns from the answer of the step that was drawn, where under masks
        every exit would learn from every input.
        """
        mask = super().act(observation, layer, generator)
        return mask.float() if generator is self.generator else mask

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step down the expected loss and the divergence; every step is computed."""
        values, losses = self.all_steps()
        p, n = halting(values), values.shape[1]
        prior = halting(torch.full((1, n), self.prior_rate, device=values.device))
        loss = expected_loss(p, losses)
        away = divergence(p, prior).mean()
        descend(self.optimizer, loss + self.prior_weight * away)
        steps = (p.detach() * torch.arange(1, n + 2, device=p.device)).sum(dim=1).mean()
        return self.read(loss=loss, divergence=away, steps=steps)

    def all_steps(self) -> tuple[Tensor, Tensor]:
        """Halting values [batch, n] and losses of the answers [batch, n + 1], without stops."""
        simulator, begun = self.simulator, self.simulator.state
        assert begun is not None
        network = simulator.network
        of_inputs = begun.labels[:: begun.group_size]
        values, answers = [], []
        with torch.no_grad():
            before = played(network, begun.images, simulator.rule)
            start = initial(network, begun.images, of_inputs, state=before)
            walked = list(outcomes(network, start, all_or_none(network)))
        for gate in self.exits:
            state = walked[gate].before
            values.append(self.units(simulator.observe(state), gate).sigmoid())
            answers.append(early_answer(network, gate, state.hidden)[0])
        logits = walked[-1].logits
        assert logits is not None
        losses = [
            torch.nn.functional.cross_entropy(answer.detach(), of_inputs, reduction="none")
            for answer in (*answers, logits)
        ]
        return torch.cat(values, dim=1), torch.stack(losses, dim=1)


def halting(values: Tensor) -> Tensor:
    """Probability to halt at each step, from that of halting where one is: [batch, n] -> n + 1.

    >>> halting(torch.tensor([[0.5, 0.5]])).tolist()
    [[0.5, 0.25, 0.25]]
    """
    going = torch.cat([torch.ones_like(values[:, :1]), (1 - values).cumprod(dim=1)], dim=1)
    stops = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
    return going * stops


def expected_loss(p: Tensor, losses: Tensor) -> Tensor:
    """Mean over inputs of the steps' losses under p, [batch, n + 1] both (the paper's L_rec).

    >>> p, losses = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[1.0, 3.0], [4.0, 9.0]])
    >>> expected_loss(p, losses)
    tensor(3.)
    """
    return (p * losses).sum(dim=1).mean()


def divergence(p: Tensor, prior: Tensor) -> Tensor:
    """KL(p || prior) in nats over steps, [batch, n + 1] both; 0 * log 0 is 0: [batch].

    >>> divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    tensor([0.6931])
    """
    tiny = torch.finfo(p.dtype).tiny
    return (p * (p.clamp(min=tiny).log() - prior.clamp(min=tiny).log())).sum(dim=1)
