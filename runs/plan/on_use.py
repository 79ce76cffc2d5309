"""Tables whose values are made when they are asked for: names and a function -> a mapping."""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import TypeVar

Value = TypeVar("Value")


class OnUse(MutableMapping[str, Value]):
    """A mapping that knows its names at once, and makes each value once, on use.

    >>> lengths = OnUse(["one", "three"], len)
    >>> list(lengths), lengths["three"]
    (['one', 'three'], 5)
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], Value]) -> None:
        """Takes names and what makes a value of one."""
        self._values: dict[str, Value | None] = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> Value:
        value = self._values[name]
        if value is None:
            value = self._values[name] = self._make(name)
        return value

    def __setitem__(self, name: str, value: Value) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values
