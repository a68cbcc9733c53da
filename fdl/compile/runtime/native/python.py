"""The machine code that calls Python and has it handle signals; see `fdl.compile.runtime.native.signals`."""

from llvmlite import ir

from fdl.compile.llvm.function import call_external, new_function
from fdl.compile.llvm.layout import HOST_SYMBOL, INTERRUPTED, MAIN_THREAD, POLL_SYMBOL, PYTHON
from fdl.compile.llvm.values import I8, I32, I64, POINTER


def emit_python() -> ir.Module:
    """The module with ``i32 poll(ptr callbacks)`` and ``i32 host(ptr callbacks, i64 number, ptr pointers)``."""
    module = ir.Module("python")
    _emit_poll(module)
    _emit_host(module)
    return module


def _emit_poll(module: ir.Module) -> None:
    function = new_function(module, POLL_SYMBOL, [POINTER], I32, exported=True)
    build = ir.IRBuilder(function.append_basic_block())
    # Only the main thread handles signals, and others need not wait for the lock.
    main = build.load(build.gep(function.args[0], [I64(MAIN_THREAD)], source_etype=POINTER), typ=I64)
    with build.if_then(build.icmp_unsigned("!=", call_external(build, "pthread_self", I64), main)):
        build.ret(I32(0))
    lock = call_external(build, "PyGILState_Ensure", I32)
    found = call_external(build, "PyErr_CheckSignals", I32)
    call_external(build, "PyGILState_Release", ir.VoidType(), lock)
    build.ret(build.select(build.icmp_signed("==", found, I32(0)), I32(0), I32(INTERRUPTED)))


def _emit_host(module: ir.Module) -> None:
    function = new_function(module, HOST_SYMBOL, [POINTER, I64, POINTER], I32, exported=True)
    build = ir.IRBuilder(function.append_basic_block())
    callbacks, number, pointers = function.args
    # "LL": two arguments, long long.
    layout = ir.GlobalVariable(module, ir.ArrayType(I8, 3), "layout")
    layout.linkage, layout.global_constant = "internal", True
    layout.initializer = ir.Constant(layout.value_type, bytearray(b"LL\0"))
    lock = call_external(build, "PyGILState_Ensure", I32)
    called = build.load(build.gep(callbacks, [I64(PYTHON)], source_etype=POINTER), typ=POINTER)
    kind = ir.FunctionType(POINTER, [POINTER, POINTER], var_arg=True)
    arguments = [called, build.bitcast(layout, POINTER), number, build.ptrtoint(pointers, I64)]
    result = build.call(ir.Function(module, kind, "PyObject_CallFunction"), arguments)
    status = build.alloca(I32)
    with build.if_else(build.icmp_unsigned("!=", result, POINTER(None))) as (returned, raised):
        with returned:
            build.store(build.trunc(call_external(build, "PyLong_AsLongLong", I64, result), I32), status)
            call_external(build, "Py_DecRef", ir.VoidType(), result)
        with raised:
            build.store(I32(INTERRUPTED), status)
    call_external(build, "PyGILState_Release", ir.VoidType(), lock)
    build.ret(build.load(status, typ=I32))
