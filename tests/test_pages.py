"""Law 13: what the README and the documentation promise runs; their tables are the code's."""

import inspect
import json
import os
import re
import shlex
import sys
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

import ccenv
from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.envs.infos import INFO_KEYS
from ccenv.runs.commands import cli
from ccenv.runs.commands.cli import COMMANDS
from ccenv.runs.engine import run
from ccenv.runs.lab.docs_build.facts import PROMISED
from ccenv.runs.lab.docs_build.links import absolute, project_address
from ccenv.runs.lab.docs_build.notebook import NOTEBOOKS
from ccenv.runs.lab.docs_build.program import main as docs
from ccenv.runs.lab.docs_build.program import rendered
from ccenv.runs.lab.docs_build.stage import stage

ROOT = Path(__file__).resolve().parent.parent
DOCS, RESULTS = ROOT / "runs" / "docs", ROOT / "runs" / "results" / "README.md"
PAGES = [ROOT / "README.md", RESULTS, *sorted(DOCS.rglob("*.md"))]
FILE = re.compile(r"# (\w+\.(?:py|toml))\n")
# What these need (the network, minutes, or a person who looks) no test has; they are run by hand,
# and the sweeps by their miniatures in test_compare.py.
BY_HAND = (
    "pip install",
    "uvx",
    "git worktree",
    "tensorboard",
    # On tables of masks that are built beforehand.
    "V=",
    "python -m ccenv.runs.lab",
)
LONG, SHORT = "model.learn(200_000)", "model.learn(512)"
"""What takes ten seconds, and what shows that it runs."""
SMALL = {"images": "256", "batch_size": "128"}
TEXT, NOTES = "python_bundled@128", "./notes@128"
"""A text that takes ten seconds to be judged on, and the reader's own."""
GATE = DOCS / "gate.md"
"""Its blocks are those of tests/ccenv/networks/test_gate.py."""
WITH_CODE = [page for page in PAGES if "```python" in page.read_text() and page != GATE]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line]


def links(text):
    """Where the links of a text lead, without the marks of headings; code has none."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)", prose) + re.findall(r'src(?:set)?="([^"]+)"', prose)
    return [to for to in targets if "://" not in to]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, as a reader's; modules that its files define are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    # Times are no law's.
    monkeypatch.setattr(run, "latencies", lambda plan, env, agent: [])
    monkeypatch.syspath_prepend(str(tmp_path))
    # A page sets it; what it is now comes back.
    was = os.environ.get("CCENV_DATA")
    monkeypatch.setenv("CCENV_DATA", was or "")
    if was is None:
        monkeypatch.delenv("CCENV_DATA")
    return tmp_path


def split_files(page, folder, monkeypatch):
    """Writes a page's blocks that begin with `# name.py` to files; returns the others."""
    others = []
    for block in (*blocks(page, "python"), *blocks(page, "toml")):
        if match := FILE.match(block):
            (folder / match[1]).write_text(block)
            monkeypatch.delitem(sys.modules, match[1].removesuffix(".py"), raising=False)
        else:
            others.append(block)
    return others


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs(page, folder, monkeypatch, capsys):
    if page == DOCS / "howto" / "torchrl.md":
        pytest.importorskip("torchrl", reason="the extra torchrl is not installed")
    names = {"__name__": "__main__"}
    for block in split_files(page, folder, monkeypatch):
        block = block.replace(LONG, SHORT)
        exec(compile(block, name_of(page), "exec"), names)


def own_data(folder):
    """A reader's images in class folders, and a text."""
    for name, colour in (("daisy", "white"), ("rose", "red")):
        (folder / "flowers" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (40, 30), colour).save(folder / "flowers" / name / f"{number}.png")
    (folder / "notes").mkdir()
    for number in range(20):
        (folder / "notes" / f"{number}.txt").write_text(
            f"note {number}: a gate chooses blocks. " * 9
        )


TRAININGS = {
    command: page for page in PAGES for command in commands(page) if "ccenv train" in command
}


@pytest.mark.parametrize("command", TRAININGS)
def test_the_trainings_of_a_page_run(command, folder, monkeypatch, capsys):
    try:
        for name in re.findall(r"\bdataset=(\w+)(?= |$)", command):
            load_split(name, "test")
    except FileNotFoundError as error:
        pytest.skip(str(error))  # Some pages train on images that come with no package.
    if "network=writer:" in command:
        pytest.importorskip("transformers", reason="transformers is not installed")
    own_data(folder)
    split_files(TRAININGS[command], folder, monkeypatch)
    replaced = {*SMALL, "log_dir"}
    words = shlex.split(command.replace(TEXT, NOTES))[1:]
    kept = [word for word in words if word.split("=")[0] not in replaced]
    small = [f"{name}={value}" for name, value in SMALL.items()]
    assert cli.main([*kept, *small, f"log_dir={folder}/logs"]) == 0
    num_results = len(list(folder.rglob("result.json")))
    assert num_results == 1


def test_every_command_of_a_page_is_run_here_or_known_to_be_run_by_hand():
    names = [f"ccenv {name}" for name in COMMANDS]
    for page in PAGES:
        for command in commands(page):
            assert command.startswith((*names, *BY_HAND)), (page, command)


def test_every_relative_link_leads_somewhere():
    for page in PAGES:
        for link in links(page.read_text()):
            assert (page.parent / link).exists(), (page, link)


def test_the_readme_is_short_and_every_page_and_program_can_be_found():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
    index = (DOCS / "index.md").read_text()
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert name == "index" or f"\n{name}\n" in index, name
    listed = (DOCS / "reference" / "commands.md").read_text()
    assert all(f"`ccenv {name}`" in listed for name in COMMANDS)


def test_tables_of_the_reference_are_those_of_the_code(capsys):
    assert docs(["--check"]) == 0, capsys.readouterr().out


def test_every_environment_has_a_section_with_a_picture_if_it_renders():
    text = (DOCS / "reference" / "environments.md").read_text()
    assert re.findall(r"^## (BlockSelection.*)$", text, re.MULTILINE) == list(ccenv.ENVIRONMENTS)
    assert rendered()
    for name in rendered():
        picture = DOCS / "pictures" / f"{name}.png"
        assert f"](../pictures/{picture.name})" in text
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 60_000


def test_every_promised_function_and_class_has_an_example():
    names = {*PROMISED, *(f"ccenv.{name}" for name in ccenv.__all__)}
    promised = {name: resolve(":".join(name.rsplit(".", 1)), {}, "name") for name in names}
    called = {name: one for name, one in promised.items() if callable(one)}
    assert len(called) > 30
    assert not [name for name, one in called.items() if ">>> " not in (inspect.getdoc(one) or "")]


def test_pages_count_the_tasks_of_the_suite():
    counts = {
        (path.name, *map(int, numbers))
        for path in PAGES
        for numbers in re.findall(r"(\d+) tasks of (\d+) skills", path.read_text())
    }
    tasks = [*ccenv.suite()]
    counted = len(tasks), len({task.skill for task in tasks})
    assert counts == {(page, *counted) for page in ("changelog.md", "features.md")}


def test_every_key_of_info_is_explained():
    env = ccenv.BlockSelectionVectorEnv(2, dataset="synthetic", num_blocks=[4], weights="cotrain")
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[-1]
    told = {key for key in info if not key.startswith(("_", "final_", "reward/"))}
    assert told == {key for key in INFO_KEYS if "<" not in key}


def test_the_address_of_the_project_stands_in_one_place_and_makes_every_link_absolute():
    address, readme = project_address(ROOT), (ROOT / "README.md").read_text()
    texts = {page: page.read_text() for page in [*PAGES, ROOT / "CITATION.cff"]}
    assert not [page for page, text in texts.items() if address in text or "git clone" in text]
    text = absolute(readme, PurePosixPath("README.md"), address)
    assert links(readme)
    assert not links(text)
    assert f"{address}/blob/main/runs/docs/index.md" in text


def test_results_are_pages_that_their_index_leads_to_and_no_staged_link_leads_nowhere(tmp_path):
    stage(ROOT, tmp_path / "pages")
    pages = tmp_path / "pages"
    index = (pages / "results" / "index.md").read_text()
    for page in (DOCS / "results").glob("*.md"):
        assert (pages / "results" / page.name).read_text().startswith("# ")
        assert page.name in index
    for page in pages.rglob("*.md"):
        for link in links(page.read_text()):
            assert (page.parent / link).exists(), (page, link)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_comes_with_what_its_cells_said(name):
    text = (DOCS / "notebooks" / f"{name}.ipynb").read_text()
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code)
    outputs = json.dumps([cell["outputs"] for cell in code]).lower()
    assert not [trace for trace in ("error:", "traceback", "/tmp/") if trace in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(DOCS / "notebooks" / f"{name}.ipynb", as_version=4)
    here = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=here).execute()
    assert not [
        o for c in notebook.cells for o in c.get("outputs", []) if "error:" in str(o).lower()
    ]


@pytest.mark.slow
def test_the_documentation_is_built_without_a_warning(tmp_path):
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name)
    assert docs(["--out", str(tmp_path / "html")]) == 0
    html = tmp_path / "html"
    assert (html / "tutorials" / "train.html").is_file()
    shown = re.findall(r'src(?:set)?="(pictures/[^"]+)"', (html / "index.html").read_text())
    assert len(shown) == 2
    assert all((html / name).is_file() for name in shown)
