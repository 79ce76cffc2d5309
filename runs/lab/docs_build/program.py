"""Builds the documentation: lab docs -> HTML; --write, --check, --execute, --pictures."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from ccenv.envs import ENVIRONMENTS
from ccenv.envs.rendering import png
from ccenv.runs.commands.frame import Parser, program
from ccenv.runs.lab.docs_build.facts import differing
from ccenv.runs.lab.docs_build.notebook import NOTEBOOKS, differing_notebooks, executed
from ccenv.runs.lab.docs_build.site import PICTURES, build_site, check_tools
from ccenv.runs.lab.docs_build.stage import DOCS, stage


def checkout() -> Path:
    """The folder that holds `runs/docs`."""
    root = Path(__file__).resolve().parents[3]
    if not (root / DOCS / "index.md").is_file():
        raise ValueError(
            f"expected a checkout with {DOCS}/index.md, got {root}; the wheel has no pages: "
            "clone the repository and pip install -e it"
        )
    return root


def build(root: Path, out: Path) -> int:
    """Builds HTML of a checkout.

    Returns:
        The exit status.
    """
    check_tools()
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "pages"
        stage(root, staged)
        status = build_site(staged, out)
    if not status:
        print(out / "index.html")
    return status


def execute(root: Path) -> int:
    """Runs the notebooks of a checkout anew and writes them with their outputs."""
    for name in NOTEBOOKS:
        path = root / DOCS / "notebooks" / f"{name}.ipynb"
        path.write_text(executed(path.read_text()))
        print(path.relative_to(root))
    return 0


def draw(root: Path) -> int:
    """Draws an episode of random actions of every environment that renders pictures."""
    for name in rendered():
        env = gym.make(name, render_mode="rgb_array")
        env.action_space.seed(0)
        env.reset(seed=0)
        is_over = False
        while not is_over:
            is_over = env.step(env.action_space.sample())[2]
        path = root / DOCS / PICTURES / f"{name}.png"
        path.write_bytes(png(np.asarray(env.render())))
        print(path.relative_to(root))
    return 0


def rendered() -> list[str]:
    """Environments that render pictures."""
    classes: dict[str, Any] = {
        name: load_env_creator(str(gym.spec(name).entry_point)) for name in ENVIRONMENTS
    }
    return [name for name, one in classes.items() if "rgb_array" in one.metadata["render_modes"]]


@program("lab docs")
def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the documentation as HTML; see --help."""
    parser = Parser(prog="lab docs", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/docs"), help="folder of the HTML")
    parser.add_argument("--write", action="store_true", help="write generated tables and notebooks")
    parser.add_argument(
        "--check", action="store_true", help="fail if generated tables or notebooks differ"
    )
    parser.add_argument(
        "--execute", action="store_true", help="run the notebooks and store their outputs (minutes)"
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="draw an episode of each environment (needs MNIST, CIFAR-10 and SVHN; minutes)",
    )
    options = parser.parse_args(arguments)
    root = checkout()
    if options.execute:
        return execute(root)
    if options.pictures:
        return draw(root)
    if not (options.write or options.check):
        return build(root, options.out)
    changed = differing(root / DOCS) | differing_notebooks(root, DOCS)
    for page, text in changed.items():
        if options.write:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text)
        print(f"{page.relative_to(root)}: {'written' if options.write else 'differs'}")
    return int(options.check and bool(changed))
