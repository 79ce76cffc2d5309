"""The network `streaming`: inputs in chunks, with an answer behind every chunk.

Such a network has patches, see `text.patches` for the paper and for what a refresh
is: a cheap encoder reads every chunk, the trunk commits when a patch is full, and the gates are the
chunks that do not end a patch.

Ours, next to what stands there: a patch is the sum of its chunks, each by a map of its place; the
doubt that is seen is the entropy of a guess of a linear head of its own, from the last committed
context and the newest chunk, so that it does not depend on earlier refreshes; masks in training are
random, so that any rate of refreshes works afterwards; `predicts="label"` answers behind each strip
of an image. Left out: pre-training of large models, several patching rules, and the engineering of
a cache.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from ccenv.annexes.networks.text.patches import PatchedNetwork
from ccenv.base.annotations import with_fields_of
from ccenv.base.registry import check_names
from ccenv.base.values import positive_ints
from ccenv.networks.core.abilities import Bounds, Doubts
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.protocol import Abilities, Gate, group_of, repeat_rows
from ccenv.networks.stages.linear import in_major_linear


class MemoryLayer(nn.Module):
    """Attention to earlier patches and a feed-forward layer, both added to their input."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        """Glorot uniform weights, zero biases, norms before each half."""
        super().__init__()
        self.num_heads = num_heads
        self.norm_patch, self.norm_mixed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks = in_major_linear(width, 3 * width)
        self.mixes = in_major_linear(width, width)
        self.first, self.second = in_major_linear(width, hidden), in_major_linear(hidden, width)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One patch: [rows, width], [rows, patches, 2 * width] -> the next layer's, its entry."""
        query, key, value = self.asks(self.norm_patch(x)).chunk(3, dim=1)
        entry = torch.cat([key, value], dim=1)
        keys, values = torch.cat([memory, entry[:, None]], dim=1).chunk(2, dim=2)
        query, keys, values = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part in (query[:, None], keys, values)
        )
        scores = query @ keys.transpose(2, 3) / math.sqrt(keys.shape[3])
        mixed = (scores.softmax(dim=3) @ values).flatten(1)
        x = x + self.mixes(mixed)
        return x + self.second(relu(self.first(self.norm_mixed(x)))), entry


class PatchTrunk(nn.Module):
    """What is expensive: some layers over patches."""

    def __init__(
        self, width: int, depth: int, num_heads: int, hidden: int, num_patches: int
    ) -> None:
        """Builds `depth` layers; each of `num_patches` has a place of its own."""
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"expected a width that is a multiple of num_heads={num_heads}, got {width}"
            )
        self.width = width
        self.places = nn.Parameter(torch.zeros(num_patches, width))
        self.layers = nn.ModuleList(MemoryLayer(width, num_heads, hidden) for _ in range(depth))

    def no_memory(self, rows: int) -> Tensor:
        """Before the first patch: [rows, 0, depth, 2 * width]."""
        return self.places.new_zeros(rows, 0, len(self.layers), 2 * self.width)

    def forward(self, patch: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Reads a patch [rows, width], whole or as far as it has come, and those before.

        Returns:
            Context [rows, width], and what it would leave in the memory: [rows, depth, 2 * width].
        """
        x, entries = patch + self.places[memory.shape[1]], []
        for number, layer in enumerate(self.layers):
            x, entry = layer(x, memory[:, :, number])
            entries.append(entry)
        return x, torch.stack(entries, dim=1)


PREDICTS = ("label", "next")
"""What is answered behind every chunk."""


def shape_of_chunks(
    input_shape: tuple[int, ...], chunk_size: int, predicts: str
) -> tuple[int, int]:
    """How many chunks an input has, and numbers of a chunk; one that cannot be cut is refused.

    >>> shape_of_chunks((1, 28, 28), 2, "label")
    (14, 56)
    """
    check_names([predicts], PREDICTS, "predicts")
    if predicts == "next" and (len(input_shape) != 1 or chunk_size != 1):
        raise ValueError(
            f"expected windows of symbols (length,) in chunks of 1 with predicts='next', got "
            f"inputs {tuple(input_shape)} in chunks of {chunk_size}"
        )
    if len(input_shape) not in (1, 3):
        raise ValueError(
            f"expected images, features or symbols for 'streaming', got {tuple(input_shape)}"
        )
    long = input_shape[-2] if len(input_shape) == 3 else input_shape[0]
    if long % chunk_size or long == chunk_size:
        raise ValueError(
            f"expected a chunk_size that divides the input's {long} "
            f"{'lines' if len(input_shape) == 3 else 'numbers'} in at least two, got {chunk_size}"
        )
    num_chunks = long // chunk_size
    return num_chunks, math.prod(input_shape) // num_chunks


def chunks_of(inputs: Tensor, num_chunks: int, chunk_size: int) -> Tensor:
    """Strips of images, each with all channels, or neighbouring numbers: [rows, num_chunks, n].

    Symbols int64 [rows, num_chunks] stay as they are.

    >>> chunks_of(torch.arange(8.0).view(1, 2, 2, 2), 2, 1).tolist()
    [[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]
    """
    if inputs.ndim == 4:
        return inputs.unflatten(2, (num_chunks, chunk_size)).transpose(1, 2).flatten(2)
    return inputs.unflatten(1, (num_chunks, -1)) if inputs.is_floating_point() else inputs


class ChunkEncoder(nn.Module):
    """What is read of every chunk: tanh of an affine map, or of a symbol's embedding."""

    def __init__(
        self, chunk_numbers: int, num_chunks: int, units: int, num_symbols: int | None
    ) -> None:
        """Each place has a bias of its own; `num_symbols` is None for chunks of numbers."""
        super().__init__()
        self.read = (
            in_major_linear(chunk_numbers, units)
            if num_symbols is None
            else nn.Embedding(num_symbols, units)
        )
        self.places = nn.Parameter(torch.zeros(num_chunks, units))

    def forward(self, chunk: Tensor, place: int) -> Tensor:
        """[rows, chunk_numbers] or int64 [rows], at a place -> [rows, units] in (-1, 1)."""
        features: Tensor = (self.read(chunk) + self.places[place]).tanh()
        return features


@dataclass(frozen=True)
class Stream:
    """Inputs of which some chunks have come, before the decision at the newest one."""

    chunks: Tensor
    """[rows, num_chunks, ...]; all of them, those to come too."""
    memory: Tensor
    """[rows, committed, depth, 2 * width]; see `PatchTrunk`."""
    committed: Tensor
    """[rows, width]; context of the last whole patch."""
    context: Tensor
    """[rows, width]; what answers are made of: the same, or a refresh's."""
    patch: Tensor
    """[rows, width]; sum of what the open patch's chunks say."""
    local: Tensor
    """[rows, local_units]; the newest chunk."""
    guess: Tensor
    """[rows, num_classes]; logits from the committed context and the newest chunk."""
    lag: Tensor
    """int64 [rows]; chunks of the open patch that the context has not seen."""
    answers: tuple[Tensor, ...] = ()
    """[rows, num_classes] behind each chunk so far."""
    guesses: tuple[Tensor, ...] = ()
    """[rows, num_classes] at each gate so far."""


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Settings of `Streaming`."""

    chunk_size: int = 1
    """lines of an image or features in a chunk; 1 of symbols."""
    patch_size: int = 4
    """chunks of a patch, at least 2."""
    predicts: str = "label"
    """"label", the input's class so far; or "next", the next symbol of a text."""
    width: int = 64
    """of a context."""
    local_units: int = 32
    """of the encoder."""
    head_units: int = 32
    """hidden units of what answers."""
    depth: int = 1
    """layers of the trunk."""
    num_heads: int = 4
    """of its attention."""
    hidden: int = 256
    """units of its feed-forward layers."""

    def chunks(self, input_shape: tuple[int, ...]) -> tuple[int, int]:
        """See `shape_of_chunks`; sizes that do not fit the inputs are refused (ValueError)."""
        sizes = dataclasses.asdict(self)
        del sizes["predicts"]
        positive_ints(tuple(sizes.values()), "sizes of a stream")
        num_chunks, of_chunk = shape_of_chunks(input_shape, self.chunk_size, self.predicts)
        if not 2 <= self.patch_size <= num_chunks:
            raise ValueError(
                f"expected patch_size in 2..{num_chunks}, the input's chunks, got "
                f"{self.patch_size}; in patches of one chunk nothing lags and nothing is refreshed"
            )
        return num_chunks, of_chunk


class Streaming(PatchedNetwork):
    """A stream with an answer after every chunk; its gates decide about refreshes."""

    abilities: Abilities = (Bounds, Doubts)
    answers_often = True

    @with_fields_of(StreamSettings)
    def __init__(
        self, input_shape: tuple[int, ...] = (1, 28, 28), num_classes: int = 10, **settings: Any
    ) -> None:
        """Builds the parts and measures what they cost; see `StreamSettings`.

        Args:
            input_shape: (channels, height, width) in strips, (features,) in parts, or (symbols,).
            num_classes: columns of the answers.
            settings: fields of `StreamSettings`.
        """
        super().__init__()
        self.settings = sizes = StreamSettings(**settings)
        self.chunk_size, self.patch_size = sizes.chunk_size, sizes.patch_size
        self.num_chunks, of_chunk = sizes.chunks(input_shape)
        self.num_patches, self.num_classes = -(-self.num_chunks // sizes.patch_size), num_classes
        self.symbols_read = symbols = num_classes if sizes.predicts == "next" else None
        width, units = sizes.width, sizes.local_units
        self.encoder = ChunkEncoder(of_chunk, self.num_chunks, units, symbols)
        self.joins = nn.ModuleList(
            in_major_linear(units, width, bias=False) for _ in range(sizes.patch_size)
        )
        self.trunk = PatchTrunk(width, sizes.depth, sizes.num_heads, sizes.hidden, self.num_patches)
        self.first = nn.Parameter(torch.zeros(width))
        self.guesser = in_major_linear(width + units, num_classes)
        self.head = nn.Sequential(
            in_major_linear(width + units, sizes.head_units),
            nn.Tanh(),
            in_major_linear(sizes.head_units, num_classes),
        )
        self.places = tuple(t for t in range(self.num_chunks) if not self.ends_patch(t))
        self.gates = tuple(Gate(f"chunk{t}", 1, 2 + units, "identity") for t in self.places)
        self._measure(input_shape)

    def _measure(self, input_shape: tuple[int, ...]) -> None:
        """Runs one input with everything kept and writes down what each part costs."""
        dtype = torch.int64 if self.settings.predicts == "next" else torch.float32
        fixed, refreshes = [], []
        with torch.no_grad():
            macs, stream = counted(self.start, torch.zeros(1, *input_shape, dtype=dtype))
            self.start_macs = macs
            for gate in range(len(self.gates)):
                refreshes.append(counted(self.trunk, stream.patch, stream.memory)[0])
                spent, stream = counted(self.step, gate, stream, None)
                fixed.append(spent - refreshes[-1])
        self.fixed_macs, self.refresh_macs = tuple(fixed), tuple(refreshes)
        self.dense_macs = self.start_macs + sum(fixed) + sum(refreshes)

    def ends_patch(self, place: int) -> bool:
        """Whether the trunk commits at a chunk: the last one of a patch or of the input."""
        return (place + 1) % self.patch_size == 0 or place == self.num_chunks - 1

    def start(self, inputs: Tensor) -> Stream:
        """See `GatedNetwork.start`: the first chunk comes."""
        rows = len(inputs)
        context = self.first.expand(rows, -1)
        none = self.first.new_zeros(rows, 0)
        lag = torch.zeros(rows, dtype=torch.int64, device=inputs.device)
        memory, patch = self.trunk.no_memory(rows), torch.zeros_like(context)
        chunks = chunks_of(inputs, self.num_chunks, self.chunk_size)
        return self._ahead(Stream(chunks, memory, context, context, patch, none, none, lag))

    def _ahead(self, stream: Stream) -> Stream:
        """Chunks come until the next one that does not end a patch; those that do are answered."""
        while (place := len(stream.answers)) < self.num_chunks:
            local = self.encoder(stream.chunks[:, place], place)
            patch = stream.patch + self.joins[place % self.patch_size](local)
            if not self.ends_patch(place):
                # What the guess learns is no business of the trunk.
                seen = torch.cat([stream.committed, local], dim=1).detach()
                return dataclasses.replace(
                    stream, local=local, patch=patch, lag=stream.lag + 1, guess=self.guesser(seen)
                )
            context, entry = self.trunk(patch, stream.memory)
            stream = dataclasses.replace(
                stream,
                memory=torch.cat([stream.memory, entry[:, None]], dim=1),
                committed=context,
                context=context,
                patch=torch.zeros_like(patch),
                lag=torch.zeros_like(stream.lag),
                answers=(*stream.answers, self.answer(context, local)),
            )
        return stream

    def step(
        self,
        gate: int,
        hidden: Stream,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Stream:
        """See `GatedNetwork.step`: refreshes rows, answers, and goes on to the next gate."""
        # There are no answers before the first mask.
        hidden = repeat_rows(hidden, group_of(hidden.lag.shape[0], mask, weights))
        stream = self.refresh(hidden, mask, weights)
        answers = (*stream.answers, self.answer(stream.context, stream.local))
        guesses = (*stream.guesses, stream.guess)
        return self._ahead(dataclasses.replace(stream, answers=answers, guesses=guesses))

    def refresh(self, stream: Stream, mask: Tensor | None, weights: Tensor | None) -> Stream:
        """The trunk on the open patch of the rows that keep it; memory and patch stay."""
        is_new = torch.ones_like(stream.lag, dtype=torch.bool)
        for kept in (mask, weights):
            is_new = is_new if kept is None else is_new & (kept[:, 0] > 0)
        context = self.refreshed(stream, mask, weights)
        return dataclasses.replace(stream, context=context, lag=stream.lag.masked_fill(is_new, 0))

    def trunk_at(self, hidden: Stream, rows: Tensor | None) -> Tensor:
        """See `PatchedNetwork`."""
        parts = (hidden.patch, hidden.memory)
        patch, memory = parts if rows is None else (x.index_select(0, rows) for x in parts)
        context: Tensor = self.trunk(patch, memory)[0]
        return context

    @staticmethod
    def between(before: Tensor, after: Tensor, share: Tensor) -> Tensor:
        """See `PatchedNetwork`; as recorded results were computed."""
        return before + share * (after - before)

    def logits(self, hidden: Stream, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`: the answer behind the last chunk, which no refresh changes."""
        return hidden.answers[-1]

    def every_answer(self, hidden: Stream, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `GatedNetwork`: answers [rows, num_chunks, num_classes] and what was right."""
        return torch.stack(hidden.answers, dim=1), self.targets(hidden, labels)

    def targets(self, hidden: Stream, labels: Tensor) -> Tensor:
        """What is right behind each chunk: the label, or the next chunk; int64 [rows, chunks]."""
        if self.settings.predicts == "next":
            return torch.cat([hidden.chunks[:, 1:], labels[:, None]], dim=1)
        return labels[:, None].expand(-1, self.num_chunks)

    def answer_loss(
        self,
        hidden: Stream,
        labels: Tensor,
        label_smoothing: float = 0.0,
        backend: str = "auto",
    ) -> Tensor:
        """See `GatedNetwork`: mean cross-entropies of the answers and of the guesses, in nats."""
        targets = self.targets(hidden, labels)
        at_gates = targets[:, list(self.places)]
        pairs = ((hidden.answers, targets), (hidden.guesses, at_gates))
        losses = [
            cross_entropy(
                torch.stack(logits, dim=1).flatten(0, 1).float(),
                wanted.flatten(),
                label_smoothing=label_smoothing,
            )
            for logits, wanted in pairs
        ]
        return losses[0] + losses[1]

    def macs(self, gate: int, hidden: Stream, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`."""
        spent = mask[:, 0] * self.refresh_macs[gate] + self.fixed_macs[gate]
        return spent + self.start_macs if gate == 0 else spent

    def least_macs(self, gate: int) -> int:
        """See `GatedNetwork`: no refresh."""
        return sum(self.fixed_macs[gate:]) + (0 if gate else self.start_macs)


streaming = Streaming
