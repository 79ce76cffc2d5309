"""Law of `ccenv validate`: seeds of every agent are several trainings, a copy is none of them.

It trains for a quarter of an hour and prints the numbers of the page of decisions:

    pytest -m slow -n 0 tests/runs/replay/test_seeds_apart.py
"""

from itertools import permutations

import pytest
import torch
from stored_runs import opened

import ccenv
from ccenv.runs.replay.same_training import (
    MOST_ALIKE,
    MOST_LEANING,
    initial_matrices,
    leaning,
    learned_files,
    share_alike,
)

IMAGES = 50_000
AGENTS = {
    "actor_critic": IMAGES,
    "blockdrop": IMAGES,
    "condnet": IMAGES,
    "disarm": IMAGES,
    "dynamic_gate": IMAGES,
    "gumbel": IMAGES,
    # Five minutes each otherwise.
    "imitation": 6_000,
    "noisy_topk": IMAGES,
    "reinforce": IMAGES,
    "reinforce_lagrangian": IMAGES,
    "rloo": IMAGES,
    "rloo_budget": IMAGES,
    "sb3_a2c": IMAGES,
    "sb3_ppo": IMAGES,
    "sb3_trpo": IMAGES,
    "skipnet": IMAGES,
    "straight_through": IMAGES,
    "topk": IMAGES,
}
FROZEN_ONLY = ("imitation",)
CASES = [
    (agent, weights)
    for agent in AGENTS
    for weights in ("frozen", "cotrain")
    if weights == "frozen" or agent not in FROZEN_ONLY
]


def noisy(tensors, share):
    """A forger's copy: every number moved by a share of itself."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: value * (1 + share * torch.randn(value.shape, generator=generator))
        for name, value in tensors.items()
    }


def cosine(one, other):
    return float(torch.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0))


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "weights"), CASES)
def test_seeds_of_every_agent_are_apart_and_a_copy_is_found(agent, weights, tmp_path, capsys):
    settings = {"images": AGENTS[agent], "weights": weights, "log_dir": str(tmp_path)}
    trained = ccenv.train(agent, seeds=3, latency=False, **settings)
    runs = [opened(run.folder) for run in trained]
    for name in learned_files(runs[0]):
        begun = [initial_matrices(run)[name] for run in runs]
        ends = [{key: run.stored[name][key] for key in begun[0]} for run in runs]
        cosines, honest, nearest, copies = [], [], [], {0.15: [], 1.0: []}
        for a, b in permutations(range(3), 2):
            cosines += [cosine(ends[a][key], ends[b][key]) for key in ends[a]]
            honest.append(leaning(ends[b], begun[b], begun[a]))
            nearest.append(share_alike(ends[a], ends[b], begun[a], begun[b]))
            for share, found in copies.items():
                copy = noisy(ends[a], share)
                found.append(leaning(copy, begun[b], begun[a]))
                is_near = share_alike(ends[a], copy, begun[a], begun[b]) > MOST_ALIKE
                is_found = is_near or found[-1] > MOST_LEANING
                # What began with zeros remembers nothing.
                assert is_found or share > 0.15 or agent == "noisy_topk"
        with capsys.disabled():
            row = [f"`{agent}`, {weights}, {name}", f"{max(cosines):.2f}", f"{max(honest):.0f}"]
            row += [f"{min(found):.0f}" for found in copies.values()]
            print(f"\n| {' | '.join(row)} |", end="")
        assert max(honest) <= 0
        assert max(nearest) <= MOST_ALIKE
