"""Laws of the suite's report: made scores, whose skills, findings and notes are known."""

import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest

import ccenv
from ccenv.agents.base import Agent
from ccenv.annexes.tasks import TASKS
from ccenv.base.files import sealed, without
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.lab.suite_agents import (
    RULE,
    RULES,
    rule_player,
    skills_table,
    with_policy_macs,
    with_recorded,
    write_record,
)
from ccenv.runs.suite import scores as score_file
from ccenv.runs.suite import standing as standings
from ccenv.runs.suite.pictures import radar, radar_agents, radar_drawn
from ccenv.runs.suite.play import choosing_macs, is_finished, make_player, play_all
from ccenv.runs.suite.reported import SuiteReport, report
from ccenv.runs.suite.scores import ScoredRun, read_folder, read_score
from ccenv.runs.suite.standing import ALL, Standing, agent_table, skill_table, solved_by

SEEDS = range(3)


def written(folder, task, seed, returns, agent="mine"):
    """A `score.json` as an environment leaves it, and its folder."""
    one = TASKS[task]
    content = {
        "suite": 1,
        "task": task,
        "agent": agent,
        "seed": seed,
        "optimum": one.optimum,
        "reference": one.reference,
        "budget": one.episodes,
        "episodes": one.episodes,
        "returns": list(returns),
        "errors": [0.0] * 100,
        "cost": [0.5] * 100,
        "order": seed,
        "resets": {"repeated": 1, "left": 0, "seeds": 0, "resumed": 0, "judged": 0},
    }
    place = folder / str(agent) / task / f"seed-{seed}"
    place.mkdir(parents=True)
    (place / "score.json").write_text(json.dumps(sealed(content)))
    return place


def resealed(content):
    """Content with a seal, as whoever knows how can make one; without where it can have none."""
    try:
        return sealed(content)
    except ValueError:
        return content


def edit(path, **changed):
    """Changes a score, or notes, and seals them again."""
    path.write_text(json.dumps(resealed(json.loads(path.read_text()) | changed)))


def run(agent, task, seed, last, *, recorded=True):
    return ScoredRun(agent, task, seed, (0.0,) * 9 + (last,), 1.0, recorded)


def runs(agent, scores, *, recorded=True):
    """Task -> score; each seed has a hundredth more."""
    return [
        run(agent, t, s, x + s / 100, recorded=recorded) for t, x in scores.items() for s in SEEDS
    ]


def test_a_score_is_normalised_by_its_own_scale_in_tenths(tmp_path):
    task = TASKS["basic-4"]
    returns = np.linspace(task.reference, task.optimum, 100)
    found = read_score(written(tmp_path, "basic-4", 2, returns) / "score.json")
    assert (found.agent, found.task, found.seed) == ("mine", "basic-4", 2)
    share = np.linspace(0, 1, 100)
    assert found.tenths == pytest.approx(share.reshape(10, 10).mean(axis=1))
    assert found.last == pytest.approx(share[90:].mean())
    assert found.online == pytest.approx(0.5)


def test_a_script_that_names_no_agent_is_told_apart_by_its_folders_number(tmp_path):
    place = written(tmp_path, "basic-4", 0, [0.6] * 100)
    other = place.rename(place.parent / "7")
    edit(other / "score.json", agent=None, seed=None)
    assert read_score(other / "score.json").seed == 7
    assert report(tmp_path).own == [score_file.UNNAMED]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"suite": 2}, "of another version: expected suite 1, got 2"),
        ({"task": "depth-3"}, "of a task that this version does not have: 'depth-3'"),
        ({"task": ["a"]}, "of a task that this version does not have: ['a']"),
        ({"returns": [2.625] * 100}, "damaged: expected 100 finite numbers in -0.5..1"),
        ({"returns": [0.9] * 100}, "above the optimum: expected a score of at most 1 within 0.000"),
        ({"errors": [9.0] * 100}, "damaged: expected 100 finite numbers in 0..0.75"),
        ({"cost": [-1.0] * 100}, "damaged: expected 100 finite numbers in 0..1"),
        ({"seed": 10**400}, "expected JSON in"),
        ({"seed": 1e999}, "expected JSON in"),
        ({"seed": -1}, "expected seed as a whole number of at least 0, got -1"),
        ({"agent": ["a"]}, "expected agent as a name, got ['a']"),
        ({"agent": "topk (yours)"}, "expected agent as a name, got 'topk (yours)'"),
        ({"agent": "a" * 300}, "expected agent of at most 200 printable letters"),
        ({"resets": None}, "damaged: expected 4 finite numbers"),
        ({"resets": {"left": 0, "resumed": 0, "judged": -1}}, "damaged: expected 4 finite"),
        ({"episodes": 17}, "unfinished: 17 of 20,000 episodes"),
        ({"budget": 5, "episodes": 5}, "unfinished: 5 of 20,000"),
        ({"returns": [0.5] * 99}, "damaged: expected 100 finite numbers"),
        ({"returns": [None] + [0.5] * 99}, "damaged: expected 100 finite numbers"),
        ({"optimum": 0.95}, "of another version of the task: expected a scale of 0.5 to 0.875"),
        ({"agent": "a\x1b[2J"}, "expected printable texts, got agent"),
    ],
)
def test_a_file_that_does_not_count_is_told_as_such_and_the_others_are_kept(
    changed, said, tmp_path
):
    place = written(tmp_path, "basic-4", 0, [0.6] * 100) / "score.json"
    edit(place, **changed)
    written(tmp_path / "sound", "basic-4", 1, [0.6] * 100)
    found, failures, lines = read_folder(tmp_path)
    assert ([one.seed for one in found], failures) == ([1], [])
    (line,) = lines
    assert said in line
    assert report(tmp_path).notes == [
        "mine: in 1 of 1 files the name is said by the caller",
        *lines,
    ]


def test_a_score_without_its_seal_or_edited_is_not_counted(tmp_path):
    path = written(tmp_path, "basic-4", 0, [0.6] * 100) / "score.json"
    content = json.loads(path.read_text())
    for changed in (content | {"returns": [0.7] * 100}, without(content, "sha256"), {"suite": 1}):
        path.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match="edited, damaged or of an older version"):
            read_score(path)


ODD = [None, True, -1, 0, 10**400, 1e308, -1e308, float("inf"), float("nan"), "", "a\x1b[2J"]
ODD += [[], {}, ["a"], {"a": 1}, [[]], [0.9] * 100, [1e9] * 100, "topk", 3.5, 2**63, [None]]


def damaged(content, draws):
    """A score with one or two places replaced."""
    found = json.loads(json.dumps(content))
    for name in draws.choice([*content, "other"], size=draws.integers(1, 3)):
        if isinstance(found.get(name), list) and found[name] and draws.random() < 0.5:
            found[name][draws.integers(len(found[name]))] = ODD[draws.integers(len(ODD))]
        elif name == "returns" and draws.random() < 0.5:
            found[name] = [3 * 0.87] * 100
        else:
            found[name] = ODD[draws.integers(len(ODD))]
    return found


@pytest.mark.parametrize("is_sealed", [False, True])
def test_no_damaged_score_is_believed_beyond_its_task_or_ends_the_report(is_sealed, tmp_path):
    path = written(tmp_path, "basic-4", 0, np.linspace(0.5, 0.87, 100)) / "score.json"
    content, draws = json.loads(path.read_text()), np.random.default_rng(0)
    believed = 0
    for number in range(400):
        found = damaged(content, draws)
        text = json.dumps(resealed(found) if is_sealed else found)
        if number % 8 == 0:
            text = text[: draws.integers(len(text))]
        if number % 9 == 0:
            place = draws.integers(len(text) + 1)
            text = f"{text[:place]}{chr(draws.integers(1, 300))}{text[place:]}"
        path.write_text(text, encoding="utf-8")
        runs, failures, lines = read_folder(tmp_path)
        assert (len(runs) + len(lines), failures) == (1, [])
        assert all(line.isprintable() for line in lines)
        believed += len(runs)
        for run in runs:
            # Without a seal of its own only what says the same as before, perhaps with a blank.
            assert is_sealed or json.dumps(json.loads(path.read_text())) == json.dumps(content)
            assert max(run.tenths) <= 1.001
            assert min(run.tenths) >= (-0.5 - 0.5) / 0.375 - 0.001
            assert type(run.seed) is int
            assert run.agent.isprintable()
    # What is sealed again and lies within its task's ranges cannot be told from a score.
    assert believed <= 100


def test_a_pipe_a_device_and_a_folder_are_no_scores(tmp_path):
    for place in ("pipe", "device", "folder", "lost"):
        (tmp_path / place).mkdir()
    os.mkfifo(tmp_path / "pipe" / "score.json")
    (tmp_path / "device" / "run.json").symlink_to("/dev/zero")
    (tmp_path / "device" / "score.json").symlink_to("/dev/zero")
    (tmp_path / "folder" / "score.json").mkdir()
    (tmp_path / "lost" / "score.json").symlink_to(tmp_path / "none")
    runs, failures, lines = read_folder(tmp_path)
    # A link to nothing is no file.
    assert (runs, failures, len(lines)) == ([], [], 4)
    assert sum("expected a plain file" in line for line in lines) == 4


@pytest.mark.parametrize("names", [{}, {"agent": None, "seed": None}])
def test_one_run_in_five_folders_counts_once(names, tmp_path):
    place = written(tmp_path, "basic-4", 0, np.linspace(0.5, 0.8, 100))
    edit(place / "score.json", **names)
    for number in range(1, 5):
        shutil.copytree(place, tmp_path / "copies" / str(number))
    found = report(tmp_path)
    assert len(found.by_agent[found.own[0]]) == 1
    assert sum("a run counts once" in line for line in found.lines) == 4
    # Another file of the same seed is a second one, whatever it says.
    if not names:
        written(tmp_path / "again", "basic-4", 0, [0.7] * 100)
        assert sum("with seed 0" in line for line in report(tmp_path).lines) == 5


def test_the_record_names_the_settings_of_each_agent_as_the_command_takes_them():
    names = {run.agent for run in score_file.recorded_runs()} - {RULE}
    played = score_file.recorded()["played"]
    assert played.keys() == names
    for label in played.values():
        name, *words = label.split()
        assert make_player(name, parse_pairs(words)).label == label


def test_an_agent_of_yours_hides_no_recorded_one_and_its_name_is_the_callers_word(tmp_path):
    for seed in range(3):
        written(tmp_path, "basic-8", seed, [0.5 + seed / 100] * 100, agent="topk")
    found = report(tmp_path)
    assert found.own == ["topk (yours)"]
    assert "topk" in found.recorded
    assert [row.best for row in found.rows_of("topk (yours)")] == ["sb3_ppo"] * 2
    assert "topk (yours): in 3 of 3 files the name is said by the caller" in found.notes
    assert "recorded topk has other settings: ccenv suite topk learning_rate=0.05 num_kept=1" in (
        found.notes
    )


def test_what_an_agent_did_beside_playing_is_told(tmp_path):
    for seed, counted in enumerate([{"judged": 1000, "left": 3}, {"judged": 24, "resumed": 1}]):
        place = written(tmp_path, "basic-8", seed, [0.5] * 100) / "score.json"
        edit(place, resets=json.loads(place.read_text())["resets"] | counted)
    # Of before judged episodes were counted.
    edit(
        written(tmp_path, "basic-8", 2, [0.6] * 100) / "score.json",
        resets={"left": 0, "resumed": 0},
    )
    assert report(tmp_path).notes[1:] == [
        "mine left episodes under way 3 times; they count as worst",
        "mine judged 1,024 episodes before its budgets were spent; they earn nothing, and can be "
        "learned from",
        "mine: 1 of 3 runs went on from a stored state",
    ]


class Shouts(Agent):
    """Fails with a letter that commands a terminal."""

    learns = True

    def act(self, observation, layer, generator=None):
        raise RuntimeError("a\x1b[2J")


def test_what_an_error_says_commands_no_terminal(tmp_path):
    said = []
    player = make_player(f"{__name__}:Shouts", {})
    play_all(player, [TASKS["basic-4"]], [0], tmp_path, say=said.append)
    (failure,) = read_folder(tmp_path)[1]
    assert "a?[2J" in failure.why
    assert all(line.isprintable() for line in said)
    (path,) = tmp_path.rglob("run.json")
    for changed in ({"error": "a\x1b[2J"}, {"error": "", "agent": ["a"]}, {"seed": 1e999}):
        before = path.read_text()
        edit(path, **changed)
        runs, failures, (line,) = read_folder(tmp_path)
        assert (runs, failures, line.isprintable()) == ([], [], True)
        path.write_text(before)


def made():
    """Better at basic, worse at scale, even at depth, and alone at noise; recorded ones differ."""
    own = {"basic-4": 0.9, "scale-32": 0.1, "depth-2": 0.5, "noise-30": 0.4}
    first = {"basic-4": 0.5, "scale-32": 0.8, "depth-2": 0.5, "basic-8": 0.99}
    second = {"basic-4": 0.2, "scale-32": 0.7, "depth-2": 0.1}
    return Standing(
        [*runs("mine", own, recorded=False), *runs("first", first), *runs("second", second)]
    )


def test_skills_are_compared_on_the_tasks_that_both_have_played():
    rows = {row.skill: row for row in made().rows_of("mine")}
    assert list(rows) == ["basic", "scale", "depth", "noise", ALL]
    basic = rows["basic"]
    assert (basic.tasks, basic.best, basic.rank, basic.others) == (("basic-4",), "first", 1, 2)
    assert (basic.finding, rows["scale"].finding, rows["depth"].finding) == (
        "better",
        "worse",
        "no difference",
    )
    assert rows["scale"].rank == 3
    assert (rows["noise"].best, rows["noise"].finding) == (None, "no recorded agent")
    # Of all skills the tasks count that some recorded agent has played.
    assert rows[ALL].tasks == ("basic-4", "scale-32", "depth-2")
    assert rows["basic"].score.mean == pytest.approx(0.91)


def test_two_sentences_say_where_intervals_lie_apart():
    better, worse = made().sentences("mine")
    assert better == (
        "mine is better than every recorded agent at basic (95 % intervals apart; skills: 4)."
    )
    assert worse == (
        "It is worse than the best recorded one at scale (first); not significantly different at "
        "1; without a verdict at 1 (no recorded agent)."
    )
    single = Standing([run("mine", "basic-4", 0, 0.9, recorded=False), *made().runs[12:]])
    assert single.sentences("mine")[1].endswith("at no skill; without a verdict at 1 (one seed).")


def test_an_agent_that_fails_everywhere_has_rows_and_one_line_says_why():
    why = "RuntimeError: four gates (mine.py, line 3)"
    failures = [score_file.Failure("mine", task, 0, why) for task in ("depth-2", "depth-4")]
    found = Standing(runs("first", {"basic-4": 0.5}), failures)
    lines = skill_table(found, "mine").texts
    assert [(*line[:2], line[-1]) for line in lines] == [
        ("depth-2", "no score", ""),
        ("depth-4", "no score", ""),
    ]
    assert found.verdict == "mine has no score: every run has failed."
    assert found.notes == [f"mine has no score on depth-2, depth-4: {why}"]


def test_what_choosing_costs_is_a_median_over_tasks_and_none_where_one_is_unknown():
    shares = {"basic-4": 0.5, "scale-32": 0.5, "depth-2": 2.0}
    macs = {task: share * TASKS[task].dense_macs for task, share in shares.items()}
    scores = {"basic-4": 0.5, "basic-8": 0.5, **dict.fromkeys(macs, 0.5)}
    found = [
        dataclasses.replace(one, policy_macs=macs.get(one.task))
        for one in [*made().runs, *runs("third", scores)]
    ]
    lines = {line[0]: line[6] for line in agent_table(Standing(found)).texts}
    unknown = dict.fromkeys(("first", "third"), "not recorded")
    assert lines == {"mine": "0.5", "second": "0.5", **unknown}
    assert Standing(found).row("mine", "depth").policy_cost == 2.0


def test_a_score_stands_beside_what_is_left_of_it_once_choosing_is_paid():
    # Half of the network's MACs at a price of 0.5, on a scale from 0.5 to 0.875.
    half = TASKS["basic-4"].dense_macs / 2
    paid = [dataclasses.replace(one, policy_macs=half) for one in runs("mine", {"basic-4": 0.9})]
    assert [one.net for one in paid] == pytest.approx([one.last - 2 / 3 for one in paid])
    found = Standing([*paid, *runs("first", {"basic-4": 0.5})])
    columns, lines = agent_table(found).columns, agent_table(found).texts
    assert [*columns][1:3] == ["score", "net"]
    assert {line[0]: line[2] for line in lines} == {
        "mine": "0.24 [0.22, 0.27]",
        "first": "not recorded",
    }
    assert found.row("mine", ALL).net.mean == pytest.approx(0.91 - 2 / 3)
    # One run of which it is unknown leaves the mean without a meaning.
    assert Standing([*paid[1:], *runs("mine", {"basic-4": 0.9})[:1]]).row("mine", ALL).net is None


def test_under_a_limit_what_choosing_costs_counts_as_spent(tmp_path, monkeypatch):
    task = TASKS["budget-30"]
    problem, values = task.problem, np.linspace(0.4, 0.5, 100)
    place = written(tmp_path, task.name, 0, values)
    # Far below the limit before the last tenth, and then above it with what choosing costs.
    edit(place / "score.json", cost=[0.1] * 90 + [0.35] * 10)
    share, lately = 0.05, 0.1 + 0.025 * np.arange(1, 11)
    # Of what was spent above the limit already the returns lack what it costs.
    earned = [
        problem.earned(value - problem.earned(0.0, cost), cost + share)
        for value, cost in zip(values[90:], lately, strict=True)
    ]
    scores = (np.array(earned) - task.reference) / (task.optimum - task.reference)
    one = read_score(place / "score.json")
    assert one.net is None
    one = dataclasses.replace(one, policy_macs=share * task.dense_macs)
    assert one.net == pytest.approx(scores.mean())
    assert one.net < one.last
    path = tmp_path / "recorded.json"
    write_record([one], path, {})
    monkeypatch.setattr(score_file, "RECORDED", path)
    score_file.recorded.cache_clear()
    try:
        (again,) = score_file.recorded_runs()
        assert again.net == pytest.approx(one.net, abs=1e-3)
        assert dataclasses.replace(again, spent=()).net is None
    finally:
        score_file.recorded.cache_clear()


@pytest.mark.parametrize(
    ("agent", "macs"),
    [
        # 4 numbers are seen; those of Stable-Baselines3 see the gate's number, too.
        ("reinforce", 4 * 4),
        ("sb3_ppo", 5 * 16 + 16 * 4),
        ("sb3_dqn, menu", 5 * 64 + 64 * 6),
        ("sb3_recurrent_ppo", (5 + 32) * 4 * 32 + 32 * 16 + 16 * 8),
        (RULE, 0),
    ],
)
def test_what_the_record_lacks_is_counted_of_an_agent_that_is_built_anew(agent, macs):
    known = dataclasses.replace(run(agent, "basic-4", 1, 0.5), policy_macs=7.0)
    found = with_policy_macs([run(agent, "basic-4", 0, 0.5), known])
    assert [one.policy_macs for one in found] == [macs, 7.0]


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_spends_anything_on_choosing(rule):
    player = rule_player(rule)
    agent = player.agent(TASKS["basic-4"].make_vec(64, seed=0), seed=0, **player.settings)
    assert choosing_macs(agent) == 0


def test_of_every_recorded_run_it_is_known_what_choosing_costs():
    assert not [run for run in score_file.recorded_runs() if run.net is None]


def test_notes_of_older_versions_are_read_and_no_impossible_macs_are_believed(tmp_path):
    player = make_player("dense", {})
    play_all(player, [TASKS["basic-4"]], [0], tmp_path)
    (path,) = tmp_path.rglob("run.json")
    content = json.loads(path.read_text())
    assert content["policy_macs"] == 0
    path.write_text(json.dumps(sealed(without(without(content, "policy_macs"), "sha256"))))
    ((one,), _, lines) = read_folder(tmp_path)
    assert (one.policy_macs, one.named_by_caller, lines) == (None, False, [])
    assert is_finished(path.parent, player)
    for number in (-1, 1e16, "many", True, [0]):
        edit(path, policy_macs=number)
        ((one,), _, (line,)) = read_folder(tmp_path)
        assert (one.policy_macs, one.named_by_caller) == (None, True)
        assert "damaged: expected 1 finite numbers in 0..1e+15" in line


def test_the_record_says_whether_an_agent_had_one_setting_or_one_for_each_task(monkeypatch):
    played = {
        "first": "first a=1",
        "second": {"basic-4": "second a=1", "scale-32": "second a=2"},
        "third": {"basic-4": "third", "scale-32": "third"},
    }
    monkeypatch.setattr(standings, "recorded", lambda: {"agents": {}, "played": played})
    mine = runs("mine", {"basic-4": 0.5}, recorded=False)
    said = [dataclasses.replace(one, agent="said", named_by_caller=True) for one in mine]
    others = [one for name in (*played, "fourth") for one in runs(name, {"basic-4": 0.5})]
    lines = agent_table(Standing([*mine, *said, *others])).texts
    assert {line[0]: line[5] for line in lines} == {
        "mine": "one",
        "said": "unknown",
        "first": "one",
        "second": "by task",
        "third": "one",
        "fourth": "not recorded",
    }


def test_a_level_is_solved_by_whoever_scores_nine_tenths_on_the_mean():
    assert solved_by(made())["basic-4"] == ["mine"]
    assert solved_by(made())["basic-8"] == ["first"]
    assert solved_by(made())["scale-32"] == []
    assert agent_table(made()).texts[0][0] == "first"


def test_what_is_recorded_is_read_back_and_hides_nothing(tmp_path, monkeypatch):
    path = tmp_path / "recorded.json"
    told = [
        dataclasses.replace(one, policy_macs=2.0**17) for one in runs("first", {"basic-4": 0.5})
    ]
    write_record(told, path, {"machine": "a", "versions": "b", "tuning": "c"})
    monkeypatch.setattr(score_file, "RECORDED", path)
    score_file.recorded.cache_clear()
    try:
        (one, *_) = score_file.recorded_runs()
        assert (one.agent, one.last, one.recorded) == ("first", 0.5, True)
        assert one.policy_cost == 0.5
        assert score_file.recorded_ends() == {"basic-4": (0.5, 0.875)}
        path.write_text(path.read_text().replace('"suite": 1', '"suite": 2'))
        score_file.recorded.cache_clear()
        with pytest.raises(ValueError, match="expected suite 1, got 2"):
            report(tmp_path)
    finally:
        score_file.recorded.cache_clear()


def test_what_is_played_again_takes_the_place_of_what_is_recorded_and_the_rest_stays(
    tmp_path, monkeypatch
):
    about = {"machine": "a", "versions": "b", "tuning": "c", "played": {"first": "first a=1"}}
    path = tmp_path / "recorded.json"
    write_record(runs("first", {"basic-4": 0.5, "basic-8": 0.5}), path, about)
    monkeypatch.setattr(score_file, "RECORDED", path)
    score_file.recorded.cache_clear()
    try:
        again = runs("first", {"basic-8": 0.75}, recorded=False)
        other = dict.fromkeys(about, "x") | {"played": about["played"]}
        found, where = with_recorded(again, other)
        assert [(run.task, run.last) for run in found[:: len(again)]] == [
            ("basic-4", 0.5),
            ("basic-8", 0.75),
        ]
        assert where == {
            "machine": "a; of basic-8: x",
            "versions": "b; of basic-8: x",
            "tuning": "c",
            "played": {"first": "first a=1"},
        }
        others = {"first": "first a=2", RULE: {"basic-8": "dense"}}
        with pytest.raises(ValueError, match="expected first as it is recorded, first a=1, or"):
            with_recorded(again, other | {"played": others})
        # An agent that is new joins, and the rules of its tasks.
        again = [*runs("second", {"basic-8": 0.75}), *runs(RULE, {"basic-8": 0.0})]
        others["first"], others["second"] = "first a=1", "second"
        found, where = with_recorded(again, other | {"played": others})
        assert [run.agent for run in found[::3]] == ["first", "first", "second", RULE]
        assert where["machine"] == f"a; of second, {RULE}: x"
        assert where["played"] == others
        whole = runs("first", {"basic-4": 0.0, "basic-8": 0.0, "depth-2": 0.0})
        assert with_recorded(whole, about) == (whole, about)
    finally:
        score_file.recorded.cache_clear()


def test_the_page_has_tables_pictures_and_curves_and_no_name_breaks_it(tmp_path):
    found = SuiteReport(
        [
            *runs("<b>mine</b>", {"basic-4": 0.9, "depth-2": -3.0}, recorded=False),
            *made().runs[12:],
        ],
        page=tmp_path / "page" / "index.html",
    )
    page, board = found.write_page()
    text = (tmp_path / "page" / "index.html").read_text()
    assert "<b>mine</b>" not in text
    assert "&lt;b&gt;mine" in text
    assert text.count("<svg") == 2
    assert "Radar of skills" in text
    # Its tables can be sorted, as those of a comparison.
    assert "aria-sort" in text.partition("<script>")[2]
    files = {path.name for path in (tmp_path / "page").iterdir()}
    assert {"radar.svg", "performance-profile.png", "profile.csv", "agents.md"} <= files
    assert len([*(tmp_path / "page" / "board").rglob("events*")]) == len(radar_agents(found)) + 1
    assert str(tmp_path) in page
    assert "tensorboard" in board


def shown_in(figure):
    """Values of each agent's line or bars, and the names of ticks along the score."""
    (axes,) = figure.axes
    lines = [line.get_ydata() for line in axes.lines if line.get_marker() == "o"]
    bars = [[bar.get_height() for bar in one] for one in axes.containers]
    return lines, bars, [tick.get_text() for tick in axes.get_yticklabels()]


def test_a_radar_shows_who_is_below_zero_and_the_best_agents_and_few_skills_as_bars():
    scores = {"basic-4": 0.0, "scale-32": -13.97, "depth-2": 2.0}
    names = {f"a{number}": {"basic-4": number / 10} for number in range(7)}
    many = Standing([one for name, own in names.items() for one in runs(name, own)])
    assert radar_agents(many) == ["a6", "a5", "a4", "a3", "a2"]
    standing = Standing([run("one", task, 0, score) for task, score in scores.items()])
    lines, _, ticks = shown_in(radar(standing, ["one"]))
    assert [[*line] for line in lines] == [[0.0, -0.25, 1.0, 0.0]]
    assert ticks[0] == "below 0"
    assert "one below 0 at scale." in radar_drawn(standing).alt
    two = Standing(standing.runs[:2])
    lines, bars, ticks = shown_in(radar(two, ["one"]))
    assert (lines, bars, ticks[0]) == ([], [[0.0, -0.25]], "below 0")
    assert radar(two, ["one"]).axes[0].name == "rectilinear"


def test_the_report_shows_itself_in_a_notebook():
    shown = SuiteReport(made().runs)._repr_html_()
    assert "<svg" in shown
    assert "mine is better than every recorded agent at basic" in shown
    assert "basic" in made().table
    assert standings.seeds_of(made().rows_of("mine")[0], made()) == 3
    shown = ccenv.suite.report("no/such/folder")
    assert shown.own == []
    assert all(TASKS[run.task].quick for run in shown.runs)


def test_recorded_agents_are_shown_on_the_tasks_that_yours_has_played(tmp_path):
    written(tmp_path, "basic-8", 0, [0.5] * 100)
    found = report(tmp_path)
    assert found.recorded
    assert {run.task for run in found.runs} == {"basic-8"}


@pytest.mark.parametrize("name", ["reinforce", "actor_critic", "sb3_ppo"])
def test_an_agent_at_its_defaults_solves_the_first_level_of_the_first_skill(name, tmp_path):
    play_all(make_player(name, {}), [TASKS["basic-4"]], [0], tmp_path)
    assert solved_by(Standing(read_folder(tmp_path)[0])) == {"basic-4": [f"{name} (yours)"]}


def test_recorded_scales_are_those_of_the_tasks():
    for name, ends in score_file.recorded_ends().items():
        assert ends == pytest.approx((TASKS[name].reference, TASKS[name].optimum), abs=1e-4)


def test_the_table_of_the_best_agents_is_as_narrow_as_its_page():
    lines = [line.split("|")[1:-1] for line in skills_table("quick").splitlines()[2:]]
    widest = 0
    for column in zip(*lines, strict=True):
        parts = [part.strip() for cell in column for part in re.split("<br>|, ", cell)]
        widest += max(map(len, parts))
    assert widest <= 110
