"""Speed of views of the environment: (view, rows) -> rates beside others', in turns.

Gymnasium's and Stable-Baselines3's views beside the bare network (`environment`), TorchRL's beside
the vector environment (`torchrl`). Episodes over sequences beside the network's own walk with a
cache. The environment's share of the time in which Stable-Baselines3's PPO learns.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.envs.scalar import BlockSelectionEnv
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.unrolled import sequence_logits
from ccenv.runs.lab.benchmarks.cases import Pass, Row, benchmark, ratio
from ccenv.simulator.simulator import Simulator
from ccenv.sparse.buffers import keep_panels

NUM_LAYERS, NUM_BLOCKS = 2, 16
SIZES = (32, 256, 1024, 4096)
"""images of a batch; single environments only of the first: each image costs a call a step."""
DENSITY = 0.5
"""share of blocks kept, as a space's sample() does."""
ADVISED = ("vector_env", "sb3_vec_env")
"""Views whose number of rows a user chooses."""
ENOUGH = 0.9
"""Share of the best rate that more rows need not buy."""
SEQUENCES, LENGTH = 64, 32
"""rows of a batch of sequences, and positions of each."""
OVER_SEQUENCES = ("skip_gru", "lm", "patches")
"""Networks with their usual sizes."""
NOTES = """\
784-256-256-10, 16 blocks a layer, half of them kept; rates in images per second, medians, of the
processor's time where torch has one thread (waiting for other programs is not counted); ratios to
the bare network (the kernels, without an environment) in the same round: median [quartiles]; and to
the same network by dense products times masks. Single environments (DummyVecEnv, SyncVectorEnv)
hold one image each. Over sequences an image is a position, of as many sequences of 32 symbols as
there are images, and the bare network starts, computes, answers and leaves its cache. Of PPO:
the environment's share of the time in which the README's ten lines learn, median [quartiles]."""
COLUMNS = {
    "view": "<{view}",
    "images": ">{num_images:,}",
    "images/s": ">{images_per_second:,.0f}",
    "env steps/s": ">{steps_per_second:,.0f}",
    "of the bare network": "<?{ratio:.2f} [{ratio_low:.2f}, {ratio_high:.2f}]",
    "of the dense loop": ">?{dense_ratio:.2f}",
    "of PPO": "<?{share:.3f} [{share_low:.3f}, {share_high:.3f}]",
}


def noise(split: str) -> Split:
    """Random images, stored as MNIST's are, and random labels of ten classes."""
    generator = stream(0, f"noise {split}")
    images = torch.randint(256, (10_000, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(10, (10_000,), generator=generator), 10)


def make_network() -> GatedMLP:
    """The network that is measured, with its initial weights."""
    sizes = {"in_features": 784, "num_blocks": (NUM_BLOCKS,) * NUM_LAYERS, "block_size": 16}
    network = build_network(GatedMLP, 0, **sizes).requires_grad_(False)
    keep_panels(network)
    return network


def draw_masks(num_images: int) -> list[Tensor]:
    """Masks of all layers."""
    generator = stream(0, "benchmark masks")
    return [
        torch.rand(num_images, NUM_BLOCKS, generator=generator) < DENSITY for _ in range(NUM_LAYERS)
    ]


def make_episodes(num_images: int, *, single: bool) -> dict[str, Pass]:
    """For each view a function that walks one batch from the images to the logits."""
    from gymnasium.vector import AutoresetMode, SyncVectorEnv
    from stable_baselines3.common.vec_env import DummyVecEnv

    from ccenv.envs.stable_baselines import BlockSelectionVecEnv

    network, masks = make_network(), draw_masks(num_images)
    settings: dict[str, Any] = {"dataset": noise, "network": network}
    makers: list[Callable[[], gym.Env[Any, Any]]] = [lambda: BlockSelectionEnv(**settings)]
    makers *= num_images
    views: dict[str, Any] = {
        "vector_env": BlockSelectionVectorEnv(num_images, **settings),
        "sb3_vec_env": BlockSelectionVecEnv(num_images, **settings),
    }
    if single:
        views["dummy_vec_env"] = DummyVecEnv(makers)
        same_step = AutoresetMode.SAME_STEP
        views["sync_vector_env"] = SyncVectorEnv(makers, autoreset_mode=same_step)
    return {
        "network": network_episode(network, masks, "auto"),
        "dense_network": network_episode(network, masks, "reference"),
        "simulator": simulator_episode(Simulator(num_images, **settings), masks),
        **{name: env_episode(view, masks) for name, view in views.items()},
    }


def network_episode(network: GatedMLP, masks: Sequence[Tensor], backend: str) -> Pass:
    """The bare network on batches that were drawn beforehand, other images each time."""
    data, num_images = noise("train"), len(masks[0])
    numbers = torch.arange(4 * num_images) % len(data)
    batches = itertools.cycle([data.batch(part)[0] for part in numbers.split(num_images)])

    def episode() -> object:
        with torch.no_grad():
            return network(next(batches), masks, backend)

    return episode


def simulator_episode(simulator: Simulator, masks: Sequence[Tensor]) -> Pass:
    """The environment in tensors, without a view."""
    simulator.seed(0)

    def episode() -> object:
        simulator.begin()
        return [simulator.step(mask) for mask in masks]

    return episode


def env_episode(env: Any, masks: Sequence[Tensor]) -> Pass:
    """A vector environment of Gymnasium or Stable-Baselines3, resetting on the last step."""
    bits = [mask.numpy().astype(np.int8) for mask in masks]
    if isinstance(env, gym.vector.VectorEnv):
        env.reset(seed=0)
    else:
        env.seed(0)
        env.reset()
    return lambda: [env.step(mask) for mask in bits]


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """All views of batches of several sizes; quick: of the smallest, in a tenth of the time."""
    seconds = 0.02 if quick else 0.25
    for size in SIZES[:1] if quick else SIZES:
        episodes = make_episodes(size, single=size == SIZES[0])
        yield from speeds(size, seconds_in_turns(episodes, rounds, seconds, work_clock()))
    for name in OVER_SEQUENCES[:1] if quick else OVER_SEQUENCES:
        yield from speeds_over_sequences(name, rounds, seconds)
    yield share_of_ppo(rounds, rollouts=1 if quick else 10)


def share_of_ppo(rounds: int, rollouts: int) -> Row:
    """The environment's time while PPO of the README's ten lines learns, over all of it."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import Logger

    from ccenv.envs.stable_baselines import BlockSelectionVecEnv

    clock = work_clock()
    steps, images = 8, 256
    env = BlockSelectionVecEnv(images, reward="nll_minus_cost", observation="summary")
    spent: list[float] = []
    for name in ("step_async", "step_wait"):
        setattr(env, name, timed_call(getattr(env, name), clock, spent))
    settings: dict[str, Any] = {"batch_size": 512, "n_epochs": 4, "learning_rate": 0.01}
    policy = {"net_arch": {"pi": [], "vf": [64]}}
    model = PPO(
        "MlpPolicy", env, n_steps=steps, gamma=1.0, policy_kwargs=policy, seed=0, **settings
    )
    model.set_logger(Logger(None, []))
    model.learn(steps * images)
    env_times: list[float] = []
    whole: list[float] = []
    for _ in range(rounds):
        spent.clear()
        start = clock()
        model.learn(rollouts * steps * images)
        whole.append(clock() - start)
        env_times.append(sum(spent))
    rate = rollouts * steps * images / statistics.median(whole)
    return {
        "view": "sb3_vec_env, PPO learns",
        "num_images": images,
        "images_per_second": rate / env.simulator.num_layers,
        "steps_per_second": rate,
        **ratio("share", env_times, whole),
    }


def timed_call(call: Callable[..., Any], clock: Callable[[], float], spent: list[float]) -> Any:
    """A function whose calls add their seconds to a list."""

    def timed(*arguments: Any) -> Any:
        start = clock()
        output = call(*arguments)
        spent.append(clock() - start)
        return output

    return timed


def speeds_over_sequences(name: str, rounds: int, seconds: float) -> Iterator[Row]:
    """A network's own walk over sequences, and the environment's under the same masks."""
    settings = {"episode": "sequence", "weights": "cotrain", "reward": "nll_minus_cost"}
    simulator = Simulator(SEQUENCES, dataset=f"python_bundled@{LENGTH}", network=name, **settings)
    blocks = simulator.num_blocks * LENGTH
    draws = stream(0, "benchmark masks")
    masks = [torch.rand(SEQUENCES, number, generator=draws) < DENSITY for number in blocks]
    walks = {
        name: walk_with_cache(simulator, masks),
        f"simulator, {name}": simulator_episode(simulator, masks),
    }
    times = seconds_in_turns(walks, rounds, seconds, work_clock())
    for view, seconds_of in times.items():
        rate = SEQUENCES * LENGTH / statistics.median(seconds_of)
        yield {
            "view": view,
            "num_images": SEQUENCES,
            "images_per_second": rate,
            "steps_per_second": simulator.num_layers * rate,
            **ratio("ratio", times[name], seconds_of),
        }


def walk_with_cache(simulator: Simulator, masks: Sequence[Tensor]) -> Pass:
    """The bare network on sequences that were drawn beforehand, answers included."""
    network, gates = simulator.network, simulator.num_layers
    inputs, _ = simulator.data.batch(torch.arange(SEQUENCES * LENGTH))

    # Of a gate the masks of all positions, those of a sequence side by side.
    chosen = [torch.stack([*masks[gate::gates]], dim=1).flatten(0, 1) for gate in range(gates)]

    def episode() -> object:
        with torch.no_grad():
            return sequence_logits(network, inputs, chosen, LENGTH)

    return episode


def speeds(num_images: int, times: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """Medians and quartiles of each view; a step is one image in one gated layer."""
    for view, seconds in times.items():
        rate = num_images / statistics.median(seconds)
        yield {
            "view": view,
            "num_images": num_images,
            "images_per_second": rate,
            "steps_per_second": NUM_LAYERS * rate,
            **ratio("ratio", times["network"], seconds),
            "dense_ratio": quartiles_of_ratio(times["dense_network"], seconds)[1],
        }


def advice(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fewest rows of each view that are nearly as fast as any number that was measured."""
    sentences = []
    for view in ADVISED:
        of_view = [row for row in rows if row["view"] == view]
        best = max((row["images_per_second"] for row in of_view), default=0.0)
        enough = [row for row in of_view if row["images_per_second"] >= ENOUGH * best]
        if len(of_view) > 1:
            fewest = min(enough, key=lambda row: row["num_images"])
            share = fewest["images_per_second"] / best
            sentences.append(
                f"{view}: num_envs={fewest['num_images']} is enough on this machine "
                f"({share:.0%} of the best rate)"
            )
    return sentences


ENVIRONMENT = benchmark(
    "environment",
    "views of the environment beside the bare network",
    measured,
    COLUMNS,
    kind="speed",
    recorded_as="environment-speed",
    notes=NOTES,
    advice=advice,
)

TORCHRL_SIZES = (256, 1024, 4096)
VECTOR, TENSORS, ROLLOUT = "vector environment", "TorchRL, steps", "TorchRL, env.rollout"


def torchrl_steps(env: Any, masks: Sequence[Tensor]) -> Pass:
    """An episode, step by step."""
    state = env.reset()

    def episode() -> object:
        nonlocal state
        for mask in masks:
            done, state = env.step_and_maybe_reset(state.set("action", mask))
        return done

    return episode


def torchrl_rollout(env: Any, masks: Sequence[Tensor]) -> Pass:
    """An episode by TorchRL's own loop, which keeps every TensorDict."""
    drawn = itertools.cycle(masks)
    return lambda: env.rollout(len(masks), lambda state: state.set("action", next(drawn)))


def torchrl_measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """All ways at all sizes; quick: the fewest rows."""
    try:
        from ccenv.torchrl import BlockSelectionEnv as TorchRLEnv
    except ImportError as error:
        raise ValueError(str(error)) from error
    settings: dict[str, Any] = {"dataset": noise, "network": make_network()}
    for rows in TORCHRL_SIZES[:1] if quick else TORCHRL_SIZES:
        masks = draw_masks(rows)
        ways = {
            VECTOR: env_episode(BlockSelectionVectorEnv(rows, **settings), masks),
            TENSORS: torchrl_steps(TorchRLEnv(rows, seed=0, **settings), masks),
            ROLLOUT: torchrl_rollout(TorchRLEnv(rows, seed=0, **settings), masks),
        }
        with torch.no_grad():
            times = seconds_in_turns(ways, rounds, 0.02 if quick else 0.2, work_clock())
        for view, seconds in times.items():
            rate = rows / statistics.median(seconds)
            told = {"view": view, "rows": rows, "images_per_second": rate}
            yield told | ratio("ratio", times[VECTOR], seconds)


TORCHRL = benchmark(
    "torchrl",
    "TorchRL's view beside the vector environment",
    torchrl_measured,
    {
        "view": "<{view}",
        "rows": ">{rows:,}",
        "images/s": ">{images_per_second:,.0f}",
        "of the vector environment": "<{ratio:.2f} [{ratio_low:.2f}, {ratio_high:.2f}]",
    },
    recorded_as="torchrl-rates",
    notes="""\
784-256-256-10, 16 blocks a layer, half of them kept, masks drawn beforehand; images a second,
medians, one thread, seconds of the processor; ratios to the vector environment in the same round:
median [quartiles]. A step is `step_and_maybe_reset`.""",
    names_machine=False,
)
