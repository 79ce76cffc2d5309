"""Makes wrong lines: the text of a module -> every fault that an operator plants in it.

An operator takes a node of the syntax tree and gives texts that stand for parts of it, so that the
rest of the file stays as it is. Nothing is planted in annotations, texts, `raise` statements and
what runs only as a program.
"""

import ast
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Span = tuple[int, int]
"""First byte of a part of a text, and the first byte behind it."""
Change = tuple[Span, str]
"""What stands in the place of a part of a text."""

COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
"""Operator -> its neighbour at the bound, and its opposite."""
ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
"""Whose operands cannot change places."""
CLAMPS = ("clamp", "clamp_", "clamp_min", "clamp_max", "clip", "relu", "relu_")
BOUNDS = ("min", "max", "minimum", "maximum")
REDUCTIONS = (
    *("sum", "mean", "amax", "amin", "argmax", "argmin", "cumsum", "flip", "softmax", "unbind"),
    *("log_softmax", "logsumexp", "std", "var", "any", "all", "prod", "unsqueeze", "gather"),
)
"""Methods whose first number is an axis."""
SYMMETRIC = (*BOUNDS, "equal", "isinstance", "logaddexp", "add", "isclose", "allclose", "cast")
"""Whose arguments change places for nothing, or are types."""


@dataclass(frozen=True)
class Fault:
    """One wrong line."""

    file: str
    """relative to the checkout."""
    operator: str
    """name in `OPERATORS`."""
    span: Span
    """the bytes that change."""
    text: str
    """what is put in their place."""
    lines: tuple[int, int]
    """first and last line of the statement that changes, of its head where others stand in it."""
    scope: tuple[int, int]
    """first and last line of the function or class around it, of the file where there is none."""
    before: str
    """the lines that change, without indents, in one."""
    after: str
    """what stands in their place."""

    def applied(self, content: bytes) -> bytes:
        """The file with this fault."""
        return content[: self.span[0]] + self.text.encode() + content[self.span[1] :]


class Text:
    """A module's bytes, and where its nodes stand in them."""

    def __init__(self, content: bytes) -> None:
        """Bytes in UTF-8."""
        self.content = content
        self.starts = [0]
        for line in content.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: ast.AST) -> Span:
        """Of a node with a place."""
        place = vars(node)
        return (
            self.starts[place["lineno"] - 1] + place["col_offset"],
            self.starts[place["end_lineno"] - 1] + place["end_col_offset"],
        )

    def of(self, node: ast.AST) -> str:
        """A node as it is written."""
        return self.between(*self.span(node))

    def between(self, start: int, end: int) -> str:
        """The text between two bytes."""
        return self.content[start:end].decode()

    def whole_lines(self, span: Span, text: str) -> tuple[str, str]:
        """The lines of a span, and what they are with another text in it; in one line each."""
        start = self.content.rfind(b"\n", 0, span[0]) + 1
        end = self.content.find(b"\n", span[1])
        end = len(self.content) if end < 0 else end
        changed = self.between(start, span[0]) + text + self.between(span[1], end)
        return " ".join(self.between(start, end).split()), " ".join(changed.split())


Operator = Callable[[ast.AST, Text], Iterator[Change]]


def method(node: ast.AST) -> str:
    """Name of what a call calls, without what stands before its last point; "" of another node."""
    if not isinstance(node, ast.Call):
        return ""
    called = node.func
    return getattr(called, "attr", getattr(called, "id", ""))


def is_number(node: ast.AST | None) -> bool:
    """Whether a node is a number as it is written, or minus that."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def in_brackets(text: str) -> str:
    """An operand that binds as it did."""
    return text if text.replace("_", "").replace(".", "").isalnum() else f"({text})"


def comparison(node: ast.AST, text: Text) -> Iterator[Change]:
    """Another comparison, or `or` for `and`."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for left, right, operator in zip(sides, sides[1:], node.ops, strict=False):
            span = text.span(left)[1], text.span(right)[0]
            # Brackets of the sides stay.
            between = text.between(*span)
            written = between.strip(" ()\n\\")
            for other in COMPARISONS[type(operator)]:
                yield span, between.replace(written, other)
    if isinstance(node, ast.BoolOp):
        one, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in itertools.pairwise(node.values):
            span = text.span(left)[1], text.span(right)[0]
            yield span, text.between(*span).replace(one, other)


def sign(node: ast.AST, text: Text) -> Iterator[Change]:
    """Plus for minus, minus for plus, a minus less."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        span = text.span(node.left)[1], text.span(node.right)[0]
        one, other = ("+", "-") if isinstance(node.op, ast.Add) else ("-", "+")
        yield span, text.between(*span).replace(one, other)
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
        span = text.span(node.target)[1], text.span(node.value)[0]
        one, other = ("+", "-") if isinstance(node.op, ast.Add) else ("-", "+")
        yield span, text.between(*span).replace(one, other)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not is_number(node):
        yield text.span(node), text.of(node.operand)


def off_by_one(node: ast.AST, text: Text) -> Iterator[Change]:
    """A bound of a range or of a slice, an index, or a whole number that is added: one more."""
    bounds: list[ast.AST | None] = []
    if method(node) == "range" and isinstance(node, ast.Call):
        bounds = [*node.args]
    elif isinstance(node, ast.Slice):
        bounds = [node.lower, node.upper]
    elif isinstance(node, ast.Subscript) and is_number(node.slice):
        bounds = [node.slice]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        bounds = [side for side in (node.left, node.right) if is_number(side)]
    for bound in bounds:
        if bound is not None:
            more = (
                str(number(bound) + 1) if is_number(bound) else f"{in_brackets(text.of(bound))} + 1"
            )
            yield text.span(bound), more


def number(node: ast.AST) -> float:
    """The value of a number; see `is_number`."""
    value: float = ast.literal_eval(node)
    return value


def swapped_operands(node: ast.AST, text: Text) -> Iterator[Change]:
    """Right minus left, right over left."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ORDERED):
        left, right = text.span(node.left), text.span(node.right)
        if not isinstance(node.left, ast.Constant | ast.JoinedStr) or is_number(node.left):
            middle = text.between(left[1], right[0])
            # A bracket between the two belongs to one of them.
            if middle.strip() in ("-", "/", "//", "%", "**", "@"):
                sides = in_brackets(text.of(node.right)), in_brackets(text.of(node.left))
                yield (left[0], right[1]), middle.join(sides)


def axis(node: ast.AST, text: Text) -> Iterator[Change]:
    """Another axis."""
    if not isinstance(node, ast.Call):
        return
    axes = [word.value for word in node.keywords if word.arg in ("dim", "axis")]
    if method(node) in REDUCTIONS and isinstance(node.func, ast.Attribute):
        axes += node.args[:1]
    for one in axes:
        if is_number(one):
            yield text.span(one), "1" if number(one) == 0 else "0"


def dropped_clamp(node: ast.AST, text: Text) -> Iterator[Change]:
    """What was bounded, unbounded."""
    name = method(node)
    if not isinstance(node, ast.Call):
        return
    if name in CLAMPS and isinstance(node.func, ast.Attribute):
        is_function = text.of(node.func.value) in ("torch", "np", "F", "functional")
        yield text.span(node), text.of(node.args[0] if is_function else node.func.value)
    elif name in BOUNDS and len(node.args) == 2 and not node.keywords:
        for one in node.args:
            if not isinstance(one, ast.Starred) and not is_number(one):
                yield text.span(node), in_brackets(text.of(one))


def dropped_detach(node: ast.AST, text: Text) -> Iterator[Change]:
    """A gradient where there was none."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if method(node) == "detach":
            yield text.span(node), text.of(node.func.value)
        if method(node) in ("no_grad", "inference_mode"):
            yield text.span(node.func), f"{text.of(node.func.value)}.enable_grad"


def changed_constant(node: ast.AST, text: Text) -> Iterator[Change]:
    """Another number or truth value."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield text.span(node), str(not node.value)
        elif isinstance(node.value, int):
            yield text.span(node), str(node.value + 1)
        elif isinstance(node.value, float):
            yield text.span(node), repr(2 * node.value or 1.0)


def removed_statement(node: ast.AST, text: Text) -> Iterator[Change]:
    """Nothing in its place."""
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    targets = node.targets if isinstance(node, ast.Assign) else []
    is_kept = any(isinstance(one, ast.Attribute | ast.Subscript) for one in targets)
    # Of an abstract method nothing is executed.
    is_error = isinstance(node, ast.Raise) and "NotImplementedError" not in text.of(node)
    is_plain = isinstance(node, ast.AugAssign | ast.Break | ast.Continue)
    if is_call or is_kept or is_error or is_plain:
        yield text.span(node), "pass"


def exchanged_arguments(node: ast.AST, text: Text) -> Iterator[Change]:
    """Two arguments of one kind, each in the other's place."""
    if not isinstance(node, ast.Call) or method(node) in SYMMETRIC:
        return
    values = [word.value for word in node.keywords if word.arg is not None]
    for group in (node.args, values):
        for left, right in itertools.pairwise(group):
            if kind(left) == kind(right) != "" and text.of(left) != text.of(right):
                one, other = text.span(left), text.span(right)
                between = text.between(one[1], other[0])
                yield (one[0], other[1]), f"{text.of(right)}{between}{text.of(left)}"


def kind(node: ast.AST) -> str:
    """Of values that may have one type: names and fields, numbers, truth values; "" of others."""
    if isinstance(node, ast.Constant):
        return "" if isinstance(node.value, str) else type(node.value).__name__
    return "name" if isinstance(node, ast.Name | ast.Attribute) else ""


OPERATORS: dict[str, Operator] = {
    "comparison": comparison,
    "sign": sign,
    "off by one": off_by_one,
    "swapped operands": swapped_operands,
    "axis": axis,
    "dropped clamp": dropped_clamp,
    "dropped detach": dropped_detach,
    "changed constant": changed_constant,
    "removed statement": removed_statement,
    "exchanged arguments": exchanged_arguments,
}
"""Name -> (a node, its text) -> changes."""


def faults_of(file: str, content: bytes) -> list[Fault]:
    """Every fault of a module, in the order of its text; some are none, see `is_other`."""
    text, faults = Text(content), []
    tree = ast.parse(content)
    for node, statement, scope in reached(tree, (1, len(text.starts))):
        for name, operator in OPERATORS.items():
            for span, changed in operator(node, text):
                before, after = text.whole_lines(span, changed)
                lines = head(statement)
                faults.append(Fault(file, name, span, changed, lines, scope, before, after))
    return sorted(faults, key=lambda one: (one.span, one.operator, one.text))


def is_other(fault: Fault, content: bytes) -> bool:
    """Whether a file with a fault is Python, and another program than without it."""
    try:
        changed = ast.parse(fault.applied(content))
    except SyntaxError:
        return False
    return ast.dump(changed) != ast.dump(ast.parse(content))


def reached(
    node: ast.AST, scope: Span, statement: ast.AST | None = None
) -> Iterator[tuple[ast.AST, ast.AST, Span]]:
    """Nodes that run, each with its statement and the lines of the function or class around it."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params"):
            continue
        for inner in value if isinstance(value, list) else [value]:
            if not isinstance(inner, ast.AST) or is_idle(inner):
                continue
            around_inner = inner if isinstance(inner, ast.stmt) or statement is None else statement
            if hasattr(inner, "lineno"):
                yield inner, around_inner, scope
            is_scope = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            around = (inner.lineno, vars(inner)["end_lineno"]) if is_scope else scope
            if not isinstance(inner, ast.Raise):
                yield from reached(inner, around, around_inner)


def is_idle(node: ast.AST) -> bool:
    """Whether nothing of a node runs in a test: texts, types, what a program begins with."""
    if isinstance(node, ast.If):
        return any(
            isinstance(one, ast.Name) and one.id in ("TYPE_CHECKING", "__name__")
            for one in ast.walk(node.test)
        )
    return isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom)


def head(statement: ast.AST) -> tuple[int, int]:
    """First and last line of a statement; of one with a body, of what stands before the body."""
    place = vars(statement)
    body = place.get("body")
    if isinstance(body, list) and body:
        return place["lineno"], max(place["lineno"], body[0].lineno - 1)
    return place["lineno"], place["end_lineno"]
