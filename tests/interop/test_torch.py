"""PyTorch's modules as functions of fdl, against PyTorch; skipped where it is not installed."""

import pickle
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import InteropError, OperatorError, ShapeError
from fdl.interop import from_torch, to_torch_state_dict

torch = pytest.importorskip("torch")
nn = torch.nn


def arrays(tensors: Any) -> Any:
    return fdl.tree.map(lambda t: fnp.asarray(t.detach().numpy()), tensors)


def compare(module: Any, example: tuple, call: tuple) -> None:
    """Outputs and gradients of a module in evaluation mode, for another batch than that of the example."""
    apply, params = from_torch(module, example)
    apply = pickle.loads(pickle.dumps(apply))
    want = module.eval()(*call)
    weights = torch.randn(want.shape, generator=torch.Generator().manual_seed(1))
    (want * weights).sum().backward()
    inputs = arrays(call)

    def loss(params: Any) -> Any:
        out = apply(params, *inputs)
        return (out * fnp.asarray(weights.numpy())).sum(), out

    (_, out), gradients = fdl.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(out, want.detach().numpy(), rtol=1e-5, atol=1e-5)
    flat = to_torch_state_dict(gradients)
    named = dict(module.named_parameters())
    assert flat.keys() == named.keys()
    for name, parameter in named.items():
        np.testing.assert_allclose(flat[name], parameter.grad, rtol=1e-4, atol=1e-5, err_msg=name)


class Words(nn.Module):
    """Indices, an embedding with padding, and recurrent layers in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4, padding_idx=0)
        self.lstm = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True, dropout=0.5)
        self.gru = nn.GRU(6, 3, batch_first=True)

    def forward(self, words: Any) -> Any:
        return self.gru(self.lstm(self.embed(words))[0])[0]


def convolutions() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Conv2d(4, 4, 3, groups=2, padding="same"), nn.Hardswish(), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(24, 5),
    )  # fmt: skip


def test_convolutions() -> None:
    compare(convolutions(), (torch.randn(2, 3, 9, 11),), (torch.randn(3, 3, 9, 11),))


def test_recurrent_layers() -> None:
    torch.manual_seed(0)
    compare(Words(), (torch.randint(0, 11, (2, 5)),), (torch.randint(0, 11, (3, 5)),))


def test_attention() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    compare(layer, (torch.randn(2, 5, 8),), (torch.randn(3, 5, 8),))


def test_training_updates_running_statistics_as_pytorch_does() -> None:
    module = convolutions()
    module[8].p = 0.0
    images = torch.randn(4, 3, 9, 11)
    apply, params, state = from_torch(module, (images[:2],), train=True)
    assert module.training
    assert list(state["1"]) == ["running_mean", "running_var"]
    want = module(images)
    out, new = apply(params, state, arrays(images))
    np.testing.assert_allclose(out, want.detach().numpy(), rtol=1e-5, atol=1e-5)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(new["1"][name], getattr(module[1], name), rtol=1e-5, atol=1e-6)
    loaded = convolutions()
    loaded.load_state_dict(to_torch_state_dict(params, new), strict=False)
    out, _ = apply(params, new, arrays(images), training=False)
    np.testing.assert_allclose(out, loaded.eval()(images).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_parameters_that_are_integers_are_constants() -> None:
    class Counted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.full((2,), 3.0))
            self.steps = torch.nn.Parameter(torch.tensor([1, 2]), requires_grad=False)

        def forward(self, x: Any) -> Any:
            return x * self.scale + self.steps

    apply, params = from_torch(Counted(), (torch.ones(2, 2),))
    assert list(params) == ["scale"]
    gradient = fdl.grad(lambda p: apply(p, fnp.ones((3, 2))).sum())(params)
    np.testing.assert_array_equal(gradient["scale"], [3, 3])
    np.testing.assert_array_equal(apply(params, fnp.ones((3, 2)))[0], [4, 5])


def test_parameters_that_are_reached_as_constants_have_gradients() -> None:
    """As in Keras, whose variables hold tensors of the same memory."""

    class Held(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(3, 2))
            self.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
            self.held = [self.w.detach()]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.held[0] + self.frozen

    apply, params = from_torch(Held(), (torch.ones(4, 3),))
    gradient = fdl.grad(lambda p: apply(p, np.ones((5, 3), np.float32)).sum())(params)
    np.testing.assert_array_equal(np.asarray(gradient["w"]), np.full((3, 2), 5))
    np.testing.assert_array_equal(np.asarray(gradient["frozen"]), np.zeros(2))


def test_shared_parameters_stand_once() -> None:
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    module[1].weight = module[0].weight
    apply, params = from_torch(module, (torch.ones(2, 3),))
    assert list(params) == ["0"]
    weight = np.asarray(params["0"]["weight"])
    np.testing.assert_allclose(apply(params, np.eye(3, dtype=np.float32)), weight.T @ weight.T, rtol=1e-5)


def test_what_cannot_be_imported_is_said() -> None:
    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.linalg.svdvals(x) + torch.special.bessel_j0(x).sum() + torch.special.bessel_j0(x).mean()

    with pytest.raises(OperatorError, match=r"2 operators .* aten\._linalg_svd.* aten\.special_bessel_j0"):
        from_torch(Odd(), (torch.ones(3, 3),))
    with pytest.raises(InteropError, match=r"module must be a torch\.nn\.Module, got str"):
        from_torch("file", (1,))
    apply, params = from_torch(nn.Linear(3, 2), (torch.ones(4, 3),))
    with pytest.raises(ShapeError, match=r"has the shape \(3,\), the module was exported for \(any, 3\)"):
        apply(params, np.ones(3, np.float32))
