"""A stored run to verdicts: its folder -> one row for each evaluation, and what does not stand.

A row stands if the result says what stored masks do on stored weights, and what the masks do that
the stored policy gives here with that seed, whatever the labels; if settings, seed, data and folder
agree; and if frozen weights are what their recipe gives. `basis` says of each figure whether it was
recomputed, checked for consistency, or is the author's word.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ccenv.base.files import arrays_digest
from ccenv.networks.core.precision import dtype_of
from ccenv.runs.replay.claims import (
    OTHER_BITS,
    Room,
    as_json,
    basis,
    check_block_use,
    check_run,
    differences,
    use_of_blocks,
)
from ccenv.runs.replay.own_code import check_places, laws_broken
from ccenv.runs.replay.rebuilt import Rebuilt, pays_again, plan_of, rebuild, test_images
from ccenv.runs.replay.replay import (
    OTHER_VALUE,
    ROUNDING,
    ask,
    num_unexplained,
    replay,
    returns,
    share_of_other_bits,
    share_of_other_values,
    wrong_labels,
)
from ccenv.runs.replay.verdict import Checked, check_one_run
from ccenv.runs.stats.measures import DETERMINISTIC, MODES, evaluation
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import masks_file
from ccenv.runs.store.untrusted_files import stored_file, stored_object, stored_result
from ccenv.simulator.evaluate import Evaluation

MOST_TEXT = 400
"""Characters of a problem that are shown: it may quote a file."""


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
    rows = [judge_draw(folder, result, rebuilt, draw) for draw in MODES]
    span = max(row.found.pop("span", 0.0) for row in rows)
    problems += check_run(result, rebuilt, span) + laws_broken(rebuilt)
    learned_here = learned_hashes(rebuilt)
    return [
        dataclasses.replace(
            row,
            problems=tuple(map(short, (*problems, *row.problems))),
            basis=basis(rebuilt),
            seed=plan.program.seed,
            learned=learned_here,
        )
        for row in rows
    ]


def short(text: str) -> str:
    """A problem on one line of limited length, without characters that command a terminal."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = re.sub(r" +", " ", line)
    return line if len(line) <= MOST_TEXT else f"{line[:MOST_TEXT]}..."


def judge_draw(folder: Path, result: Mapping[str, Any], rebuilt: Rebuilt, draw: str) -> Checked:
    """Replays one evaluation and compares; `found` also holds the span of the returns.

    The claims must be what the stored masks do, and what the masks do that the policy gives here.
    """
    stored_file(folder, run_folder.CHECKPOINT, run_folder.MASKS)
    num_images = len(test_images(rebuilt.plan))
    num_blocks = rebuilt.env.simulator.num_blocks
    masks = masks_file.load_masks(folder, draw, num_blocks, num_images)
    values = stored_values(folder, draw, rebuilt, num_images)
    found, room = figures(rebuilt, masks, values)
    claims = evaluation(result, draw)
    problems = differences(claims, found, room)
    policy, others, asked = ask_again(rebuilt, draw, masks, values)
    problems += others
    if asked is not None:
        other_values = share_of_other_values(asked.gate_values, values or ())
        if share := max(share_of_other_bits(asked.masks, masks), other_values):
            found, room = figures(rebuilt, asked.masks, asked.gate_values or None)
            room = dataclasses.replace(room, other_bits=min(share, OTHER_BITS))
            where = "by the masks that the policy gives here: "
            problems += differences(claims, found, room, where)
    problems += check_places(rebuilt, draw)
    is_own = draw == MODES[bool(result.get(DETERMINISTIC))]
    if is_own and (use := use_of_blocks(rebuilt, asked, masks)) is not None:
        problems += check_block_use(result.get("block_use"), use)
    claimed = {name: claims.get(name) for name in found}
    return Checked(str(folder), draw, claimed, found | {"span": room.span}, policy, tuple(problems))


def figures(
    rebuilt: Rebuilt, masks: Sequence[Tensor], values: Sequence[Tensor] | None
) -> tuple[dict[str, Any], Room]:
    """What masks and gate values do on test inputs, and what rounding explains of it."""
    found, span = as_json(replay(rebuilt, masks, gate_values=values)), 0.0
    if pays_again(rebuilt.plan):
        paid = returns(rebuilt, masks, values).double()
        span = float(paid.max() - paid.min())
        found["mean_return"] = float(paid.mean())
    num_ties, rounding = found.pop("num_ties"), ROUNDING[dtype_of(rebuilt.network)]
    return found, Room(found["num_images"], span, num_ties=num_ties, rounding=rounding)


def stored_values(
    folder: Path, draw: str, rebuilt: Rebuilt, num_images: int
) -> list[Tensor] | None:
    """Gate values of an agent that acts by them, or whose blocks are touched only; else None."""
    num_blocks = rebuilt.env.simulator.num_blocks
    found = masks_file.load_gate_values(folder, draw, num_blocks, num_images)
    gives = bool(getattr(rebuilt.agent, "gives_values", False))
    wanted = gives or "oblivious" in rebuilt.plan.environment
    if wanted and found is None:
        raise ValueError(
            f"expected gate values of {rebuilt.plan.agent} with its masks, got none: the run is "
            "from before they were stored; carry it out again"
        )
    if found is not None and not wanted:
        raise ValueError(f"expected masks alone of {rebuilt.plan.agent}, got gate values too")
    return found


def ask_again(
    rebuilt: Rebuilt, draw: str, masks: Sequence[Tensor], values: Sequence[Tensor] | None = None
) -> tuple[str, list[str], Evaluation | None]:
    """Asks the stored policy for its masks, with the true labels and with wrong ones.

    Returns:
        What was asked, what does not stand, and the policy's evaluation or None where it is not
        the policy of the run that was asked.
    """
    if rebuilt.agent.uses_labels:
        return "not replayed: a ceiling", [], None
    asked, problems = ask(rebuilt, draw), []
    with wrong_labels(rebuilt):
        blind = ask(rebuilt, draw)
    changed = share_of_other_bits(blind.masks, asked.masks)
    if changed or share_of_other_values(blind.gate_values, asked.gate_values):
        problems.append(
            f"the policy looks at the labels: with wrong ones it chooses {100 * changed:.2g} % "
            "other bits, or other gate values"
        )
    if not rebuilt.is_restored:
        return "not replayed: parameters() does not hold all it learned", problems, None
    share = share_of_other_bits(asked.masks, masks)
    near = OTHER_VALUE[dtype_of(rebuilt.network)]
    apart = share_of_other_values(asked.gate_values, values or (), near)
    if share > OTHER_BITS:
        problems.append(f"the stored policy with this seed chooses {100 * share:.2g} % other bits")
    if apart > OTHER_BITS:
        problems.append(
            f"the stored policy with this seed gives {100 * apart:.2g} % other gate values"
        )
    differs = max(share, apart) > 0 and not problems
    if differs and (count := num_unexplained(rebuilt, draw, masks, values)):
        problems.append(
            f"the stored policy with this seed chooses {count:,} other bits or gate values that no "
            "rounding explains"
        )
    return "replayed", problems, asked


def refuse_copies(verdicts: Sequence[Checked]) -> list[Checked]:
    """Adds to rows of different seeds that what they learned is the same to the bit."""
    seeds: dict[str, set[int | None]] = {}
    for verdict in verdicts:
        for made in verdict.learned:
            seeds.setdefault(made, set()).add(verdict.seed)
    return [
        dataclasses.replace(
            verdict,
            problems=(
                *verdict.problems,
                *(
                    f"one training under several seeds: {made.split()[0]} is the same to the bit "
                    f"in seeds {sorted(str(seed) for seed in seeds[made])}"
                    for made in verdict.learned
                    if len(seeds[made]) > 1
                ),
            ),
        )
        for verdict in verdicts
    ]


def learned_hashes(rebuilt: Rebuilt) -> tuple[str, ...]:
    """Hashes of what training made of this seed: no two seeds end with the same numbers."""
    made = []
    if rebuilt.agent.learns and rebuilt.stored[run_folder.AGENT]:
        made.append(run_folder.AGENT)
    if rebuilt.plan.environment["weights"] == "cotrain":
        made.append(run_folder.NETWORK)
    return tuple(f"{name} {arrays_digest(rebuilt.stored[name], {})}" for name in made)
