"""Laws of a sweep's report: it opens anywhere, shows everybody, and says no more than it knows."""

import csv
import dataclasses
import html.parser
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser, said_by
from made_results import compared, drawn_views, runs, table_row, whole_result
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ccenv.agents.reinforce import Reinforce
from ccenv.runs.engine.study import Part, Section
from ccenv.runs.report.figures import (
    WHOLE_IMAGES,
    Looks,
    drawn_view,
    make_looks,
    named_groups,
    view_figures,
)
from ccenv.runs.report.names import distances, write_names
from ccenv.runs.report.publish import make_report, publish
from ccenv.runs.report.tables import all_tables
from ccenv.runs.report.views import make_views
from ccenv.runs.stats import rows as row_file
from ccenv.runs.stats.measures import HALVE
from ccenv.runs.sweeps import Cell, Sweep
from ccenv.runs.tables import drawing
from ccenv.runs.tables.shapings import policies_above_random, summary_tables
from ccenv.runs.tables.sweep_table import Table


class Mine(Reinforce):
    """As it is, under another name."""


def my_reward(outcome):
    return -outcome.layer_cost


REWARDS = ("accuracy_minus_cost", "test_report:my_reward")
CELLS = (
    Cell("dense", "dense"),
    *(
        Cell(f"block_dropout {p}", "block_dropout", {"keep_probability": p})
        for p in (0.1, 0.3, 0.9)
    ),
    Cell("oracle", "oracle"),
    *(
        Cell(f"{agent.split(':')[-1]} {reward.split(':')[-1]}", agent, {"reward": reward})
        for agent in ("reinforce", "test_report:Mine")
        for reward in REWARDS
    ),
)
PLACES = {"dense": (0.04, 0.95), "block_dropout 0.1": (0.5, 0.1), "block_dropout 0.3": (0.1, 0.3)}
PLACES |= {"block_dropout 0.9": (0.05, 0.9), "oracle": (0.01, 0.05)}


def comparison_of(cells=CELLS, seeds=(0, 1, 2), datasets=("digits",), missing=()):
    sweep = Sweep("toys", "Toys & <b>bold</b> words.", tuple(cells), 1.0, {"images": 10}, seeds)
    return compared(
        sweep, lambda job: whole_result(job, *PLACES.get(job.label, (0.05, 0.2))), missing
    )


def without(comparison, *parts):
    """The same with results of an older version, which lack some parts."""
    old = tuple(
        dataclasses.replace(one, result={k: v for k, v in one.result.items() if k not in parts})
        for one in comparison.finished
    )
    return dataclasses.replace(comparison, finished=old)


def mine(comparison, results_dir):
    """What a stranger adds to a report."""
    table = Table("mine", "Labels", {"row": "left"}, [[label] for label in comparison.results])
    figure = drawing.new_figure(1.0)
    figure.add_subplot().plot([1, 2])
    return Part(
        [table], [drawing.Picture(figure, "mine", "Drawn by a stranger.", "a line from one to two")]
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A folder with a whole report."""
    folder = tmp_path_factory.mktemp("report")
    section = Section("mine", "What a stranger adds", mine)
    publish(comparison_of(missing=("dense",)), folder, folder / "none", [section])
    return folder


class Page(html.parser.HTMLParser):
    """Collects what a page asks for and what it shows."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.images, self.tags, self.words = [], [], set(), []
        self.tables: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            self.images.append(given)
        elif tag == "table":
            self.tables.append([])
        elif tag in ("th", "td") and self.tables:
            self.tables[-1].append("")

    def handle_data(self, data):
        self.words.append(data)
        if self.tables and self.tables[-1]:
            self.tables[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def page(report):
    return Page((report / "index.html").read_text())


def test_the_page_needs_no_network_and_says_in_words_what_images_show(page, report):
    text = (report / "index.html").read_text()
    assert all(a.startswith("data:") or f'id="{a[1:]}"' in text for a in page.addresses)
    # Parts of a figure are named by url(#...); nothing on the page names another place.
    assert not re.search(r"url\((?!#)", text)
    assert len(page.images) >= 6
    assert all(len(image["alt"]) > 20 for image in page.images)


def test_words_of_the_user_are_escaped(page, report):
    text = (report / "index.html").read_text()
    assert "Toys &amp; &lt;b&gt;bold&lt;/b&gt; words." in text
    assert "b" not in page.tags
    assert "A <fast> CPU, 2 cores" in "".join(page.words)


def test_the_page_has_every_section_and_says_what_is_missing(page):
    shown = " ".join("".join(page.words).split())
    for title in ("Reward shapings", "Learning curves", "Each seed"):
        assert title in shown
    for title in ("Compute cost, density and blocks", "Speed", "Settings", "Machines"):
        assert title in shown
    assert "24 of 27 runs finished. No result yet: dense (seeds 0, 1, 2)." in shown
    # The verdict comes before everything else.
    assert (
        shown.index("random masks of the same cost") < shown.index("MACs") < shown.index("Settings")
    )


def test_no_table_of_the_page_is_empty_or_there_twice_and_no_column_is_empty(page):
    assert len(page.tables) > 6
    assert len({tuple(cells) for cells in page.tables}) == len(page.tables)
    assert all(len(cells) >= 4 for cells in page.tables)


def test_an_agent_and_a_reward_of_the_users_are_in_every_table_and_figure(report):
    tables = {path.stem: path.read_text() for path in report.glob("*.csv")}
    for name in ("overview", "seeds", "density", "speed", "settings-cells"):
        assert "Mine my_reward" in tables[name]
    assert "test_report:my_reward" in tables["shapings-summary"]
    figures = {path.stem for path in report.glob("*.svg")}
    # One of each agent, the row of least error.
    assert {"blocks-Mine-accuracy_minus_cost", "blocks-Mine-my_reward"} & figures
    assert "curves-digits-test_report.Mine" in figures
    curves = (report / "index.html").read_text()
    assert re.search(r'alt="Validation error[^"]*Mine my_reward', curves)


def test_every_table_is_there_as_markdown_and_csv_with_the_same_cells(report, tmp_path):
    found = comparison_of(missing=("dense",))
    shown = make_report(found, tmp_path)
    for table in (*shown.overview, *(one for p in shown.parts.values() for one in p.tables)):
        written = (report / f"{table.name}.csv").read_text()
        lines = list(csv.reader(written.splitlines(keepends=True)))
        assert lines == [list(table.columns), *table.texts]
        assert (report / f"{table.name}.md").read_text() == table.markdown()


def test_every_figure_is_an_svg_that_follows_light_and_dark_and_those_of_documents_a_png(report):
    drawn = sorted(path.stem for path in report.glob("*.svg"))
    pictures = {path.stem for path in report.glob("*.png")}
    assert set(drawn) - pictures == {
        f"equal-time-{size}{measure}{masks}"
        for size in (1, 256)
        for measure in ("", "-nll")
        for masks in ("", "-mode")
    }
    assert {"front", "equal-macs-mode", "equal-macs-nll"} <= pictures
    for name in drawn:
        text = (report / f"{name}.svg").read_text()
        assert ET.fromstring(text).tag.endswith("svg")
        assert "prefers-color-scheme:dark" in text
        assert drawing.INK not in text
    assert all((report / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in pictures)


def views_of(comparison):
    return make_views(comparison, Path("none"))


def test_every_row_is_a_mark_that_says_its_numbers_and_every_method_has_its_name(report):
    found = comparison_of(missing=("dense",))
    svg = (report / "front.svg").read_text()
    labels = [label for label, results in found.results.items() if results]
    for number, label in enumerate(labels):
        stop = -1 if number else 0
        start = f'<g id="row-{number}" class="mark" role="img" tabindex="{stop}" '
        start += f'aria-label="{label}: '
        assert start in svg
    (view, *_) = views_of(found)
    for name in named_groups(view, make_looks(found.results)):
        assert f">{name}</text>" in svg


def test_axes_hold_every_mark_and_no_name_covers_a_mark_or_another_name():
    places = {f"method {n}": (100.0 * 1.3**n, 0.05 + 0.01 * (n % 3)) for n in range(8)}
    cells = [Cell(name, "reinforce", {"learning_rate": 0.01 + n}) for n, name in enumerate(places)]
    found = comparison_of(cells)
    for one in found.finished:
        for verdict in one.result["evaluations"]:
            macs, error = places[one.label]
            verdict |= {"macs": macs, "error": error + 0.001 * one.result["seed"]}
    looks = make_looks(found.results)
    apart = dataclasses.replace(
        looks,
        methods={name: name for name in places},
        kinds=dict.fromkeys(places, "learned"),
    )
    figure = drawn_view(views_of(found)[0], apart, drawing.WIDTH)
    (axes,) = figure.axes
    marks = axes.transData.transform([line.get_xydata()[0] for line in marks_of(axes)])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(marks) == len(places)
    assert all(axes.bbox.contains(*mark) for mark in marks)
    assert len(boxes) >= 6
    for number, box in enumerate(boxes):
        assert not any(box.contains(*mark) for mark in marks)
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    keys = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(places) <= {text.get_text() for text in axes.texts} | set(keys)


CROWDED = {
    **{"reinforce": (4135, 5.4), "rloo": (4772, 4.8), "actor_critic": (4277, 6.0)},
    **{"condnet": (4410, 7.1), "sb3_a2c": (4259, 6.2), "sb3_ppo": (4296, 5.0)},
    **{"static mask": (1717, 5.4), "dense": (37440, 4.4), "magnitude": (39232, 4.6)},
}
"""Errors in % over MACs of nine methods, of which six stand close together."""


def names_written(width, pale=()):
    """Boxes of the names that stand in a crowded figure, with its axes."""
    figure = drawing.new_figure(0.6 * width, is_arranged=False, width=width)
    axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
    axes.set(xscale="log", yscale="log", xlim=(1000, 50_000), ylim=(1, 100))
    places = {name: [place] for name, place in CROWDED.items()}
    without = write_names(axes, places, dict.fromkeys(places, drawing.INK), pale=pale)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = {t.get_text(): t.get_window_extent(renderer).extents for t in axes.texts}
    assert len(boxes) >= 3
    assert boxes.keys() == places.keys() - set(without)
    return boxes, axes.transData


@pytest.mark.parametrize("width", [drawing.WIDTH, drawing.WIDE])
def test_the_nearest_mark_of_a_name_and_the_nearest_name_of_its_mark_are_its_own(width):
    boxes, place = names_written(width)
    away = distances(np.array(list(boxes.values())), place.transform(list(CROWDED.values())))
    named = [list(CROWDED).index(name) for name in boxes]
    assert away.argmin(1).tolist() == named
    assert away[:, named].argmin(0).tolist() == list(range(len(named)))


@pytest.mark.parametrize("width", [drawing.WIDTH, drawing.WIDE])
def test_no_name_covers_a_pale_mark(width):
    boxes, place = names_written(width)
    middles = np.array([box.reshape(2, 2).mean(axis=0) for box in boxes.values()])
    pale = [tuple(point) for point in place.inverted().transform(middles)]
    moved, _ = names_written(width, pale)
    assert (distances(np.array(list(moved.values())), middles) > 1.5).all()


def test_a_bar_ends_where_the_tables_interval_does():
    found = comparison_of([Cell("reinforce", "reinforce")])
    for number, one in enumerate(found.finished):
        for verdict in one.result["evaluations"]:
            verdict["error"] = (0.05, 0.5, 0.95)[number]
    figure = drawn_view(views_of(found)[0], make_looks(found.results), drawing.WIDTH)
    (bars,) = figure.axes[0].collections
    assert bars.get_segments()[0][:, 1].tolist() == [0, 100]


def test_rows_on_whole_images_have_a_name_of_their_own_beside_rows_on_halves():
    found = comparison_of([Cell("small", "dense"), Cell("large", "dense", {"block_size": 8})])
    for one in found.finished:
        is_small = one.label == "small"
        one.result["settings"]["environment"]["transforms"] = [HALVE] * is_small
        for verdict in one.result["evaluations"]:
            verdict |= {"macs": 100, "error": 0.3} if is_small else {"macs": 900, "error": 0.1}
    named = named_groups(views_of(found)[0], make_looks(found.results))
    assert set(named) == {"small", f"large, {WHOLE_IMAGES}"}


def marks_of(axes):
    return [line for line in axes.lines if str(line.get_gid()).startswith("row-")]


def test_random_masks_on_a_text_are_in_the_key_alone(tmp_path):
    results = {}
    for name, bits in {"dense": 2.0, "rloo": 1.8, "hash": 1.9, "block_dropout": 4.0}.items():
        sizes = {"of_symbols": True, "memory_bytes": 2e6, "num_parameters": 0}
        results[name] = runs(name, 1000, 0.3, **sizes)
        for verdict in (verdict for row in results[name] for verdict in row["evaluations"]):
            verdict["nll"] = bits * math.log(2)
    views, figures = drawn_views(results, tmp_path, True)
    (view,) = [v for v in views if v.when == "data-0 measure-bits cost-macs masks-mode"]
    with drawing.drawn_in_style():
        figure = figures[view.when].figure()
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 4.0
    keys = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "random masks: 4.000" in keys


def test_a_page_of_a_text_opens_on_bits(tmp_path):
    found = comparison_of([Cell("reinforce", "reinforce")], seeds=(0,))
    found.finished[0].result["of_symbols"] = True
    publish(found, tmp_path)
    assert 'name="measure" value="bits" checked' in (tmp_path / "index.html").read_text()


def test_one_seed_without_curve_and_block_use_makes_a_report_which_is_always_the_same(tmp_path):
    alone = comparison_of([Cell("reinforce", "reinforce")], seeds=(0,))
    one, other = (tmp_path / name for name in ("one", "other"))
    for folder in (one, other):
        publish(without(alone, "curve", "block_use"), folder)
    assert "no verdict: fewer than 3 seeds of reinforce" in (one / "table.md").read_text()
    assert "Learning curves" not in (one / "index.html").read_text()
    for path in one.iterdir():
        assert (other / path.name).read_bytes() == path.read_bytes()


def test_data_sets_are_separated_in_tables_and_figures_and_joined_only_by_strata():
    cells = [
        Cell(f"{agent} {data}", agent, {"dataset": data})
        for agent in ("reinforce", "rloo")
        for data in ("digits", "synthetic")
    ]
    found = comparison_of(cells)
    made = all_tables(found, views_of(found))
    tables = {table.name: table for part in made.values() for table in part}
    figures = {
        f.name for f in view_figures(found, views_of(found), make_looks(found.results)).values()
    }
    for data in ("digits", "synthetic"):
        names = [line[0] for line in tables[f"overview-{data}"].texts]
        assert [name.split()[0] for name in names] == ["reinforce", "rloo"]
        assert f"front-{data}" in figures
    assert not any("rloo synthetic" in line for line in tables["overview-digits"].texts)


def test_an_agent_has_one_colour_in_every_figure_and_no_other_has_it_with_its_marker():
    names = ["dense", "block_dropout", *(f"agent {n}" for n in range(16))]
    kinds = dict.fromkeys(names, "learned") | {"dense": "dense", "block_dropout": "random"}
    many = Looks(dict(zip(names, names, strict=True)), kinds, {})
    looks = {(many.style(name)["color"], many.style(name)["marker"]) for name in names}
    assert len(looks) == len(names)
    found = make_looks(comparison_of().results)
    mine, other = found.style("Mine my_reward"), found.style("reinforce my_reward")
    # Where rewards are the question colours tell them, and shapes tell agents.
    assert mine["color"] == other["color"] != found.style("Mine accuracy_minus_cost")["color"]
    assert mine["marker"] == found.style("Mine accuracy_minus_cost")["marker"] != other["marker"]
    # Else colours tell agents, and shapes tell rewards.
    cells = [
        Cell(name, name, {"reward": REWARDS[name == "rloo"]}) for name in ("reinforce", "rloo")
    ]
    found = make_looks(comparison_of([*CELLS[:2], *cells]).results)
    one, other = found.style("reinforce"), found.style("rloo")
    assert one["color"] != other["color"]
    assert one["marker"] != other["marker"]


def test_a_greedy_row_among_sampled_ones_says_so_in_the_table_of_the_page():
    rows = [Cell(name, name) for name in ("reinforce", "rloo")]
    found = comparison_of(rows)
    finished = [
        dataclasses.replace(one, result=one.result | {"deterministic": one.label == "rloo"})
        for one in found.finished
    ]
    found = dataclasses.replace(found, finished=tuple(finished))
    (overview, *_) = all_tables(found, views_of(found))["Results"]
    lines = [dict(zip(overview.columns, line, strict=True)) for line in overview.texts]
    own = " · each agent's own"
    assert [line[f"masks{own}"] for line in lines] == ["sampled", "greedy"]
    assert [line[f"other masks %{own}"][-7:] for line in lines] == [" greedy", "sampled"]
    # Under one kind of masks no name says another.
    assert [line["row"] for line in lines] == ["reinforce", "rloo"]
    assert overview.when[f"masks{own}"] == "masks-own"
    assert "masks · greedy" not in overview.columns


def test_where_rewards_are_the_question_their_parts_of_the_page_are_open(report, tmp_path):
    opened = r'<details id="([^"]*)" open>'
    text = (report / "index.html").read_text()
    assert re.findall(opened, text) == ["reward-shapings", "learning-curves"]
    # One of three agents under two rewards is no question of the whole.
    cells = [Cell(name, name) for name in ("reinforce", "rloo", "sb3_ppo")]
    publish(comparison_of([*cells, Cell("other", "rloo", {"reward": REWARDS[1]})]), tmp_path)
    assert not re.findall(opened, (tmp_path / "index.html").read_text())


def test_a_policys_number_takes_only_seeds_that_all_its_rows_have():
    weight = {"reward_kwargs": {"cost_weight": 2.0}}
    again = Cell("again", "reinforce", {"reward": REWARDS[0], **weight})
    whole = comparison_of((*CELLS, again))
    some = dataclasses.replace(whole, finished=whole.finished[:-1])
    found = policies_above_random(some.results, some.deterministic)
    assert {agent for _, _, agent in found} == {"reinforce", "test_report:Mine"}
    assert list(found["digits", REWARDS[0], "reinforce"]) == [0, 1]
    assert list(found["digits", REWARDS[1], "reinforce"]) == [0, 1, 2]


def shaping_row(agent, shaping, error=0.1, cost=0.2, verdict="better", seeds=3, **habits):
    own = {"shaping": shaping, "habits": habits, "verdict": verdict}
    costs = {"compute_cost": {"mean": cost, "sd": 0.01}, "total_cost": {"mean": cost + 0.1}}
    return table_row(agent, error, 1.0, seeds=seeds, learns=True, **own, **costs)


def test_the_summary_of_a_shaping_counts_verdicts_and_names_who_collapsed():
    rows = [shaping_row("a", "fair"), shaping_row("b", "fair", verdict="no difference")]
    fallen = {"always off": 3}
    rows += [shaping_row("a", "dear", error=0.9, verdict="outside its costs", **fallen)]
    above = {0: 0.5, 1: 0.7, 2: 0.6}
    (summary,) = summary_tables(rows, {("digits", "fair", "a"): above})
    fair, dear = (dict(zip(summary.columns, line, strict=True)) for line in summary.texts)
    assert fair["error above random masks' %"].startswith("60.00 [")
    counts = "random: less / same / more / none"
    assert (fair[counts], dear[counts]) == ("1 / 1 / 0 / 0", "0 / 0 / 0 / 1")
    assert dear["collapsed runs"] == "always off: 3 of 3"
    assert dear["test error %"] == "90.00 to 90.00"
    assert row_file.RULE in summary.note
    # Two seeds decide nothing, here as in every other table.
    few = [shaping_row(row["agent"], row["shaping"], seeds=2) for row in rows]
    (summary,) = summary_tables(few, {("digits", "fair", "a"): {0: 0.5, 1: 0.7}})
    fair, _ = (dict(zip(summary.columns, line, strict=True)) for line in summary.texts)
    assert (fair["error above random masks' %"], fair[counts]) == (
        "60.00 (2 seeds: too few)",
        "0 / 0 / 0 / 2",
    )


def test_an_agent_at_several_cost_weights_counts_once_in_the_summary_of_a_shaping():
    rows = [shaping_row("a", shaping, cost=cost) for shaping in ("x", "y") for cost in (0.1, 0.2)]
    (summary,) = summary_tables(rows, {})
    for line in summary.texts:
        cells = dict(zip(summary.columns, line, strict=True))
        assert cells["agents"] == "1"
        assert cells["random: less / same / more / none"] == "2 / 0 / 0 / 0"


CHANCE = np.random.default_rng(0).binomial(50, 0.3, size=(1, 10, 10)) * 2


@pytest.mark.parametrize(
    ("use", "densities", "habit"),
    [
        (np.eye(10)[None] * 100, [0.3], ""),
        (np.full((1, 10, 10), 30), [0.3], "uniform"),
        (np.tile(np.repeat([0, 100], 5), (1, 10, 1)), [0.3], "same for all classes"),
        # Differences by chance, of few images, are no look at the class.
        (CHANCE, [0.3], "uniform"),
        (None, [1.0, 0.99], "always on"),
        (None, [0.0, 0.01], "always off"),
        (None, [1.0, 0.0], ""),
    ],
)
def test_a_policy_that_does_not_look_at_the_image_is_called_by_its_name(use, densities, habit):
    result = {"evaluations": [{"split": "test", "num_images": 500}]}
    result |= {} if use is None else {"block_use": use.tolist()}
    row = {"habits": row_file.habits_of([result], [densities]), "seeds": [0]}
    assert row_file.habits_in_words(row) == habit


def test_seeds_that_fell_into_different_habits_are_counted():
    densities = [[1.0], [0.0], [0.5], [0.0]]
    habits = row_file.habits_of([{}] * 4, densities)
    row = {"habits": habits, "seeds": range(4)}
    kind_in_words = "always on (1 of 4 seeds); always off (2 of 4 seeds)"
    assert row_file.habits_in_words(row) == kind_in_words
    rows = [row, row | {"habits": {"always off": 4}}, row | {"habits": {}}]
    assert row_file.runs_fallen(rows) == {"always on": 1, "always off": 6}


def test_a_study_of_a_stranger_has_its_own_tables_and_figures_on_the_page(report):
    page = (report / "index.html").read_text()
    assert "<summary><h2>What a stranger adds</h2></summary>" in page
    assert "Drawn by a stranger." in page
    assert (report / "mine.csv").read_text().startswith("row")
    assert (report / "mine.png").stat().st_size > 500


PROBE = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const said = {
    images: images.length,
    broken: images.filter(i => !i.complete || !i.naturalWidth).length,
    page: document.documentElement.scrollWidth,
    window: innerWidth,
    small: [...document.querySelectorAll("p, td, th, li, figcaption")].filter(
      e => parseFloat(getComputedStyle(e).fontSize) < 12).length,
  };
  document.body.dataset.said = JSON.stringify(said);
});
</script>
"""


def look_at(text, folder, width):
    """What a browser of some width says about a page: `PROBE`'s findings, and its console."""
    # A headless window is never narrower than 500 pixels; a frame is.
    page, end, rest = text.rpartition("</body>")
    (folder / "inner.html").write_text(page + PROBE + end + rest)
    frame = f'<iframe id="f" src="inner.html" style="border:0" width="{width}" height="800">'
    options = ("--allow-file-access-from-files", "--window-size=1400,900")
    return said_by(f"<!doctype html><title>t</title>{frame}</iframe>", folder, RELAY, *options)


@needs_browser
def test_a_browser_loads_every_image_and_never_scrolls_the_page_sideways(report, tmp_path):
    width = 320
    said, console = look_at((report / "index.html").read_text(), tmp_path, width)
    assert said["window"] == width
    assert said["images"] >= 6
    assert said["broken"] == 0
    assert said["page"] <= width
    assert said["small"] == 0
    assert "CONSOLE" not in console


RELAY = """
<script>
addEventListener("load", () => {
  const inner = document.getElementById("f").contentDocument;
  const copy = () => inner.body.dataset.said
    ? document.body.dataset.said = inner.body.dataset.said
    : setTimeout(copy, 50);
  copy();
});
</script>
"""


DATA = ("digits", "synthetic")
SWITCH = """
<script>
addEventListener("load", () => {
  const state = () => ({
    headings: [...document.querySelectorAll("#results .table:not([hidden]) th[scope=col]")]
      .filter(h => h.offsetParent).map(h => h.textContent),
    first: document.querySelector("#results tbody tr").innerText,
    figure: document.querySelector(".picture svg").getAttribute("aria-label"),
  });
  const choose = (name, value) => document.querySelector(
    `.switches input[name=${name}][value="${value}"]`).click();
  const before = state();
  choose("measure", "nll"); choose("cost", "time-256"); choose("masks", "mode");
  const after = state();
  const [first, second] = document.querySelectorAll(".picture .mark");
  first.focus();
  first.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  const moved = document.activeElement === second;
  first.focus();
  document.body.dataset.said = JSON.stringify({before, after,
    moved, pointed: document.querySelector(".pointed").textContent,
    lit: document.querySelector("tr.lit")?.innerText ?? "",
    unlabelled: [...document.querySelectorAll("input, button, select")].filter(
      e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).length});
});
</script>
"""


@needs_browser
def test_switches_choose_the_figure_and_the_columns_of_the_table(report, tmp_path):
    said, console = said_by((report / "index.html").read_text(), tmp_path, SWITCH)
    assert "CONSOLE" not in console
    start, end = ["row"], ["front", "kind", "seeds", "above random masks %"]
    assert said["before"]["headings"] == [*start, "test error %", "MACs", *end]
    assert said["after"]["headings"] == [*start, "test nll in nats", "ms for 256 inputs", *end]
    assert "Scatter plot of test error over MACs" in said["before"]["figure"]
    assert "test nll in nats over ms for 256 inputs" in said["after"]["figure"]
    # The first mark is the first row's.
    assert said["pointed"].startswith("block_dropout 0.1: test nll in nats 1.000")
    assert said["lit"].startswith("block_dropout 0.1")
    assert said["moved"]
    assert said["unlabelled"] == 0


OTHER_DATA = """
<script>
addEventListener("load", () => {
  const choose = (name, value) => document.querySelector(
    `.switches input[name=${name}][value="${value}"]`).click();
  const state = () => [document.querySelector(".picture svg").getAttribute("aria-label"),
    [...document.querySelectorAll("#results .table:not([hidden]) .scroll")].map(e => e.ariaLabel),
    [...document.querySelectorAll(".switches :checked")].map(e => e.value)];
  choose("cost", "time-256");
  const before = state();
  choose("data", "1");
  document.body.dataset.said = JSON.stringify([before, state()]);
});
</script>
"""


@needs_browser
def test_a_data_set_without_times_is_shown_over_what_it_has(tmp_path):
    cells = [Cell(f"reinforce {data}", "reinforce", {"dataset": data}) for data in DATA]
    found = comparison_of(cells, seeds=(0,))
    for one in found.finished:
        if DATA[1] in one.label:
            one.result["latency"] = []
    publish(found, tmp_path)
    said, console = said_by((tmp_path / "index.html").read_text(), tmp_path, OTHER_DATA)
    assert "CONSOLE" not in console
    before, after = said
    assert "over ms for 256 inputs" in before[0]
    assert before[1:] == [["Results on digits"], ["0", "error", "time-256", "sampled"]]
    assert "over MACs of one input" in after[0]
    assert after[1:] == [["Results on synthetic"], ["1", "error", "macs", "sampled"]]
