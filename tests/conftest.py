"""One torch thread, no deadlines, one cache folder for all workers of a run."""

import os

import pytest
import torch
from hypothesis import settings

# Times depend on the machine's other work: no law is about them.
settings.register_profile("untimed", deadline=None, max_examples=100)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """Pre-trained weights go to a folder of this run, unless the user has named one."""
    if "CCENV_CACHE" in os.environ:
        yield
        return
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_CACHE", str(folder / "ccenv-cache"))
        yield


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of the test's own: where weights are kept in it."""
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    return tmp_path / "weights"
