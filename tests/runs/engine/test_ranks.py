"""Laws of ranks: two of them do what one process does, and say from where to go on if one dies."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ccenv.base.ranks import Ranks
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import run
from ccenv.runs.engine.distributed import BY_RANKS, Lead
from ccenv.runs.engine.errors import CannotStartError

EVERY = 64
RUN = {
    **{"dataset": "synthetic", "num_blocks": [3, 5], "block_size": [4, 2]},
    **{"images": 4 * EVERY, "batch_size": 32, "eval_every": EVERY, "progress": False},
}
COTRAIN = {"weights": "cotrain", "reward": "lagrangian", "num_kept": 1}
SCRIPT = Path(__file__).with_name("ranks_laws.py")


class Two(Ranks):
    """Rank 0 of two, of which the other one never listens."""

    def __init__(self):
        self.number, self.size, self.is_apart = 0, 2, False

    def tell(self, value=None):
        return value


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks, as torchrun starts them, have done what `ranks_laws` says."""
    folder = tmp_path_factory.mktemp("ranks")
    shared = {
        **{"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())},
    }
    settings = RUN | COTRAIN | {"log_dir": str(folder / "logs")}
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, folder, json.dumps(settings)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, -9], said
    return folder


def test_two_ranks_learn_what_one_process_learns_from_the_same_batches(folder):
    found = json.loads((folder / "found.json").read_text())
    assert set(found["away"]) == set(BY_RANKS)
    assert max(found["away"].values()) < 1e-5, found["away"]
    columns = [[0.0, 1.5], [0.5, 2.0], [1.0, 2.5]]
    assert found["gradients"] == [[[1.5, 1.5]] * 3, columns, None]
    assert "expected a test to be the same on all 2 ranks" in found["differ"]


def test_one_process_goes_on_where_a_rank_has_died_and_learns_the_same(folder, tmp_path):
    said = json.loads((folder / "found.json").read_text())["died"]
    assert "expected all 2 ranks to answer, rank 0 waited in vain" in said
    assert f"the last good state is that after {2 * EVERY} images" in said
    learned = []
    for logs in (folder / "logs", tmp_path):
        plan = make_plan("rloo", RUN | COTRAIN | {"log_dir": str(logs)})
        checkpoint = plan.folder() / "checkpoint"
        assert (checkpoint / "resume.safetensors").exists() == (logs != tmp_path)
        run.run(plan)
        parts = [load_file(checkpoint / f"{name}.safetensors") for name in ("agent", "network")]
        learned.append({name: tensor for part in parts for name, tensor in part.items()})
    one, other = learned
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5


@pytest.mark.parametrize(
    ("agent", "settings", "said"),
    [
        ("topk", {}, "expected an agent that 2 ranks can train together.*got 'topk'"),
        ("dense", {"device": "cuda:1"}, "expected device=cpu, or cuda, which is another GPU"),
        ("reinforce", {"batch_size": 31}, "expected batch_size to be a multiple of the 2 ranks"),
        ("reinforce", {"context": {"cost_weight": (0.1, 1)}}, "expected neither context"),
    ],
)
def test_what_ranks_cannot_do_as_one_process_would_is_refused_before_anything_is_written(
    agent, settings, said, tmp_path
):
    plan = make_plan(agent, RUN | settings | {"log_dir": str(tmp_path / "logs")})
    lead = Lead(Two())
    with pytest.raises(CannotStartError, match=said), lead.at_the_end():
        run.run(plan, options=run.Options(lead=lead))
    assert lead.has_told
    assert not (tmp_path / "logs").exists()
