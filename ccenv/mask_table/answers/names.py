"""Checks names of entries: (a name) -> nothing, or an error that says why it is refused.

A name is shown beside the names of baselines, to readers in a terminal and on pages.
"""

import unicodedata

MOST_LETTERS = 60
RESERVED = (
    "best static mask",
    "static mask",
    "best static",
    "static",
    "oracle",
    "optimum",
    "dense",
    "dense network",
    "random",
    "random masks",
    "rival",
    "baseline",
)
"""Names that readers take for a baseline of the project's."""
LOOK_ALIKE = str.maketrans("013457@$", "oleastas")
"""Digits and signs that stand for letters."""


def check_name(name: str) -> None:
    """Refuses names that cannot be shown, or that pass for another's.

    Raises:
        ValueError: if it is empty, too long or not printable, mixes alphabets, or is reserved.
    """
    if not name.strip() or not name.isprintable() or len(name) > MOST_LETTERS:
        raise ValueError(f"expected a name of 1..{MOST_LETTERS} printed letters, got {name[:80]!r}")
    alphabets = {alphabet_of(c) for c in name if c.isalpha()}
    if len(alphabets) > 1:
        raise ValueError(
            f"expected a name in letters of one alphabet, got {name!r} of "
            f"{', '.join(sorted(alphabets))}: letters of two may look the same"
        )
    if skeleton(name) in {skeleton(reserved) for reserved in RESERVED}:
        raise ValueError(f"expected another name than a baseline's, got {name!r}; choose your own")


def alphabet_of(letter: str) -> str:
    """First word of a letter's name in Unicode, after compatibility forms are undone.

    >>> alphabet_of("a"), alphabet_of("\u0430")
    ('LATIN', 'CYRILLIC')
    """
    plain = unicodedata.normalize("NFKD", letter)[0]
    return unicodedata.name(plain, "UNKNOWN").split()[0]


def skeleton(name: str) -> str:
    """Letters of a name without case, accents, spaces and signs.

    >>> skeleton("Or\u00e1cle!"), skeleton("0-R-A-C-L-E")
    ('oracle', 'oracle')
    """
    plain = unicodedata.normalize("NFKD", name).casefold().translate(LOOK_ALIKE)
    return "".join(c for c in plain if c.isalnum())
