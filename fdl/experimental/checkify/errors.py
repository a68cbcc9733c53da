"""The error that a checked function returns, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl import numpy as fnp
from fdl import tree
from fdl.control.check import Check
from fdl.core.trace import Tracer
from fdl.errors import CheckError


class JaxException(Exception):
    """Base of the kinds of errors that `checkify` finds."""


class NaNError(JaxException):
    """An operation made a NaN."""


class DivisionByZeroError(JaxException):
    """A divisor was zero."""


class OOBError(JaxException):
    """An index lay outside of its axis."""


class FailedCheckError(JaxException):
    """A condition of `check` did not hold."""


#: What `Error.throw` raises.
JaxRuntimeError = CheckError


@dataclass(frozen=True)
class Site:
    """A place of a function where an error may arise.

    Attributes:
        kind: of the error.
        check: the condition there; its message shows the payload.
        types: of the payload: the condition of a user's check and its values, or the numbers that the message shows.
    """

    kind: type[JaxException]
    check: Check
    types: tuple[Any, ...]

    def message(self, payload: Sequence[np.ndarray]) -> str:
        """What the error says."""
        if self.kind is FailedCheckError:
            return f"{self.check.first(payload[0], payload[1:])[0]} (`check` failed)"
        return self.check.message.format(*(np.asarray(p)[()] for p in payload))

    def raise_where(self, failed: Any, payload: Sequence[Any]) -> None:
        """Check, at run time, that the error has not happened."""
        holds = ~failed
        if self.kind is FailedCheckError:
            count, ndim = holds.ndim, fnp.ndim(payload[0])
            self.check(payload[0] | fnp.expand_dims(holds, tuple(range(count, ndim))), *payload[1:])
        else:
            self.check(fnp.all(holds), *payload)


class Error:
    """The first error of a call, if there was one; a pytree of arrays, so that it passes through jit and vmap.

    Attributes:
        code: 0 if there was none, else the number of its site, from 1: an int32 scalar, under vmap an array.
        payloads: for each site the numbers that its message shows.
        sites: where errors may arise.
    """

    def __init__(self, code: Any, payloads: Sequence[Sequence[Any]], sites: Sequence[Site]) -> None:
        self.code, self.payloads, self.sites = code, tuple(map(tuple, payloads)), tuple(sites)

    def get(self) -> str | None:
        """What the error says, or None; of a batch, a line for each example that has one."""
        code = np.asarray(self.code)
        lines = []
        for index in np.argwhere(code != 0) if code.ndim else np.ones((int(code != 0), 0), int):
            place = tuple(map(int, index))
            number = int(code[place]) - 1
            text = self.sites[number].message([np.asarray(p)[place] for p in self.payloads[number]])
            shown = ", ".join(map(str, place))
            lines.append(f"at mapped index {shown}: {text}" if place else text)
        return "\n".join(lines) if lines else None

    def get_exception(self) -> JaxException | None:
        """The error as an exception of its kind, or None."""
        text = self.get()
        if text is None:
            return None
        code = np.asarray(self.code)
        return self.sites[int(code[code != 0][0]) - 1].kind(text)

    def throw(self) -> None:
        """Raise a JaxRuntimeError if there was an error; inside of a transform, when the function runs.

        Raises:
            JaxRuntimeError: what `get` says.
        """
        if isinstance(self.code, Tracer):
            self.check()
        elif (text := self.get()) is not None:
            raise JaxRuntimeError(text)

    def check(self) -> None:
        """Check, at run time, that there was no error."""
        for number, (site, payload) in enumerate(zip(self.sites, self.payloads, strict=True), 1):
            site.raise_where(fnp.asarray(self.code) == number, payload)

    def __repr__(self) -> str:
        return f"Error({self.code if isinstance(self.code, Tracer) else self.get()})"


def _restored(sites: Any, children: Any) -> Error:
    code, payloads = children
    return Error(code, payloads, sites)


tree.register_pytree_node(Error, lambda e: ((e.code, e.payloads), e.sites), _restored)

#: No error.
init_error = Error(np.int32(0), (), ())
