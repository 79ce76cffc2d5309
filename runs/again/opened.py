"""A finished run, opened again: its folder -> network and agent as they were when it ended."""

from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.again.rebuilt import Rebuilt, plan_of, rebuild
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.stored import stored_config


def open_run(folder: Path, trusted: Sequence[str] = ()) -> Rebuilt:
    """Reads a run's settings and puts its stored weights in their places.

    Args:
        folder: the run's.
        trusted: modules of the reader's own that it may name, see `ccenv.runs.store.trust`.

    Raises:
        ValueError: if the folder holds no finished run or no weights of it, or its policy cannot
            be put back.
    """
    check_finished(folder)
    config = stored_config(folder)
    rebuilt = rebuild(plan_of(config, trusted), folder)
    if not rebuilt.is_restored:
        raise ValueError(
            f"expected a policy that {folder / run_folder.CHECKPOINT} gives back, got "
            f"{rebuilt.plan.agent}, which keeps what it learned elsewhere; train another agent"
        )
    return rebuilt


def check_finished(folder: Path) -> None:
    """Refuses a folder without a finished run and its weights, saying which of them is missing.

    Raises:
        ValueError: with what to do.
    """
    needed = [run_folder.CONFIG, run_folder.RESULT]
    needed += [f"{run_folder.CHECKPOINT}/{n}" for n in (run_folder.AGENT, run_folder.NETWORK)]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing == needed:
        below = sorted({str(path.parent) for path in folder.rglob(run_folder.RESULT)})
        hint = f"; for example {below[0]}" if below else "; ccenv train makes one and says where"
        raise ValueError(f"expected the folder of a run, got {folder}{hint}")
    if missing:
        raise ValueError(
            f"expected a finished run with its weights in {folder}, got none of "
            f"{', '.join(missing)}; copy them there, or train it again: see {run_folder.COMMAND}"
        )
