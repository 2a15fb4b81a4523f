"""C99 from TIR: TVM simplifies and lowers, this prints. The result has const, restrict and readable names."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

import tvm
from tvm import tirx
from tvm.ir.expr import Call, TensorLoad, Var
from tvm.ir.prim.expr import BitwiseAnd, BitwiseNot, BitwiseOr, BitwiseXor, LShift, RShift

from graphopt.errors import Unsupported
from graphopt.targets.c_types import C_TYPES, c_literal
from graphopt.targets.kernels import Built
from graphopt.targets.tir import Expr

# from node class to C operator and its precedence
BINARY = {
    tirx.Mul: ("*", 12),
    tirx.Div: ("/", 12),
    tirx.Mod: ("%", 12),
    tirx.Add: ("+", 11),
    tirx.Sub: ("-", 11),
    tirx.LT: ("<", 9),
    tirx.LE: ("<=", 9),
    tirx.GT: (">", 9),
    tirx.GE: (">=", 9),
    tirx.EQ: ("==", 8),
    tirx.NE: ("!=", 8),
    tirx.And: ("&&", 4),
    tirx.Or: ("||", 3),
    RShift: (">>", 10),
    LShift: ("<<", 10),
    BitwiseAnd: ("&", 7),
    BitwiseXor: ("^", 6),
    BitwiseOr: ("|", 5),
}
# operators whose operands compilers want in parentheses wherever they are not atoms
GUARDED = {">>", "<<", "&", "^", "|", "||"}
MATHS = {"fabs", "sqrt", "exp", "tanh", "pow", "isnan"}
LIBRARY = {"acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "floor", "fmod", "log"}
LIBRARY |= {"nearbyint", "sin", "sinh", "tan"}
"""What TVM calls by its name in C."""
OF_MATH_H = re.compile(rf"\b(?:{'|'.join(sorted(MATHS | LIBRARY))})f?\(|\b(?:INFINITY|NAN)\b")
"""What printed text takes from <math.h>."""
PROMOTED = {"int8", "uint8", "int16", "uint16"}
ATOM, UNARY, TERNARY = 20, 14, 2


def lower_for_c(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """TVM's simplification, common subexpressions and integer division lowered, on one function."""
    target = tvm.target.Target("c")
    module = tvm.IRModule({"kernel": function.with_attr("global_symbol", "kernel")})
    passes = tirx.transform
    steps = [
        passes.BindTarget(target.with_host(target)),
        passes.StmtSimplify(),
        passes.CommonSubexprElim(),
        passes.LowerIntrin(),
    ]
    return tvm.ir.transform.Sequential(steps)(module)["kernel"]


def print_function(name: str, built: Built) -> str:
    """A static C function for a kernel.

    Raises ``Unsupported``, which names the kernel, for whatever of TIR has no rule here.
    """
    function = lower_for_c(built.function)
    printer = Printer(name)
    text = printer.function(function, built.written, built.overlapping)
    if not printer.indexed:
        return text
    return Printer(name, frozenset(printer.indexed)).function(function, built.written, built.overlapping)


class Printer:
    """Prints one function; names are made unique within it.

    Its local buffers are ``arrays``, or else so many scalars each; ``indexed`` are those that turned out to need an
    array: one that is indexed by what is computed, or whose address is taken.
    """

    def __init__(self, kernel: str, arrays: Container[tirx.Buffer] = ()) -> None:
        self.kernel = kernel
        self.arrays = arrays
        self.indexed: set[tirx.Buffer] = set()
        self.names: dict[Var, str] = {}
        self.taken: set[str] = set()
        self.lines: list[str] = []
        self.stored: set[str] = set()

    def name(self, variable: Var, wanted: str) -> str:
        if variable not in self.names:
            base = re.sub(r"\W", "_", wanted)
            name, count = base, 0
            while name in self.taken:
                count += 1
                name = f"{base}{count}"
            self.taken.add(name)
            self.names[variable] = name
        return self.names[variable]

    def unsupported(self, what: str) -> Unsupported:
        return Unsupported(
            f"the C printer has no rule for {what}",
            where=f"kernel {self.kernel}",
            advice="write the kernel without it, or add a rule to graphopt/targets/codegen_c.py",
        )

    def c_type(self, dtype: object) -> str:
        """The C type of a scalar; vectors have none."""
        if str(dtype) not in C_TYPES:
            raise self.unsupported(f"the type {dtype}")
        return C_TYPES[str(dtype)]

    def function(self, function: tirx.PrimFunc, written: Container[str], overlapping: Container[str] = ()) -> str:
        """The text of a function that writes to the parameters named ``written``.

        Those named ``overlapping`` may point into the same memory.
        """
        buffers = list(function.params)
        parameters = []
        for parameter in buffers:
            kind = self.c_type(parameter.dtype)
            text = self.name(parameter, parameter.name)
            pointer = "*" if parameter.name in overlapping else "*restrict "
            parameters.append(f"{'' if parameter.name in written else 'const '}{kind} {pointer}{text}")
        self.statement(function.body, 1)
        text = "\n".join(self.lines)
        unused = [n for p in buffers if not re.search(rf"\b{(n := self.names[p])}\b", text)]
        body = "\n".join([*(f"    (void){n};" for n in unused), *self.lines])
        return f"static void {self.kernel}({', '.join(parameters)})\n{{\n{body}\n}}\n"

    def emit(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def statement(self, node: tirx.Stmt, depth: int) -> None:
        match node:
            case tirx.SeqStmt():
                for part in node.seq:
                    self.statement(part, depth)
            case tirx.For():
                self.for_loop(node, depth)
            case tirx.BufferStore():
                self.emit(depth, f"{self.element(node.buffer, node.indices)} = {self.text(node.value)};")
            case tirx.Bind():
                value = self.text(node.value)
                name = self.name(node.var, node.var.name)
                self.emit(depth, f"const {self.c_type(node.var.ty)} {name} = {value};")
            case tirx.AllocBuffer():
                self.variables(node.buffer, depth)
            case tirx.IfThenElse():
                self.branches(node, depth)
            case tirx.Evaluate():
                self.evaluation(node.value, depth)
            case _:
                raise self.unsupported(type(node).__name__)

    def variables(self, buffer: tirx.Buffer, depth: int) -> None:
        """A local buffer is so many scalars, which compilers keep in registers, or else an array."""
        if str(buffer.scope()) != "local":
            raise self.unsupported(f"AllocBuffer of scope {buffer.scope()}")
        base = self.name(buffer, buffer.name)
        if buffer in self.arrays:
            self.emit(depth, f"{self.c_type(buffer.dtype)} {base}[{int(buffer.shape[0])}];")
            return
        names = ", ".join(f"{base}_{i}" for i in range(int(buffer.shape[0])))
        self.emit(depth, f"{self.c_type(buffer.dtype)} {names};")

    def branches(self, node: tirx.IfThenElse, depth: int) -> None:
        self.emit(depth, f"if ({self.text(node.condition)}) {{")
        self.statement(node.then_case, depth + 1)
        if node.else_case is not None:
            self.emit(depth, "} else {")
            self.statement(node.else_case, depth + 1)
        self.emit(depth, "}")

    def evaluation(self, value: Expr, depth: int) -> None:
        """An expression for what it does: a call; a constant, which is TIR's empty statement, does nothing."""
        if isinstance(value, Call):
            self.emit(depth, f"{self.text(value)};")
        elif not isinstance(value, tirx.IntImm):
            raise self.unsupported(f"Evaluate of {type(value).__name__}")

    def for_loop(self, node: tirx.For, depth: int) -> None:
        if node.kind not in (tirx.ForKind.SERIAL, tirx.ForKind.UNROLLED) or node.step is not None:
            raise self.unsupported(f"For of kind {tirx.ForKind(node.kind).name} and step {node.step}")
        start, end = self.text(node.min), tvm.sym.Analyzer().simplify(node.min + node.extent)
        stop = self.text(end, BINARY[tirx.LT][1] + 1)
        kind, name = self.c_type(node.loop_var.ty), self.name(node.loop_var, node.loop_var.name)
        self.emit(depth, f"for ({kind} {name} = {start}; {name} < {stop}; ++{name}) {{")
        self.statement(node.body, depth + 1)
        self.emit(depth, "}")

    def element(self, buffer: tirx.Buffer, indices: Sequence[Expr]) -> str:
        """An element of a parameter or an array, or one of the scalars that a local buffer is."""
        name = self.names[buffer] if buffer in self.names else self.name(buffer, buffer.name)
        if len(indices) != 1:
            raise self.unsupported(f"{len(indices)} indices of {buffer.name}")
        (index,) = indices
        if str(buffer.scope()) == "local" and buffer not in self.arrays:
            if isinstance(index, tirx.IntImm):
                return f"{name}_{int(index)}"
            self.indexed.add(buffer)
        return f"{name}[{self.text(index)}]"

    def text(self, node: Expr, outer: int = 0) -> str:
        """An expression, in parentheses if it binds looser than ``outer``."""
        text, precedence = self.expression(node)
        return f"({text})" if precedence < outer else text

    def expression(self, node: Expr) -> tuple[str, int]:
        dtype = str(node.ty)
        match node:
            case tirx.IntImm() | tirx.FloatImm():
                literal = c_literal(node.value, dtype)
                if dtype == "int64" and not literal.startswith("("):  # a shift, for one, has the type of its operand
                    literal = f"INT64_C({literal})"
                return literal, UNARY if literal.startswith("-") else ATOM
            case TensorLoad():
                return self.element(node.source, node.indices), ATOM
            case tirx.Add() if dtype == "float32" and isinstance(node.b, tirx.Mul):
                return f"multiply_add({self.text(node.b.a)}, {self.text(node.b.b)}, {self.text(node.a)})", ATOM
            case tirx.Max() | tirx.Min():
                helper = f"{'max' if isinstance(node, tirx.Max) else 'min'}_{dtype}"
                return f"{helper}({self.text(node.a)}, {self.text(node.b)})", ATOM
            case tirx.Select():
                parts = node.condition, node.true_value, node.false_value
                test, yes, no = (self.text(p, TERNARY + 1) for p in parts)
                return f"{test} ? {yes} : {no}", TERNARY
            case tirx.Cast() if dtype == "bool":
                return f"{self.text(node.value, 9)} != 0", 8
            case tirx.Cast():
                return f"({self.c_type(dtype)}){self.text(node.value, UNARY)}", UNARY
            case tirx.Not():
                return f"!{self.text(node.a, UNARY)}", UNARY
            case BitwiseNot():
                return f"({C_TYPES[dtype]})~{self.text(node.a, UNARY)}", UNARY
            case LShift() if dtype.startswith("int"):  # of a negative number, C leaves it undefined
                wide = "uint64_t" if dtype == "int64" else "uint32_t"
                shifted = f"({wide}){self.text(node.a, UNARY)} << {self.text(node.b, ATOM)}"
                return f"({C_TYPES[dtype]})({shifted})", UNARY
            case Call():
                return self.call(node)
            case Var():
                return self.names[node], ATOM
        for kind, (symbol, precedence) in BINARY.items():
            if isinstance(node, kind):
                inner = ATOM if symbol in GUARDED else precedence
                left, right = self.text(node.a, inner), self.text(node.b, max(inner, precedence + 1))
                if dtype in PROMOTED:  # C computes in int; the result wraps around, as it does elsewhere
                    return f"({C_TYPES[dtype]})({left} {symbol} {right})", UNARY
                return f"{left} {symbol} {right}", precedence
        raise self.unsupported(type(node).__name__)

    def call(self, node: Call) -> tuple[str, int]:
        name = getattr(node.op, "name", type(node.op).__name__).split(".")[
            -1
        ]  # some intrinsics are tirx.x, some prim.x
        if name == "if_then_else":
            test, yes, no = (self.text(a, TERNARY + 1) for a in node.args)
            return f"{test} ? {yes} : {no}", TERNARY
        if name == "address_of":
            (place,) = node.args
            if str(place.source.scope()) == "local":
                self.indexed.add(place.source)
            return f"&{self.element(place.source, place.indices)}", UNARY
        if name in ("call_extern", "call_pure_extern"):
            return f"{node.args[0].value}({', '.join(self.text(a) for a in list(node.args)[1:])})", ATOM
        if name == "popcount":
            return f"count_ones({self.text(node.args[0])})", ATOM
        if name in MATHS:
            suffix = "f" if str(node.ty) == "float32" else ""
            return f"{name}{suffix}({', '.join(map(self.text, node.args))})", ATOM
        raise self.unsupported(f"the intrinsic {name}")
