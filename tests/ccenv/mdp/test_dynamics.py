"""Episodes: dynamics, bills, what is observed, the streams of images, rollouts and verdicts."""

import contextlib
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.masks import full_mask, random_mask
from ccenv.base.seeding import stream
from ccenv.data import Split, load_split
from ccenv.mdp import dynamics
from ccenv.mdp.dynamics import compared, initial, transition
from ccenv.mdp.observations import OBSERVATIONS, make_observer, pool
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.rewards import REWARDS
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator
from ccenv.sparse import cpu
from tests.ccenv.episodes import episode, masks_for, seeded

PROBE = PROBE_SETTINGS
COTRAIN = {"num_blocks": (5, 3), "block_size": 4, "weights": "cotrain"}


class RandomPolicy:
    """Keeps each block with probability one half; with probability 0.3 where it is asked."""

    policy_macs = (100, 20)

    def __init__(self, num_blocks, knows=True):
        self.num_blocks = num_blocks
        if knows:
            self.keep_probability = self.probability

    def probability(self, observation, layer):
        return torch.full((len(observation), self.num_blocks[layer]), 0.3)

    def act(self, observation, layer, generator=None):
        if generator is None:
            return full_mask(len(observation), self.num_blocks[layer])
        return random_mask(len(observation), self.num_blocks[layer], 0.5, generator)


@pytest.fixture(scope="module")
def network():
    """An untrained network for digits, with uneven layers."""
    return build_network(
        GatedMLP, 0, in_features=64, num_blocks=(5, 3), block_size=(4, 6), head_units=(7,)
    )


@pytest.fixture
def simulator(network):
    return seeded(12, network=network)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.ones(3, 4).bool(), ValueError, r"shape \[3, 5\] for gated layer 0, got \[3, 4\]"),
        (torch.ones(2, 5).bool(), ValueError, r"shape \[3, num_blocks\], got \[2, 5\]"),
        (torch.ones(5).bool(), ValueError, r"got \[5\]"),
        (torch.ones(3, 5), TypeError, r"bool tensor .* got dtype torch.float32"),
        (np.ones((3, 5), bool), TypeError, "got ndarray"),
    ],
)
def test_a_mask_that_does_not_fit_the_layer_is_refused(network, mask, error, message):
    state = dynamics.initial(network, torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(error, match=message):
        dynamics.transition(network, state, mask)


def test_an_episode_that_is_over_takes_no_further_mask(network, simulator):
    state = dynamics.initial(network, torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64))
    for n in network.num_blocks:
        state, _ = dynamics.transition(network, state, full_mask(3, n))
    with pytest.raises(ValueError, match="the episode is over after 2 gated layers"):
        dynamics.transition(network, state, full_mask(3, 3))
    with pytest.raises(RuntimeError, match="expected an episode under way, got none; call begin"):
        simulator.step(full_mask(12, 5))
    episode(simulator, masks_for(simulator))
    with pytest.raises(RuntimeError, match="expected an episode under way"):
        simulator.step(full_mask(12, 5))


def test_the_summary_shows_pool_and_the_root_mean_square_of_each_block():
    images = torch.rand(4, 3, 10, 17, generator=stream(0, "test"))
    network = build_network(GatedMLP, 0, in_features=510, num_blocks=(5, 3), block_size=(4, 6))
    network.requires_grad_(False)
    observe = make_observer("summary", network, (3, 10, 17))
    pooled = torch.nn.functional.avg_pool2d(images, (2, 3), ceil_mode=True)
    assert pooled.shape[2:] == (5, 6)
    state = dynamics.initial(network, images, torch.zeros(4, dtype=torch.int64))
    looks = [pooled.flatten(1)]
    for layer, blocks in enumerate((5, 3)):
        length = observe.lengths[layer]
        torch.testing.assert_close(observe(state)[:, :length], torch.cat(looks, dim=1))
        assert not observe(state)[:, length : max(observe.lengths)].any()
        mask = random_mask(4, blocks, 0.5, stream(layer, "test"))
        state, _ = dynamics.transition(network, state, mask)
        norms = [block.square().mean(dim=1).sqrt() for block in state.hidden.x.chunk(blocks, dim=1)]
        looks = [pooled.flatten(1), torch.stack(norms, dim=1)]
    assert observe.obs_size == max(observe.lengths) + 2 == 90 + 5 + 2
    assert not observe(state)[:, -2:].any()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 32), (9, 30), (1, 784)])
def test_pooling_leaves_at_most_8_by_8_and_averages_the_pixels_that_are_there(height, width):
    images = torch.rand(2, 1, height, width, generator=stream(0, "test"))
    pooled = pool(images)
    assert max(pooled.shape[2:]) <= 8
    tall, wide = -(-height // 8), -(-width // 8)
    assert pooled.shape[2:] == (-(-height // tall), -(-width // wide))
    for row in range(pooled.shape[2]):
        for column in range(pooled.shape[3]):
            patch = images[:, 0, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
            torch.testing.assert_close(pooled[:, 0, row, column], patch.mean(dim=(1, 2)))


@pytest.mark.parametrize("settings_", [COTRAIN, PROBE])
def test_the_same_seed_gives_the_same_episodes_bit_for_bit(settings_):
    def run(seed):
        simulator = Simulator(12, **settings_)
        simulator.seed(seed)
        found = []
        for index in range(4):
            observations, steps = episode(simulator, masks_for(simulator, index))
            simulator.update_network()
            found += [*observations, *(step.reward for step in steps), steps[-1].outcome.logits]
        return found

    first, second, other = run(3), run(3), run(4)
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("rows", [7, 256, 1000, 2100])
def test_each_pass_over_the_split_visits_every_image_once(rows):
    simulator = seeded(rows, **PROBE)
    drawn = []
    while len(drawn) < 3 * 1024:
        simulator.begin()
        drawn += simulator.indices.tolist()
    passes = [drawn[i * 1024 : (i + 1) * 1024] for i in range(3)]
    assert all(sorted(one) == list(range(1024)) for one in passes)
    assert passes[0] != passes[1]


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_rows_of_a_group_are_what_their_image_alone_would_be(observation):
    grouped = Simulator(12, group_size=4, observation=observation, **COTRAIN)
    alone = Simulator(12, observation=observation, **COTRAIN)
    for each in (grouped, alone):
        each.seed(3)
    images = torch.tensor([5, 0, 7])
    seen = [grouped.begin(images), alone.begin(images.repeat_interleave(4))]
    for blocks in (*grouped.num_blocks, None):
        # Torch rounds a product by its number of rows: 3 in one simulator, 12 in the other.
        torch.testing.assert_close(*seen)
        if blocks:
            mask = random_mask(12, blocks, 0.5, stream(blocks, "masks"))
            seen = [each.step(mask).observation for each in (grouped, alone)]
    assert torch.equal(grouped.state.images_by_row, alone.state.images_by_row)
    assert torch.equal(grouped.state.labels, alone.state.labels)


def test_weights_learn_from_the_batch_that_was_walked_through_whenever_they_do():
    walked, left, losses = Simulator(8, group_size=2, **COTRAIN), None, []
    for begins_anew in (False, True):
        walked.seed(1)
        for number in range(2):
            walked.begin()
            for blocks in walked.num_blocks:
                walked.step(random_mask(8, blocks, 0.5, stream(number, f"masks {blocks}")))
            if not begins_anew:
                losses.append(walked.update_network()["network_loss"])
        if begins_anew:
            # Two batches wait, and the first one's images lie here no more.
            left = walked.update_network()["network_loss"]
    assert left == pytest.approx(sum(losses) / 2, abs=1e-6)


def test_bits_beyond_a_layers_own_blocks_change_nothing(network, simulator):
    masks = masks_for(simulator)
    simulator.seed(0)
    _, plain = episode(simulator, masks)
    simulator.seed(0)
    _, padded = episode(
        simulator, [torch.cat([mask, torch.ones(12, 4, dtype=torch.bool)], 1) for mask in masks]
    )
    for a, b in zip(plain, padded, strict=True):
        assert torch.equal(a.reward, b.reward)
        assert torch.equal(a.outcome.mask, b.outcome.mask)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.tensor([1097]), r"indices in 0\.\.1096, got 1097\.\.1097"),
        (torch.tensor([-1, 3]), r"got -1\.\.3"),
        (torch.tensor([], dtype=torch.int64), r"indices int64 \[n\], n > 0"),
        (torch.tensor([0.0]), r"got torch.float32"),
    ],
)
def test_images_outside_the_split_are_refused(simulator, indices, message):
    with pytest.raises(ValueError, match=message):
        simulator.begin(indices)


def test_a_simulator_that_was_never_seeded_says_so(network):
    simulator = Simulator(2, network=network, weights="cotrain")
    with pytest.raises(RuntimeError, match=r"expected seed\(...\) before the first begin"):
        simulator.begin()
    assert simulator.update_network() == {}


@pytest.mark.parametrize("settings_", [COTRAIN, PROBE])
def test_a_simulator_survives_pickling_in_the_middle_of_an_episode(settings_):
    simulator = seeded(6, **settings_)
    masks = masks_for(simulator)
    simulator.begin()
    simulator.step(masks[0])
    twin = pickle.loads(pickle.dumps(simulator))
    left, right = (each.step(masks[1]) for each in (simulator, twin))
    assert torch.equal(left.reward, right.reward)
    assert torch.equal(simulator.begin(), twin.begin())
    assert simulator.update_network() == twin.update_network()


def test_another_split_shares_the_network_and_its_later_updates():
    simulator = seeded(32, **COTRAIN)
    test = simulator.on_split("test", 50)
    assert test.network is simulator.network
    assert len(test.data) == 500
    before = episode(test, masks_for(test), torch.arange(50))[1][-1].outcome.logits
    assert test.update_network() == {}
    episode(simulator, masks_for(simulator))
    assert simulator.update_network()
    after = episode(test, masks_for(test), torch.arange(50))[1][-1].outcome.logits
    assert not torch.equal(before, after)


def test_evaluation_does_not_disturb_the_streams_of_training():
    def train(evaluates):
        simulator = seeded(32, **COTRAIN)
        policy, draws, found = RandomPolicy((5, 3)), stream(0, "draws"), []
        torch.manual_seed(0)
        for _ in range(3):
            rollout = collect_rollout(simulator, policy, draws)
            found += [rollout.observations, rollout.masks, rollout.rewards]
            if evaluates:
                evaluate(simulator, policy, split="validation")
            simulator.update_network()
        return [*found, simulator.begin(), torch.rand(3)]

    assert all(map(torch.equal, train(True), train(False)))


@pytest.mark.parametrize(("sample", "knows"), [(True, True), (False, False)])
def test_an_evaluation_equals_a_loop_by_hand_over_each_image_once(network, sample, knows):
    policy = RandomPolicy((5, 3), knows)
    simulator = seeded(8, network=network, reward_kwargs={"cost_weight": 0.5})
    verdict = evaluate(simulator, policy, deterministic=not sample, batch_size=150, seed=2)
    split = load_split("digits", "test")
    generator = stream(2, "evaluation masks") if sample else None
    errors, nll, macs, kept, rewards = [], [], [], [[], []], []
    for indices in torch.arange(500).split(150):
        images, labels = split.batch(indices)
        masks = [policy.act(images, layer, generator) for layer in range(2)]
        logits = network(images, masks)
        errors.append(logits.argmax(dim=1) != labels)
        nll.append(-logits.log_softmax(dim=1)[torch.arange(len(labels)), labels])
        first, second = (mask.sum(dim=1) * size for mask, size in zip(masks, (4, 6), strict=True))
        macs.append(64 * first + first * second + second * 7 + 7 * 10)
        kept = [[*a, b] for a, b in zip(kept, masks, strict=True)]
        dense = 64 * 20 + 20 * 18 + 18 * 7 + 7 * 10
        rewards.append((~errors[-1]).float() - 0.5 * macs[-1] / dense)
    assert verdict.num_images == 500
    assert verdict.draw == verdict.numbers()["mode"] == ("sampled" if sample else "mode")
    assert verdict.error == pytest.approx(torch.cat(errors).float().mean().item())
    assert verdict.nll == pytest.approx(torch.cat(nll).mean().item(), rel=1e-5)
    assert verdict.mean_return == pytest.approx(torch.cat(rewards).mean().item(), abs=1e-5)
    assert verdict.macs == pytest.approx(torch.cat(macs).double().mean().item() + 120)
    assert verdict.compute_cost == pytest.approx((verdict.macs - 120) / dense, rel=1e-6)
    assert verdict.policy_cost == pytest.approx(120 / dense)
    assert verdict.total_cost == pytest.approx(verdict.macs / dense, rel=1e-6)
    for layer in range(2):
        masks = torch.cat(kept[layer]).float()
        assert verdict.density[layer] == pytest.approx(masks.mean().item())
        shown = torch.full_like(masks, 0.3) if knows else masks
        assert torch.equal(verdict.keep_probability[layer], shown)
        for label in range(10):
            mean = shown[split.labels == label].mean(dim=0)
            torch.testing.assert_close(verdict.block_use[layer][label], mean)


def test_what_is_no_environment_cannot_be_evaluated():
    with pytest.raises(TypeError, match=r"environment or a Simulator, got str"):
        evaluate("BlockSelection-v0", RandomPolicy((5, 3)))


def test_a_rollout_holds_one_episode_with_its_undiscounted_returns(simulator):
    rollout = collect_rollout(simulator, RandomPolicy((5, 3)), stream(0, "draws"))
    assert rollout.observations.shape == (2, 12, simulator.observe.obs_size)
    assert rollout.masks.shape == (2, 12, 5)
    assert not rollout.masks[1, :, 3:].any()
    torch.testing.assert_close(rollout.returns[0], rollout.rewards.sum(dim=0))
    torch.testing.assert_close(rollout.returns[1], rollout.rewards[1])
    torch.testing.assert_close(rollout.returns[0], rollout.correct - rollout.compute_cost)
    summary = rollout.means
    assert summary["density_1"] == pytest.approx(rollout.masks[1].sum().item() / 36)
    assert summary["error"] == pytest.approx(1 - rollout.correct.mean().item())


def images_of_another_shape(split):
    side = 3 if split == "test" else 2
    return Split(torch.zeros(4, 1, side, side), torch.tensor([0, 1, 0, 1]), 2)


def test_splits_of_different_image_shapes_are_refused():
    settings_ = {"dataset": images_of_another_shape, "num_blocks": (2,), "block_size": 2}
    simulator = seeded(2, **settings_, weights="cotrain")
    with pytest.raises(ValueError, match="the same image shape and number of classes"):
        simulator.on_split("test", 4)
    with pytest.raises(ValueError, match="the same image shape and number of classes"):
        Simulator(2, **settings_, split="test")


class NotGated(torch.nn.Linear):
    def __init__(self, in_features, num_classes, **sizes):
        super().__init__(in_features, num_classes)


@pytest.mark.parametrize(
    ("settings_", "error", "message"),
    [
        ({"dataset": ["digits"]}, TypeError, "dataset to be a name or a function"),
        ({"split": "tset"}, ValueError, "did you mean 'test'"),
        ({"network": 3}, TypeError, "network to be a name, a builder or a module, got 3"),
        ({"network": NotGated}, TypeError, "got NotGated without gates, num_classes"),
        ({"network": torch.nn.Linear(64, 10)}, TypeError, "got Linear without gates, num_classes"),
        ({"network": GatedMLP(63)}, ValueError, "64 features and 10 classes, got one for 63"),
        ({"block_size": [4, 4, 4]}, ValueError, "one for each of the 2 gated layers"),
        ({"head_units": [8, -1]}, ValueError, "head_units to be whole numbers"),
        ({"device": "gpu0"}, ValueError, "expected device to be 'cpu' or a CUDA device"),
        ({"device": "cuda:99"}, ValueError, "expected device to be 'cpu' or a CUDA device"),
        ({"group_size": 5}, ValueError, "num_envs to be a multiple of group_size=5, got 12"),
        ({"group_size": 0}, ValueError, "group_size to be a whole number"),
        ({"num_block": (3,)}, ValueError, "unknown environment setting 'num_block': did you mean"),
        ({"num_blocks": 10**9}, ValueError, r"layers of widths \[64, 16000000000\] to fit"),
        ({"head_units": 10**12}, ValueError, "choose fewer or smaller blocks"),
    ],
)
def test_impossible_settings_are_refused_before_any_weights_are_learned(
    monkeypatch, settings_, error, message
):
    monkeypatch.setattr(
        "ccenv.simulator.simulator.frozen_weights", lambda *_: pytest.fail("trained")
    )
    with pytest.raises(error, match=message):
        Simulator(12, **settings_)


def test_a_batch_that_memory_cannot_hold_is_refused(network):
    with pytest.raises(ValueError, match=r"a batch of 10,000,000,000 inputs .* fewer num_envs"):
        Simulator(10**10, network=network)


def test_a_module_that_is_given_is_copied_and_stays_as_it_is(network):
    simulator = Simulator(32, network=network, weights="cotrain")
    before = [p.clone() for p in network.parameters()]
    for seed in (0, 1):
        # Each seed starts from the module's own weights.
        simulator.seed(seed)
        assert all(map(torch.equal, before, simulator.network.parameters()))
        episode(simulator, masks_for(simulator))
        simulator.update_network()
    assert all(map(torch.equal, before, network.parameters()))
    assert all(p.requires_grad for p in network.parameters())


FULLY_CONNECTED = ("mlp", "mlp-dropout-0.2", "mlp-dropout-0.5", "probe")
"""Names whose sizes are settings of the environment; others: `test_networks_in_use`."""


@pytest.mark.parametrize(
    ("name", "observation", "reward"),
    [
        *((name, seen, "vector") for name in FULLY_CONNECTED for seen in OBSERVATIONS),
        *(("mlp", "layer_input", reward) for reward in REWARDS),
    ],
)
def test_every_name_in_the_tables_runs_an_episode(name, observation, reward):
    sizes = PROBE if name == "probe" else COTRAIN
    simulator = seeded(6, **sizes | {"network": name}, observation=observation, reward=reward)
    observations, steps = episode(simulator, masks_for(simulator))
    assert all(seen.shape == (6, simulator.observe.obs_size) for seen in observations)
    assert all(step.reward.isfinite().all() for step in steps)


@given(rows=st.integers(1, 40), classes=st.integers(1, 12), seed=st.integers(0, 1000))
def test_answers_judged_in_one_call_are_those_of_torch_and_name_the_first_of_equals(
    rows, classes, seed
):
    generator = stream(seed, "logits")
    logits = torch.randint(3, (rows, classes), generator=generator).float()
    labels = torch.randint(classes, (rows,), generator=generator)
    found, expected = compared(logits, labels), compared(logits.double(), labels)
    assert torch.equal(found.prediction, logits.argmax(dim=1))
    for one, other in zip(found[:3], expected[:3], strict=True):
        assert torch.equal(one, other.to(one.dtype))
    logits[seed % rows, seed % classes] = [math.nan, math.inf, -math.inf][seed % 3]
    assert (found.are_finite, compared(logits, labels).are_finite) == (True, False)
    labels[-1] = classes
    with pytest.raises(IndexError, match="labels in 0"):
        compared(logits, labels)


class Doubled(GatedMLP):
    """Billed twice."""

    def macs(self, gate, hidden, mask):
        return 2 * super().macs(gate, hidden, mask)


@contextlib.contextmanager
def memory_of_nan():
    """What nobody has written reads as NaN, so that torch's results are the same each time."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), rows=st.sampled_from((1, 5)), group=st.sampled_from((1, 2)))
def test_a_compiled_bill_and_look_are_the_networks_own_whatever_lies_in_memory(seed, rows, group):
    sizes = {"in_features": 9, "num_blocks": (4, 2), "block_size": (3, 5), "head_units": (6,)}
    network = build_network(GatedMLP, seed, **sizes).requires_grad_(False)
    generator, observer = stream(seed, "bills"), make_observer("layer_input", network, (1, 3, 3))
    images = torch.rand(rows, 1, 3, 3, generator=generator)
    state = initial(network, images, torch.zeros(rows, dtype=torch.int64), group)
    for gate, blocks in enumerate(network.num_blocks):
        # Every other column of a wider mask: rows and bits lie apart.
        wide = torch.rand(rows * group, 2 * blocks, generator=generator) < 0.5
        mask = wide[:, ::2] if seed % 2 else wide[:, :blocks]
        step = network.macs(gate, state.hidden, mask)
        macs, total = state.macs + step, network.dense_macs
        wanted = macs, (step / total).float(), (macs / total).float()
        found = network.add_macs(gate, state.hidden, mask, state.macs)
        assert all(
            torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, wanted, strict=True)
        )
        state, _ = transition(network, state, mask)
        look = torch.zeros(rows * group, observer.obs_size)
        look[:, : state.hidden.x.shape[1]] = state.hidden.x
        if gate == 0:
            look[:, observer.obs_size - 1] = 1
        assert torch.equal(observer(state), look)
        # With a gradient it is not compiled.
        hidden = replace(state.hidden, x=state.hidden.x.clone().requires_grad_())
        with memory_of_nan():
            assert torch.equal(observer(replace(state, hidden=hidden)), look)
        by_column = state.hidden.x.t().contiguous().t()
        width = by_column.shape[1]
        assert torch.equal(cpu.observation(by_column, width, -1), by_column)


def test_a_bill_of_ones_own_is_asked_for():
    sizes = {"in_features": 9, "num_blocks": (2,), "block_size": 3}
    network = build_network(Doubled, 0, **sizes)
    state = initial(network, torch.zeros(2, 9), torch.zeros(2, dtype=torch.int64))
    everything = torch.ones(2, 2, dtype=torch.bool)
    macs, layer_cost, _ = network.add_macs(0, state.hidden, everything, state.macs)
    assert macs.tolist() == [2 * network.dense_macs] * 2
    assert layer_cost.tolist() == [2.0, 2.0]
