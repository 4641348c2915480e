"""CycleGAN: unpaired image-to-image translation (Zhu, Park, Isola and Efros, 2017, arXiv 1703.10593)."""

from collections import ChainMap
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_gans import checks
from lightning_gans.game.sides import Side
from lightning_gans.game.translation import JudgeFactory, TranslationGame, TranslatorFactory
from lightning_gans.losses import translation as losses
from lightning_gans.models.cyclegan.pool import ImagePool
from lightning_gans.networks.patchgan import PatchDiscriminator
from lightning_gans.networks.translator import ResNetTranslator

ONE_BY_ONE = ("cpu",)
"""Devices on which networks take one batch after the other. On a CPU, two images of 256 pixels at once take
a ResNet of 9 blocks 10 % longer: the system has to clear the pages of each map of that size anew."""

_Call = Callable[[Tensor], Tensor]
_Images = dict[str, tuple[Tensor, Tensor]]


class CycleGAN(TranslationGame):
    """Two translators between two domains without pairs: there and back again must end where it began.

    For images x of domain A (the batch's input) and y of domain B (its target), generators G: A to B
    (``generator_ab``) and F: B to A (``generator_ba``), and least-squares discriminators of patches, D_B
    (``discriminator_b``) and D_A (``discriminator_a``):

    - both generators minimise ``mean (D_B(G(x)) - 1)^2 + mean (D_A(F(y)) - 1)^2``, plus the cycle loss
      ``lambda_a mean |F(G(x)) - x| + lambda_b mean |G(F(y)) - y|``, plus the identity loss
      ``lambda_identity (lambda_b mean |G(y) - y| + lambda_a mean |F(x) - x|)``, in one step of Adam;
    - then D_B minimises half of ``mean (D_B(y) - 1)^2 + mean D_B(y')^2``, and D_A likewise. y' is from a
      history of generated images, to which G(x) of before that step was offered.

    The terms are reported without their weights: ``gan_b``, ``cycle_a``, ``identity_b`` of A to B, and so on.
    The paper's ablations: cycle alone, ``lambda_gan=0``, without discriminators; GAN alone, ``lambda_a=0``
    and ``lambda_b=0``; GAN and forward cycle, ``lambda_b=0``; GAN and backward cycle, ``lambda_a=0``. What
    has the weight 0 is not computed.

    The paper trains with batches of one image for 200 epochs, with learning rates that fall linearly in the
    second half: ``scheduler_interval="epoch"`` and, for both players, ``LinearDecay(start=99, end=200)``.

    Args:
        input_shape: ``(channels, height, width)`` of domain A.
        image_shape: ``(channels, height, width)`` of domain B.
        generator: What makes each generator from ``(input_shape, image_shape)``: a class or its ``partial``,
            or a dict of arguments of the default, ``ResNetTranslator``.
        discriminator: What makes each discriminator from the shape that it sees, likewise; by default a
            ``PatchDiscriminator`` of 70x70 patches with instance norm.
        objective: ``lsgan``, least squares, or ``gan``: the logarithms of the paper's equation 1, the
            generators' in the form that does not saturate.
        lambda_gan: Weight of the adversarial losses.
        lambda_a: Weight of the cycle from A to B and back.
        lambda_b: Weight of the cycle from B to A and back.
        lambda_identity: Share of these two for the identity losses; 0.5 in the paper's paintings to photos.
        pool_size: Images in the history of each domain, on each rank; 0: the newest translations are judged.
        kwargs: Arguments of :class:`~lightning_gans.game.translation.TranslationGame`.

    Raises:
        ValueError: If a weight is negative, all are 0, identity losses have no cycle's weight or other
            numbers of channels, or a network is an instance.
    """

    generators: ClassVar = {"AtoB": "generator_ab", "BtoA": "generator_ba"}
    discriminators: ClassVar = {"AtoB": "discriminator_b", "BtoA": "discriminator_a"}

    def __init__(
        self,
        input_shape: tuple[int, ...],
        image_shape: tuple[int, ...],
        generator: nn.Module | TranslatorFactory | dict[str, Any] | None = None,
        discriminator: nn.Module | JudgeFactory | dict[str, Any] | None = None,
        objective: losses.Objective = "lsgan",
        lambda_gan: float = 1.0,
        lambda_a: float = 10.0,
        lambda_b: float = 10.0,
        lambda_identity: float = 0.0,
        pool_size: int = 50,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_shape, image_shape, **kwargs)
        checks.one_of(get_args(losses.Objective), objective=objective)
        weights = {"lambda_gan": lambda_gan, "lambda_a": lambda_a, "lambda_b": lambda_b}
        checks.within("[0, inf)", **weights, lambda_identity=lambda_identity)
        if not any(weights.values()):
            raise ValueError("lambda_gan=0, lambda_a=0, lambda_b=0: nothing is learned, keep one of them")
        if lambda_identity and not (lambda_a or lambda_b):
            raise ValueError(f"lambda_identity={lambda_identity} is a share of lambda_a and lambda_b, both 0")
        if lambda_identity and self.input_shape[0] != self.image_shape[0]:
            raise ValueError(
                f"lambda_identity={lambda_identity}: an image of {self.input_shape[0]} channels cannot stay "
                f"what it is among images of {self.image_shape[0]}: leave it out"
            )
        for name, network in (("generator", generator), ("discriminator", discriminator)):
            if isinstance(network, nn.Module):
                raise ValueError(
                    f"{name} is one {type(network).__name__}, and two are needed: give the class or a partial"
                )
        self.objective: losses.Objective = objective
        self.lambda_gan, self.lambda_identity = lambda_gan, lambda_identity
        self.lambda_a, self.lambda_b = lambda_a, lambda_b
        a, b = self.input_shape, self.image_shape
        self.generator_ab = self.make("generator", generator, ResNetTranslator, a, b)
        self.generator_ba = self.make("generator", generator, ResNetTranslator, b, a)
        patches = partial(PatchDiscriminator, norm="instance")
        self.discriminator_a, self.discriminator_b = (
            self.make("discriminator", discriminator, patches, shape) if lambda_gan else None
            for shape in (a, b)
        )
        self.pools = {direction: ImagePool(pool_size) for direction in self.generators}
        self._normed = {n.split(".")[0] for n, part in self.named_modules() if isinstance(part, _BatchNorm)}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Update both generators, then both discriminators on what the generators had made before."""
        images, fakes = self.by_direction(batch), dict[str, Tensor]()
        judges = [judge for judge in (self.discriminator_a, self.discriminator_b) if judge is not None]
        with self.frozen(*judges):
            self.minimise("generator", self.generator_losses(images, fakes))
        if judges:
            pooled = {way: self.pools[way].query(made, self.rng) for way, made in fakes.items()}
            self.minimise("discriminator", self.discriminator_loss(images, pooled))

    def by_direction(self, batch: Any) -> _Images:
        """Return the images ``(n, C, H, W)`` of source and target of each direction."""
        real = self.read(batch)
        assert real.inputs is not None
        return {"AtoB": (real.inputs, real.images), "BtoA": (real.images, real.inputs)}

    def generator_losses(self, images: _Images, fakes: dict[str, Tensor]) -> Iterator[Tensor]:
        """Yield what both generators minimise, graph by graph; ``fakes`` gets the translations."""
        cycles = {"AtoB": self.lambda_a, "BtoA": self.lambda_b}
        total = []
        for way, back, here, there in (("AtoB", "BtoA", "a", "b"), ("BtoA", "AtoB", "b", "a")):
            (source, target), cycle, identity = images[way], cycles[way], self.lambda_identity * cycles[back]
            given = {"fake": source} if self.lambda_gan or cycle else {}
            given |= {"same": target} if identity else {}
            for made in self.passes(partial(self.generate, direction=way), self.generators[way], given):
                terms, fake = {}, made.get("fake")
                if self.lambda_gan and fake is not None:
                    fakes[way] = fake.detach()
                    loss = losses.generator_loss(self.logits(fake, way), self.objective)
                    terms[f"gan_{there}"] = self.lambda_gan, loss
                if cycle and fake is not None:
                    terms[f"cycle_{here}"] = cycle, losses.l1(self.generate(fake, direction=back), source)
                if "same" in made:
                    terms[f"identity_{there}"] = identity, losses.l1(made["same"], target)
                self.report({name: term for name, (_, term) in terms.items()})
                loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
                total.append(loss.detach())
                yield loss
        self.report({"generator_loss": torch.stack(total).sum()})

    def discriminator_loss(self, images: _Images, fakes: dict[str, Tensor]) -> Tensor:
        """Return the sum of what both discriminators minimise, on targets and translations."""
        total = []
        for way, fake in fakes.items():
            judge, given = partial(self.logits, direction=way), {"real": images[way][1], "fake": fake}
            judged = ChainMap(*self.passes(judge, self.discriminators[way], given))
            total.append(losses.discriminator_loss(judged["real"], judged["fake"], self.objective))
        loss = torch.stack(total).sum()
        self.report({"discriminator_loss": loss})
        return loss

    def logits(self, images: Tensor, direction: str) -> Tensor:
        """Judge images of the target domain of a direction."""
        logits: Tensor = self.judge(Side(images), direction)
        return logits

    def passes(self, call: _Call, network: str, given: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Call a network for several batches: at once, unless batch norm would mix them up."""
        if len(given) < 2 or network in self._normed or self.device.type in ONE_BY_ONE:
            yield from ({name: call(batch)} for name, batch in given.items())
        else:
            made = torch.split(call(torch.cat([*given.values()])), [len(batch) for batch in given.values()])
            yield dict(zip(given, made, strict=True))

    def held_out_losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of both players on held-out images, and these translations."""
        images, fakes = self.by_direction(batch), dict[str, Tensor]()
        with self.inference():
            found = {"generator_loss": torch.stack([*self.generator_losses(images, fakes)]).sum()}
            if fakes:
                found["discriminator_loss"] = self.discriminator_loss(images, fakes)
        return found

    def run_state(self) -> dict[str, Any]:
        """Add the histories of generated images."""
        return {**super().run_state(), "pools": {way: pool.state() for way, pool in self.pools.items()}}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Go on with these histories."""
        super().load_run_state(state)
        for way, pool in self.pools.items():
            pool.load(state["pools"][way])
