import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gen3d.renderers.quaternions import matrix_to_quaternion, multiply, quaternion_to_matrix

seeds = st.integers(0, 2**20)


def random_quats(seed, *shape):
    return torch.randn(*shape, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scipy_rotation(quats):
    return Rotation.from_quat(quats.reshape(-1, 4).numpy(), scalar_first=True)


def close(one, other):
    torch.testing.assert_close(one, torch.as_tensor(other).reshape(one.shape), atol=1e-12, rtol=1e-12)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_matrices_equal_scipy(seed):
    quats = random_quats(seed, 2, 3)
    close(quaternion_to_matrix(quats), scipy_rotation(quats).as_matrix())


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_matrix_round_trip_up_to_sign(seed):
    quats = torch.nn.functional.normalize(random_quats(seed, 2, 3), dim=-1)
    back = matrix_to_quaternion(quaternion_to_matrix(quats))
    close(back, torch.where(quats[..., :1] < 0, -quats, quats))


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_product_is_right_then_left(seed):
    left, right = random_quats(seed, 5), random_quats(seed + 1, 5)
    close(quaternion_to_matrix(multiply(left, right)), quaternion_to_matrix(left) @ quaternion_to_matrix(right))
    close(quaternion_to_matrix(multiply(left, right)), (scipy_rotation(left) * scipy_rotation(right)).as_matrix())


def test_half_turns_and_identity():
    turns = torch.stack([torch.eye(3), *(torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1]))])
    quats = matrix_to_quaternion(turns)
    torch.testing.assert_close(quats.abs(), torch.eye(4))
    torch.testing.assert_close(quaternion_to_matrix(quats), turns)


def test_a_quarter_turn_about_z_takes_x_to_y():
    quat = torch.tensor([2**-0.5, 0.0, 0.0, 2**-0.5])
    torch.testing.assert_close(quaternion_to_matrix(quat) @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))


def test_a_slightly_wrong_matrix_gives_the_nearest_rotation():
    rotation = quaternion_to_matrix(random_quats(4))
    noisy = rotation + 1e-3 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vh = torch.linalg.svd(noisy)
    torch.testing.assert_close(quaternion_to_matrix(matrix_to_quaternion(noisy)), u @ vh, atol=2e-6, rtol=0)


def test_gradients_of_the_matrix():
    assert torch.autograd.gradcheck(quaternion_to_matrix, random_quats(0, 3).requires_grad_())
