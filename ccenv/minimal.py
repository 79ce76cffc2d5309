"""The idea of ccenv in one file: a network in blocks, the episode, the reward, the policy gradient.

Bengio, Bacon, Pineau, Precup 2015, "Conditional Computation in Neural Networks for faster models"
(arXiv 1511.06297), on the bundled digits: `python -m ccenv.minimal` trains in seconds. Nothing of
ccenv is imported; ccenv computes the same faster, and tests hold the two equal. Read in this order:

1. `block_product`, `GatedMLP`: a skipped block is not executed, and `macs` counts what is.
2. `State`, `observe`, `step`: an episode is one input, a step is one gate; the reward.
3. `Policy`, `play`: an affine map and a sigmoid for each gate, and what it does with a batch.
4. `reinforce`, `condnet`, `train`: what is descended, and how; `evaluate`: what came of it.
5. `BlockSelection`: the same episode as a vector environment of Gymnasium.

Equations are numbered here; sections and algorithms are the paper's. A mask is bool, True =
computed. Shapes: batch (inputs), width (units of a layer), blocks (of one gate), gates.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector.utils import batch_space
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

Data = tuple[Tensor, Tensor]  # inputs [n, ...] and labels int64 [n]
Draws = torch.Generator | None  # None asks for greedy masks


def stream(seed: int, name: str) -> torch.Generator:
    """Random numbers for one purpose; another name gives others."""
    words = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def affine(widths: Iterable[tuple[int, int]], draws: torch.Generator) -> list[nn.ParameterList]:
    """Glorot uniform weights [outputs, inputs] and zero biases of maps (inputs, outputs)."""
    weights = [nn.init.xavier_uniform_(torch.empty(n, m), generator=draws) for m, n in widths]
    return [nn.ParameterList(weights), nn.ParameterList([torch.zeros(len(w)) for w in weights])]


# 1. The network: blocks that are skipped, and what the others cost.
def block_product(x: Tensor, in_mask: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """Returns x W' + b of the blocks that masks keep: [batch, width]; skipped blocks are zero.

    A dense product times the mask would give the same numbers and save nothing. Here each pair of
    an input block i and an output block j is one product, of those inputs that keep both: an input
    executes (its input units kept) x (its output units kept) multiply-accumulates (MACs).
    """
    in_blocks, blocks = in_mask.shape[1], mask.shape[1]  # of masks [batch, blocks]
    columns = x.chunk(in_blocks, dim=1)  # [batch, in width] -> [batch, in size] each
    weights, biases = weight.chunk(blocks), bias.chunk(blocks)  # [size, in width], [size] each
    outputs = []
    for j in range(blocks):
        kept = mask[:, j].nonzero().squeeze(1)  # [inputs that keep j]
        bias_j = biases[j].expand(len(kept), -1)  # [inputs that keep j, size]
        y = x.new_zeros(len(x), bias_j.shape[1]).index_add(0, kept, bias_j)  # [batch, size]
        for i, weight_ij in enumerate(weights[j].chunk(in_blocks, dim=1)):  # [size, in size]
            both = (in_mask[:, i] & mask[:, j]).nonzero().squeeze(1)  # [inputs that keep i and j]
            y = y.index_add(0, both, columns[i][both] @ weight_ij.T)  # adds [both, size]
        outputs.append(y)
    return torch.cat(outputs, dim=1)  # [batch, width]


class GatedMLP(nn.Module):
    """Hidden layers in blocks of neighbouring units, and a dense output layer (section 3).

    (1) h_l = f(W_l h_{l-1} + b_l) * u_l, where a bit of the mask u_l counts for a whole block. The
    activation f maps 0 to 0, so that a block that is skipped before f is zero behind it.
    """

    def __init__(
        self,
        in_features: int,
        num_blocks: Sequence[int],
        block_size: Sequence[int],
        num_classes: int = 10,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        seed: int = 0,
    ) -> None:
        """Draws the weights; biases are zero."""
        super().__init__()
        self.num_blocks, self.block_size = tuple(num_blocks), tuple(block_size)
        self.activation = activation
        gated = [n * size for n, size in zip(num_blocks, block_size, strict=True)]
        self.widths = (in_features, *gated, num_classes)
        self.dense_macs = sum(a * b for a, b in pairwise(self.widths))
        self.weights, self.biases = affine(pairwise(self.widths), stream(seed, "initial weights"))

    def macs(self, gate: int, in_mask: Tensor, mask: Tensor) -> Tensor:
        """MACs that a step executes, the last one with the output layer: int64 [batch].

        (2) input units kept x output units kept. Biases and activations are not counted.
        """
        kept = mask.sum(dim=1) * self.block_size[gate]  # [batch]
        macs = in_mask.sum(dim=1) * (self.widths[gate] // in_mask.shape[1]) * kept
        return macs + kept * self.widths[-1] if gate + 1 == len(self.num_blocks) else macs


# 2. The episode: one input through all gates.
class State(NamedTuple):
    """A batch of inputs on their way, all before the same gate."""

    x: Tensor  # [batch, width]; what the next layer reads
    mask: Tensor  # [batch, blocks]; which blocks of x were computed
    gate: int  # the one that is decided next; the number of gates when the episode is over
    macs: Tensor  # int64 [batch]; executed so far
    labels: Tensor  # int64 [batch]


def start(inputs: Tensor, labels: Tensor) -> State:
    """Before the first gate: inputs [batch, ...], labels int64 [batch]."""
    one_block = torch.ones(len(labels), 1, dtype=torch.bool)  # inputs have no blocks to skip
    return State(inputs.flatten(1), one_block, 0, torch.zeros_like(labels), labels)


def observe(network: GatedMLP, state: State) -> Tensor:
    """What a policy sees: the layer's input, zeros, and the gate one-hot: [batch, obs_size].

    That input is the masked output of the layer before (Algorithm 1, lines 4 and 9).
    """
    gates, (batch, width) = len(network.num_blocks), state.x.shape
    zeros = torch.zeros(batch, max(network.widths[:-1]) - width)
    one_hot = (torch.arange(gates) == state.gate).float().expand(batch, -1)  # [batch, gates]
    return torch.cat([state.x.detach(), zeros, one_hot], dim=1)  # no policy's loss goes back here


def step(
    network: GatedMLP, state: State, mask: Tensor, cost_weight: float = 1.0
) -> tuple[State, dict[str, Tensor]]:
    """Computes the blocks that masks [batch, blocks] keep, counts the MACs and pays the reward.

    (3) r = correct - cost_weight * cost, where correct is 0 before the last gate: over an
    episode the accuracy, minus the weighted share of the dense network's MACs that was executed.
    """
    macs = state.macs + network.macs(state.gate, state.mask, mask)  # [batch]
    cost = (macs - state.macs) / network.dense_macs  # [batch]
    outcome = {"layer_cost": cost, "compute_cost": macs / network.dense_macs, "macs": macs}
    weights, biases = network.weights, network.biases
    y = block_product(state.x, state.mask, weights[state.gate], biases[state.gate], mask)
    state = State(network.activation(y), mask, state.gate + 1, macs, state.labels)
    correct = torch.zeros(len(y))  # no answer yet
    if state.gate == len(network.num_blocks):
        one_block = mask.new_ones(len(y), 1)  # the output layer
        logits = block_product(state.x, mask, weights[-1], biases[-1], one_block)  # [batch, 10]
        outcome |= {"label": state.labels, "prediction": logits.argmax(dim=1)}
        outcome["nll"] = cross_entropy(logits, state.labels, reduction="none")
        outcome["correct"] = outcome["prediction"] == state.labels
        correct = outcome["correct"].float()
    outcome["reward"] = correct - cost_weight * cost  # (3)
    return state, outcome


# 3. The policy, and what it does with a batch.
class Policy(nn.Module):
    """A coin for each block, whose probability depends on the layer's input (section 3.1).

    (4) p = sigmoid(Z_l s + d_l), and pi(u | s) = prod_j p_j^u_j (1 - p_j)^(1 - u_j). As in the
    authors' code p is bounded: every mask has a finite log-probability.
    """

    def __init__(self, network: GatedMLP, least: float = 0.01, seed: int = 0) -> None:
        """Draws Z; d is zero: blocks are kept with a probability of about 1/2 at first."""
        super().__init__()
        self.least = least
        widths = zip(network.widths, network.num_blocks, strict=False)
        self.weights, self.biases = affine(widths, stream(seed, "policy weights"))
        self.macs = sum(weight.numel() for weight in self.weights)

    def probability(self, seen: Tensor, gate: int) -> Tensor:
        """Keep probabilities: [batch, obs_size] -> [batch, blocks] in (least, 1 - least)."""
        seen = seen[:, : self.weights[gate].shape[1]]  # [batch, in width]
        scores = linear(seen, self.weights[gate], self.biases[gate])  # [batch, blocks]
        return self.least + (1 - 2 * self.least) * scores.sigmoid()

    @torch.no_grad()
    def masks(self, seen: Tensor, gate: int, draws: Draws) -> Tensor:
        """Samples masks, or takes the greedy ones without `draws`: -> [batch, blocks]."""
        p = self.probability(seen, gate)  # [batch, blocks]
        return p > 0.5 if draws is None else torch.rand(p.shape, generator=draws) < p


class Rollout(NamedTuple):
    """An episode of each input of a batch."""

    seen: list[Tensor]  # of each gate [batch, obs_size]
    masks: list[Tensor]  # of each gate [batch, blocks]
    returns: Tensor  # [gates, batch]; rewards from a gate to the end, undiscounted
    end: dict[str, Tensor]  # of the last step


def play(
    network: GatedMLP, policy: Policy, state: State, draws: Draws, cost_weight: float = 1.0
) -> Rollout:
    """Algorithm 1: a batch through all gates, with sampled masks, or greedy ones."""
    seen, masks, rewards = [], [], []
    for gate in range(len(network.num_blocks)):
        seen.append(observe(network, state))  # [batch, obs_size]
        masks.append(policy.masks(seen[gate], gate, draws))  # [batch, blocks]
        state, end = step(network, state, masks[gate], cost_weight)
        rewards.append(end["reward"])  # [batch]
    return Rollout(seen, masks, torch.stack(rewards).flip(0).cumsum(0).flip(0), end)


# 4. Learning: what a policy and a network descend.
def reinforce(policy: Policy, rollout: Rollout, progress: float, bonus: float = 0.001) -> Tensor:
    """REINFORCE on the return, compared with the batch's mean (Williams 1992).

    (5) -sum_l mean_i (R_li - mean R_l) log pi(u_li | s_li), and a bonus on entropy that fades.
    """
    loss = torch.zeros(())
    for gate, (seen, mask) in enumerate(zip(rollout.seen, rollout.masks, strict=True)):
        p = policy.probability(seen, gate)  # [batch, blocks]
        log_prob = torch.where(mask, p, 1 - p).log().sum(dim=1)  # [batch]; a product underflows
        returns = rollout.returns[gate]  # [batch]
        loss = loss - (log_prob * (returns - returns.mean())).mean()
        entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum(dim=1)  # [batch]
        loss = loss - bonus * (1 - progress) * entropy.mean()
    return loss


def regularizers(p: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """L_b, L_e and L_v of keep probabilities [batch, blocks] as in the authors' code (section 3.2).

    (6) L_b = sum_j (mean_i p_ij - tau)^2: each block is kept for a share tau of the inputs.
    (7) L_e = 0.001 sum_i (mean_j p_ij - tau)^2: each input keeps a share tau of the blocks.
    (8) L_v = -sum_j var_i(p_ij) - 0.1 sum_i var_j(p_ij): what is kept depends on the input.
    The text has norms without a square, a mean over i in (7), and no second sum in (8).
    """
    by_block, by_input = p.mean(dim=0) - tau, p.mean(dim=1) - tau  # [blocks] and [batch]
    between, within = p.var(dim=0, unbiased=False), p.var(dim=1, unbiased=False)  # the same
    l_b, l_e = by_block.square().sum(), 0.001 * by_input.square().sum()
    return l_b, l_e, -between.sum() - 0.1 * within.sum()


def condnet(
    policy: Policy,
    rollout: Rollout,
    progress: float = 0.0,
    tau: float = 1 / 16,
    lambdas: tuple[float, float, float] = (200.0, 200.0, 0.005),
) -> Tensor:
    """The paper's loss (section 3.3, Algorithm 2): compute is charged by (6) and (7) alone.

    (9) sum_il (C_i - min C) log pi(u_li | s_li) + lambda_s (L_b + L_e) + lambda_v L_v + lambda_L2
    ||theta||^2, with the cost C = nll. The text has the mean over the batch, and no minimum.
    """
    nll, (lambda_s, lambda_v, lambda_l2) = rollout.end["nll"].detach(), lambdas  # [batch]
    loss = lambda_l2 * torch.stack([one.square().sum() for one in policy.parameters()]).sum()
    for gate, (seen, mask) in enumerate(zip(rollout.seen, rollout.masks, strict=True)):
        p = policy.probability(seen, gate)  # [batch, blocks]
        log_prob = torch.where(mask, p, 1 - p).log().sum(dim=1)  # [batch]; a product underflows
        l_b, l_e, l_v = regularizers(p, tau)
        loss = loss + ((nll - nll.min()) * log_prob).sum() + lambda_s * (l_b + l_e) + lambda_v * l_v
    return loss


def batches(count: int, size: int, draws: torch.Generator) -> Iterator[Tensor]:
    """Shuffled passes over so many inputs, without end: int64 [size] each."""
    order = torch.empty(0, dtype=torch.int64)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=draws)])
        yield order[:size]
        order = order[size:]


def train(
    network: GatedMLP,
    policy: Policy,
    policy_loss: Callable[[Policy, Rollout, float], Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    data: Data,
    num_images: int,
    batch_size: int = 128,
    cost_weight: float = 1.0,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Algorithm 2: plays a batch and updates policy and network, again and again; returns a curve.

    With one optimizer, the policy's, the network is frozen; with two it learns under these masks.
    """
    order = batches(len(data[1]), batch_size, stream(seed, "image order"))
    draws, curve = stream(seed, "agent draws"), []
    for done, batch in zip(range(0, num_images, batch_size), order, strict=False):  # [batch]
        state = start(data[0][batch], data[1][batch])
        rollout = play(network, policy, state, draws, cost_weight)
        nll, cost = (rollout.end[name].mean() for name in ("nll", "compute_cost"))
        means = {"return": rollout.returns[0].mean(), "nll": nll, "compute_cost": cost}
        means["loss"] = policy_loss(policy, rollout, done / num_images)
        for optimizer, loss in zip(optimizers, (means["loss"], nll), strict=False):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        curve.append({name: value.item() for name, value in means.items()})
    return curve


@torch.no_grad()
def evaluate(network: GatedMLP, policy: Policy, data: Data, draws: Draws) -> tuple[float, float]:
    """Error and compute cost of sampled masks, or greedy ones: means over inputs, each once."""
    end = play(network, policy, start(*data), draws).end
    return 1 - end["correct"].double().mean().item(), end["compute_cost"].double().mean().item()


# 5. The same episode for other libraries.
class BlockSelection(gym.vector.VectorEnv[Any, Any, Any]):
    """A batch of episodes, all at the same gate; see Gymnasium's `VectorEnv`.

    An action is a mask [num_envs, widest gate]; bits beyond a gate's own blocks are ignored. The
    last gate terminates all episodes, and the next ones begin in the same step (SAME_STEP).
    """

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, num_envs: int, network: GatedMLP, data: Data, cost_weight: float = 1.0
    ) -> None:
        """The network is used as it is at each step."""
        self.num_envs, self.network, self.data = num_envs, network, data
        self.cost_weight, limit = cost_weight, float(np.finfo(np.float32).max)
        shape = observe(network, start(data[0][:1], data[1][:1])).shape[1:]
        self.single_observation_space = gym.spaces.Box(-limit, limit, tuple(shape), np.float32)
        self.single_action_space = gym.spaces.MultiBinary(max(network.num_blocks))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.order: Iterator[Tensor] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the next inputs: [num_envs, obs_size]; a seed restarts their order."""
        super().reset(seed=seed)
        if seed is not None or self.order is None:
            draws = stream(int(self.np_random.integers(2**31)), "image order")
            self.order = batches(len(self.data[1]), self.num_envs, draws)
        batch = next(self.order)  # [num_envs]
        self.state = start(self.data[0][batch], self.data[1][batch])
        return observe(self.network, self.state).numpy(), {}

    @torch.no_grad()
    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One gate of each row -> observations, rewards, terminated, truncated, infos."""
        mask = torch.from_numpy(actions.astype(bool))  # [num_envs, widest gate]
        blocks = self.network.num_blocks[self.state.gate]
        mask[:, blocks:] = False
        self.state, outcome = step(self.network, self.state, mask[:, :blocks], self.cost_weight)
        reward = outcome.pop("reward").numpy()
        info: dict[str, Any] = {name: values.numpy() for name, values in outcome.items()}
        info |= {"mask": mask.numpy(), "layer": np.full(self.num_envs, self.state.gate - 1)}
        everybody = np.ones(self.num_envs, dtype=bool)
        info |= {f"_{name}": everybody for name in info}
        observation = observe(self.network, self.state).numpy()  # [num_envs, obs_size]
        is_over = self.state.gate == len(self.network.num_blocks)
        if is_over:
            info |= {"final_obs": observation, "final_info": dict(info)}
            info |= {"_final_obs": everybody, "_final_info": everybody}
            observation, _ = self.reset()
        return observation, reward, everybody & is_over, ~everybody, info


def bundled_digits() -> list[Data]:
    """Ccenv's training and test split of the bundled 8 x 8 digits, see `ccenv.data`."""
    with np.load(Path(__file__).parent / "data" / "digits.npz") as stored:
        images, answers = stored["images"], stored["labels"]
    order = torch.randperm(len(answers), generator=stream(0, "digits")).numpy()
    inputs = torch.from_numpy(images[order]).float().flatten(1) / 16  # [1797, 64] in [0, 1]
    labels = torch.from_numpy(answers[order]).long()  # [1797]
    return [(inputs[part], labels[part]) for part in (slice(1097), slice(1297, None))]


def main() -> None:
    """Trains on digits, under random masks, a policy alone, both; prints error and cost."""
    torch.set_num_threads(1)
    learned, test = bundled_digits()
    network = GatedMLP(64, num_blocks=(8, 8), block_size=(16, 16))
    of_network = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    coins, policy = Policy(network, least=0.5), Policy(network)  # coins stay at 1/2
    of_coins, of_policy = (torch.optim.Adam(one.parameters(), lr=0.05) for one in (coins, policy))
    print("learned         masks    error  compute cost  with the policy")
    for title, player, optimizers in (
        ("random masks", coins, (of_coins, of_network)),
        ("policy alone", policy, (of_policy,)),
        ("both", policy, (of_policy, of_network)),
    ):
        train(network, player, reinforce, optimizers, learned, num_images=40_000)
        for masks, draws in (("sampled", stream(0, "evaluation masks")), ("greedy", None)):
            error, cost = evaluate(network, player, test, draws)
            cost_of_policy = player.macs / network.dense_macs
            print(f"{title:14}  {masks:7}{error:7.3f}{cost:14.3f}{cost + cost_of_policy:17.3f}")


if __name__ == "__main__":
    main()
