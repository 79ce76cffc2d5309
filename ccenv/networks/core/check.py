"""Checker of networks: (network, example inputs) -> nothing, or an error: which law it broke.

To networks what `gymnasium.utils.env_checker.check_env` is to environments.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from ccenv.base.annotations import checks_types
from ccenv.base.masks import random_mask
from ccenv.base.seeding import stream
from ccenv.base.values import lacking, shortened, shown
from ccenv.networks.core.abilities import Owns, PlaysWindows, ability, parts_of
from ccenv.networks.core.count_macs import Count, count, counted, warn_of_products
from ccenv.networks.core.inference_copy import NORMS
from ccenv.networks.core.parameters import inactive_entries
from ccenv.networks.core.protocol import (
    Gate,
    as_gated,
    dense_forward,
    forward,
    num_blocks_of,
    started,
    through,
    undefined,
    walk,
)

WEIGHTS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda values, noise: values,
    lambda values, noise: values + noise,
    lambda values, noise: values.abs(),
    lambda values, noise: (values + noise).abs(),
)
"""Those that show what a network reads: its own, others near them, and positive ones,
which leave few units dead. (A network's own weights, noise of their size) -> weights."""
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Share of the largest gradient below which one may be rounding."""
NEAR = {torch.float64: 1e-6, torch.float32: 1e-4}
"""How far apart logits may be that differ by rounding alone: a share of each of them."""


def check_skipped(network: Any, inputs: Tensor) -> None:
    """What only skipped blocks use is not read: NaN there changes nothing (law 4)."""
    for index, gate in enumerate(network.gates):
        spoiled = copy.deepcopy(network)
        owner = ability(spoiled, Owns)
        parameters = [] if owner is None else owner.gate_parameters(index)
        if gate.skipped == "stop" or not parameters:
            continue
        masks = full_masks(network, len(inputs))
        masks[index][:, gate.num_blocks // 2 :] = False
        for parameter in parameters:
            parameter.requires_grad_(True)
        unused = unused_entries(spoiled, inputs, masks, parameters)
        with torch.no_grad():
            before = forward(spoiled, inputs, masks, "cpu")
            for parameter, entries in zip(parameters, unused, strict=True):
                parameter[entries] = torch.nan
            after = forward(spoiled, inputs, masks, "cpu")
        if not torch.equal(before, after):
            raise ValueError(
                f"expected skipped blocks of gate {index} ({gate.name!r}) not to be read, but NaN "
                "in their weights reaches the logits"
            )
    check_unread(network, inputs)


def full_masks(network: Any, rows: int) -> list[Tensor]:
    """Masks that keep every block, for each gate."""
    return [torch.ones(rows, blocks, dtype=torch.bool) for blocks in num_blocks_of(network)]


def check_unread(network: Any, inputs: Tensor) -> None:
    """What is said to be unread where blocks are off is not read: NaN there changes nothing."""
    masks = full_masks(network, len(inputs))
    # A first gate of one block off, the next one on, and so on.
    for gate, mask in enumerate(masks):
        mask[:, gate % 2 :: 2] = False
    spoiled = copy.deepcopy(network)
    entries = inactive_entries(spoiled, masks)
    with torch.no_grad():
        # Positions of a sequence before an input's own have read them by then.
        start = spoiled.start(inputs)
        before = forward(spoiled, inputs, masks, "cpu", start=start)
        for name, parameter in spoiled.named_parameters():
            parameter[entries[name]] = torch.nan
        after = forward(spoiled, inputs, masks, "cpu", start=start)
    if not torch.equal(before, after):
        raise ValueError(
            "expected unread_entries to name what is not read while blocks are off, but NaN there "
            "reaches the logits"
        )


def unused_entries(
    network: Any, inputs: Tensor, masks: list[Tensor], parameters: list[nn.Parameter]
) -> list[Tensor]:
    """Which weights have a gradient with everything kept and none under masks.

    By its own weights and by others: a unit that no input wakes looks unused, and is read.
    """
    unused = [torch.ones_like(parameter, dtype=torch.bool) for parameter in parameters]
    used = [~entries for entries in unused]
    originals = {name: p.detach().clone() for name, p in network.named_parameters()}
    for draw, way in enumerate(WEIGHTS):
        generator = stream(draw, "weights of a check")
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(originals[name])
            parameter.data.copy_(way(originals[name], noise * originals[name].std(correction=0)))
        some, every = gradients_under(network, inputs, masks, parameters)
        # The bias of keys has a gradient by rounding alone: it is read, and yet changes nothing.
        rounding = max((ROUNDING[g.dtype] for g in every), default=0.0)
        least = rounding * max((float(g.abs().max()) for g in every if g.numel()), default=0.0)
        unused = [u & (g == 0) for u, g in zip(unused, some, strict=True)]
        used = [u | (g.abs() > least) for u, g in zip(used, every, strict=True)]
    for name, parameter in network.named_parameters():
        parameter.data.copy_(originals[name])
    return [none & some for none, some in zip(unused, used, strict=True)]


def gradients_under(
    network: Any, inputs: Tensor, masks: list[Tensor], parameters: list[nn.Parameter]
) -> tuple[list[Tensor], list[Tensor]]:
    """Of the sum of squared logits, under masks and with everything kept."""
    pair = []
    for kept in (masks, [torch.ones_like(mask) for mask in masks]):
        loss = forward(network, inputs, kept, "cpu").square().sum()
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        pairs = zip(parameters, gradients, strict=True)
        pair.append([torch.zeros_like(p) if g is None else g for p, g in pairs])
    return pair[0], pair[1]


NUM_ROWS = 6
"""Rows of the random masks that the laws are tried with."""


@checks_types
def check_network(network: Any, example: Tensor, *, seed: int = 0) -> None:
    """Checks a gated network: its answers, its MACs and its features at the gates.

    Runs a copy in float64 (float32, if it does not compute in float64) on random masks, from no
    block to all blocks. MACs are compared with `torch.utils.flop_counter`, one row at a time.

    Args:
        network: a `GatedNetwork`; not changed.
        example: inputs [batch, ...] as its data set gives them; the first two are used.
        seed: seed of the masks.

    Raises:
        TypeError: if it is no `torch.nn.Module`, or lacks a part of `ccenv.GatedNetwork`.
        ValueError: if a law does not hold; names the law and the gate. Also if the MACs of an
            operation are not known (`ccenv.networks.core.count_macs`).

    Warns:
        UserWarning: if there are many elementwise products, which are not counted as MACs, or if
            a part of the network does not compute in float64; names that part.

    Example:
        >>> import ccenv, torch
        >>> network = ccenv.GatedMLP(16, num_blocks=(4,), block_size=8)
        >>> ccenv.check_network(network, torch.rand(2, 16))
    """
    check_parts(network)
    check_norms(network)
    generator = stream(seed, "network check")
    if not len(example):
        raise ValueError("expected at least one input in the example, got none")
    tried, first = precise_copy(network, example[:2])
    inputs = first.repeat_interleave(NUM_ROWS // len(first), 0)
    densities = torch.linspace(0, 1, len(inputs), dtype=torch.float64)[:, None]
    everything = full_masks(tried, len(inputs))
    masks = [random_mask(len(x), x.shape[1], densities, generator) for x in everything]
    with torch.no_grad():
        whole = check_dense(tried, inputs, everything)
        check_states(tried, inputs, masks)
        check_neighbours(tried, first, inputs, masks)
        check_bill(tried, inputs, [masks, everything])
        check_more(tried, inputs, masks)
        check_stops(tried, inputs, masks)
    check_skipped(tried, inputs)
    warn_of_products(whole, stacklevel=3)


def precise_copy(network: Any, example: Tensor) -> tuple[Any, Tensor]:
    """A copy that computes in float64, or else in float32, and inputs in the same."""
    tried, inputs = copied_in(network, example, torch.float64)
    names = {part: name for name, part in tried.named_modules()}
    running = [names[tried]]

    def begin(part: nn.Module, _: Any) -> None:
        running.append(names.get(part) or running[-1])

    def end(*_: Any) -> None:
        running.pop()

    begun, ended = register_module_forward_pre_hook(begin), register_module_forward_hook(end)
    try:
        with torch.no_grad(), begun, ended:
            dense_forward(tried, inputs)
    except RuntimeError as error:
        copied = copied_in(network, example, torch.float32)
        with torch.no_grad():
            dense_forward(*copied)
        warnings.warn(
            "the laws are checked in float32, up to rounding: "
            f"{running[-1] or type(network).__name__} does not compute in float64 "
            f"({shortened(str(error))})",
            UserWarning,
            stacklevel=4,
        )
        return copied
    return tried, inputs


def copied_in(network: Any, example: Tensor, dtype: torch.dtype) -> tuple[Any, Tensor]:
    """A copy that nothing trains, and inputs, whose floating-point numbers are of a dtype."""
    tried = as_gated(copy.deepcopy(network)).to(dtype).eval().requires_grad_(False)
    return tried, example.to(dtype) if example.is_floating_point() else example


def check_parts(network: Any) -> None:
    """Refuses what is no gated network, by its parts and numbers."""
    missing = undefined(network)
    if not isinstance(network, nn.Module) or missing:
        lacks = f" without {', '.join(missing)}" if missing else ", which is no torch.nn.Module"
        raise TypeError(
            "expected a network with the parts of ccenv.GatedNetwork, its MACs among them, "
            f"got {type(network).__name__}{lacks}; subclass ccenv.GatedMLP, build a "
            "ccenv.GatedSequential, or gate a module of yours with ccenv.gate"
        )
    gates = network.gates
    if not isinstance(gates, tuple) or not gates or not all(isinstance(g, Gate) for g in gates):
        raise ValueError(
            f"expected the network's gates as a tuple of ccenv.Gate, got {shown(gates)}"
        )
    for name in ("num_classes", "dense_macs"):
        value = getattr(network, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"expected the network's {name} as a whole number, got {shown(value)}")
    for kind in getattr(network, "abilities", ()):
        missing = lacking(network, *parts_of(kind))
        if missing:
            raise TypeError(
                f"expected all parts of the ability {kind.__name__}, got one without "
                f"{', '.join(missing)}: see ccenv.networks.core.abilities"
            )


def check_norms(network: nn.Module) -> None:
    """Refuses norms that average over a batch: its rows keep different blocks."""
    if not isinstance(network, nn.Module):
        raise TypeError(f"expected the model to be a torch.nn.Module, got {type(network).__name__}")
    for name, module in network.named_modules():
        if isinstance(module, NORMS) and (module.training or module.running_mean is None):
            raise ValueError(
                f"expected batch norm {name!r} to use its running statistics, got one in training "
                "mode or without any, where rows depend on their neighbours: call model.eval() "
                "first"
            )


def state_before(network: Any, one: Tensor) -> Any:
    """What the positions before a window's last leave, [1, ...]; None of other networks."""
    windows = ability(network, PlaysWindows)
    return None if windows is None else windows.played(one, alone=True)


def check_dense(network: Any, inputs: Tensor, everything: list[Tensor]) -> Count:
    """Everything kept is the plain module, at its cost (laws 1, 14); returns what it does."""
    state, keep = state_before(network, inputs[:1]), (lambda *_: None)
    counts = count(
        lambda x: network.logits(through(network, x, keep, "reference", state=state), "reference"),
        inputs[:1],
    )
    macs, dense = counts.macs, counts.result
    if tuple(dense.shape) != (1, network.num_classes):
        raise ValueError(
            f"expected logits [batch, num_classes={network.num_classes}], got {list(dense.shape)}"
        )
    if macs != network.dense_macs:
        raise ValueError(
            f"expected dense_macs={network.dense_macs:,}, counted {macs:,} with everything kept"
        )
    whole, kept = dense_forward(network, inputs), forward(network, inputs, everything)
    say_where_they_differ(whole, kept, "with every mask full the plain module's logits")
    bill = sum(bill_of(network, inputs, everything))
    if not bool((bill == network.dense_macs).all()):
        raise ValueError(
            f"expected the MACs of full masks to sum to dense_macs={network.dense_macs:,}, got "
            f"{int(bill[0]):,}"  # type: ignore[index]
        )
    return counts


def bill_of(network: Any, inputs: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
    """MACs of each gate: int64 [rows] each; another shape is refused."""
    bill: list[Tensor] = []

    def choose(gate: int, hidden: Any) -> Tensor:
        mask = masks[gate]
        spent = network.macs(gate, hidden, mask)
        if spent.dtype != torch.int64 or spent.shape != mask.shape[:1]:
            raise ValueError(
                f"expected macs({gate}, ...) as int64 [{len(mask)}], got {spent.dtype} "
                f"{list(spent.shape)}"
            )
        bill.append(spent)
        return mask

    through(network, inputs, choose)
    return bill


def check_states(network: Any, inputs: Tensor, masks: list[Tensor]) -> None:
    """Features have their size, and neither they nor the MACs change anything (law 16)."""
    plain = forward(network, inputs, masks)

    def choose(gate: int, hidden: Any) -> Tensor:
        mask = masks[gate]
        look, size = network.look(gate, hidden), network.gates[gate].look_size
        if tuple(look.shape) != (len(inputs), size) or not look.is_floating_point():
            raise ValueError(
                f"expected look({gate}, ...) as float [{len(inputs)}, look_size={size}], got "
                f"{look.dtype} {list(look.shape)}"
            )
        network.macs(gate, hidden, mask)
        network.step(gate, hidden, ~mask)
        network.step(gate, hidden, mask)
        if not torch.equal(network.look(gate, hidden), look):
            raise ValueError(f"expected step({gate}, ...) not to change its hidden state, it did")
        return mask

    if not torch.equal(walk(network, inputs, choose), plain):
        raise ValueError("expected features and MACs to change no logits, they did")


def check_neighbours(network: Any, first: Tensor, inputs: Tensor, masks: list[Tensor]) -> None:
    """Rows do not depend on their neighbours, and masks of one input may share it (law 16)."""
    whole = forward(network, inputs, masks)
    rows = [slice(i, i + 1) for i in range(len(inputs))]
    alone = [forward(network, inputs[row], [mask[row] for mask in masks]) for row in rows]
    say_where_they_differ(torch.cat(alone), whole, "in a batch what each row gives alone")
    shared = forward(network, first, masks)
    say_where_they_differ(whole, shared, "of several masks of one input what each gives alone")


def say_where_they_differ(expected: Tensor, got: Tensor, what: str) -> None:
    """Raises a ValueError where two tensors are further apart than rounding explains."""
    near = NEAR[expected.dtype]
    least = 0.01 * near * max(1.0, float(expected.abs().amax()))
    if not torch.allclose(expected, got, rtol=near, atol=least, equal_nan=True):
        far = float((expected - got).abs().max())
        raise ValueError(f"expected {what}, got logits that differ by up to {far:.3g}")


def check_bill(network: Any, inputs: Tensor, tried: Iterable[list[Tensor]]) -> None:
    """MACs are what runs, by torch's counter, gate by gate (law 15)."""
    for masks in tried:
        bills = bill_of(network, inputs, masks)
        for row in range(len(inputs)):
            last = len(masks) - 1
            one = inputs[row : row + 1]
            macs, hidden = counted(started, network, one, state_before(network, one))
            for gate, mask in enumerate(masks):
                spent, hidden = counted(
                    network.step, gate, hidden, mask[row : row + 1], None, exact(mask)
                )
                macs += spent
                if gate == last:
                    macs += counted(network.logits, hidden, exact(mask))[0]
                billed = int(bills[gate][row])
                if macs != billed:
                    raise ValueError(
                        f"expected the MACs of gate {gate} ({network.gates[gate].name!r}) to be "
                        f"what runs, billed {billed:,} and counted {macs:,} MACs with "
                        f"{int(mask[row].sum())} of {mask.shape[1]} blocks kept"
                    )
                macs = 0


def exact(mask: Tensor) -> str:
    """The backend that computes what is kept and nothing else, on a mask's device."""
    return "gpu" if mask.is_cuda else "cpu"


def check_more(network: Any, inputs: Tensor, masks: list[Tensor]) -> None:
    """One more block never costs an input less (law 6)."""
    before = torch.stack(bill_of(network, inputs, masks)).sum(dim=0)
    for gate, mask in enumerate(masks):
        for block in range(mask.shape[1]):
            more = [m.clone() for m in masks]
            more[gate][:, block] = True
            after = torch.stack(bill_of(network, inputs, more)).sum(dim=0)
            if bool((after < before).any()):
                raise ValueError(
                    f"expected one more block never to cost less, got less with block {block} of "
                    f"gate {gate} ({network.gates[gate].name!r})"
                )


def check_stops(network: Any, inputs: Tensor, masks: list[Tensor]) -> None:
    """A stopped input costs nothing more and keeps its answer, whatever follows (law 17)."""
    for index, gate in enumerate(network.gates):
        if gate.skipped != "stop":
            continue
        kept = full_masks(network, len(inputs))
        kept[index][:] = False
        other = [m if i <= index else torch.zeros_like(m) for i, m in enumerate(kept)]
        later = torch.stack([*bill_of(network, inputs, kept)])[index + 1 :]
        if bool(later.any()):
            raise ValueError(f"expected nothing to be billed behind exit {gate.name!r}, got MACs")
        answers = [forward(network, inputs, masks) for masks in (kept, other)]
        if not torch.equal(*answers):
            raise ValueError(f"expected later masks to be ignored behind exit {gate.name!r}")
