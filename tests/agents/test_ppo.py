"""Laws of `ppo`: what it remembers, what choosing costs, where it begins, and begins again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from probes import make_agent

import ccenv
from ccenv.agents.ppo import Ppo, SideBySide
from ccenv.mdp.choosers import mixed_logs
from ccenv.runs.suite.scores import recorded
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout

SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=4)


@given(lengths=SIZES, rows=st.integers(1, 3))
def test_looks_at_all_gates_so_far_lie_side_by_side_and_say_which_gate_it_is(lengths, rows):
    looks, draws = SideBySide(tuple(lengths)), torch.Generator().manual_seed(0)
    seen = [torch.rand(rows, length, generator=draws) for length in lengths]
    for gate in range(len(lengths)):
        wide = looks.at(seen[: gate + 1])
        before = sum(lengths[: gate + 1])
        assert torch.equal(wide[:, :before], torch.cat(seen[: gate + 1], dim=1))
        assert not wide[:, before : sum(lengths)].any()
        assert torch.equal(wide[:, sum(lengths) :].argmax(dim=1), torch.full((rows,), gate))


@pytest.mark.parametrize("task", ["memory-2", "depth-4", "loads-1"])
def test_a_rollout_is_read_as_its_masks_were_drawn(task):
    env = ccenv.suite[task].make_vec(16)
    env.reset(seed=0)
    agent = Ppo(env, policy_share=100.0)
    drawn = []

    def noted(observation, layer, generator=None):
        drawn.append(agent.remembered(observation, layer))
        return Ppo.act(agent, observation, layer, generator)

    agent.act, before = noted, agent.earlier
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    assert torch.equal(agent.as_seen(rollout).observations, torch.stack(drawn))
    assert (before is None) == (task == "loads-1")


def test_what_was_not_seen_is_asked_for_and_not_made_up():
    agent = make_agent("ppo", rows=8)
    observation = agent.simulator.begin()
    with pytest.raises(ValueError, match=r"the same 8 inputs at each gate in turn.*got gate 1"):
        agent.act(observation, 1)
    agent.act(observation, 0)
    with pytest.raises(ValueError, match=r"the same 3 inputs .*after \[8\]"):
        agent.act(observation[:3], 1)
    # The same gate may be asked again.
    first, again = agent.act(observation, 0), agent.act(observation, 0)
    assert torch.equal(first, again)


def test_probabilities_that_are_shown_are_those_that_masks_were_drawn_by():
    env = ccenv.suite["depth-2"].make_vec(32)
    env.reset(seed=0)
    agent = Ppo(env, policy_share=100.0)
    agent.learn(640)
    asked = []
    shown = agent.keep_probability
    agent.keep_probability = lambda seen, layer: asked.append(layer) or shown(seen, layer)
    verdict = evaluate(env, agent, split="validation", batch_size=50)
    gates = agent.simulator.num_layers
    assert asked == [*range(gates)] * (len(asked) // gates)
    for keep, mask in zip(verdict.keep_probability, verdict.masks, strict=True):
        assert 0.4 < keep[mask].mean() <= 1


@given(share=st.floats(0.001, 3.0), most=st.integers(1, 64))
def test_choosing_costs_no_more_than_its_share_of_the_network(share, most):
    agent = make_agent("ppo", rows=4, policy_share=share, hidden_units=most)
    units = agent.scores.maps(0)[0][0].shape[0]
    cost, dense = sum(agent.policy_macs), agent.simulator.network.dense_macs
    assert units == 1 or cost <= share * dense
    # One unit more would be too many, or too dear.
    assert units == most or cost * (units + 1) / units > share * dense


def test_tasks_model_networks_beside_which_the_default_policy_is_cheap_and_scores_stay():
    for task in (one for one in ccenv.suite(quick=True) if one.skill != "real"):
        env = task.make_vec(4)
        env.reset(seed=0)
        network = env.unwrapped.simulator.network
        assert network.modelled_macs == task.dense_macs == 2**16 * sum(network.num_blocks)
        agent = Ppo(env)
        assert agent.scores.maps(0)[0][0].shape[0] == 64
        assert sum(agent.policy_macs) < 0.05 * task.dense_macs
        # Shares are of what runs.
        rollout = collect_rollout(agent.simulator, agent, agent.generator)
        assert rollout.costs.sum(dim=0).max() <= agent.simulator.positions


def test_the_record_holds_what_ppo_plays_without_a_setting():
    assert recorded()["played"]["ppo"] == "ppo"


@pytest.mark.parametrize("task", ["basic-8", "depth-8", "updates-16"])
def test_at_first_most_is_kept_and_half_of_the_episodes_toss_coins_at_all_gates(task):
    env = ccenv.suite[task].make_vec(64)
    env.reset(seed=0)
    agent = Ppo(env, policy_share=100.0)
    observation, gates = agent.simulator.begin(), len(agent.num_blocks)
    kept = agent.keep_probability(observation, 0)
    if max(agent.num_blocks) == 1:
        assert kept.mean().item() == pytest.approx(0.9, abs=0.02)
        return
    agent.is_learning = True
    blocks = agent.distribution(agent.remembered(observation, 0), 0)
    one, coins, _, is_tossed = mixed_logs(blocks.scores, blocks.floor)
    assert (is_tossed.exp() ** gates).mean().item() == pytest.approx(0.5, abs=0.02)
    assert coins.sigmoid().mean().item() == pytest.approx(0.9, abs=0.02)
    assert 0.02 < one[:, -1].exp().mean().item() < 0.1


def test_no_way_of_drawing_is_given_up_until_four_fifths_of_the_training():
    agent = make_agent("ppo", rows=4, floor=0.15)
    floors = []
    agent.update = lambda rollout: floors.append(agent.floor) or {}
    agent.learn(40)
    gates = len(agent.num_blocks)
    expected = [0.15 / gates * max(0.0, 1 - one / 8) for one in range(10)]
    assert floors == pytest.approx(expected)
    assert agent.floor == 0.0


@pytest.mark.parametrize(
    ("rollouts", "num_steps", "expected"),
    [
        (1, 3700, (8, 4)),
        (125, 3700, (8, 4)),
        (312, 3700, (4, 2)),
        (781, 3700, (4, 2)),
        (10_000, 3700, (2, 1)),
        (10_000, None, (8, 4)),
        (1, 1, (2, 1)),
    ],
)
def test_the_shorter_a_training_the_more_often_each_rollout_is_learned_from(
    rollouts, num_steps, expected
):
    agent = make_agent("ppo", rows=4, num_steps=num_steps)
    agent.progress = 1.0
    agent.images_done = 4 * rollouts
    agent.learn(4 * rollouts)
    assert (agent.passes.num_epochs, agent.passes.num_minibatches) == expected


WINS = [0.0, 0.2, 0.5, 0.8, 1.0] + [1.0] * 5


@pytest.mark.parametrize(
    ("means", "error", "drop", "expected"),
    [
        ([*WINS, 0.9, 1.1, 0.9, 1.0], 0.05, 0.25, False),
        ([*WINS, *[0.2] * 5], 0.05, 0.25, True),
        # Within chance, within the drop that is allowed, or never.
        ([*WINS, *[0.2] * 5], 0.5, 0.25, False),
        ([*WINS, *[0.6] * 5], 0.05, 1.0, False),
        ([*WINS, *[0.2] * 5], 0.05, 0.0, False),
    ],
)
def test_the_world_has_changed_where_returns_fall_far_behind(means, error, drop, expected):
    agent = make_agent("ppo", rows=4, restart_drop=drop)
    assert any(agent.has_changed(mean, error) for mean in means) == expected


def test_a_restart_forgets_the_policy_and_lets_the_rates_fall_anew():
    agent = make_agent("ppo", rows=16)
    first = {name: tensor.clone() for name, tensor in agent.parameters().items()}
    agent.learn(64)
    agent.progress = 0.5
    agent.restart()
    assert agent.left == 1.0
    assert not agent.optimizer.state
    for name, tensor in agent.parameters().items():
        assert tensor.shape == first[name].shape
        assert tensor.abs().max() <= 4 * first[name].abs().max() + 1e-3
    agent.progress = 0.75
    assert agent.left == pytest.approx(0.5)
    agent.update(collect_rollout(agent.simulator, agent, agent.generator))
    assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * 0.003)


@pytest.mark.parametrize(
    "moving", [{"cost_limit": 0.3}, {"env_settings": {"reward": "lagrangian", "reward_kwargs": {}}}]
)
def test_where_a_price_moves_returns_fall_by_themselves_and_nothing_restarts(moving):
    agent = make_agent("ppo", rows=4, **moving)
    assert not any(agent.has_changed(mean, 0.01) for mean in [*WINS, *[-5.0] * 5])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["basic-8", "depth-4", "memory-2", "drift-4", "loads-2"])
def test_one_setting_plays_tasks_of_many_skills(task):
    env = ccenv.suite[task].make_vec(128)
    env.reset(seed=0)
    Ppo(env, policy_share=100.0).learn(ccenv.suite[task].episodes)
    score, one = env.unwrapped.score.result(), ccenv.suite[task]
    last = sum(score["returns"][-10:]) / 10
    assert (last - one.reference) / (one.optimum - one.reference) > 0.8
