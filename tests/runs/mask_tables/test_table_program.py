"""Laws of `ccenv table`: what is built can be shown, figures are those that are known by hand."""

import json

import pytest

from ccenv.annexes.mask_table import read_table
from ccenv.runs.commands import cli
from ccenv.runs.mask_tables.build import build_table
from ccenv.runs.tables.mask_table import show_table

PROBE = ("probe-residual", "probe")


def test_a_probes_table_shows_what_is_known_by_hand(tmp_path, capsys):
    out = tmp_path / "new" / "probe.safetensors"
    assert cli.main(["table", "build", *PROBE, "--out", str(out), "--limit", "100"]) == 0
    said = capsys.readouterr()
    assert f"{out}: 16 masks of 100 inputs" in said.out
    assert "100 inputs: 0.0 MB" in said.err
    assert cli.main(["table", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "probe-residual on probe (test), 16 masks of 100 inputs" in shown
    assert "50 inputs choose, 50 judge" in shown
    # An input needs one of four units: its own mask is right with one, and without it never.
    rows = {row["units"]: row for row in show_table(out)["rows"]}
    assert [rows[k]["oracle_error"] for k in range(5)] == [1, 0, 0, 0, 0]
    assert [rows[k]["num_masks"] for k in range(5)] == [1, 4, 6, 4, 1]
    assert [rows[k]["random_error"] for k in (1, 2, 3)] == pytest.approx([0.75, 0.5, 0.25])
    assert show_table(out)["dense_error"] == rows[4]["static_error"] == 0


def test_static_masks_are_chosen_by_another_split(tmp_path, capsys):
    for split in ("test", "validation"):
        build_table(*PROBE, tmp_path / split, split=split)
    words = ["table", "show", str(tmp_path / "test"), "--choose", str(tmp_path / "validation")]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judge"] == read_table(tmp_path / "test").header.num_images
    assert found["choose"] == read_table(tmp_path / "validation").header.num_images
    assert cli.main([*words[:3], "--choose", words[2]]) == 2
    assert "got the same" in capsys.readouterr().err


def test_a_table_says_of_what_it_is(tmp_path):
    settings = {"num_blocks": [4], "block_size": 2, "activation": "relu"}
    header = build_table("probe", "probe", tmp_path / "t", limit=5, menu=3, **settings).header
    assert (header.network, header.dataset, header.split) == ("probe", "probe", "test")
    assert header.settings == settings
    assert header.num_masks <= 3
    assert "cpu" in header.made_with


def test_a_table_that_is_too_large_is_refused_before_its_network_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ccenv.simulator.simulator.frozen_weights", lambda *_, **__: pytest.fail("trained")
    )
    with pytest.raises(ValueError, match=r"1,048,576 masks \(20 blocks\) of 9 inputs, 28\.4 MB"):
        build_table("mlp", "digits", tmp_path / "t", limit=9, most_bytes=2**20)
    with pytest.raises(pytest.fail.Exception, match="trained"):
        build_table("mlp", "digits", tmp_path / "t", limit=9, num_blocks=[2, 2])


def test_names_of_the_package_are_shown_as_the_environment_takes_them(capsys):
    assert cli.main(["table", "show", "text", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["header"]["network"], found["num_masks"]) == ("bytes", 1024)
    assert cli.main(["table", "show", "txet"]) == 2
    assert "did you mean 'text'" in capsys.readouterr().err


def test_a_build_tells_its_size_before_the_first_chunk(tmp_path, monkeypatch):
    told = []

    def stop(bar, text, file):
        told.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm.write", stop)
    with pytest.raises(KeyboardInterrupt):
        build_table(*PROBE, tmp_path / "t", limit=100, progress=True)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert told == ["16 masks of 100 inputs: 0.0 MB; 100 inputs are left"]


def test_tables_of_two_networks_are_not_compared(tmp_path, capsys):
    build_table(*PROBE, tmp_path / "one", limit=9)
    build_table("probe-exit", "probe", tmp_path / "other", limit=9, split="validation")
    words = ["table", "show", str(tmp_path / "one"), "--choose", str(tmp_path / "other")]
    assert cli.main(words) == 2
    assert "another weights" in capsys.readouterr().err
