"""Export: an agent and its network -> one module from inputs to logits that skips blocks, on disk.

    classifier = SkippingClassifier.from_agent(agent, learning_rate=0.02)
    classifier.save("classifier.safetensors")
    logits = SkippingClassifier.load("classifier.safetensors")(inputs)

A file holds tensors, numbers and names, no pickle. Of what it names only entries of this project's
tables are imported; modules of yours by `load(path, trust=("my_module",))`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.deploy.export_content import (
    FORMAT,
    Surface,
    better_draw,
    cannot,
    check_stored,
    content_of,
    drawing,
    limited_parts,
    stored_agent,
    stored_network,
    stream_of,
)
from ccenv.annexes.deploy.export_images import Preparation, known_symbols
from ccenv.annexes.deploy.fused.classifier import FusedClassifier
from ccenv.annexes.deploy.short_walk import ShortWalk, fuse_policy, look_and_compute
from ccenv.annexes.simulator.context import Range, observe_context
from ccenv.base.annotations import checks_types
from ccenv.base.checked_file import load_tree, save_tree
from ccenv.base.mask_words import BOTH, EITHER, deterministic_of, in_files, takes_draw
from ccenv.base.seeding import stream
from ccenv.base.values import in_a_line
from ccenv.data import load_split
from ccenv.mdp.observations import Observer, make_observer
from ccenv.networks.core.abilities import Continues, PlaysWindows, ability
from ccenv.networks.core.inference_copy import pack
from ccenv.simulator.policy import as_policy, follow

NUM_CHECK_IMAGES = 64
UNFIT = (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError)
"""What agents and networks raise of settings and tensors that are not theirs."""


class SkippingClassifier(nn.Module):
    """A network with its policy as one module; skipped blocks are not executed.

    Its weights are frozen: the kernels keep copies of them.

    >>> from ccenv.agents.reference_policies import BlockDropout
    >>> from ccenv.simulator.simulator import Simulator
    >>> simulator = Simulator(4, dataset="synthetic", weights="cotrain", num_blocks=[4])
    >>> simulator.seed(0)
    >>> classifier = SkippingClassifier.from_agent(BlockDropout(simulator))
    >>> logits, masks = classifier.classify(torch.rand(2, *classifier.image_shape))
    >>> len(logits), masks[0].shape
    (2, torch.Size([2, 4]))
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Builds policy and network; use `from_agent` or `load`.

        Args:
            content: see `ccenv.annexes.deploy.export_content.content_of`.

        Raises:
            ValueError: if its names lead to no agent or no network, or its parts do not fit.
        """
        super().__init__()
        self.content = dict(content)
        self.image_shape: tuple[int, ...] = tuple(content["image_shape"])
        with limited_parts(content):
            self.network = stored_network(content["network"], self.image_shape)
        self.ranges = {name: Range(*numbers) for name, numbers in content["context"].items()}
        num_symbols = known_symbols(self.network, content["observation"])
        self.prepare = Preparation(content["images"], num_symbols)
        dtype = torch.int64 if self.prepare.are_symbols else torch.float32
        self.look = make_observer(content["observation"], self.network, self.image_shape, dtype)
        agent = content["agent"]
        observe = self._observer({name: torch.zeros(1) for name in self.ranges})
        self.surface = Surface(
            self.network, observe, self.image_shape, agent["rows"], agent["group_size"]
        )
        with limited_parts(content):
            self.policy = stored_agent(agent, self.surface)
        # Registered, so that whoever moves the module to a device moves the policy too.
        modules = {n: v for n, v in vars(self.policy).items() if isinstance(v, nn.Module)}
        self.policy_modules = nn.ModuleDict(modules)
        # Files that do not say which masks err less took greedy ones.
        self.deterministic = bool(deterministic_of(content.get("draw", in_files(True)), EITHER))
        self.requires_grad_(False).eval()
        pack(self.network)

    @classmethod
    def from_agent(cls, agent: Any, **settings: Any) -> "SkippingClassifier":
        """Copies an agent's policy and its environment's network, and checks that both act alike.

        Both ways of choosing masks are judged on the validation split. The one with fewer errors is
        recorded, and used unless the other is asked for: `deterministic`, with the errors of both
        in `content["validation_error"]`.

        Args:
            agent: as it is now; it may go on learning, the copy stays as it is.
            **settings: the keyword arguments that the agent was built with, but for env and seed.

        Raises:
            ValueError: if it cannot be exported; says why.
        """
        content = content_of(agent, settings) | better_draw(agent)
        try:
            classifier = cls(content)
        except (TypeError, ValueError, AttributeError) as error:
            raise cannot(agent, f"it cannot be built without its environment: {error}") from error
        classifier._check_acts_like(agent)
        return classifier

    @classmethod
    @checks_types
    def load(cls, path: str | Path, *, trust: Sequence[str] = ()) -> "SkippingClassifier":
        """Reads what `save` wrote.

        Args:
            path: the file.
            trust: modules of yours that it may name; of others nothing is imported, and of this
                project only what stands in its tables.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no exported classifier, or what it names is not here or not
                trusted.
        """
        content = load_tree(Path(path))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"expected an exported classifier ({FORMAT}) in {path}, got another")
        check_stored(content, trust)
        try:
            return cls(content)
        except UNFIT as error:
            raise ValueError(
                f"expected an exported classifier whose parts fit in {path}, got "
                f"{type(error).__name__}: {in_a_line(error)}"
            ) from error

    def save(self, path: str | Path) -> None:
        """Writes policy and network as one safetensors file, whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_tree(Path(path), self.content)

    @takes_draw
    def forward(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        *,
        deterministic: bool | None = None,
        **context: float | Tensor,
    ) -> Tensor:
        """Classifies inputs under masks that the policy chooses.

        Args:
            images: [batch, channels, height, width], or flat, of the height and width that the
                data set stores: float32, bytes as shares of 255, or uint8 where it stores bytes.
                They go through the transforms of the agent's environment here.
            generator: draws the masks, where they are drawn; None: a stream whose seed is made of
                the inputs, so that the same batch always gets the same answers.
            deterministic: True for greedy masks, False for sampled ones; None: sampled with a
                generator, else as `self.deterministic` says, which erred less on validation inputs.
            **context: `cost_weight=...` or `budget=...`, one number or [batch], where the agent
                learned under many (see `ccenv.annexes.simulator.context`).

        Returns:
            Logits [batch, num_classes].

        Raises:
            TypeError: if the inputs are of another type.
            ValueError: if inputs, context or generator do not fit.
        """
        return self.classify(images, generator, deterministic=deterministic, **context)[0]

    @takes_draw
    def classify(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        *,
        deterministic: bool | None = None,
        **context: float | Tensor,
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits as `forward` gives them, and the masks: bool [batch, num_blocks] by layer."""
        images = self.prepare(images)
        generator = drawing(images, generator, deterministic, self.deterministic)
        values = self._values(context, images)
        surface = self.surface
        if values:
            surface = dataclasses.replace(surface, observe=self._observer(values))
        budget = values.get("budget")
        outcome, masks = look_and_compute(self.policy, surface, images, generator, budget)
        assert outcome.logits is not None
        return outcome.logits, masks

    @torch.no_grad()
    def classify_next(
        self, inputs: Tensor, cache: Any = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, list[Tensor], Any]:
        """Classifies the end of a sequence with what the positions before have left.

        Args:
            inputs: int64 [1, window].
            cache: what the call before returned; None plays those before under greedy masks.
            generator: as in `classify`.

        Returns:
            Logits [1, num_classes], masks as in `classify`, and the cache for the next input of
            the sequence, which reads keys and values under these masks; None if it is full, or if
            the network has none.

        Raises:
            ValueError: if the cache is another network's, or the inputs do not fit.
        """
        inputs = self.prepare(inputs)
        generator = drawing(inputs, generator, None, self.deterministic)
        windows, sequence = ability(self.network, PlaysWindows), ability(self.network, Continues)
        if cache is None and windows is not None:
            follow(as_policy(self.policy), self.surface)
            cache = windows.played(inputs, self.surface.rule, alone=True)
        outcome, masks = look_and_compute(self.policy, self.surface, inputs, generator, None, cache)
        assert outcome.logits is not None
        after = None if sequence is None else sequence.advance(outcome.after.hidden)
        return outcome.logits, masks, after

    @takes_draw
    def fuse(self, *, deterministic: bool | None = None) -> FusedClassifier | ShortWalk:
        """The same with little between the layers, to rounding: faster for one input.

        A fully connected network, of symbols too, runs in one compiled call, many times faster; a
        `GatedSequential` without all that one row does not need. Inputs are those of `forward`;
        without transforms only float32 ones. Transforms are applied before.

        Args:
            deterministic: as in `forward`.

        Raises:
            ValueError: if policy or network cannot be fused.
        """
        fused, greedy = None, self.deterministic if deterministic is None else deterministic
        if not self.ranges:
            fused = fuse_policy(
                self.network, self.policy, self.look, self.image_shape, deterministic=greedy
            )
        if fused is None:
            raise ValueError(
                f"cannot fuse {type(self.policy).__name__} with {type(self.network).__name__}: "
                "expected a GatedMLP, a TokenMLP, or a GatedSequential with "
                "observation='layer_input', in float32 on the CPU, and a policy of affine maps or "
                "lists (Agent.choosers), without a context; call the classifier itself"
            )
        if self.prepare.transforms:
            fused.prepare = self.prepare
        fused.stream = stream_of
        return fused

    @property
    def draw(self) -> str:
        """`deterministic` as files say it."""
        return in_files(self.deterministic)

    @property
    def policy_macs(self) -> list[int]:
        """MACs of choosing one input's masks, for each gated layer."""
        return [int(macs) for macs in self.policy.policy_macs]

    def _observer(self, values: Mapping[str, Tensor]) -> Observer:
        if not self.ranges:
            return self.look
        return observe_context(self.look, self.ranges, values, self.network.dense_macs)

    def _values(self, context: Mapping[str, Any], images: Tensor) -> dict[str, Tensor]:
        if set(context) != set(self.ranges):
            needed = ", ".join(f"{name}=..." for name in self.ranges) or "no context"
            raise ValueError(
                f"expected {needed}, got {sorted(context)}; see ccenv.annexes.simulator.context"
            )
        values = {}
        for name in self.ranges:
            value = torch.as_tensor(context[name], dtype=torch.float32, device=images.device)
            values[name] = value.expand(len(images))
        return values

    def _check_acts_like(self, agent: Any) -> None:
        simulator, generator = agent.simulator, stream(0, "export check")
        stored = load_split(simulator.dataset, simulator.split)
        images, _ = stored.batch(torch.arange(min(NUM_CHECK_IMAGES, len(stored))))
        seen = self.prepare(images)
        shares = torch.rand(len(images), generator=generator)
        values = {name: offered.at(shares) for name, offered in self.ranges.items()}
        there = {name: value.to(simulator.device) for name, value in values.items()}
        surface = dataclasses.replace(
            self.surface, network=simulator.network, observe=self._observer(there)
        )
        for greedy in BOTH:
            draws = [None if greedy else stream(0, "masks") for _ in range(2)]
            _, masks = self.classify(images, draws[0], deterministic=greedy, **values)
            _, theirs = look_and_compute(
                agent, surface, seen.to(simulator.device), draws[1], there.get("budget")
            )
            if not all(torch.equal(a, b.cpu()) for a, b in zip(masks, theirs, strict=True)):
                raise cannot(
                    agent,
                    "built again it chooses other masks; give the settings that it was built with, "
                    "and see that its parameters() hold all it has learned",
                )
