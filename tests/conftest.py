"""One torch thread, no deadlines, one cache folder for all workers of a run."""

import os
import tempfile

import pytest
import torch
from hypothesis import settings

from ccenv.sparse.cpu.codegen.compiled import announcement

# Times depend on the machine's other work: no law is about them.
settings.register_profile("untimed", deadline=None, max_examples=100)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def kernels_compile_silently():
    """Whichever test is the first to need kernels: its error stream is not a law about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(announcement, "may_say", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def clean_temporary_folder(tmp_path_factory):
    """A temporary folder of this run, in which neither tests nor what they call leave anything."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        # Three libraries make folders there whatever they are called for: torch as it is imported,
        # Stable-Baselines3 for a model that is given no logger, and pytest where a test runs it.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder.with_name("inductor")))
        patch.setenv("SB3_LOGDIR", str(folder.with_name("sb3")))
        patch.setenv("PYTEST_DEBUG_TEMPROOT", str(folder.parent))
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    # Python's multiprocessing removes its own folder when the process ends.
    left = sorted(path.name for path in folder.iterdir() if not path.name.startswith("pymp-"))
    assert not left, f"left in the temporary folder: {left}"


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """Pre-trained weights go to a folder of this run, unless the user has named one."""
    if "CCENV_CACHE" in os.environ:
        yield
        return
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_CACHE", str(folder / "ccenv-cache"))
        yield


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of the test's own: where weights are kept in it."""
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    return tmp_path / "weights"
