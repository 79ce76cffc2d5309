"""Streaming: an input comes in chunks, a trunk runs once a patch of them, and between on request.

The idea of scratchpad patching (Zheng et al. 2026, "Scratchpad patching: decoupling compute from
patch size in byte-level language models", arXiv 2605.09630), of which we could read the abstract
only. A cheap encoder reads every chunk. The expensive trunk runs when a patch is full, and commits:
its entry stays in the memory, one a patch. Something is answered behind every chunk, out of the
newest chunk and the last context, which inside a patch has not seen the patch: it lags. A refresh,
one gate at every chunk that does not end a patch, runs the trunk on the part of the patch that has
come; its context serves the answers until the next refresh or commit and is then dropped, and
nothing of it goes into the memory. So refreshes buy better answers inside a patch and change
nothing behind it.

Faithful, as far as the abstract says: transience, one entry a patch, the same trunk for refreshes
and commits, refreshes where the next answer is in doubt, a threshold that may be moved afterwards.
Ours, where it does not say: the sizes; a patch is the sum of its chunks, each by a map of its place
(the scratchpad of a part of a patch is the same sum so far); the doubt that is seen is the entropy
of a guess of a linear head of its own, from the last committed context and the newest chunk, so
that it does not depend on earlier refreshes and fewer of them are asked for at a higher threshold,
exactly; masks in training are random, so that any rate of refreshes works afterwards; an input need
not be a text: `predicts="label"` answers behind each strip of an image which class it will be.
Left out: pre-training of large models, several patching rules, and the engineering of a cache.

Inputs of a stream of which some chunks have come: (rows) -> contexts, lags, answers so far.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.mlp import positive_ints
from ccenv.networks.core.protocol import Gate, GatedNetwork, rows_each
from ccenv.networks.core.stage import kept_rows
from ccenv.networks.stages.linear import in_major_linear
from ccenv.networks.stages.patches import ChunkEncoder, PatchTrunk, cut, shape_of_chunks


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

    def repeated(self, group: int) -> "Stream":
        """Each row for so many neighbours; there are no answers before the first mask."""
        if group == 1:
            return self
        wide: dict[str, Any] = {
            name: value.repeat_interleave(group, 0)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **wide)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of answers in nats: [rows, num_classes] -> [rows].

    >>> import torch
    >>> round(entropy(torch.zeros(1, 10)).item(), 6)
    2.302585
    """
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


class Streaming(GatedNetwork):
    """A stream of chunks; its gates decide about refreshes, see the module."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        chunk_size: int,
        patch_size: int,
        predicts: str,
        width: int,
        local_units: int,
        head_units: int,
        depth: int,
        num_heads: int,
        hidden: int,
    ) -> None:
        """Builds the parts and measures what they cost; see `streaming`."""
        super().__init__()
        self.chunk_size, self.patch_size, self.predicts = chunk_size, patch_size, predicts
        self.num_chunks, of_chunk = shape_of_chunks(input_shape, chunk_size, predicts)
        if not 2 <= patch_size <= self.num_chunks:
            raise ValueError(
                f"expected patch_size in 2..{self.num_chunks}, the input's chunks, got "
                f"{patch_size}; in patches of one chunk nothing lags and nothing is refreshed"
            )
        self.num_patches, self.num_classes = -(-self.num_chunks // patch_size), num_classes
        symbols = num_classes if predicts == "next" else None
        self.encoder = ChunkEncoder(of_chunk, self.num_chunks, local_units, symbols)
        self.joins = nn.ModuleList(
            in_major_linear(local_units, width, bias=False) for _ in range(patch_size)
        )
        self.trunk = PatchTrunk(width, depth, num_heads, hidden, self.num_patches)
        self.first = nn.Parameter(torch.zeros(width))
        self.guesser = in_major_linear(width + local_units, num_classes)
        self.head = nn.Sequential(
            in_major_linear(width + local_units, head_units),
            nn.Tanh(),
            in_major_linear(head_units, num_classes),
        )
        self.places = tuple(t for t in range(self.num_chunks) if not self.ends_patch(t))
        self.gates = tuple(Gate(f"chunk{t}", 1, 2 + local_units, "identity") for t in self.places)
        self._measure(input_shape)

    def _measure(self, input_shape: tuple[int, ...]) -> None:
        """Runs one input with everything kept and writes down what each part costs."""
        dtype = torch.int64 if self.predicts == "next" else torch.float32
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
        chunks = cut(inputs, self.num_chunks, self.chunk_size)
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
                answers=(*stream.answers, self.head(torch.cat([context, local], dim=1))),
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
        """See `GatedNetwork.step`: refreshes rows, answers, and goes on to the next gate.

        A weight w between 0 and 1 goes so far from the context before to the refreshed one.
        """
        given = mask if mask is not None else weights
        hidden = hidden.repeated(1 if given is None else rows_each(len(hidden.lag), len(given)))
        stream = self.refreshed(hidden, mask, weights)
        answer = self.head(torch.cat([stream.context, stream.local], dim=1))
        answers, guesses = (*stream.answers, answer), (*stream.guesses, stream.guess)
        return self._ahead(dataclasses.replace(stream, answers=answers, guesses=guesses))

    def refreshed(self, stream: Stream, mask: Tensor | None, weights: Tensor | None) -> Stream:
        """The trunk on the open patch of the rows that keep it; memory and patch stay."""
        rows = kept_rows(mask)
        if rows is not None and not len(rows):
            return stream
        everybody = rows is None
        rows = torch.arange(len(stream.lag), device=stream.lag.device) if rows is None else rows
        parts = (stream.patch, stream.memory, stream.context)
        patch, memory, before = parts if everybody else (x.index_select(0, rows) for x in parts)
        context, _ = self.trunk(patch, memory)
        lag = stream.lag.index_fill(0, rows, 0)
        if weights is not None:
            context = before + weights.index_select(0, rows).to(before.dtype) * (context - before)
            lag = torch.where(weights[:, 0] > 0, lag, stream.lag)
        if not everybody:
            context = stream.context.index_copy(0, rows, context)
        return dataclasses.replace(stream, context=context, lag=lag)

    def logits(self, hidden: Stream, backend: str = "auto") -> Tensor:
        """See `GatedNetwork.logits`: the answer behind the last chunk, which no refresh changes."""
        return hidden.answers[-1]

    def every_answer(self, hidden: Stream, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `GatedNetwork`: answers [rows, num_chunks, num_classes] and what was right."""
        return torch.stack(hidden.answers, dim=1), self.targets(hidden, labels)

    def targets(self, hidden: Stream, labels: Tensor) -> Tensor:
        """What is right behind each chunk: the label, or the next chunk; int64 [rows, chunks]."""
        if self.predicts == "next":
            return torch.cat([hidden.chunks[:, 1:], labels[:, None]], dim=1)
        return labels[:, None].expand(-1, self.num_chunks)

    def own_loss(self, hidden: Stream, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """See `GatedNetwork`: mean cross-entropies of the answers and of the guesses, in nats."""
        targets = self.targets(hidden, labels)
        at_gates = targets[:, list(self.places)]
        pairs = ((hidden.answers, targets), (hidden.guesses, at_gates))
        losses = [
            cross_entropy(
                torch.stack(found, dim=1).flatten(0, 1).float(),
                wanted.flatten(),
                label_smoothing=label_smoothing,
            )
            for found, wanted in pairs
        ]
        return losses[0] + losses[1]

    def look(self, gate: int, hidden: Stream) -> Tensor:
        """See `GatedNetwork.look`: entropy of the guess in nats, lag, the newest chunk encoded."""
        doubt = entropy(hidden.guess)[:, None]
        return torch.cat([doubt, hidden.lag[:, None].to(doubt.dtype), hidden.local], dim=1)

    def macs(self, gate: int, hidden: Stream, mask: Tensor) -> Tensor:
        """See `GatedNetwork.macs`."""
        spent = mask[:, 0] * self.refresh_macs[gate] + self.fixed_macs[gate]
        return spent + self.start_macs if gate == 0 else spent

    def least_macs(self, gate: int) -> int:
        """See `GatedNetwork`: no refresh."""
        return sum(self.fixed_macs[gate:]) + (0 if gate else self.start_macs)


def streaming(
    input_shape: tuple[int, ...] = (1, 28, 28),
    num_classes: int = 10,
    chunk_size: int = 1,
    patch_size: int = 4,
    predicts: str = "label",
    width: int = 64,
    local_units: int = 32,
    head_units: int = 32,
    depth: int = 1,
    num_heads: int = 4,
    hidden: int = 256,
) -> Streaming:
    """A stream that is answered behind every chunk.

    Args:
        input_shape: (channels, height, width) in strips, (features,) in parts, or (symbols,).
        num_classes: columns of the answers.
        chunk_size: lines of an image or features in a chunk; 1 of symbols.
        patch_size: chunks of a patch, at least 2.
        predicts: "label", the input's class so far; or "next", the next symbol of a text.
        width: of a context.
        local_units: of the encoder.
        head_units: hidden units of what answers.
        depth: layers of the trunk.
        num_heads: of its attention.
        hidden: units of its feed-forward layers.

    Raises:
        ValueError: if the input cannot be cut so, or a size is impossible.
    """
    sizes: dict[str, Any] = {
        "chunk_size": chunk_size, "patch_size": patch_size, "width": width,
        "local_units": local_units, "head_units": head_units, "depth": depth,
        "num_heads": num_heads, "hidden": hidden,
    }  # fmt: skip
    for name, value in sizes.items():
        positive_ints([value], name)
    return Streaming(input_shape, num_classes, predicts=predicts, **sizes)
