"""What `ccenv validate` says of a folder."""

import json

import pytest

from ccenv.runs.commands import validate


@pytest.fixture
def rows(capsys):
    """Answers of the program as JSON, and its exit status."""

    def check(*arguments):
        capsys.readouterr()
        status = validate.main([*map(str, arguments), "--json"])
        return json.loads(capsys.readouterr().out), status

    return check
