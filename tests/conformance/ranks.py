"""Run by two or four processes (torch.distributed.run): every paper for a few updates on plain DDP."""

import hashlib
from copy import deepcopy
from functools import partial

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.latents import GaussianMixture
from lightning_gans.game.optimizers import SGD
from lightning_gans.losses import wgan
from lightning_gans.models import DeLiGAN, RealnessGAN
from lightning_gans.models.deligan.threshold import Threshold
from lightning_gans.models.realness.anchors import ReleasedAnchors
from lightning_gans.networks import MLPGenerator
from tests.conformance.games import LATENT_GAMES, PAPERS, game, images_of, ring, same, trainer

torch.set_num_threads(1)

EXTRA = {
    # Starts between what the ranks see: each by itself would move another player.
    "DeLiGAN, threshold": lambda: DeLiGAN(
        (2,), schedule=Threshold(updates=3, start=0.7, floor=0.65, rise=0.01)
    ),
    "RealnessGAN, released anchors": lambda: RealnessGAN((2,), 5, ReleasedAnchors(), generator_steps=2),
    "RealnessGAN, gathered": lambda: RealnessGAN(
        (2,), 5, gather=True, resample="batch", generator=partial(MLPGenerator, hidden=(32,), output="none")
    ),
}
"""Papers with what the ranks must share beside their weights: a schedule, anchors, statistics."""

GATHERED = {"CoulombGAN": {"gather": True}, "DIWGAN": {"gather": True}}
"""Papers whose losses couple the samples of a batch: what makes that the batch of all ranks."""

UNCOUPLED = {
    "RealnessGAN": {
        "resample": "none",
        "generator": partial(MLPGenerator, hidden=(32,), output="none"),
    },
    "Pix2Pix": {
        "generator": {"width": 4, "norm": "none", "dropout": "none"},
        "discriminator": {"width": 4, "norm": "none", "receptive_field": 16},
    },
    "UnrolledGAN": {"unrolled_steps": 0},  # each rank unrolls with its own batch
    "VEEGAN": {"latent_noise": False},
    "DIWGAN": {"encoder": "identity"},
}
"""Papers whose networks or noise couple them by default: the same paper without that."""


def on_all():
    return {"strategy": "ddp", "devices": torch.distributed.get_world_size()}


def each(samples):
    """The samples of each rank, where all have so many together."""
    return {"batch_size": samples // torch.distributed.get_world_size()}


def digest(state):
    return hashlib.sha256(b"".join(v.detach().numpy().tobytes() for v in state.values())).hexdigest()


def reachable(module):
    return {name: p.detach() for name, p in module.named_parameters()}


class Latents(Callback):
    """Records the latents that this rank draws, labels, and the components of a mixture."""

    def __init__(self):
        self.drawn, self.components, self.labels = [], [], []

    def on_train_start(self, trainer, module):
        if not hasattr(module, "latent"):
            return
        module.latent.register_forward_hook(
            lambda *arguments: self.drawn.append(arguments[-1].detach().clone())
        )
        draw_labels = module.draw_labels
        module.draw_labels = lambda *given: self.labels.append(draw_labels(*given)) or self.labels[-1]
        if isinstance(module.latent, GaussianMixture):
            draw = module.latent.of_components

            def record(components, rng):
                self.components.append(components.clone())
                return draw(components, rng)

            module.latent.of_components = record


class Traffic(Callback):
    """Counts what is summed over the ranks, single numbers not, and the gradients of those who step."""

    def __init__(self):
        self.sent = self.needed = 0

    def on_train_start(self, trainer, module):
        step, self.all_reduce = module.step, torch.distributed.all_reduce

        def counted(player):
            networks = module.player_networks(player).values()
            self.needed += 2  # the samples of each rank, and the loss
            self.needed += sum(p.grad.numel() for n in networks for p in n.parameters() if p.grad is not None)
            step(player)

        def summed(tensor, *arguments, **keywords):
            self.sent += tensor.numel() * (tensor.numel() > 1)
            return self.all_reduce(tensor, *arguments, **keywords)

        module.step, torch.distributed.all_reduce = counted, summed

    def on_train_end(self, trainer, module):
        torch.distributed.all_reduce = self.all_reduce


def again(latent, drawn, components):
    """Latents that were drawn before, as functions of what the latent has learned."""
    if components is None:
        return drawn
    mu, sigma = latent.mu[components], latent.sigma[components]
    return mu + sigma * ((drawn - mu) / sigma).detach()


def weights_and_noise(name, folder):
    torch.manual_seed(0)
    latents, traffic = Latents(), Traffic()
    module, data = game(name), images_of(name)
    trainer([latents, traffic], max_steps=3, **on_all()).fit(module, data)
    # Games without latents draw from two streams: networks from torch's, themselves from their own.
    noise = latents.drawn or [torch.rand(2), torch.rand(2, generator=module.rng)]
    noise = torch.cat([z.flatten() for z in noise])
    return {
        "weights": digest(reachable(module)),
        "noise": noise[:4].tolist(),
        "traffic": [traffic.sent, traffic.needed],
    }


def shared_state(name):
    torch.manual_seed(0)
    module = EXTRA[name]()
    start = digest(reachable(module))
    # One sample on each rank, where all make the batch.
    data = ring(batch_size=1) if name == "RealnessGAN, gathered" else ring(**each(32))
    trainer(max_steps=3, **on_all()).fit(module, data)
    anchors = {key: value for key, value in module.named_buffers() if key.startswith("anchor")}
    schedule = getattr(module, "schedule", None)
    state = [schedule.threshold, schedule.count] if schedule else []
    weights = digest(reachable(module))
    return {"weights": weights, "moved": weights != start, "anchors": digest(anchors), "schedule": state}


def resumed(name, folder):
    """Stopped within the second epoch and resumed on all ranks: equal to two epochs in one go."""

    def run(where, ckpt_path=None, **limit):
        torch.manual_seed(3)
        module = game(name)  # five batches an epoch
        fit = trainer([Checkpoint(dirpath=str(folder / where))], **on_all(), **limit)
        fit.fit(module, images_of(name, **each(32)), ckpt_path=ckpt_path)
        torch.distributed.barrier()
        stored = torch.load(folder / where / "last.ckpt", weights_only=True)
        keys = ("state_dict", "optimizer_states", "run_state", "global_step", "loops")
        return {key: stored[key] for key in keys}, reachable(module)

    whole = run(f"{name}-whole", max_epochs=2)
    run(f"{name}-part", max_steps=1 if getattr(game(name), "discriminator_steps", 1) > 1 else 7)
    last = str(folder / f"{name}-part" / "last.ckpt")
    return {"resumed": same(whole, run(f"{name}-part", last, max_epochs=2))}


def one_process_step(name, folder):
    """One update on all ranks equals one update of one process on the joined batch and noise."""
    data = ring(**each(16)) if name in LATENT_GAMES else images_of(name, **each(16))
    # Plain gradient steps: Adam would blow rounding errors of vanishing gradients up to whole steps.
    sgd = dict.fromkeys(("generator_optimizer", "discriminator_optimizer"), partial(SGD, lr=1e-3))
    apart = UNCOUPLED.get(name, {})
    module = game(name, data, **sgd, **apart, **GATHERED.get(name, {}))
    start = {k: v.clone() for k, v in module.state_dict().items()}
    latents, seen, remembered = Latents(), [], []

    class Batches(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen.append([x.clone() for x in batch])
            if name == "DIWGAN":
                remembered.append(deepcopy(module.term.memory))

    trainer([latents, Batches()], max_steps=1, **on_all()).fit(module, data)
    gathered = [None] * torch.distributed.get_world_size()
    found = latents.drawn, latents.components, latents.labels, seen
    torch.distributed.all_gather_object(gathered, found)
    if module.global_rank != 0:
        return {}

    joined = game(name, data, **sgd, **apart)
    joined.load_state_dict(start)
    if name == "DIWGAN":  # its real set is drawn from the data, of which the joined game sees one batch
        joined.term.memory = remembered[0]
    of_ranks = [list(zip(*parts, strict=True)) for parts in zip(*gathered, strict=True)]
    noise, components, labels = ([torch.cat(parts) for parts in drawn] for drawn in of_ranks[:3])
    draws, labels = iter(zip(noise, components or [None] * len(noise), strict=True)), iter(labels)
    batches = [[torch.cat(x) for x in zip(*pair, strict=True)] for pair in of_ranks[3]]

    class Joined(Callback):
        def on_train_start(self, trainer, module):
            if name in LATENT_GAMES:
                module.latent.register_forward_hook(lambda *_: again(module.latent, *next(draws)))
                module.draw_labels = lambda *_: next(labels)

    # No data module: Lightning would wait for the other process before it prepares data.
    trainer([Joined()], max_steps=1).fit(joined, DataLoader(batches, batch_size=None))
    wrong, moved = [], []
    for key, value in reachable(joined).items():
        # The steps are compared, not the weights: these hardly move, and would be alike in any case.
        one, two = value - start[key], reachable(module)[key] - start[key]
        if not torch.allclose(one, two, rtol=1e-2, atol=1e-8):
            wrong.append(key)
        moved.append(one.abs().max().item())
    return {"joined": wrong, "moved": max(moved)}


def found(folder):
    penalty = wgan.gradient_penalty
    # The random points of the penalty would differ between one stream of noise and two: all in the middle.
    wgan.gradient_penalty = lambda d, real, fake, t: penalty(d, real, fake, t=torch.full_like(t, 0.5))
    results = {name: shared_state(name) for name in EXTRA}
    for name in PAPERS:
        results[name] = {}
        for check in (weights_and_noise, resumed, one_process_step):
            results[name].update(check(name, folder))
    wgan.gradient_penalty = penalty
    return results
