"""Max pooling of four numbers, against torch's."""

import pytest
import torch
import torch.nn.functional as F

from lightning_gans.networks.pooling import MaxPoolOf4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradient_are_those_of_torch(dtype):
    """Also of equal numbers, of which there are many: whole ones of -2 to 2."""
    torch.manual_seed(0)
    images = torch.randint(-2, 3, (3, 2, 6, 8)).to(dtype).requires_grad_()
    weights = torch.randn(3, 2, 3, 4).to(dtype)
    (ours, own), (theirs, other) = (
        (y := pool(images), torch.autograd.grad(y, images, weights)[0])
        for pool in (MaxPoolOf4(), lambda x: F.max_pool2d(x, 2))
    )
    assert torch.equal(ours, theirs)
    assert torch.equal(own, other)


def test_not_a_number_stays_one():
    images = torch.zeros(1, 1, 2, 2)
    images[0, 0, 1, 0] = torch.nan
    assert MaxPoolOf4()(images).isnan().all()
