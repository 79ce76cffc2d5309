"""What is to be gated: (model, path -> kind) -> units, or an error that says what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.networks.core.exit_state import Exit
from ccenv.networks.core.inference_copy import NORMS

KINDS = ("unit", "identity", "zero", "channels", "exit")
"""Kinds of gated children: "unit" and "identity" are the same."""
WITH_CHANNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Modules whose output channels may be gated."""


@dataclass(frozen=True)
class Unit:
    """A child that is gated."""

    path: str
    kind: str
    """identity, zero, channels or exit."""
    num_blocks: int = 1
    exit: Exit | None = None
    """the user's own exit; None: one is made."""


def read_units(model: nn.Module, units: Mapping[str, Any]) -> dict[str, Unit]:
    """Reads what the user asks for.

    Raises:
        TypeError: if it is no mapping, or a kind is neither a string nor an `Exit`.
        ValueError: if there is none; a path or a kind is unknown; children lie in each other, are
            the same module or share weights.
    """
    if not isinstance(units, Mapping):
        raise TypeError(
            f'expected units as a dict such as {{"layer2.1": "unit"}}, got {type(units).__name__}'
        )
    if not units:
        raise ValueError('expected at least one unit, such as {"layer2.1": "unit"}, got none')
    paths = {path: child for path, child in model.named_modules(remove_duplicate=False) if path}
    check_names(units, paths, "child of the model")
    first = {id(child): path for path, child in reversed(list(paths.items()))}
    found: dict[str, Unit] = {}
    for path, kind in units.items():
        own = first[id(paths[path])]
        if own in found:
            raise ValueError(f"expected each module once, but {path!r} is {found[own].path!r} too")
        found[own] = read_kind(own, kind)
    check_apart(found)
    check_weights(model, found)
    return found


def read_kind(path: str, kind: Any) -> Unit:
    """Reads "unit", "identity", "zero", "channels:8", "exit" or an `Exit`."""
    if isinstance(kind, Exit):
        return Unit(path, "exit", exit=kind)
    if not isinstance(kind, str):
        raise TypeError(
            f"expected the kind of {path!r} as one of {', '.join(KINDS)} or a ccenv Exit, "
            f"got {kind!r}"
        )
    name, colon, number = kind.partition(":")
    check_names([name], KINDS, f"kind of {path!r}")
    if name == "channels" and (not number.isdecimal() or int(number) < 1):
        raise ValueError(
            f'expected the number of channel groups of {path!r} as "channels:8", got {kind!r}'
        )
    if name != "channels" and colon:
        raise ValueError(f"expected kind {name!r} of {path!r} without a number, got {kind!r}")
    return Unit(path, "identity" if name == "unit" else name, int(number or 1))


def check_apart(units: Mapping[str, Unit]) -> None:
    """Refuses a gated child inside another one; exits may have gated children before them."""
    for outer in (unit for unit in units.values() if unit.kind != "exit"):
        for path in units:
            if path.startswith(f"{outer.path}."):
                raise ValueError(
                    f"expected gated children beside each other, but {path!r} is inside "
                    f"{outer.path!r}, which is skipped as a whole; name one of the two"
                )


def check_weights(model: nn.Module, units: Mapping[str, Unit]) -> None:
    """Refuses two gated children with the same weights: one of them would not be skipped."""
    owners: dict[int, str] = {}
    for unit in (unit for unit in units.values() if unit.kind != "exit"):
        for parameter in model.get_submodule(unit.path).parameters():
            other = owners.setdefault(id(parameter), unit.path)
            if other != unit.path:
                raise ValueError(
                    f"expected gated children with weights of their own, but {unit.path!r} and "
                    f"{other!r} share some; name one of the two"
                )


def check_mode(model: nn.Module) -> None:
    """Refuses norms that average over a batch whose rows keep different units.

    Raises:
        TypeError: if it is no module.
        ValueError: naming the norm.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected the model to be a torch.nn.Module, got {type(model).__name__}")
    for path, child in model.named_modules():
        if isinstance(child, NORMS) and (child.training or child.running_mean is None):
            raise ValueError(
                f"expected batch norm {path!r} to use its running statistics, got one in training "
                "mode or without any: call model.eval() first"
            )


def check_example(model: nn.Module, example: Tensor) -> Tensor:
    """What the model answers to one input: [1, num_classes].

    Raises:
        TypeError: if the example is no tensor.
        ValueError: if the model does not run on it, or does not answer with [batch, classes].
    """
    if not isinstance(example, Tensor) or example.ndim < 1 or not len(example):
        got = f"{list(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise TypeError(f"expected the example as a tensor [1, ...] of inputs, got {got}")
    try:
        answer = model(example[:1])
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
