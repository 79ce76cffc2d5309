"""What tests of data sets share."""

import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder of data sets."""
    monkeypatch.setenv("CCENV_DATA", str(tmp_path))
    return tmp_path
