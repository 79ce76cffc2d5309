"""What tests of networks of texts share."""

import pytest

from tests.ccenv.networks.tiny import write_prose


@pytest.fixture
def prose(tmp_path, monkeypatch):
    """A text of three letters and a rule: after "ab" comes "c", and so on."""
    write_prose(tmp_path, monkeypatch)
