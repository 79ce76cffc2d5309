"""Content of an exported classifier: (agent, its settings) <-> names, numbers and tensors.

Agents and networks are stored as `module:name` with settings, and rebuilt from these. A file's
names are followed only after `check_stored`. Masks are chosen as errs less on validation images: a
young policy keeps no block with a probability above one half, so that its greedy masks
keep nothing where drawn ones answer well; an old one may do better with the greedy masks.
"""

import contextlib
import inspect
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.deploy.export_images import images_of
from ccenv.base.checked_file import check_finite, encode
from ccenv.base.checks import AtOnce
from ccenv.base.earlier_settings import earlier_of, in_todays_names
from ccenv.base.mask_words import in_files
from ccenv.base.registry import import_object
from ccenv.base.seeding import stream
from ccenv.base.trust import check_named
from ccenv.base.values import in_a_line, lacking, shortened, shown
from ccenv.mdp.dynamics import EpisodeState
from ccenv.mdp.observations import Observer
from ccenv.networks.core.abilities import PlaysWindows, ability
from ccenv.networks.core.arguments import arguments_of, make_network
from ccenv.networks.core.precision import dtype_of, in_dtype
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.rewards import make_reward
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.policy import as_policy

FORMAT = "ccenv classifier 2"
NEEDED = ("act", "parameters", "load_parameters")
"""what an agent has that can be exported; `ccenv.agents.base.Agent` has it."""
PLACES = {
    "agent.class": "agent",
    "network.builder": "network",
    "network.sizes.activation": "activation",
    "observation": "observation",
    "images.transforms.name": "transform",
}
"""Where names stand -> their kinds, see `ccenv.base.trust`."""
PARTS: dict[str, type | tuple[type, ...]] = {
    "agent": Mapping,
    "agent.class": str,
    "agent.settings": Mapping,
    "agent.tensors": Mapping,
    "agent.rows": int,
    "agent.group_size": int,
    "network": Mapping,
    "network.builder": str,
    "network.sizes": Mapping,
    "network.num_classes": int,
    "network.tensors": Mapping,
    "observation": str,
    "image_shape": (list, tuple),
    "context": Mapping,
    "images": Mapping,
    "images.shape": (list, tuple),
    "images.are_bytes": bool,
    "images.transforms": (list, tuple),
}
"""What every file holds."""
MOST_PARTS, SPARE = 5_000, 2**24
"""Modules and weights of a file's policy and network (SmolLM2 has 786), and numbers at least."""
MOST_SIDES, LARGEST = 8, 2**24
"""Dimensions and numbers of an input."""
SHAPES = ("image_shape", "images.shape")


@dataclass
class Surface:
    """The parts of an environment that an agent may read, for a classifier without a data set."""

    network: Any
    """the classifier."""
    observe: Observer
    """how states are looked at."""
    image_shape: tuple[int, ...]
    """(channels, height, width)."""
    num_images: int
    """rows of the batches that the agent learned from."""
    group_size: int
    """rows of one input."""
    state: EpisodeState | None = None
    """where the inputs are, for policies that look at the episode."""
    rule: Any = None
    """masks of windows before their last positions, see `ccenv.simulator.policy.follow`."""

    def __post_init__(self) -> None:
        """Sets the attributes that agents read and that follow from the network."""
        self.num_blocks: tuple[int, ...] = num_blocks_of(self.network)
        self.num_layers, self.max_blocks = len(self.num_blocks), max(self.num_blocks)
        self.dense_macs, self.obs_size = self.network.dense_macs, self.observe.obs_size
        self.device, self.weights = torch.device("cpu"), "frozen"
        self.reward = make_reward("negative_nll")
        self.context, self.is_sequence, self.num_steps = None, False, self.num_layers
        self.checks = AtOnce()

    def extension(self, name: str) -> None:
        """An exported policy's walk is the network's alone."""


def content_of(agent: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describes an agent and its environment's network as they are now.

    Raises:
        ValueError: if the agent looks at labels, or it or the network has no name.
    """
    missing = lacking(agent, *NEEDED)
    if missing:
        raise cannot(agent, f"it has no {', '.join(missing)}; subclass ccenv.agents.base.Agent")
    if as_policy(agent).uses_labels:
        raise cannot(agent, "it looks at the true label, which is not known where it is used")
    simulator = agent.simulator
    network, builder = simulator.network, simulator.source.builder
    if simulator.is_sequence and ability(network, PlaysWindows) is None:
        raise cannot(
            agent,
            "its network plays no windows up to their last position (the ability PlaysWindows), so "
            "that each would be answered as the first of a sequence",
        )
    ranges = {} if simulator.context is None else simulator.context.ranges
    content = {
        "format": FORMAT,
        "agent": {
            "class": path_to(agent, type(agent)),
            "settings": dict(settings),
            "tensors": {name: t.detach().cpu().clone() for name, t in agent.parameters().items()},
            "rows": simulator.num_images,
            "group_size": simulator.group_size,
        },
        "network": {
            "builder": path_to(agent, builder),
            "sizes": dict(simulator.source.sizes),
            "kwargs": dict(simulator.source.kwargs),
            "num_classes": network.num_classes,
            "tensors": {name: t.detach().cpu().clone() for name, t in network.state_dict().items()},
            # Left out by files from before there was a choice.
            **({} if dtype_of(network) == "float32" else {"dtype": dtype_of(network)}),
        },
        "observation": simulator.observe.kind,
        "image_shape": tuple(simulator.image_shape),
        "images": images_of(simulator),
        "context": {name: (r.low, r.high, r.is_log) for name, r in ranges.items()},
    }
    try:
        encode(content, {})
    except TypeError as error:
        raise cannot(agent, f"a setting is no name and no number: {error}") from error
    return content


def path_to(agent: Any, thing: Any) -> str:
    """`module:name` of a class or function.

    Raises:
        ValueError: if Python would not find it again by that name.
    """
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    path = f"{module}:{name}"
    try:
        is_found = module != "__main__" and import_object(path, "export") is thing
    except ValueError:
        is_found = False
    if is_found:
        return path
    if name:
        raise cannot(agent, f"{path} cannot be imported by name; put it in a module")
    raise cannot(
        agent,
        f"its network was given as an object ({type(thing).__name__}) and cannot be imported "
        "by name; give network='module:name' of a function that builds it",
    )


def cannot(agent: Any, why: str) -> ValueError:
    """The error that says why an agent is not exported."""
    return ValueError(f"expected an agent that can be exported, got {type(agent).__name__}: {why}")


@contextlib.contextmanager
def limited_parts(content: Mapping[str, Any]) -> Iterator[None]:
    """Stops what builds too many modules, or much larger ones than a file has weights for.

    Raises:
        ValueError: before memory is touched.
    """
    tensors = [t for part in ("agent", "network") for t in content[part]["tensors"].values()]
    most_numbers = SPARE + 8 * sum(tensor.numel() for tensor in tensors)
    parts, numbers = 0, 0

    def count(module: Any, name: str, part: Any) -> None:
        nonlocal parts, numbers
        parts += 1
        numbers += part.numel() if isinstance(part, Tensor) else 0
        if parts > MOST_PARTS or numbers > most_numbers:
            raise ValueError(
                f"expected at most {MOST_PARTS:,} layers and weights, and no more numbers than "
                "the file has weights for, got a larger network or policy"
            )

    # Builders have many names for their sizes; whatever they build registers its parts.
    with (
        torch.nn.modules.module.register_module_module_registration_hook(count),
        torch.nn.modules.module.register_module_parameter_registration_hook(count),
    ):
        yield


def check_stored(content: Mapping[str, Any], trust: Sequence[str]) -> None:
    """Refuses a file that lacks a part, or names code that is neither the project's nor trusted."""
    check_named(content, PLACES, trust)
    for place, kind in PARTS.items():
        entry: Any = content
        for name in place.split("."):
            entry = entry.get(name)
        is_right = isinstance(entry, kind) and (kind is bool or not isinstance(entry, bool))
        if not is_right:
            got = "none" if entry is None else type(entry).__name__
            raise ValueError(f"expected {place} in an exported classifier, got {got}")
        if place in SHAPES:
            are_sides = all(type(side) is int and side > 0 for side in entry)
            if not (are_sides and 1 <= len(entry) <= MOST_SIDES and math.prod(entry) <= LARGEST):
                raise ValueError(
                    f"expected {place} of 1..{MOST_SIDES} sides of at least 1 and at most "
                    f"{LARGEST:,} numbers, got {shown(entry)}"
                )
    for place in ("agent", "network"):
        if not all(isinstance(value, Tensor) for value in content[place]["tensors"].values()):
            raise ValueError(f"expected tensors in {place}.tensors, got something else")


def stored_network(content: Mapping[str, Any], input_shape: Sequence[int]) -> Any:
    """Builds the network that a file describes, with its weights.

    Raises:
        ValueError: if the name is no builder, or the weights do not fit or are not finite.
    """
    builder = import_object(content["builder"], "network")
    sizes, kwargs = dict(content["sizes"]), dict(content.get("kwargs", {}))
    try:
        arguments = arguments_of(builder, input_shape, content["num_classes"], sizes, kwargs)
        inspect.signature(builder).bind(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected a builder of networks as {content['builder']!r}, got {builder!r}: {error}"
        ) from error
    check_finite(content["tensors"], f"the network {content['builder']}")
    network = make_network(builder, input_shape, content["num_classes"], 0, sizes, kwargs)
    try:
        network.load_state_dict(content["tensors"])
    except RuntimeError as error:
        raise ValueError(
            f"expected weights of {content['builder']}, got others: {shortened(in_a_line(error))}"
        ) from error
    return in_dtype(network, content.get("dtype", "float32"))


def stored_agent(content: Mapping[str, Any], surface: Surface) -> Any:
    """Builds the agent that a file describes, with what it has learned.

    Raises:
        ValueError: if the name is no agent's class, or its tensors do not fit or are not finite.
    """
    agent_class = import_object(content["class"], "agent")
    is_agent = isinstance(agent_class, type) and not lacking(agent_class, *NEEDED)
    if not is_agent:
        raise ValueError(f"expected an agent's class as {content['class']!r}, got {agent_class!r}")
    settings = in_todays_names(content["settings"], earlier_of(agent_class).names, warns=False)
    agent = agent_class(surface, seed=0, **settings)
    tensors: Mapping[str, Tensor] = content["tensors"]
    check_finite(tensors, f"the agent {content['class']}")
    agent.load_parameters(tensors)
    return agent


def better_draw(agent: Any) -> dict[str, Any]:
    """Which kind of masks has fewer errors on the validation split, and the errors of both.

    Of equal ones greedy masks, which are the same for everybody.
    """
    errors = {
        greedy: evaluate(agent.simulator, agent, split="validation", deterministic=greedy).error
        for greedy in (True, False)
    }
    return {
        "draw": in_files(min(errors, key=lambda greedy: errors[greedy])),
        "validation_error": {in_files(greedy): error for greedy, error in errors.items()},
    }


def stream_of(images: Tensor) -> torch.Generator:
    """A stream whose seed is made of a batch of images: the same batch always draws alike."""
    # One seed for all batches would draw alike for every input that is classified alone.
    return stream(zlib.crc32(images.detach().cpu().contiguous().numpy().data), "masks")


def drawing(
    images: Tensor,
    generator: torch.Generator | None,
    deterministic: bool | None,
    recorded: bool,
) -> torch.Generator | None:
    """What draws the masks of a batch, the caller's generator if given; None for greedy masks.

    If `deterministic` is None, masks are drawn if there is a generator, else as recorded.
    """
    if deterministic is None:
        deterministic = recorded and generator is None
    if not deterministic:
        return generator or stream_of(images)
    if generator is not None:
        raise ValueError(
            "expected deterministic=False with a generator, got deterministic=True; leave one out"
        )
    return None
