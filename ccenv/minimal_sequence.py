"""An episode over a sequence in one file: a recurrent layer whose gate says "update or keep".

Skip RNN (Campos et al. 2018, arXiv 1708.06834), with a policy in place of the layer's own gate.
Nothing of ccenv is imported; tests hold this equal to its network `skip_gru` with
`episode="sequence"`. `python -m ccenv.minimal_sequence` trains in seconds, on what it draws itself.

An episode is one sequence, a step is one position: see `walk` and `play`. A decision changes the
state, so this reward and later ones; never an earlier one, and never another row's.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Choose = Callable[[Tensor], Tensor]
"""A policy at one position: look [batch, look_size] -> mask, bool [batch, 1], True = update."""


class StateAndAnswer(NamedTuple):
    """What a position leaves to the next; zero before the first."""

    state: Tensor  # [batch, width]
    answer: Tensor  # [batch, num_symbols]; logits of the next symbol


class SkipGRU(nn.Module):
    """Predicts the next symbol at each position; its state is updated where a mask says so.

    (1) h_t = u_t GRU(x_t, h_{t-1}) + (1 - u_t) h_{t-1}, u_t in {0, 1}.
    """

    def __init__(self, num_symbols: int, width: int = 16, embedding_size: int = 8) -> None:
        """Draws weights from torch's own generator."""
        super().__init__()
        self.num_symbols, self.width = num_symbols, width
        self.embedding = nn.Embedding(num_symbols, embedding_size)
        self.of_input = nn.Linear(embedding_size, 3 * width)  # reset, keep and new, side by side
        self.of_state = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, num_symbols)
        # A look-up costs no product, so that a position that keeps its state knows what it reads.
        self.of_symbol = nn.Embedding.from_pretrained(torch.zeros(num_symbols, num_symbols), False)
        self.look_size = 1 + width + embedding_size
        self.least_macs = width * num_symbols  # the head, which every position runs
        self.dense_macs = 3 * width * (width + embedding_size) + self.least_macs

    def look(self, symbol: Tensor, before: StateAndAnswer) -> Tensor:
        """What costs no product: surprise at the symbol, state, embedding: [batch, look_size]."""
        surprise = cross_entropy(before.answer, symbol, reduction="none")  # [batch]
        return torch.cat([surprise[:, None], before.state, self.embedding(symbol)], dim=1)

    def updated(self, symbol: Tensor, state: Tensor) -> Tensor:
        """The GRU of Cho et al. 2014 (arXiv 1406.1078): [rows], [rows, width] -> [rows, width]."""
        of_input = self.of_input(self.embedding(symbol)).chunk(3, dim=1)  # 3 x [rows, width]
        of_state = self.of_state(state).chunk(3, dim=1)  # 3 x [rows, width]
        reset, keep = ((of_input[i] + of_state[i]).sigmoid() for i in (0, 1))
        return (1 - keep) * torch.tanh(of_input[2] + reset * of_state[2]) + keep * state

    def step(self, symbol: Tensor, before: StateAndAnswer, mask: Tensor) -> StateAndAnswer:
        """Equation (1) for symbols [batch]; rows that keep their state compute nothing for it."""
        state, rows = before.state, mask[:, 0].nonzero().squeeze(1)  # [rows that update]
        if len(rows):  # Of none the layer would have a gradient, 0, and move on by its momentum.
            state = state.index_copy(0, rows, self.updated(symbol[rows], state[rows]))
        return StateAndAnswer(state, self.head(state) + self.of_symbol(symbol))

    def macs(self, mask: Tensor) -> Tensor:
        """Multiply-accumulates that steps execute: bool [..., 1] -> int64 [...]."""
        return torch.where(mask[..., 0], self.dense_macs, self.least_macs)

    def walk(self, symbols: Tensor, choose: Choose) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Sequences [batch, length], position by position: look, mask and answer of each."""
        batch, width, outputs = len(symbols), self.width, self.num_symbols
        carried = StateAndAnswer(torch.zeros(batch, width), torch.zeros(batch, outputs))
        for symbol in symbols.unbind(dim=1):  # [batch]
            seen = self.look(symbol, carried)  # [batch, look_size]
            mask = choose(seen)  # [batch, 1]
            carried = self.step(symbol, carried, mask)
            yield seen, mask, carried.answer


class Rollout(NamedTuple):
    """One episode a row."""

    observations: Tensor  # [length, batch, look_size]
    masks: Tensor  # bool [length, batch, 1]
    costs: Tensor  # [length, batch] in [0, 1]; MACs of a position over the dense network's
    correct: Tensor  # [length, batch]; 1 where the likeliest symbol comes next
    nll: Tensor  # [length, batch]; nats of the next symbol, with their gradient
    rewards: Tensor  # [length, batch]
    terminated: Tensor  # bool [length, batch]; at the last position

    def means(self) -> tuple[float, float, float]:
        """Of a position: nats, error, cost."""
        return self.nll.mean().item(), 1 - self.correct.mean().item(), self.costs.mean().item()


def play(
    network: SkipGRU,
    choose: Choose,
    symbols: Tensor,
    labels: Tensor,
    cost_weight: float = 0.1,
    pays: str = "nll",
) -> Rollout:
    """Episodes of sequences, int64 [batch, length], whose labels are the symbols that come next.

    (2) r_t = log p(label_t) - cost_weight cost_t; with pays="accuracy", 1 for a right answer.
    """
    walked = zip(*network.walk(symbols, choose), strict=True)
    seen, masks, logits = (torch.stack(values) for values in walked)  # [length, batch, ...]
    wanted = labels.T  # [length, batch]
    costs = network.macs(masks) / network.dense_macs
    correct = (logits.argmax(dim=2) == wanted).float()
    nll = cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    rewards = (correct if pays == "accuracy" else -nll.detach()) - cost_weight * costs
    terminated = torch.arange(1, len(wanted) + 1)[:, None].expand_as(wanted) == len(wanted)
    return Rollout(seen.detach(), masks, costs, correct, nll, rewards, terminated)


def chance(policy: nn.Linear, seen: Tensor, least: float = 0.001) -> Tensor:
    """To update: [..., look_size] -> [..., 1]; from 0 or 1 no decision would come back."""
    return least + (1 - 2 * least) * policy(seen).sigmoid()


def reinforce(policy: nn.Linear, rollout: Rollout) -> Tensor:
    """Williams 1992: -mean log p(u_t) (R_t - its mean over the batch), (3) R_t = r_t + R_{t+1}."""
    returns = rollout.rewards.flip(0).cumsum(0).flip(0)  # [length, batch]
    advantages = returns - returns.mean(dim=1, keepdim=True)
    p = chance(policy, rollout.observations)  # [length, batch, 1]
    log_prob = torch.where(rollout.masks, p, 1 - p).log().squeeze(2)  # [length, batch]
    return -(log_prob * advantages).mean()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train(
    network: SkipGRU,
    optimizer: torch.optim.Optimizer,
    choose: Choose,
    learn: Callable[[Rollout], None],
    batches: Iterable[tuple[Tensor, Tensor]],
    **paid: Any,
) -> list[tuple[float, float, float]]:
    """Plays a batch, from which the policy learns, and the network under the masks it had."""
    curve = []
    for symbols, labels in batches:
        rollout = play(network, choose, symbols, labels, **paid)
        learn(rollout)
        descend(optimizer, rollout.nll.mean())
        curve.append(rollout.means())
    return curve


LETTERS, ASKED, LENGTH = 6, 7, 16


def sequences(batch: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise (0), letters, and questions that the last letter answers: letters need an update."""
    kind = torch.rand(batch, LENGTH + 1, generator=draws)
    kind[:, 0] = 1.0  # a letter, so that every question has an answer
    drawn = torch.randint(1, LETTERS + 1, kind.shape, generator=draws) * (kind > 0.85)
    symbols, last = drawn.masked_fill(kind < 0.3, ASKED), drawn[:, 0]  # [batch, LENGTH + 1]
    for place in range(1, LENGTH + 1):
        symbols[:, place] = torch.where(symbols[:, place - 1] == ASKED, last, symbols[:, place])
        last = torch.where(symbols[:, place] % ASKED > 0, symbols[:, place], last)
    return symbols[:, :-1], symbols[:, 1:]  # [batch, LENGTH] each


def main() -> None:
    """Trains under three ways to choose, of which one learns, whose own MACs cost 0.02 more."""
    torch.set_num_threads(1)
    draws = torch.manual_seed(0)  # torch's own generator
    policy = nn.Linear(SkipGRU(ASKED + 1).look_size, 1)
    of_policy = torch.optim.Adam(policy.parameters(), lr=0.05)
    choices: dict[str, Choose] = {
        "always update": lambda seen: torch.ones(len(seen), 1, dtype=torch.bool),
        "never update": lambda seen: torch.zeros(len(seen), 1, dtype=torch.bool),
        "policy": lambda seen: torch.rand(len(seen), 1, generator=draws) < chance(policy, seen),
    }
    learns = {"policy": lambda rollout: descend(of_policy, reinforce(policy, rollout))}
    print("                nats  error   cost")
    for name, choose in choices.items():
        network = SkipGRU(ASKED + 1)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.02)
        batches = (sequences(64, draws) for _ in range(300))
        learn = learns.get(name, lambda rollout: None)
        train(network, optimizer, choose, learn, batches, cost_weight=0.2)
        means = play(network, choose, *sequences(1000, draws)).means()
        print(f"{name:14}{means[0]:7.3f}{means[1]:7.3f}{means[2]:7.3f}")


if __name__ == "__main__":
    main()
