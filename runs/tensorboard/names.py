"""Names runs in TensorBoard: (plan) -> a short name that says what differs, and where curves lie.

TensorBoard calls a run by the path of its event file. A run's own folder says everything and ends
in a hash, so its curves lie elsewhere: in `<log_dir>/tb/<name>/`, where a file says whose they are.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ccenv.base.given_files import read_text
from ccenv.runs.config.command import beyond_defaults, setting_words
from ccenv.runs.config.plan import Plan
from ccenv.runs.store.folder import OF_RUN
from ccenv.runs.store.identity import AROUND, canonical

BOARD = "tb"
"""Folder of all curves, below the folder of runs."""
REWARD = "reward_kwargs"
LONGEST = 100
"""Characters of either part of a name."""
ALLOWED = "-_.=,+ "
"""What a folder's name may hold on every system, letters and digits aside."""
DEPTH = 5
"""Parts of a run's folder below the folder of runs: environment, agent, reward, rest, seed."""


def run_name(plan: Plan, shared: Collection[str] = ()) -> str:
    """A run's agent, reward, settings beyond the defaults, and its seed; two runs have two names.

    Settings of the reward come first; what is mostly alike in all runs stands behind the seed.
    Names in `shared` are left out; see `shared_settings`.

    >>> from ccenv.runs.config.settings import make_plan
    >>> run_name(make_plan("reinforce", {"reward_kwargs": {"cost_weight": 0.5}, "images": 512}))
    'reinforce accuracy cost_weight=0.5 seed 0 images=512'
    """
    changes = beyond_defaults(plan).items()
    chosen = {name: canonical(value) for name, value in changes if name not in {*AROUND, *shared}}
    behind = {"dataset", *vars(plan.program)} - plan.agent_settings.keys()
    alike = {name: chosen.pop(name) for name in [*chosen] if name in behind}
    # Accuracy, nll and probability pay; that cost is charged goes without saying.
    reward = plan.environment["reward"].removesuffix("_minus_cost")
    chosen.pop("reward", None)
    of_reward = words_of({REWARD: chosen.pop(REWARD)} if REWARD in chosen else {})
    # An agent's setting of the same name, such as cost_limit, keeps it.
    taken = {*plan.agent_settings, *plan.environment, *vars(plan.program)}
    inner = {name: name.removeprefix(f"{REWARD}.") for name in of_reward}
    of_reward = {n if inner[n] in taken else inner[n]: word for n, word in of_reward.items()}
    first = of_reward | words_of(dict(reversed(chosen.items())))
    words = " ".join([plan.agent, reward, *(f"{name}={word}" for name, word in first.items())])
    last = " ".join(f"{name}={word}" for name, word in words_of(alike).items())
    return f"{readable_name(words)} seed {plan.program.seed} {readable_name(last)}".strip()


def words_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as the command line takes them; lists without brackets and spaces.

    >>> words_of({"num_blocks": [10, 10], "weights_kwargs": {"rate": 0.1}})
    {'num_blocks': '10,10', 'weights_kwargs.rate': '0.1'}
    """
    words = dict(word for name, value in settings.items() for word in setting_words(name, value))
    return {
        name: word[1:-1].replace(" ", "") if word.startswith("[") and word.count("[") == 1 else word
        for name, word in words.items()
    }


def readable_name(text: str) -> str:
    """A text as a folder's name on every system; one that had to be changed ends in a hash of it.

    >>> readable_name("half of all"), readable_name("reward a/b")
    ('half of all', 'reward a.b 4a5fdfb7')
    """
    # A module's colon is the only one in most settings.
    plain = text.replace(":", ".")
    safe = "".join(c if (c.isascii() and c.isalnum()) or c in ALLOWED else "." for c in plain)
    safe = safe[:LONGEST].strip(". ")
    if safe == plain:
        return safe
    return f"{safe} {hashlib.sha256(text.encode()).hexdigest()[:8]}".strip()


def shared_settings(plans: Iterable[Plan]) -> frozenset[str]:
    """Settings of environment and program that are alike in all runs of a comparison.

    They tell no run from another. Those of agents stay: they say which policy it is.

    >>> from ccenv.runs.config.settings import make_plan
    >>> plans = [make_plan("rloo", {"images": 512, "batch_size": size}) for size in (32, 64)]
    >>> run_name(plans[0], shared_settings(plans))
    'rloo accuracy seed 0 batch_size=32'
    """
    every = [{**plan.environment, **vars(plan.program)} for plan in plans]
    names = set().union(*every)
    return frozenset(
        name for name in names if all(one.get(name) == every[0].get(name) for one in every)
    )


def curves_folder(plan: Plan, shared: Collection[str] = ()) -> Path:
    """Where a run's curves lie; of a run that has none, where they will, under a name that is free.

    Args:
        plan: of the run.
        shared: settings that a new name leaves out, where no other run has that name.
    """
    folder = plan.folder()
    board = folder.parents[DEPTH - 1] / BOARD
    to_run = os.path.relpath(folder, board / "name")
    owners = {told.parent: read_text(told).strip() for told in board.glob(f"*/{OF_RUN}")}
    whole = run_name(plan)
    names = (
        run_name(plan, shared),
        whole,
        f"{whole} {hashlib.sha256(to_run.encode()).hexdigest()[:8]}",
    )
    places = [
        *(place for place, run in owners.items() if run == to_run),
        *(board / n for n in names),
    ]
    return next(place for place in places if owners.get(place, to_run) == to_run)
