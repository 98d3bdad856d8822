"""Muon and AdamW in one optimiser, against torch's own."""

import pytest
import torch
from torch import distributed, multiprocessing

from gen3d.pipeline.training.muon import Muon, orthogonal, shares


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (8, 8)])
def test_singular_values_come_near_one(shape):
    values = torch.linalg.svdvals(orthogonal(drawn(*shape)).float())
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3


def test_matrices_move_as_torch_moves_them():
    ours, theirs = (torch.nn.Parameter(drawn(6, 10)) for _ in range(2))
    mine = Muon([ours], [], lr=0.1, weight_decay=0.05)
    torchs = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        ours.grad = theirs.grad = drawn(6, 10, seed=step + 1)
        mine.step()
        torchs.step()
    assert torch.allclose(ours, theirs, atol=2e-2)
    assert not torch.allclose(ours, drawn(6, 10), atol=0.1)


def test_kernels_are_matrices_with_a_row_for_each_output():
    kernel, matrix = torch.nn.Parameter(drawn(4, 3, 2, 2)), torch.nn.Parameter(drawn(4, 3, 2, 2).flatten(1))
    kernel.grad = drawn(4, 3, 2, 2, seed=1)
    matrix.grad = kernel.grad.flatten(1)
    for parameter in (kernel, matrix):
        Muon([parameter], [], lr=0.1).step()
    assert torch.equal(kernel.flatten(1), matrix)


def test_the_others_move_as_adamw_moves_them():
    ours, theirs = (torch.nn.Parameter(drawn(7)) for _ in range(2))
    mine, torchs = Muon([], [ours], lr=0.01), torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.98), weight_decay=0)
    for step in range(5):
        ours.grad = theirs.grad = drawn(7, seed=step + 1)
        mine.step()
        torchs.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_it_goes_on_from_its_state():
    start = [drawn(4, 5), drawn(3)]

    def make():
        parameters = [torch.nn.Parameter(each.clone()) for each in start]
        return parameters, Muon(parameters[:1], parameters[1:], lr=0.05)

    def walk(parameters, optimizer, steps):
        for step in steps:
            for parameter in parameters:
                parameter.grad = drawn(*parameter.shape, seed=step)
            optimizer.step()

    whole, optimizer = make()
    walk(whole, optimizer, range(6))
    first, optimizer = make()
    walk(first, optimizer, range(3))
    second, resumed = make()
    for parameter, reached in zip(second, first, strict=True):
        parameter.data.copy_(reached)
    resumed.load_state_dict(optimizer.state_dict())
    walk(second, resumed, range(3, 6))
    assert all(torch.equal(one, other) for one, other in zip(whole, second, strict=True))


def test_costly_matrices_are_shared_evenly():
    assert shares([(4, 4), (100, 100), (60, 100), (50, 100)], 2) == [1, 0, 1, 1]
    assert shares([(4, 4), (100, 100)], 1) == [0, 0]


def moved(steps=3):
    """Matrices of some shapes after some steps."""
    parameters = [torch.nn.Parameter(drawn(*shape)) for shape in ((4, 5), (6, 2, 3, 3), (9, 4), (3, 8))]
    optimizer = Muon(parameters, [], lr=0.05)
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = drawn(*parameter.shape, seed=step)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def one_of_two(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(moved(), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_share_the_work_and_move_alike(tmp_path):
    multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.equal(one, other) for one, other in zip(found, moved(), strict=True))
