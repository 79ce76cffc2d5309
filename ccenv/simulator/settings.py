"""Settings of the environment: their names, defaults and meanings.

Nothing here imports torch: `ccenv train --help` prints them without it.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ccenv.base.registry import NameTable

EXTENSIONS = NameTable(
    {
        "context": "ccenv.annexes.simulator.context:Context",
        "concurrent": "ccenv.annexes.simulator.concurrent:Concurrent",
        "oblivious": "ccenv.annexes.simulator.oblivious:Oblivious",
        "fast_memory": "ccenv.annexes.simulator.loads:FastMemory",
        "shared": "ccenv.annexes.simulator.loads:Shared",
        "task": "ccenv.annexes.tasks.score:TaskScore",
    }
)
"""Settings that add something to the walk, in the order in which a simulator asks them -> the
`Extension` that does it, imported where the setting is given."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings:
    """What every view of the environment takes, as keyword arguments.

    >>> EnvironmentSettings(network="resnet").block_size
    16
    """

    dataset: str | Callable[..., Any] = field(
        default="digits",
        metadata={
            "help": "a name in `DATASETS`, a file's name or path, `module:name`, or a function"
        },
    )
    split: str = field(default="train", metadata={"help": '"train", "validation" or "test"'})
    transforms: Sequence[str] | str = field(
        default=(),
        metadata={
            "help": "names of transforms of the images, in order; see `ccenv.data.transforms`"
        },
    )
    network: Any = field(
        default="mlp",
        metadata={
            "help": "a name in `NETWORKS`, `module:name`, a builder, or a module to use as it is"
        },
    )
    network_kwargs: Mapping[str, Any] | None = field(
        default=None, metadata={"help": 'arguments of the builder, such as `depth` of "resnet"'}
    )
    num_blocks: int | Sequence[int] = field(
        default=(10, 10),
        metadata={"help": "fully connected networks only: number of blocks of each gated layer"},
    )
    block_size: int | Sequence[int] = field(
        default=16,
        metadata={"help": "as above: units of a block, one number or one per gated layer"},
    )
    head_units: int | Sequence[int] = field(
        default=(), metadata={"help": "as above: widths of dense layers after the gated ones"}
    )
    activation: str | Callable[..., Any] = field(
        default="tanh", metadata={"help": 'as above: "tanh", "relu" or a function that maps 0 to 0'}
    )
    weights: str = field(
        default="frozen",
        metadata={
            "help": '"frozen" (trained once under random masks, cached), "shipped" (bundled'
            " with the package, see `ccenv.networks.learning.bundled_weights`) or "
            '"cotrain" (trained in `update_network` under the masks that the agent '
            "chose)"
        },
    )
    weights_kwargs: Mapping[str, Any] | None = field(
        default=None,
        metadata={"help": 'settings of `CoTrainer` and `Teaching`; only with "cotrain"'},
    )
    reward: str | Callable[..., Any] = field(
        default="accuracy_minus_cost",
        metadata={
            "help": "a name in `REWARDS`, `module:name`, a function, or a subclass of "
            "`StatefulReward`"
        },
    )
    reward_kwargs: Mapping[str, Any] | None = field(
        default=None, metadata={"help": "keyword arguments of the reward"}
    )
    observation: str | Callable[..., Any] = field(
        default="layer_input",
        metadata={
            "help": '"layer_input", "summary", "symbols", "certainty", `module:name` or a '
            "function; see `ccenv.mdp.observations`"
        },
    )
    episode: str = field(
        default="input",
        metadata={
            "help": '"input" (one input through all gates) or "sequence" (a sequence of positions, '
            "each through all gates; what a position leaves goes on as its own masks made it)"
        },
    )
    group_size: int = field(
        default=1, metadata={"help": "number of neighbouring rows that hold the same input"}
    )
    device: str = field(
        default="cpu", metadata={"help": 'device of inputs and network: "cpu", "cuda" or "cuda:0"'}
    )
    dtype: str = field(
        default="float32",
        metadata={
            "help": 'what the network computes in: "float32", or "bfloat16" by `torch.autocast`; '
            "weights, features shown and rewards are float32"
        },
    )
    context: Mapping[str, Any] | None = field(
        default=None,
        metadata={
            "help": "cost weights or budgets of each episode, see `ccenv.annexes.simulator.context`"
        },
    )
    concurrent: str | None = field(
        default=None,
        metadata={
            "help": "network updates between gates, see `ccenv.annexes.simulator.concurrent`"
        },
    )
    oblivious: str | int | Sequence[int] | None = field(
        default=None,
        metadata={"help": "steps of constant trace, see `ccenv.annexes.simulator.oblivious`"},
    )
    fast_memory: int | None = field(
        default=None,
        metadata={
            "help": "blocks of a gate that lie in fast memory, others have to be loaded, see "
            "`ccenv.annexes.simulator.loads`"
        },
    )
    shared: str | None = field(
        default=None,
        metadata={"help": '"batch": its rows share the loads of the blocks that they keep'},
    )
    task: Any = field(
        default=None,
        metadata={"help": "a task of the suite, whose score is kept, see `annexes.tasks.score`"},
    )


def setting_defaults() -> dict[str, Any]:
    """Names and defaults of the settings; without those in `EXTENSIONS`, which default to None."""
    return dict(own_defaults())


@functools.cache
def own_defaults() -> dict[str, Any]:
    """The same, found once: a study of 10,000 runs asks 70,000 times."""
    fields = dataclasses.fields(EnvironmentSettings)
    return {one.name: one.default for one in fields if one.name not in EXTENSIONS}
