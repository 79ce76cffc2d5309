"""Who stands where: scored runs -> an agent's skills among recorded agents, in a table and words.

The score of an agent at a skill is the interquartile mean over tasks and seeds of its score in the
last tenth of the budget, with a 95 % interval by stratified bootstrap: resampling stays within a
task (Agarwal et al. 2021, arXiv 2108.13264). 0 is the best rule that sees no input, 1 the optimum.
"""

import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ccenv.annexes.tasks import TASKS
from ccenv.annexes.tasks.catalogue import SAID
from ccenv.base.registry import check_names
from ccenv.runs.config.plan import safe_name
from ccenv.runs.stats.intervals import FEWEST, Interval, bootstrap, compare_intervals
from ccenv.runs.stats.verdict import first_names
from ccenv.runs.suite.scores import UNNAMED, YOURS, Failure, ScoredRun, recorded
from ccenv.runs.tables.sweep_table import Columns, Table, markdown, read_columns

ALL = "all skills"
"""Name of the line over all tasks."""
NOT_RECORDED, UNKNOWN = "not recorded", "unknown"
"""What a recorded agent's record, or an agent of yours, does not say."""
SOLVED = 0.9
"""Score from which on a task counts as solved."""
SCALE = (
    "Score in the last tenth of the budget: 0 is the best rule that sees no input, 1 the optimum. "
    "Interquartile mean over tasks and seeds with its 95 % interval (stratified bootstrap; of "
    "fewer than five runs Student's)."
)
BILLED = (
    "Policy cost: MACs of choosing one input's masks, which the score leaves out, over those of "
    "the dense network; median over tasks."
)
NET = (
    "Net: the score less what choosing costs by the task's own cost weight, as if blocks had cost "
    "so much more."
)
CHOSEN = "Settings: one for all tasks, or chosen by task."
NOTE = (
    f"{SCALE} {NET} {BILLED} "
    "Better or worse: the interval lies apart from that of the best recorded agent at the skill."
)


def score_of(runs: Iterable[ScoredRun], measure: str = "last") -> Interval:
    """Interquartile mean of some runs' scores, resampled within each task.

    Args:
        runs: of one agent, at least one.
        measure: "last" (tenth of the budget), "net" (of it) or "online".

    >>> runs = [ScoredRun("a", "basic-4", seed, (0.0, 0.4 + seed / 5)) for seed in range(2)]
    >>> round(score_of(runs).mean, 3)
    0.5
    """
    strata: dict[str, list[float]] = {}
    for run in runs:
        strata.setdefault(run.task, []).append(getattr(run, measure))
    return bootstrap(list(strata.values()))


@dataclass(frozen=True)
class SkillRow:
    """An agent at one skill, or at all, among those that have played the same tasks."""

    agent: str
    """whose row it is."""
    skill: str
    """of the suite, or `ALL`."""
    tasks: tuple[str, ...]
    """that it was judged by: those of the agent that recorded agents have played too."""
    score: Interval
    """in the last tenth of the budget."""
    net: Interval | None
    """the same less what choosing costs, see `ScoredRun.net`; None if unknown of some run."""
    online: Interval
    """over the whole budget."""
    best: str | None
    """the recorded agent of the highest score on these tasks; None without any."""
    best_score: Interval | None
    """its score."""
    rank: int
    """place among recorded agents, 1 for the highest score."""
    others: int
    """recorded agents that have played all these tasks."""
    finding: str
    """"better", "worse" or "no difference" by intervals, or why there is none."""
    policy_cost: float | None
    """MACs of choosing one input's masks over those of the dense network, median over tasks; None
    if they are not known of every task."""
    settings: str
    """see `Standing.settings_of`."""


@dataclass(frozen=True, repr=False)
class Standing:
    """Scores of agents on the suite: rows by skill, sentences and a table."""

    runs: Sequence[ScoredRun]
    """finished ones, recorded ones among them."""
    failures: Sequence[Failure] = ()
    """runs that have failed."""
    lines: Sequence[str] = ()
    """files that are not counted, and why."""

    @functools.cached_property
    def by_agent(self) -> dict[str, list[ScoredRun]]:
        """Runs of each agent, by its name in tables, see `name_of`."""
        runs_of: dict[str, list[ScoredRun]] = {}
        for run in self.runs:
            name = run.agent if run.recorded else self.name_of(run.agent)
            runs_of.setdefault(name, []).append(run)
        return runs_of

    def name_of(self, agent: str) -> str:
        """How tables call an agent of yours: "topk (yours)" where "topk" is a recorded one."""
        names = {run.agent for run in self.runs if run.recorded} | recorded()["agents"].keys()
        return agent + YOURS if agent in names else agent

    @property
    def own(self) -> list[str]:
        """Agents that were not recorded, those without a score last."""
        names = [name for name, runs in self.by_agent.items() if not runs[0].recorded]
        failed = (self.name_of(one.agent) for one in self.failures)
        return list(dict.fromkeys([*names, *failed]))

    @property
    def recorded(self) -> list[str]:
        """Recorded agents."""
        return [name for name, runs in self.by_agent.items() if runs[0].recorded]

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each agent of yours and skill (all last); see `SkillRow`."""
        return [asdict(row) for name in self.own for row in self.rows_of(name)]

    def rows_of(self, agent: str) -> list[SkillRow]:
        """Rows of an agent, recorded or not: its skills, then all together."""
        check_names([agent], [*self.own, *self.recorded], "agent with a score")
        skills = dict.fromkeys(run.skill for run in runs_in_order(self.by_agent.get(agent, [])))
        return [self.row(agent, skill) for skill in (*skills, ALL)] if skills else []

    def row(self, agent: str, skill: str) -> SkillRow:
        """An agent at a skill, compared with those that have played the same tasks."""
        played = [run for run in self.by_agent[agent] if skill in (ALL, run.skill)]
        others = {name: self.by_agent[name] for name in self.recorded if name != agent}
        compared = {run.task for runs in others.values() for run in runs}
        tasks = {run.task for run in played}
        tasks = tasks & compared or tasks
        score = score_of(run for run in played if run.task in tasks)
        scores = {
            name: score_of(run for run in runs if run.task in tasks)
            for name, runs in others.items()
            if tasks <= {run.task for run in runs}
        }
        best = max(scores, key=lambda name: scores[name].mean, default=None)
        return SkillRow(
            agent=agent,
            skill=skill,
            tasks=tuple(name for name in TASKS if name in tasks),
            score=score,
            net=net_score([run for run in played if run.task in tasks]),
            online=score_of((run for run in played if run.task in tasks), "online"),
            best=best,
            best_score=None if best is None else scores[best],
            rank=1 + sum(other.mean > score.mean for other in scores.values()),
            others=len(scores),
            finding=finding(score, None if best is None else scores[best]),
            policy_cost=policy_cost(run for run in played if run.task in tasks),
            settings=self.settings_of(agent),
        )

    def settings_of(self, agent: str) -> str:
        """Whether an agent had one setting for all its tasks, or several, chosen by task."""
        runs = self.by_agent[agent]
        if not runs[0].recorded:
            return UNKNOWN if any(run.named_by_caller for run in runs) else "one"
        played = recorded().get("played", {}).get(agent)
        if played is None:
            return NOT_RECORDED
        is_one = isinstance(played, str) or len({*played.values()}) == 1
        return "one" if is_one else "by task"

    @property
    def verdict(self) -> str:
        """Two sentences for each agent of yours: the skills at which intervals lie apart."""
        return " ".join(sentence for name in self.own for sentence in self.sentences(name))

    def sentences(self, agent: str) -> list[str]:
        """At which skills an agent is better than every recorded one, and at which worse."""
        rows = self.rows_of(agent)[:-1]
        if not rows:
            return [f"{agent} has no score: every run has failed."]
        better = [row.skill for row in rows if row.finding == "better"]
        worse = [f"{row.skill} ({row.best})" for row in rows if row.finding == "worse"]
        even = [row for row in rows if row.finding == "no difference"]
        without = [row for row in rows if row.finding not in ("better", "worse", "no difference")]
        rest = [f"not significantly different at {len(even)}"] if even else []
        rest += [f"without a verdict at {len(without)} ({without[0].finding})"] if without else []
        ending = f"; {'; '.join(rest)}" if rest else ""
        return [
            f"{agent} is better than every recorded agent at {', '.join(better) or 'no skill'} "
            f"(95 % intervals apart; skills: {len(rows)}).",
            f"It is worse than the best recorded one at {', '.join(worse) or 'no skill'}{ending}.",
        ]

    @property
    def tables(self) -> list[Table]:
        """Skills of each agent of yours, or scores of recorded ones where there are none."""
        return [skill_table(self, name) for name in self.own] or [agent_table(self)]

    @property
    def table(self) -> str:
        """The same as text."""
        return "\n\n".join(markdown(one.columns, one.lines) for one in self.tables)

    @property
    def notes(self) -> list[str]:
        """A line for each way to fail, with its tasks, and for each file that is not counted."""
        failed: dict[tuple[str, str], list[str]] = {}
        for one in self.failures:
            failed.setdefault((self.name_of(one.agent), one.why), []).append(one.task)
        told = [
            f"{agent} has no score on {', '.join(dict.fromkeys(tasks))}: {why}"
            for (agent, why), tasks in failed.items()
        ]
        return [*told, *self.words_of_callers(), *self.lines]

    def words_of_callers(self) -> list[str]:
        """Names that callers gave, episodes that they left or judged, and settings not recorded."""
        told = []
        for name in self.own:
            runs = self.by_agent.get(name, [])
            num_named = sum(run.named_by_caller and run.agent != UNNAMED for run in runs)
            if num_named:
                told.append(f"{name}: in {num_named} of {len(runs)} files the name is {SAID}")
            if left := sum(run.left for run in runs):
                told.append(f"{name} left episodes under way {left:,} times; they count as worst")
            if judged := sum(run.judged for run in runs):
                told.append(
                    f"{name} judged {judged:,} episodes before its budgets were spent; they earn "
                    "nothing, and can be learned from"
                )
            if resumed := sum(run.resumed > 0 for run in runs):
                told.append(f"{name}: {resumed} of {len(runs)} runs went on from a stored state")
        for agent in dict.fromkeys(run.agent for run in self.runs if not run.recorded):
            label = recorded().get("played", {}).get(agent)
            if isinstance(label, str) and label != agent:
                told.append(f"recorded {agent} has other settings: ccenv suite {label}")
        return told

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.own)} agents of yours, {len(self.recorded)} "
            f"recorded, {len(self.runs)} runs)"
        )


def finding(score: Interval, best: Interval | None) -> str:
    """Whether a score lies apart from the best recorded one; more is better."""
    if best is None:
        return "no recorded agent"
    word = compare_intervals(score, best)
    return {"better": "worse", "worse": "better"}.get(word, word)


def runs_in_order(runs: Iterable[ScoredRun]) -> list[ScoredRun]:
    """Runs in the order of tasks."""
    places = {name: place for place, name in enumerate(TASKS)}
    return sorted(runs, key=lambda run: (places[run.task], run.seed))


def seeds_of(row: SkillRow, standing: Standing) -> int:
    """Fewest seeds of a task of a row."""
    runs = [run for run in standing.by_agent[row.agent] if run.task in row.tasks]
    return min(sum(run.task == task for run in runs) for task in row.tasks)


def policy_cost(runs: Iterable[ScoredRun]) -> float | None:
    """Median over tasks of what choosing costs, see `SkillRow.policy_cost`."""
    costs = {run.task: run.policy_cost for run in runs}
    numbers = [cost for cost in costs.values() if cost is not None]
    return statistics.median(numbers) if len(numbers) == len(costs) else None


def net_score(runs: Sequence[ScoredRun]) -> Interval | None:
    """Of runs, see `SkillRow.net`."""
    return None if any(run.net is None for run in runs) else score_of(runs, "net")


def unknown_of(row: SkillRow, standing: Standing) -> str:
    """What a cell says of a row where it is not known."""
    return NOT_RECORDED if row.agent in standing.recorded else UNKNOWN


def shown_cost(row: SkillRow, standing: Standing) -> str:
    """A row's policy cost; in words where it is not known."""
    cost = row.policy_cost
    if cost is None:
        return unknown_of(row, standing)
    return f"{cost:.3g}" if cost < 1000 else f"{cost:,.0f}"


SKILL_COLUMNS: Columns = {
    "best recorded": ("left", lambda row: row.best),
    "its score": ("right .2f", lambda row: row.best_score),
    "rank": ("right", lambda row: f"{row.rank} of {row.others + 1}"),
    "finding": ("left", lambda row: row.finding),
}


def billed(standing: Standing, columns: Columns) -> Columns:
    """Columns between an agent's score, with and without what choosing costs, and that cost."""
    return {
        "score": ("right .2f", lambda row: row.score),
        "net": ("right .2f", lambda row: row.net or unknown_of(row, standing)),
        **columns,
        "policy cost": ("right", lambda row: shown_cost(row, standing)),
    }


def skill_table(standing: Standing, agent: str) -> Table:
    """The skills of one agent among recorded ones."""
    rows = standing.rows_of(agent)
    failed = [one for one in standing.failures if standing.name_of(one.agent) == agent]
    columns, lines = read_columns(
        {"skill": ("left", lambda row: row.skill), **billed(standing, SKILL_COLUMNS)}, rows
    )
    # Why, the notes say: a message would be wider than the table.
    lines += [[task, "no score", *[None] * 6] for task in dict.fromkeys(one.task for one in failed)]
    fewest = min((seeds_of(row, standing) for row in rows), default=0)
    few = f" Fewer than {FEWEST} seeds of some task." if fewest < FEWEST else ""
    name = f"skills-{safe_name(agent)}"
    return Table(name, f"Skills of {agent}", columns, lines, NOTE + few)


def agent_table(standing: Standing) -> Table:
    """All agents over the tasks that each has played: who has most of them, then who scores most.

    Scores of agents are comparable where they have played the same tasks.
    """
    rows = [standing.row(name, ALL) for name in standing.by_agent]
    rows.sort(key=lambda row: (-len(row.tasks), -row.score.mean))
    played: Columns = {
        "online": ("right .2f", lambda row: row.online),
        "tasks x seeds": ("right", lambda row: f"{len(row.tasks)} x {seeds_of(row, standing)}"),
        "settings": ("left", lambda row: row.settings),
    }
    columns: Columns = {
        "agent": ("left", lambda row: row.agent),
        **billed(standing, played),
        "CPU seconds": ("right ,.0f", lambda row: seconds(standing.by_agent[row.agent])),
    }
    note = f"{SCALE} {NET} {BILLED} {CHOSEN}"
    return Table("agents", "All agents", *read_columns(columns, rows), note)


def seconds(runs: Sequence[ScoredRun]) -> float | None:
    """CPU seconds of all tasks with one seed; None where some are not known."""
    times: Mapping[str, list[float]] = {
        task: [run.seconds for run in runs if run.task == task and run.seconds is not None]
        for task in {run.task for run in runs}
    }
    if not all(times.values()):
        return None
    # A set has no order, and a sum in floats has one: half a second would be rounded either way.
    return math.fsum(math.fsum(values) / len(values) for values in times.values())


def profile_table(standing: Standing) -> Table:
    """Agent by skill: score with its interval, and at how many tasks of the skill."""
    skills = dict.fromkeys(run.skill for run in runs_in_order(standing.runs))
    cells = {
        name: {
            skill: at_skill
            for skill in skills
            if (at_skill := [r for r in runs if r.skill == skill])
        }
        for name, runs in standing.by_agent.items()
    }
    columns: dict[str, Any] = {"agent": ("left", lambda name: name)}
    for skill in skills:
        columns[skill] = (
            "right .2f",
            lambda name, skill=skill: (
                score_of(cells[name][skill]) if skill in cells[name] else None
            ),
        )
    return Table("profile", "Agents by skill", *read_columns(columns, list(cells)), SCALE)


def solved_by(standing: Standing, at_least: float = SOLVED) -> dict[str, list[str]]:
    """Task -> agents whose mean score in the last tenth of the budget is at least so much."""
    agents_of: dict[str, list[str]] = {}
    for task in TASKS:
        for name, runs in standing.by_agent.items():
            scores = [run.last for run in runs if run.task == task]
            if scores:
                agents_of.setdefault(task, [])
                if sum(scores) / len(scores) >= at_least:
                    agents_of[task].append(name)
    return agents_of


def solved_table(standing: Standing) -> Table:
    """Who solves which level."""
    columns: Columns = {
        "task": ("left", lambda pair: pair[0]),
        "solved by": ("right", lambda pair: str(len(pair[1]))),
        "agents": ("left", lambda pair: first_names(pair[1]) or "nobody"),
    }
    pairs = list(solved_by(standing).items())
    note = f"Solved: mean score over seeds of at least {SOLVED} in the last tenth of the budget."
    return Table("solved", "Levels that are solved", *read_columns(columns, pairs), note)
