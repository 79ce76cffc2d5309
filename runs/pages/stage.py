"""What Sphinx reads: a checkout -> a folder of pages, results split a page a study, pictures."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ccenv.runs.pages.links import BRANCH, moved, project_address, target
from ccenv.runs.pages.promised import PROMISED, TABLES
from ccenv.runs.pages.site import PICTURES

DOCS, RESULTS = PurePosixPath("runs/docs"), PurePosixPath("runs/results/README.md")
STUDY = re.compile(r"^## (.+)$", re.MULTILINE)
API = "reference/api.md"


def slug(heading: str) -> str:
    """The mark of a heading, as GitHub and MyST make it.

    >>> slug("The next byte of text: where choosing pays")
    'the-next-byte-of-text-where-choosing-pays'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def stage(root: Path, folder: Path) -> None:
    """Writes all pages; their links lead to pages, copied pictures, or the project's site.

    Args:
        root: the checkout.
        folder: an empty folder.
    """
    studies = split_studies((root / RESULTS).read_text())
    staged = Stage(root, folder, {slug(heading) for heading in studies})
    for path in sorted((root / DOCS).rglob("*.md")):
        page = PurePosixPath(path.relative_to(root).as_posix())
        text = path.read_text() + (directives() if str(page).endswith(API) else "")
        staged.write(page.relative_to(DOCS), text, page)
    for heading, text in studies.items():
        staged.write(PurePosixPath(f"results/{slug(heading)}.md"), text, RESULTS)
    head = STUDY.split((root / RESULTS).read_text(), maxsplit=1)[0]
    staged.write(PurePosixPath("results/index.md"), head + contents(studies), RESULTS)


def split_studies(text: str) -> dict[str, str]:
    r"""The results' README -> heading of each study: a page of its own.

    >>> split_studies("# All\n\n## One\nText\n\n### Part\n")
    {'One': '# One\nText\n\n## Part\n'}
    """
    parts = STUDY.split(text)[1:]
    bodies = [body.replace("\n### ", "\n## ") for body in parts[1::2]]
    pairs = zip(parts[::2], bodies, strict=True)
    return {heading: f"# {heading}{body}" for heading, body in pairs}


def contents(studies: Mapping[str, str]) -> str:
    """The list of the studies' pages."""
    names = "\n".join(slug(heading) for heading in studies)
    return f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"


def directives() -> str:
    """What Sphinx's autodoc shows of every promised name."""
    parts = []
    for name in PROMISED:
        if name in TABLES:
            continue
        is_class = name.rpartition(".")[2][0].isupper()
        kind, more = ("autoclass", "\n   :members:") if is_class else ("autofunction", "")
        parts.append(f"```{{eval-rst}}\n.. {kind}:: {name}{more}\n```\n")
    return "\n".join(["", "## In full", "", *parts])


class Stage:
    """A folder that fills up with pages."""

    def __init__(self, root: Path, folder: Path, studies: set[str]) -> None:
        """Remembers where things are.

        Args:
            root: the checkout.
            folder: where pages go.
            studies: marks of the headings that become pages.
        """
        self.root, self.folder, self.studies = root, folder, studies
        self.address = project_address(root)

    def write(self, place: PurePosixPath, text: str, page: PurePosixPath) -> None:
        """Writes one page.

        Args:
            place: in the folder.
            text: of the page, as the checkout has it.
            page: path in the checkout that its links start from.
        """
        up = "../" * (len(place.parts) - 1)

        def move(link: str, is_picture: bool) -> str:
            path, mark = target(link, page)
            if is_picture:
                return up + self.copied(path)
            if path == RESULTS:
                return f"{up}results/{self.study_page(mark)}"
            if path.is_relative_to(DOCS) and path.suffix == ".md":
                return f"{up}{path.relative_to(DOCS)}{mark}"
            return f"{self.address}/blob/{BRANCH}/{path}{mark}"

        if page == RESULTS:
            # Marks of one long page lead to pages now.
            text = re.sub(
                r"\]\((#[\w-]+)\)", lambda m: f"]({PurePosixPath(RESULTS).name}{m[1]})", text
            )
        out = self.folder / place
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(moved(text, move))

    def study_page(self, mark: str) -> str:
        """The page of a mark of the results' README."""
        name = mark.removeprefix("#")
        return f"{name}.md" if name in self.studies else "index.md"

    def copied(self, picture: PurePosixPath) -> str:
        """Copies a picture beside the pages; its place from the folder.

        Raises:
            ValueError: if a page names a picture that is not there.
        """
        if not (self.root / picture).is_file():
            raise ValueError(
                f"expected {picture}, which a page shows, got no such file; "
                "ccenv tables PAGE --figures draws pictures of recorded results"
            )
        (self.folder / PICTURES).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.root / picture, self.folder / PICTURES / picture.name)
        return f"{PICTURES}/{picture.name}"
