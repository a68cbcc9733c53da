"""Parameters from and to the state dicts of PyTorch's modules of the same networks, as NumPy arrays."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.models.table import Model, abstract_params, find

_LEAVES = {"w": "weight", "b": "bias", "mean": "running_mean", "var": "running_var"}
#: Layers that torch keeps in one matrix, in its order.
_PACKED = ("query", "key", "value")
_COUNT = "num_batches_tracked"
#: What torch counts, and other buffers that older versions of transformers kept: ends of names.
_IGNORED = (_COUNT, "embeddings.position_ids", "embeddings.token_type_ids", ".attn.bias", ".attn.masked_bias")


class _Leaf(NamedTuple):
    """A leaf of parameters or state, and where torch has it."""

    part: int  # 0 for parameters, 1 for the state
    path: str
    shape: tuple[int, ...]
    key: str
    flattened: tuple[int, int, int] | None
    kept: bool  # whether torch has it as it is: tables, and dense layers that multiply from the right there too

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        if self.flattened is not None and array.ndim == 2:
            array = array.reshape(*self.flattened, -1).transpose(2, 0, 1, 3).reshape(array.shape)
        if self.kept or array.ndim < 2 or not self.path.endswith("/w"):
            return array
        return array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))  # [out, in, *window]

    def from_torch(self, array: np.ndarray) -> np.ndarray:
        if self.kept or array.ndim < 2 or not self.path.endswith("/w"):
            return array
        array = array.transpose(*range(2, array.ndim), 1, 0)
        if self.flattened is not None:
            height, width, channels = self.flattened
            array = array.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(array.shape)
        return array


def from_state_dict(name: str, arrays: Mapping[str, Any], *, config: Any = None) -> Any:
    """The parameters of a model from a state dict of torchvision's or transformers', or of a module with its names.

    Layouts are converted: images have their channels last here, and dense layers multiply from the right.

    Args:
        name: of the model, such as "resnet50".
        arrays: what ``module.state_dict()`` has, as arrays: ``{k: v.numpy() for k, v in ...}``. GPT-2's may be those of
            transformers' GPT2Model or GPT2LMHeadModel, without and with ``transformer.`` before the names.
        config: of the model, if it is not that of the name.

    Returns:
        What the model's `init` returns: parameters, or (parameters, state).

    Raises:
        ValueError: the model is unknown, or has no module in PyTorch; arrays are missing, unexpected, or of other
            shapes: all of them are named.

    >>> from fdl import random
    >>> from fdl.models import lenet
    >>> params = lenet.init(random.key(0))
    >>> arrays = to_torch_state_dict("lenet", params)
    >>> arrays["conv1.weight"].shape
    (6, 1, 5, 5)
    >>> again = from_state_dict("lenet", arrays)
    >>> bool((again["dense1"]["w"] == params["dense1"]["w"]).all())
    True
    """
    model = _model(name, config)
    abstract = abstract_params(model)
    packed = _by_key(model, abstract)
    unread = {*_tied(model)}
    given = {k: np.asarray(array) for k, array in arrays.items() if not (k.endswith(_IGNORED) or k in unread)}
    given = _with_prefix(given, packed)
    wrong = [f"missing: {key}" for key in packed if key not in given]
    wrong += [f"unexpected: {key}" for key in given if key not in packed]
    found: dict[tuple[int, str], Any] = {}
    for key, leaves in packed.items():
        if key not in given:
            continue
        expected = _torch_shape(leaves)
        if given[key].shape != expected:
            wrong.append(f"of another shape: {key} is {list(given[key].shape)}, not {list(expected)}")
            continue
        parts = np.split(given[key], len(leaves), _axis(leaves)) if len(leaves) > 1 else [given[key]]
        for leaf, part in zip(leaves, parts, strict=True):
            found[leaf.part, leaf.path] = fnp.asarray(leaf.from_torch(part).astype(np.float32))
    if wrong:
        raise ValueError(f"the state dict is not one of {name}: " + "; ".join(wrong))
    made = []
    for number, shapes in enumerate(abstract):
        paths, structure = _paths(shapes), tree.structure(shapes)
        made.append(tree.unflatten(structure, [found[number, path] for path, _ in paths]))
    return tuple(made) if model.has_state else made[0]


def to_torch_state_dict(name: str, params: Any, state: Any = None, *, config: Any = None) -> dict[str, np.ndarray]:
    """The arrays that a PyTorch module of this network takes, by name: the reverse of :func:`from_state_dict`.

    ``module.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})`` reads them.

    Args:
        name: of the model, such as "resnet50".
        params: its parameters.
        state: its state, if it has one.
        config: of the model, if it is not that of the name.

    Returns:
        Arrays by the names of torchvision, or of transformers for BERT and GPT-2.

    Raises:
        ValueError: the model is unknown, has no module in PyTorch, or the parameters are not its own.

    >>> from fdl import random
    >>> from fdl.models import lenet
    >>> list(to_torch_state_dict("lenet", lenet.init(random.key(0))))[:2]
    ['conv1.bias', 'conv1.weight']
    """
    model = _model(name, config)
    given = (params, state)
    values: dict[tuple[int, str], np.ndarray] = {}
    for part, abstract in enumerate(abstract_params(model)):
        expected, found = _paths(abstract), _paths(given[part])
        shapes = [(path, tuple(leaf.shape)) for path, leaf in expected]
        if shapes != [(path, tuple(np.shape(leaf))) for path, leaf in found]:
            raise ValueError(f"the {('parameters', 'state')[part]} are not those of {name} with this configuration")
        values |= {(part, path): np.asarray(leaf) for path, leaf in found}
    arrays = {}
    for key, leaves in _by_key(model, abstract_params(model)).items():
        arrays[key] = np.ascontiguousarray(
            np.concatenate([leaf.to_torch(values[leaf.part, leaf.path]) for leaf in leaves], _axis(leaves))
        )
        if key.endswith("running_var"):
            arrays[f"{key.removesuffix('running_var')}{_COUNT}"] = np.asarray(0, np.int64)
    return arrays | {key: arrays[other] for key, other in _tied(model).items()}


def _model(name: str, config: Any) -> Model:
    model = find(name)
    if not hasattr(model.module, "torch_name"):
        raise ValueError(f"there is no module of {name} in PyTorch whose names are known")
    return model if config is None else model._replace(config=config)


def _with_prefix(given: dict[str, np.ndarray], expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays under the names of a module with a head; its body alone, as in GPT-2's files, has no prefix."""
    parts = {key.partition(".")[0] for key in expected}
    longer = {f"{next(iter(parts))}.{key}": array for key, array in given.items()}
    return longer if len(parts) == 1 and expected.keys().isdisjoint(given) and expected.keys() & longer else given


def _tied(model: Model) -> dict[str, str]:
    """Names under which torch has an array a second time, and its first one."""
    return model.module.torch_tied(model.config) if hasattr(model.module, "torch_tied") else {}


def _axis(leaves: list[_Leaf]) -> int:
    """Along which axis torch packs layers into one matrix."""
    return -1 if leaves[0].kept else 0


def _paths(params: Any) -> list[tuple[str, Any]]:
    return [(tree.keystr(path, simple=True, separator="/"), leaf) for path, leaf in tree.leaves_with_path(params)]


def _leaves(model: Model, abstract: Any) -> Iterator[_Leaf]:
    flattened: dict[str, tuple[int, int, int]] = {}
    if hasattr(model.module, "torch_flattened"):
        flattened = model.module.torch_flattened(model.config)
    for part, shapes in enumerate(abstract):
        for path, leaf in _paths(shapes):
            layer, _, last = path.rpartition("/")
            if last in _LEAVES:
                key = f"{model.module.torch_name(layer, model.config)}{{}}{_LEAVES[last]}"
                key = key.format("_" if key.split("{}")[0].endswith("in_proj") else ".")
            else:
                key = model.module.torch_name(path, model.config)
            kept = hasattr(model.module, "torch_kept") and model.module.torch_kept(layer)
            yield _Leaf(part, path, tuple(leaf.shape), key, flattened.get(layer) if last == "w" else None, kept)


def _by_key(model: Model, abstract: Any) -> dict[str, list[_Leaf]]:
    """The leaves of each array of torch."""
    found: dict[str, list[_Leaf]] = {}
    for leaf in _leaves(model, abstract):
        found.setdefault(leaf.key, []).append(leaf)
    for leaves in found.values():
        if len(leaves) > 1:
            leaves.sort(key=lambda leaf: _PACKED.index(leaf.path.split("/")[-2]))
    return found


def _torch_shape(leaves: list[_Leaf]) -> tuple[int, ...]:
    shape = list(leaves[0].to_torch(np.broadcast_to(np.float32(0), leaves[0].shape)).shape)
    if len(leaves) > 1:
        shape[_axis(leaves)] *= len(leaves)
    return tuple(shape)
