"""Tables of all masks: (frozen network, split) -> what each mask answers for each input.

Reading, judging and playing tables needs numpy alone; what builds them imports torch on use.
"""

from typing import TYPE_CHECKING

from ccenv.annexes.mask_table.exact import (
    Optimum,
    Outcomes,
    gradient,
    optimum,
    regret,
    rewards,
    value,
)
from ccenv.annexes.mask_table.fronts import (
    UnitPoint,
    front,
    oracle_errors,
)
from ccenv.annexes.mask_table.header import Header, Menu, all_masks, menus_of
from ccenv.annexes.mask_table.table import MaskTable, read_table, shipped_table, small, write_table
from ccenv.base.registry import names_on_use

if TYPE_CHECKING:
    from ccenv.annexes.mask_table.builder import BuildPlan, build, drawn_menu

__all__ = [
    "BuildPlan",
    "Header",
    "MaskTable",
    "Menu",
    "Optimum",
    "Outcomes",
    "UnitPoint",
    "all_masks",
    "build",
    "drawn_menu",
    "front",
    "gradient",
    "menus_of",
    "optimum",
    "oracle_errors",
    "read_table",
    "regret",
    "rewards",
    "shipped_table",
    "small",
    "value",
    "write_table",
]


__getattr__ = names_on_use(__name__, {"builder": ["BuildPlan", "build", "drawn_menu"]})
