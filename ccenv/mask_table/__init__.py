"""Tables of all masks: (frozen network, split) -> what each mask answers for each input."""

from ccenv.mask_table.build import Plan, build
from ccenv.mask_table.exact import (
    Optimum,
    Outcomes,
    gradient,
    optimum,
    regret,
    rewards,
    value,
)
from ccenv.mask_table.fronts import (
    PolicyPoint,
    UnitPoint,
    best_static,
    front,
    gap_closed,
    judge_policy,
    oracle_errors,
)
from ccenv.mask_table.header import Header
from ccenv.mask_table.menus import Menu, all_masks, drawn_menu, menus_of, number_of
from ccenv.mask_table.policy_file import read_policy, write_policy
from ccenv.mask_table.table import MaskTable, read_table, write_table

__all__ = [
    "Header",
    "MaskTable",
    "Menu",
    "Optimum",
    "Outcomes",
    "Plan",
    "PolicyPoint",
    "UnitPoint",
    "all_masks",
    "best_static",
    "build",
    "drawn_menu",
    "front",
    "gap_closed",
    "gradient",
    "judge_policy",
    "menus_of",
    "number_of",
    "optimum",
    "oracle_errors",
    "read_policy",
    "read_table",
    "regret",
    "rewards",
    "value",
    "write_policy",
    "write_table",
]
