"""Finished runs and comparisons as objects: numbers, tables, data frames, a page."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from ccenv.runs.engine import jobs as sweep_jobs
from ccenv.runs.engine.machines.pool import Outcome
from ccenv.runs.engine.metadata import context_lines
from ccenv.runs.engine.study import Section
from ccenv.runs.report.over_seeds import write_sweep
from ccenv.runs.report.publish import publish
from ccenv.runs.stats.intervals import Interval, mean_interval, told, with_interval
from ccenv.runs.stats.measures import bits_lines, evaluation
from ccenv.runs.stats.verdict import baseline_sentences
from ccenv.runs.store import LOGS, recorded
from ccenv.runs.tables.short_table import short_table
from ccenv.runs.tables.sweep_table import markdown


@dataclass(frozen=True, repr=False)
class Run:
    """One finished run, with its results on test inputs.

    >>> evaluation = {"split": "test", "mode": "sampled", "error": 0.05, "total_cost": 0.2}
    >>> Run({"agent": "rloo", "seed": 0, "evaluations": [evaluation]})
    Run(rloo, seed 0: test error 5.00 %, cost 0.200)
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

    def judged(self, *, deterministic: bool = False) -> Mapping[str, Any]:
        """Error, nll, compute cost, MACs and densities on test inputs.

        Args:
            deterministic: of greedy masks instead of sampled ones.
        """
        return evaluation(self.result, "mode" if deterministic else "sampled")

    @property
    def error(self) -> float:
        """Share of wrong answers on test inputs, masks sampled."""
        return float(self.judged()["error"])

    @property
    def cost(self) -> float:
        """Executed MACs, the policy's own included, over the dense network's; masks sampled."""
        return float(self.judged()["total_cost"])

    @property
    def summary(self) -> str:
        """Three lines, one more of bits for texts, and one for each value of a context."""
        test, greedy = self.judged(), self.judged(deterministic=True)
        density = " ".join(f"{share:.2f}" for share in test["density"])
        lines = [
            f"{self.agent}: test error {100 * test['error']:.2f} % (masks sampled), "
            f"{100 * greedy['error']:.2f} % (greedy masks)",
            f"compute cost {test['compute_cost']:.4f}, with the policy {test['total_cost']:.4f}, "
            f"density {density}",
            *bits_lines(self.result),
            *context_lines(self.result),
            str(self.folder),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Run({self.agent}, seed {self.seed}: test error {100 * self.error:.2f} %, "
            f"cost {self.cost:.3f})"
        )


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
    def table(self) -> str:
        """A line for each run, in Markdown."""
        columns = {"agent": "left", "seed": "right", "test error %": "right", "cost": "right"}
        lines = [
            [run.agent, str(run.seed), f"{100 * run.error:.2f}", f"{run.cost:.3f}"]
            for run in self.runs
        ]
        return markdown(columns, lines)

    @property
    def summary(self) -> str:
        """Means over the runs in a line, that of the error with its interval."""
        error, cost = self.error, self.cost
        return (
            f"over {len(self)} seeds: test error {error:±.2%} % (mean ± standard deviation; "
            f"Student's 95 % interval: {told(error, len(self), '.2%')}), "
            f"total cost {cost.mean:.4f}"
        )

    def to_pandas(self) -> Any:
        """A data frame with a line for each run."""
        return frame(
            {"agent": one.agent, "seed": one.seed, "folder": str(one.folder), **one.judged()}
            for one in self.runs
        )

    def __repr__(self) -> str:
        agents = ", ".join(dict.fromkeys(run.agent for run in self.runs))
        error = with_interval(self.error, len(self.runs), ".2%")
        return f"Runs({agents}, {len(self.runs)} runs: test error in %: {error})"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Results of a sweep: rows, verdict, table, plot and page.

    >>> import ccenv
    >>> comparison = ccenv.compare("digits", run_missing_ones=False, write_page=False)
    >>> comparison.results.name, "fixed_mask" in comparison.table
    ('digits', True)
    """

    results: sweep_jobs.Comparison
    """finished and missing runs."""
    page: Path
    """`index.html` of the report."""
    sections: Sequence[Section] = ()
    """what the sweep's study adds to the page."""
    results_dir: Path = recorded.IN_CHECKOUT
    """folder of recorded results."""
    log_dir: str = LOGS
    """folder of the runs."""
    failures: Sequence[Outcome] = ()
    """runs that failed, with their errors."""
    lines: Sequence[str] = ()
    """what else there is to know: what is missing, and where recorded rows come from."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each row: label, error, MACs and so on, with intervals over seeds."""
        return self.results.rows

    @property
    def verdict(self) -> str:
        """Two sentences for each data set, true whatever the rows are."""
        return " ".join(baseline_sentences(self.rows))

    @property
    def table(self) -> str:
        """At most ten rows, for a terminal."""
        return short_table(self.rows)

    def write_page(self) -> list[str]:
        """Writes the page, and means over seeds for TensorBoard; says where they are."""
        publish(self.results, self.page.parent, self.results_dir, self.sections)
        logs = "runs" if self.log_dir == LOGS else self.log_dir
        return [
            f"page: {self.page} (tables and plots in the same folder)",
            f"means over seeds: tensorboard --logdir {write_sweep(self.results, self.log_dir)}",
            f"curves: tensorboard --logdir {logs}",
        ]

    def plot(self) -> Any:
        """Error over MACs as a matplotlib figure, with the Pareto front."""
        from ccenv.runs.report.figures import front_figure

        return front_figure(self.results, self.results_dir)

    def to_pandas(self) -> Any:
        """A data frame with a line for each row; intervals in columns such as `error.low`."""
        flat = (
            {
                f"{name}.{part}" if part else name: number
                for name, value in row.items()
                for part, number in (
                    value.items() if isinstance(value, Mapping) else {"": value}.items()
                )
            }
            for row in self.rows
        )
        return frame(flat)

    def __repr__(self) -> str:
        finished, number = len(self.results.finished), self.results.num_runs
        return (
            f"Comparison({self.results.name}: {len(self.rows)} rows, {finished} of {number} runs "
            f"finished; {self.page})"
        )

    def _repr_html_(self) -> str:
        table = html.escape(short_table(self.rows, width=120))
        return f"<p>{html.escape(self.verdict)}</p><pre>{table}</pre>"


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
    return pandas.DataFrame(list(rows))
