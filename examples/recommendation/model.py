"""NeuMF: which items a user chooses, from a product of factors and a perceptron over factors.

Source: He et al., "Neural collaborative filtering", WWW 2017, section 3.4.
"""

from dataclasses import dataclass
from typing import Any

import fdl
import fdl.numpy as fnp
from fdl import nn

#: Which parameters are tables, of which a step reads few rows.
TABLES = {"tables": True, "layers": False, "out": False}


@dataclass(frozen=True)
class Config:
    """Sizes of the tables, the product, and the perceptron: its inputs first, then its layers; () leaves it out."""

    users: int
    items: int
    factors: int
    layers: tuple[int, ...]


def init(key: Any, config: Config) -> dict[str, Any]:
    """Parameters: tables by normal numbers of deviation 0.01, and dense layers."""
    keys = fdl.random.split(key, 6)
    widths = {"mf": config.factors, "mlp": config.layers[0] // 2 if config.layers else 0}
    sizes = {
        f"{who}_{part}": (count, width)
        for part, width in widths.items()
        if width
        for who, count in (("user", config.users), ("item", config.items))
    }
    tables = {name: 0.01 * fdl.random.normal(one, size) for one, (name, size) in zip(keys, sizes.items(), strict=False)}
    last = config.factors + (config.layers[-1] if config.layers else 0)
    layers = nn.init_mlp(keys[4], config.layers) if config.layers else []
    return {"tables": tables, "layers": layers, "out": nn.init_dense(keys[5], last, 1)}


def apply(params: dict[str, Any], users: Any, items: Any, *, config: Config) -> Any:
    """The logits of users choosing items, integers whose shapes broadcast."""
    tables = params["tables"]
    users, items = fnp.broadcast_arrays(users, items)
    parts = []
    if config.factors:
        parts.append(tables["user_mf"][users] * tables["item_mf"][items])
    if config.layers:
        both = fnp.concatenate([tables["user_mlp"][users], tables["item_mlp"][items]], axis=-1)
        parts.append(nn.relu(nn.mlp(params["layers"], both)))
    return nn.dense(params["out"], fnp.concatenate(parts, axis=-1))[..., 0]
