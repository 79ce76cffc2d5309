"""Laws of what the README says on when choosing pays: recorded rows decide each figure and word."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import pytest

from ccenv.runs.studies import find_study

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "runs/results/README.md"
SEQUENCES, TEXT = (ROOT / "runs/docs/results" / f"{name}.md" for name in ("sequences", "text"))
COUNTS = ("no", "one", "two", "three", "four")
SHARES = {2: "half", 4: "a quarter"}


class Measured(NamedTuple):
    """A mean and its 95 % interval; both ends are the mean where there is no interval."""

    mean: float
    low: float
    high: float


NOTHING = Measured(0.0, 0.0, 0.0)


class Sentence(NamedTuple):
    """A point of the README, and the rows that it rests on."""

    text: str
    """with {a word of RELATIONS} or {the name of a figure} wherever rows decide."""
    figures: dict[str, str]
    words: dict[str, list[tuple[Measured, Measured]]]
    """word -> pairs of rows: what it says of the left one, compared with the right one."""


def is_below(left: Measured, right: Measured) -> bool:
    """Whether their intervals are apart; a single seed has none."""
    have_intervals = all(row is NOTHING or row.low < row.high for row in (left, right))
    return have_intervals and left.high < right.low


def is_no_worse(left: Measured, right: Measured) -> bool:
    return left.low <= right.high


def overlap(left: Measured, right: Measured) -> bool:
    return is_no_worse(left, right) and is_no_worse(right, left)


def is_equal(left: Measured, right: Measured) -> bool:
    return 0.98 < left.mean / right.mean < 1.02


RELATIONS: dict[str, Callable[[Measured, Measured], bool]] = {
    "less": is_below,
    "fewer": is_below,
    "as well as": is_no_worse,
    "no difference": overlap,
    "equal": is_equal,
}
"""Word of a comparison -> what it says of two rows, where a lower mean is better."""
DECIDED = re.compile(
    rf"\d|\b(?:{'|'.join([*RELATIONS, *COUNTS, *SHARES.values()])}|more|as \w+ as|reach\w*|enough|"
    r"better|worse|same|level|difference|different|ahead|behind|quarter|third|twentieth|times)\b"
)
"""What rows decide: no text says it by itself."""


def said(sentence: Sentence) -> str:
    """What the rows say; AssertionError where they do not bear a word out."""
    for word, pairs in sentence.words.items():
        assert pairs
        for left, right in pairs:
            assert RELATIONS[word](left, right), f"not {word}: {left} and {right}"
    return sentence.text.format_map({word: word for word in sentence.words} | sentence.figures)


def measured(cell: str) -> Measured:
    """Reads "1.907 [1.890, 1.923]", or the figure of a single seed."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", cell.replace(",", ""))]
    mean, low, high = numbers if len(numbers) == 3 else 3 * numbers
    return Measured(mean, low, high)


def lines_of(page: Path, table: str) -> list[dict[str, str]]:
    """The lines of a page's table: heading of a column -> cell."""
    marked = page.read_text().partition(f"<!-- table: {table} -->")[2]
    heads, _, *lines = (
        [cell.strip() for cell in line[1:-1].split("|")]
        for line in marked.partition("<!-- end -->")[0].strip().splitlines()
    )
    return [dict(zip(heads, line, strict=True)) for line in lines]


def column(page: Path, table: str, head: str) -> dict[str, Measured]:
    """A column of a page's table: first cell of a line -> what was measured."""
    lines = lines_of(page, table)
    return {next(iter(line.values())): measured(line[head]) for line in lines if line[head]}


def together(figures: Iterable[str]) -> str:
    return " and ".join(figures)


def experts() -> Sentence:
    after = column(SEQUENCES, "sequences-longer/memory-budgets", "2,900 kB")
    before = column(SEQUENCES, "sequences/memory-budgets", "2,900 kB")
    kilobytes = column(SEQUENCES, "sequences/at-equal-macs-bits-mode", "kB")
    chosen = "hash 1 of 16 experts, by 1 of the last symbols"
    long, short = (
        find_study(name).sweep.runs()[0][1]["images"] for name in ("sequences-longer", "sequences")
    )
    return Sentence(
        "Next byte of Python code, {positions} million positions: a transformer that runs {one} of "
        "{experts} experts needs {gap} bits {less} than hashed n-grams of {equal} memory (`ccenv "
        "compare sequences-longer`). After {a share} of the positions there is {no difference}.",
        {
            "positions": f"{long / 1e6:.1f}",
            "one": COUNTS[1],
            "experts": re.findall(r"\d+", chosen)[1],
            "gap": f"{after['hashed n-grams'].mean - after['hash'].mean:.2f}",
            "a share": SHARES[long // short],
        },
        {
            "less": [(after["hash"], after["hashed n-grams"])],
            "equal": [(kilobytes[chosen], kilobytes["hashed n-grams, 16,300 rows, 40 units"])],
            "no difference": [(before["hash"], before["hashed n-grams"])],
        },
    )


def windows() -> Sentence:
    bits = column(TEXT, "text/at-equal-macs-bits-mode", "test bits a symbol")
    macs = column(TEXT, "text/at-equal-macs-bits-mode", "MACs")
    dense_bits = column(TEXT, "text/at-equal-error-bits-mode", "its bits a symbol")
    dense_macs = column(TEXT, "text/at-equal-error-bits-mode", "MACs")
    blocks, symbols = 32, 2
    rows = [
        (
            f"rloo {blocks},{blocks} x 16, {kept} kept, context 8",
            f"dense {units}, context 8, rate 0.005",
            f"hash {blocks},{blocks} x 16, {kept} kept, by {COUNTS[symbols]} symbols, context 8",
        )
        for kept, units in ((1, "256, then 128"), (2, "512, then 256"))
    ]
    return Sentence(
        "Next byte from a short window: a policy that runs {kept} of {blocks} blocks needs {fewer} "
        "bits than dense networks of {times} its MACs, and {gaps} {less} than hash routing by "
        "{symbols} symbols (`ccenv compare text`).",
        {
            "kept": f"{COUNTS[1]} or {COUNTS[2]}",
            "blocks": str(blocks),
            "times": together(f"{dense_macs[d].mean / macs[c].mean:.0f}" for c, d, _ in rows)
            + " times",
            "gaps": together(f"{bits[h].mean - bits[c].mean:.2f}" for c, _, h in rows),
            "symbols": COUNTS[symbols],
        },
        {
            "fewer": [(bits[chosen], dense_bits[dense]) for chosen, dense, _ in rows],
            "less": [(bits[chosen], bits[hashed]) for chosen, _, hashed in rows],
        },
    )


def updates() -> Sentence:
    rows = {
        (line["decides"].split(",")[0], line["price"]): measured(
            f"{line['gain over the best rule']} {line['95 %']}"
        )
        for line in lines_of(SEQUENCES, "over-text")
        if line["decides over"] == "updates" and line["95 %"]
    }
    costs = sorted({price for _, price in rows})
    policy, relaxed = ([rows[name, cost] for cost in costs] for name in ("rloo", "gumbel"))
    return Sentence(
        "When a recurrent network updates its state: gates that are trained over the whole "
        "sequence need {fewer} nats than the best rule, that cost included: at {ahead} of {costs} "
        "costs of an update {gaps} by policy gradient and {relaxed} by a relaxed gradient, with "
        "{no difference} between these ways; at the lowest {lowest} by a relaxed gradient, and by "
        "policy gradient there is {no difference} (`python -m ccenv.runs.lab over-text`, "
        "[table](runs/docs/results/sequences.md#episodes-over-sequences)).",
        {
            "gaps": together(f"{gain.mean:.3f}" for gain in policy[1:]),
            "relaxed": together(f"{gain.mean:.3f}" for gain in relaxed[1:]),
            "lowest": f"{relaxed[0].mean:.3f}",
            "ahead": COUNTS[len(costs) - 1],
            "costs": COUNTS[len(costs)],
        },
        {
            "fewer": [(NOTHING, gain) for gain in (*relaxed, *policy[1:])],
            "no difference": [(NOTHING, policy[0]), *zip(policy, relaxed, strict=True)],
        },
    )


def routing() -> Sentence:
    bits = column(SEQUENCES, "sequences/at-equal-macs-bits-mode", "test bits a symbol")
    hashed = bits.pop("hash 1 of 16 experts, by 1 of the last symbols")
    learned = [row for name, row in bits.items() if "1 of 16 experts" in name]
    window, macs = (
        column(TEXT, "text/at-equal-macs-bits-mode", head)
        for head in ("test bits a symbol", "MACs")
    )
    rows = [
        (
            f"rloo 32,32 x 16, {kept} kept, context 8",
            f"hash 32,32 x 16, {kept} kept, by one symbol, context 8",
        )
        for kept in (1, 2)
    ]
    return Sentence(
        "Hash routing, a look-up by the last symbol, chooses a transformer's experts {as well as} "
        "any policy here. On short windows a policy of {equal} MACs needs {gap} bits {less}.",
        {"gap": together(f"{window[h].mean - window[policy].mean:.2f}" for policy, h in rows)},
        {
            "as well as": [(hashed, row) for row in learned],
            "equal": [(macs[policy], macs[looked_up]) for policy, looked_up in rows],
            "less": [(window[policy], window[looked_up]) for policy, looked_up in rows],
        },
    )


def counting() -> Sentence:
    bits = [column(RESULTS, "text/memory-budgets", f"{size} kB") for size in ("1,650", "5,260")]
    kilobytes = column(TEXT, "text/at-equal-macs-bits-mode", "kB")
    rows = (
        ("hashed n-grams, 14,100 rows, 26 units", "rloo 32,32 x 16, 2 kept, context 8"),
        ("hashed n-grams, 22,300 rows, 56 units", "rloo 64,64 x 16, 2 kept, context 8"),
    )
    return Sentence(
        "On short windows hashed n-grams of {equal} memory need {fewer} bits than chosen blocks.",
        {},
        {
            "equal": [(kilobytes[counted], kilobytes[chosen]) for counted, chosen in rows],
            "fewer": [(within["hashed n-grams"], within["rloo"]) for within in bits],
        },
    )


def pruning() -> Sentence:
    budgets = ("2,250", "5,000", "10,600")
    errors = [column(RESULTS, "front-mnist/budgets", f"{macs} MACs") for macs in budgets]
    return Sentence(
        "On small images a fixed pruned network makes {fewer} errors than chosen blocks, up to "
        "{most} MACs (`ccenv compare front-mnist`).",
        {"most": budgets[-1]},
        {"fewer": [(within["pruned"], within["rloo"]) for within in errors]},
    )


POINTS = (experts, windows, updates, routing, counting, pruning)


def points(text: str) -> list[str]:
    """What stands under "When it pays" and "When not"."""
    part = text.partition("**When it pays**")[2].partition("\n## ")[0]
    return re.findall(r"^- (.*)$", part, re.MULTILINE)


def test_every_point_of_the_readme_is_what_its_rows_say():
    assert points((ROOT / "README.md").read_text()) == [said(point()) for point in POINTS]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_no_point_has_a_figure_or_a_comparison_that_rows_do_not_decide(point):
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", point().text)
    literals = [literal for literal, *_ in Formatter().parse(text)]
    assert not [DECIDED.findall(literal) for literal in literals if DECIDED.search(literal)]


APART, OVERLAPPING, ONE_SEED = (
    Measured(1, 0.9, 1.1),
    Measured(1.2, 1.05, 1.3),
    Measured(0.5, 0.5, 0.5),
)


@pytest.mark.parametrize(
    ("word", "left", "right"),
    [
        ("less", OVERLAPPING, APART),
        ("less", APART, OVERLAPPING),
        ("fewer", ONE_SEED, APART),
        ("as well as", Measured(1.3, 1.2, 1.4), APART),
        ("no difference", ONE_SEED, APART),
        ("equal", OVERLAPPING, APART),
    ],
)
def test_a_word_that_rows_do_not_bear_out_is_found(word, left, right):
    with pytest.raises(AssertionError, match=f"not {word}"):
        said(Sentence(f"{{{word}}}", {}, {word: [(left, right)]}))
