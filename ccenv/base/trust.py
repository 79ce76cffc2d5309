"""What a file may name: (its content, where names stand) -> nothing, or an error before any import.

A file from another person is data: an exported classifier, a run's folder, a file of settings, a
table of masks. This is the one place that decides which names in it are followed: those of the
project's own tables, and `module:name` of modules that the reader trusts by name (`--trust`).
Whatever reads such a file calls `check_named` on all of its content first.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ccenv.base.given_files import MOST_DEEP
from ccenv.base.registry import TABLES, import_object, nearest, today
from ccenv.base.values import shortened, shown

NOT_FOLLOWED = {
    "path": re.compile(r".*", re.DOTALL),
    "device": re.compile(r"\w+:\d+"),
    "dataset": re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*"),
}
"""Kind of a text -> what leads to no module: a place to write to, a device, and the reader's own
data by a name without a folder (a file, or a folder of images with their size behind an @)."""


def check_named(content: Any, places: Mapping[str, str], trusted: Sequence[str] = ()) -> None:
    """Refuses content that names code which is neither the project's nor trusted by the reader.

    Args:
        content: nested dicts, lists, texts and numbers of a file; nothing was followed yet.
        places: dotted place of a text -> its kind, a key of `TABLES` or `NOT_FOLLOWED`. A text that
            stands elsewhere may hold no `module:name` of a module that is not trusted, either.
        trusted: modules of the reader's own, each with all that lies below it.

    Raises:
        ValueError: naming the place and the text; nothing of an untrusted module was imported.
    """
    check_trust(trusted)
    for place, text in ((p, leaf) for p, leaf in leaves_of(content) if isinstance(leaf, str)):
        kind = places.get(place, "")
        if kind in NOT_FOLLOWED and NOT_FOLLOWED[kind].fullmatch(text):
            continue
        for name in names_in_text(text, kind):
            if kind in TABLES and is_in_table(name, kind):
                continue
            if ":" in name:
                import_trusted(name, place, trusted)
            elif kind in TABLES:
                table = import_object(TABLES[kind], "table")
                raise ValueError(f"unknown {place} {name!r}: {nearest(name, table)}")


def check_trust(trusted: Sequence[str]) -> None:
    """Refuses to trust a name without letters (ValueError): a shell's unset variable is no module.

    >>> check_trust(["my_module", ""])
    Traceback (most recent call last):
    ValueError: expected the name of a module (or the path of a zip) to trust, got ''; name it, or \
leave the option out
    """
    for name in trusted:
        if not str(name).strip():
            raise ValueError(
                "expected the name of a module (or the path of a zip) to trust, got "
                f"{shown(name)}; name it, or leave the option out"
            )


def names_in_text(text: str, kind: str) -> list[str]:
    """The names in a text: of transforms several, with numbers behind them; of others itself.

    >>> names_in_text("shift=2, my:crop", "transform")
    ['shift', 'my:crop']
    """
    if kind != "transform":
        return [text]
    return [part.partition("=")[0].strip() for part in text.split(",")]


def is_in_table(name: str, kind: str) -> bool:
    """Whether a name is a table's, or the `module:name` of one of its entries."""
    table: Iterable[str] = import_object(TABLES[kind], "table")
    if name in table:
        return True
    entries = table.values() if isinstance(table, Mapping) else ()
    return today(name) in {path_of_entry(entry) for entry in entries} - {""}


def path_of_entry(entry: Any) -> str:
    """`module:name` of a table's entry; empty of what has none."""
    if isinstance(entry, str):
        return entry
    module, name = (getattr(entry, word, "") for word in ("__module__", "__qualname__"))
    return f"{module}:{name}" if module and name else ""


def import_trusted(path: str, kind: str, trusted: Sequence[str]) -> Any:
    """Imports `module:attribute` that a file names, if its module is trusted (else ValueError)."""
    path = today(path)
    module = path.partition(":")[0]
    if not is_below(module, trusted):
        raise ValueError(
            f"expected {kind} to be a name of the project's own tables, got {shown(path)}, which "
            "was not imported: what a file names is not followed; if the module is yours, trust "
            f"it: --trust {shortened(module)}, or trust=({shown(module)},)"
        )
    code = import_object(path, kind)
    home = getattr(code, "__module__", None)
    # A module that is trusted has imported others: `my_module:rmtree` is not its own.
    if not isinstance(home, str) or not is_below(home, trusted):
        raise ValueError(f"expected {kind} {path!r} to be defined in {module}, got one of {home}")
    return code


def is_below(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of several packages, or lies below one.

    >>> [is_below(name, ["my"]) for name in ("my", "my.agents", "mydata")]
    [True, True, False]
    """
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def leaves_of(node: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """All that nested content holds, with dotted places; ValueError beyond `MOST_DEEP`."""
    if depth > MOST_DEEP:
        raise ValueError(f"expected content nested at most {MOST_DEEP} deep, got more at {place}")
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves_of(value, f"{place}.{key}" if place else str(key), depth + 1)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from leaves_of(value, place, depth + 1)
    else:
        yield place, node
