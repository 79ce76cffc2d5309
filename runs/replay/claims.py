"""Claims of a result compared with a replay: (claimed, found) -> the differences.

Each number is marked: recomputed, checked for consistency, or the author's word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ccenv.base.mask_words import BOTH, BOTH_WORDS, in_files
from ccenv.base.registry import OWN_PACKAGE
from ccenv.base.trust import is_below, is_in_table
from ccenv.networks.core.protocol import weights_of
from ccenv.runs.engine.metadata import facts_of, verdicts_of_context
from ccenv.runs.replay.rebuilt import Rebuilt, pays_again
from ccenv.runs.replay.replay import ask
from ccenv.runs.replay.verdict import CHECKED, RECOMPUTED, WORD
from ccenv.runs.stats.measures import DETERMINISTIC, OBSERVED, OF_SYMBOLS

ROUNDING = {"float32": 1e-3, "bfloat16": 0.03}
"""By what a network computes in: relative, of the nll and the return on another machine."""
EXACT = 1e-6
"""Relative: MACs, densities and costs are counts."""
WRONG_IMAGES = 2
"""Machines add in other orders: in float32 at most this many inputs may be classified
differently."""
OTHER_BITS = 1e-4
"""Share of mask bits that another machine's rounding may flip."""
RECIPE = 1e-3
"""Relative. Initial weights changed by 1e-6 end pre-training 1e-5 apart (MNIST, 7,820 updates)."""
TIMES = ("last_tenth", "latency", "seconds", "total_seconds")
PLACES = ("machine", "versions", "code", "code_version", "commit", "load", "date", "ranks")
"""Entries of a result that nothing here can tell."""
NAMES = ("agent", "env", "reward", "seed", "settings")
"""Entries that result, settings and the folder's name must agree about."""
TRAINING = ("images", "batch_size", "eval_every", "keep_best")
"""Settings of the program that training follows."""
LATER = ("memory_bytes", OBSERVED, OF_SYMBOLS)
"""Entries that results of earlier versions lack."""
BELIEVED = {
    "training data": "which inputs trained policy and network (test inputs may be among them)",
    "labels": "the labels of a data set that is not the project's",
    "masks": "that the policy chose the masks",
    "seed": "that trainings of several seeds are several",
}
"""Figure -> what its author's word is about, where a row may be wrong in spite of all checks."""


@dataclass(frozen=True)
class Room:
    """What rounding explains."""

    num_images: int
    """that were judged."""
    other_bits: float = 0.0
    """share of the mask bits that may differ: none where stored masks are replayed."""
    rounding: float = ROUNDING["float32"]
    """of what the network computes in."""

    def of(self, name: str, replayed: float) -> float:
        """Largest difference between a claim and what was found."""
        most = round(WRONG_IMAGES * self.rounding / ROUNDING["float32"])
        images = (most + 0.5) / self.num_images
        if name == "error":
            return images + self.other_bits
        least = {"nll": self.rounding, "mean_return": self.rounding + images}.get(name, EXACT)
        return max(least, self.other_bits) * max(1.0, abs(replayed))


def differences(
    claimed: Mapping[str, Any], replayed: Mapping[str, Any], room: Room, where: str = ""
) -> list[str]:
    """Numbers that are claimed otherwise than they were found; all that was found must be there."""
    return [
        f"{where}{name}: claimed {claimed.get(name)}, found {value}"
        for name, value in replayed.items()
        if not agrees(name, claimed.get(name), value, room)
    ]


def agrees(name: str, claimed: Any, replayed: Any, room: Room) -> bool:
    """Whether a claim is within what rounding explains."""
    if isinstance(replayed, list | tuple):
        same_length = isinstance(claimed, list) and len(claimed) == len(replayed)
        return same_length and all(
            agrees(name, a, b, room) for a, b in zip(claimed, replayed, strict=True)
        )
    if isinstance(replayed, bool | str) or not isinstance(claimed, int | float):
        return type(claimed) is type(replayed) and bool(claimed == replayed)
    return not isinstance(claimed, bool) and abs(claimed - replayed) <= room.of(name, replayed)


def check_run(result: Mapping[str, Any], rebuilt: Rebuilt) -> list[str]:
    """Differences between a result and its replay, apart from its evaluations on test inputs."""
    replayed = facts(rebuilt) | {DETERMINISTIC: bool(rebuilt.agent.deterministic) or None}
    earlier = earlier_facts(rebuilt.network)
    problems = [
        f"{name}: claimed {result.get(name)}, found {value}"
        for name, value in replayed.items()
        if (name in result or name not in LATER)
        and (result.get(name) != value or type(result.get(name)) is not type(value))
        and (name not in earlier or result.get(name) != earlier[name])
    ]
    if rebuilt.from_recipe is not None and rebuilt.from_recipe > RECIPE:
        problems.append(
            f"frozen weights differ from those that their recipe gives here by "
            f"{rebuilt.from_recipe:.2g} of their norm: they learned from something else"
        )
    problems += check_curve(result, rebuilt.plan.program.keep_best)
    return problems + (check_asked(result, rebuilt) if can_ask(rebuilt) else [])


def facts(rebuilt: Rebuilt) -> dict[str, Any]:
    """What network, agent and settings leave no choice about."""
    numbers = facts_of(rebuilt.env, rebuilt.agent)
    return numbers | ({"images_seen": images_seen(rebuilt)} if counts_images(rebuilt) else {})


def earlier_facts(network: Any) -> dict[str, int]:
    """What earlier versions said of weights that several places read: each counted as often."""
    every = network.state_dict().values()
    if len(every) == len(weights_of(network)):
        return {}
    return {
        "network_parameters": sum(value.numel() for value in every),
        "memory_bytes": sum(value.nbytes for value in every),
    }


def counts_images(rebuilt: Rebuilt) -> bool:
    """Whether the agent learns by a loop of this project's, which sees as many as it is asked."""
    return is_below(type(rebuilt.agent).learn.__module__, [OWN_PACKAGE])


def images_seen(rebuilt: Rebuilt) -> int:
    """Training inputs by the settings: whole rollouts until there are enough."""
    plan = rebuilt.plan
    if not rebuilt.agent.learns and plan.environment["weights"] != "cotrain":
        return 0
    # Stable-Baselines3's may gather several batches before they learn.
    steps = rebuilt.env.simulator.num_steps
    batches = max(1, int(plan.agent_settings.get("n_steps", steps)) // steps)
    rollout = plan.program.batch_size * batches
    return -(-plan.program.images // rollout) * rollout


def can_ask(rebuilt: Rebuilt) -> bool:
    """Whether the policy as it was in the end can be asked again."""
    return rebuilt.is_restored and not rebuilt.agent.uses_labels


def check_curve(result: Mapping[str, Any], keeps_best: bool = False) -> list[str]:
    """Whether the curve holds the validation that the result tells, where it should."""
    is_deterministic = bool(result.get(DETERMINISTIC))
    curve, told = result.get("curve"), validations(result)[is_deterministic]
    if not isinstance(curve, list) or not all(isinstance(p, Mapping) for p in curve) or not curve:
        return ["curve: expected a list of points, got something else"]
    end, problems = result.get("images_seen"), []
    if keeps_best:
        if curve[-1].get("images_seen") != end:
            problems.append("curve: its last point is not at the last image")
        if not all(isinstance(point.get("error"), float) for point in curve):
            return ["curve: expected an error at each point"]
        best = min(curve, key=lambda point: point["error"])
        end = result.get("kept_at")
        if best.get("images_seen") != end:
            problems.append(f"kept_at: claimed {end}, its curve is best at {best['images_seen']}")
    kind, point = ("best", best) if keeps_best else ("last", curve[-1])
    if point != {"images_seen": end, **told}:
        masks = in_files(is_deterministic)
        problems.append(f"curve: its {kind} point is not the evaluation validation, {masks}")
    return problems


def validations(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Claimed verdicts on validation inputs, sampled and greedy; empty where there is none."""
    wanted = [("validation", kind) for kind in BOTH_WORDS]
    by_kind = {(e.get("split"), e.get("mode")): e for e in result["evaluations"]}
    return [by_kind.get(pair, {}) for pair in wanted]


def check_asked(result: Mapping[str, Any], rebuilt: Rebuilt) -> list[str]:
    """Whether the policy does what the result says on validation inputs, at each cost weight."""
    problems = []
    for claimed, greedy in zip(validations(result), BOTH, strict=True):
        evaluation = ask(rebuilt, greedy, "validation")
        room = Room(evaluation.num_images, OTHER_BITS)
        replayed = payable(evaluation.numbers(), rebuilt)
        problems += differences(claimed, replayed, room, f"validation, {in_files(greedy)}: ")
    replayed = verdicts_of_context(rebuilt.env, rebuilt.agent, rebuilt.plan.program.seed)
    claimed = result.get("context", {})
    for name, verdicts in replayed.get("context", {}).items():
        points = claimed.get(name) if isinstance(claimed, Mapping) else None
        if not isinstance(points, list) or len(points) != len(verdicts):
            problems.append(f"context: expected {len(verdicts)} verdicts at {name}")
            continue
        for point, verdict in zip(points, verdicts, strict=True):
            room = Room(verdict["num_images"], OTHER_BITS)
            problems += differences(point, payable(verdict, rebuilt), room, f"context, {name}: ")
    return problems


def payable(numbers: dict[str, Any], rebuilt: Rebuilt) -> dict[str, Any]:
    """Numbers of an evaluation, without the return where the reward does not pay again."""
    keeps = pays_again(rebuilt.plan)
    return {name: value for name, value in numbers.items() if keeps or name != "mean_return"}


def basis(rebuilt: Rebuilt) -> dict[str, str]:
    """For each figure of a result: recomputed, checked for consistency, or its author's word."""
    plan, agent = rebuilt.plan, rebuilt.agent
    is_trained = bool(agent.learns) or plan.environment["weights"] == "cotrain"
    keeps_best = bool(plan.program.keep_best)
    figures = ("num_images", "error", "nll", "density", "compute_cost", "policy_cost", "total_cost")
    bases = dict.fromkeys((*figures, "macs", *facts(rebuilt), "data"), RECOMPUTED)
    told = {
        "masks": can_ask(rebuilt),
        "mean_return": pays_again(plan),
        "block_use": can_ask(rebuilt) or agent.uses_labels,
        "validation": can_ask(rebuilt),
        f"curve: {'best' if keeps_best else 'last'} point": can_ask(rebuilt),
        "network": rebuilt.from_recipe is not None,
    }
    if "context" in plan.environment:
        told["context"] = can_ask(rebuilt)
    bases |= {name: RECOMPUTED if is_known else WORD for name, is_known in told.items()}
    bases |= dict.fromkeys(NAMES, CHECKED)
    bases["images_seen"] = CHECKED if counts_images(rebuilt) else WORD
    if keeps_best:
        bases["kept_at"] = CHECKED
    followed = [f"settings: {name}" for name in (*TRAINING, *plan.agent_settings)]
    bases |= dict.fromkeys(followed, WORD if is_trained else CHECKED)
    if is_trained:
        # A copy of another seed's training that was moved far enough cannot be told from one.
        bases["seed"] = WORD
    if is_trained or plan.has_own_code:
        bases |= dict.fromkeys(("training data", "no test labels by heart"), WORD)
    if not is_in_table(plan.environment["dataset"], "dataset"):
        bases["labels"] = WORD
    return bases | dict.fromkeys(("curve: other points", *TIMES, *PLACES), WORD)
