"""Laws of the console script: its first word chooses a program, the rest is the program's."""

import importlib
import json
import sys

import pytest

from ccenv.runs import cli


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_leads_to_a_program_that_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_words_behind_the_command_reach_the_program(capsys):
    assert cli.main(["list", "networks", "--json"]) == 0
    assert "mlp" in json.loads(capsys.readouterr().out)


def test_a_programs_exit_status_is_the_commands(monkeypatch):
    module = importlib.import_module(cli.COMMANDS["tables"][0])
    monkeypatch.setattr(module, "main", lambda words: len(words))
    assert cli.main(["tables", "a", "b", "c"]) == 3


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_command_all_commands_are_named(words, capsys):
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in cli.COMMANDS)


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert "torch " in capsys.readouterr().out


def test_a_wrong_command_answers_with_the_nearest(capsys):
    assert cli.main(["comapre"]) == 2
    assert "did you mean 'compare'?" in capsys.readouterr().err


def test_modules_of_the_working_folder_are_found_behind_all_libraries(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "mine_of_here.py").write_text(
        "def my_reward(outcome):\n    '''Pays nothing.'''\n    return 0 * outcome.layer_cost\n"
    )
    (tmp_path / "torch.py").write_text("raise SystemExit('in place of a library')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [place for place in sys.path if place])
    assert cli.main(["list", "rewards", "mine_of_here:my_reward"]) == 0
    assert "Pays nothing." in capsys.readouterr().out
    assert sys.path[-1] == str(tmp_path)
