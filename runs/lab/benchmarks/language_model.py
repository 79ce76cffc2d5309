"""Training of `lm` beside a plain script of torch, and its use beside dense ones: -> times.

In training both have 16 sequences of 128 symbols and an expert of each symbol's hash. The script
draws sequences, runs them and learns; it has neither masks nor rewards nor rows of their own.
"""

import functools
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ccenv.agents.rloo import Rloo
from ccenv.agents.systems.hash_routing import Hash
from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.masks import mask_of_indices
from ccenv.base.seeding import stream
from ccenv.networks.core.protocol import through
from ccenv.networks.text.transformer import LanguageModel
from ccenv.runs.lab.benchmarks.cases import Row, benchmark, ratio
from ccenv.runs.lab.benchmarks.gated_models import Attention
from ccenv.simulator.simulator import Simulator

LENGTH, SEQUENCES = 128, 16
SIZES = {"depth": 2, "width": 96, "num_heads": 4, "ffn_width": 96}
RATE = 0.003
DENSE = (96, 384, 768, 1536)
"""Units of dense networks; the last one's are as many weights as those of 16 experts of 96."""
NOTES = """\
Plain: a script of torch of the same network. Update: one of the network under given masks. Loop:
the whole of `Agent.learn`, whose update goes on from what the rollout computed. Over plain: the
script's time over time, in the same round, median [quartiles]. rloo has 2 masks a position."""
NOTES_IN_USE = """\
A position each of as many sequences of 128 symbols, keys and values of the earlier ones cached,
experts by a hash of the symbol, no policy. Over dense: time of the largest dense network over
time, in the same round, median [quartiles]."""
COLUMNS = {
    "experts": ">{num_experts}",
    "what": "<{what}",
    "positions/s": ">{positions_per_second:,.0f}",
    "over plain": "<{speed:.2f} [{speed_low:.2f}, {speed_high:.2f}]",
}


class PlainLayer(nn.Module):
    """Attention and one expert a position, by modules of torch."""

    def __init__(self, num_experts: int) -> None:
        """Builds a layer of `SIZES`."""
        super().__init__()
        width, size = SIZES["width"], SIZES["ffn_width"]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = Attention(width, SIZES["num_heads"])
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, width, bias=False))
            for _ in range(num_experts)
        )

    def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
        """[sequences, length, width] and the expert of each position -> the same shape."""
        x = x + self.attention(self.norms[0](x))
        read = self.norms[1](x).flatten(0, 1)
        rows = [(chosen == number).nonzero().squeeze(1) for number in range(len(self.experts))]
        pairs = zip(self.experts, rows, strict=True)
        found = torch.cat([expert(read.index_select(0, some)) for expert, some in pairs])
        return x + torch.zeros_like(read).index_copy(0, torch.cat(rows), found).view(x.shape)


class PlainModel(nn.Module):
    """The same transformer as `lm`."""

    def __init__(self, num_experts: int, num_symbols: int) -> None:
        """Builds it, and draws the expert of each symbol."""
        super().__init__()
        width = SIZES["width"]
        self.symbols, self.places = nn.Embedding(num_symbols, width), nn.Embedding(LENGTH, width)
        self.layers = nn.ModuleList(PlainLayer(num_experts) for _ in range(SIZES["depth"]))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_symbols)
        draws = stream(0, "experts of symbols")
        self.table = torch.randint(num_experts, (num_symbols,), generator=draws)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits: int64 [sequences, length] -> [sequences, length, num_symbols]."""
        x, chosen = self.symbols(symbols) + self.places.weight, self.table[symbols.flatten()]
        for layer in self.layers:
            x = layer(x, chosen)
        found: Tensor = self.head(self.norm(x))
        return found


def plain_update(text: Tensor, num_symbols: int, num_experts: int) -> Callable[[], None]:
    """One update of the plain script, to be called again and again."""
    network = PlainModel(num_experts, num_symbols)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    draws = stream(0, "sequences of the script")

    def update() -> None:
        starts = torch.randint(len(text) - LENGTH, (SEQUENCES, 1), generator=draws)
        read = text[starts + torch.arange(LENGTH + 1)].long()
        logits = network(read[:, :-1])
        loss = cross_entropy(logits.flatten(0, 1), read[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def simulated(num_experts: int, dataset: str, group_size: int = 1) -> Simulator:
    """The environment of the same network and batch."""
    simulator = Simulator(
        SEQUENCES * LENGTH * group_size,
        dataset=f"{dataset}@{LENGTH}",
        network="lm",
        network_kwargs=SIZES | {"num_experts": num_experts, "look_tokens": 1},
        weights="cotrain",
        weights_kwargs={"learning_rate": RATE},
        observation="symbols",
        reward="negative_nll",
        group_size=group_size,
    )
    simulator.seed(0)
    return simulator


def timed(num_experts: int, rounds: int, seconds: float, dataset: str) -> Iterator[Row]:
    """Rows of one number of experts."""
    simulator, positions = simulated(num_experts, dataset), SEQUENCES * LENGTH
    agent = Hash(simulator, num_kept=1)
    agent.learn(positions)
    state, masks = simulator.state, [mask.clone() for mask in simulator.masks]
    assert state is not None
    text: Any = simulator.data.images
    loops: dict[str, Callable[[], object]] = {
        "plain": plain_update(text.symbols, simulator.data.num_classes, num_experts),
        "update": lambda: simulator.trainer.update(state.images, state.labels, masks),
        "loop, hash": functools.partial(agent.learn, positions),
    }
    if num_experts > 1:
        pairs = simulated(num_experts, dataset, group_size=2)
        rloo = Rloo(pairs, embedding_size="one_hot", start="hash", num_kept=1)
        loops["loop, rloo"] = functools.partial(rloo.learn, positions)
    times = seconds_in_turns(loops, rounds, seconds, work_clock())
    for what, found in times.items():
        yield {
            "num_experts": num_experts,
            "what": what,
            "positions_per_second": positions / statistics.median(found),
            **ratio("speed", times["plain"], found),
        }


def in_use(ffn_width: int, num_experts: int, batch: int) -> Callable[[], None]:
    """One position of each of `batch` sequences with a cache, by an expert of its symbol."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = SIZES | {"ffn_width": ffn_width, "num_experts": num_experts}
    network = LanguageModel((LENGTH,), **sizes).eval().requires_grad_(False)
    draws = stream(0, "inputs in use")
    inputs = torch.randint(network.num_classes, (batch, LENGTH), generator=draws)
    cache = network.cache(inputs)
    masks = [mask_of_indices(inputs[:, -1:] % num_experts, num_experts)] * SIZES["depth"]

    def use() -> None:
        with torch.no_grad():
            network.logits(through(network, inputs, lambda gate, _: masks[gate], cache=cache))

    return use


def times_in_use(batch: int, rounds: int, seconds: float) -> Iterator[Row]:
    """Rows of dense networks beside sixteen experts of the smallest one's size."""
    kinds = {f"dense {units}": (units, 1) for units in DENSE} | {"16 experts of 96": (96, 16)}
    uses = {name: in_use(*sizes, batch) for name, sizes in kinds.items()}
    times = seconds_in_turns(uses, rounds, seconds, work_clock())
    for what, found in times.items():
        yield {
            "batch": batch,
            "what": what,
            "microseconds": 1e6 * statistics.median(found),
            **ratio("speed", times[f"dense {DENSE[-1]}"], found),
        }


def used(*, quick: bool, rounds: int) -> Iterator[Row]:
    """One position, and positions of 256 sequences."""
    for batch in (1,) if quick else (1, 256):
        yield from times_in_use(batch, rounds, 0.01 if quick else 0.2)


def measured(*, quick: bool, rounds: int, dataset: str = "python_bundled") -> Iterator[Row]:
    """Sixteen experts, and the dense network."""
    for num_experts in (2,) if quick else (16, 1):
        yield from timed(num_experts, rounds, 0.01 if quick else 0.3, dataset)


IN_USE = benchmark(
    "language-model-in-use",
    "one position of `lm` with a cache, experts beside dense networks",
    used,
    {
        "batch": ">{batch}",
        "network": "<{what}",
        "microseconds": ">{microseconds:,.0f}",
        "over dense 1536": "<{speed:.2f} [{speed_low:.2f}, {speed_high:.2f}]",
    },
    notes=NOTES_IN_USE,
)
LANGUAGE_MODEL = benchmark(
    "language-model",
    "training of `lm` beside a plain script of torch",
    measured,
    COLUMNS,
    notes=NOTES,
)
