"""Micro-batches: (inputs that arrive one by one, a classifier) -> answers; refused when too many.

    with MicroBatches(classifier, max_batch=32, max_wait=0.002, max_pending=256) as batches:
        answer = batches.submit(image).result()

One thread computes. It takes what is waiting, at most `max_batch` inputs, and waits at most
`max_wait` seconds for more. A request is refused at once when `max_pending` inputs are waiting:
a queue that grows without end would make everybody late.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor

Classify = Callable[[Tensor], Tensor]
"""Inputs [batch, ...] -> logits [batch, num_classes]."""
LATEST = 1024
"""Batches whose sizes are remembered."""


class BusyError(RuntimeError):
    """So many inputs wait that one more is refused."""


class MicroBatches:
    """Answers to single inputs, computed some at a time by a thread of their own."""

    def __init__(
        self,
        classify: Classify,
        *,
        max_batch: int = 32,
        max_wait: float = 0.002,
        max_pending: int = 256,
    ) -> None:
        """Starts the thread.

        Args:
            classify: called by that thread alone.
            max_batch: inputs that are computed together at most.
            max_wait: seconds that the first of a batch waits for others.
            max_pending: inputs that may wait.

        Raises:
            ValueError: if a number is impossible.
        """
        if max_batch < 1 or max_wait < 0 or max_pending < max_batch:
            raise ValueError(
                "expected 1 <= max_batch <= max_pending and max_wait of at least 0 seconds, got "
                f"{max_batch}, {max_pending} and {max_wait}"
            )
        self.classify, self.max_batch, self.max_wait = classify, max_batch, max_wait
        self.max_pending = max_pending
        self.sizes: deque[int] = deque(maxlen=LATEST)
        """inputs of the latest batches; a server that runs for months must not grow."""
        self.num_batches = self.num_inputs = 0
        """all that were computed so far."""
        self._waiting: deque[tuple[Tensor, Future[Tensor]]] = deque()
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._work, name="micro-batches", daemon=True)
        self._thread.start()

    def submit(self, image: Tensor) -> "Future[Tensor]":
        """Hands one input in, without its batch dimension: its logits [num_classes] some day.

        Raises:
            BusyError: if too many wait.
            RuntimeError: if it is closed.
        """
        answer: Future[Tensor] = Future()
        with self._changed:
            if not self._is_open:
                raise RuntimeError("expected open micro-batches, got closed ones; make new ones")
            if len(self._waiting) >= self.max_pending:
                raise BusyError(f"{self.max_pending} inputs are waiting; try again later")
            self._waiting.append((image, answer))
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Answers what is waiting, then ends the thread."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> "MicroBatches":
        """Itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Closes."""
        self.close()

    def _work(self) -> None:
        while batch := self._next():
            self.sizes.append(len(batch))
            self.num_batches += 1
            self.num_inputs += len(batch)
            self._answer(batch)

    def _answer(self, batch: list[tuple[Tensor, "Future[Tensor]"]]) -> None:
        try:
            logits = self.classify(torch.stack([image for image, _ in batch]))
            answered = list(zip(batch, logits, strict=True))
        except Exception as error:
            # One input that is none must not fail its neighbours: each is tried by itself.
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                for pair in batch:
                    self._answer([pair])
            return
        for (_, answer), row in answered:
            answer.set_result(row)

    def _next(self) -> list[tuple[Tensor, "Future[Tensor]"]]:
        while taken := self._taken():
            # Whoever has given up is not computed, and whoever is computed can no longer give up.
            if live := [pair for pair in taken if pair[1].set_running_or_notify_cancel()]:
                return live
        return []

    def _taken(self) -> list[tuple[Tensor, "Future[Tensor]"]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            end = time.monotonic() + self.max_wait
            while self._is_open and len(self._waiting) < self.max_batch:
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            count = min(self.max_batch, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]
