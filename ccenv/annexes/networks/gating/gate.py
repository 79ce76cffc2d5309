"""Gates a user's own model: (model, path -> kind, example) -> network.

model = torchvision.models.resnet34(weights="DEFAULT").eval()
network = ccenv.gate(model, {"layer2.1": "unit", "layer3.0.conv1": "channels:8"}, images[:1])
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.gating.answers import WholeAnswer, answer_of
from ccenv.annexes.networks.gating.decoder import DecoderPosition, GatedDecoder
from ccenv.annexes.networks.gating.gated_calls import Unit
from ccenv.annexes.networks.gating.gated_module import GatedModule
from ccenv.annexes.networks.gating.tracer import trace
from ccenv.base.registry import check_names
from ccenv.base.values import check_flag, shown
from ccenv.networks.core.check import check_norms
from ccenv.networks.core.count_macs import count, warn_of_products
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.protocol import dense_forward


def gate(
    model: nn.Module, units: Mapping[str, Any], example: Tensor, *, positions: bool = False
) -> GatedModule:
    """Turns a model into a gated network; its weights stay as they are.

    A child is named by its path, and has one of these kinds:

    - "unit" (or "identity"): one block; skipped, its output is its first argument, the only one of
      that shape. For a residual unit with its shortcut inside.
    - "zero": one block; skipped, its output is zero. For a branch that is added to something.
    - "channels:8": eight groups of neighbouring output channels of a convolution or linear layer;
      skipped ones are zero at that layer's output, so a norm after it still adds its bias.
    - "exit", or a `ccenv.Exit` with a head: the network may answer after the child. Without a head,
      it is a linear layer on averaged features, zero until it is trained.

    The modules around gated children run once, to write down what they call; all others are called
    as they are. Branches of that code (on `self.training`, on sizes) are taken once, in eval mode.

    A model may answer with a record that has `logits`. If it predicts what comes next, as GPT-2 and
    Llama of transformers, the last position of a window answers; keys and values are not kept.

    Args:
        model: [batch, ...] -> logits [batch, num_classes]; in eval mode if it has batch norm. It is
            not copied: training the gated network trains the model.
        units: path -> kind. The gates have the order in which the model calls the children.
        example: one input [1, ...] of the model; more rows are ignored.
        positions: of a decoder of transformers: masks are chosen at every position of a window, and
            keys and values of the positions before are kept, see `gating.decoder`.
            Such a network takes episode="sequence".

    Returns:
        A `ccenv.GatedNetwork`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a child cannot be gated so, or the MACs of an operation are not known; the
            message says why, and what else to do.

    Warns:
        UserWarning: if there are many elementwise products, which are not counted as MACs.

    Example:
        >>> import ccenv, torch
        >>> from torch import nn
        >>> conv, head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8 * 64, 10)
        >>> model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), head)
        >>> network = ccenv.gate(model, {"0": "channels:4"}, torch.zeros(1, 1, 8, 8))
        >>> [(gate.name, gate.num_blocks, gate.skipped) for gate in network.gates]
        [('0', 4, 'zero')]
    """
    check_flag(positions, "positions")
    check_norms(model)
    read = read_units(model, units)
    with evaluating(model), torch.no_grad():
        answer = check_example(model, example)
        # The modules around a child: of "layer1.0.conv1" these are "layer1" and "layer1.0".
        parts = [path.split(".") for path in read]
        opened = {".".join(names[:i]) for names in parts for i in range(1, len(names))}
        exits = [path for path, unit in read.items() if unit.kind == "exit"]
        ask = DecoderPosition(model, example[:1]) if positions else WholeAnswer()
        kind = GatedDecoder if positions else GatedModule
        network = kind(model, trace(model, example[:1], opened, exits, ask), read)
        network.measure(example[:1])
        counts = count(dense_forward, network, example[:1])
    if not torch.allclose(counts.result, answer, rtol=1e-4, atol=1e-5, equal_nan=True):
        far = float((counts.result - answer).abs().max())
        raise ValueError(
            f"expected the gated model to answer as before with everything kept, got logits that "
            f"differ by up to {far:.3g}; does it draw random numbers, keep a state between calls, "
            "or change a view in place? gate other children, or write it as a "
            "ccenv.GatedSequential"
        )
    warn_of_products(counts, stacklevel=2)
    return network.train(model.training)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def read_units(model: nn.Module, units: Mapping[str, Any]) -> dict[str, Unit]:
    """Reads what the user asks for."""
    if not isinstance(units, Mapping):
        raise TypeError(
            f'expected units as a dict such as {{"layer2.1": "unit"}}, got {type(units).__name__}'
        )
    if not units:
        raise ValueError('expected at least one unit, such as {"layer2.1": "unit"}, got none')
    paths = {path: child for path, child in model.named_modules(remove_duplicate=False) if path}
    check_names(units, paths, "child of the model")
    first = {id(child): path for path, child in reversed(list(paths.items()))}
    by_module: dict[str, Unit] = {}
    for path, kind in units.items():
        module = first[id(paths[path])]
        if module in by_module:
            raise ValueError(
                f"expected each module once, but {path!r} is {by_module[module].path!r} too"
            )
        by_module[module] = read_kind(module, kind)
    check_apart(model, by_module)
    return by_module


def read_kind(path: str, kind: Any) -> Unit:
    """Reads "unit", "identity", "zero", "channels:8", "exit" or an `Exit`."""
    if isinstance(kind, Exit):
        return Unit(path, "exit", exit=kind)
    if not isinstance(kind, str):
        raise TypeError(
            f"expected the kind of {path!r} as one of {', '.join(KINDS)} or a ccenv Exit, "
            f"got {shown(kind)}"
        )
    name, colon, number = kind.partition(":")
    check_names([name], KINDS, f"kind of {path!r}")
    if name == "channels" and (not number.isdecimal() or int(number) < 1):
        raise ValueError(
            f'expected the number of channel groups of {path!r} as "channels:8", got {shown(kind)}'
        )
    if name != "channels" and colon:
        raise ValueError(f"expected kind {name!r} of {path!r} without a number, got {shown(kind)}")
    return Unit(path, "identity" if name == "unit" else name, int(number or 1))


def check_apart(model: nn.Module, units: Mapping[str, Unit]) -> None:
    """Refuses a gated child inside another one, or with weights of another one.

    Exits may have gated children before them. Of two children that share weights one would not be
    skipped.
    """
    owners: dict[int, str] = {}
    for outer in (unit for unit in units.values() if unit.kind != "exit"):
        for path in units:
            if path.startswith(f"{outer.path}."):
                raise ValueError(
                    f"expected gated children outside of each other, but {path!r} is inside "
                    f"{outer.path!r}, which is skipped as a whole; name one of the two"
                )
        for parameter in model.get_submodule(outer.path).parameters():
            other = owners.setdefault(id(parameter), outer.path)
            if other != outer.path:
                raise ValueError(
                    f"expected gated children with weights of their own, but {outer.path!r} and "
                    f"{other!r} share some; name one of the two"
                )


def check_example(model: nn.Module, example: Tensor) -> Tensor:
    """What the model answers to one input: [1, num_classes]; or why it does not."""
    if not isinstance(example, Tensor) or example.ndim < 1 or not len(example):
        got = f"{list(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise TypeError(f"expected the example as a tensor [1, ...] of inputs, got {got}")
    try:
        answer = answer_of(model, example[:1])
    except Exception as error:
        raise ValueError(
            f"expected an example that the model runs on, got {example.dtype} "
            f"{list(example.shape)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != 1:
        got = f"{list(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(
            f"expected the model to answer [batch, num_classes], got {got} for one input; wrap it "
            "in a module that gives the logits alone"
        )
    return answer


KINDS = ("unit", "identity", "zero", "channels", "exit")
"""Kinds of gated children: "unit" and "identity" are the same."""
