"""What `ccenv validate` says of a folder, and a copy of stored runs."""

import json
import shutil

import pytest

from ccenv.runs.commands import validate


@pytest.fixture
def mine(logs, tmp_path):
    """A copy of the logs that a test may spoil."""
    shutil.copytree(logs, tmp_path / "logs")
    return tmp_path / "logs"


@pytest.fixture
def rows(capsys):
    """Answers of the program as JSON, and its exit status."""

    def check(*arguments):
        capsys.readouterr()
        status = validate.main([*map(str, arguments), "--json"])
        return json.loads(capsys.readouterr().out), status

    return check
