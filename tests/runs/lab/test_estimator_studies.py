"""Laws of the study of estimators: it runs in miniature, and its page says what was recorded."""

import functools
import json
from pathlib import Path

import pytest

from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.estimators import curves, moments
from ccenv.runs.mask_tables.build import build_table
from ccenv.runs.store.seal import check_seal

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "runs" / "results"
NAMES = ("estimator-moments", "estimator-curves")
SMALL = {
    moments: {"seeds": 3, "draws": 3, "warm_up": 2},
    curves: {"runs": 2, "tuning_runs": 1, "updates": (2, 4), "rates": (0.1,), "look_ups": 16},
}


def test_both_are_recorded_shown_and_drawn(tmp_path, monkeypatch, capsys):
    for part, sizes in SMALL.items():
        monkeypatch.setattr(part, "Sizes", functools.partial(part.Sizes, **sizes))
    table = tmp_path / "table"
    build_table("probe-residual", "probe", table, split="validation", limit=20)
    words = ["--table", str(table), "--inputs", "20", "--price", "0.5"]
    folders = [f"--{kind}-dir={tmp_path}" for kind in ("results", "report")]
    for name in NAMES:
        assert main([name, *words, "--record", *folders]) == 0
        check_seal(json.loads((tmp_path / f"{name}.json").read_text()), name)
    page = "".join(f"<!-- table: {name} -->\n<!-- end -->\n" for name in NAMES)
    page += "![x](../results/figures/estimator-curves--regret.png)"
    (tmp_path / "page.md").write_text(page)
    words = [str(tmp_path / "page.md"), "--results-dir", str(tmp_path)]
    assert tables.main([*words, "--figures"]) == 0
    assert tables.main([*words, "--check"]) == 0
    assert len(list((tmp_path / "figures").iterdir())) == 1
    rows = json.loads((tmp_path / "estimator-curves.json").read_text())["rows"]
    assert {row["policy"] for row in rows} == {"constant", "linear"}


@pytest.fixture(scope="module")
def recorded():
    return {name: json.loads((RESULTS / f"{name}.json").read_text())["rows"] for name in NAMES}


def test_tables_and_figures_of_the_page_are_those_of_the_recorded_results():
    page = ROOT / "runs" / "docs" / "estimators.md"
    assert tables.main([str(page), "--check", "--results-dir", str(RESULTS)]) == 0
    for result, name in tables.links(page.read_text()):
        assert (RESULTS / "figures" / f"{result}--{name}.png").read_bytes()[1:4] == b"PNG"


def of(rows, policy, key, place=None):
    own = {row["estimator"]: row for row in rows if row["policy"] == policy}
    return {name: row[key] if place is None else row[key][place] for name, row in own.items()}


def test_what_the_page_says_of_bias_and_noise_was_measured(recorded):
    rows = recorded["estimator-moments"]
    for policy in ("constant", "linear"):
        noise = {name: one["mean"] for name, one in of(rows, policy, "noise").items()}
        groups = [noise[f"leave-one-out, {k}"] for k in (2, 4, 8, 16)]
        assert noise["reinforce"] > 1.8 * max(noise["reinforce, mean baseline"], *groups)
        assert max(groups) < 1.3 * min(groups)
        angle = of(rows, policy, "angle")
        for name in ("straight-through", "reinmax", "gumbel, 1.0", "vimco, 8", "normalised, 8"):
            assert angle[name]["low"] > 10
        for name in ("reinforce", "leave-one-out, 4", "disarm, 2", "both ways"):
            assert angle[name]["low"] < 0.5
            assert abs(of(rows, policy, "size")[name]["mean"] - 1) < 0.05
    even, sure = (
        {n: one["mean"] for n, one in of(rows, p, "noise").items()} for p in ("constant", "linear")
    )
    exact = [n for n in even if n.startswith(("reinforce", "leave", "disarm", "both"))]
    slopes = [n for n in even if n.startswith(("straight", "reinmax"))]
    assert min(exact, key=even.get) == "disarm, 2"
    assert all(even[name] < 0.67 * even["disarm, 2"] for name in slopes)
    assert sure["disarm, 2"] > 0.9 * min(sure[f"leave-one-out, {k}"] for k in (2, 4, 8))
    late = of(rows, "linear", "angle")
    assert all(late[name]["low"] > 55 for name in (*slopes, "gumbel, 1.0", "gumbel, 0.5"))


def test_what_the_page_says_of_regret_was_measured(recorded):
    ends = {p: of(recorded["estimator-curves"], p, "regret", -1) for p in ("constant", "linear")}
    constant = {name: one for name, one in ends["constant"].items() if name != curves.EXACT}
    astray = ("straight-through", "gumbel, 1.0")
    others = [one for name, one in constant.items() if name not in astray]
    assert all(constant[n]["low"] > max(one["high"] for one in others) for n in astray)
    returns = [n for n in constant if not n.startswith(("straight", "reinmax", "gumbel"))]
    rest = [constant[n]["high"] for n in returns if n != "normalised, 8"]
    assert constant["normalised, 8"]["low"] > max(rest)
    linear = {name: one["mean"] for name, one in ends["linear"].items()}
    best = sorted(linear, key=linear.get)[:3]
    assert best == [curves.EXACT, "normalised, 8", "vimco, 8"]
    assert linear[curves.EXACT] < 0.9 * linear["normalised, 8"]
