"""Times passes in a process of its own, by whichever ccenv it imports: a request a line -> seconds.

Run by `checkouts`, once for each of two checkouts. It uses only names that do not change, so that
one file serves both. `{"case": NAME}` makes a case and answers how many calls a timing takes;
`{"calls": N}` answers the seconds of one call.
"""

import functools
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module

import torch
from torch import Tensor, nn

import ccenv

Pass = Callable[[], object]
SECONDS = 0.05
"""length of one timing, at the least."""
WIDTH, BLOCKS, POOL = 1024, 32, 16


def mask_pool(batch: int, density: float) -> list[tuple[Tensor, Tensor]]:
    """Independent masks of both sides of a layer; every pass takes other ones."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(POOL, 2, batch, BLOCKS, generator=generator) < density
    return [(pair[0].contiguous(), pair[1].contiguous()) for pair in draws]


def layer(batch: int, density: float, *, training: bool = False) -> tuple[Pass, Pass]:
    """A square layer, by the kernels and by torch's dense one: forward, or with all gradients."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, WIDTH, generator=generator, requires_grad=training)
    module = nn.Linear(WIDTH, WIDTH).requires_grad_(training)
    slopes, leaves = torch.ones(batch, WIDTH), (x, module.weight, module.bias)
    turns = itertools.cycle(mask_pool(batch, density))

    def sparse() -> Tensor:
        in_mask, out_mask = next(turns)
        weight, bias = module.weight, module.bias
        return ccenv.block_sparse_linear(x, weight, bias, in_mask, out_mask, backend="cpu")

    def trained(product: Callable[[], Tensor]) -> Pass:
        return lambda: torch.autograd.grad(product(), leaves, slopes)

    dense = functools.partial(module, x)
    return (trained(sparse), trained(dense)) if training else (sparse, dense)


def network(batch: int) -> tuple[Pass, Pass]:
    """The paper's CIFAR-10 network, a sixteenth of the blocks kept; and the same, all kept."""
    module = ccenv.GatedMLP(3072, num_blocks=(10, 10), block_size=64, num_classes=10)
    module = module.requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3072, generator=generator)
    draws = torch.rand(POOL, 2, batch, 10, generator=generator) < 1 / 16
    turns = itertools.cycle([[pair[0].contiguous(), pair[1].contiguous()] for pair in draws])
    kept = [torch.ones(batch, 10, dtype=torch.bool)] * 2
    return lambda: module(images, next(turns)), lambda: module(images, kept)


def scalar_environment() -> Pass:
    """An episode of the scalar environment, half of the blocks kept."""
    env = ccenv.BlockSelectionEnv()
    env.action_space.seed(0)
    actions = itertools.cycle([env.action_space.sample() for _ in range(POOL)])

    def episode() -> None:
        env.reset()
        ended = False
        while not ended:
            *_, ended, _, _ = env.step(next(actions))

    env.reset(seed=0)
    return episode


def vector_environment(rows: int, reward: str) -> Pass:
    """A step of the vector environment, half of the blocks kept."""
    env = ccenv.BlockSelectionVectorEnv(rows, reward=reward)
    env.action_space.seed(0)
    actions = itertools.cycle([env.action_space.sample() for _ in range(POOL)])
    env.reset(seed=0)
    return lambda: env.step(next(actions))


def baselines_view(rows: int) -> Pass:
    """A step of Stable-Baselines3's view."""
    from ccenv.sb3 import BlockSelectionVecEnv

    env = BlockSelectionVecEnv(rows, reward="nll_minus_cost", observation="summary")
    num_blocks = env.simulator.max_blocks
    actions = itertools.cycle([torch.randint(2, (rows, num_blocks)).numpy() for _ in range(POOL)])
    env.reset()
    return lambda: env.step(next(actions))


def sequences(network: str) -> Pass:
    """A step of episodes over sequences of 16 symbols, half of the blocks kept."""
    settings = {"dataset": "python_sample@16", "weights": "cotrain", "episode": "sequence"}
    env = ccenv.BlockSelectionVectorEnv(64, network=network, observation="layer_input", **settings)
    env.action_space.seed(0)
    actions = itertools.cycle([env.action_space.sample() for _ in range(POOL)])
    env.reset(seed=0)
    return lambda: env.step(next(actions))


def writing() -> Pass:
    """A text of 32 symbols by an exported `lm`, one position at a time."""
    from ccenv.agents import AGENTS
    from ccenv.base.registry import resolve
    from ccenv.simulator.simulator import Simulator

    settings = {"dataset": "python_sample@64", "weights": "cotrain", "observation": "layer_input"}
    simulator = Simulator(8, network="lm", **settings)
    simulator.seed(0)
    agent = resolve("reinforce", AGENTS, "agent")(simulator, seed=0)
    # By their earlier modules, whose names every version understands.
    classifier = import_module("ccenv.deploy.export").SkippingClassifier.from_agent(agent)
    write = import_module("ccenv.deploy.generate").write
    generator = torch.Generator()
    return lambda: write(classifier, range(1, 17), 32, generator.manual_seed(0))


def training(agent: str) -> Pass:
    """256 inputs of an agent's training on the bundled digits."""
    from ccenv.agents import AGENTS
    from ccenv.base.registry import resolve
    from ccenv.simulator.simulator import Simulator

    group = 2 if agent == "rloo" else 1
    simulator = Simulator(256, reward="nll_minus_cost", group_size=group)
    simulator.seed(0)
    learner = resolve(agent, AGENTS, "agent")(simulator, seed=0)
    return lambda: learner.learn(256)


LAYERS: Mapping[str, Callable[[], tuple[Pass, Pass]]] = {
    f"{kind}, batch {batch}, density {density}": functools.partial(
        layer, batch, density, training=kind == "training"
    )
    for kind in ("forward", "training")
    for batch, density in itertools.product((1, 32, 1024), (0.05, 0.2, 0.5))
} | {f"CIFAR-10 network, batch {n}": functools.partial(network, n) for n in (1, 128)}
"""Name -> a pass by the kernels, and the dense one that it is compared with."""
PASSES: dict[str, Callable[[], Pass]] = {
    "scalar environment, an episode": scalar_environment,
    "vector environment, 256 rows, nll_minus_cost": lambda: vector_environment(
        256, "nll_minus_cost"
    ),
    "vector environment, 1024 rows, accuracy_minus_cost": lambda: vector_environment(
        1024, "accuracy_minus_cost"
    ),
    "SB3 view, 256 rows": lambda: baselines_view(256),
    **{
        f"sequences, {name}, 64 rows": functools.partial(sequences, name)
        for name in ("lm", "patches", "skip_gru")
    },
    "32 symbols by an exported lm": writing,
    "training reinforce, 256 inputs": lambda: training("reinforce"),
    "training rloo, 256 inputs": lambda: training("rloo"),
    "training condnet, 256 inputs": lambda: training("condnet"),
}
"""Name -> a pass without a dense one."""


def made(name: str) -> list[Pass]:
    """What is timed of a case: one pass, or it and the dense one."""
    return list(LAYERS[name]()) if name in LAYERS else [PASSES[name]()]


def timed(function: Pass, calls: int) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - start) / calls


def main() -> None:
    """Answers requests until its input ends."""
    # What libraries print must not mix with answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    passes: list[Pass] = []
    for line in sys.stdin:
        asked = json.loads(line)
        answer: list[float]
        if "case" in asked:
            passes = made(asked["case"])
            # The first call compiles; the second tells how long one takes.
            answer = [timed(one, 1) for _ in range(2) for one in passes]
            answer = [max(1, round(SECONDS / max(s, 1e-9))) for s in answer[len(passes) :]]
        else:
            answer = [timed(one, n) for one, n in zip(passes, asked["calls"], strict=True)]
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
