"""Rejection sampling: of a generator's samples those are kept that the discriminator finds too rare.

Mo et al., NeurIPS 2019 (GOLD, arXiv 1910.09170); with the marginal term alone it is discriminator rejection
sampling (Azadi et al., arXiv 1810.06758).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.ratios import terms
from lightning_gans.losses import gold

CHUNK = 500
"""Candidates that are made and judged at a time."""
LEAST = 1e-4
"""Share of the candidates below which a class is refused."""


@dataclass(frozen=True)
class _Measured:
    """What is found of the candidates before any is accepted.

    Attributes:
        ratio: Factor of the conditional term.
        log_bound: log M, a scalar, or (K,) of each class.
        centre: What ``drs`` takes off the logits of the acceptance, likewise; 0 in other modes.
        rates: Share of the candidates that is accepted, float64 (K,) of each class; (1,) without classes.
    """

    ratio: Tensor
    log_bound: Tensor
    centre: Tensor
    rates: Tensor


class RejectionSampler:
    """Draw from a generator, and accept a sample x of class c with probability ``min(1, exp(d(x, c)) / M)``.

    d is the balanced GOLD estimator ``l + ratio * log D_C(c | x)`` of ``log p_data(x, c) / p_g(x, c)``, with
    the logit l of "real" and the class probabilities D_C. A discriminator without a head for classes has
    d = l: discriminator rejection sampling, given the class if the discriminator sees it. What is accepted
    has the data's distribution if d is exact and log M its largest value.

    M and the ratio are measured on ``num_calibration`` samples, classes in turn, when they are first needed,
    with the weights that the game has then; :meth:`calibrate` measures them anew. The discriminator is that
    of the last update, also where the generator's weights are averages. Neither global random numbers nor the
    networks' modes are changed.

    Args:
        game: Its discriminator's logits are log density ratios
            (:attr:`~lightning_gans.game.latent_game.LatentGame.log_ratio`). Of several replicas the first.
        p: log M is the p-quantile of d, above which all samples are accepted: higher is stricter. In ``drs``
            mode the quantile that is accepted in half of the cases. Without effect in ``max`` mode.
        mode: ``quantile``. ``max``: log M is the largest d, which few samples come near. ``drs``: M as in
            ``max``, then the logit of the acceptance is centred by its p-quantile.
        balance: The ratio makes the conditional term vary as much as the marginal one: by its standard
            deviation (``std``), or by its root mean square (``rms``, the released code). ``none``: it is 1.
        per_class: Each class has its own M.
        num_calibration: Samples that M and the ratio are measured on.
        ema: Use averaged weights of the generator, if there are any.
        seed: Decides the calibration, and the samples that are drawn without a seed of their own.
        max_draws: Candidates of one call of :meth:`sample` at most.
        precision: ``bf16``: candidates are made and judged in bfloat16, and what is accepted is made again in
            float32, unless bfloat16 autocast is on around it. It is faster where the processor or GPU has
            such instructions; the acceptance of a sample is then off by less than a hundredth on average.

    Raises:
        ValueError: If the discriminator gives no log density ratios, or an argument is out of range.
    """

    def __init__(
        self,
        game: LatentGame,
        p: float = 0.5,
        mode: Literal["quantile", "max", "drs"] = "quantile",
        balance: Literal["std", "rms", "none"] = "std",
        per_class: bool = False,
        num_calibration: int = 50_000,
        ema: bool = True,
        seed: int = 0,
        max_draws: int = 10_000_000,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        if not getattr(game, "log_ratio", False):
            raise ValueError(
                f"rejection: the logits of a {type(game).__name__}'s discriminator are no log density "
                "ratios, by which samples are accepted: use such as GAN, DCGAN, ConditionalGAN or ACGAN"
            )
        checks.within("(0, 1)", p=p)
        checks.one_of(("quantile", "max", "drs"), mode=mode)
        checks.one_of(("std", "rms", "none"), balance=balance)
        checks.one_of(("fp32", "bf16"), precision=precision)
        checks.at_least(1, max_draws=max_draws)
        checks.seed(seed=seed)
        if per_class and not game.conditional:
            raise ValueError(f"per_class=True: a {type(game).__name__} has no classes, leave it out")
        self.game = game.replica(0) if game.stacked else game
        self.num_classes: int = (game.num_classes or 1) if game.conditional else 1
        checks.at_least(2 * self.num_classes, num_calibration=num_calibration)
        self.p, self.mode, self.balance, self.per_class = p, mode, balance, per_class
        self.num_calibration, self.ema, self.max_draws = num_calibration, ema, max_draws
        self.precision = precision
        self._rng = torch.Generator().manual_seed(seed)
        self._seed = _next(self._rng)
        self._found: _Measured | None = None

    # ------------------------------------------------------------------ what is found before

    @property
    def acceptance(self) -> float:
        """The share of candidates that is accepted, classes in turn."""
        return float(self._measured().rates.mean())

    @property
    def class_acceptance(self) -> Tensor | None:
        """The share of the candidates of each class that is accepted, ``(num_classes,)``."""
        return self._measured().rates if self.game.conditional else None

    def calibrate(self) -> None:
        """Measure M, the ratio and the acceptance with the weights as they are now.

        Raises:
            ValueError: If the discriminator's logits are not finite.
        """
        self._found = self._measure()

    def _measured(self) -> _Measured:
        if self._found is None:
            self.calibrate()
        assert self._found is not None
        return self._found

    def _measure(self) -> _Measured:
        classes = torch.arange(self.num_calibration) % self.num_classes
        rng = torch.Generator().manual_seed(self._seed)
        with self._screening():
            judged = [self._candidates(part, rng)[2:] for part in classes.split(CHUNK)]
        marginal, conditional = (torch.cat(values) for values in zip(*judged, strict=True))
        if not bool((marginal.isfinite() & conditional.isfinite()).all()):
            raise ValueError(
                f"the discriminator of the {type(self.game).__name__} gives logits that are not finite: "
                "its training has diverged, load an earlier checkpoint"
            )
        ratio = torch.ones(())
        if self.balance != "none":
            ratio = gold.balance(marginal, conditional, self.balance)
        gap = gold.gold_balanced(marginal, conditional, ratio)
        bound = self._quantiles(gap, classes, self.p if self.mode == "quantile" else 1.0)
        centre = torch.zeros(())
        if self.mode == "drs":
            centre = self._quantiles(gold.drs_logits(gap, self._of(bound, classes)), classes, self.p)
        accepted = self._probabilities(gap, classes, bound, centre).double()
        counts = classes.bincount()
        return _Measured(ratio, bound, centre, classes.bincount(accepted) / counts)

    def _quantiles(self, values: Tensor, classes: Tensor, p: float) -> Tensor:
        """Return the p-quantile of (n,) values, or with ``per_class`` those of each class, (K,)."""
        if not self.per_class:
            return gold.log_bound(values, p)
        return torch.stack([gold.log_bound(values[classes == k], p) for k in range(self.num_classes)])

    def _of(self, values: Tensor, classes: Tensor) -> Tensor:
        return values[classes] if self.per_class else values

    def _probabilities(self, gap: Tensor, classes: Tensor, bound: Tensor, centre: Tensor) -> Tensor:
        log_m = self._of(bound, classes)
        if self.mode == "drs":
            return (gold.drs_logits(gap, log_m) - self._of(centre, classes)).sigmoid()
        return gold.acceptance(gap, log_m)

    # ------------------------------------------------------------------ sampling

    def sample(
        self, n: int, labels: Tensor | None = None, seed: int | None = None, rejected: bool = False
    ) -> Tensor:
        """Draw exactly ``n`` samples.

        Candidates are made for all classes that lack samples at once, as many as the acceptance so far lets
        expect are needed, until none lacks any.

        Args:
            n: How many.
            labels: ``(n,)`` int64 classes for a conditional game; in turn by default.
            seed: The same seed gives the same samples. None: the sampler's own random numbers go on.
            rejected: Return what is not accepted instead, to look at it.

        Returns:
            ``(n, *image_shape)`` float32, on the game's device; images are in [-1, 1].

        Raises:
            ValueError: If labels are no classes, a class is hardly ever accepted, or more than ``max_draws``
                candidates would be needed.
        """
        checks.at_least(1, n=n)
        checks.at_least(0, seed=seed)
        classes = self._classes(n, labels)
        rng = self._rng if seed is None else torch.Generator().manual_seed(seed)
        found = self._measured()
        wanted = classes.bincount(minlength=self.num_classes)
        places = classes.argsort(stable=True)  # those of the first class, of the second, ...
        first = wanted.cumsum(0) - wanted
        known = self.num_calibration // self.num_classes
        rates = 1 - found.rates if rejected else found.rates
        self._check_rates(rates, wanted, rejected)
        kept, drawn = torch.zeros_like(wanted), torch.zeros_like(wanted)
        samples = torch.empty(n, *self.game.image_shape, device=self.game.device)
        again = self.precision == "bf16" and not torch.is_autocast_enabled(self.game.device.type)
        with self._screening():
            while bool((missing := (wanted - kept).clamp(min=0)).any()):
                # What the calibration found counts as candidates that were drawn before.
                expected = (kept + known * rates) / (drawn + known)
                # A little less is asked for than is needed: those that are too many would be lost.
                few = (missing - missing.sqrt() / 2) / expected.clamp(min=1e-300)
                asked = few.ceil().clamp(max=1e15).long()
                self._check_draws(asked, drawn, missing, rejected)
                for part in torch.arange(self.num_classes).repeat_interleave(asked).split(CHUNK):
                    latents, made, marginal, conditional = self._candidates(part, rng)
                    gap = gold.gold_balanced(marginal, conditional, found.ratio)
                    below = self._probabilities(gap, part, found.log_bound, found.centre)
                    accepted = torch.rand(len(part), generator=rng) < below
                    chosen = (accepted != rejected).nonzero().squeeze(1)
                    own = part[chosen]
                    # How many of its class were kept before each: within the chunk, classes are sorted.
                    before = kept[own] + torch.arange(len(own)) - torch.searchsorted(own, own)
                    kept += own.bincount(minlength=self.num_classes)
                    fits = before < wanted[own]
                    chosen, there = chosen[fits], places[(first[own] + before)[fits]]
                    if again and len(chosen):
                        made = self._in_float32(latents[chosen], part[chosen])
                    else:
                        made = made[chosen.to(made.device)]
                    samples[there.to(samples.device)] = made
                drawn += asked
        return samples

    def _screening(self) -> torch.autocast:
        """Make and judge candidates in this block: one for many, so that weights are cast once."""
        return torch.autocast(self.game.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _candidates(self, classes: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Make and judge samples of some classes (n,).

        Returns:
            Their latents, the samples, and both terms of the gap (n,), on the CPU.
        """
        latents, _ = self.game.draw_latents(len(classes), self.ema, _next(rng))
        labels = classes if self.game.conditional else None
        made = self.game.sample_from(latents, labels, self.ema)
        marginal, class_logits = terms(self.game, made, labels)
        if class_logits is None:
            return latents, made, marginal, torch.zeros_like(marginal)
        return latents, made, marginal, gold.log_posterior(class_logits, classes)

    def _in_float32(self, latents: Tensor, classes: Tensor) -> Tensor:
        with torch.autocast(self.game.device.type, enabled=False):
            return self.game.sample_from(latents, classes if self.game.conditional else None, self.ema)

    def _classes(self, n: int, labels: Tensor | None) -> Tensor:
        """Return the classes (n,) of the samples, in turn if there are no labels; 0 in a game without any."""
        if labels is None:
            return torch.arange(n) % self.num_classes
        if not self.game.conditional:
            kind = type(self.game).__name__
            raise ValueError(f"labels given, but {kind} is not conditional: leave them out")
        checks.labels(self.num_classes, labels=labels)
        checks.shaped((n,), labels=labels)
        return labels.cpu().long()

    def _check_rates(self, rates: Tensor, wanted: Tensor, rejected: bool) -> None:
        rare = torch.where(wanted > 0, rates, 1.0).min(0)
        if rare.values < LEAST:
            raise ValueError(
                f"{self._named(int(rare.indices))} starves: {rare.values:.2g} of its samples are "
                f"{'rejected' if rejected else 'accepted'}, less than {LEAST:g}: {self._advice(rejected)}"
            )

    def _check_draws(self, asked: Tensor, drawn: Tensor, missing: Tensor, rejected: bool) -> None:
        needed = int(drawn.sum() + asked.sum())
        if needed > self.max_draws:
            k = int(asked.argmax())
            raise ValueError(
                f"max_draws={self.max_draws}: {needed:,} candidates are needed, of them {asked[k]:,} of "
                f"{self._named(k)}, which starves ({'rejected' if rejected else 'accepted'}: "
                f"{missing[k] / asked[k]:.2g}; {missing[k]:,} lack after {drawn[k]:,} candidates): "
                f"{self._advice(rejected)}, or raise max_draws"
            )

    def _named(self, k: int) -> str:
        return f"class {k}" if self.game.conditional else type(self.game).__name__

    def _advice(self, rejected: bool) -> str:
        ways = [f"raise p={self.p}" if rejected else f"lower p={self.p}"]
        if self.mode == "max":
            ways = ["use mode=quantile"]
        if self.game.conditional and not self.per_class:
            ways.append("give each class its own M (RejectionSampler's per_class=True)")
        return ", or ".join(ways)


def _next(rng: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=rng))
