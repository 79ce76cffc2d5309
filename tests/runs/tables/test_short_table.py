"""Laws of the terminal's table: it fits, keeps the front, and says what it leaves out."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from made_results import table_row as row

from ccenv.runs.stats.verdict import baseline_sentences
from ccenv.runs.tables.short_table import MOST_ROWS, html_answer, most_telling, short_table
from ccenv.runs.tables.sweep_table import Table

ABOVE = {"mean": -0.123, "sd": 0.01, "low": -0.13, "high": -0.116}
ROWS = [row(f"row number {n}", 0.5 - n / 80, 100.0 * n, on_front=n in (0, 1)) for n in range(24)]


@given(st.integers(40, 200), st.lists(st.text("abc ", min_size=1, max_size=60), min_size=1))
@example(40, ["a"] * (MOST_ROWS + 1))
def test_no_line_of_the_table_is_wider_than_the_terminal(width, labels):
    rows = [row(label, 0.1, 10.0, above_random=ABOVE) for label in labels]
    shown = short_table(rows, width).split("\n\n")[0]
    assert max(map(len, shown.splitlines()[: len(rows) + 2])) <= max(width, 50)


def test_a_sweep_of_a_dozen_rows_is_shown_whole():
    shown = short_table(ROWS[:12], 80)
    assert all(one["label"] in shown for one in ROWS[:12])
    assert "left out" not in shown


def test_a_greedy_row_among_sampled_ones_says_so_in_a_column_with_the_other_figure():
    mine = row("mine", 0.2, 5.0, learns=True, masks="mode", other_error={"mean": 0.25})
    theirs = row("theirs", 0.3, 5.0, learns=True, other_error={"mean": 0.35})
    rows = [mine, theirs, row("rule", 0.1, 5.0)]
    heading, _, *lines = short_table(rows, 80).splitlines()[:5]
    assert heading.split()[3:7] == ["masks", "other", "masks", "%"]
    said = [re.sub(r"^.*\)", "", line).split()[:4] for line in lines]
    assert said[0] == ["greedy", "25.00", "sampled", "5"]
    assert said[1] == ["sampled", "35.00", "greedy", "5"]
    assert said[2][0] == "5"
    # The kind outlives a narrow terminal; where all are sampled there is nothing to tell.
    assert "greedy" in short_table(rows, 48)
    assert "masks %" not in short_table([theirs], 80)


def test_the_front_and_the_smallest_errors_are_the_rows_shown_in_their_order():
    shown = most_telling(ROWS)
    assert len(shown) == MOST_ROWS
    assert [one["label"] for one in shown[:2]] == ["row number 0", "row number 1"]
    assert [one["label"] for one in shown[2:]] == [f"row number {n}" for n in range(6, 24)]
    assert "4 of 24 rows are left out here: the page and --json have all." in short_table(ROWS, 80)
    added = row("MyAgent", 0.9, 1e9, added=True)
    dense = row("768 units", 0.95, 1e9, method="dense")
    again = row("again", 0.1, 10.0, same_as="row number 9 in 3 of 5 seeds")
    assert most_telling([dense, again, *ROWS, added])[:: MOST_ROWS - 1] == [dense, added]
    assert again not in most_telling([again, *ROWS])


def test_columns_that_say_nothing_are_left_out_and_texts_have_bits():
    assert "vs random" not in short_table(ROWS, 120).splitlines()[0]
    bits = [row("a", 0.5, 10.0, bits={"mean": 2.5, "sd": None, "low": None, "high": None})]
    assert "2.500" in short_table(bits, 80)
    assert "error" not in short_table(bits, 80).splitlines()[0]
    spread = {"mean": 2.5, "sd": 0.01, "low": 2.475, "high": 2.525}
    assert "2.500 [2.475, 2.525]" in short_table([row("a", 0.5, 10.0, bits=spread)], 80)


def test_the_note_explains_what_the_table_shows_and_nothing_else():
    rows = [row("a", 0.1, 10.0, above_random=ABOVE), row("b", 0.2, 5.0)]
    assert "-12.3 [-13.0, -11.6]" in short_table(rows, 80)
    assert "vs random: " in short_table(rows, 80)
    assert "vs random" not in short_table(rows, 44)
    assert "(ceiling)" not in short_table(rows, 80)
    assert "(ceiling): " in short_table([row("c", 0.1, 1.0, uses_labels=True)], 80)


def crossed(agents, shapings):
    """A row for each agent under each reward; the first agent is better than random masks."""
    return [
        row(
            f"{agent} {shaping}",
            (10 + place) / 100,
            100.0 * (1 + place),
            agent=agent,
            method=agent,
            shaping=shaping,
            learns=True,
            verdict="no difference" if place else "better",
            above_random={"mean": place / 100},
        )
        for shaping in shapings
        for place, agent in enumerate(agents)
    ]


def test_agents_crossed_with_shapings_are_a_line_a_shaping_and_a_few_lines_of_prose():
    shapings = [f"reward {letter}" for letter in "abcdefghijkl"]
    rows = crossed(["one", "two", "three", "four"], shapings)
    lines = [[shaping, "10.00 to 13.00", "collapsed: 1\nconstant: 2"] for shaping in shapings]
    columns = {"shaping": "left", "error %": "right", "runs": "left"}
    table = short_table(rows, 80, [Table("shapings", "Shapings", columns, lines)])
    for shaping in shapings:
        (line,) = (line for line in table.splitlines() if line.startswith(shaping))
        assert line.split()[2:] == ["10.00", "to", "13.00", "collapsed:", "1;", "constant:", "2"]
    assert "48 of 48 rows are left out here: the page and --json have all." in table
    sentences = " ".join(baseline_sentences(rows))
    assert sentences.startswith(
        "On digits (48 policies; sampled masks), compared with random masks of the same cost, 12 "
        "policies have less error (+0.0 points); 36 policies are not significantly different (+1.0 "
        "to +3.0 points)."
    )
    # Two agents under two rewards can be read row by row.
    few = short_table(crossed(["one", "two"], shapings[:2]), 80)
    assert few.splitlines()[2].startswith("one reward a")


def test_a_notebook_shows_the_same_cells_as_a_table():
    shown = html_answer([row("<b>", 0.1, 10.0), row("b", 0.2, 5.0)], ["Better & worse."])
    assert shown.startswith("<p>Better &amp; worse.</p><table><tr><th")
    assert shown.count("<tr>") == 3
    assert '<td style="text-align:left">&lt;b&gt;</td>' in shown
    assert '<td style="text-align:right">10</td>' in shown
