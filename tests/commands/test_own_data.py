"""Data modules of one's own on the command line: shapes that they have, and have not."""

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans import load


class Own(LightningDataModule):
    """A data module that knows nothing of games; with ``attribute``, no shape either."""

    def __init__(self, attribute: bool = False):
        super().__init__()
        if attribute:
            self.image_shape = None

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.linspace(-1, 1, 64 * 64).view(64, 1, 8, 8)), 16)


@pytest.mark.parametrize("attribute", ["true", "false"])
def test_a_data_module_that_knows_no_shape(cli, fails, attribute):
    given = ["fit", "--model", "GAN", "--data", f"{__name__}.Own", "--data.attribute", attribute,
             "--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false"]  # fmt: skip
    line = fails(*given)
    assert "data=Own has no attribute image_shape" in line
    assert "--model.image_shape" in line
    cli(*given, "--model.image_shape", "[1,8,8]")
    assert load("runs/gan/version_0/checkpoints/last.ckpt").image_shape == (1, 8, 8)
    trusted = ["--trusted", __name__, "--trainer.max_steps", 4]
    cli("fit", "--ckpt_path", "runs/gan/version_0", *trusted)  # the typed shape is among the run's settings
    cli("fit", "--config", "runs/gan/version_1/config.yaml")
    assert load("runs/gan/version_2/checkpoints/last.ckpt").image_shape == (1, 8, 8)


def test_a_typed_shape_that_is_not_the_datas(cli, fails):
    given = ["fit", "--model", "GAN", "--data", "Digits", "--trainer.max_steps", 1,
             "--trainer.enable_progress_bar", "false", "--model.image_shape"]  # fmt: skip
    line = fails(*given, "[1,8,9]")
    assert "model.image_shape=(1, 8, 9) is not the data's, (1, 8, 8)" in line
    cli(*given, "[1,8,8]")


def test_networks_of_another_game(fails):
    line = fails("fit", "--config", "dcgan/digits", "--model", "ConditionalGAN")
    assert "generator=DCGANGenerator of ConditionalGAN, called with float32 (2, 100) and int64 (2,)" in line
