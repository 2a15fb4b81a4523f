"""Native objects from TIR by TVM's LLVM: functions on raw pointers, without TVM's runtime or calling convention."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import tvm
from tvm import tirx

from graphopt.targets.kernels import Built
from graphopt.targets.target import Target


def llvm_target(target: Target) -> tvm.target.Target:
    """The TVM target, with hard float, as on every Linux that graphopt compiles for."""
    fields: dict[str, object] = {
        "kind": "llvm",
        "mtriple": with_vendor(target.triple),
        "mcpu": target.cpu,
        "opt-level": 3,
        # this pass of LLVM 22, and the lowering of its results, give the index of a gather a wrong value
        "cl-opt": ["-vectorize-slp=false"],
    }
    if target.features:
        fields["mattr"] = list(target.features)
    if target.triple.endswith("eabihf"):
        fields["mfloat-abi"] = "hard"
    return tvm.target.Target(fields)


def with_vendor(triple: str) -> str:
    """A triple in LLVM's form, with a vendor.

    In GCC's form, ``armv7-linux-gnueabihf``, LLVM reads linux as the vendor and finds no system. It then
    expects results of the run-time library (64 bit integers to floats) in the wrong registers.
    """
    return triple.replace("-linux-", "-unknown-linux-") if triple.count("-") == 2 else triple


def compile_object(kernels: Mapping[str, Built], target: Target) -> bytes:
    """A relocatable object with one function per kernel, ``int32_t name(pointers...)``, which always returns 0.

    It leaves out TVM's pass that turns big local buffers into calls of TVM's allocator.
    """
    llvm, transform = llvm_target(target), tirx.transform
    module = tvm.IRModule({name: built.function.with_attr("global_symbol", name) for name, built in kernels.items()})
    before = [
        transform.BindTarget(llvm.with_host(llvm)),
        transform.StmtSimplify(),
        transform.FlattenBuffer(),
        transform.VectorizeLoop(True),
        transform.StmtSimplify(),
        transform.CommonSubexprElim(),
    ]
    module = tvm.ir.transform.Sequential(before)(module)
    functions = {
        var: bare(var.name_hint, function, apart=not kernels[var.name_hint].overlapping)
        for var, function in module.functions.items()
    }
    module = tvm.IRModule(functions, attrs=module.attrs)
    module = tvm.ir.transform.Sequential([transform.LowerIntrin()])(module)
    built = tvm.get_global_func("target.build.llvm")(module, llvm)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.o"
        built.write_to_file(str(path), "o")
        return path.read_bytes()


def bare(name: str, function: tirx.PrimFunc, apart: bool) -> tirx.PrimFunc:
    """The function by C's calling convention, with raw pointers for parameters, to memory that is ``apart`` or not."""
    pointers, declarations = [], []
    for buffer in function.params:
        pointer = tvm.ir.Var(buffer.name, tvm.ir.PointerType(buffer.ty.dtype, "global"))
        pointers.append(pointer)
        declarations.append(tirx.DeclBuffer(buffer, data=pointer))
    zero = tirx.IntImm("int32", 0)
    body = tirx.SeqStmt([*declarations, function.body, tirx.stmt.Return(zero)])
    made = tirx.PrimFunc(pointers, body, tvm.ir.PrimType("int32"), attrs=function.attrs)
    return made.with_attr("calling_conv", 0).with_attr("tirx.noalias", apart).with_attr("global_symbol", name)
