"""What every game from latents to images promises."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from lightning_gans.game.optimizers import SGD
from lightning_gans.game.sides import Side

from .games import LATENT_GAMES, PAPERS, data_of, digits, game, paper, ring, same, trainer

every_latent_game = pytest.mark.parametrize("name", LATENT_GAMES)


@every_latent_game
def test_no_graph_through_the_generator_where_the_discriminator_alone_learns(name):
    data = data_of(name)
    module = game(name, data, discriminator_steps=3)
    graphs = []

    def watch(generator, _, images):
        if generator.training:
            graphs.append(images.requires_grad)

    hook = module.generator.register_forward_hook(watch)
    trainer(max_steps=2).fit(module, data)
    hook.remove()
    wanted = [False, False, True] if module.shares_fake else [False, False, False, True]
    size = len(wanted)  # some draw those of the generator's update before the others
    assert [sorted(graphs[:size]), sorted(graphs[size:])] == 2 * [wanted]


@every_latent_game
def test_discriminator_learns_a_fixed_batch(name):
    data = data_of(name)
    module = game(name, data)
    losses = []

    class Fixed(Callback):
        def on_train_start(self, trainer, module):
            rng = torch.Generator().manual_seed(1)
            shape, labels = (64, *data.image_shape), torch.arange(64) % 10
            real = Side(torch.randn(shape, generator=rng) * 0.1, labels)
            fake = Side(torch.randn(shape, generator=rng) * 0.1 + 0.5, labels, module.latent(64, rng))
            for _ in range(100):
                with torch.no_grad():
                    known = module.real_side(real)
                loss = module.discriminator_loss(known, fake)
                losses.append(loss.item())
                module.minimise("discriminator", loss)
                module.after_discriminator_step()

    trainer([Fixed()], max_steps=1).fit(module, data)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("data", [ring, digits])
@every_latent_game
def test_samples(name, data):
    data = data()
    if paper(name).conditional and data.num_classes is None:
        pytest.skip("needs labels")
    module = game(name, data).train()
    images = module.sample(7, seed=3)
    assert images.shape == (7, *data.image_shape)
    assert images.dtype == torch.float32
    assert not images.requires_grad
    if len(data.image_shape) == 3 and name in PAPERS:
        assert images.abs().max() <= 1
    assert module.generator.training
    assert same(images, module.sample(7, seed=3))
    assert not same(images, module.sample(7, seed=4))
    assert module.score(images).shape == (7,)


@pytest.mark.parametrize("name", ["DCGAN", "RealnessGAN", "WGANGP"])
def test_compiled_gives_the_same_losses(name, monkeypatch):
    """Three kinds: plain, with a penalised critic, with several outputs and buffers."""
    compiled = []
    original = nn.Module.compile

    def compile(self, *arguments, **options):
        compiled.append(type(self).__name__)
        original(self, backend="aot_eager")  # tracing and autograd of inductor, without its C++ compiler

    monkeypatch.setattr(nn.Module, "compile", compile)
    rows = []

    class Losses(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            rows[-1].append({k: float(v) for k, v in trainer.callback_metrics.items()})

    data = ring()
    for compile_ in (False, True):
        rows.append([])
        torch.compiler.reset()
        module = game(name, data, compile=compile_)
        trainer([Losses()], max_steps=3).fit(module, data)
        assert not any("_orig_mod" in key for key in module.state_dict())
    critic = type(module.discriminator).__name__
    assert (critic in compiled) == ("discriminator" not in module.never_compiled)
    assert type(module.generator).__name__ in compiled
    for plain, fast in zip(*rows, strict=True):
        assert plain == pytest.approx(fast, rel=1e-4, abs=1e-5)


ONE_AT_A_TIME = {
    "ACGAN": "convolutions",
    "ConditionalGAN": "convolutions",
    "GOLDACGAN": "convolutions",
}
"""Games that have one replica, with their usual networks, and a word of the reason."""


@every_latent_game
def test_replicas_are_the_runs_of_their_seeds(name):
    def fitted(seed, replicas=1):
        torch.manual_seed(seed)
        data = data_of(name, seed=seed)
        # Adam would divide rounding errors by each other, where they are all there is of a gradient.
        sgd = partial(SGD, lr=0.01)
        chosen = {"generator_optimizer": sgd, "discriminator_optimizer": sgd, "replicas": replicas}
        module = game(name, data, seed=seed, **chosen)
        trainer(max_steps=3).fit(module, data)
        return module

    if name in ONE_AT_A_TIME:
        with pytest.raises(ValueError, match=f"replicas=2.*{ONE_AT_A_TIME[name]}"):
            fitted(3, replicas=2)
        return
    together = fitted(3, replicas=2)
    for number in range(2):
        weights = together.replica(number).state_dict()
        for key, value in fitted(3 + number).state_dict().items():
            torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5, msg=f"{number}: {key}")
