"""Functions of a module that are the same but for integers become one, which takes the integers as arguments.

A program of many layers has the same kernel for many extents: of 900 functions in Inception's training step 190 differ
in more than numbers, and LLVM's time follows the size of the code. An integer becomes an argument where that costs next
to nothing: as a factor, a term, an offset, the bound of a loop or the argument of a call, but not as a divisor (unless
the division is named as one that happens seldom), and not in a block of instructions that multiplies floats. So do
names of constant tables of integers.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
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

_DEFINITION = re.compile(r'^define internal void @"([^"]+)"\(([^\n]*)\)([^()\n]*)\n\{\n(.*?)\n\}$', re.M | re.S)
_OPERAND = re.compile(
    r'(  %"[^"]+" = (?:(?:mul|add|sub)(?: nsw| nuw)*|icmp \w+)  ?i64 [^,]+, |'
    r'  %"seldom[^"]*" = udiv i64 [^,]+, |'
    r'  %"[^"]+" = (?:select  i1 [^,]+, i64 [^,]+|getelementptr \w+, ptr [^,]+), i64 )(-?\d+)$'
)
#: What follows is a block of instructions.
_BLOCK = re.compile(r"(?m)^(?=[^ \n][^\n]*:$)")
#: Where products are summed, addresses with constant distances need no registers.
_PRODUCT = re.compile(r"@\"llvm\.fma\.| fmul ")
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
    for _ in range(ROUNDS):
        shared = _shared_once(module)
        if shared == module:
            break
        module = shared
    return module


def _shared_once(module: str) -> str:
    named, called = Counter(_NAMED.findall(module)), Counter(name for name, _ in _CALLED.findall(module))
    groups: dict[tuple[str, ...], list[_Function]] = defaultdict(list)
    for name, parameters, attributes, body in _DEFINITION.findall(module):
        if named[name] == called[name] + 1:  # its address is taken nowhere
            one = _Function(name, parameters, attributes, *_cut(body))
            groups[str(name.startswith(LONG)), parameters, attributes, *one.pieces].append(one)
    places: dict[str, _Shared] = {}
    definitions: dict[str, str] = {}
    tables, before = list[str](), module.count('\n@"shared.')
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
        return module

    def call(match: re.Match[str]) -> str:
        name, arguments = match.groups()
        if name not in places:
            return match.group()
        added = ", ".join([*([arguments] if arguments else []), *places[name].arguments])
        return f'call void @"{places[name].name}"({added})'

    module = _DEFINITION.sub(lambda match: definitions.get(match.group(1), match.group()), module)
    return _CALLED.sub(call, module) + "".join(tables)


def _cut(body: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pieces and the integers of a body."""
    pieces, integers, piece = [], [], ""
    for block in _BLOCK.split(body):
        if _PRODUCT.search(block):
            piece += block
            continue
        for line in block.splitlines(keepends=True):
            if "call " in line:
                first, *rest = _ARGUMENT.split(line)
                texts, found = [first, *rest[1::2]], rest[0::2]
            elif match := _TABLE.match(line) or _OPERAND.match(line):
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
