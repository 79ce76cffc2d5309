"""Files of strangers have one reader: plain, of limited size, with content to show."""

import ast
import json
import os
import re
import threading

import pytest
from test_architecture import FILES, ROOT

from ccenv.agents.foreign import open_policies
from ccenv.annexes.mask_table.table import read_table
from ccenv.base.files import read_parts
from ccenv.base.given_files import check_content, read_json, read_text, read_toml
from ccenv.runs.config.command import read_config
from ccenv.runs.config.sweep_file import read_sweep
from ccenv.runs.store.recorded import read_table as read_record
from ccenv.runs.store.untrusted_files import stored_file
from ccenv.runs.suite.scores import read_score

READERS = {
    "read_text": (read_text, "run.txt"),
    "read_json": (read_json, "run.json"),
    "read_toml": (read_toml, "sweep.toml"),
    "read_parts": (read_parts, "file"),
    "read_table": (read_table, "table.safetensors"),
    "read_sweep": (read_sweep, "sweep.toml"),
    "read_config": (read_config, "config.json"),
    "read_record": (read_record, "sweep.json"),
    "read_score": (read_score, "score.json"),
    "open_policies": (open_policies, "a2c.zip"),
    "stored_file": (lambda path: stored_file(path.parent, path.name), "result.json"),
}
"""Name -> a reader, and a name of its files."""
OPENED_ELSEWHERE = {
    "ccenv/base/given_files.py": "the reader itself",
    "ccenv/base/files.py": "a file that was just written, to bring it to disk",
    "ccenv/base/machine.py": "what the system says of the machine",
    "ccenv/sparse/cpu/codegen/compiled.py": "sources of the package, and a stamp in the cache",
    "ccenv/rewards/latency.py": "sources of the package",
    "ccenv/data/toy.py": "data of the package",
    "ccenv/minimal.py": "data of the package",
    "ccenv/data/npz.py": "the user's own data, whose unpacked size is looked at first",
    "ccenv/annexes/data/files.py": "the user's own data",
    "ccenv/annexes/networks/pretrained/packages.py": "installed packages, by their checksums",
    "runs/studies/paper/numbers.py": "data of the package",
    "runs/tables/drawing.py": "a picture in memory",
    "runs/commands/frame.py": "nowhere, to write to",
}
"""Files that open others, and which."""


def refused(reader, path, expected):
    """Whether a reader refuses a path in a line, within seconds; it must not wait for a pipe."""
    said = []

    def read():
        try:
            reader(path)
        except (OSError, ValueError) as error:
            said.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(timeout=20)
    if not said:
        pytest.fail(f"{reader} took {path}, or waits for it")
    assert re.search(expected, said[0])
    assert "\n" not in said[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have a name")
@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_pipe_or_reads_a_device(name, tmp_path):
    reader, file = READERS[name]
    os.mkfifo(tmp_path / file)
    refused(reader, tmp_path / file, "pipe")
    (tmp_path / file).unlink()
    (tmp_path / file).symlink_to("/dev/zero")
    refused(reader, tmp_path / file, "a device|got a link")


@pytest.mark.parametrize("name", READERS)
def test_no_reader_opens_a_folder_or_a_file_that_is_too_large(name, tmp_path):
    reader, file = READERS[name]
    with (tmp_path / file).open("wb") as large:
        # Without content on a disk.
        large.truncate(2**35)
    refused(reader, tmp_path / file, "expected at most [0-9,]+ bytes")


CONTENT = {
    "a number of 400 digits": ("1" * 400, "64 bits"),
    "a number of 5,000 digits": ("1" * 5000, "expected JSON"),
    "a number that is not finite": ("1e999", "finite"),
    "NaN": ("NaN", "finite"),
    "a letter that commands a terminal": ('"\\u001b[2J"', "printable"),
    "a name that commands a terminal": ('{"\\u001b[2J": {}}', "printable"),
    "a line that turns its direction": ('"\\u202eabc"', "printable"),
    "lists in lists": ("[" * 40 + "]" * 40, "32 deep"),
    "lists in lists beyond Python's stack": ("[" * 100_000 + "]" * 100_000, "expected JSON"),
    "half a file": ('{"a": [', "expected JSON"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_what_no_file_of_ours_holds_is_refused_in_a_line_that_names_the_file(name, tmp_path):
    content, expected = CONTENT[name]
    path = tmp_path / "content.json"
    path.write_text(f'{{"error": 0.5, "rows": [{content}]}}')
    refused(read_json, path, expected)
    refused(read_json, path, re.escape(str(path)))


@pytest.mark.parametrize("reader", [read_json, read_toml, read_text])
def test_bytes_that_are_no_text_are_refused_in_a_line_that_names_the_file(reader, tmp_path):
    path = tmp_path / "content.json"
    path.write_bytes(b"\xff\xfe")
    refused(reader, path, f"^expected text in UTF-8 in {re.escape(str(path))}, got other bytes")


def test_records_of_the_package_are_read_as_they_are():
    for path in (ROOT / "runs/suite/recorded.json", *(ROOT / "runs/results").glob("q*.json")):
        assert read_json(path) == json.loads(path.read_text())


def test_texts_in_other_writing_and_whole_numbers_of_64_bits_are_content():
    check_content(["Größe", "名前　二", 2**63 - 1, -(2**63) + 1, None, True, 1e300])


def opens(path):
    """Whether code opens files to read them."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = [ast.unparse(call.func) for call in calls]
    of_path = (".open", ".read_text", ".read_bytes")
    loaders = {"open", "json.load", "tomllib.load", "tomllib.loads", "np.load", "pickle.load"}
    return any(name.endswith(of_path) or name in loaders for name in names)


def test_nothing_else_opens_files():
    """A new way to read a file is either the one reader's, or stands here with its reason."""
    own = [path.relative_to(ROOT).as_posix() for path in FILES if opens(path)]
    assert {one for one in own if not one.startswith("runs/lab/")} == {*OPENED_ELSEWHERE}
