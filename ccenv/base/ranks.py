"""Several processes that share the rows of a batch: (its own rows of each) <-> rows of all.

`ALONE` is one process and does nothing. `Ranks` are the processes that torchrun started: gloo
between CPUs, NCCL between GPUs. All hold the same parameters and draw the same numbers; what costs
time is done by each for its own rows: neighbours, whole groups, the first rows on rank 0.
"""

import contextlib
import datetime
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


class RanksError(RuntimeError):
    """Ranks that cannot go on together: one has gone, or they hold different parameters."""


class OneProcess:
    """A process that has all rows."""

    number, size = 0, 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes, judges and prints."""
        return self.number == 0

    def share(self, rows: Tensor) -> Tensor:
        """Its own rows: [rows of all, ...] -> [rows, ...]."""
        return rows

    def gathered(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Rows of all: tensors [rows, ...] of any kinds -> [rows of all, ...]."""
        return parts

    def mean(self, value: float) -> float:
        """A number's mean over the ranks."""
        return value


ALONE = OneProcess()


class Ranks(OneProcess):
    """This process among those of torch's process group."""

    def __init__(self) -> None:
        """Reads number and size of the group, which exists."""
        self.number, self.size = dist.get_rank(), dist.get_world_size()
        self.is_apart = False

    def share(self, rows: Tensor) -> Tensor:
        """See `OneProcess.share`; ValueError where the rows cannot be shared equally."""
        each, left = divmod(len(rows), self.size)
        if left or not each:
            raise ValueError(
                f"expected a number of rows that {self.size} ranks share equally, got {len(rows)}"
            )
        return rows[self.number * each : (self.number + 1) * each]

    def gathered(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """See `OneProcess.gathered`; one message for all tensors. Gradients stop here."""
        own = [
            part.detach().reshape(len(part), -1).contiguous().view(torch.uint8) for part in parts
        ]
        sent = torch.cat(own, dim=1)
        found = sent.new_empty(self.size * len(sent), sent.shape[1])
        with self.others():
            dist.all_gather(list(found.chunk(self.size)), sent)
        columns = found.split([one.shape[1] for one in own], dim=1)
        return tuple(
            column.contiguous().view(part.dtype).reshape(-1, *part.shape[1:])
            for column, part in zip(columns, parts, strict=True)
        )

    def mean(self, value: float) -> float:
        """See `OneProcess.mean`."""
        total = torch.tensor([value], dtype=torch.float64)
        with self.others():
            dist.all_reduce(total)
        return float(total) / self.size

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gives every rank the mean of all ranks' gradients; none where no rank has one."""
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        parts = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in learned]
        has = torch.tensor([float(p.grad is not None) for p in learned])
        flat = torch.cat([has.to(parts[0]), *(part.flatten() for part in parts)])
        with self.others():
            dist.all_reduce(flat)
        found = flat[len(learned) :].div_(self.size).split([part.numel() for part in parts])
        has_any = flat[: len(learned)].tolist()
        for parameter, part, mean, is_there in zip(learned, parts, found, has_any, strict=True):
            if is_there:
                parameter.grad = part.copy_(mean.view(part.shape))

    def tell(self, value: Any = None) -> Any:
        """What rank 0 gives: the others call it with nothing and get that."""
        box = [value]
        with self.others():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def check_same(self, digest: bytes, what: str) -> None:
        """Refuses to go on with ranks whose hashes differ (RanksError, naming those)."""
        own = torch.frombuffer(bytearray(digest), dtype=torch.uint8)[None]
        (found,) = self.gathered(own)
        others = [number for number in range(self.size) if not torch.equal(found[number], found[0])]
        if others:
            raise RanksError(
                f"expected {what} to be the same on all {self.size} ranks, got others than rank "
                f"0's on {others}; run all ranks on processors of one kind, with the same versions"
            )

    @contextlib.contextmanager
    def others(self) -> Iterator[None]:
        """RanksError in place of what torch raises where another rank does not answer."""
        try:
            yield
        except RanksError:
            raise
        except RuntimeError as error:
            first = str(error).split("\n")[0].split(". ")[0]
            raise RanksError(
                f"expected all {self.size} ranks to answer, rank {self.number} waited in vain: "
                f"another one has ended or hangs, and says itself why if it could ({first})"
            ) from error

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Context in which a rank works alone: modules take all rows and wait for no other rank."""
        self.is_apart = True
        try:
            yield
        finally:
            self.is_apart = False


PATIENCE = datetime.timedelta(hours=2)
"""How long a rank waits for another one that lives: rank 0 alone judges and writes."""


@contextlib.contextmanager
def ranks_of_torchrun() -> Iterator[OneProcess]:
    """The ranks that torchrun started (RanksError if one does not come); else `ALONE`."""
    is_one_of_several = dist.is_available() and dist.is_torchelastic_launched()
    if not is_one_of_several or os.environ.get("WORLD_SIZE") == "1":
        yield ALONE
        return
    place = int(os.environ["LOCAL_RANK"])
    if place < torch.cuda.device_count():
        torch.cuda.set_device(place)
    with ended_by_torchrun():
        dist.init_process_group(timeout=PATIENCE)
        try:
            yield Ranks()
        finally:
            dist.destroy_process_group()


@contextlib.contextmanager
def ended_by_torchrun() -> Iterator[None]:
    """RanksError at torchrun's SIGTERM; threads other than the main one get no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise RanksError(
            "expected all ranks to live, was asked to end (SIGTERM): another rank has failed, or "
            "the job was stopped"
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Gathered(torch.autograd.Function):
    """Rows of all ranks, whose gradient goes back to each rank's own rows."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.gathered(own)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Every rank has the gradient of the whole batch's loss. Gradients of parameters are
        # averaged over the ranks later: times their number, the mean is the sum over all rows.
        return ctx.ranks.share(gradients[0]) * ctx.ranks.size, None


@contextlib.contextmanager
def rows_shared(modules: Iterable[nn.Module], ranks: Ranks) -> Iterator[None]:
    """Lets each rank run modules for its own rows; what goes in and comes out is of all rows.

    First arguments and results are [..., rows, columns]; all ranks call the modules at the same
    moments, but for what they do `apart`.
    """

    def take(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if ranks.is_apart:
            return given
        return (ranks.share(given[0].movedim(-2, 0)).movedim(0, -2), *given[1:])

    def give(module: nn.Module, given: tuple[Any, ...], own: Tensor) -> Tensor:
        if ranks.is_apart:
            return own
        found: Tensor = _Gathered.apply(own.movedim(-2, 0), ranks)
        return found.movedim(0, -2)

    hooks = []
    for module in modules:
        hooks += [module.register_forward_pre_hook(take), module.register_forward_hook(give)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def gradients_averaged(optimizers: Iterable[torch.optim.Optimizer], ranks: Ranks) -> Iterator[None]:
    """Lets each step of an optimiser go down the mean of all ranks' gradients."""

    def average(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        ranks.average_gradients(p for group in optimizer.param_groups for p in group["params"])

    hooks = [optimizer.register_step_pre_hook(average) for optimizer in optimizers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
