"""Law 19 where results are only read: whatever they name, nothing of it is imported or called."""

import contextlib
import copy
import dataclasses
import functools
import json
import sys

import pytest
from test_doors import put

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.earlier_settings import EARLIER, Earlier
from ccenv.base.files import SEAL, sealed
from ccenv.runs.commands import compare
from ccenv.runs.commands import list as listing
from ccenv.runs.config.sweep import Cell, Sweep
from ccenv.runs.engine import jobs, recordings, sweep_runs
from ccenv.runs.lab import tables
from ccenv.runs.report.tables import all_tables
from ccenv.runs.store import recorded
from ccenv.runs.store.untrusted_files import stored_result

TOY = Sweep(
    name="toy",
    description="A rule and a learner on the probe.",
    settings=PROBE_SETTINGS | {"images": 128, "batch_size": 64},
    cells=(Cell("dense", "dense"), Cell("reinforce", "reinforce")),
    seeds=(0,),
    minutes=1,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The sweep with its runs' folders and its recording."""
    folder = tmp_path_factory.mktemp("reading")
    made = jobs.make_jobs(TOY, str(folder / "logs"))
    for job in made:
        ccenv.train(job.agent, **job.settings)
    source = recordings.recording_of(TOY, made, str(folder / "results"))
    recordings.record_sweep(TOY, made, source)
    return folder


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A module that says when it is imported, and what `os.system` would have been called with."""
    told = []
    (tmp_path / "sentinel_of_results.py").write_text("def run(*given): raise SystemExit(given)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("os.system", told.append)
    yield lambda: [*told, *(name for name in sys.modules if name == "sentinel_of_results")]
    sys.modules.pop("sentinel_of_results", None)


def positions(node, path=()):
    """Where texts stand in nested JSON, but for the twins of a list: one of each kind."""
    if isinstance(node, str):
        yield path
    items = node.items() if isinstance(node, dict) else ()
    if isinstance(node, list):
        items = enumerate(node[:2])
    for key, value in items:
        yield from positions(value, (*path, key))


def poisoned(content, places, name):
    """A copy that holds a name in some positions."""
    return functools.reduce(lambda node, place: put(node, place, name), places, content)


def resealed(content):
    """The content with checksums made anew, as a forger would."""
    if isinstance(content, dict) and isinstance(content.get("cells"), list):
        cells = [sealed(cell) if isinstance(cell, dict) else cell for cell in content["cells"]]
        return {**content, "cells": cells}
    return sealed(content) if SEAL in content else content


def read_all(folder, logs):
    """Tables of a README and of a report, of what is recorded and of what the runs' folders say."""
    text = "<!-- table: toy -->\n<!-- end -->\n"
    tables.render(text, folder / "results")
    all_tables(tables.recorded_comparison(TOY, folder / "results"))
    asked = jobs.make_jobs(TOY, str(logs))
    found = sweep_runs.gather(TOY, asked, {})
    recordings.outdated(found, asked)
    all_tables(found)


def can_read(folder, logs):
    """Whether it was read; that it is refused is as good."""
    try:
        read_all(folder, logs)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration):
        return False
    return True


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("recording", "sentinel_of_results:run"),
        ("result.json", "sentinel_of_results:run"),
        ("config.json", "sentinel_of_results:run"),
    ],
)
def test_a_name_in_any_position_of_a_result_is_never_imported(
    file, name, place, tmp_path, sentinel, capsys
):
    (folder,) = {path.parent for path in place.glob("logs/*/reinforce/*/*/seed-0")}
    path = place / "results/toy.json" if file == "recording" else folder / "seed-0" / file
    before = path.read_text()
    content = json.loads(before)
    assert can_read(place, place / "logs")
    harmless = []
    try:
        for position in positions(content):
            path.write_text(json.dumps(resealed(poisoned(content, [position], name))))
            if can_read(place, place / "logs"):
                harmless.append(position)
            assert sentinel() == [], position
        # Another checksum of the data is refused where results stand beside runs.
        harmless = [position for position in harmless if position[0] != "data"]
        assert len(harmless) > 5
        path.write_text(json.dumps(resealed(poisoned(content, harmless, name))))
        options = compare.make_parser().parse_args(
            [
                *("--no-run", "--log-dir", str(place / "logs")),
                *("--report-dir", str(tmp_path / "reports")),
                *("--results-dir", str(place / "results")),
            ]
        )
        options.sweep = TOY
        assert compare.compared(options) == 0
        assert listing.main(["agents"]) == 0
        assert sentinel() == []
    finally:
        path.write_text(before)
    assert "reinforce" in capsys.readouterr().out


SHOWN = {
    ("label",): "x" * 201,
    ("reward",): "\x1b[2J",
    ("settings", "network"): "\u202eprobe",
}
"""Place in a recorded result -> what a table would not show as it is."""


@pytest.mark.parametrize("at", SHOWN)
def test_a_result_whose_names_a_terminal_would_not_show_is_refused(at, place, tmp_path):
    content = json.loads((place / "results/toy.json").read_text())
    changed = poisoned(content["cells"][-1], [at], SHOWN[at])
    path = tmp_path / "toy.json"
    for cells, is_sound in ((content["cells"], True), ([changed], False)):
        path.write_text(json.dumps(resealed({**content, "cells": cells})))
        with contextlib.nullcontext() if is_sound else pytest.raises(ValueError, match="printable"):
            recorded.read_cells(path)
    (folder,) = {path.parent for path in place.glob("logs/*/reinforce/*/*/seed-0/result.json")}
    result = json.loads((folder / "result.json").read_text())
    at = (at[0], "environment", at[1]) if at[1:] else at
    (tmp_path / "result.json").write_text(
        json.dumps(sealed(poisoned(result, [at], SHOWN[("label",)] + "\n")))
    )
    with pytest.raises(ValueError, match="printable"):
        stored_result(tmp_path)


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.999, 1.001, 2.0])
@pytest.mark.parametrize("names", [{"macs"}, {"macs", "total_cost"}, {"compute_cost"}])
def test_a_recorded_cost_is_neither_below_nor_above_its_macs_and_its_parts(
    names, factor, place, tmp_path
):
    content = json.loads((place / "results/toy.json").read_text())
    path = tmp_path / "toy.json"
    for cell in content["cells"]:
        for number in range(len(cell["evaluations"])):
            changed = copy.deepcopy(cell)
            changed["evaluations"][number] |= {
                name: factor * cell["evaluations"][number][name] for name in names
            }
            path.write_text(json.dumps(resealed({**content, "cells": [changed]})))
            with pytest.raises(ValueError, match=r"expected (total|compute)_cost of"):
                recorded.read_cells(path)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_rows_that_are_not_as_the_package_has_them_say_so(factor, tmp_path, capsys):
    content = json.loads((recorded.WITH_PACKAGE / "text-quick.json").read_text())
    cell = content["cells"][-1]
    # Costs and MACs agree, and the checksum is of what stands there: it can only be compared.
    for one in cell["evaluations"]:
        one["error"] *= factor
    (tmp_path / "text-quick.json").write_text(json.dumps(resealed(content)))
    assert compare.main(["text-quick", "--no-run", "--results-dir", str(tmp_path)]) == 0
    lines = [one for one in capsys.readouterr().err.splitlines() if "come with ccenv" in one]
    label, seed = cell["label"], cell["seed"]
    said = f"1 recorded results are not those that come with ccenv: {label} (seeds {seed})"
    assert [line.partition(";")[0] for line in lines] == ([said] if factor < 1 else [])


@pytest.mark.parametrize(("version", "is_older"), [(1, False), (2, True)])
def test_a_recorded_result_is_older_where_its_agent_has_another_version(
    version, is_older, place, monkeypatch
):
    asked = jobs.make_jobs(TOY, str(place / "logs"))
    for kind in {job.plan.agent_class.__name__ for job in asked}:
        row = dataclasses.replace(EARLIER.get(kind, Earlier()), version=version)
        monkeypatch.setitem(EARLIER, kind, row)
    found = tables.recorded_comparison(TOY, place / "results")
    # Recorded before there were versions, by a file that has other texts now.
    for one in found.finished:
        one.result.pop("code_version", None)
        one.result["code"] = dict.fromkeys(one.result["code"], "of other code")
    of_agents = [job for job in asked if ":" not in job.plan.agent]
    assert of_agents
    assert recordings.outdated(found, of_agents) == (of_agents if is_older else [])
    own_runs = sweep_runs.gather(TOY, asked, {})
    for one in own_runs.finished:
        one.result["code"] = dict.fromkeys(one.result["code"], "of other code")
    assert len(recordings.outdated(own_runs, asked)) == len(own_runs.finished)
