"""Models gated by `ccenv.gate`: a model -> time that skipping saves, and the most it could save.

Three ways run in turns under the same masks: the model as it is, the gated model, and a limit. The
limit is the model's own code, where a gated child computes as many rows as keep it, none gathered.
"""

import copy
import functools
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, work_clock
from ccenv.base.registry import import_object
from ccenv.base.seeding import stream
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.networks.gating.gate import gate
from ccenv.networks.gating.gateable import gateable
from ccenv.networks.gating.gated_module import GatedModule
from ccenv.runs.lab.benchmarks.cases import Row, benchmark
from ccenv.runs.lab.benchmarks.network_speed import executed
from ccenv.runs.lab.benchmarks.subjects import without_gates
from ccenv.runs.store.provenance import load_average

SYMBOLS = 256
"""Different tokens of the decoder."""
SECONDS = 0.1
"""Length of one timing, at least one pass of all masks."""


class Attention(nn.Module):
    """Causal self-attention, as of GPT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, width] -> the same shape."""
        rows, tokens, width = x.shape
        parts = self.qkv(x).reshape(rows, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        y = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).reshape(rows, tokens, width))
        return out


class Layer(nn.Module):
    """A layer of GPT, with its residual sums outside of attention and feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, width] -> the same shape."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Decoder(nn.Module):
    """A GPT in plain torch: tokens [rows, length] -> logits of the next one."""

    def __init__(self, width: int, heads: int, layers: int, length: int) -> None:
        """Takes its sizes."""
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, SYMBOLS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [rows, SYMBOLS] behind the last token."""
        x = self.layers(self.embed(tokens) + self.places)
        logits: Tensor = self.head(self.norm(x[:, -1]))
        return logits


def torchvision_model(name: str) -> nn.Module:
    """A model of torchvision with random weights."""
    found: nn.Module = import_object(f"torchvision.models:{name}", "model")()
    return found


@dataclass(frozen=True)
class Model:
    """A model, and which of its children are gated."""

    name: str
    build: Callable[[], nn.Module]
    children: str
    """of these the paths, as a regular expression."""
    kind: str = "unit"
    """"unit" or "zero", as `ccenv.gate` names them."""
    batch: int = 1
    input_shape: tuple[int, ...] = (3, 224, 224)
    """of an image, or (length,) of tokens."""
    passes: int = 4
    """masks, one pass each, of one timing."""

    def inputs(self, generator: torch.Generator) -> Tensor:
        """Noise: pixels in [0, 1], or tokens."""
        shape = (self.batch, *self.input_shape)
        if len(self.input_shape) == 1:
            return torch.randint(SYMBOLS, shape, generator=generator)
        return torch.rand(shape, generator=generator)


GPT = functools.partial(Decoder, 384, 6, 6, 64)
VISION = functools.partial(functools.partial, torchvision_model)
UNITS, BLOCKS, BRANCHES = r"features\.\d+", r"features\.\d\.\d", r"features\.\d\.\d\.(attn|mlp)"
MODELS = (
    Model("swin_t", VISION("swin_t"), BLOCKS),
    Model("swin_t", VISION("swin_t"), BRANCHES, "zero"),
    Model("convnext_tiny", VISION("convnext_tiny"), BLOCKS),
    Model("GPT, 6 x 384, 64 tokens", GPT, r"layers\.\d", input_shape=(64,)),
    Model(
        "GPT, 6 x 384, 64 tokens", GPT, r"layers\.\d\.(attention|mlp)", "zero", input_shape=(64,)
    ),
    Model("mobilenet_v3_small", VISION("mobilenet_v3_small"), UNITS),
    Model("efficientnet_b0", VISION("efficientnet_b0"), BLOCKS),
    Model("convnext_tiny", VISION("convnext_tiny"), BLOCKS, batch=16, passes=1),
    Model("mobilenet_v3_small", VISION("mobilenet_v3_small"), UNITS, batch=64, passes=1),
    Model(
        name="mobilenet_v3_small, 112 x 112",
        build=VISION("mobilenet_v3_small"),
        children=UNITS,
        batch=64,
        input_shape=(3, 112, 112),
        passes=2,
    ),
    Model(
        name="efficientnet_b0, 112 x 112",
        build=VISION("efficientnet_b0"),
        children=BLOCKS,
        batch=64,
        input_shape=(3, 112, 112),
        passes=1,
    ),
)
"""What is timed."""
TINY = functools.partial(Decoder, 16, 2, 2, 8)
QUICK = (
    Model("GPT, 2 x 16, 8 tokens", TINY, r"layers\.\d", input_shape=(8,)),
    Model("GPT, 2 x 16, 8 tokens", TINY, r"layers\.\d", batch=4, input_shape=(8,)),
)
"""Small ones, to try the program."""


class SomeRows(nn.Module):
    """A child that computes its first rows; what it gives has the right shape and no meaning."""

    def __init__(self, child: nn.Module, kind: str) -> None:
        """Takes the child and how it is gated."""
        super().__init__()
        self.child, self.kind, self.rows = child, kind, 0

    def forward(self, x: Tensor) -> Tensor:
        """The child's output if it computes all rows, else its input or zero."""
        y: Tensor | None = self.child(x[: self.rows]) if self.rows else None
        if y is not None and self.rows == len(x):
            return y
        return x if self.kind == "unit" else x.new_zeros(())


def limit_of(
    network: GatedModule, model: nn.Module, kind: str
) -> Callable[[Tensor, Sequence[Tensor]], Tensor]:
    """A copy of a model that computes no more than what masks keep: (inputs, masks) -> a tensor."""
    limit, parts = copy.deepcopy(model), list[SomeRows]()
    for place in network.gates:
        above, _, name = place.name.rpartition(".")
        part = SomeRows(limit.get_submodule(place.name), kind)
        setattr(limit.get_submodule(above), name, part)
        parts.append(part)

    def run(inputs: Tensor, masks: Sequence[Tensor]) -> Tensor:
        for part, mask in zip(parts, masks, strict=True):
            part.rows = int(mask.sum())
        found: Tensor = limit(inputs)
        return found

    return run


def measure(case: Model, rounds: int) -> Row:
    """Times the three ways in turns, half of the gates skipped in each row."""
    generator = stream(0, "kernel operands")
    torch.manual_seed(0)
    model, inputs = case.build().eval().requires_grad_(False), case.inputs(generator)
    units = {
        path: case.kind
        for path, kinds in gateable(model, inputs[:1], every=True).items()
        if case.kind in kinds and re.fullmatch(case.children, path)
    }
    network = gate(model, units, inputs[:1])
    draw, blocks = without_gates(len(units) // 2), num_blocks_of(network)
    pool = [draw(case.batch, blocks, generator) for _ in range(case.passes)]
    ways: dict[str, Callable[[Tensor, Sequence[Tensor]], Tensor]] = {
        "plain": lambda inputs, _: model(inputs),
        "gated": network,
        "limit": limit_of(network, model, case.kind),
    }

    def passes(way: str) -> None:
        with torch.no_grad():
            for masks in pool:
                ways[way](inputs, masks)

    timed = {way: functools.partial(passes, way) for way in ways}
    times = seconds_in_turns(timed, rounds, SECONDS, work_clock())
    saved = 1 - executed(network, inputs, pool) / network.dense_macs
    shares = {
        way: [(1 - share) / saved for share in quartiles_of_ratio(times[way], times["plain"])][::-1]
        for way in ("gated", "limit")
    }
    return {
        "network": case.name,
        "children": case.children,
        "gates": len(units),
        "kind": case.kind,
        "batch": case.batch,
        "saved_macs": saved,
        "of_saved_low": shares["gated"][0],
        "of_saved": shares["gated"][1],
        "of_saved_high": shares["gated"][2],
        "of_saved_limit": shares["limit"][1],
        **{f"{w}_milliseconds": 1e3 * statistics.median(t) / len(pool) for w, t in times.items()},
        "load_average": load_average(),
        "rounds": rounds,
    }


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """Every model in turn."""
    for case in QUICK if quick else MODELS:
        yield measure(case, rounds)


NOTES = """\
Random weights; half of the gates are skipped in each row at random, masks given, one thread,
seconds of the processor. Of them: time saved over the model's own time, over the share of MACs that
the masks skip, median [quartiles]; 1 would be all. Limit: the same of the model's own code, where
each gated child computes as many rows as keep it, which are neither gathered nor put back."""
COLUMNS = {
    "model": "<{network}",
    "gates": "<{gates} x {kind}",
    "batch": ">{batch}",
    "MACs saved": ">{saved_macs:.1%}",
    "of them as time": "<{of_saved:.2f} [{of_saved_low:.2f}, {of_saved_high:.2f}]",
    "limit": ">{of_saved_limit:.2f}",
    "ms, model -> gated": ">{plain_milliseconds:.1f} -> {gated_milliseconds:.1f}",
}
GATED = benchmark(
    "gated-models",
    "models gated by ccenv.gate: time saved of the MACs that masks skip",
    measured,
    COLUMNS,
    notes=NOTES,
)
