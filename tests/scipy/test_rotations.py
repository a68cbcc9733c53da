"""Rotations of space and what is between them, against SciPy."""

import itertools

import numpy as np
import pytest
from scipy.spatial import transform as theirs

import fdl
import fdl.numpy as fnp
from fdl import random
from fdl.errors import RangeError, ShapeError
from fdl.scipy.spatial import transform as ours

RNG = np.random.default_rng(0)
QUATERNIONS = RNG.normal(size=(5, 4))
TURN, TURNS = ([module.Rotation.from_quat(q) for module in (ours, theirs)] for q in (QUATERNIONS[0], QUATERNIONS))


def close(found, expected, bound=1e-12):
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(np.asarray(found), expected, bound, bound)


@pytest.mark.parametrize("pair", [TURN, TURNS], ids=["one", "stack"])
def test_forms_are_those_of_scipy(pair):
    mine, other = pair
    for name, options in [
        ("as_matrix", {}),
        ("as_mrp", {}),
        ("as_rotvec", {"degrees": True}),
        ("as_quat", {}),
        ("as_quat", {"canonical": True, "scalar_first": True}),
        ("magnitude", {}),
    ]:
        close(getattr(mine, name)(**options), getattr(other, name)(**options))
    close(mine.inv().as_quat(), other.inv().as_quat())
    vectors = RNG.normal(size=(5, 3))
    for inverse in (False, True):
        close(mine.apply(vectors, inverse), other.apply(vectors, inverse))
    close(mine.apply(vectors[0]), other.apply(vectors[0]))
    close((mine * TURN[0]).as_matrix(), (other * TURN[1]).as_matrix())
    assert mine.single == other.single and (mine.single or len(mine) == 5)


def test_rotations_from_forms():
    for turn in (TURN[1], TURNS[1]):
        for name in ("matrix", "mrp", "rotvec", "quat"):
            form = getattr(turn, f"as_{name}")()
            close(getattr(ours.Rotation, f"from_{name}")(form).as_matrix(), turn.as_matrix())
    # Half turns, in which each entry of the quaternion is the largest one in turn.
    for q in np.eye(4):
        matrix = theirs.Rotation.from_quat(q).as_matrix()
        close(ours.Rotation.from_matrix(matrix).as_matrix(), matrix)
    scalar_first = ours.Rotation.from_quat(np.roll(QUATERNIONS, 1, -1), scalar_first=True)
    close(scalar_first.as_matrix(), TURNS[1].as_matrix())
    close(ours.Rotation.from_rotvec([0, 90, 0], degrees=True).as_matrix(), [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], 1e-6)
    close(ours.Rotation.identity(2).apply(np.float32([1, 2, 3])), [[1, 2, 3]] * 2)


def test_angles_about_all_orders_of_axes():
    orders = [o for o in itertools.product("xyz", repeat=3) if o[0] != o[1] != o[2]]
    singular = theirs.Rotation.from_euler("xyx", [[30, 0, 10], [30, 180, 10]], degrees=True)
    upright = theirs.Rotation.from_euler("xyz", [[20, 90, 50], [20, -90, 50]], degrees=True)
    for order in map("".join, orders):
        for seq in (order, order.upper()):
            close(TURNS[0].as_euler(seq), TURNS[1].as_euler(seq))
            close(TURN[0].as_euler(seq, degrees=True), TURN[1].as_euler(seq, degrees=True), 1e-10)
            angles = RNG.uniform(-180, 180, (4, 3))
            expected = theirs.Rotation.from_euler(seq, angles, degrees=True).as_matrix()
            close(ours.Rotation.from_euler(seq, angles, degrees=True).as_matrix(), expected)
        for turns in (singular, upright):  # whose angles are not unique
            made = ours.Rotation.from_quat(turns.as_quat()).as_euler(order)
            close(ours.Rotation.from_euler(order, made).as_matrix(), turns.as_matrix(), 1e-7)
    for angles in (0.3, [0.3], [[0.3], [0.4]]):
        expected = theirs.Rotation.from_euler("y", angles).as_matrix()
        close(ours.Rotation.from_euler("y", np.array(angles)).as_matrix(), expected, 1e-6 if angles == 0.3 else 1e-12)


def test_stacks():
    mine, other = TURNS
    close(mine[1:3].as_quat(), other[1:3].as_quat())
    close(mine[2].as_quat(), other[2].as_quat())
    assert [r.single for r in mine] == [True] * 5
    both = ours.Rotation.concatenate([mine, TURN[0]])
    close(both.as_quat(), theirs.Rotation.concatenate([other, TURN[1]]).as_quat())
    weights = RNG.uniform(size=5)
    for given in (None, weights):
        close(mine.mean(given).as_matrix(), other.mean(given).as_matrix())


def test_rotations_drawn_are_uniform():
    matrices = np.asarray(ours.Rotation.random(random.key(0), 4000).as_matrix())
    # Entries of uniform rotations have mean 0 and variance 1/3; the standard error of both is below 0.01.
    assert np.abs(matrices.mean(0)).max() < 0.04 and np.abs(matrices.var(0) - 1 / 3).max() < 0.04


def test_rotations_between():
    times = np.array([0.0, 1.0, 1.5, 4.0, 5.0])
    mine, other = ours.Slerp(times, TURNS[0]), theirs.Slerp(times, TURNS[1])
    at = np.array([0.0, 0.3, 1.0, 4.9, 5.0])
    close(mine(at).as_matrix(), other(at).as_matrix())
    close(fdl.jit(lambda s, t: s(t).as_matrix())(mine, at), other(at).as_matrix())
    assert mine(0.5).single
    close(mine(0.5).as_matrix(), other(0.5).as_matrix())
    close(ours.Slerp.init(times, TURNS[0]).timedelta, np.diff(times))
    turns = ours.Rotation.from_euler("z", np.float32([[0], [90]]), degrees=True)
    late = ours.Slerp(np.array([1.6e9, 1.6e9 + 1]), turns)(np.float64(1.6e9 + 0.5)).as_rotvec(degrees=True)
    assert late.dtype == np.float32 and np.allclose(late, [0, 0, 45], atol=1e-4)


def test_rotations_are_trees_with_derivatives():
    def angle(v):
        return ours.Rotation.from_rotvec(v).as_rotvec()

    close(fdl.jacobian(angle)(np.zeros(3)), np.eye(3))
    close(fdl.jacobian(angle)(np.array([0.5, -0.2, 0.1])), np.eye(3))
    for seq, first in [("zyz", [1, 0, 1]), ("XYX", [1, 0, 1]), ("xyz", [1, 0, 0])]:
        slopes = fdl.jacobian(lambda a, seq=seq: ours.Rotation.from_euler(seq, a).as_euler(seq))(np.zeros(3))
        assert np.isfinite(slopes).all() and np.allclose(slopes[0], first)
    close(fdl.grad(lambda v: ours.Rotation.from_rotvec(v).magnitude())(np.zeros(3)), np.zeros(3))
    turned = fdl.vmap(lambda r, v: r.apply(v))(TURNS[0], np.ones((5, 3)))
    close(turned, TURNS[1].apply(np.ones(3)))
    mapped = fdl.tree.map(lambda q: 2 * q, TURNS[0])
    close(mapped.quat, 2 * TURNS[1].as_quat())
    assert ours.Rotation.from_quat(np.ones(4, np.float32)).apply(np.ones(3, np.float32)).dtype == np.float32


def test_wrong_rotations_are_refused():
    turn, turns = TURN[0], TURNS[0]
    for call, words in [
        (lambda: ours.Rotation.from_quat(np.ones(3)), "from_quat"),
        (lambda: ours.Rotation.from_matrix(np.ones((3, 2))), "from_matrix"),
        (lambda: ours.Rotation.from_euler("xy", np.ones(3)), "from_euler"),
        (lambda: turn.apply(np.ones(4)), "apply"),
        (lambda: turns.mean(np.ones(3)), "weights"),
        (lambda: ours.Slerp([0.0], turn), "at least two"),
        (lambda: ours.Slerp([0.0, 1.0], turns), "time for each"),
        (lambda: ours.Slerp(fnp.arange(5), turns)(np.ones((2, 2))), "vector"),
    ]:
        with pytest.raises(ShapeError, match=words):
            call()
    for stacks in (lambda: turns * turns[:3], lambda: turns.apply(np.ones((3, 3)))):
        with pytest.raises(ShapeError, match="5 rotations do not fit 3"):
            stacks()
    for times in ([0, 1, 1, 2, 3], [4, 3, 2, 1, 0], [0, 1, np.nan, 3, 4]):
        with pytest.raises(RangeError, match="Slerp: times must be strictly ascending"):
            ours.Slerp(np.array(times, float), turns)
    with pytest.raises(TypeError, match="sequence of Rotations, got 1"):
        ours.Rotation.concatenate([turn, 1])
    with pytest.raises(TypeError, match="identity: num must be an integer"):
        ours.Rotation.identity("x")
    assert ours.Rotation.identity(dtype=int).quat.dtype == np.float32
    assert ours.Rotation.identity(2, dtype="bfloat16").mean().quat.dtype == "bfloat16"
    for seq in ("xxy", "xyZ", "", "abc"):
        with pytest.raises(ValueError, match="seq"):
            ours.Rotation.from_euler(seq, np.ones(len(seq)))
    for call in (lambda: len(turn), lambda: turn[0], lambda: turn * 2, lambda: ours.Slerp([0.0, 1.0], None)):
        with pytest.raises(TypeError):
            call()
