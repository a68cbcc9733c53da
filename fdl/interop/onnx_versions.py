"""What nodes of older versions of ONNX's operators mean, said in the words of newer ones."""

from typing import Any

Args = tuple[Any, ...]

#: Before version 13 they took all axes from `axis` on as one, and `axis` was 1 unless given.
_COERCED = ("Softmax", "LogSoftmax", "Hardmax")


def modern(name: str, args: Args, settings: dict[str, Any], outputs: int, version: int) -> tuple[Args, dict[str, Any]]:
    """Operands and attributes that mean today what those of a node meant in a version of the operators.

    What was an attribute and has become an operand is not changed: the functions of operators take both.

    Args:
        name: of the operator.
        args: the operands.
        settings: the attributes.
        outputs: how many outputs the node has.
        version: of ONNX's own operators.

    Returns:
        Operands and attributes.

    >>> modern("Softmax", ("x",), {}, 1, 12)
    (('x',), {'axis': 1, 'coerced': 1})
    """
    if name in _COERCED and version < 13:
        settings = {"axis": 1} | settings | {"coerced": 1}
    if name == "Upsample" or (name == "Resize" and version < 11):
        args = (args[0], None, *args[1:])  # there were no regions
        settings = settings | {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "simple"}
    if name == "Split" and len(args) == 1 and "split" not in settings:
        settings = settings | {"num_outputs": outputs}  # equal parts, whose number the outputs tell
    if name == "DFT" and version < 20 and "axis" not in settings:
        settings = settings | {"axis": 1}
    if name == "MaxPool" and outputs > 1:
        settings = settings | {"indices": 1}
    return args, settings
