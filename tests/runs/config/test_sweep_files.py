"""Laws of sweeps as files: rows as written, bad input refused in one line."""

import re
import tomllib

import pytest

from ccenv.runs import studies
from ccenv.runs.commands import compare
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import MOST_RUNS
from ccenv.runs.config.sweep_file import read_sweep, sweep_of
from ccenv.runs.studies import FILES, SECTIONS, STUDIES, find_study
from ccenv.runs.sweeps import SWEEPS

TRUE = """# START
description = "A network of my own."
minutes = 0.1
seeds = [0, 1]
budgets = [100, 2_000]

[settings]
dataset = "probe"
network = "probe"
num_blocks = [4, 4]
block_size = 2
activation = "relu"
images = 128
batch_size = 64
reward_kwargs = { cost_weight = 1.0 }

[shared.many]
group_size = 4
reward_kwargs = { cost_weight = 0.5 }

[[rows]]
agent = "dense"

[[rows]]
agent = "rloo"
label = "rloo {num_kept} of {num_blocks.0}, {learning_rate}, at {reward_kwargs.cost_weight:.1f}"
shared = "many"
settings = { num_blocks = [4, 4] }
each = [{ learning_rate = 0.1 }, { learning_rate = 0.2, seeds = [0] }]
grid = { num_kept = [1, 2] }
# END
"""


def written(folder, text, name="mine"):
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def options_in(folder):
    return [f"--{kind}-dir={folder / kind}" for kind in ("log", "report", "results")]


def test_rows_are_every_combination_with_labels_settings_and_seeds_of_their_own(tmp_path):
    sweep = read_sweep(written(tmp_path, TRUE))
    assert (sweep.name, sweep.seeds, sweep.budgets) == ("mine", (0, 1), (100, 2000))
    assert [cell.label for cell in sweep.cells] == [
        "dense",
        "rloo 1 of 4, 0.1, at 0.5",
        "rloo 2 of 4, 0.1, at 0.5",
        "rloo 1 of 4, 0.2, at 0.5",
        "rloo 2 of 4, 0.2, at 0.5",
    ]
    assert [cell.seeds for cell in sweep.cells] == [None, None, None, (0,), (0,)]
    assert sweep.num_runs == len(sweep.runs()) == 8
    last = sweep.cells[-1].settings
    assert last["num_blocks"] == (4, 4)
    assert (last["group_size"], last["num_kept"], last["learning_rate"]) == (4, 2, 0.2)


def test_tables_lie_over_those_beneath_and_an_empty_one_replaces():
    below = {"weights_kwargs": {"learning_rate": 0.1, "weight_decay": 0.2}}
    group = {"agent": "dense", "each": [{"label": "a", "weights_kwargs": {"learning_rate": 0.3}}]}
    group["each"].append({"label": "b", "weights_kwargs": {}})
    sweep = sweep_of({"settings": below, "rows": [group]})
    own = [cell.settings["weights_kwargs"] for cell in sweep.cells]
    assert own == [{"learning_rate": 0.3, "weight_decay": 0.2}, {}]


def test_a_dotted_name_is_an_entry_of_a_dict_in_a_plan_too():
    nested, dotted = {"reward_kwargs": {"cost_weight": 2.0}}, {"reward_kwargs.cost_weight": 2.0}
    plans = [make_plan("reinforce", settings) for settings in (nested, dotted)]
    assert plans[0].config() == plans[1].config()
    with pytest.raises(ValueError, match="each setting once"):
        make_plan("reinforce", nested | dotted)


def test_a_dotted_name_is_the_same_in_quotes():
    quoted, nested = (
        sweep_of(
            {
                "rows": [
                    {
                        "agent": "rloo",
                        "label": "{reward_kwargs.cost_weight}",
                        "settings": settings,
                        "grid": grid,
                    }
                ]
            }
        )
        for settings, grid in (
            ({"weights_kwargs.rate": 1}, {"reward_kwargs.cost_weight": [0.5, 1.0]}),
            ({"weights_kwargs": {"rate": 1}}, {"reward_kwargs": {"cost_weight": [0.5, 1.0]}}),
        )
    )
    assert quoted == nested
    assert [cell.label for cell in quoted.cells] == ["0.5", "1"]


def test_several_lists_of_entries_are_every_combination_and_may_name_agents():
    each = [
        [{"reward": "blockdrop"}, {"reward": "skipnet"}],
        [{"agent": "rloo"}, {"agent": "topk"}],
    ]
    sweep = sweep_of({"rows": [{"label": "{agent}, {reward}", "each": each}]})
    labels = ["rloo, blockdrop", "topk, blockdrop", "rloo, skipnet", "topk, skipnet"]
    assert [cell.label for cell in sweep.cells] == labels
    assert [cell.agent for cell in sweep.cells] == ["rloo", "topk"] * 2


def test_a_file_of_mine_is_compared_like_a_sweep_that_ships(tmp_path, capsys):
    path = written(tmp_path, TRUE)
    assert [section.title for section in find_study(str(path)).sections] == [
        "Methods at equal budgets"
    ]
    assert compare.main([str(path), "--no-run", *options_in(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "8 runs have no result yet: dense (seeds 0, 1); rloo 1" in said.err
    assert (said.out, list(tmp_path.iterdir())) == ("", [path])


B = '[[rows]]\nagent = "dense"\nlabel = "b"\n'
WRONG = {
    ("# END", "colour = 1"): "unknown key of a row 'colour'",
    ("# START", "sed = [0]"): "did you mean 'seeds'?",
    ('"rloo"', '"rlo"'): "number 2: unknown agent 'rlo': did you",
    ("num_kept =", "num_kep ="): "num_kept",
    ('agent = "dense"', ""): "[[rows]] number 1: expected agent as a text, got none",
    (
        TRUE,
        TRUE.replace('agent = "dense"', "").replace("[settings]", '[settings]\nagent = "dense"'),
    ): ("number 1: agent stands under [settings]; it belongs in each [[rows]]"),
    ("[1, 2]", "[]"): "list of values of 'num_kept'",
    ("[1, 2]", f"{[1] * 100_000}"): "make several sweeps",
    ("[1, 2]", "[1, 1]"): "'rloo 1 of 4, 0.1, at 0.5' twice",
    ("[1, 2]", "1"): "got 1; one value stands in settings",
    ("{num_kept}", "{kept}"): "to name settings of its row",
    ("# START", 'measure = "loss"'): "'loss': choose one of bits, error",
    ('= "many"', '= "few"'): "number 2: expected [shared.few] for shared = 'few', got none",
    ("[100, 2_000]", "[2, 1]"): "ascending whole numbers",
    ("seeds = [0, 1]", "seeds = [-1]"): "whole numbers",
    ("seeds = [0, 1]", "seeds = [1, 1]"): "different whole numbers",
    ("seeds = [0, 1]", "seeds = 2"): "expected seeds as a list, got 2; write seeds = [0, 1, 2]",
    ("# END", f"\n[settings.{'a.' * 40}a]\n"): "nested at most 32 deep",
    ('"dense"', '"os:system"'): "--trust os",
    (
        'label = "rloo',
        r'label = "\u001b[31m rloo',
    ): "printable texts, got label = ",
    ("{learning_rate}", "{learning_rate:999f}"): "a label of at most 200 printable letters",
    ("# END", '"\\u202e" = 1'): "printable texts, got a name = ",
    ("A network", r"\u009b2J A network"): "printable texts, got description = ",
    ("# START", "memory_budgets = [inf]"): "finite numbers, got memory_budgets = inf",
    (
        "# END",
        "learning_rate = 0.1",
    ): "learning_rate is no key of a row; it is a setting and stands in",
    (
        "# START",
        "images = 64",
    ): "images is no key of a sweep; it is a setting and stands under [settings]",
    (
        "[settings]",
        '[settings]\nenv = "BlockSelectionSequence-v0"',
    ): "give its settings: dataset=python_bundled@16",
    (
        "[settings]",
        "[settings]\nimagess = 64",
    ): "(dense), by [settings] of all rows: unknown setting",
    (
        "[settings]",
        "[settings]\nseed = 1",
    ): "number 1: seed stands under [settings]; write seeds = [0]",
    (
        "# END",
        f'{B}settings.images = "many"',
    ): "number 3 (b): expected images to be int, got 'many'",
    ("# END", f'{B}settings.network = "resnet"\nsettings.network_kwargs.dept = 8'): (
        "number 3 (b): unknown network_kwargs name 'dept': did you mean 'depth'?"
    ),
    (
        "# END",
        f"{B}settings.cost_wieght = 2",
    ): "'cost_wieght': did you mean 'reward_kwargs.cost_weig",
    ("# END", f'{B}masks = "greedy"'): "expected masks of sampled or mode (greedy), got 'greedy'",
    ("# END", B.replace('label = "b"', "settings.images = 32")): (
        "[[rows]] number 1 and [[rows]] number 3: expected different labels, got 'dense' twice; "
        'give label = "dense {images}"'
    ),
    (TRUE, 'description = "Nothing."\n[rows]\nagent = "dense"'): "write [[rows]], in two brackets",
    (TRUE, 'description = "Nothing."'): "expected rows, got none",
    (TRUE, "rows = ["): "expected TOML in",
    (TRUE, "\x00"): "expected TOML in",
}
"""(what stands in the true file, what stands in its place) -> what is said of it."""


@pytest.mark.parametrize("change", WRONG, ids=WRONG.get)
def test_a_wrong_file_is_refused_in_one_line_and_leaves_nothing(change, tmp_path, capsys):
    assert change[0] in TRUE
    path = written(tmp_path, TRUE.replace(*change))
    assert compare.main([str(path), *options_in(tmp_path)]) == 2
    said = capsys.readouterr().err.strip()
    assert WRONG[change] in said
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == [path]


PLACES = {
    "settings": lambda whole: whole["settings"],
    "shared": lambda whole: whole["shared"]["many"],
    "a shared name with dots": lambda whole: whole["shared"].setdefault("settings.a.b", {}),
    "miniature": lambda whole: whole.setdefault("miniature", {}),
    "a row": lambda whole: whole["rows"][1]["settings"],
    "each": lambda whole: whole["rows"][1]["each"][0],
    "grid": lambda whole: whole["rows"][1]["grid"],
}
HOSTILE = {
    "reward": ("os:system", "which was not imported"),
    "dataset": ("os:system", "which was not imported"),
    "transforms": (["shift=2, os:system"], "which was not imported"),
    "network_kwargs": ({"cell": "os:system"}, "which was not imported"),
    "log_dir": ("elsewhere", "leave it out, and give --log-dir"),
    "network": ("\x1b[31m", "printable texts"),
    "learning_rate": (float("nan"), "expected finite numbers"),
    "reward_kwargs": ({"cost_weight": -float("inf")}, "expected finite numbers"),
    "images": (10**400, "of at most 64 bits"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_file_may_hold_is_refused_wherever_it_stands(name, place):
    value, hint = HOSTILE[name]
    whole = tomllib.loads(TRUE)
    table = PLACES[place](whole)
    table[name] = [value] if place == "grid" and not isinstance(value, dict) else value
    with pytest.raises(ValueError, match=re.escape(hint)):
        sweep_of(whole)


def test_many_runs_are_those_of_rows_times_seeds(tmp_path):
    seeds = f"seeds = {list(range(MOST_RUNS // 3))}"
    path = written(tmp_path, TRUE.replace("seeds = [0, 1]", seeds))
    with pytest.raises(ValueError, match="at most 10,000 runs"):
        find_study(str(path))


def test_a_grid_larger_than_memory_is_refused_at_once():
    values = {name: list(range(1000)) for name in "abcdefgh"}
    with pytest.raises(ValueError, match="at most 10,000 runs"):
        sweep_of({"rows": [{"agent": "rloo", "label": "{a} {b}", "grid": values}]})


def test_sweeps_are_named_as_their_files_and_read_when_they_are_asked_for(monkeypatch):
    read = []
    monkeypatch.setattr(studies, "read_sweep", lambda path: read.append(path) or read_sweep(path))
    table = studies.OnUse(FILES, studies.shipped_study)
    assert list(table) == list(FILES) == list(STUDIES) == list(SWEEPS)
    assert "smoke" in table
    assert not read
    assert table["smoke"].sweep.name == "smoke"
    assert table["smoke"].sweep.name == "smoke"
    assert read == [FILES["smoke"]]
    assert set(SECTIONS) <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_ships_says_what_it_compares_and_how_long_it_takes(name):
    study = STUDIES[name]
    assert study.sweep.name == name
    assert study.sweep.description.endswith(".")
    assert study.sweep.minutes > 0
    assert all(section.title for section in study.sections)
