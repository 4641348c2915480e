"""What the conformance suite does not know of ACGAN: its losses, data that is labelled in part, bad input."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.autograd import gradcheck
from torch.distributions import Normal
from torch.nn.functional import cross_entropy, softplus
from torch.utils.data import DataLoader

from lightning_gans import ACGAN, GAN
from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.optimizers import SGD, Adam
from lightning_gans.game.sides import Side
from lightning_gans.networks import (
    ACGANDiscriminator,
    ACGANGenerator,
    ConditionalMLPGenerator,
    MLPDiscriminator,
    Rebuildable,
)
from tests.conformance.games import digits, game, ring, same, trainer
from tests.kill import KillAt, Killed

K = 3


class Heads(Rebuildable, nn.Module):
    """Says of a sample (1 + K,) what it is made of: its logit, then those of the classes."""

    num_classes = K

    def __init__(self, image_shape):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(image_shape))

    def forward(self, samples):
        heads = self.scale.to(samples.dtype) * samples
        return heads[:, 0], heads[:, 1:]


def with_heads(paper=ACGAN, **arguments):
    generator = partial(ConditionalMLPGenerator, num_classes=K, hidden=(4,), output="none")
    return paper((1 + K,), K, generator=generator, discriminator=Heads, **arguments)


def sides(n=6, labels=(0, 2, -1, 1, -1, 2)):
    rng = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(n, 1 + K, generator=rng, dtype=torch.float64) for _ in range(2))
    return Side(real, torch.tensor(labels)), Side(fake, torch.tensor([1, 0, 2, 2, 1, 0]))


def test_losses():
    real, fake = sides()
    module = with_heads(class_weight=0.3)
    counted = [0, 1, 3, 5]  # the labelled samples, and the fakes in their places
    expected = softplus(-real.images[:, 0]).mean() + softplus(fake.images[:, 0]).mean()
    expected = expected + cross_entropy(real.images[counted, 1:], real.labels[counted])
    expected = expected + 0.3 * cross_entropy(fake.images[counted, 1:], fake.labels[counted])
    torch.testing.assert_close(module.discriminator_loss(real, fake), expected)
    expected = softplus(-fake.images[:, 0]).mean() + cross_entropy(fake.images[:, 1:], fake.labels)
    torch.testing.assert_close(module.generator_loss(real, fake), expected)


def test_the_best_logit_is_the_log_ratio_of_the_densities():
    """Of data N(0, 1) and fakes N(1, 1) that is 0.5 - x, 0.5 at x = 0: there the loss has no slope."""
    data = Normal(0, 1).icdf((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
    line = torch.tensor([-1.0, 0.5], dtype=torch.float64, requires_grad=True)

    def side(x):
        logits = line[0] * x + line[1]
        return Side(torch.stack([logits] + [torch.zeros_like(x)] * K, 1), torch.full((len(x),), -1))

    real, fake = side(data), side(data + 1)
    loss = with_heads().discriminator_loss(real, Side(fake.images, fake.labels + 1))
    (slopes,) = torch.autograd.grad(loss, line)
    assert slopes.abs().max() < 1e-4


@pytest.mark.parametrize("labels", [(0, 2, -1, 1, -1, 2), (0, 1, 2, 0, 1, 2), (-1,) * 6])
def test_gradients_equal_finite_differences(labels):
    module, (real, fake) = with_heads(), sides(labels=labels)

    def loss(of_real, of_fake, which):
        return getattr(module, which)(Side(of_real, real.labels), Side(of_fake, fake.labels))

    given = real.images.requires_grad_(), fake.images.requires_grad_()
    for which in ("discriminator_loss", "generator_loss"):
        assert gradcheck(partial(loss, which=which), given)


def test_a_batch_without_labels_has_no_class_loss():
    real, fake = sides(labels=(-1,) * 6)
    real.images.requires_grad_(), fake.images.requires_grad_()
    loss = with_heads().discriminator_loss(real, fake)
    torch.testing.assert_close(loss, softplus(-real.images[:, 0]).mean() + softplus(fake.images[:, 0]).mean())
    loss.backward()
    assert not real.images.grad[:, 1:].any()
    assert not fake.images.grad[:, 1:].any()


def test_second_head():
    module = with_heads()
    judged = module.judge(sides()[0])
    assert module.class_logits(judged) is judged[1]
    assert torch.equal(module.logits(judged), judged[0].float())
    assert GAN((2,)).class_logits(torch.zeros(3)) is None
    assert module.score(torch.eye(4)).tolist() == [1, 0, 0, 0]


def test_defaults_of_the_released_code():
    module = ACGAN((2,), 2)
    assert (module.class_weight, module.labeled_batch_size) == (0.1, None)
    for make in (module.generator_optimizer, module.discriminator_optimizer):
        (group,) = make(module.parameters()).param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (2e-4, (0.5, 0.999), 0)


# ---------------------------------------------------------------------- labelled samples that are drawn


def test_labelled_samples_take_the_place_of_the_batchs():
    (real, fake), (labelled, _) = sides(), sides(labels=(0, 1, 2, 2, 1, 0))
    module = with_heads(labeled_batch_size=2, class_weight=0.3)
    drawn = labelled.images[:2] + 1, labelled.labels[:2]
    module._draw_labelled = lambda: drawn
    expected = softplus(-real.images[:, 0]).mean() + softplus(fake.images[:, 0]).mean()
    expected = expected + cross_entropy(drawn[0][:, 1:], drawn[1])
    expected = expected + 0.3 * cross_entropy(fake.images[:, 1:], fake.labels)
    torch.testing.assert_close(module.discriminator_loss(real, fake), expected)
    # Losses on held-out data are over the labels of that.
    expected = with_heads(class_weight=0.3).discriminator_loss(real, fake)
    torch.testing.assert_close(module.eval().discriminator_loss(real, fake), expected)


class Drawn(Callback):
    """Records the labelled samples that are drawn, and gives the labels of others after some updates."""

    def __init__(self, asks_after=None):
        self.labels, self.calls, self.asks_after = [], 0, asks_after

    def on_train_start(self, trainer, module):
        draw = module._draw_labelled
        module.discriminator.register_forward_hook(lambda *_: setattr(self, "calls", self.calls + 1))

        def drawing():
            drawn = draw()
            self.labels.append(drawn[1].tolist())
            return drawn

        module._draw_labelled = drawing

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.asks_after:
            labels = trainer.datamodule.stored("train")[1]
            labels[:] = 7


def test_each_labelled_sample_is_drawn_alike_and_new_labels_count_at_once():
    drawn, data = Drawn(asks_after=2), digits(label_fraction=0.125, flip=True)  # 20 labels, 2 of each class
    module = game("ACGAN", data, labeled_batch_size=30)
    trainer([drawn], max_steps=4).fit(module, data)
    for labels in drawn.labels[:2]:
        counts = torch.bincount(torch.tensor(labels), minlength=10)
        assert ((counts >= 2) & (counts <= 4)).all()
    assert drawn.labels[0] != drawn.labels[1]
    assert drawn.labels[2:] == [[7] * 30] * 2
    assert drawn.calls == 4 * 4  # real samples, labelled ones apart from them, fakes, fakes for the generator


def test_drawn_samples_are_cut_as_those_of_batches():
    data = digits(image_size=8, load_size=10)
    data.prepare_data()
    data.setup("fit")
    images, labels = data.draw_labelled(300, torch.Generator().manual_seed(0))
    assert images.shape == (300, 1, 8, 8)
    stored, of_stored = data.stored("train")
    cuts = (stored.float() / 127.5 - 1).unfold(2, 8, 1).unfold(3, 8, 1)[:, 0]  # (N, 3, 3, 8, 8)
    places = set()
    for image, label in zip(images, labels, strict=True):
        number, *place = ((cuts - image).abs().amax((-1, -2)) < 1e-5).nonzero()[0].tolist()
        assert of_stored[number] == label
        places.add(tuple(place))
    assert len(places) == 9


def test_killed_and_resumed_draws_the_same():
    def run(folder, ckpt_path=None, extra=()):
        data = digits(limit=64, label_fraction=0.25)
        module = game("ACGAN", data, labeled_batch_size=7)
        callbacks = [Checkpoint(every_n_updates=2, dirpath=folder), *extra]
        trainer(callbacks, max_steps=6).fit(module, data, ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    whole = run("whole")
    with pytest.raises(Killed):
        run("killed", extra=[KillAt(5)])
    resumed = run("killed", "killed/last.ckpt")
    for key in ("state_dict", "optimizer_states", "run_state"):
        assert same(whole[key], resumed[key]), key


@pytest.mark.parametrize("options", [{}, {"labeled_batch_size": 6}])
def test_replicas_on_points_are_the_runs_of_their_seeds(options):
    """Of which each has other numbers of labelled samples in its batches."""

    def trained(seed, replicas=1):
        torch.manual_seed(seed)
        sgd = partial(SGD, lr=0.05)
        data = ring(seed=seed, label_fraction=0.2)
        module = game(
            "GOLDACGAN", data, seed, generator_optimizer=sgd, discriminator_optimizer=sgd, replicas=replicas,
            reweight_from=0, balanced=True, normalize_weights=True, weight_generator=True, **options,
        )  # fmt: skip
        trainer(max_steps=4).fit(module, data)
        return module

    together = trained(3, replicas=2)
    for number in range(2):
        own = together.replica(number).state_dict()
        for key, value in trained(3 + number).state_dict().items():
            torch.testing.assert_close(own[key], value, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------- what it learns, networks, bad input


def test_learns_the_ring():
    """Eight Gaussians: samples of a class come to lie where that class is."""
    torch.manual_seed(0)
    data, adam = ring(samples=2000, batch_size=64), partial(Adam, lr=2e-3)
    networks = {player: {"hidden": (32, 32)} for player in ("generator", "discriminator")}
    module = ACGAN((2,), 8, generator_optimizer=adam, discriminator_optimizer=adam, **networks)
    trainer(max_steps=250, log_every_n_steps=1000).fit(module, data)
    labels = torch.arange(800) % 8
    points, classes = data.stored("train")
    means = torch.stack([points[classes == k].mean(0) for k in range(8)])
    nearest = torch.cdist(module.sample_from(module.draw_latents(800, seed=1)[0], labels), means).argmin(1)
    assert (nearest == labels).float().mean() > 0.8
    with module.inference():
        assert (module.judge(Side(points))[1].argmax(1) == classes).float().mean() > 0.9


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((1, 28, 28), "ACGAN"), ((3, 32, 32), "ACGANColour"), ((4, 48, 48), "ACGANColour"), ((2,), "ACGANMLP")],
)
def test_default_networks(shape, kind):
    module = ACGAN(shape, 4)
    assert type(module.generator).__name__ == f"{kind}Generator"
    assert type(module.discriminator).__name__ == f"{kind}Discriminator"
    assert module.latent.dim == (2 if shape == (2,) else 100)
    assert module.generator.num_classes == module.discriminator.num_classes == 4


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: ACGAN((1, 8, 8)), "num_classes=None"),
        (lambda: ACGAN((1, 8, 8), 10, class_weight=-1), "class_weight=-1"),
        (lambda: ACGAN((1, 8, 8), 10, labeled_batch_size=0), "labeled_batch_size=0"),
        (lambda: ACGAN((1, 30, 30), 10), r"\(1, 30, 30\).*\(channels, 28, 28\)"),
        (lambda: ACGAN((3, 28, 28), 10), r"\(3, 28, 28\).*\(channels, 24, 24\)"),
        (lambda: ACGAN((1, 8, 8), 10, generator=ACGANGenerator((1, 8, 8), 100, 7)), "generator has .*=7"),
        (lambda: ACGAN((1, 8, 8), 10, discriminator=ACGANDiscriminator((1, 8, 8), 7)), "discriminator .*=7"),
    ],
)
def test_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()


class Three(Heads):
    def forward(self, samples):
        logits, classes = super().forward(samples)
        return logits[:, None], classes


@pytest.mark.parametrize("discriminator", [MLPDiscriminator, Three])
def test_a_discriminator_without_heads(discriminator):
    module = with_heads()
    module.discriminator = discriminator((1 + K,))
    with pytest.raises(ValueError, match=r"must return logits \(N,\) and class logits \(N, 3\)"):
        trainer(max_steps=1).fit(module, DataLoader([sides()[0].images.float()], batch_size=None))


def test_data_without_labels():
    data = digits()
    data.load = lambda split, load=data.load: (load(split)[0], torch.full((len(load(split)[1]),), -1))
    with pytest.raises(ValueError, match="none of the 160 training samples of Digits has a label"):
        trainer(max_steps=1).fit(game("ACGAN"), data)
    batches = [sides()[0].images.float()] * 2
    with pytest.raises(
        ValueError, match="labeled_batch_size=5: labelled samples are drawn from the data mod"
    ):
        trainer(max_steps=1).fit(with_heads(labeled_batch_size=5), DataLoader(batches, batch_size=None))
    with pytest.raises(ValueError, match="labeled_batch_size=1 leaves batch norm without statistics"):
        trainer(max_steps=1).fit(game("ACGAN", labeled_batch_size=1), digits())
    with pytest.raises(ValueError, match=r"labels\[1\]=3: give -1 to 2"):
        trainer(max_steps=1).fit(
            with_heads(), DataLoader([(batches[0], torch.tensor([0, 3, 1, 1, 1, 1]))], batch_size=None)
        )


def test_no_warning_of_a_first_batch_without_labels(recwarn):
    data = digits(label_fraction=10 / 160)
    trainer(max_steps=1).fit(game("ACGAN", data), data)
    assert not [w for w in recwarn if "has a label" in str(w.message)]
