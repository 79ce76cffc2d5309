"""A stored run to verdicts: its folder -> one row for each evaluation, and what does not stand.

A row stands if the result says what stored masks do on stored weights, and what the masks do that
the stored policy gives here with that seed, whatever the labels; if settings, seed, data and folder
agree; and if frozen weights are what their recipe gives. `basis` says of each figure whether it was
recomputed, checked for consistency, or is the author's word.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.earlier_settings import earlier_of
from ccenv.base.mask_words import BOTH, in_files
from ccenv.networks.core.check import check_network
from ccenv.networks.core.precision import dtype_of
from ccenv.runs.config.plan import Plan, safe_name
from ccenv.runs.engine.collect_runs import dotted
from ccenv.runs.engine.run import block_use_of
from ccenv.runs.replay.claims import (
    OTHER_BITS,
    ROUNDING,
    Room,
    agrees,
    basis,
    check_run,
    differences,
    payable,
)
from ccenv.runs.replay.rebuilt import Rebuilt, as_it_ran, plan_of, rebuild, test_images
from ccenv.runs.replay.replay import (
    OTHER_VALUE,
    StoredMasks,
    ask,
    share_of_others,
    wrong_labels,
)
from ccenv.runs.replay.verdict import NAMED, Checked
from ccenv.runs.stats.measures import DETERMINISTIC, evaluation
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import masks_file
from ccenv.runs.store.provenance import data_of
from ccenv.runs.store.untrusted_files import stored_file, stored_object, stored_result
from ccenv.simulator.evaluate import Evaluation, evaluate

MOST_TEXT = 400
"""Characters of a problem that are shown: it may quote a file."""
BATCH, OTHER_BATCH = 1000, 61
"""Inputs at a time: as in an evaluation, and so few that each input stands elsewhere."""


def validate(folder: Path, trusted: Sequence[str] = ()) -> list[Checked]:
    """Checks both evaluations of a run; a run that cannot be rebuilt gives one row that says so."""
    try:
        return judge_run(folder, trusted)
    except Exception as error:
        # Files that somebody else wrote can bring about anything: it is their row that says so.
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return [Checked(str(folder), "", {}, {}, "not replayed", (short(f"{kind}{error}"),))]


def judge_run(folder: Path, trusted: Sequence[str]) -> list[Checked]:
    """Rebuilds a run, and judges it and both of its evaluations."""
    result = stored_result(folder)
    config = stored_object(folder, run_folder.CONFIG)
    plan = plan_of(config, trusted)
    problems = check_one_run(folder, result, config, plan)
    rebuilt = rebuild(plan, folder)
    rows = [judge_masks(folder, result, rebuilt, greedy) for greedy in BOTH]
    problems += check_run(result, rebuilt) + laws_broken(rebuilt)
    # Of what training made of this seed: no two seeds end with the same numbers.
    made = [run_folder.AGENT] if rebuilt.agent.learns and rebuilt.stored[run_folder.AGENT] else []
    made += [run_folder.NETWORK] if plan.environment["weights"] == "cotrain" else []
    return [
        dataclasses.replace(
            row,
            problems=tuple(map(short, (*problems, *row.problems))),
            basis=basis(rebuilt),
            seed=plan.program.seed,
            training={name: (rebuilt.begun[name], rebuilt.stored[name]) for name in made},
        )
        for row in rows
    ]


def check_one_run(
    folder: Path, result: Mapping[str, Any], config: Mapping[str, Any], plan: Plan
) -> list[str]:
    """Whether result, settings and the folder's name are about one run."""
    problems = []
    if result["settings"] != config:
        changed = [k for k in config if result["settings"].get(k) != config[k]]
        problems.append(f"settings of result.json differ from config.json in {changed}")
    if result["seed"] != config["seed"]:
        problems.append(f"seed: result.json says {result['seed']}, config.json {config['seed']}")
    # Settings that were added since the run are at their defaults in the plan: no contradiction.
    settings = dotted(json.loads(json.dumps(plan.config())))
    stored = dotted(as_it_ran(config, plan.agent_class))
    if other := [name for name, value in stored.items() if settings.get(name) != value]:
        problems.append(f"config.json holds settings that such a run does not have: {other}")
    names = (plan.program.env, plan.agent, plan.environment["reward"])
    told = (result["env"], result["agent"], result["reward"])
    if told != names:
        problems.append(f"result.json is about {told}, config.json about {names}")
    here = data_of(plan.environment["dataset"])
    if result.get("data", here) != here:
        problems.append(f"made on data {result['data']}, replayed on {here}: other images")
    expected = [*map(safe_name, names), plan.folder().parent.name, f"seed-{plan.program.seed}"]
    parts = list(folder.absolute().parts[-NAMED:])
    since = earlier_of(plan.agent_class).values.keys() & plan.agent_settings.keys()
    is_earlier = not since <= config["agent_settings"].keys()
    if len(parts) == NAMED and (is_earlier or re.fullmatch("[0-9a-f]{12}", parts[-2])):
        # A name from before a default was another cannot be made again, nor a hash from before a
        # setting was added; the settings were checked.
        expected[-2] = parts[-2]
    if parts != expected:
        problems.append(
            f"expected the folder .../{'/'.join(expected)}, as its settings and seed say"
        )
    return problems


def short(text: str) -> str:
    """A problem on one line of limited length, without characters that command a terminal."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = re.sub(r" +", " ", line)
    return line if len(line) <= MOST_TEXT else f"{line[:MOST_TEXT]}..."


def judge_masks(
    folder: Path, result: Mapping[str, Any], rebuilt: Rebuilt, deterministic: bool
) -> Checked:
    """Replays one evaluation and compares.

    The claims must be what the stored masks do, and what the masks do that the policy gives here.
    """
    stored_file(folder, run_folder.CHECKPOINT, run_folder.MASKS)
    num_images = len(test_images(rebuilt.plan))
    num_blocks = rebuilt.env.simulator.num_blocks
    masks = masks_file.load_masks(folder, deterministic, num_blocks, num_images)
    values = stored_values(folder, deterministic, rebuilt, num_images)
    replayed = ask(rebuilt, deterministic, policy=StoredMasks(rebuilt.agent, masks, values))
    numbers, claims = judged_numbers(rebuilt, replayed), evaluation(result, deterministic)
    room = Room(num_images, rounding=ROUNDING[dtype_of(rebuilt.network)])
    problems = differences(claims, numbers, room)
    if values is not None and share_of_others(replayed.masks, masks):
        problems.append("expected gate values of 0 where no block was computed, got others")
    policy, others, asked = ask_again(rebuilt, deterministic, masks, values)
    problems += others
    if asked is not None:
        other_values = share_of_others(asked.gate_values, values or ())
        if share := max(share_of_others(asked.masks, masks), other_values):
            numbers = judged_numbers(rebuilt, asked)
            room = dataclasses.replace(room, other_bits=min(share, OTHER_BITS))
            where = "by the masks that the policy gives here: "
            problems += differences(claims, numbers, room, where)
    is_own = deterministic == bool(result.get(DETERMINISTIC))
    judged = replayed if rebuilt.agent.uses_labels else asked
    if is_own and judged is not None:
        # To one per cent, and what flipped bits explain.
        room = Room(1, other_bits=0.01)
        if not agrees("", result.get("block_use"), block_use_of(judged), room):
            problems.append("block_use: claimed otherwise than the policy does")
    claimed = {name: claims.get(name) for name in numbers}
    return Checked(str(folder), in_files(deterministic), claimed, numbers, policy, tuple(problems))


def judged_numbers(rebuilt: Rebuilt, replayed: Evaluation) -> dict[str, Any]:
    """Numbers of an evaluation of test inputs that a result must claim."""
    numbers = payable(replayed.numbers(), rebuilt)
    return {name: value for name, value in numbers.items() if name not in ("split", "mode")}


def laws_broken(rebuilt: Rebuilt) -> list[str]:
    """What code of the user's breaks: laws of networks; that an input's place changes nothing.

    A policy or network may have learned by heart what to do with the n-th test input: greedy masks
    are asked for in batches of another size. No replay can distinguish a function from what is
    learned by heart for an input itself.
    """
    problems = []
    data = rebuilt.env.simulator.data
    if rebuilt.plan.has_own_network:
        try:
            check_network(rebuilt.network, data.batch(torch.arange(min(2, len(data))))[0])
        except (TypeError, ValueError) as error:
            problems.append(f"the network breaks a law of check_network: {error}")
    if rebuilt.plan.has_own_code and not rebuilt.agent.uses_labels:
        usual, other = (
            evaluate(rebuilt.env, rebuilt.agent, deterministic=True, batch_size=size)
            for size in (BATCH, OTHER_BATCH)
        )
        room = Room(usual.num_images, OTHER_BITS, ROUNDING[dtype_of(rebuilt.network)])
        if share_of_others(other.masks, usual.masks) > OTHER_BITS:
            problems.append("masks depend on the place of an input, or on other inputs")
        where = "in batches of another size, "
        problems += differences(usual.numbers(), payable(other.numbers(), rebuilt), room, where)
    return problems


def stored_values(
    folder: Path, deterministic: bool, rebuilt: Rebuilt, num_images: int
) -> list[Tensor] | None:
    """Gate values of an agent that acts by them, or whose blocks are touched only; else None."""
    num_blocks = rebuilt.env.simulator.num_blocks
    values = masks_file.load_gate_values(folder, deterministic, num_blocks, num_images)
    gives = bool(getattr(rebuilt.agent, "gives_values", False))
    wanted = gives or "oblivious" in rebuilt.plan.environment
    if wanted and values is None:
        raise ValueError(
            f"expected gate values of {rebuilt.plan.agent} with its masks, got none: the run is "
            "from before they were stored; carry it out again"
        )
    if values is not None and not wanted:
        raise ValueError(f"expected masks alone of {rebuilt.plan.agent}, got gate values too")
    return values


def ask_again(
    rebuilt: Rebuilt,
    deterministic: bool,
    masks: Sequence[Tensor],
    values: Sequence[Tensor] | None = None,
) -> tuple[str, list[str], Evaluation | None]:
    """Asks the stored policy for its masks, with the true labels and with wrong ones.

    Returns:
        What was asked, what does not stand, and the policy's evaluation or None where it is not
        the policy of the run that was asked.
    """
    if rebuilt.agent.uses_labels:
        return "not replayed: a ceiling", [], None
    asked, problems = ask(rebuilt, deterministic), []
    with wrong_labels(rebuilt):
        blind = ask(rebuilt, deterministic)
    changed = share_of_others(blind.masks, asked.masks)
    if changed or share_of_others(blind.gate_values, asked.gate_values):
        problems.append(
            f"the policy looks at the labels: with wrong ones it chooses {100 * changed:.2g} % "
            "other bits, or other gate values"
        )
    if not rebuilt.is_restored:
        return "not replayed: parameters() does not hold all it learned", problems, None
    share = share_of_others(asked.masks, masks)
    near = OTHER_VALUE[dtype_of(rebuilt.network)]
    apart = share_of_others(asked.gate_values, values or (), near)
    if share > OTHER_BITS:
        problems.append(f"the stored policy with this seed chooses {100 * share:.2g} % other bits")
    if apart > OTHER_BITS:
        problems.append(
            f"the stored policy with this seed gives {100 * apart:.2g} % other gate values"
        )
    return "replayed", problems, asked
