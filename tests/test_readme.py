"""Law 13: every command and code block of the README runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "runs" / "results" / "README.md").read_text()


def code_blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [
    line
    for text in (TEXT, RESULTS)
    for block in code_blocks("bash", text)
    for line in block.splitlines()
]
TRAININGS = [c for c in COMMANDS if c.startswith("ccenv train")]
NETWORKS_PAGE = (ROOT / "runs" / "docs" / "networks.md").read_text()
SNIPPETS = [b for b in code_blocks("python") if not b.startswith("# my_module.py")]
SNIPPETS += code_blocks("python", NETWORKS_PAGE)
SNIPPETS += code_blocks("python", (ROOT / "runs" / "docs" / "table.md").read_text())
# What these need (the network, minutes, or a person who looks) no test has; they are run by hand,
# and the sweeps by their miniatures in test_sweeps.py.
BY_HAND = (
    *("pip install", "tensorboard", "ccenv compare", "ccenv benchmark"),
    *("ccenv validate", "ccenv tables", "ccenv gates"),
)


@pytest.fixture
def run_like_a_user(tmp_path):
    """Runs a command in a folder that holds the README's my_module.py."""
    (module,) = (b for b in code_blocks("python") if b.startswith("# my_module.py"))
    (tmp_path / "my_module.py").write_text(module)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_readmes_code_runs(snippet, run_like_a_user):
    run_like_a_user("-c", snippet)


@pytest.mark.parametrize("command", TRAININGS)
def test_the_readmes_trainings_run(command, run_like_a_user, tmp_path):
    if "MNIST" in command and not has_mnist():
        pytest.skip("CCENV_DATA holds no MNIST")
    arguments = [
        "-m",
        "ccenv.runs.cli",
        *command.split()[1:],
        "images=512",
        "batch_size=128",
        f"log_dir={tmp_path}/logs",
    ]
    run_like_a_user(*arguments)
    assert len(list(tmp_path.rglob("result.json"))) == 1


def test_every_command_of_the_readme_is_tested_or_known_to_be_run_by_hand():
    for command in COMMANDS:
        assert command.startswith(("ccenv train", *BY_HAND)), command


@pytest.mark.parametrize(
    "program",
    [
        *("train", "compare", "benchmark", "gates", "table", "tables", "validate", "write", "list"),
        *("export", "serve"),
    ],
)
def test_every_program_explains_itself(program, run_like_a_user):
    assert "usage" in run_like_a_user("-m", f"ccenv.runs.{program}", "--help")


LINKS = [
    (file, link)
    for file in (ROOT / "README.md", *(ROOT / "runs").glob("*/*.md"))
    for link in re.findall(r"\]\(([^)#]+)\)", file.read_text())
    if "://" not in link
]


@pytest.mark.parametrize(("file", "link"), LINKS)
def test_every_link_of_the_readmes_leads_somewhere(file, link):
    assert (file.parent / link).exists()


def has_mnist() -> bool:
    root = os.environ.get("CCENV_DATA")
    return bool(root) and (Path(root) / "MNIST" / "raw").exists()
