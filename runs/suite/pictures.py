"""Pictures of the suite: standing -> radar of skills, performance profile, page, TensorBoard."""

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccenv.base.files import write_whole
from ccenv.runs.config.plan import safe_name
from ccenv.runs.report.publish import filled_page
from ccenv.runs.suite.scores import recorded
from ccenv.runs.suite.standing import (
    Standing,
    agent_table,
    profile_table,
    runs_in_order,
    score_of,
    skill_table,
    solved_table,
)
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    Panel,
    Picture,
    Series,
    drawn_in_style,
    legend_below,
    legend_height,
    new_figure,
    pixels,
    plotted,
)

PAGE = "index.html"
MOST_SHOWN = 5
"""Agents in the radar."""
LEAST, MOST = -0.25, 1.0
"""Thresholds of the performance profile; scores far below 0 count as below them all."""
BELOW, MIDDLE = -0.25, -0.5
"""Where a radar shows scores below 0, however far below; and its middle, where none lies."""
FEWEST_SPOKES = 3
"""Skills of a radar at least: of fewer there are bars."""


def styles_of(standing: Standing) -> dict[str, dict[str, Any]]:
    """Agent -> colour and width of its line, the same in every picture.

    Recorded agents of the radar have the first colours, which are farthest apart.
    """
    dashes = ("-", "--", ":")
    styles: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(standing.own):
        styles[name] = {"color": INK, "lw": 1.8, "ls": dashes[place % 3]}
    in_radar = radar_agents(standing)
    for place, name in enumerate(sorted(standing.recorded, key=lambda name: name not in in_radar)):
        row, column = divmod(place, len(COLORS))
        styles[name] = {"color": COLORS[column], "lw": 1.1, "ls": dashes[row % 3]}
    return styles


def radar_agents(standing: Standing) -> list[str]:
    """Your agents, and the recorded ones of the highest scores over all that they have played."""
    yours = [name for name in standing.own if name in standing.by_agent][:MOST_SHOWN]
    means = {name: score_of(standing.by_agent[name]).mean for name in standing.recorded}
    best = sorted(means, key=lambda name: -means[name])
    return yours + best[: max(1, MOST_SHOWN - len(yours))]


def by_skill(standing: Standing, agent: str, skills: Sequence[str]) -> list[float]:
    """An agent's score at each skill; NaN where it has played none of its tasks."""
    runs = [[run for run in standing.by_agent[agent] if run.skill == skill] for skill in skills]
    return [score_of(at_skill).mean if at_skill else np.nan for at_skill in runs]


def lows(standing: Standing, agent: str) -> list[str]:
    """Skills at which an agent scores below 0."""
    skills = skills_of(standing)
    scores = by_skill(standing, agent, skills)
    return [skill for skill, score in zip(skills, scores, strict=True) if score < 0]


def skills_of(standing: Standing) -> list[str]:
    """Skills of runs, in the order of the suite."""
    return list(dict.fromkeys(run.skill for run in runs_in_order(standing.runs)))


def bars(standing: Standing, agents: list[str]) -> Any:
    """Scores of one skill or two, an agent behind the other."""
    skills, styles = skills_of(standing), styles_of(standing)
    figure = new_figure(2.2 + legend_height(agents))
    axes = figure.subplots()
    places, width = np.arange(len(skills)), 0.8 / len(agents)
    handles = []
    for number, name in enumerate(agents):
        scores = np.array(by_skill(standing, name, skills))
        shown = np.where(scores < 0, BELOW, np.minimum(scores, 1))
        at = places + (number - (len(agents) - 1) / 2) * width
        handles.append(axes.bar(at, shown, width, color=styles[name]["color"]))
    axes.axhline(0, color=INK, lw=0.8)
    axes.set(ylim=(BELOW, 1.02), ylabel="score")
    axes.set_yticks([BELOW, 0, 0.5, 1], ["below 0", "0", "0.5", "1"])
    axes.set_xticks(places, skills)
    legend_below(figure, handles, agents)
    return figure


def radar(standing: Standing, agents: list[str]) -> Any:
    """Skills around a circle: 1 at the rim, 0 on a ring, what is below on the ring inside of it.

    Of one skill or two it would be a dot or a line: bars then.
    """
    skills = skills_of(standing)
    if len(skills) < FEWEST_SPOKES:
        return bars(standing, agents)
    angles = np.linspace(0, 2 * np.pi, len(skills), endpoint=False)
    figure = new_figure(3.4 + legend_height(agents))
    axes = figure.subplots(subplot_kw={"projection": "polar"})
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    handles = []
    styles = styles_of(standing)
    for name in agents:
        scores = np.array(by_skill(standing, name, skills))
        shown = np.where(scores < 0, BELOW, np.minimum(scores, 1))
        style = styles[name] | {"marker": "o", "ms": 2.5}
        handles += axes.plot([*angles, angles[0]], [*shown, shown[0]], **style)
    axes.plot(np.linspace(0, 2 * np.pi, 200), np.zeros(200), color=INK, lw=0.8)
    axes.set_ylim(MIDDLE, 1)
    axes.set_yticks([BELOW, 0, 0.5, 1], ["below 0", "0", "0.5", "1"])
    axes.set_xticks(angles, skills)
    # Between two spokes, where no name of a skill stands.
    axes.set_rlabel_position(180 / len(skills))
    axes.tick_params(axis="y", labelsize="x-small")
    axes.tick_params(axis="x", pad=4)
    legend_below(figure, handles, agents)
    return figure


def radar_drawn(standing: Standing) -> Picture:
    """The radar, with its words."""
    agents = radar_agents(standing)
    words = "; ".join(
        f"{name}: {score_of(standing.by_agent[name]).mean:.2f} over all tasks" for name in agents
    )
    caption = (
        "Score by skill in the last tenth of the budget: 0 is the best rule that sees no input, 1 "
        "the optimum; what is below 0 lies in one place, however far below."
    )
    draw = functools.partial(radar, standing, agents)
    places = {name: skills for name in agents if (skills := lows(standing, name))}
    below = "; ".join(f"{name} below 0 at {', '.join(skills)}" for name, skills in places.items())
    return Picture(draw, "radar", caption, f"Radar of skills. {words}. {below or 'None below 0'}.")


def profile_drawn(standing: Standing) -> Picture:
    """Share of an agent's runs with more than a score, for every score."""
    thresholds = np.linspace(LEAST, MOST, 126)
    styles = styles_of(standing)
    series = [
        Series(
            name,
            thresholds.tolist(),
            (np.array([run.last for run in runs])[:, None] > thresholds).mean(axis=0).tolist(),
            styles[name],
        )
        for name, runs in standing.by_agent.items()
    ]
    panel = Panel(
        series, {"xlabel": "score", "ylabel": "share of runs with more", "ylim": (0, 1.02)}
    )
    height = 2.2 + legend_height(list(standing.by_agent))
    caption = "Performance profile over tasks and seeds: farther up is better."
    solved = "; ".join(
        f"{name} {np.mean([run.last > 0.9 for run in runs]):.0%}"
        for name, runs in standing.by_agent.items()
    )
    alt = f"Performance profile. Share of runs with a score above 0.9: {solved}."
    return Picture(functools.partial(plotted, [panel], height), "performance-profile", caption, alt)


def write_page(standing: Standing, folder: Path) -> None:
    """Writes `index.html` with pictures inside; tables and pictures are files next to it."""
    skills = [skill_table(standing, name) for name in standing.own]
    folded = [profile_table(standing), agent_table(standing), solved_table(standing)]
    pictures = [radar_drawn(standing), profile_drawn(standing)]
    with drawn_in_style():
        for figure in pictures:
            figure.write(folder)
        text = filled_page(
            "suite.html.jinja",
            title="suite",
            about="Small tasks of one skill each, whose optimum is known: at which skills is an "
            "agent better?",
            made_by="ccenv suite",
            verdicts=[standing.sentences(name) for name in standing.own],
            notes=standing.notes,
            skills=skills,
            folded=folded,
            pictures=pictures,
            recorded=recorded(),
        )
    for table in [*skills, *folded]:
        table.write(folder)
    write_whole(folder / PAGE, text)


def write_board(standing: Standing, folder: Path) -> Path:
    """Writes curves of every skill over the budget for TensorBoard, and the pictures.

    Returns:
        The folder, for `tensorboard --logdir`: one run for each agent of the radar, means over
        tasks and seeds.
    """
    from torch.utils.tensorboard.writer import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    # Of more than 40 runs TensorBoard shows none until some are chosen.
    for name in radar_agents(standing):
        runs = standing.by_agent[name]
        with SummaryWriter(str(folder / safe_name(name))) as writer:
            for skill in dict.fromkeys(run.skill for run in runs_in_order(runs)):
                curves = [run.tenths for run in runs if run.skill == skill]
                for tenth, score in enumerate(np.mean(curves, axis=0), start=1):
                    writer.add_scalar(f"skill/{skill}", score, 10 * tenth)
            writer.add_scalar("score/last tenth", score_of(runs).mean, 100)
            writer.add_scalar("score/online", score_of(runs, "online").mean, 100)
    with SummaryWriter(str(folder / "_pictures")) as writer, drawn_in_style():
        for figure in (radar_drawn(standing), profile_drawn(standing)):
            writer.add_image(figure.name, pixels(figure.png), 100, dataformats="HWC")
    return folder
