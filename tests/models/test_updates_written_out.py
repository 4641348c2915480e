"""Whole updates of some games against the same ones written out from their equations.

Networks, losses, weights and optimizers are formulas and loops here, in float64; derivatives are torch's.
"""

import itertools
import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans.game.latents import Normal
from lightning_gans.game.optimizers import SGD, Adam
from lightning_gans.models import ACGAN, DIWGAN, GOLDACGAN, VEEGAN, UnrolledGAN
from lightning_gans.networks import MLPDiscriminator, MLPGenerator
from tests.conformance.games import trainer

B, UPDATES = 5, 5


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Record(Callback):
    """Batches and whatever was drawn, of each update, and the weights at the start."""

    def on_train_start(self, trainer, module):
        module._unseen = False  # or it would refuse data in float64
        self.batches, self.labels, self.drawn = [], [], []
        self.weights = {name: p.detach().clone() for name, p in module.named_parameters()}
        draw = module.draw

        def drawing(n, of):
            self.drawn[-1].append(draw(n, of))
            return self.drawn[-1][-1]

        module.draw = drawing

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch[0])
        self.labels.extend(label.tolist() for label in batch[1:])
        self.drawn.append([])

    def of(self, network):
        """The matrices and vectors of a network, in the order of its layers."""
        own = [w.clone() for name, w in self.weights.items() if name.split(".")[0] == network]
        return [w.requires_grad_() for w in own]


def recorded(module, dim=2, labels=()):
    points = torch.randn(B * UPDATES, dim, generator=torch.Generator().manual_seed(1)) @ torch.randn(dim, dim)
    record = Record()
    loader = DataLoader(TensorDataset(points + 3, *labels), batch_size=B)
    trainer([record], max_steps=UPDATES).fit(module, loader)
    return record, points + 3


def mlp(values, weights, act):
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    for number, (matrix, bias) in enumerate(layers):
        values = values @ matrix.T + bias
        values = act(values) if number < len(layers) - 1 else values
    return values


def logits(values, weights, act):
    return mlp(values, weights, act)[:, 0]


def softplus(x):
    return torch.log(1 + torch.exp(x))


class ByHand:
    """Adam (Kingma and Ba, Algorithm 1)."""

    def __init__(self, weights, lr, beta1=0.5, beta2=0.999, eps=1e-8):
        self.options = lr, beta1, beta2, eps
        self.m, self.v, self.t = [0.0] * len(weights), [0.0] * len(weights), 0

    def copy(self):
        other = ByHand(self.m, *self.options)
        other.m, other.v, other.t = list(self.m), list(self.v), self.t
        return other

    def __call__(self, weights, gradients):
        lr, beta1, beta2, eps = self.options
        self.t += 1
        updated = []
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            self.m[i] = beta1 * self.m[i] + (1 - beta1) * g
            self.v[i] = beta2 * self.v[i] + (1 - beta2) * g**2
            m_hat, v_hat = self.m[i] / (1 - beta1**self.t), self.v[i] / (1 - beta2**self.t)
            updated.append(w - lr * m_hat / (v_hat.sqrt() + eps))
        return updated


def fresh(weights):
    return [w.detach().requires_grad_() for w in weights]


def assert_reached(module, tolerance, **networks):
    for name, weights in networks.items():
        for found, expected in zip(getattr(module, name).parameters(), weights, strict=True):
            torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------- DIWGAN


def cheapest(distances):
    permutations = itertools.permutations(range(B))
    return min(permutations, key=lambda order: sum(distances[i][j] for i, j in enumerate(order)))


def mean_one(values, clip):
    mean = sum(values) / B
    clipped = [min(max(value / mean, clip[0]), clip[1]) for value in values]
    return [value / (sum(clipped) / B) for value in clipped]


def density_weights(codes, past, clip, dim):
    if not past:
        return [1.0] * B
    points = [point for codes_of_one in past for point in codes_of_one]
    count, widths, logs = len(points), [], []
    for d in range(dim):
        mean = sum(p[d] for p in points) / count
        std = math.sqrt(sum((p[d] - mean) ** 2 for p in points) / count)
        widths.append(std * count ** (-1 / (dim + 4)))
    for code in codes:
        kernels = [
            math.exp(-sum(((code[d] - p[d]) / widths[d]) ** 2 for d in range(dim)) / 2) for p in points
        ]
        logs.append(math.log(sum(kernels) / count))
    tau = 1 if dim <= 3 else dim / 2
    total = sum(math.exp(log / tau) for log in logs)
    return mean_one([B * math.exp(log / tau) / total for log in logs], clip)


@pytest.mark.parametrize(("dim", "gamma", "clip"), [(2, 1.0, (0.1, 10.0)), (5, 2.0, (0.6, 1.5))])
def test_diwgan(dim, gamma, clip):
    torch.manual_seed(0)
    past_sets, alpha, lr = 3, 3.0, 0.1
    module = DIWGAN(
        (dim,), alpha, gamma, past_sets, weight_clip=clip, real_set="random", encoder="identity",
        latent=Normal(3),
        generator=partial(MLPGenerator, hidden=(6,), activation="tanh", output="none"),
        discriminator=partial(MLPDiscriminator, hidden=(4,), activation="tanh"),
        generator_optimizer=partial(SGD, lr=lr, momentum=0.0),
        discriminator_optimizer=partial(SGD, lr=lr, momentum=0.0),
    )  # fmt: skip
    record, points = recorded(module, dim)
    mean, std = points.mean(0), points.std(0, correction=0)
    real_codes = module.term.memory.codes[0].double()
    whole = (points - mean) / std
    assert all((whole - code).norm(dim=1).min() < 1e-5 for code in real_codes)

    judge, maker = record.of("discriminator"), record.of("generator")
    past, history = [], None
    for real, (for_generator, for_discriminator) in zip(record.batches, record.drawn, strict=True):
        fake = mlp(for_discriminator, maker, torch.tanh).detach()
        loss = (softplus(-logits(real, judge, torch.tanh)) + softplus(logits(fake, judge, torch.tanh))).mean()
        slopes = torch.autograd.grad(loss, judge)
        judge = fresh([w - lr * g for w, g in zip(judge, slopes, strict=True)])

        fake = mlp(for_generator, maker, torch.tanh)
        codes = (fake - mean) / std
        order = cheapest([[math.dist(r, c) for c in codes.tolist()] for r in real_codes.tolist()])
        of_fake = density_weights(codes.tolist(), past[-past_sets:], clip, dim)
        of_real = mean_one(history, clip) if history else [1.0] * B
        loss = softplus(-logits(fake, judge, torch.tanh)).mean()
        away = []
        for i, j in enumerate(order):
            distance = ((real_codes[i] - codes[j]).square().sum() + 1e-12).sqrt()
            loss = loss + alpha * (of_real[i] * of_fake[j]) ** gamma * distance / B
            away.append(distance.item())
        slopes = torch.autograd.grad(loss, maker)
        maker = fresh([w - lr * g for w, g in zip(maker, slopes, strict=True)])
        past.append(codes.tolist())
        history = away if history is None else [
            (1 - 1 / past_sets) * e + d / past_sets for e, d in zip(history, away, strict=True)
        ]  # fmt: skip
    assert max(of_fake) > 1.2 * min(of_fake)
    assert max(of_real) > 1.2 * min(of_real)
    assert_reached(module, 1e-4, discriminator=judge, generator=maker)
    torch.testing.assert_close(
        module.term.memory.history[0].double(), torch.tensor(history), rtol=1e-4, atol=1e-4
    )


# ---------------------------------------------------------------------- VEEGAN


@pytest.mark.parametrize("noise_units", [0, 1])
def test_veegan(noise_units):
    torch.manual_seed(0)
    module = VEEGAN(
        (2,), noise_units=noise_units, latent=Normal(3), discriminator={"hidden": (4,), "activation": "tanh"},
        generator=partial(MLPGenerator, hidden=(6,), activation="tanh", output="none"),
        reconstructor={"hidden": (5,), "activation": "tanh"},
        generator_optimizer=partial(Adam, lr=0.01), discriminator_optimizer=partial(Adam, lr=0.02),
    )  # fmt: skip
    record, _ = recorded(module)
    act, found = torch.tanh, 3 - noise_units
    judge, maker, finder = (record.of(name) for name in ("discriminator", "generator", "reconstructor"))
    steps = ByHand(judge, 0.02), ByHand(maker, 0.01), ByHand(finder, 0.01)
    for real, (latents, noise) in zip(record.batches, record.drawn, strict=True):
        fake, wanted = mlp(latents, maker, act), latents[:, :found]
        of_real = (mlp(real, finder, act) + noise).detach()
        on_real = logits(torch.cat([real, of_real], 1), judge, act)
        loss = softplus(-logits(torch.cat([fake.detach(), wanted], 1), judge, act)).mean()
        slopes = torch.autograd.grad(loss + softplus(on_real).mean(), judge)
        again = mlp(fake, finder, act)
        distance = sum(sum((wanted[i, k] - again[i, k]) ** 2 for k in range(found)) for i in range(B)) / (
            2 * B
        )
        loss = logits(torch.cat([fake, wanted], 1), judge, act).mean() + distance
        others = torch.autograd.grad(loss, [*maker, *finder])
        judge = fresh(steps[0](judge, slopes))
        of_maker, of_finder = others[: len(maker)], others[len(maker) :]
        maker, finder = fresh(steps[1](maker, of_maker)), fresh(steps[2](finder, of_finder))
    assert_reached(module, 1e-9, discriminator=judge, generator=maker, reconstructor=finder)


# ---------------------------------------------------------------------- Unrolled GAN


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("unroll_with", ["optimizer", "sgd"])
def test_unrolled_gan(unroll_with, second_order):
    torch.manual_seed(0)
    module = UnrolledGAN(
        (2,), 3, second_order, unroll_with, latent=Normal(3),
        generator=partial(MLPGenerator, hidden=(6,), activation="tanh", output="none"),
        discriminator=partial(MLPDiscriminator, hidden=(4,), activation="tanh"),
        generator_optimizer=partial(Adam, lr=0.01), discriminator_optimizer=partial(Adam, lr=0.02),
    )  # fmt: skip
    record, _ = recorded(module)
    act = torch.tanh
    judge, maker = record.of("discriminator"), record.of("generator")
    judge_step, maker_step = ByHand(judge, 0.02), ByHand(maker, 0.01)
    for real, (latents,) in zip(record.batches, record.drawn, strict=True):
        fake = mlp(latents, maker, act)

        def value(weights, real=real, fake=fake):
            return softplus(-logits(real, weights, act)).mean() + softplus(logits(fake, weights, act)).mean()

        own = torch.autograd.grad(value(judge), judge, retain_graph=True)
        ahead, step = judge, judge_step.copy()
        for _ in range(3):
            slopes = torch.autograd.grad(value(ahead), ahead, create_graph=True)
            if unroll_with == "optimizer":
                ahead = step(ahead, slopes)
            else:
                ahead = [w - 0.02 * g for w, g in zip(ahead, slopes, strict=True)]
        ahead = ahead if second_order else fresh(ahead)
        maker = fresh(maker_step(maker, torch.autograd.grad(-value(ahead), maker)))
        judge = fresh(judge_step(judge, [g.detach() for g in own]))
    assert_reached(module, 1e-9, discriminator=judge, generator=maker)


# ---------------------------------------------------------------------- ACGAN, GOLD


def two_heads(values, weights):
    """The logit and the class logits of each sample."""
    matrix, bias, source, source_bias, classes, classes_bias = weights
    features = torch.relu(values @ matrix.T + bias)
    return (features @ source.T + source_bias)[:, 0], features @ classes.T + classes_bias


def log_posterior(class_logits, label):
    return class_logits[label] - torch.log(torch.exp(class_logits).sum())


@pytest.mark.parametrize(("beta", "begins"), [(None, UPDATES), (1.0, 2), (0.5, 1)])
def test_acgan_and_gold(beta, begins):
    """Weights begin after some updates; a batch of the five has no label."""
    torch.manual_seed(0)
    classes, factor = 3, 0.2
    paper = ACGAN if beta is None else partial(GOLDACGAN, beta=beta, reweight_from=begins)
    module = paper(
        (2,), classes, class_weight=factor, latent=Normal(3),
        generator={"hidden": (6,)}, discriminator={"hidden": (4,)},
        generator_optimizer=partial(Adam, lr=0.01), discriminator_optimizer=partial(Adam, lr=0.02),
    )  # fmt: skip
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(40)  # or all terms are near those of zeros
    given = torch.tensor(
        [0, 1, -1, 2, 1, -1, -1, 2, -1, 0, -1, -1, -1, -1, -1, 1, 1, 0, 2, 0, 2, 0, -1, 1, -1]
    )
    record, _ = recorded(module, labels=(given,))
    judge, maker = record.of("discriminator"), record.of("generator")
    steps, gaps = (ByHand(judge, 0.02), ByHand(maker, 0.01)), []
    for number, (real, labels) in enumerate(zip(record.batches, record.labels, strict=True)):
        latents, wanted = record.drawn[number]
        one_hot = torch.eye(classes)[wanted]
        fake = mlp(torch.cat([latents, one_hot], 1), maker, torch.relu)
        on_real, of_real = two_heads(real, judge)
        on_fake, of_fake = two_heads(fake.detach(), judge)
        loss = sum(softplus(-logit) for logit in on_real) / B + 0 * of_real.sum()
        labelled = [i for i in range(B) if labels[i] >= 0]
        loss = loss - sum(log_posterior(of_real[i], labels[i]) for i in labelled) / max(len(labelled), 1)
        for j in range(B):
            log = log_posterior(of_fake[j], wanted[j])
            weight = 1.0
            if number >= begins:
                gap = on_fake[j].item() + log.item()
                gaps.append(gap)
                weight = math.copysign(abs(gap) ** beta, gap)
            loss = loss + weight * softplus(on_fake[j]) / B
            if j in labelled:
                loss = loss - factor * weight * log / len(labelled)
        judge = fresh(steps[0](judge, torch.autograd.grad(loss, judge)))
        on_fake, of_fake = two_heads(fake, judge)
        loss = sum(softplus(-on_fake[j]) - log_posterior(of_fake[j], wanted[j]) for j in range(B)) / B
        maker = fresh(steps[1](maker, torch.autograd.grad(loss, maker)))
    assert beta is None or min(gaps) < -0.5 < 0.5 < max(gaps)
    assert_reached(module, 1e-9, discriminator=judge, generator=maker)
