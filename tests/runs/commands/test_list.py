"""Laws of `ccenv list`: every name of every table is shown, a wrong one answers the nearest."""

import json

import gymnasium as gym
import pytest

import ccenv
from ccenv.rewards import make_reward
from ccenv.runs.commands import list as listing
from ccenv.simulator.settings import setting_defaults


@pytest.fixture(scope="module")
def shown():
    return {kind: listing.list_kind(kind) for kind in listing.KINDS}


def test_every_name_of_every_table_is_listed_and_explained(shown):
    for kind, (table, _) in listing.KINDS.items():
        assert list(shown[kind]) == list(table)
        lines = [line for line in shown[kind].values() if "about" in line]
        assert all(line["about"] for line in lines)
        assert len({tuple(line) for line in shown[kind].values()}) == 1


def test_rewards_are_listed_with_what_they_declare(shown):
    for name, line in shown["rewards"].items():
        said = make_reward(name).description
        assert line["formula"] == said.formula
        assert line["keeps optimum"] == said.keeps_optimum
        assert line["depends on machine"] == (name == "latency")
        assert (line["numbers"] > 1) == (name == "vector")


def test_networks_are_listed_with_their_own_sizes_and_their_gates(shown):
    networks = shown["networks"]
    resnet = networks["resnet"]
    assert resnet["settings"] == {"network_kwargs.depth": 20, "network_kwargs.width": 16}
    assert len(resnet["gates"]) == 9
    assert resnet["gates"][0] == "layer1.0: 1 (identity)"
    assert networks["mlp"]["settings"]["block_size"] == setting_defaults()["block_size"]
    assert networks["probe-exit"]["gates"] == [f"exit{i}: 1 (stop)" for i in range(3)]
    assert all(line["dense MACs"] > 0 for line in networks.values())


def test_every_environment_that_is_registered_is_listed(shown):
    registered = {
        name
        for name, spec in gym.registry.items()
        if str(spec.entry_point).startswith("ccenv.envs")
    }
    assert registered == set(shown["environments"]) == set(ccenv.ENVIRONMENTS)


@pytest.mark.parametrize("name", ["BlockSelection-v0", "BlockSelectionStreaming-v0"])
def test_an_environment_is_listed_with_the_actions_that_it_has(name, shown):
    line = shown["environments"][name]
    env = gym.make(name, weights="cotrain").unwrapped
    assert str(env.action_space) == line["action"]
    assert list(env.simulator.num_blocks) == line["num_blocks"]


@pytest.mark.parametrize("kind", [None, *listing.KINDS])
def test_the_table_and_the_json_hold_the_same_names(kind, shown, monkeypatch, capsys):
    monkeypatch.setattr(listing, "list_kind", lambda kind, names: shown[kind])
    command = [] if kind is None else [kind]
    assert listing.main([*command, "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    for width in (80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        assert listing.main(command) == 0
        table = capsys.readouterr().out.splitlines()
        assert max(map(len, table)) <= width
        names = [line.split()[0] for line in table[1:] if line and line[0] != " "]
        assert names[: len(as_json)] == list(as_json)


def test_what_does_not_fit_is_named_with_where_it_stands_and_shown_when_asked_for(capsys):
    labels = listing.list_kind("sweeps")["equal-cost-mnist"]["cells"]
    assert listing.main(["sweeps"]) == 0
    overview = capsys.readouterr().out
    assert labels[-1] not in overview
    assert "cells: ccenv list sweeps NAME; all of it for programs: --json" in overview
    assert listing.main(["sweeps", "equal-cost-mnist"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    in_full = " ".join(" ".join(lines).split())
    assert all(label in in_full for label in labels)


def test_one_name_and_one_of_ones_own_can_be_asked_for(tmp_path, monkeypatch, capsys):
    text = '"""Mine."""\ndef thrift(outcome, price=2.0):\n    """Pays little."""\n'
    (tmp_path / "listed_rewards.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert listing.main(["rewards", "lagrangian", "listed_rewards:thrift", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["lagrangian", "listed_rewards:thrift"]
    mine = found["listed_rewards:thrift"]
    assert mine["formula"] is None
    assert mine["about"] == "Pays little."
    assert mine["reward_kwargs"] == {"price": 2.0}


def test_a_network_of_ones_own_that_needs_more_is_listed_without_gates(tmp_path, monkeypatch):
    text = '"""Mine."""\ndef mine(input_shape, num_classes, depth, width=3):\n    """Deep."""\n'
    (tmp_path / "listed_networks.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    line = listing.list_kind("networks", ["listed_networks:mine"])["listed_networks:mine"]
    assert line["settings"] == {"network_kwargs.width": 3}
    assert line["gates"] is None
    assert line["about"] == "Deep."


def test_a_data_set_that_is_not_here_is_listed_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CCENV_DATA", str(tmp_path))
    line = listing.list_kind("datasets", ["mnist"])["mnist"]
    assert line["here"] is False
    assert "ccenv data mnist" in line["about"]
