"""A wrong line is found: faults are planted one by one, and the laws that must fail do."""

import contextlib
import importlib
import inspect
import types
from dataclasses import dataclass

import pytest
from hypothesis import Phase, settings

from ccenv.agents.condnet import Condnet
from ccenv.agents.reinforce import Reinforce
from tests import test_minimal
from tests.agents import test_distributions, test_groups
from tests.ccenv.annexes.tasks import test_tasks, test_tricks
from tests.ccenv.mdp import test_dynamics
from tests.ccenv.networks import test_laws
from tests.ccenv.rewards import test_rewards
from tests.ccenv.simulator import test_loads

FEW = settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
"""The same examples each time; what fails is not made smaller."""


def law(test, **given_):
    """A law of another file, with its parameters; of a property few examples."""

    def check(patch, folder):
        if hasattr(test, "hypothesis"):
            patch.setattr(test, "_hypothesis_internal_use_settings", FEW)
        fixtures = {"monkeypatch": patch, "tmp_path": folder}
        asked = inspect.signature(test).parameters
        test(**given_, **{name: value for name, value in fixtures.items() if name in asked})

    return check


def rewards_formula(name):
    """That returns are those of the formula, on the network that these laws are tried on."""
    network = test_rewards.build_network(
        test_rewards.GatedMLP, 0, in_features=64, **test_rewards.SIZES
    )
    formula = test_rewards.test_returns_are_the_formulas_of_the_descriptions
    return law(formula, network=network, name=name)


LAWS = {
    "episode": law(
        test_minimal.test_an_episode_has_the_cores_masks_costs_and_end_bit_for_bit_and_its_numbers_and_gradients
    ),
    "executed": law(
        test_minimal.test_the_specification_executes_what_it_bills_and_no_skipped_block
    ),
    "regularizers": law(test_minimal.test_the_papers_regularizers_are_the_cores),
    "reinforce": law(
        test_minimal.test_a_policy_of_a_seed_samples_the_cores_masks_and_has_its_gradient_of_any_returns,
        kind=Reinforce,
    ),
    "condnet": law(
        test_minimal.test_a_policy_of_a_seed_samples_the_cores_masks_and_has_its_gradient_of_any_returns,
        kind=Condnet,
    ),
    "environment": law(test_minimal.test_the_vector_environment_is_the_cores_episode_after_episode),
    "training": law(
        test_minimal.test_a_whole_training_has_the_cores_curve_and_verdict, kind=Reinforce
    ),
    "bill": law(
        test_dynamics.test_a_compiled_bill_and_look_are_the_networks_own_whatever_lies_in_memory
    ),
    "costs": law(
        test_laws.test_costs_of_gates_sum_to_the_compute_cost_which_is_one_where_all_is_kept,
        name="resnet",
    ),
    "answers": law(
        test_dynamics.test_answers_judged_in_one_call_are_those_of_torch_and_name_the_first_of_equals
    ),
    "pool": law(
        test_dynamics.test_pooling_leaves_at_most_8_by_8_and_averages_the_pixels_that_are_there,
        height=9,
        width=30,
    ),
    "group": law(
        test_dynamics.test_rows_of_a_group_are_what_their_image_alone_would_be,
        observation="summary",
    ),
    "passes": law(test_dynamics.test_each_pass_over_the_split_visits_every_image_once, rows=256),
    "hinge": rewards_formula("budget_hinge"),
    "skipnet": rewards_formula("skipnet"),
    "blockdrop": rewards_formula("blockdrop"),
    "leave one out": law(test_groups.test_leave_one_out_advantages_sum_to_zero_in_each_group),
    "twins": law(test_groups.test_with_no_twins_but_itself_leaving_twins_out_leaves_one_out),
    "slope": law(
        test_groups.test_the_slope_of_returns_that_rise_with_cost_is_found_whatever_the_images_levels
    ),
    "entropy": law(
        test_distributions.test_entropy_of_independent_blocks_is_the_mean_of_minus_log_probability
    ),
    "mixture": law(
        test_distributions.test_a_mixture_keeps_blocks_as_often_as_its_masks_do_and_is_no_surer_than_they_are
    ),
    "ordered": law(
        test_distributions.test_the_log_probability_of_an_ordered_draw_is_the_product_worked_out_by_hand
    ),
    "cache": law(
        test_loads.test_each_row_has_a_plain_cache_from_which_the_least_recently_used_block_goes
    ),
    "no misses": law(
        test_loads.test_kept_blocks_in_memory_are_no_misses_in_whatever_order_blocks_are_numbered
    ),
    "own memory": law(
        test_loads.test_each_gate_has_a_memory_of_its_own_and_loads_the_bytes_of_its_own_blocks
    ),
    "shares": law(test_loads.test_rows_that_agree_share_what_a_batch_loads),
    "score's cost": law(
        test_tricks.test_the_cost_of_an_episode_is_the_mean_over_its_positions, name="updates-16"
    ),
    "score's budget": law(
        test_tasks.test_every_row_of_a_group_is_an_episode_and_none_behind_the_budget_counts
    ),
    "score's ends": law(
        test_tasks.test_the_best_rule_scores_one_and_the_best_blind_rule_zero, name="basic-4"
    ),
}
"""Name -> a law."""


@dataclass(frozen=True)
class Fault:
    """A wrong line."""

    place: str
    """module:function or module:Class.method."""
    right: str
    """what stands in it once."""
    wrong: str
    """what is put in its place."""
    laws: tuple[str, ...]
    """names in `LAWS`; each of them must fail."""

    def __str__(self):
        return f"{self.place.rpartition('.')[2]}: {self.wrong.strip() or 'nothing'}"


def fault(place, right, wrong, *laws):
    return Fault(f"ccenv.{place}", right, wrong, laws)


FAULTS = [
    # Dynamics and observations.
    fault(
        "mdp.dynamics:EpisodeState.by_row",
        "values.repeat_interleave(self.group_size, 0)",
        "torch.cat([values] * self.group_size)",
        "group",
    ),
    fault("mdp.dynamics:initial", "labels.repeat_interleave(", "labels.tile(", "group"),
    fault(
        "mdp.dynamics:StepOutcome.log_likelihood",
        "self.logits.logsumexp(",
        "self.logits.amax(",
        "episode",
        "environment",
    ),
    fault("mdp.dynamics:compared", "(prediction == labels)", "(prediction != labels)", "answers"),
    fault(
        "mdp.observations:Observer.__call__",
        "behind + state.layer",
        "behind",
        "episode",
        "environment",
    ),
    fault("mdp.observations:pool", "ceil_mode=True", "ceil_mode=False", "pool"),
    # What masks cost.
    fault(
        "networks.core.mlp:LayeredNetwork.add_macs",
        "head_sizes[0] if is_last",
        "head_sizes[0] if not is_last",
        "episode",
        "bill",
    ),
    fault(
        "networks.core.mlp:LayeredNetwork.add_macs",
        "self.block_sizes[gate - 1]",
        "self.block_sizes[gate]",
        "episode",
        "bill",
    ),
    fault(
        "networks.core.protocol:GatedNetwork.add_macs", "spent + step_macs", "step_macs", "costs"
    ),
    fault("networks.core.mlp:layer_macs", "inputs * kept", "network.widths[index] * kept", "bill"),
    fault("networks.core.mlp:dense_tail_macs", "network.head_sizes", "network.widths", "episode"),
    # Layers.
    fault(
        "sparse.reference:reference_linear",
        "linear(zero_where_skipped(x, in_mask), weight, bias)",
        "linear(x, weight)",
        "episode",
    ),
    fault("sparse.reference:zero_where_skipped", "neg_()", "abs_()", "environment"),
    # Rewards.
    fault(
        "rewards.plain:accuracy_minus_cost",
        "outcome.layer_cost",
        "outcome.compute_cost",
        "episode",
        "environment",
    ),
    fault("rewards.plain:budget_hinge", " - (before - cost_limit).clip(min=0)", "", "hinge"),
    fault("rewards.plain:skipnet", "skip_weight / outcome.num_layers", "skip_weight", "skipnet"),
    fault(
        "rewards.plain:blockdrop", "outcome.compute_cost**2", "outcome.compute_cost", "blockdrop"
    ),
    # Advantages and losses.
    fault("agents.advantages:above_mean", "of_gate.mean()", "returns.mean()", "reinforce"),
    fault("agents.advantages:leave_one_out", "/ (group_size - 1)", "/ group_size", "leave one out"),
    fault("agents.advantages:leave_twins_out", "/ (group_size - twins)", "/ group_size", "twins"),
    fault("agents.advantages:slope_sums", "(dim=1, keepdim=True)", "()", "slope"),
    fault(
        "agents.policy_gradient:PolicyGradient.update",
        "record.entropy_weight * left",
        "record.entropy_weight",
        "reinforce",
        "training",
    ),
    fault("agents.condnet:reinforce_loss", "nll.min()", "nll.mean()", "condnet"),
    fault("agents.condnet:regularizers", "0.1 * within", "within", "regularizers", "condnet"),
    # Distributions.
    fault("mdp.choosers:mixed_log_prob", "+ is_tossed", "+ is_one", "mixture"),
    fault("mdp.choosers:mixed_log_prob", "torch.logaddexp(drawn, tossed)", "drawn", "mixture"),
    fault("agents.distributions:keep_probability", "(1 - 2 * least)", "(1 - least)", "reinforce"),
    fault(
        "agents.distributions:IndependentBlocks.log_prob",
        "1 - self.probability",
        "self.probability",
        "reinforce",
    ),
    fault(
        "agents.distributions:IndependentBlocks.entropy",
        " + (1 - p) * (1 - p).log()",
        "",
        "entropy",
        "reinforce",
    ),
    fault("agents.distributions:IndependentBlocks.mode", "> 0.5", "< 0.5", "training"),
    fault(
        "agents.distributions:OrderedBlocks.log_prob",
        "scores.scatter(1, block, -torch.inf)",
        "scores",
        "ordered",
    ),
    # The fast memory.
    fault("annexes.simulator.loads:use", " + blocks * loaded", "", "cache"),
    fault("annexes.simulator.loads:use", "used < last, -1", "used < 0, -1", "cache"),
    fault("annexes.simulator.loads:use", "mask & (used < 0)", "mask", "no misses"),
    fault(
        "annexes.simulator.loads:Loads.charged",
        "self.bytes[outcome.layer]",
        "self.bytes[0]",
        "own memory",
    ),
    fault(
        "annexes.simulator.loads:FastMemory.before_pay",
        "self.used[gate], loaded",
        "_, loaded",
        "own memory",
        "cache",
    ),
    fault("annexes.simulator.loads:Shared.before_pay", "kept.sum(dim=0)", "kept.sum()", "shares"),
    # The suite's score.
    fault("annexes.tasks.score:TaskScore.after_gate", " / simulator.positions", "", "score's cost"),
    fault(
        "annexes.tasks.score:TaskScore.finish",
        "(self.value, self.cost, self.value**2)",
        "(self.cost, self.value, self.value**2)",
        "score's cost",
        "score's budget",
    ),
    fault(
        "annexes.tasks.score:TaskScore.finish",
        "min(len(self.value), budget - self.episodes)",
        "len(self.value)",
        "score's budget",
    ),
    fault(
        "annexes.tasks.score:TaskScore.score",
        "(mean - self.task.reference)",
        "mean",
        "score's ends",
    ),
    # The simulator, rollouts, verdicts, the environment, co-training.
    fault(
        "simulator.simulator:ImageOrder.draw", "order[count:]", "order[:0]", "passes", "training"
    ),
    fault(
        "simulator.rollout:collect_rollout",
        "rewards.flip(0).cumsum(0).flip(0)",
        "rewards.cumsum(0)",
        "reinforce",
    ),
    fault(
        "simulator.evaluate:evaluate",
        'error=1 - numbers["correct"]',
        'error=numbers["correct"]',
        "training",
    ),
    fault(
        "simulator.evaluate:evaluate",
        'compute_cost=numbers["cost"]',
        'compute_cost=densities["density_0"].item()',
        "training",
    ),
    fault("envs.vector:BlockSelectionVectorEnv.step", "step.is_over)\n", "False)\n", "environment"),
    fault("networks.learning.training:CoTrainer.step", "self.optimizer.step()", "pass", "training"),
    # The specification.
    fault("minimal:block_product", "in_mask[:, i] & mask[:, j]", "mask[:, j]", "executed"),
    fault("minimal:block_product", "bias_j = biases[j]", "bias_j = 0 * biases[j]", "episode"),
    fault("minimal:GatedMLP.macs", "self.widths[-1] if", "1 if", "episode", "executed"),
    fault(
        "minimal:observe",
        "torch.arange(gates) == state.gate",
        "torch.arange(gates) == 0",
        "episode",
    ),
    fault("minimal:observe", "state.x.detach()", "state.x", "training"),
    fault("minimal:step", '"reward"] = correct -', '"reward"] = correct +', "episode"),
    fault(
        "minimal:step", '"compute_cost": macs /', '"compute_cost": (macs - state.macs) /', "episode"
    ),
    fault("minimal:Policy.probability", "(1 - 2 * self.least)", "(1 - self.least)", "reinforce"),
    fault("minimal:play", ".flip(0).cumsum(0).flip(0)", ".cumsum(0)", "reinforce"),
    fault("minimal:reinforce", "returns - returns.mean()", "returns", "reinforce", "training"),
    fault("minimal:regularizers", "0.001 * ", "", "regularizers", "condnet"),
    fault("minimal:condnet", "nll - nll.min()", "nll", "condnet"),
    fault("minimal:batches", "order = order[size:]", "order = order[:0]", "training"),
    fault("minimal:train", "zip(optimizers, (", "zip(optimizers[:1], (", "training"),
    fault("minimal:evaluate", "1 - end", "end", "training"),
    fault("minimal:BlockSelection.step", "mask[:, blocks:] = False", "pass", "environment"),
    fault("minimal:BlockSelection.step", "everybody & is_over", "~everybody", "environment"),
]


def function_at(place):
    """The plain function of a place, whatever it is wrapped in."""
    module, _, names = place.partition(":")
    function = importlib.import_module(module)
    for name in names.split("."):
        function = inspect.getattr_static(function, name)
    for inside in ("fget", "func", "__func__"):
        function = getattr(function, inside, function)
    return inspect.unwrap(function)


def codes_in(code):
    """A code object, and those of the functions and classes that it makes."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from codes_in(inner)


@contextlib.contextmanager
def planted(one):
    """Puts a fault in the function that is there, and takes it out again."""
    function = function_at(one.place)
    part, module = inspect.getsource(function), inspect.getmodule(function)
    whole = inspect.getsource(module)
    assert part.count(one.right) == whole.count(part) == 1, f"not once: {one.right!r}"
    wrong = whole.replace(part, part.replace(one.right, one.wrong))
    compiled = codes_in(compile(wrong, module.__file__, "exec"))
    sound, name = function.__code__, function.__code__.co_qualname
    [function.__code__] = [code for code in compiled if code.co_qualname == name]
    try:
        yield
    finally:
        function.__code__ = sound


def holds(name, folder):
    """Whether a law holds; another error than these is one of the planted text itself."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        try:
            LAWS[name](patch, folder)
        except (AssertionError, IndexError, RuntimeError):
            return False
    return True


@pytest.mark.parametrize("name", LAWS)
def test_a_law_holds_where_no_fault_is_planted(name, tmp_path):
    assert holds(name, tmp_path / name)


@pytest.mark.parametrize("one", FAULTS, ids=str)
def test_a_planted_fault_is_found(one, tmp_path):
    with planted(one):
        survived = [name for name in one.laws if holds(name, tmp_path / name)]
    assert not survived


def test_a_fault_that_changes_nothing_is_said_to_survive(tmp_path):
    harmless = fault("agents.advantages:leave_one_out", "keepdim=True", "keepdim=not False", "")
    with planted(harmless):
        assert holds("leave one out", tmp_path)
