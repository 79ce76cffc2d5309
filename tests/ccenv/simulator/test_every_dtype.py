"""Every network, in episodes over inputs and over sequences, in float32 and in bfloat16."""

import functools

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ccenv.agents.reference_policies import BlockDropout
from ccenv.annexes.tasks.updating import Counter
from ccenv.data import Split
from ccenv.networks import NETWORKS
from ccenv.simulator.rollout import collect_rollout
from tests.ccenv.episodes import seeded
from tests.ccenv.networks import tiny

LENGTH, SEQUENCES = 5, 4
TOLERANCE = 0.05
"""Of negative log-likelihoods in nats, which are about 1 to 3 here."""
KINDS = (
    *dict.fromkeys(NETWORKS),
    *(name for name in tiny.NETWORKS if name.startswith(("lm, ", "decoder", "gated "))),
    "updating",
)
"""Names of the table; other gates of `lm`; models of torch, gated; the network of a task."""
GO_ON = ("lm", "patches", "skip_gru", "decoder", "documents", "staleness", "updating")
"""Beginnings of the names of those that keep a state from position to position."""
NO_STATE = (
    r"^expected a network that keeps a state from position to position, such as skip_gru or lm, "
    r"with episode='sequence', got \w+, which does not name the ability Continues; take "
    r"episode='input'$"
)
FIXED = ("ngram", "updating")
"""Those that have no gradient: one counts symbols, the other updates."""
NOT_LEARNED = r"^expected weights='frozen' of a network without weights to learn, got 'cotrain'"


class AsOnACard(TorchFunctionMode):
    """Under autocast on the CPU, what autocast does on a CUDA device and not here.

    By torch's table of operations: `index_copy` takes two dtypes on the CPU alone, GRUs give the
    lower dtype on a device alone, and what adds many numbers gives float32 there.
    """

    IN_FLOAT32 = ("cumsum", "exp", "group_norm", "layer_norm", "log", "log_softmax", "logsumexp")
    IN_FLOAT32 += ("norm", "pow", "__pow__", "prod", "softmax", "sum")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        if name == "index_copy" and args[0].dtype != args[3].dtype:
            raise RuntimeError(f"index_copy of {args[0].dtype} and {args[3].dtype}")
        if name == "gru":
            return tuple(x.bfloat16() for x in func(*args, **kwargs))
        if name not in self.IN_FLOAT32:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*map(as_float32, args), **{k: as_float32(v) for k, v in kwargs.items()})


def as_float32(x):
    return x.float() if isinstance(x, Tensor) and x.dtype is torch.bfloat16 else x


@functools.cache
def made(name):
    """A tiny network, and inputs; those of symbols are sequences, in neighbouring rows."""
    torch.manual_seed(0)
    rows = SEQUENCES * LENGTH
    if name == "updating":
        return Counter(), torch.randint(2, (rows, 3)).float()
    if name.startswith("mlp-dropout"):
        sizes = {"in_features": 6, "num_blocks": (3, 2), "block_size": 4, "num_classes": 3}
        return NETWORKS[name](**sizes), torch.rand(rows, 6)
    network = tiny.built(name)
    if tiny.NETWORKS[name][1] is None and name.startswith(GO_ON):
        return network, tiny.positions(tiny.symbols(*[LENGTH] * SEQUENCES), LENGTH)
    return network, tiny.inputs_of(name, rows)


def simulator_of(name, episode, dtype, weights=None):
    network, inputs = made(name)
    labels = torch.arange(len(inputs)) % network.num_classes
    split = Split(inputs, labels, network.num_classes, together=LENGTH)
    return seeded(
        3,
        dataset=lambda _: split,
        network=network,
        episode=episode,
        dtype=dtype,
        reward="nll_minus_cost",
        weights=weights or ("frozen" if name in FIXED else "cotrain"),
        weights_kwargs={"schedule_updates": 4} if name.startswith("pruned") else None,
    )


def played(name, episode, dtype):
    """A rollout under drawn masks, the loss of an update where it learns, and the simulator."""
    simulator = simulator_of(name, episode, dtype)
    agent = BlockDropout(simulator, keep_probability=0.5)
    rollout = collect_rollout(simulator, agent, agent.generator)
    # Of networks with dropout of their own.
    torch.manual_seed(0)
    told = {} if name in FIXED else simulator.update_network()
    return rollout, told, simulator


def nearly(found, wanted):
    """Whether a rollout and an update are those of another dtype, but for rounding."""
    (rollout, told, simulator), (expected, taught, _) = found, wanted
    assert torch.equal(rollout.masks, expected.masks)
    assert torch.equal(rollout.costs, expected.costs)
    assert rollout.observations.dtype is torch.float32
    for one, other in ((rollout.nll, expected.nll), (rollout.returns, expected.returns)):
        assert one.dtype is torch.float32
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=TOLERANCE)
    assert told == pytest.approx(taught, rel=TOLERANCE)
    for weight in simulator.network.parameters():
        assert weight.dtype is torch.float32
        assert weight.isfinite().all()


@pytest.mark.parametrize("episode", ["input", "sequence"])
@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_here_and_as_on_a_card_is_near_float32_or_refused_in_a_line(name, episode):
    if episode == "sequence" and not name.startswith(GO_ON):
        for dtype in ("float32", "bfloat16"):
            with pytest.raises(ValueError, match=NO_STATE):
                simulator_of(name, episode, dtype)
        return
    wanted = played(name, episode, "float32")
    nearly(played(name, episode, "bfloat16"), wanted)
    with AsOnACard():
        nearly(played(name, episode, "bfloat16"), wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_counts_are_refused_where_weights_are_to_learn(dtype):
    with pytest.raises(ValueError, match=NOT_LEARNED):
        simulator_of("ngram", "input", dtype, weights="cotrain")
