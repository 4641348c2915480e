"""What the conformance suite does not know: labels."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lightning_gans import Digits, GaussianMixtures
from lightning_gans.game.sides import Side
from lightning_gans.losses import gan
from lightning_gans.models import ConditionalGAN
from lightning_gans.networks import ConditionalDCGANGenerator
from lightning_gans.networks.conditional import ConditionalMLPDiscriminator, ConditionalMLPGenerator


def game(**arguments):
    torch.manual_seed(0)
    return ConditionalGAN((1, 8, 8), 10, **arguments)


class Seen(Callback):
    """Records the labels that the networks get."""

    def __init__(self):
        self.real, self.generator, self.discriminator = [], [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if not self.real:
            for name in ("generator", "discriminator"):
                getattr(module, name).register_forward_hook(
                    lambda _, inputs, __, name=name: getattr(self, name).append(inputs[1])
                )
        self.real.append(batch[1])


@pytest.mark.parametrize("fraction", [1.0, 0.1])
def test_fakes_get_the_labels_of_the_real_batch(fraction):
    seen = Seen()
    Trainer(
        callbacks=[seen], max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        limit_val_batches=0, accelerator="cpu",
    ).fit(game(), Digits(batch_size=16, label_fraction=fraction))  # fmt: skip
    assert ((torch.cat(seen.real) < 0).float().mean() > 0.5) == (fraction < 1)
    for batch, labels in enumerate(seen.real):
        assert torch.equal(seen.generator[batch], labels)
        for judged in range(3):  # real, fake, and fake again for the generator
            assert torch.equal(seen.discriminator[3 * batch + judged], labels)


def test_losses_are_those_of_the_gan():
    module = game().eval()
    real, fake = torch.rand(2, 5, 1, 8, 8)
    labels = torch.tensor([0, 3, -1, 9, 5])
    d = module.discriminator
    loss = module.discriminator_loss(Side(real, labels), Side(fake, labels))
    torch.testing.assert_close(loss, gan.discriminator_loss(d(real, labels), d(fake, labels)))
    loss = module.generator_loss(Side(real, labels), Side(fake, labels))
    torch.testing.assert_close(loss, gan.generator_loss(d(fake, labels)))
    torch.testing.assert_close(module.score(real), module.score(real, torch.full((5,), -1)))
    assert not torch.equal(module.score(real), module.score(real, labels))


def test_labels_matter_to_samples():
    module = game()
    with torch.no_grad():
        latents = torch.randn(1, 100).expand(10, -1)
        images = module.sample_from(latents, torch.arange(10))
    assert len(images.flatten(1).unique(dim=0)) == 10
    with pytest.raises(ValueError, match="labels=None"):
        module.sample_from(latents)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: ConditionalGAN((1, 8, 8)), "labels"),
        (lambda: game(generator=ConditionalDCGANGenerator((1, 8, 8), num_classes=7)), "num_classes=7"),
        (lambda: ConditionalGAN((1, 9, 9), 10), r"image_shape=\(1, 9, 9\)"),
        (lambda: ConditionalMLPGenerator((2,), 5, 0), "num_classes"),
        (lambda: ConditionalMLPDiscriminator((2,), 0), "num_classes"),
        (lambda: ConditionalMLPGenerator((2,), 5, 3)(torch.rand(2, 4), torch.zeros(2)), "latents has shape"),
        (lambda: ConditionalMLPDiscriminator((2,), 3)(torch.rand(2, 4), torch.zeros(2)), "images has shape"),
    ],
)
def test_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()


def test_mlp_networks_read_the_label():
    """Label k is unit k beside the input; -1 is no unit."""
    torch.manual_seed(0)
    generator = ConditionalMLPGenerator((2,), 3, 4, hidden=(5,), output="none")
    latents, labels = torch.randn(3, 3), torch.tensor([1, 3, -1])
    rows = torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    torch.testing.assert_close(generator(latents, labels), generator.mlp(torch.cat([latents, rows], 1)))
    discriminator = ConditionalMLPDiscriminator((1, 2, 2), 4, hidden=(5,))
    images = torch.randn(3, 1, 2, 2)
    expected = discriminator.mlp(torch.cat([images.flatten(1), rows], 1))
    torch.testing.assert_close(discriminator(images, labels), expected)
    data = GaussianMixtures(layout="ring")
    assert ConditionalGAN(data.image_shape, data.num_classes).sample(3).shape == (3, 2)
