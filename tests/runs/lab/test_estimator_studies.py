"""Law of the study of estimators: it runs in miniature, is recorded, shown and drawn."""

import functools
import json

from ccenv.runs.lab import tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.estimators import curves, moments
from ccenv.runs.mask_tables.build import build_table
from ccenv.runs.store.seal import check_seal

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
