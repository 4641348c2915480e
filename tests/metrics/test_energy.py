"""The energy of the Coulomb GAN's field, as a metric."""

import pytest
import torch

from lightning_gans.losses import coulomb as losses
from lightning_gans.metrics import CoulombEnergy

REAL = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
FAKE = torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]])


def scored(real, fake, **arguments):
    metric = CoulombEnergy(**arguments)
    for start in range(0, len(fake), 2):  # in batches
        part = torch.arange(len(fake))[start : start + 2]
        metric.update(fake[part], part, real=False)
    metric.update(real, torch.arange(len(real)), real=True)
    return metric.compute()


def test_five_points():
    """Potentials of both sets are known; here the third generated point counts only without its partner."""
    scores = scored(REAL[:2], FAKE)
    at_real, at_fake = losses.potentials(REAL[:2], FAKE[:2])
    assert scores["energy"].item() == pytest.approx((at_real.mean() - at_fake.mean()).item() / 2)
    assert scores["energy_floor"].item() == pytest.approx((1 - 3**-0.5) / 2)
    assert scored(REAL, FAKE[:2]) == scores  # more real ones


def test_two_sets_of_one_distribution_are_at_the_floor():
    torch.manual_seed(0)
    rows = [scored(*torch.randn(2, 100, 2), epsilon=0.3) for _ in range(40)]
    energy, floor = (torch.stack([row[name] for row in rows]).mean().item() for name in CoulombEnergy.scores)
    assert energy == pytest.approx(floor, rel=0.1)
    lost = torch.randn(100, 2).clamp(min=0)
    assert scored(torch.randn(100, 2), lost, epsilon=0.3)["energy"] > 3 * floor


def test_bad_input():
    with pytest.raises(ValueError, match=r"epsilon=0\.0"):
        CoulombEnergy(epsilon=0.0)
    metric = CoulombEnergy()
    metric.update(REAL, torch.arange(3), real=True)
    with pytest.raises(ValueError, match="CoulombEnergy got no generated samples"):
        metric.compute()
