"""Handlers of exceptions name what they mean: those that would also hide mistakes are listed, each with its reason."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What a typo raises, and what catches everything.
BROAD = {"Exception", "BaseException", "AttributeError", "NameError", "RuntimeError", "AssertionError", ""}

ALLOWED = {
    "fdl/array.py BaseException": "forgets the keys of a call that failed, and raises again",
    "fdl/transforms/prepared.py Exception": "an operation that cannot be prepared; applied, it tells what it raises",
    "fdl/composite.py Exception": "a function that cannot be traced; its call tells what it raises",
    "fdl/core/interpret.py RuntimeError": "what a context of Python raises that is entered already; others pass",
    "fdl/control/callback.py Exception": "the user's function raised, which is told as JAX's error under its name",
    "fdl/api/explain.py Exception": "says that tracing fails, and with what",
    "fdl/control/data.py Exception": "whatever an operation raises of operands that it does not take",
    "fdl/tracebacks.py BaseException": "takes fdl's frames out of whatever passes, and raises again",
    "fdl/api/jit.py BaseException": "takes fdl's frames out of whatever passes, and raises again",
    "fdl/api/traced.py BaseException": "takes away donated memory that a failed call has written to, and raises again",
    "fdl/array.py AttributeError": "a slot that has not been set yet",
    "fdl/compile/listing.py Exception": "a stage that failed, whose traceback is written in place of its listing",
    "fdl/compile/runtime/cache.py BaseException": "deletes the unfinished file, and raises again",
    "fdl/compile/runtime/cache.py RuntimeError": "a user without a home, as pathlib tells it",
    "fdl/compile/fallback.py Exception": "a pass that failed, which is told as a CompilerWarning",
    "fdl/compile/runtime/executable.py BaseException": "a callback's exception is raised behind the native code",
    "fdl/interop/torch_model.py Exception": "whatever torch.export raises of a module, said with its text",
    "fdl/serve/asgi.py Exception": "whatever the user's function raises; it is logged, clients are told that it failed",
    "fdl/serve/batching.py Exception": "whatever the user's function raises, handed to the request that it is of",
    "fdl/ext/elementwise.py Exception": "NaN where the user's function raises, as documented",
    "fdl_spark/training/ahead.py Exception": "what does not compile ahead is compiled by the tasks, which say why",
    "fdl_spark/arguments.py Exception": "an argument that is no array, said with its own error",
    "fdl_spark/checkpoints/checkpoint.py BaseException": "deletes unfinished files, and raises again",
    "fdl_spark/checkpoints/claim.py BaseException": "lets go of the lock, and raises again",
    "fdl_spark/spark/cleanup.py BaseException": "the first error is raised when all steps of cleaning up are taken",
    "fdl_spark/spark/cleanup.py Exception": "a step of cleaning up that failed, which is logged",
    "fdl_spark/data/arrays.py Exception": "a column that is no array, said with its own error",
    "fdl_spark/data/connect_dataset.py BaseException": "frees what was made, and raises again",
    "fdl_spark/data/connect_dataset.py Exception": "freeing must not hide why a run ended; a hidden setting",
    "fdl_spark/spark/connect/jobs.py BaseException": "interrupts the operations of a run that ended, and raises again",
    "fdl_spark/spark/connect/jobs.py Exception": "a server that is gone has no operations",
    "fdl_spark/spark/connect/upload.py BaseException": "frees what was uploaded, and raises again",
    "fdl_spark/spark/connect/upload.py Exception": "of a server that is gone nothing is left to free",
    "fdl_spark/daemon.py Exception": "warming up; a worker that needs it says what is wrong",
    "fdl_spark/data/files.py Exception": "a table that Spark cannot read, said with what it says",
    "fdl_spark/data/rdd_dataset.py BaseException": "frees what was made, and raises again",
    "fdl_spark/data/staged.py BaseException": "deletes the file, and raises again",
    "fdl_spark/data/staged.py Exception": "a session that was stopped has no tags to take off",
    "fdl_spark/engines/blocks.py BaseException": "frees what was made, and raises again",
    "fdl_spark/engines/blocks.py Exception": "freeing what the cluster may have lost",
    "fdl_spark/engines/engine.py BaseException": "frees what was made, and raises again",
    "fdl_spark/engines/members.py BaseException": "lets go of the run, and raises again",
    "fdl_spark/engines/members.py RuntimeError": "a process that may have no more threads does without one",
    "fdl_spark/engines/resident.py BaseException": "what a thread's job failed of is raised by whoever waits for it",
    "fdl_spark/engines/resident.py Exception": "ranks that have died have let go already",
    "fdl_spark/engines/shuffle.py Exception": "freeing what the cluster may have lost",
    "fdl_spark/searching/trial.py Exception": "whatever ends a trial is its result, and the others go on",
    "fdl_spark/spark/failures.py AttributeError": "what a stopped session gives; raised again if it is not stopped",
    "fdl_spark/spark/failures.py Exception": "the user's function raised, which is told as a UserFunctionError",
    "fdl_spark/spark/folders.py BaseException": "deletes what is unfinished, and raises again",
    "fdl_spark/spark/folders.py Exception": "a Java virtual machine that cannot be asked cleans up after itself",
    "fdl_spark/spark/jobs.py BaseException": "cancels the jobs of a run that ended, and raises again",
    "fdl_spark/spark/jobs.py Exception": "a session that was stopped has no jobs",
    "fdl_spark/history/files.py BaseException": "deletes the unfinished file, and raises again",
    "fdl_spark/spark/activity.py Exception": "a session that was stopped does nothing; whoever waits for it says why",
    "fdl_spark/training/loop.py Exception": "the state that a failed run may still save; the failure itself is raised",
    "fdl_spark/spark/membership.py Exception": "a session that was stopped has no executors",
    "fdl_spark/net/secure.py BaseException": "closes a socket that nobody got, and raises again",
    "fdl_spark/net/shared.py BaseException": "closes a descriptor that nobody got, and raises again",
    "fdl_spark/kafka/clients.py BaseException": "closes the client, and raises again",
    "fdl_spark/kafka/source.py Exception": "a class path that cannot be asked has no source of Kafka topics",
    "fdl_spark/applying/scoring.py Exception": "the user's function raised, which is told as a UserFunctionError",
    "fdl_spark/applying/shapes.py Exception": "an encoder that takes lists of one length only",
    "fdl_spark/applying/sharing.py Exception": "a Java virtual machine that is gone holds nothing",
    "fdl_spark/spark/repeated.py Exception": "freeing what a session that was stopped no longer has",
    "fdl_spark/compute/job.py Exception": "freeing must not hide why a run ended",
}


def handlers(path: Path) -> list[str]:
    """The broad exceptions that the handlers of a file catch."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            found += [ast.unparse(kind) if kind is not None else "" for kind in kinds]
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            found += [ast.unparse(kind) for kind in node.args]
    return [name.rpartition(".")[2] for name in found if name.rpartition(".")[2] in BROAD]


def test_broad_handlers_are_listed() -> None:
    files = [path for package in ("fdl", "fdl_spark") for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 200
    found = Counter(f"{path.relative_to(ROOT)} {name}" for path in files for name in handlers(path))
    assert set(found) == set(ALLOWED)
