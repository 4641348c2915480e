import pytest
import torch
from torch import nn

from lightning_gans.networks import DCGANDiscriminator, guided_backpropagation
from lightning_gans.networks.guided import guided_gradient


def test_rule():
    x, g = torch.tensor([-1.0, 2.0, 3.0]), torch.tensor([5.0, -4.0, 6.0])
    assert guided_gradient(x, g).tolist() == [0, 0, 6]


def tiny():
    """One feature whose gradient can be written down: relu(2 relu(x1) - 3 relu(x2) + relu(x3))."""
    first, second = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 1, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.eye(3)[:, :, None, None])
        second.weight.copy_(torch.tensor([2.0, -3.0, 1.0])[None, :, None, None])
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.ReLU(), nn.Conv2d(1, 1, 1))


def test_view_by_hand():
    images = torch.tensor([[1.0, 0.1, -1.0], [-1.0, 1.0, 0.5]]).reshape(2, 3, 1, 1)
    views = guided_backpropagation(tiny(), images, 0)
    # image 1: the negative weight and the negative input are blocked; image 2: the feature is not active
    assert views.flatten(1).tolist() == [[2, 0, 0], [0, 0, 0]]
    assert guided_backpropagation(tiny(), images, 1, layer=0).flatten(1).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_only_the_most_active_position_counts():
    images = torch.zeros(1, 3, 4, 4)
    images[0, 0, 1, 2], images[0, 0, 3, 3] = 5.0, 4.0
    views = guided_backpropagation(tiny(), images, 0)
    assert views.nonzero().tolist() == [[0, 0, 1, 2]]
    images[0, 0, 3, 3] = 5.0  # of equal ones, one
    assert len(guided_backpropagation(tiny(), images, 0).nonzero()) == 1


def test_network_is_left_as_it_was():
    torch.manual_seed(0)
    network = DCGANDiscriminator((1, 16, 16), width=4).eval()
    images = torch.randn(2, 1, 16, 16)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        views = guided_backpropagation(network, images, 3)
    assert views.shape == images.shape
    assert views.isfinite().all()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not images.requires_grad


def test_arguments():
    network, images = DCGANDiscriminator((1, 16, 16), width=4), torch.randn(2, 1, 16, 16)
    with pytest.raises(ValueError, match="feature=8: the layer has 8"):
        guided_backpropagation(network, images, 8)
    with pytest.raises(ValueError, match="layer=2: the network has 2 hidden convolutions"):
        guided_backpropagation(network, images, 0, layer=2)
