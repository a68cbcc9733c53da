"""Where faults can happen: functions of fdl_spark that are wrapped when their module is imported."""

import importlib.machinery
import json
import os
import sys
import time
from contextlib import suppress
from functools import wraps
from pathlib import Path

from tests.spark.chaos import actions, processes

# By point: the functions at whose beginning it is. Those of engines are where the engine's own work is; where a
# function may have one of two names, the other one is not missed.
POINTS = {
    "load": ["fdl_spark.data.dealing:write_rows"],
    "disk": ["fdl_spark.data.block:_create"],
    "forward_backward": ["fdl_spark.compute.program:Program.loss_and_gradient"],
    "exchange": [
        "fdl_spark.engines.shuffle:gathered",
        "fdl_spark.engines.driver:_parts",
        "fdl_spark.engines.connect_shuffle:_sum",
        "fdl_spark.net.exchange:Exchange.reduce_scatter",
    ],
    "meeting": ["fdl_spark.net.mesh:Mesh.join"],
    "all_gather": ["fdl_spark.net.exchange:Exchange.all_gather"],
    "sending": ["fdl_spark.net.connection:Connection.try_send", "fdl_spark.net.cipher:EncryptedConnection.try_send"],
    "update": ["fdl_spark.compute.update:Update.__call__"],
    "collect": ["fdl_spark.spark.wire:pack"],
    "validation": ["fdl_spark.compute.program:Program.measure"],
    "checkpoint": ["fdl_spark.checkpoints.checkpoint:CheckpointFolder.save"],
}
# How processes of one host exchange what they would by shared memory: by "unix" sockets, or "tcp" as if they had two.
# The environment says it for all runs of an application, or a fault under "sockets" for its own.
SOCKETS = "FDL_CHAOS_SOCKETS"
INSTEAD = {
    "unix": ("fdl_spark.net.shared:available", lambda: False),
    "tcp": ("fdl_spark.net.address:host_key", lambda: f"a host of process {os.getpid()} only"),
}

_role, _step = "", -1


def install(role):
    """Wrap the functions as soon as their modules are imported; the role is "executor" or "driver"."""
    global _role
    _role = role
    wanted = {}
    for point, names in POINTS.items():
        for name in names:
            module, attribute = name.split(":")
            wanted.setdefault(module, []).append((point, attribute))
    for kind, (name, _) in INSTEAD.items():
        module, attribute = name.split(":")
        wanted.setdefault(module, []).append((f"{SOCKETS}={kind}", attribute))
    sys.meta_path.insert(0, Finder(wanted))


class Finder:
    """Finds what Python's own finder does, and wraps functions after the module has run."""

    def __init__(self, wanted):
        self.wanted = wanted

    def find_spec(self, name, path=None, target=None):
        if name not in self.wanted:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            for point, attribute in self.wanted[name]:
                wrap(module, point, attribute)

        spec.loader.exec_module = exec_module
        return spec


def wrap(module, point, attribute):
    *owners, last = attribute.split(".")
    owner = module
    try:
        for part in owners:
            owner = getattr(owner, part)
        function = getattr(owner, last)
    except AttributeError:  # the harness reports that, as the point is reached by no other name
        (Path(os.environ[processes.MARK]) / f"missing-{point}").touch()
        return

    @wraps(function)
    def wrapped(*arguments, **named):
        reached(point, arguments)
        return function(*arguments, **named)

    @wraps(function)
    def replaced():
        return INSTEAD[kind][1]() if sockets() == kind else function()

    if point.startswith(SOCKETS):
        kind, wrapped = point.removeprefix(f"{SOCKETS}="), replaced

    setattr(owner, last, wrapped)


def reached(point, arguments=(), step=None):
    """Do what is to be done here, if this is the place and the time."""
    global _step
    if step is not None:
        _step = step
    elif point == "forward_backward":
        _step = int(arguments[3])
    folder = Path(os.environ[processes.MARK])
    fault = wanted_fault()
    if fault is None:
        return
    if fault["point"] != point or fault.get("where", "executor") != _role:
        return
    if "shard" in fault and point == "forward_backward" and int(arguments[4]) != fault["shard"]:
        return
    if fault.get("least", 0) > sum(len(memoryview(buffer).cast("B")) for buffer in arguments[1:] if "least" in fault):
        return
    now = _step if _step >= 0 else started(folder)  # this process may compute no gradients
    if fault.get("always"):
        claim(folder, fault, 0)
        if now >= fault["steps"][0]:
            actions.ACTIONS[fault["action"]](fault | {"arguments": arguments})
        return
    for turn, at in enumerate(fault["steps"]):
        if now < at:
            return
        if claim(folder, fault, turn):
            actions.ACTIONS[fault["action"]](fault | {"arguments": arguments})
            return


def wanted_fault():
    """The fault of the run that is under way, if it has one."""
    with suppress(FileNotFoundError):
        return json.loads((Path(os.environ[processes.MARK]) / "fault.json").read_text())
    return None


def sockets():
    """What is used in place of shared memory; None for nothing."""
    return os.environ.get(SOCKETS) or (wanted_fault() or {}).get("sockets")


def started(folder):
    """The step that is under way, as far as the driver knows; -1 before the second one."""
    with suppress(OSError, IndexError):
        return int((folder / "progress").read_text().split()[-1]) + 1
    return -1


def claim(folder, fault, turn):
    """Whether this process is the first to come here; says when, and who."""
    try:
        handle = os.open(folder / f"fired-{fault['id']}-{turn}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump({"time": time.time(), "step": _step, "pid": os.getpid(), "role": _role}, file)
    return True
