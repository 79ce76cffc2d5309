"""The frame of every program: its `main` -> an exit status; errors have no traceback."""

import argparse
import contextlib
import errno
import functools
import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast

from safetensors import SafetensorError

from ccenv.base.files import finite
from ccenv.base.trust import check_trust

Main = Callable[..., int]
"""A program: words of the command line (those of this process if none) -> an exit status."""
REFUSED, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
"""Exit statuses: a wrong input or a full disk; Ctrl-C; a closed output pipe."""
DIGITS = 18
"""A whole number of so many digits fits in 64 bits."""
FULL, TOO_LARGE, CLOSED = (
    "expected room to write, got a full disk ({}); free some and give the same command again, or "
    "name another folder (of the output, or CCENV_CACHE)",
    "expected to be allowed to write a file of that size, got {}; raise the limit (ulimit -f) or "
    "name a folder of another file system, and give the same command again",
    "expected to be allowed to read and write, got {}; name another folder (of the output, or "
    "CCENV_CACHE)",
)
ADVICE: dict[Any, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), FULL),
    errno.EFBIG: TOO_LARGE,
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), CLOSED),
}
"""What the system refused -> what to do about it."""


class Parser(argparse.ArgumentParser):
    """Reads a command line: options come in full; a wrong one ends with a single line."""

    def __init__(self, **named: Any) -> None:
        """See `argparse.ArgumentParser`."""
        super().__init__(**named, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Ends the program without argparse's usage, which may have a dozen lines."""
        self.exit(REFUSED, f"{self.prog}: {message}; {self.prog} --help lists what it takes\n")


def program(
    name: str,
    refused: tuple[type[Exception], ...] = (ValueError,),
    stopped: str = "stopped",
) -> Callable[[Main], Main]:
    """Frames a `main`: wrong input, full disks, Ctrl-C and closed pipes end it without a traceback.

    Args:
        name: what its messages begin with.
        refused: exceptions whose message is all that the user needs; others show their place in
            the user's code, and those of none their traceback.
        stopped: what is said after Ctrl-C.
    """

    def frame(main: Main) -> Main:
        @functools.wraps(main)
        def framed(arguments: Sequence[str] | None = None) -> int:
            replace_unprintable()
            with open_outputs(), quiet_threads():
                try:
                    try:
                        return main(arguments)
                    finally:
                        # A closed pipe breaks here, not as Python ends.
                        sys.stdout.flush()
                except BrokenPipeError:
                    forget_output()
                    return BROKEN_PIPE
                except KeyboardInterrupt:
                    return end_with(stopped, INTERRUPTED)
                except (OSError, SafetensorError) as error:
                    return end_with(f"{name}: {of_the_system(error)}", REFUSED)
                except refused as error:
                    return end_with(f"{name}: {error}", REFUSED)
                except Exception as error:
                    from ccenv.runs.engine.errors import in_users_code

                    if not (place := in_users_code(error)):
                        raise
                    return end_with(f"{name}: your code failed\n{place}", REFUSED)

        return framed

    return frame


def takes_trust(parser: argparse.ArgumentParser, who: str = "the run names") -> None:
    """Adds `--trust`: which modules of the reader's own a stored run may name.

    Args:
        parser: of a program that opens stored runs; see `ccenv.runs.store.untrusted_files`.
        who: names them.
    """
    parser.add_argument(
        "--trust",
        metavar="MODULE",
        action="append",
        type=to_trust,
        default=[],
        help=f"import what {who} of this module of yours; may be given again",
    )


def to_trust(name: str) -> str:
    """Reads the name of what to trust."""
    try:
        check_trust([name])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def whole_number(text: str) -> int:
    """Reads an option's whole number of at least 0, of so many digits as 64 bits hold."""
    return at_least(0, text)


def positive(text: str) -> int:
    """Reads an option's whole number of at least 1."""
    return at_least(1, text)


def at_least(smallest: int, text: str) -> int:
    """Reads a whole number that is not below another one."""
    if not text.isdecimal() or len(text) > DIGITS or int(text) < smallest:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least {smallest}, got {text!r}"
        )
    return int(text)


def print_json(value: Any) -> None:
    """Prints what `--json` asks for: null for numbers that are not finite."""
    print(json.dumps(finite(value), indent=2), flush=True)


def replace_unprintable() -> None:
    """Prints a question mark for what a terminal of few letters does not have, instead of dying.

    Python gives such a terminal ASCII where the locale is C and UTF-8 is switched off.
    """
    for stream in (sys.stdout, sys.stderr):
        # A test's or a notebook's stream may be of another kind.
        if isinstance(stream, io.TextIOWrapper) and "utf" not in (stream.encoding or "").lower():
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def open_outputs() -> Iterator[None]:
    """Sends what is printed nowhere where the shell closed an output: Python has None for it."""
    with contextlib.ExitStack() as outputs:
        for stream, redirect in (
            (sys.stdout, contextlib.redirect_stdout),
            (sys.stderr, contextlib.redirect_stderr),
        ):
            # Python knows better than its types: a closed stream is None.
            if cast("object", stream) is None:
                nowhere = outputs.enter_context(open(os.devnull, "w", encoding="utf-8"))
                outputs.enter_context(redirect(nowhere))
        yield


def forget_output() -> None:
    """Sends what Python still holds for a closed pipe nowhere, so that it does not complain."""
    # Where the output is no file (in a test) there is nothing to redirect.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def quiet_threads() -> Iterator[None]:
    """Hides in TensorBoard's writer thread what the main thread reports: no room for a file."""
    usual = threading.excepthook

    def hook(stopped: threading.ExceptHookArgs) -> None:
        if ADVICE.get(getattr(stopped.exc_value, "errno", None), "") not in (FULL, TOO_LARGE):
            usual(stopped)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual


def of_the_system(error: Exception) -> str:
    """What the system refused, and what to do about it."""
    number = getattr(error, "errno", None)
    # Safetensors says it in words only: "... (os error 28)".
    if match := re.search(r"\(os error (\d+)\)", str(error)):
        number = int(match[1])
    return ADVICE.get(number, "{}").format(str(error) or type(error).__name__)


def end_with(text: str, status: int) -> int:
    """Prints on stderr why a program ends; returns its exit status."""
    # It may lead into the same closed pipe.
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    return status
