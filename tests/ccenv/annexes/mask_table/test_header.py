"""Laws of a table's header: a field of another type or out of range is refused in a line."""

import functools
import json

import numpy as np
import pytest

from ccenv.annexes.mask_table.header import CHECKS, header_from, header_text
from ccenv.annexes.mask_table.table import (
    FOLDER,
    KIND,
    SHIPPED,
    arrays_of,
    read_table,
    shipped_table,
)
from ccenv.base.files import DamagedFileError, write_arrays

HUGE, MISSING = 10**400, object()
ODD = [
    *(MISSING, None, True, -5, 0, 0.5, 1.0, HUGE, float("nan"), "", "7", "\x1b[2J", "[[["),
    *([], [[]], {}, [7], [None], [["a", 1, "zero"]], {"a": float("inf")}),
]
INSIDE = {
    "gates": [
        *(["g", blocks, "zero"] for blocks in (0, -1, True, 1.0, None, "1", 10_000, HUGE)),
        *(["g", 5, skipped] for skipped in ("gone", ["zero"], None, 0)),
        *([7, 5, "zero"], ["\n", 5, "zero"], ["g", 5], ["g", 5, "zero", 1], "abc", {}),
    ],
    "menus": [
        *({"num_blocks": blocks, "masks": None} for blocks in (0, -1, 1.0, None, "1", 49, HUGE)),
        *({"num_blocks": 5, "masks": m} for m in ([], ["2" * 5], ["0"], ["00000"] * 2, [0], "0")),
        *({}, {"num_blocks": 5}, {"num_blocks": 5, "masks": None, "more": 1}, [5, None]),
    ],
}
"""Instead of a list's first entry."""


@functools.cache
def text_of():
    return header_text(shipped_table("mlp").header)


def fields_of():
    return json.loads(text_of())


def changed(name, value):
    fields = fields_of() | {name: value}
    return {name: one for name, one in fields.items() if one is not MISSING}


def refused(fields):
    """Whether a header is refused in a line of ours; any other error ends the test."""
    try:
        header_from(json.dumps(fields))
    except ValueError as error:
        said = str(error)
        assert said.startswith("expected")
        assert "\n" not in said
        assert len(said) < 700
        return True
    return False


def fits(name, value):
    """Whether an odd value is a right one."""
    if name in ("network", "weights", "dataset", "data"):
        return value in ("", "7", "[[[")
    empty = {"split": "", "settings": {}, "made_with": {}, "transforms": []}
    is_left_out = name in ("made_with", "unknown") and value is MISSING
    return is_left_out or (name in empty and value == empty[name])


@pytest.mark.parametrize("name", [*CHECKS, "version", "unknown"])
def test_a_field_that_is_missing_of_another_type_or_out_of_range_is_refused(name):
    for value in ODD:
        assert refused(changed(name, value)) != fits(name, value), value
    for value in INSIDE.get(name, ()):
        assert refused(changed(name, [value, *fields_of()[name][1:]])), value


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "{}", "[" * 100_000, "9" * 5000, '{"a": '])
def test_what_is_no_header_is_refused(text):
    with pytest.raises(DamagedFileError, match="expected the header of a table of masks, got"):
        header_from(text)


def test_settings_within_settings_have_an_end():
    assert refused(changed("settings", {"a": json.loads("[" * 500 + "]" * 500)}))


@pytest.mark.parametrize("name", ["look", "macs", "right", "bills"])
def test_arrays_are_those_of_the_header_or_refused(name, tmp_path):
    table = shipped_table("mlp")
    texts = {"kind": KIND, "header": header_text(table.header)}
    for shape in ((), (0,), (1,), (3, 0), (1, 1, 1)):
        parts = arrays_of(table)
        parts[name] = np.zeros(shape, parts[name].dtype)
        write_arrays(tmp_path / "t.safetensors", parts, texts)
        with pytest.raises(DamagedFileError, match=f"expected {name}"):
            read_table(tmp_path / "t.safetensors")
    del parts[name]
    write_arrays(tmp_path / "t.safetensors", parts, texts)
    with pytest.raises(DamagedFileError, match="another kind of file"):
        read_table(tmp_path / "t.safetensors")


def test_every_table_of_the_package_is_read():
    assert len([read_table(path) for path in FOLDER.glob("*.safetensors")]) == 2 * len(SHIPPED)
