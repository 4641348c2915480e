"""Each image by itself, as in training on batches of one."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional

from lightning_gans.game.as_in_training import as_in_training
from tests.conformance.games import same


class Normed(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 3)
        self.norm, self.dropout = nn.BatchNorm2d(8), nn.Dropout(dropout)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, images):
        return self.last(self.dropout(self.norm(self.conv(images))).relu())


@pytest.fixture
def images():
    return torch.randn(5, 3, 8, 6, generator=torch.Generator().manual_seed(0))


def network(dropout=0.0):
    torch.manual_seed(0)
    return Normed(dropout).eval().requires_grad_(False)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_batch_statistics_of_each_image(images, order):
    net = network()
    state = deepcopy(net.state_dict())
    training = deepcopy(net).train()
    alone = torch.cat([training(image[None]) for image in images])
    with as_in_training(batch_statistics=True, seeds=None):
        together = net.to(memory_format=order)(images.to(memory_format=order))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert same(state, net.state_dict())
    assert (net(images) - alone).abs().max() > 0.1


@pytest.mark.parametrize("dropout", [nn.Dropout(0.25), nn.Dropout2d(0.25)])
def test_noise_of_each_image(dropout):
    dropout.eval()
    ones = torch.ones(6, 50, 8, 8)
    with as_in_training(batch_statistics=False, seeds=range(3, 9)):
        together = dropout(ones)
    with as_in_training(batch_statistics=False, seeds=[5, 3]):
        others = dropout(ones[:2])
    assert same(others, together[[2, 0]])
    kept = together.unique().tolist()
    assert kept == pytest.approx([0, 4 / 3])
    assert together.mean().item() == pytest.approx(1, abs=0.1)
    assert len({tuple(image.flatten().tolist()) for image in together}) == 6
    if isinstance(dropout, nn.Dropout2d):
        assert same(together.amin((2, 3)), together.amax((2, 3)))
    assert same(dropout(ones), ones)


def test_global_random_numbers_are_not_drawn():
    before = torch.get_rng_state()
    with as_in_training(batch_statistics=True, seeds=[1]):
        functional.dropout(torch.ones(1, 100), 0.5, training=False)
    assert same(before, torch.get_rng_state())


def test_compiled_networks_see_it(images):
    compiled, plain = network(0.5), network(0.5)
    compiled.compile(backend="eager")
    assert same(compiled(images), plain(images))  # its code for evaluation is there when the block begins
    made = []
    for net in (compiled, plain):
        with as_in_training(batch_statistics=True, seeds=range(5)):
            made.append(net(images))
    assert same(*made)
    assert same(compiled(images), plain(images))


def test_a_map_of_one_pixel_has_no_statistics():
    with (
        as_in_training(batch_statistics=True, seeds=None),
        pytest.raises(ValueError, match=r"batch norm of \(4, 1, 1\) has one value a channel"),
    ):
        nn.BatchNorm2d(4).eval()(torch.randn(3, 4, 1, 1))
