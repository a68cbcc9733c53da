"""The machine code that has Python handle signals; see `fdl.compile.runtime.native.signals`."""

from llvmlite import ir

from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.layout import INTERRUPTED, MAIN_THREAD, POLL_SYMBOL
from fdl.compile.llvm.values import I32, I64, POINTER


def emit_poll() -> ir.Module:
    """The module with ``i32 poll(ptr callbacks)``."""
    module = ir.Module("signals")
    function = new_function(module, POLL_SYMBOL, [POINTER], I32, exported=True)
    build = ir.IRBuilder(function.append_basic_block())

    def system(name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return build.call(ir.Function(module, kind, name), arguments)

    # Only the main thread handles signals, and others need not wait for the lock.
    main = build.load(build.gep(function.args[0], [I64(MAIN_THREAD)], source_etype=POINTER), typ=I64)
    with build.if_then(build.icmp_unsigned("!=", system("pthread_self", I64), main)):
        build.ret(I32(0))
    lock = system("PyGILState_Ensure", I32)
    found = system("PyErr_CheckSignals", I32)
    system("PyGILState_Release", ir.VoidType(), lock)
    build.ret(build.select(build.icmp_signed("==", found, I32(0)), I32(0), I32(INTERRUPTED)))
    return module
