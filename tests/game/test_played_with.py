"""A game whose network has other weights for a while."""

import pytest
import torch
from torch import nn

from lightning_gans.game.weights import Weights


class Tied(nn.Module):
    """Two layers with the same weight, and batch norm between them."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, values):
        return self.second(self.norm(self.first(values)))


@pytest.fixture
def game():
    torch.manual_seed(0)
    module = Weights()
    module.network_of_mine = Tied()
    return module


VALUES = torch.arange(12.0).view(4, 3).sin()


def test_other_weights_are_used_wherever_the_network_has_them(game):
    network = game.network_of_mine
    other = Tied().train()
    own = {key: value.clone() for key, value in network.state_dict().items()}
    with game.played_with("network_of_mine", dict(other.named_parameters())):
        found = network(VALUES)
    assert torch.equal(found, other(VALUES))
    # The statistics that the block gathered are forgotten, and the weights are the network's own parameters.
    assert all(torch.equal(value, own[key]) for key, value in network.state_dict().items())
    assert all(isinstance(p, nn.Parameter) for p in network.parameters())
    assert network.second.weight is network.first.weight


def test_gradients_reach_the_other_weights_alone(game):
    scale = torch.tensor(2.0, requires_grad=True)
    weight = scale * torch.eye(3)
    with game.played_with("network_of_mine", {"first.weight": weight}):
        game.network_of_mine(VALUES).square().sum().backward()
    assert scale.grad is not None
    assert game.network_of_mine.first.weight.grad is None
    assert game.network_of_mine.first.bias.grad is not None  # not named, so its own


def test_own_weights_are_back_after_an_error(game):
    own = game.network_of_mine.first.weight
    with (
        pytest.raises(RuntimeError),
        game.played_with("network_of_mine", {"first.weight": torch.zeros(3, 3)}),
    ):
        game.network_of_mine(torch.zeros(4, 5))
    assert game.network_of_mine.first.weight is own


def test_unknown_weights_are_refused(game):
    with pytest.raises(KeyError, match="third"), game.played_with("network_of_mine", {"third": VALUES}):
        pass
