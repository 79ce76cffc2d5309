"""Laws of the console script: its first word chooses a program, the rest is the program's."""

import json
import subprocess
import sys

import pytest

from ccenv.runs.commands import cli
from ccenv.runs.commands.cli import COMMANDS, GROUPS, module_of


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_leads_to_a_program_that_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: ccenv {command} " in capsys.readouterr().out


def test_the_words_behind_the_command_reach_the_program(capsys):
    assert cli.main(["list", "views", "--json"]) == 0
    assert "menu" in json.loads(capsys.readouterr().out)


def test_a_programs_exit_status_is_the_commands(monkeypatch):
    monkeypatch.setattr(module_of("list"), "main", lambda words: len(words))
    assert cli.main(["list", "a", "b", "c"]) == 3


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_command_examples_come_first_and_at_most_16_commands_in_groups(words, capsys):
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    places = [shown.index(part) for part in ("examples:", *(f"\n{group}:\n" for group in GROUPS))]
    assert places == sorted(places)
    assert len(COMMANDS) <= 16
    assert all(shown.count(f"\n  {name} ") == 1 for name in COMMANDS)


def test_python_runs_the_package_as_the_console_script_does():
    command = [sys.executable, "-m", "ccenv", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "\n".join(cli.help_lines()) + "\n"


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert "torch " in capsys.readouterr().out


def test_modules_of_the_working_folder_are_found_behind_all_libraries(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "mine_of_here.py").write_text(
        "def my_reward(outcome):\n    '''Pays nothing.'''\n    return 0 * outcome.layer_cost\n"
    )
    (tmp_path / "torch.py").write_text("raise SystemExit('in place of a library')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [place for place in sys.path if place])
    before = list(sys.path)
    assert cli.main(["list", "rewards", "mine_of_here:my_reward"]) == 0
    assert "Pays nothing." in capsys.readouterr().out
    assert sys.path == before
