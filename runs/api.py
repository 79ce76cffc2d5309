"""Trains and loads runs, which are objects with numbers and tables; the command is a layer over it.

For example:

    run = ccenv.train("rloo", num_kept=2, images=20_000)
    runs = ccenv.train("reinforce", seeds=3, reward_kwargs={"cost_weight": 0.5})
    again = ccenv.load(run.folder)
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ccenv.base.annotations import checks_types
from ccenv.base.mask_words import kind_in_words
from ccenv.base.registry import names_on_use
from ccenv.base.values import positive_int, shown
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine.collect_runs import in_rows, telling_settings
from ccenv.runs.engine.errors import CannotStartError, say
from ccenv.runs.stats.intervals import Interval, mean_interval, told, with_interval
from ccenv.runs.stats.measures import (
    evaluation,
    lines_beside_error,
    shown_evaluation,
    shown_masks,
)
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.untrusted_files import EXPORTED, stored_result
from ccenv.runs.tables.sweep_table import html_table, markdown

if TYPE_CHECKING:
    from ccenv.runs.engine.prepare import Options

__getattr__ = names_on_use("ccenv.runs", {"comparing": ["Comparison", "compare"]})
"""They stand here too; to train imports nothing of what compares."""


@dataclass(frozen=True, repr=False)
class Run:
    """One finished run, with its results on test inputs.

    >>> evaluation = {"split": "test", "mode": "sampled", "error": 0.05, "total_cost": 0.2}
    >>> Run({"agent": "rloo", "seed": 0, "evaluations": [evaluation]})
    Run(rloo, seed 0: test error 5.00 %, cost 0.200, sampled masks)
    """

    result: Mapping[str, Any]
    """what `result.json` holds."""

    @property
    def agent(self) -> str:
        """A name in `ccenv.agents.AGENTS` or `module:Class`."""
        return str(self.result["agent"])

    @property
    def seed(self) -> int:
        """Of the environment and of the agent."""
        return int(self.result["seed"])

    @property
    def folder(self) -> Path:
        """With settings, result, curves for TensorBoard and weights."""
        return Path(self.result["folder"])

    def judged(self, *, deterministic: bool | None = None) -> Mapping[str, Any]:
        """Error, nll, compute cost, MACs and densities on test inputs.

        Args:
            deterministic: True for greedy masks, False for sampled ones; by default those that the
                agent is for by its `deterministic`.
        """
        if deterministic is None:
            return shown_evaluation(self.result, None)
        return evaluation(self.result, deterministic)

    @property
    def masks(self) -> str:
        """Masks that the agent is for: "sampled" or "greedy"."""
        return kind_in_words(shown_masks(self.result, None))

    @property
    def error(self) -> float:
        """Share of wrong answers on test inputs."""
        return float(self.judged()["error"])

    @property
    def cost(self) -> float:
        """Executed MACs, the policy's own included, over the dense network's."""
        return float(self.judged()["total_cost"])

    @property
    def summary(self) -> str:
        """Three lines, one more for texts or sequences, and one for each value of a context."""
        test = self.judged()
        # Beside masks that a function gave stand sampled ones.
        greedy = shown_masks(self.result, None) is False
        other = evaluation(self.result, greedy)
        density = " ".join(f"{share:.2f}" for share in test["density"])
        lines = [
            f"{self.agent}: test error {100 * test['error']:.2f} % ({self.masks} masks), "
            f"{100 * other['error']:.2f} % ({kind_in_words(greedy)} masks)",
            f"compute cost {test['compute_cost']:.4f}, with the policy {test['total_cost']:.4f}, "
            f"density {density}",
            *lines_beside_error(self.result),
        ]
        lines += [
            f"{name} {at['value']:.3g}: test error {100 * at['error']:.2f} %, "
            f"compute cost {at['compute_cost']:.4f}"
            for name, verdicts in self.result.get("context", {}).items()
            for at in verdicts
        ]
        return "\n".join([*lines, str(self.folder)])

    def __repr__(self) -> str:
        return (
            f"Run({self.agent}, seed {self.seed}: test error {100 * self.error:.2f} %, "
            f"cost {self.cost:.3f}, {self.masks} masks)"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary)}</pre>"


class Runs(Sequence[Run]):
    """Finished runs, such as those of several seeds: a sequence of `Run`, with means.

    >>> def finished(seed, error):
    ...     evaluation = {"split": "test", "mode": "sampled", "error": error, "total_cost": 0.2}
    ...     return Run({"agent": "rloo", "seed": seed, "evaluations": [evaluation]})
    >>> runs = Runs([finished(0, 0.04), finished(1, 0.06)])
    >>> len(runs), round(runs.error.mean, 2)
    (2, 0.05)
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        """Takes runs in their order."""
        self.runs = tuple(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        return Runs(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def error(self) -> Interval:
        """Test error with its 95 % interval over the runs."""
        return mean_interval([run.error for run in self.runs])

    @property
    def cost(self) -> Interval:
        """Cost, the policy's own included, with its 95 % interval over the runs."""
        return mean_interval([run.cost for run in self.runs])

    @property
    def masks(self) -> str:
        """Masks that the agents are for: "sampled", "greedy", or both."""
        return " or ".join(dict.fromkeys(run.masks for run in self.runs))

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Of each run: reward, cost weight, and every setting that differs between the runs."""
        return telling_settings([dict(run.result) for run in self.runs])

    @property
    def by_row(self) -> "dict[str, Runs]":
        """Runs that differ in their seed alone, by their agent and what tells them from others."""
        rows = in_rows(dict(run.result) for run in self.runs)
        return {label: Runs(map(Run, results)) for label, results in rows.items()}

    def _columns_and_lines(self) -> tuple[dict[str, str], list[list[Any]]]:
        columns = {"agent": "left"} | {name: "left" for row in self.settings for name in row}
        lines = [
            [run.agent, *row.values(), run.seed, run.masks, 100 * run.error, run.cost]
            for run, row in zip(self.runs, self.settings, strict=True)
        ]
        columns |= {"seed": "right", "masks": "left"}
        columns |= {"test error %": "right .2f", "cost": "right .3f"}
        return columns, lines

    @property
    def table(self) -> str:
        """A line for each run, in Markdown: settings as in `settings`, error and cost."""
        return markdown(*self._columns_and_lines())

    @property
    def summary(self) -> str:
        """Means over seeds, the error's with its interval: a line for each agent and settings."""
        if len(rows := self.by_row) > 1:
            return "\n".join(f"{label}: {runs.summary}" for label, runs in rows.items())
        error, cost = self.error, self.cost
        return (
            f"over {len(self)} seeds: test error {error:±.2%} % (mean ± standard deviation; "
            f"Student's 95 % interval: {told(error, len(self), '.2%')}), "
            f"total cost {cost.mean:.4f}, {self.masks} masks"
        )

    def to_pandas(self) -> Any:
        """A data frame with a line for each run; `settings` are columns."""
        return frame(
            {"agent": one.agent, "seed": one.seed, "folder": str(one.folder), **row, **one.judged()}
            for one, row in zip(self.runs, self.settings, strict=True)
        )

    def __repr__(self) -> str:
        # One mean over different agents or settings would say nothing.
        if len(rows := self.by_row) > 1:
            return f"Runs({len(self)} runs of {len(rows)} agents and settings; see table, summary)"
        error = with_interval(self.error, len(self.runs), ".2%")
        of = f"{', '.join(rows)}, {len(self.runs)} runs"
        return f"Runs({of}: test error in %: {error}, {self.masks} masks)"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{html_table(*self._columns_and_lines())}"


def frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """A pandas data frame.

    Raises:
        ImportError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"expected pandas for to_pandas(), got {error}; pip install pandas"
        ) from error
    return pandas.json_normalize([dict(row) for row in rows])


def name_of_code(value: Any, kind: str) -> str:
    """A class or function as `module:name`; a name stays.

    Raises:
        ValueError: if it is neither, or is defined inside a function.
    """
    if isinstance(value, str):
        return value
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not callable(value) or not module or not name or "<" in name:
        is_made = kind == "network" and not isinstance(value, type)
        instead = (
            "; give a function that builds it, which may call ccenv.gate, or take the object to "
            "ccenv.BlockSelectionVectorEnv(num_envs, network=...) and an agent's learn"
        )
        raise ValueError(
            f"expected {kind} as a name, 'module:name', or a class or function at the top of a "
            f"module, got {shown(value)}{instead if is_made else ''}"
        )
    return f"{module}:{name}"


def with_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with classes and functions as names, as plans and stored files hold them."""
    return {
        name: name_of_code(value, name) if callable(value) and name != "log_dir" else value
        for name, value in settings.items()
    }


@overload
def train(
    agent: str | type,
    *,
    seeds: None = None,
    anew: bool = False,
    export: bool = False,
    **settings: Any,
) -> Run: ...
@overload
def train(
    agent: str | type,
    *,
    seeds: int | Sequence[int],
    anew: bool = False,
    export: bool = False,
    **settings: Any,
) -> Runs: ...
@checks_types
def train(
    agent: Any,
    *,
    seeds: int | Sequence[int] | None = None,
    anew: bool = False,
    export: bool = False,
    **settings: Any,
) -> Run | Runs:
    """Trains an agent and evaluates it on test inputs; a finished run is read from its folder.

    An interrupted run of the same settings is resumed.

    Args:
        agent: a name in `ccenv.agents.AGENTS`, `module:Class`, or a class.
        seeds: a number N for seeds 0 to N - 1, or the seeds themselves; None for one run with
            `seed` (0 by default).
        anew: train even if the run is already finished.
        export: write policy and network to `checkpoint/classifier.safetensors`.
        **settings: settings of the run, the environment and the agent, as
            `ccenv train AGENT --help` lists them; `reward` and `network` may be functions or
            classes.

    Returns:
        A `Run`, or `Runs` if `seeds` is given.

    Raises:
        ValueError: if a setting is wrong or the log folder not writable; then nothing is written.
        BlockingIOError: if another process trains the same run.
        StoppedError: if training ends without a result, such as by numbers that are not finite.

    Example:
        >>> import ccenv
        >>> ccenv.train("dense", dataset="synthetic", log_dir=getfixture("tmp_path").as_posix(),
        ...     latency=False, images=64, batch_size=32)
        Run(dense, seed 0: test error 0.00 %, cost 1.000, sampled masks)
    """
    from ccenv.runs.engine.prepare import Options

    plan = make_plan(name_of_code(agent, "an agent"), with_names(settings))
    numbers = range(positive_int(seeds, "seeds")) if isinstance(seeds, int) else seeds
    if numbers is not None and not len(numbers):
        raise ValueError(f"expected one seed at least, got seeds={seeds!r}")
    plans = [plan] if numbers is None else [plan.with_seed(seed) for seed in numbers]
    options = Options(resume=not anew, export=export)
    runs = Runs(train_plan(one, options) for one in plans)
    return runs[0] if numbers is None else runs


def train_plan(plan: Plan, options: "Options") -> Run:
    """Trains by a plan, or takes the finished run of its folder and says so.

    Args:
        plan: agent, settings and seed.
        options: how; without `resume` a finished run is trained again, too.

    Raises:
        CannotStartError: before anything is written, if the plan cannot be carried out.
        BlockingIOError: if another process trains it.
        StoppedError: if training ends without a result.
    """
    from ccenv.runs.engine.run import run, warn_of_masks

    result = run(plan, wait=False, reuse=options.resume, options=options)
    folder = plan.folder()
    if "folder" not in result:
        say(f"finished already: the result of {folder}; `--anew` (`anew=True`) trains it again")
        if options.export:
            export_finished(plan)
    warn_of_masks(result)
    return Run({"folder": str(folder)} | result)


def export_finished(plan: Plan) -> None:
    """Leaves policy and network of a finished run as one file, if it has none yet."""
    folder = plan.folder()
    if (folder / run_folder.CHECKPOINT / EXPORTED).exists():
        return
    from ccenv.runs.engine.run import export
    from ccenv.runs.replay.rebuilt import rebuild

    try:
        rebuilt = rebuild(plan, folder)
    except ValueError as error:
        raise CannotStartError(str(error)) from error
    if not rebuilt.is_restored:
        raise CannotStartError(
            f"expected a policy that the files of {folder} give back, got {plan.agent}, which "
            "keeps what it learned elsewhere; `--anew` (`anew=True`) trains it again and exports it"
        )
    export(plan, rebuilt.agent)


@checks_types
def load(folder: str | Path) -> Run | Runs:
    """Reads finished runs from a folder; executes no code that they name.

    Args:
        folder: a run's folder, or one that contains several.

    Returns:
        A `Run` for a run's own folder, else `Runs`.

    Raises:
        ValueError: if there is no finished run, or a result was edited by hand.

    Example:
        >>> import ccenv
        >>> ccenv.load("nowhere")
        Traceback (most recent call last):
        ValueError: expected finished runs in nowhere, got no such folder
    """
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"expected finished runs in {folder}, got no such folder")
    results = [
        Run(stored_result(run_place) | {"folder": str(run_place)})
        for run_place in run_folder.run_folders(place)
    ]
    return results[0] if [one.folder for one in results] == [place] else Runs(results)
