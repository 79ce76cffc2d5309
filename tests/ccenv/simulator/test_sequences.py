"""Episodes over sequences: state goes on as the episode's own masks made it, and pays later."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ccenv
from ccenv.agents import AGENTS
from ccenv.agents.base import Agent
from ccenv.annexes.networks.baselines.skip_gru import SkipGRU
from ccenv.annexes.tasks.problem import settings_over_time
from ccenv.annexes.tasks.updating import Updating
from ccenv.envs.stable_baselines import ActionViewVecEnv, BlockSelectionVecEnv
from ccenv.networks.core.unrolled import sequence_logits
from ccenv.simulator import sequences
from ccenv.simulator.rollout import collect_rollout
from tests.ccenv.episodes import seeded
from tests.ccenv.networks.own_decoder import writer

LENGTH, WIDTH = 6, 5
SETTINGS = {
    "dataset": f"python_bundled@{LENGTH}",
    "episode": "sequence",
    "reward": "nll_minus_cost",
    "reward_kwargs": {"cost_weight": 0.3},
    "weights": "cotrain",
}
LAYERS = {"depth": 2, "width": 4, "num_heads": 2, "ffn_width": 3, "num_experts": 2}
PATCHES = {"width": 4, "num_heads": 2, "ffn_width": 3, "context": 2, "embedding_size": 2}
NETWORKS = {
    "skip_gru": {"network": "skip_gru", "network_kwargs": {"width": WIDTH, "embedding_size": 3}},
    "lm": {"network": "lm", "network_kwargs": LAYERS | {"gates": "attention,ffn"}},
    "patches": {
        "network": "patches",
        "network_kwargs": PATCHES | {"patch_size": 3, "local_units": 3, "head_units": 3},
    },
    "lm of experts": {"network": "lm", "network_kwargs": LAYERS | {"gates": "heads,experts"}},
    "a decoder": {"network": writer, "network_kwargs": {}},
    "a decoder's halves": {"network": writer, "network_kwargs": {"halves": True}},
    "lm of layers": {"network": "lm", "network_kwargs": LAYERS | {"gates": "layers", "depth": 3}},
}


def settings_of(name, **others):
    return SETTINGS | NETWORKS[name] | others


def simulator_of(name, num_images=3, **others):
    return seeded(num_images, **settings_of(name, **others))


def drawn_masks(simulator, seed=0):
    """Masks of every step: [steps, rows, blocks] bool."""
    generator = torch.Generator().manual_seed(seed)
    shape = simulator.num_steps, simulator.num_images, simulator.max_blocks
    return torch.rand(shape, generator=generator) < 0.5


def rewards_under(simulator, masks, indices):
    """Rewards of every step: [steps, rows]."""
    simulator.begin(indices)
    return torch.stack([simulator.step(mask).reward for mask in masks])


@pytest.mark.parametrize("bits", [[1] * LENGTH, [0] * LENGTH, [1, 0, 0, 1, 0, 1]])
def test_returns_are_a_plain_loops(bits):
    simulator = simulator_of("skip_gru", num_images=1)
    network = simulator.network
    rewards = rewards_under(simulator, torch.tensor(bits).view(-1, 1, 1).bool(), torch.tensor([4]))
    rows = 4 * LENGTH + torch.arange(LENGTH)
    windows, labels = simulator.data.batch(rows)
    state, cell = torch.zeros(1, WIDTH), torch.nn.GRUCell(3, WIDTH)
    of_layer = network.stem.gru.state_dict().items()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in of_layer})
    for place, bit in enumerate(bits):
        symbol = windows[place, -1:]
        state = cell(network.stem.embedding(symbol), state) if bit else state
        logits = network.head(state) + network.of_symbols(symbol)
        paid = -torch.nn.functional.cross_entropy(logits, labels[place : place + 1])
        update = 3 * WIDTH * (WIDTH + 3) * bit
        cost = (update + WIDTH * network.num_classes) / network.dense_macs
        torch.testing.assert_close(rewards[place, 0], paid - 0.3 * cost)


def changed_by(simulator, step, indices):
    """Which rewards change where row 1 skips at one step: [steps, rows]."""
    masks = torch.ones_like(drawn_masks(simulator))
    before = rewards_under(simulator, masks, indices)
    masks[step, 1] = False
    return rewards_under(simulator, masks, indices) != before


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "patches"])
@given(place=st.integers(0, LENGTH - 1))
def test_a_decision_changes_later_answers_and_nothing_earlier_and_no_other_row(name, place):
    simulator = simulator_of(name)
    gates = simulator.num_layers
    changed = changed_by(simulator, place * gates, torch.tensor([3, 8, 5]))
    assert not changed[: place * gates].any()
    assert not changed[:, [0, 2]].any()
    assert changed[gates - 1 :: gates][place:, 1].all()


def test_a_refresh_serves_its_patch_until_the_end_whose_answer_and_entry_are_their_own():
    simulator, indices = simulator_of("patches"), torch.tensor([3, 8, 5])
    masks = torch.zeros_like(drawn_masks(simulator))
    before = rewards_under(simulator, masks, indices)
    masks[3, 1] = True
    changed = rewards_under(simulator, masks, indices) != before
    assert changed.nonzero().tolist() == [[3, 1], [4, 1]]


@pytest.mark.parametrize("name", ["lm", "lm of experts"])
def test_what_no_later_position_reads_changes_no_later_reward(name):
    # The last layer's feed-forward part answers, and leaves no keys and values.
    simulator = simulator_of(name)
    last = 2 * simulator.num_layers - 1
    changed = changed_by(simulator, last, torch.tensor([3, 8, 5]))
    assert changed.nonzero().tolist() == [[last, 1]]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_from_what_the_episode_was(name):
    simulator = simulator_of(name, num_images=4)
    agent = AGENTS["reinforce"](simulator)
    rollout = collect_rollout(simulator, agent, agent.generator)
    assert rollout.rewards.shape == (simulator.num_steps, 4)
    loss = simulator.update_network()["network_loss"]
    assert loss == pytest.approx(rollout.nll.mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_return_is_what_is_paid_from_its_decision_on_and_nothing_before_it(name):
    simulator = simulator_of(name, num_images=4)
    agent = AGENTS["reinforce"](simulator)
    rollout = collect_rollout(simulator, agent, agent.generator)
    later = torch.cat([rollout.returns[1:], torch.zeros(1, 4)])
    torch.testing.assert_close(rollout.returns, rollout.rewards + later)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_density_of_a_gate_is_the_mean_over_all_positions(name):
    simulator = simulator_of(name, num_images=4)
    agent = AGENTS["reinforce"](simulator)
    rollout = collect_rollout(simulator, agent, agent.generator)
    for gate, blocks in enumerate(simulator.num_blocks):
        kept = rollout.masks[gate :: simulator.num_layers, :, :blocks].float().mean()
        assert rollout.means[f"density_{gate}"] == pytest.approx(kept.item())


def test_gradients_go_back_to_the_first_update():
    torch.manual_seed(0)
    network = SkipGRU((LENGTH,), 7, width=WIDTH, embedding_size=3)
    windows = torch.full((LENGTH, LENGTH), 7)
    for place in range(LENGTH):
        windows[place, LENGTH - 1 - place :] = torch.arange(place + 1)
    masks = [torch.tensor([[True]] + [[False]] * (LENGTH - 1))]
    logits = sequence_logits(network, windows, masks, LENGTH)
    (gradient,) = torch.autograd.grad(logits[-1].sum(), network.stem.embedding.weight)
    assert gradient[0].any()
    assert not gradient[1:].any()


@pytest.mark.parametrize("numbers", [1, 4 * 3 * LENGTH, 10**6])
def test_inputs_that_are_drawn_ahead_are_those_of_their_positions(numbers, monkeypatch):
    monkeypatch.setattr(sequences, "AHEAD", numbers)
    simulator = simulator_of("skip_gru")
    for indices in (torch.tensor([2, 0, 5]), torch.tensor([1])):
        simulator.begin(indices)
        for place in range(LENGTH):
            images, labels = simulator.data.batch(indices * LENGTH + place)
            assert torch.equal(simulator.state.images, images)
            assert torch.equal(simulator.state.labels, labels)
            assert simulator.state.images.data_ptr() % 64 == 0
            simulator.step(torch.ones(len(indices), 1, dtype=torch.bool))


def test_an_answer_is_computed_once_a_position():
    simulator, calls = simulator_of("skip_gru"), []
    simulator.network.head.register_forward_hook(lambda *_: calls.append(1))
    rewards_under(simulator, drawn_masks(simulator), torch.arange(3))
    assert len(calls) == LENGTH


@pytest.mark.parametrize("name", NETWORKS)
def test_greedy_masks_are_those_under_which_the_network_runs_earlier_positions(name):
    simulator = simulator_of(name, num_images=4)
    agent = AGENTS["reinforce"](simulator, learning_rate=0.5)
    agent.learn(8)
    found = ccenv.evaluate(simulator, agent, split="test", deterministic=True, batch_size=500)
    assert found.num_images == len(simulator.on_split("test", 2).data) == len(found.masks[0])
    inputs = simulator_of(name, num_images=4, episode="input")
    inputs.network.load_state_dict(simulator.network.state_dict())
    plain = ccenv.evaluate(inputs, agent, split="test", deterministic=True, batch_size=3000)
    assert found.nll == pytest.approx(plain.nll, rel=1e-4)
    assert found.macs == pytest.approx(plain.macs, rel=1e-3)


def test_copies_of_a_sequence_have_states_of_their_own():
    simulator = simulator_of("skip_gru", num_images=4, group_size=2)
    masks = drawn_masks(simulator)
    grouped = rewards_under(simulator, masks, torch.tensor([3, 7]))
    alone = rewards_under(simulator_of("skip_gru", 4), masks, torch.tensor([3, 3, 7, 7]))
    torch.testing.assert_close(grouped, alone)


@pytest.mark.parametrize("name", ["reinforce", "rloo"])
def test_an_agent_credits_an_update_with_what_it_brings_later(name):
    """Two positions are marked, and the answer at the end needs both: updates pay late.

    By the reward of its own position alone an update is a loss anywhere, and without one there is
    no answer. At first any mask is as likely as any other: a policy of nearly all updates, or of
    nearly none, stays there for long.
    """
    problem, price = Updating(positions=6), 1 / 8
    own = {"dataset": problem.split, "network": problem.network(), "group_size": 4}
    simulator = seeded(64, **settings_over_time(price) | own)
    own = {"sampling": "independent"} if name == "rloo" else {}
    agent = AGENTS[name](simulator, learning_rate=0.2, **own)
    for parameter in agent.scores.parameters():
        torch.nn.init.zeros_(parameter)
    agent.learn(64 * 80)
    verdict = ccenv.evaluate(simulator, agent, split="test", deterministic=True)
    marked = simulator.on_split("test", 64).data.images[:, :1] > 0.5
    assert torch.equal(verdict.masks[0], marked)
    assert verdict.mean_return == pytest.approx(1 - 2 * price, abs=1e-4)


def test_a_memory_goes_on_over_a_sequence_of_a_network_that_reads_earlier_positions():
    recurrent = pytest.importorskip("sb3_contrib").RecurrentPPO
    env = BlockSelectionVecEnv(4, **settings_of("skip_gru"))
    env.seed(0)
    env.reset()
    masks = ActionViewVecEnv(env, "menu", menu="all")
    policy = {"lstm_hidden_size": 8, "net_arch": []}
    own = {"policy_kwargs": policy, "seed": 0, "device": "cpu"}
    model = recurrent("MlpLstmPolicy", masks, n_steps=LENGTH, batch_size=4 * LENGTH, **own)
    model.learn(2 * 4 * LENGTH)
    assert {episode["l"] for episode in model.ep_info_buffer} == {LENGTH}
    found = ccenv.evaluate(masks, model, split="test", deterministic=True, batch_size=100)
    judged = env.simulator.on_split("test", 3)
    seen, memory = judged.begin(torch.arange(3)).numpy(), None
    for place in range(LENGTH):
        starts = [place == 0] * 3
        actions, memory = model.predict(seen, memory, starts, deterministic=True)
        mask = torch.from_numpy(actions == 1)[:, None]
        kept = found.masks[0].view(-1, LENGTH, 1)[:3, place]
        assert torch.equal(mask, kept)
        seen = judged.step(mask).observation.numpy()


class EverySecond(Agent):
    """Updates at every second position, which it counts itself."""

    learns = False
    policy_macs = (0,)

    def begin_episode(self, simulator):
        self.count = 0

    def act(self, observation, layer, generator=None):
        self.count += 1
        return torch.full((len(observation), 1), self.count % 2 == 1)


def test_a_policy_keeps_a_state_of_its_own_from_position_to_position():
    simulator = simulator_of("skip_gru")
    verdict = ccenv.evaluate(simulator, EverySecond(simulator), split="test", batch_size=100)
    kept = verdict.masks[0].view(-1, LENGTH)
    assert (kept == (torch.arange(LENGTH) % 2 == 0)).all()
