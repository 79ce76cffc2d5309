"""What one of two ranks does in test_ranks.py, as if torchrun had started it: ... FOLDER RUN."""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from ccenv.agents import AGENTS
from ccenv.base.ranks import RanksError, ranks_of_torchrun
from ccenv.base.registry import resolve
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine.distributed import BY_RANKS, Watch, digest_of_learned, run_by
from ccenv.runs.engine.errors import StoppedError
from ccenv.runs.engine.run import Options
from ccenv.simulator.simulator import Simulator

SMALL = {"dataset": "synthetic", "num_blocks": (3, 5), "block_size": (4, 2)}
OWN = {
    "rloo": {"num_kept": 1},
    "rloo_budget": {"warmup_share": 0.4},
    "condnet": {"learning_rate": 0.01, "sparsity_weight": 1.0, "variance_weight": 1.0},
}


def learned(name, ranks=None):
    """Parameters of agent and network after four batches, alone or with all ranks."""
    kind = resolve(name, AGENTS, "agent")
    settings = {"reward": "lagrangian", "group_size": 1, **kind.env_defaults}
    simulator = Simulator(32 * settings["group_size"], **SMALL, weights="cotrain", **settings)
    simulator.seed(0)
    agent = kind(simulator, seed=0, **OWN.get(name, {}))
    images = 4 * 32
    agent.learn(images) if ranks is None else Watch(agent, ranks, 0, 64).learn(images)
    return {**agent.parameters(), **simulator.network.state_dict()}, digest_of_learned(agent)


def away(one, other):
    """Largest difference of two sets of parameters."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def gradients(ranks):
    """Means over the ranks: of what all have, what one has, what none has."""
    parameters = [nn.Parameter(torch.ones(2, 3).t()) for _ in range(3)]
    parameters[0].grad = torch.full((3, 2), 1.0 + ranks.number)
    if ranks.leads:
        parameters[1].grad = torch.arange(6.0).view(2, 3).t()
    ranks.average_gradients(parameters)
    return [None if p.grad is None else p.grad.tolist() for p in parameters]


def differ(ranks):
    """What is said of ranks that differ."""
    try:
        ranks.check_same(bytes([ranks.number]), "a test")
    except RanksError as error:
        return str(error)


def die(settings, ranks):
    """A run in which rank 1 is killed behind its second checkpoint; what rank 0 says."""
    call = Watch.__call__

    def killed(self, images_seen, scalars):
        if images_seen > 2 * settings["eval_every"] and not ranks.leads:
            os.kill(os.getpid(), signal.SIGKILL)
        call(self, images_seen, scalars)

    Watch.__call__ = killed
    plan = make_plan("rloo", settings)
    try:
        run_by(ranks, plan, Options())
    except StoppedError as error:
        return str(error)


def main(folder, settings):
    """Does all of it; rank 0 writes what came."""
    torch.set_num_threads(1)
    with ranks_of_torchrun() as ranks:
        found = {"gradients": gradients(ranks), "differ": differ(ranks), "away": {}}
        for name in BY_RANKS:
            (together, hash_of_all), (alone, _) = learned(name, ranks), learned(name)
            ranks.check_same(hash_of_all, name)
            found["away"][name] = away(together, alone)
        found["died"] = die(settings, ranks)
        (folder / "found.json").write_text(json.dumps(found))
        # A thread of gloo may abort the process at its end when the other rank has died.
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
