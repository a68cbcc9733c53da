"""Whether what came of a scenario is what must come of it, and how long it took to recover."""

import re
from dataclasses import dataclass, field

STOP_SECONDS = 1.0


@dataclass
class Verdict:
    """What came of a scenario with an engine on a master.

    Attributes:
      scenario, engine, master: what was run.
      faults: what is not as it must be; empty if all is well.
      same: whether the bits are those of an undisturbed run.
      recovery: the longest time without a new step after the fault, in seconds; or the time until the run ended.
      said: what the history and the log say.
      left: what the run left behind, while its session went on.
      dead: block files of killed executors that are deleted with the session only, as nobody was there to do it.
    """

    scenario: str
    engine: str
    master: str
    faults: list[str] = field(default_factory=list)
    same: bool | None = None
    recovery: float | None = None
    said: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    dead: int = 0


def judge(verdict, scenario, result, fired, missing, reference):
    """Fill in a verdict."""
    faults = verdict.faults
    verdict.said = [*result.get("events", []), *result.get("log", [])]
    verdict.left, verdict.dead = result.get("left", []), result.get("dead", 0)
    if scenario.fault and not fired:
        faults.append(f"the fault never happened; points that are gone: {missing or 'none'}")
    error = result.get("error")
    must_raise = scenario.raises and not (scenario.may_end and not error)
    if must_raise:
        if not error or not re.search(scenario.raises, error, re.DOTALL):
            faults.append(f"raised {error}, not {scenario.raises}")
    elif error:
        faults.append(f"raised {error}")
    if scenario.stop is not None or scenario.raises == "KeyboardInterrupt":
        if result.get("step") not in (None, 12):
            verdict.same = result.get("again") == result.get("digest")
    elif not must_raise:
        verdict.same = result.get("digest") == reference
    if verdict.same is False:
        faults.append("other bits")
    if scenario.says and not re.search(scenario.says, "\n".join(verdict.said)):
        faults.append(f"the history does not say it: {verdict.said}")
    verdict.recovery = recovery(scenario, result, fired)
    stops = scenario.stop is not None or scenario.raises == "KeyboardInterrupt"
    if stops and verdict.recovery is not None and verdict.recovery > STOP_SECONDS + result.get("tolerated", 0):
        faults.append(f"stopped after {verdict.recovery:.1f} s")
    if verdict.left:
        faults.append(f"left {len(verdict.left)}: {verdict.left[:6]}")
    if result.get("persisted"):
        faults.append(f"left {result['persisted']} persisted RDDs")
    return verdict


def recovery(scenario, result, fired):
    """The longest time without a new step after the last fault, in seconds; or the time until the run ended."""
    if scenario.stop is not None:
        return result["ended"] - result["stopped"] if result.get("stopped") else None
    if not fired or not result.get("times"):
        return None
    happened = fired[-1]["time"]
    if result.get("error"):
        return result["ended"] - happened
    done, last, longest = -1, happened, 0.0
    for time, step in result["times"]:
        if step > done:  # not one that is taken again
            if time > happened:
                longest, last = max(longest, time - last), time
            done = step
    return longest if done > -1 and last > happened else None
