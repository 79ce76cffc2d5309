"""Stored runs, checked row by row: ccenv validate FOLDER.

A row is one evaluation of one run. It is valid if the result equals what stored masks do on stored
weights, if settings, seed and folder agree with each other, if frozen weights are what their recipe
gives, and if the stored policy, asked again with that seed, chooses the stored masks, whatever the
labels. What cannot be recomputed (times, machines, the curve before its end) is the author's word.

Nothing is imported or called because a file names it: see `ccenv.runs.store.trust`.
"""

import argparse
import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ccenv.runs.engine.claims import (
    OTHER_BITS,
    RECOMPUTED,
    WORD,
    Room,
    basis,
    block_use,
    check_block_use,
    check_run,
    differences,
    numbers_of,
)
from ccenv.runs.engine.replay import (
    Rebuilt,
    ask,
    pays_again,
    plan_of,
    rebuild,
    replay,
    returns,
    share_of_other_bits,
    test_images,
    wrong_labels,
)
from ccenv.runs.plan.settings import Plan, safe_name
from ccenv.runs.programs import program
from ccenv.runs.show.tables import markdown
from ccenv.runs.stats.rows import MODES, evaluation
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.result_checks import check_result
from ccenv.runs.store.stored import stored_file, stored_object

NAMED = 5
"""Last parts of a folder's path that identify a run: environment, agent, reward, settings, seed."""
MOST_TEXT = 400
"""Characters of a problem that are shown: it may quote a file."""
COLUMNS = {"run": "left", "masks": "left", "test error %": "right", "MACs": "right"}
COLUMNS |= {"total cost": "right", "density": "left", "mean return": "right", "policy": "left"}
COLUMNS |= {"recomputed": "left", "the author's word": "left", "verdict": "left"}


@dataclass(frozen=True)
class Verdict:
    """A row's answer."""

    folder: str
    """of the run."""
    draw: str
    """"sampled" or "mode"; "" where the run cannot be read at all."""
    claimed: dict[str, Any]
    """what the result says of the numbers that were found."""
    found: dict[str, Any]
    """what came out."""
    policy: str
    """"replayed", or why the stored policy was not asked again."""
    problems: tuple[str, ...]
    """what is wrong; empty for a valid row."""
    basis: dict[str, str] = dataclasses.field(default_factory=dict)
    """for each number of the result "recomputed" or "the author's word"."""
    seed: int | None = None
    """of the run."""
    learned: tuple[str, ...] = ()
    """hashes of what training made: the agent's tensors, a co-trained network's."""

    @property
    def is_valid(self) -> bool:
        """Whether the row is valid."""
        return not self.problems


def run_folders(root: Path) -> list[Path]:
    """Folders of runs at or below a folder.

    Raises:
        ValueError: if there is none.
    """
    found = sorted({path.parent for path in root.rglob(run_folder.RESULT)})
    if not found:
        raise ValueError(f"expected {root} to hold runs ({run_folder.RESULT}), got none")
    return found


def validate(folder: Path, trusted: Sequence[str] = ()) -> list[Verdict]:
    """Checks both evaluations of a run; a run that cannot be rebuilt gives one row that says so.

    Args:
        folder: the run's.
        trusted: modules of the reader's own that it may name.
    """
    try:
        return judge_run(folder, trusted)
    except Exception as error:
        # Files that somebody else wrote can bring about anything: it is their row that says so.
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return [Verdict(str(folder), "", {}, {}, "not replayed", (short(f"{kind}{error}"),))]


def judge_run(folder: Path, trusted: Sequence[str]) -> list[Verdict]:
    """Rebuilds a run, and judges it and both of its evaluations.

    Raises:
        Exception: whatever comes of reading files that somebody else wrote.
    """
    result = check_result(stored_object(folder, run_folder.RESULT), "result.json")
    config = stored_object(folder, run_folder.CONFIG)
    plan = plan_of(config, trusted)
    problems = check_identity(folder, result, config, plan)
    rebuilt = rebuild(plan, folder)
    rows = [judge(folder, result, rebuilt, draw) for draw in MODES]
    span = max(row.found.pop("span", 0.0) for row in rows)
    problems += check_run(result, rebuilt, span)
    return [
        dataclasses.replace(
            row,
            problems=tuple(map(short, (*problems, *row.problems))),
            basis=basis(rebuilt),
            seed=plan.program.seed,
            learned=learned(rebuilt),
        )
        for row in rows
    ]


def short(text: str) -> str:
    """A problem on one line of limited length, without characters that command a terminal."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = re.sub(r" +", " ", line)
    return line if len(line) <= MOST_TEXT else f"{line[:MOST_TEXT]}..."


def check_identity(
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
    known = flat(json.loads(json.dumps(plan.config())))
    if other := [name for name, value in flat(config).items() if known.get(name) != value]:
        problems.append(f"config.json holds settings that such a run does not have: {other}")
    names = (plan.program.env, plan.agent, plan.environment["reward"])
    told = (result["env"], result["agent"], result["reward"])
    if told != names:
        problems.append(f"result.json is about {told}, config.json about {names}")
    expected = [*map(safe_name, names), plan.folder().parent.name, f"seed-{plan.program.seed}"]
    found = list(folder.absolute().parts[-NAMED:])
    if len(found) == NAMED and settings_part_is_right(plan, found[-2]):
        expected[-2] = found[-2]
    if found != expected:
        problems.append(
            f"expected the folder .../{'/'.join(expected)}, as its settings and seed say"
        )
    return problems


def settings_part_is_right(plan: Plan, name: str) -> bool:
    """Whether a folder's path names the settings as the run would.

    A hash that was made before a setting was added cannot be made again: any is taken, because the
    settings themselves are in the folder and were checked.
    """
    return name == plan.folder().parent.name or re.fullmatch("[0-9a-f]{12}", name) is not None


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names: those of environment and agent one level up."""
    inner = {
        f"{group}.{name}": value
        for group in ("environment", "agent_settings")
        for name, value in config[group].items()
    }
    return inner | {k: v for k, v in config.items() if not isinstance(v, Mapping)}


def judge(folder: Path, result: Mapping[str, Any], rebuilt: Rebuilt, draw: str) -> Verdict:
    """Replays one evaluation and compares; `found` also holds the span of the returns."""
    stored_file(folder, run_folder.CHECKPOINT, run_folder.MASKS)
    num_images = len(test_images(rebuilt.plan))
    masks = run_folder.load_masks(folder, draw, rebuilt.network.num_blocks, num_images)
    found = numbers_of(replay(rebuilt, masks))
    span = 0.0
    if pays_again(rebuilt.plan):
        paid = returns(rebuilt, masks).double()
        span = float(paid.max() - paid.min())
        found["mean_return"] = float(paid.mean())
    claims = evaluation(result, draw)
    claimed = {name: claims.get(name) for name in found}
    problems = differences(claimed, found, Room(num_images, span))
    policy, others, asked = ask_again(rebuilt, draw, masks)
    problems += others
    if draw == "sampled" and (use := block_use(rebuilt, asked, masks)) is not None:
        problems += check_block_use(result.get("block_use"), use)
    return Verdict(str(folder), draw, claimed, found | {"span": span}, policy, tuple(problems))


def ask_again(rebuilt: Rebuilt, draw: str, masks: Sequence[Tensor]) -> tuple[str, list[str], Any]:
    """Asks the stored policy for its masks, with the true labels and with wrong ones.

    Returns:
        How the policy was asked, what is wrong, and its evaluation; None if the stored tensors
        are not the run's whole policy.
    """
    if rebuilt.agent.uses_labels:
        return "not replayed: a ceiling", [], None
    asked, problems = ask(rebuilt, draw), []
    with wrong_labels(rebuilt):
        blind = ask(rebuilt, draw)
    if changed := share_of_other_bits(blind.masks, asked.masks):
        problems.append(
            f"the policy looks at the labels: with wrong ones it chooses {100 * changed:.2g} % "
            "other bits"
        )
    if not rebuilt.is_restored:
        return "not replayed: parameters() does not hold all it learned", problems, None
    share = share_of_other_bits(asked.masks, masks)
    if share > OTHER_BITS:
        problems.append(f"the stored policy with this seed chooses {100 * share:.1f} % other bits")
    return "replayed", problems, asked


def learned(rebuilt: Rebuilt) -> tuple[str, ...]:
    """Hashes of what training made of this seed: no two seeds end with the same numbers."""
    made = []
    if rebuilt.agent.learns and rebuilt.stored[run_folder.AGENT]:
        made.append(run_folder.AGENT)
    if rebuilt.plan.environment["weights"] == "cotrain":
        made.append(run_folder.NETWORK)
    return tuple(f"{name} {digest(rebuilt.stored[name])}" for name in made)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of tensors and their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        flat_bytes = tensors[name].contiguous().reshape(-1).view(torch.uint8)
        found.update(f"{name} {list(tensors[name].shape)} ".encode() + flat_bytes.numpy().tobytes())
    return found.hexdigest()[:24]


def refuse_copies(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Adds to rows of different seeds that what they learned is the same to the bit."""
    seeds: dict[str, set[int | None]] = {}
    for verdict in verdicts:
        for made in verdict.learned:
            seeds.setdefault(made, set()).add(verdict.seed)
    checked = []
    for verdict in verdicts:
        copies = [made for made in verdict.learned if len(seeds[made]) > 1]
        told = tuple(
            f"one training under several seeds: {made.split()[0]} is the same to the bit in seeds "
            f"{sorted(str(seed) for seed in seeds[made])}"
            for made in copies
        )
        checked.append(dataclasses.replace(verdict, problems=verdict.problems + told))
    return checked


def table(verdicts: Sequence[Verdict]) -> str:
    """Verdicts in Markdown."""
    return markdown(COLUMNS, [cells(verdict) for verdict in verdicts])


def cells(verdict: Verdict) -> list[str]:
    """One line: numbers found, numbers taken from the author, and problems."""
    found = verdict.found
    numbers = [""] * 5
    if found:
        numbers = [
            f"{100 * found['error']:.2f}",
            f"{found['macs']:,.0f}",
            f"{found['total_cost']:.3f}",
            " ".join(f"{value:.2f}" for value in found["density"]),
            f"{found['mean_return']:.3f}" if "mean_return" in found else "not recomputed",
        ]
    by_basis = [
        ", ".join(name for name, value in verdict.basis.items() if value == kind)
        for kind in (RECOMPUTED, WORD)
    ]
    answer = "✅" if verdict.is_valid else f"❌ {'; '.join(verdict.problems)}"
    name = "/".join(Path(verdict.folder).parts[-NAMED:])
    return [name, verdict.draw, *numbers, verdict.policy, *by_basis, answer]


@program("ccenv validate")
def main(arguments: Sequence[str] | None = None) -> int:
    """Replays stored masks on stored weights and recomputes every figure; see --help."""
    parser = argparse.ArgumentParser(prog="ccenv validate", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, or one with runs below it")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    parser.add_argument(
        "--trust",
        metavar="MODULE",
        action="append",
        default=[],
        help="import what runs name of this module of yours; may be given again",
    )
    options = parser.parse_args(arguments)
    for module in options.trust:
        print(
            f"trusted: {module} (its code is imported and run if a run names it)", file=sys.stderr
        )
    folders = run_folders(options.folder)
    rows = [one for folder in tqdm(folders, unit="run") for one in validate(folder, options.trust)]
    verdicts = refuse_copies(rows)
    valid = sum(verdict.is_valid for verdict in verdicts)
    if options.json:
        shown = [asdict(verdict) | {"valid": verdict.is_valid} for verdict in verdicts]
        print(json.dumps(run_folder.finite(shown), indent=2))
    else:
        print(f"{table(verdicts)}\n\n{valid} of {len(verdicts)} rows stand")
    return 0 if valid == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
