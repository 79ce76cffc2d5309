"""Stored runs, checked row by row: python -m runs.validate FOLDER.

A row is one evaluation of one run. It stands if the result says what stored masks do on stored
weights, if settings, seed and folder agree with each other, and if the stored policy, asked again
with that seed, chooses the stored masks. Wall times and machines are the author's word.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ccenv.costs import dense_macs
from runs import folder as run_folder
from runs.programs import program
from runs.replay import Rebuilt, plan_of, rebuild, replay, share_of_other_bits
from runs.report import markdown
from runs.result_checks import check_result
from runs.rows import MODES, evaluation
from runs.settings import Plan, safe_name

EXACT = 1e-6
"""Relative: MACs, densities and costs are counts."""
NLL = 1e-3
"""Relative: kernels add in another order than the reference."""
WRONG_IMAGES = 2
"""For the same reason so many images may be answered otherwise."""
OTHER_BITS = 1e-3
"""Share of mask bits that another machine's rounding may flip."""
NAMED = 5
"""Last parts of a folder's path that tell a run: environment, agent, reward, settings, seed."""
COLUMNS = {"run": "left", "masks": "left", "test error %": "right", "MACs": "right"}
COLUMNS |= {"total cost": "right", "density": "left", "policy": "left", "verdict": "left"}


@dataclass(frozen=True)
class Verdict:
    """A row's answer."""

    folder: str
    """of the run."""
    masks: str
    """"sampled" or "mode"; "" where the run cannot be read at all."""
    claimed: dict[str, Any]
    """what the result says."""
    found: dict[str, Any]
    """what came out."""
    policy: str
    """"replayed", or why the stored policy was not asked again."""
    problems: tuple[str, ...]
    """what does not stand; empty for a valid row."""

    @property
    def is_valid(self) -> bool:
        """Whether the row stands."""
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


def validate(folder: Path) -> list[Verdict]:
    """Checks both evaluations of a run; a run that cannot be rebuilt gives one row that says so."""
    try:
        result = check_result(run_folder.check_json(folder / run_folder.RESULT), "result.json")
        config = run_folder.check_json(folder / run_folder.CONFIG)
        plan = plan_of(config)
        problems = check_identity(folder, result, config, plan)
        rebuilt = rebuild(plan, folder)
    except (ValueError, KeyError, TypeError, OSError, ImportError) as error:
        return [Verdict(str(folder), "", {}, {}, "not replayed", (f"{error}",))]
    problems += check_agent(result, rebuilt)
    return [judge(folder, result, rebuilt, mode, problems) for mode in MODES]


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
    expected = (*map(safe_name, names), plan.fingerprint(), f"seed-{plan.program.seed}")
    if folder.absolute().parts[-NAMED:] != expected:
        problems.append(
            f"expected the folder .../{'/'.join(expected)}, as its settings and seed say"
        )
    return problems


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names: those of environment and agent one level up."""
    inner = {
        f"{group}.{name}": value
        for group in ("environment", "agent_settings")
        for name, value in config[group].items()
    }
    return inner | {k: v for k, v in config.items() if not isinstance(v, Mapping)}


def check_agent(result: Mapping[str, Any], rebuilt: Rebuilt) -> list[str]:
    """Whether the result tells the truth about network and agent."""
    agent = rebuilt.agent
    facts = {
        "dense_macs": dense_macs(rebuilt.network),
        "policy_macs": list(agent.policy_macs),
        "learns": bool(agent.learns),
        "uses_labels": bool(agent.uses_labels),
    }
    return [
        f"{name}: claimed {result[name]}, found {value}"
        for name, value in facts.items()
        if result[name] != value
    ]


def judge(
    folder: Path, result: Mapping[str, Any], rebuilt: Rebuilt, mode: str, problems: Sequence[str]
) -> Verdict:
    """Replays one evaluation and compares."""
    claimed = dict(evaluation(result, mode))
    try:
        masks = run_folder.load_masks(folder, mode, rebuilt.network.num_blocks)
        found = json.loads(json.dumps(asdict(replay(rebuilt, masks))))
    except ValueError as error:
        return Verdict(str(folder), mode, claimed, {}, "not replayed", (*problems, str(error)))
    wrong = [
        f"{name}: claimed {claimed.get(name)}, found {value}"
        for name, value in found.items()
        if not agrees(name, claimed.get(name), value, found["num_images"])
    ]
    policy, others = ask_again(rebuilt, mode, masks)
    return Verdict(str(folder), mode, claimed, found, policy, (*problems, *wrong, *others))


def agrees(name: str, claimed: Any, found: Any, num_images: int) -> bool:
    """Whether a claim is within what rounding explains."""
    if isinstance(found, list):
        pairs = zip(claimed, found, strict=False) if isinstance(claimed, list) else ()
        same_length = isinstance(claimed, list) and len(claimed) == len(found)
        return same_length and all(agrees("", a, b, num_images) for a, b in pairs)
    if not isinstance(claimed, int | float) or isinstance(claimed, bool):
        return False
    if name == "error":
        return abs(claimed - found) <= (WRONG_IMAGES + 0.5) / num_images
    return abs(claimed - found) <= (NLL if name == "nll" else EXACT) * max(1.0, abs(found))


def ask_again(rebuilt: Rebuilt, mode: str, masks: Sequence[Any]) -> tuple[str, list[str]]:
    """Asks the stored policy for its masks and says how many bits differ."""
    if rebuilt.agent.uses_labels:
        return "not replayed: a ceiling", []
    if not rebuilt.is_restored:
        return "not replayed: parameters() does not hold all it learned", []
    share = share_of_other_bits(rebuilt, mode, masks)
    if share <= OTHER_BITS:
        return "replayed", []
    return "replayed", [f"the stored policy with this seed chooses {100 * share:.1f} % other bits"]


def table(verdicts: Sequence[Verdict]) -> str:
    """Verdicts in Markdown."""
    return markdown(COLUMNS, [cells(verdict) for verdict in verdicts])


def cells(verdict: Verdict) -> list[str]:
    """One line: what was found, and what does not stand."""
    found = verdict.found
    numbers = ["", "", "", ""]
    if found:
        numbers = [
            f"{100 * found['error']:.2f}",
            f"{found['macs']:,.0f}",
            f"{found['total_cost']:.3f}",
            " ".join(f"{value:.2f}" for value in found["density"]),
        ]
    answer = "✅" if verdict.is_valid else f"❌ {'; '.join(verdict.problems)}"
    name = "/".join(Path(verdict.folder).parts[-NAMED:])
    return [name, verdict.masks, *numbers, verdict.policy, answer]


@program("runs.validate")
def main(arguments: Sequence[str] | None = None) -> int:
    """Replays stored masks on stored weights and recomputes every figure; see --help."""
    parser = argparse.ArgumentParser(prog="python -m runs.validate", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, or one with runs below it")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON only")
    options = parser.parse_args(arguments)
    folders = run_folders(options.folder)
    verdicts = [one for folder in tqdm(folders, unit="run") for one in validate(folder)]
    valid = sum(verdict.is_valid for verdict in verdicts)
    if options.json:
        print(json.dumps([asdict(v) | {"valid": v.is_valid} for v in verdicts], indent=2))
    else:
        print(f"{table(verdicts)}\n\n{valid} of {len(verdicts)} rows stand")
    return 0 if valid == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
