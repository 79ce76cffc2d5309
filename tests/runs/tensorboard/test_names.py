"""Laws of runs' names in TensorBoard: they say what differs, and tell all runs apart."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccenv.rewards import REWARDS
from ccenv.runs.config.settings import make_plan
from ccenv.runs.store import folder as run_folder
from ccenv.runs.tensorboard.names import curves_folder, readable_name, run_name, shared_settings

NAMES = {
    "reinforce accuracy seed 0": ("reinforce", {}),
    "reinforce accuracy cost_weight=0.5 seed 2 images=512": (
        "reinforce",
        {"reward_kwargs": {"cost_weight": 0.5}, "images": 512, "seed": 2},
    ),
    "reinforce nll learning_rate=0.1 num_blocks=16,8 seed 0 dataset=probe": (
        "reinforce",
        {"reward": "nll_minus_cost", "learning_rate": 0.1, "num_blocks": (16, 8)}
        | {"dataset": "probe"},
    ),
    "rloo accuracy num_kept=3 seed 0": ("rloo", {"num_kept": 3}),
    "rloo accuracy start= seed 0": ("rloo", {"start": ""}),
    "rloo accuracy num_kept=2,3 seed 0": ("rloo", {"num_kept": (2, 3)}),
    "sb3_ppo potential cost_weight=2 seed 0": (
        "sb3_ppo",
        {"reward": "potential", "reward_kwargs": {"cost_weight": 2.0}},
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_named_by_agent_reward_what_was_chosen_and_seed(name):
    assert run_name(make_plan(*NAMES[name])) == name


def test_an_agent_s_own_cost_limit_is_told_from_the_reward_s():
    limits = {"cost_limit": 0.3}
    plan = make_plan("reinforce_lagrangian", limits)
    assert run_name(plan).endswith(" cost_limit=0.3 seed 0")
    # As stored, with the agent's default, and given again.
    usual = make_plan("reinforce_lagrangian", {})
    again = make_plan("reinforce_lagrangian", {"cost_limit": usual.agent_settings["cost_limit"]})
    assert again.folder() == usual.folder()
    assert run_name(again) == run_name(usual) == "reinforce_lagrangian nll seed 0"
    priced = {"reward": "lagrangian", "reward_kwargs": limits}
    assert run_name(make_plan("condnet", priced)) == "condnet lagrangian cost_limit=0.3 seed 0"
    for limited in ("reinforce", "ppo", "reinforce_lagrangian"):
        assert "reward_kwargs.cost_limit=0.3" in run_name(make_plan(limited, priced))


def test_equal_settings_have_one_name_and_one_folder_however_they_are_written():
    one, other = (
        make_plan("rloo", {"num_kept": kept, "reward_kwargs": {"cost_weight": weight}})
        for kept, weight in ((3, 2), (3.0, 2.0))
    )
    assert one.folder() == other.folder()
    assert run_name(one) == run_name(other)


def test_no_reward_s_short_name_is_another_s():
    short = [name.removesuffix("_minus_cost") for name in REWARDS]
    assert len(set(short)) == len(short)


def plans_in(place, *settings):
    return [make_plan("reinforce", {"log_dir": str(place), **own}) for own in settings]


def begun(plan, shared=()):
    """The name of a run that has begun."""
    curves = curves_folder(plan, shared)
    run_folder.begin(plan.folder(), curves, plan.config())
    return curves.name


def test_a_name_leaves_out_what_all_compared_runs_share(tmp_path):
    alike = {"images": 5000, "latency": False, "num_blocks": (16, 8)}
    plans = plans_in(tmp_path, alike, alike | {"batch_size": 32}, alike | {"seed": 1})
    shared = shared_settings(plans)
    assert [begun(plan, shared) for plan in plans] == [
        "reinforce accuracy seed 0",
        "reinforce accuracy seed 0 batch_size=32",
        "reinforce accuracy seed 1",
    ]
    # Curves are found again by whoever knows the run alone.
    assert curves_folder(plans[1]).name == "reinforce accuracy seed 0 batch_size=32"


def test_no_run_gets_the_name_of_another_one_and_none_loses_its_own(tmp_path):
    one, other, usual = plans_in(tmp_path, {"images": 5000}, {"images": 6000}, {})
    before = begun(one)
    assert before == "reinforce accuracy seed 0 images=5000"
    assert begun(other, {"images"}) == "reinforce accuracy seed 0"
    # A run that an earlier version named stays where it is.
    assert begun(one, {"images"}) == before
    third = begun(usual)
    assert third.startswith("reinforce accuracy seed 0 ")
    assert begun(usual) == third
    assert len(list((tmp_path / "tb").iterdir())) == 3


@given(st.lists(st.text(max_size=150), min_size=2, max_size=5, unique=True))
def test_texts_have_different_names_that_every_system_takes(texts):
    names = [readable_name(text) for text in texts]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9\-_.=,+ ]{0,120}", name)
        assert not name or name[-1] not in ". "
