"""Studies: name -> one question, the sweep that answers it, and what its report adds.

A sweep is a TOML file in its question's folder, named as the sweep; `ccenv.runs.config.sweep_file`
says what it holds. Budgets in it add tables of methods at equal budgets; what else a report adds is
code, by name in `SECTIONS`. A study of yours is a file, or a `Study` or a bare `Sweep` in a module:
`ccenv compare my_sweep.toml`, `ccenv compare my_module:MY_STUDY`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccenv.base.registry import import_object, resolve
from ccenv.base.values import shown
from ccenv.runs.config.sweep import OnUse, Sweep
from ccenv.runs.config.sweep_file import read_sweep
from ccenv.runs.engine.study import Study

FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*/*.toml"))}
"""Sweep -> its file."""
PAPER = "ccenv.runs.studies.paper.figures"
SECTIONS = {
    "mnist-condnet": f"{PAPER}:FIG_1",
    "paper-mnist": f"{PAPER}:FIG_1",
    "paper-front": f"{PAPER}:FIG_3",
    "paper-lambda-s": f"{PAPER}:FIG_5A",
    "paper-lambda-v": f"{PAPER}:FIG_5B",
    "paper-mnist-density": f"{PAPER}:FIG_5_7",
    "rloo-why": "ccenv.runs.studies.sections:ABLATION",
    "systems": "ccenv.runs.studies.systems:COMPARED",
    "text-agents": "ccenv.runs.studies.sections:TUNED",
}
"""Sweep -> what its report adds, imported on use."""


def shipped_study(name: str) -> Study:
    """The study of a name in `FILES`."""
    study = find_study(read_sweep(FILES[name]))
    added = (import_object(SECTIONS[name], "section"),) if name in SECTIONS else ()
    return Study(study.sweep, study.sections + added)


STUDIES = OnUse(FILES, shipped_study)
"""Studies by name; a file is read when its name is asked for."""


def find_study(name: Any, trusted: Sequence[str] = ()) -> Study:
    """A study by the name of a sweep, by a file that ends in `.toml` or by `module:name`.

    Args:
        name: as given; a `Sweep` or a `Study` passes.
        trusted: modules of the reader's own that a file may name, see `ccenv.base.trust`.

    Raises:
        ValueError: if there is none; the nearest right name is suggested.
    """
    if isinstance(name, str) and name.endswith(".toml"):
        study: Any = read_sweep(Path(name), trusted)
    else:
        study = resolve(name, STUDIES, "sweep")
    if isinstance(study, Sweep):
        try:
            # Tables at the budgets that any sweep may name.
            from ccenv.runs.studies.sections import budget_sections

            return Study(study, budget_sections(study))
        except ValueError as error:
            raise ValueError(f"{name if isinstance(name, str) else study.name}: {error}") from error
    if not isinstance(study, Study):
        raise ValueError(f"expected {shown(name)} to be a Sweep or a Study, got {shown(study)}")
    return study
