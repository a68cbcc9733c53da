"""Functions of a module that are the same but for integers become one, which takes the integers as arguments.

A program of many layers has the same kernel for many extents: of 900 functions in Inception's training step 190 differ
in more than numbers, and LLVM's time follows the size of the code. An integer becomes an argument where that costs next
to nothing: as a factor, a term, an offset, the bound of a loop or the argument of a call, but not as a divisor (unless
the division is named as one that happens seldom), and not in a block of instructions that multiplies floats. So do
names of constant tables of integers.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from itertools import chain
from typing import NamedTuple

#: More integers than this in a function stay as they are: most of the arguments are read from memory. That costs some
#: percent of the instructions of short kernels, so each function that is saved is worth two arguments.
MOST_ARGUMENTS = 16
#: But functions whose names start like this run so long that they may read any number of integers from a table.
LONG = "long."
#: Characters of text that are worth it.
LEAST_SAVED = 2000
#: Functions that call what has become one function may become one themselves.
ROUNDS = 3

#: What precedes a definition, and all of it before the body.
_START = "\ndefine internal void "
_HEAD = re.compile(r'define internal void @"([^"]+)"\(([^\n]*)\)([^()\n]*)')
_OPERAND = re.compile(
    r'(  %"[^"]+" = (?:(?:mul|add|sub)(?: nsw| nuw)*|icmp \w+)  ?i64 [^,]+, |'
    r'  %"seldom[^"]*" = udiv i64 [^,]+, |'
    r'  %"[^"]+" = (?:select  i1 [^,]+, i64 [^,]+|getelementptr \w+, ptr [^,]+), i64 )(-?\d+)$'
)
#: What follows is a block of instructions.
_BLOCK = re.compile(r"(?m)^(?=[^ \n][^\n]*:$)")
_TABLE = re.compile(r'(  %"[^"]+" = (?:getelementptr|load) \w+, ptr )(@"table\.\w+")')
_ARGUMENT = re.compile(r'((?<=i64 )-?\d+(?=[,)])|(?<=ptr )@"table\.\w+"(?=[,)]))')
_CALLED = re.compile(r'call void @"([^"]+)"\(([^()\n]*)\)')
_NAMED = re.compile(r'@"([^"]+)"')


class _Function(NamedTuple):
    """A definition, and its body cut at the integers that may become arguments: pieces[0] integers[0] pieces[1] ..."""

    name: str
    parameters: str
    attributes: str
    pieces: tuple[str, ...]
    integers: tuple[str, ...]


class _Shared(NamedTuple):
    """What takes the place of a function: the name of another or its own, and the arguments to add to its calls."""

    name: str
    arguments: tuple[str, ...]


def share_functions(module: str) -> str:
    """The text of an LLVM module in which internal functions that are alike have become one."""
    texts, read = _texts(module), cache(_Reading)
    for _ in range(ROUNDS):
        shared = _shared_once(texts, read)
        if shared is None:
            break
        texts = shared
    return "".join(texts)


class _Reading:
    """What is known of a text of a module: the names in it, the functions that it calls, and itself as a function."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names = _NAMED.findall(text)
        self.called = [name for name, _ in _CALLED.findall(text)]

    @cached_property
    def function(self) -> _Function | None:
        """The text as a function, if it is the definition of an internal one without result."""
        head, found, body = self.text.partition("\n{\n")
        match = _HEAD.fullmatch(head)
        if not found or match is None:
            return None
        name, parameters, attributes = match.groups()
        return _Function(name, parameters, attributes, *_cut(body.removesuffix("\n}")))

    @property
    def name(self) -> str:
        """The name of the internal function that the text defines, if it does."""
        return self.names[0] if self.text.startswith(_START[1:]) else ""


def _texts(module: str) -> list[str]:
    """The definitions of a module, each a text of its own, and what is between them."""
    first, *rest = ("\n" + module).split(_START)
    texts = [first]
    for text in rest:
        end = text.find("\n}\n")
        end = len(text) if end < 0 else end + 2
        texts += ["\n", _START[1:] + text[:end], text[end:]]
    return ["".join(texts[:2])[1:], *texts[2:]]


def _shared_once(texts: Sequence[str], read: Callable[[str], _Reading]) -> list[str] | None:
    """The texts with functions that are alike made one, or None if there are none."""
    readings = list(map(read, texts))
    named = Counter(chain.from_iterable(reading.names for reading in readings))
    called = Counter(chain.from_iterable(reading.called for reading in readings))
    groups: dict[tuple[str, ...], list[_Function]] = defaultdict(list)
    for reading in readings:
        if named[reading.name] != called[reading.name] + 1:
            continue  # no such function, or one whose address is taken
        if one := reading.function:
            groups[str(one.name.startswith(LONG)), one.parameters, one.attributes, *one.pieces].append(one)
    places: dict[str, _Shared] = {}
    definitions: dict[str, str] = {}
    tables, before = list[str](), sum(text.count('\n@"shared.') for text in texts)
    for functions in groups.values():
        columns = list(zip(*[one.integers for one in functions], strict=True))
        differing = sorted({column for column in columns if len(set(column)) > 1})
        length = sum(map(len, functions[0].pieces))
        few = len(differing) <= min(MOST_ARGUMENTS, 2 * (len(functions) - 1))
        if length * (len(functions) - 1) < LEAST_SAVED or not (few or functions[0].name.startswith(LONG)):
            continue
        numbers = [] if few else [column for column in differing if _type(column[0]) == "i64"]
        given = [column for column in differing if column not in numbers]
        for number, one in enumerate(functions):
            arguments = [f"{_type(column[number])} {column[number]}" for column in given]
            if numbers:
                arguments.append(f'ptr @"shared.{before + len(tables)}"')
                tables.append(_table(before + len(tables), [column[number] for column in numbers]))
            places[one.name] = _Shared(functions[0].name, tuple(arguments))
            definitions[one.name] = ""
        definitions[functions[0].name] = _with_parameters(functions[0], columns, given, numbers)
    if not places:
        return None

    def call(match: re.Match[str]) -> str:
        name, arguments = match.groups()
        if name not in places:
            return match.group()
        added = ", ".join([*([arguments] if arguments else []), *places[name].arguments])
        return f'call void @"{places[name].name}"({added})'

    changed = []
    for reading in readings:
        text = definitions.get(reading.name, reading.text)
        again = text is not reading.text or not places.keys().isdisjoint(reading.called)
        changed.append(_CALLED.sub(call, text) if again else text)
    return changed + tables


def _cut(body: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pieces and the integers of a body."""
    pieces, integers, piece = [], [], ""
    for block in _BLOCK.split(body):
        if '@"llvm.fma.' in block or " fmul " in block:
            piece += block  # where products are summed, addresses with constant distances need no registers
            continue
        for line in block.splitlines(keepends=True):
            if "call " in line:
                first, *rest = _ARGUMENT.split(line)
                texts, found = [first, *rest[1::2]], rest[0::2]
            elif (line.rstrip()[-1:].isdigit() or '@"table.' in line) and (
                match := _TABLE.match(line) or _OPERAND.match(line)
            ):
                texts, found = [match.group(1), line[match.end() :]], [match.group(2)]
            else:
                texts, found = [line], []
            for text, integer in zip(texts, found, strict=False):
                pieces.append(piece + text)
                integers.append(integer)
                piece = ""
            piece += texts[-1]
    return (*pieces, piece), tuple(integers)


def _with_parameters(
    function: _Function,
    columns: Sequence[tuple[str, ...]],
    given: Sequence[tuple[str, ...]],
    numbers: Sequence[tuple[str, ...]],
) -> str:
    """The definition that takes the differing integers as arguments, or from a table that is its last argument."""
    # A function may be shared once more, in a later round.
    mark = f"{len(given)}.{len(numbers)}"
    names = {column: f'%"shared.{number}.{mark}"' for number, column in enumerate([*given, *numbers])}
    body = function.pieces[0]
    for column, integer, piece in zip(columns, function.integers, function.pieces[1:], strict=True):
        body += names.get(column, integer) + piece
    added = [f"{_type(column[0])} {names[column]}" for column in given]
    if numbers:
        added.append(f'ptr %"numbers.{mark}"')
        label, _, rest = body.partition("\n")
        loads = "".join(
            f'  %"place.{n}.{mark}" = getelementptr i64, ptr %"numbers.{mark}", i64 {n}\n'
            f'  {names[column]} = load i64, ptr %"place.{n}.{mark}"\n'
            for n, column in enumerate(numbers)
        )
        body = f"{label}\n{loads}{rest}"
    parameters = ", ".join([*([function.parameters] if function.parameters else []), *added])
    return f'define internal void @"{function.name}"({parameters}){function.attributes}\n{{\n{body}\n}}'


def _table(number: int, integers: Sequence[str]) -> str:
    """The definition of a table."""
    texts = ", ".join(f"i64 {integer}" for integer in integers)
    return f'\n@"shared.{number}" = internal constant [{len(integers)} x i64] [{texts}]\n'


def _type(number: str) -> str:
    """The type of an integer, or of the name of a table."""
    return "ptr" if number.startswith("@") else "i64"
