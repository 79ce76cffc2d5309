"""Laws of the console script: its first word chooses a program, the rest is the program's."""

import pytest

from ccenv.runs.commands import cli
from ccenv.runs.commands.cli import COMMANDS, GROUPS, module_of


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_leads_to_a_program_that_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: ccenv {command} " in capsys.readouterr().out


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


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert "torch " in capsys.readouterr().out
