"""Laws of the benchmark of training loops: the same loop, the route asked for, complete rows."""

import torch

from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import forward
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.benchmarks import training
from ccenv.runs.lab.benchmarks.training import DENSE, KERNELS, MASKED, MaskedDenseMLP, Training

SMALL = Training(
    name="condnet on digits",
    agent="condnet",
    settings={
        "env": "BlockSelection-v0",
        "reward": "negative_nll",
        "weights": "cotrain",
        "batch_size": 16,
    },
    gated={"num_blocks": (10, 8), "block_size": 8, "target_density": 0.25},
    dense={"num_blocks": (1,), "block_size": 32},
    start_density=0.25,
)


def test_the_masked_dense_network_multiplies_skipped_weights_whatever_is_asked():
    images, kept = torch.rand(4, 16), torch.tensor([[True, False]] * 4)
    answers = {}
    for builder in (GatedMLP, MaskedDenseMLP):
        network = build_network(builder, 0, in_features=16, num_blocks=(2,), block_size=4)
        with torch.no_grad():
            # Dense products meet these weights of the head, times the zeros of a skipped block.
            network.head_layers[0].weight[:, 4:] = torch.nan
            answers[builder] = forward(network, images, [kept])
    assert answers[GatedMLP].isfinite().all()
    assert answers[MaskedDenseMLP].isnan().all()


def test_the_masked_dense_network_gives_the_kernels_answers():
    images = torch.rand(8, 16)
    masks = [torch.rand(8, n, generator=torch.Generator().manual_seed(0)) < 0.5 for n in (4, 6)]
    sizes = {"in_features": 16, "num_blocks": (4, 6), "block_size": 8}
    kernels, masked = (build_network(b, 0, **sizes) for b in (GatedMLP, MaskedDenseMLP))
    torch.testing.assert_close(kernels(images, masks), masked(images, masks))


def test_agents_of_all_routes_train_on_the_same_images_and_only_the_network_differs():
    agents = training.make_agents(SMALL)
    assert list(agents) == [KERNELS, MASKED, DENSE]
    networks = [agent.simulator.network for agent in agents.values()]
    assert [type(n) for n in networks] == [GatedMLP, MaskedDenseMLP, GatedMLP]
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(a, b)
    for agent in agents.values():
        assert agent.learn(1) == 16
        assert agent.simulator.network_version == 1
    orders = [agent.simulator.indices for agent in agents.values()]
    assert all(torch.equal(order, orders[0]) for order in orders)


def test_the_policy_starts_at_the_density_it_is_to_have():
    agent = training.make_agents(SMALL)[KERNELS]
    observation = agent.simulator.begin()
    for layer, blocks in enumerate((10, 8)):
        found = agent.keep_probability(observation, layer)
        torch.testing.assert_close(found, torch.full((16, blocks), 0.25))


def test_rows_compare_each_route_with_the_others_of_the_same_rounds():
    rows = training.time_training(SMALL, rounds=3, seconds=0.0)
    by_route = {row["route"]: row for row in rows}
    assert by_route[MASKED]["speedup"] == by_route[MASKED]["speedup_low"] == 1.0
    assert by_route[DENSE]["dense_speedup"] == 1.0
    assert by_route[DENSE]["density"] == 1.0
    assert {row["num_images"] for row in rows} == {row["num_rows"] for row in rows} == {16}
    for row in rows:
        assert row["rollout_milliseconds"] > 0
        assert row["network_milliseconds"] > 0


def test_where_data_are_absent_one_line_says_how_to_get_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CCENV_DATA", str(tmp_path))
    assert main(["training", "--quick"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "ccenv data mnist --download" in said
