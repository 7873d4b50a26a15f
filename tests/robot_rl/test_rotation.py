"""Rotations against SciPy."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robot_rl import rotation

COUNT = 200
RANDOM = Rotation.random(COUNT, rng=np.random.default_rng(0))
QUATERNIONS = RANDOM.as_quat()  # xyzw
OTHERS = Rotation.random(COUNT, rng=np.random.default_rng(1))
VECTORS = np.random.default_rng(2).normal(size=(COUNT, 3))


def test_reordering_agrees_with_scipys_scalar_first_form():
    wxyz = RANDOM.as_quat(scalar_first=True)
    assert np.array_equal(rotation.to_wxyz(QUATERNIONS), wxyz)
    assert np.array_equal(rotation.from_wxyz(wxyz), QUATERNIONS)


def test_rotate_turns_body_vectors_into_the_world_as_scipy_does():
    assert np.allclose(rotation.rotate(QUATERNIONS, VECTORS), RANDOM.apply(VECTORS), atol=1e-14)


def test_rotate_inverse_turns_world_vectors_into_the_body_as_scipy_does():
    assert np.allclose(rotation.rotate_inverse(QUATERNIONS, VECTORS), RANDOM.apply(VECTORS, inverse=True), atol=1e-14)


def test_gravity_in_body_is_the_worlds_down_seen_from_the_body():
    expected = RANDOM.apply([0.0, 0.0, -1.0], inverse=True)
    assert np.allclose(rotation.gravity_in_body(QUATERNIONS), expected, atol=1e-14)


def test_gravity_points_down_when_upright():
    assert np.array_equal(rotation.gravity_in_body(np.array([0.0, 0.0, 0.0, 1.0])), [0.0, 0.0, -1.0])


def test_multiply_composes_right_first():
    product = Rotation.from_quat(rotation.multiply(QUATERNIONS, OTHERS.as_quat()))
    assert np.allclose((product * (RANDOM * OTHERS).inv()).magnitude(), 0.0, atol=1e-12)


def test_conjugate_is_the_inverse_rotation():
    assert np.allclose(rotation.conjugate(QUATERNIONS)[:, :3], -QUATERNIONS[:, :3])
    product = Rotation.from_quat(rotation.multiply(QUATERNIONS, rotation.conjugate(QUATERNIONS)))
    assert np.allclose(product.magnitude(), 0.0, atol=1e-12)


def test_yaw_is_the_first_angle_of_intrinsic_zyx():
    angles = np.random.default_rng(3).uniform([-np.pi, -1.5, -np.pi], [np.pi, 1.5, np.pi], (COUNT, 3))
    quaternions = Rotation.from_euler("ZYX", angles).as_quat()
    assert np.allclose(rotation.yaw(quaternions), angles[:, 0], atol=1e-12)


def test_from_yaw_turns_about_the_vertical():
    angles = np.linspace(-3.0, 3.0, 13)
    expected = Rotation.from_rotvec(np.outer(angles, [0.0, 0.0, 1.0]))
    assert np.allclose((Rotation.from_quat(rotation.from_yaw(angles)) * expected.inv()).magnitude(), 0.0, atol=1e-12)
    assert rotation.from_yaw(0.5).shape == (4,)


def test_wrap_is_the_equivalent_angle_nearest_to_zero():
    angles = np.random.default_rng(4).uniform(-50.0, 50.0, 1000)
    wrapped = rotation.wrap(angles)
    assert np.all((wrapped >= -np.pi) & (wrapped < np.pi))
    assert np.allclose(np.exp(1j * wrapped), np.exp(1j * angles), atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        rotation.gravity_in_body,
        rotation.yaw,
        rotation.conjugate,
        rotation.to_wxyz,
        rotation.from_wxyz,
        lambda q: rotation.rotate(q, VECTORS[: q.size // 4].reshape(*q.shape[:-1], 3)),
        lambda q: rotation.rotate_inverse(q, VECTORS[: q.size // 4].reshape(*q.shape[:-1], 3)),
        lambda q: rotation.multiply(q, q),
    ],
)
def test_one_rotation_gives_bit_for_bit_what_it_gives_in_a_batch(function):
    batch = function(QUATERNIONS[:6].reshape(2, 3, 4))
    assert batch.shape[:2] == (2, 3)
    flat = batch.reshape(6, *batch.shape[2:])
    assert np.array_equal(function(QUATERNIONS[:6]), flat)
    # Sums and products are the same bit for bit; an arc tangent may be another library's.
    assert function(QUATERNIONS[0]) == pytest.approx(flat[0], rel=4e-16 if function is rotation.yaw else 0, abs=0)


def test_arguments_are_left_as_they_were():
    quaternions, vectors = QUATERNIONS.copy(), VECTORS.copy()
    rotation.rotate(quaternions, vectors)
    rotation.multiply(quaternions, quaternions)
    rotation.gravity_in_body(quaternions)
    assert np.array_equal(quaternions, QUATERNIONS)
    assert np.array_equal(vectors, VECTORS)


def test_cross_is_numpys():
    assert np.allclose(rotation.cross(VECTORS, VECTORS[::-1]), np.cross(VECTORS, VECTORS[::-1]), atol=1e-14)
