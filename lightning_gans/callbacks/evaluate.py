"""Scores of the samples while a game trains, and in ``validate`` and ``test``."""

import json
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torchmetrics import Metric

from lightning_gans.data.base import ImageDataModule
from lightning_gans.data.cache import cache_folder
from lightning_gans.drawing.grids import neighbours_picture
from lightning_gans.drawing.pixels import as_stored, warn_of_range
from lightning_gans.metrics.evaluation import Evaluation, RealImages, Samples, Scores
from lightning_gans.metrics.extractors import Extractor
from lightning_gans.metrics.mixture import ModeCoverage
from lightning_gans.metrics.neighbours import NearestNeighbours

# The scores of each metric, or patterns of them: what goes by a score is looked at before any is computed.
SCORES = {
    "FID": ("fid", "fid_raw"),
    "PerClassFID": ("intra_fid", "intra_fid_per_class", "intra_fid_classes"),
    "IS": ("is", "is_std"),
    "ModifiedIS": ("mis", "mis_std", "mis_classes", "mis_pooled", "mis_per_class"),
    "KID": ("kid", "kid_std"),
    "PrecisionRecall": ("precision", "recall", "f_score"),
    "DensityCoverage": ("density", "coverage"),
    "SWD": ("swd", "swd_[0-9]*"),
    "ModeCoverage": ("modes", "high_quality", "jsd"),
    "StackedModes": ("modes", "kl"),
    "ClassBalance": ("modes", "class_balance", "class_kl", "share_per_class"),
    "NearestNeighbours": (
        "neighbour_distance",
        "neighbour_distance_min",
        "neighbour_distance_held_out",
        "neighbour_ratio",
    ),
    "FeatureNeighbours": (
        "feature_neighbour_distance",
        "feature_neighbour_distance_min",
        "feature_neighbour_distance_held_out",
        "feature_neighbour_ratio",
    ),
    "ParzenLikelihood": ("parzen", "parzen_error", "parzen_sigma"),
    "LPIPSDiversity": ("lpips",),
    "PerClassLPIPSDiversity": ("class_lpips", "class_lpips_classes", "lpips_per_class"),
}


class _Game(Protocol):
    """What a module must offer to be scored."""

    image_shape: tuple[int, ...]
    num_classes: int | None

    def draw_latents(
        self, n: int, ema: bool = True, seed: int | None = None
    ) -> tuple[Tensor, Tensor | None]: ...

    def generate(self, latents: Tensor, labels: Tensor | None = None, ema: bool = True) -> Tensor: ...


class Evaluate(Callback):
    """Score the generator by any metrics: FID, IS, modified IS, KID, precision and recall, modes, ...

    One pass of one extractor over the samples feeds all metrics. The samples come from the same latents each
    time, are rounded to 256 levels as image files would hold them, and are shared out over the ranks. Classes
    take turns in conditional games. What is needed of the real images is computed before the training begins,
    and kept in the cache folder for all later runs.

    Scores are logged as ``val/<score>`` (``test/<score>`` in ``test``) and are in
    ``trainer.callback_metrics``, so that Lightning's ``ModelCheckpoint`` and ``EarlyStopping`` can go by
    them: both after each validation with ``every_n_updates=None``; otherwise only a ``ModelCheckpoint``, with
    ``every_n_train_steps`` of the same number. ``evaluations.jsonl`` in the run's folder has a line an
    evaluation: update, name, scores, scores of each class, numbers of samples and real images, and the
    protocol (extractor, hash of its weights, resize, weights). ``validate`` and ``test`` write it only if
    there is a logger. ``fast_dev_run`` tries everything out with two samples, and scores nothing.

    Metrics that need different splits, extractors or cadences go into several of these, each with its name.

    Evaluating changes nothing: weights are the same, bit for bit, with this callback and without.

    Args:
        metrics: Of :mod:`lightning_gans.metrics`.
        extractor: Makes features and logits. None: for metrics of pixels, or of vectors.
        every_n_updates: Generator updates between two evaluations, and one at the end. None: at each
            validation.
        num_samples: Generated samples of an evaluation.
        num_real: Real images that they are compared with. None: all of the split.
        split: Real images are those the game is trained on (``train``, the papers' custom) or held-out ones.
        weights: Averaged weights, if there are any, or those of the last update.
        batch_size: Images in a pass of the extractor.
        seed: Of the latents.
        cache: Keep statistics of real images in ``LIGHTNING_GANS_CACHE``, else ``~/.cache/lightning_gans``;
            in the folder given; or (false) not at all.
        name: Of this callback where there are several: scores are logged as ``val/<name>/<score>``.

    Raises:
        ValueError: If an argument does not fit.
    """

    def __init__(
        self,
        metrics: list[Metric],
        extractor: Extractor | None = None,
        every_n_updates: int | None = None,
        num_samples: int = 10_000,
        num_real: int | None = None,
        split: Literal["train", "test"] = "train",
        weights: Literal["ema", "raw"] = "ema",
        batch_size: int = 250,
        seed: int = 0,
        cache: bool | str = True,
        name: str | None = None,
    ) -> None:
        super().__init__()
        for key, number in (("every_n_updates", every_n_updates), ("batch_size", batch_size)):
            if number is not None and number < 1:
                raise ValueError(f"{key}={number} must be at least 1")
        for key, number in (("num_samples", num_samples), ("num_real", num_real)):
            if number is not None and number < 2:
                raise ValueError(
                    f"{key}={number}: a score needs 2 samples at least, and means little below 10,000"
                )
        if split not in ("train", "test") or weights not in ("ema", "raw"):
            raise ValueError(f"split={split!r}, weights={weights!r}: use train or test, and ema or raw")
        if name is not None and (not name or "/" in name):
            raise ValueError(f"name={name!r} becomes part of a file's name: use letters and digits")
        self.name = name
        self.evaluation_arguments = (metrics, extractor)
        # What is filled in from game and data, and anew for the next ones.
        self._open = [metric for metric in metrics if getattr(metric, "num_classes", 0) is None]
        self._modes = [m for m in metrics if isinstance(m, ModeCoverage) and m.means is None]
        self.every_n_updates, self.num_samples, self.num_real = every_n_updates, num_samples, num_real
        self.split, self.weights, self.batch_size, self.seed = split, weights, batch_size, seed
        self.cache = cache
        self.scores: Scores | None = None
        self._evaluation: Evaluation | None = None
        self._real: RealImages | None = None
        self._made_for: tuple[Any, ...] = ()
        self._looked = False
        self._next = 0
        self._last = -1

    @property
    def state_key(self) -> str:
        """Tells this callback's state from that of others in a checkpoint."""
        return self._generate_state_key(name=self.name)

    # ------------------------------------------------------------------ when

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module can be sampled from, and that other callbacks fit.

        Metrics, extractor and data are tried out by two samples when the run starts.

        Raises:
            TypeError: If the module cannot be sampled from.
            ValueError: If there are two of one name, or another callback looks at scores when there is none.
        """
        if stage == "predict":
            return
        if not (hasattr(pl_module, "draw_latents") and hasattr(pl_module, "generate")):
            raise TypeError(
                f"Evaluate scores samples made of latents, and a {type(pl_module).__name__} makes none: "
                "leave the callback out"
            )
        missing = [x for x in ("image_shape", "num_classes") if not hasattr(pl_module, x)]
        if missing:
            raise TypeError(
                f"Evaluate asks {type(pl_module).__name__} for {' and '.join(missing)}, which it does not "
                "have: set image_shape, (C, H, W) or (d,), and num_classes, a number or None"
            )
        check_names(trainer.callbacks)  # type: ignore[attr-defined]
        if stage == "fit" and self.every_n_updates is not None:
            self._check_monitors(trainer, getattr(pl_module, "generator_steps", 1))
        if self.every_n_updates is not None and trainer.global_step == 0:
            self._next = self.every_n_updates

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute what is needed of the real images."""
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do so for ``validate``."""
        if trainer.state.fn == "validate":
            self._begin(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do so for ``test``."""
        self._begin(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan from where the run starts."""
        if self.every_n_updates is not None:
            self._next = (trainer.global_step // self.every_n_updates + 1) * self.every_n_updates

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Evaluate when a multiple of ``every_n_updates`` is reached or passed."""
        if self.every_n_updates is not None and trainer.global_step >= self._next:
            self._next = (trainer.global_step // self.every_n_updates + 1) * self.every_n_updates
            self._log(trainer, self._evaluate(trainer, pl_module))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate at each validation, if there is no other cadence."""
        if trainer.sanity_checking or (trainer.state.fn == "fit" and self.every_n_updates is not None):
            return
        row = self._row("val", self._evaluate(trainer, pl_module))
        if trainer.state.fn == "fit" and row:
            row["step"] = float(trainer.global_step)  # the loggers' x-axis, which would be batches
        # All ranks have the same scores; Lightning warns of those that it has not averaged.
        pl_module.log_dict(row, on_step=False, on_epoch=True, sync_dist=True)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate once."""
        pl_module.log_dict(self._row("test", self._evaluate(trainer, pl_module)), sync_dist=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the end, and print its scores."""
        if trainer.global_step != self._last:
            self._log(trainer, self._evaluate(trainer, pl_module))
        if trainer.is_global_zero and self.scores is not None:
            print(*([] if self.name is None else [f"{self.name}:"]), table(self.scores))

    def state_dict(self) -> dict[str, Any]:
        """Return which update was evaluated last."""
        return {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run stopped."""
        self._last = state_dict["last"]

    # ------------------------------------------------------------------ what

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        game = cast(_Game, module)
        metrics, extractor = self.evaluation_arguments
        for metric in metrics:
            needed = getattr(metric, "real_split", self.split)
            if needed != self.split:
                raise ValueError(
                    f"{type(metric).__name__} needs split={needed}, not {self.split}: give it an Evaluate of "
                    "its own"
                )
        for metric in self._open:
            metric.num_classes = cast(Any, game.num_classes)
        self._fill_modes(trainer)
        compares = any(getattr(metric, "compares", False) for metric in metrics)
        real = self._real_images(trainer, game) if compares else None
        key = None if real is None else real.key
        # Statistics of real images are kept from fit to test, if nothing is different then.
        made_for = (key, module.device, trainer.global_rank, trainer.world_size, tuple(game.image_shape))
        if self._evaluation is None or self._made_for != made_for:
            folder = None if self.cache is False else cache_folder(None if self.cache is True else self.cache)
            self._evaluation = Evaluation(
                metrics,
                extractor,
                count=self.num_samples,
                device=module.device,
                batch_size=self.batch_size,
                folder=folder,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                progress=trainer.progress_bar_callback is not None,
            )
        self._real, self._made_for, self._looked, self.scores = real, made_for, False, None
        with isolate_rng(), torch.no_grad():
            latents, classes = latents_and_classes(game, 2, True, 0)
            samples = as_stored(game.sample_from(latents, classes))
            width = self._evaluation.try_out(Samples(samples, torch.arange(2), classes))
            if real is not None:
                self._evaluation.check_real(real, width, tuple(samples.shape[1:]))
            if real is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
                self._evaluation.prepare(real)

    def _fill_modes(self, trainer: Trainer) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for metric in self._modes:
            means, covariances = (getattr(data, name, None) for name in ("means", "covariances"))
            if means is None or covariances is None:
                kind = "there is no data module" if data is None else f"{type(data).__name__} has none"
                raise ValueError(
                    f"ModeCoverage needs means and covariances of the modes, and {kind}: give them, or use "
                    "GaussianMixtures"
                )
            metric.set_modes(means, covariances)

    def _check_monitors(self, trainer: Trainer, generator_steps: int) -> None:
        every = self.every_n_updates
        assert every is not None
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            monitor = getattr(callback, "monitor", None)
            if monitor is None or not self._logs(monitor):
                continue
            if isinstance(callback, EarlyStopping):
                raise ValueError(
                    f"EarlyStopping looks at {monitor} after validations, Evaluate computes it every {every} "
                    "updates: use every_n_updates=null, which evaluates at each validation"
                )
            if isinstance(callback, ModelCheckpoint):
                steps = callback._every_n_train_steps
                if steps == 0 or steps % every:
                    raise ValueError(
                        f"ModelCheckpoint(every_n_train_steps={steps}) goes by {monitor}, which is computed "
                        f"every {every} updates: give it every_n_train_steps={every}, or a multiple"
                    )
                if steps % generator_steps:
                    raise ValueError(
                        f"ModelCheckpoint(every_n_train_steps={steps}) would be passed over by batches of "
                        f"generator_steps={generator_steps} updates: make both it and every_n_updates "
                        f"multiples of {generator_steps}"
                    )

    def _logs(self, monitor: str) -> bool:
        """Whether a score of this name comes from here."""
        prefix = self._prefix("val")
        if not monitor.startswith(prefix):
            return False
        score = monitor.removeprefix(prefix)
        known = [x for metric in self.evaluation_arguments[0] for x in SCORES.get(type(metric).__name__, ())]
        return any(fnmatchcase(score, pattern) for pattern in known)

    def _prefix(self, stage: str) -> str:
        return f"{stage}/" if self.name is None else f"{stage}/{self.name}/"

    def _row(self, stage: str, scores: Scores | None) -> dict[str, Any]:
        if scores is None:
            return {}
        return {f"{self._prefix(stage)}{name}": value for name, value in scores.scalars().items()}

    def _real_images(self, trainer: Trainer, game: _Game) -> RealImages:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ImageDataModule):
            kind = "no data module" if data is None else type(data).__name__
            raise ValueError(
                f"Evaluate compares with real images of a data module of lightning_gans, not with {kind}: "
                "use one, or metrics that do not compare"
            )
        images, labels, key = data.real_images(self.split)
        count = len(labels) if self.num_real is None else self.num_real
        if count > len(labels):
            raise ValueError(
                f"num_real={count} exceeds the {len(labels)} images of split={self.split}: use at most that"
            )
        return RealImages(images, labels, key, game.image_shape[-1], count)

    def _evaluate(self, trainer: Trainer, module: LightningModule) -> Scores | None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return None
        evaluation = self._evaluation
        assert evaluation is not None
        game = cast(_Game, module)
        # Lightning's loops hold gradients and random states that must not notice.
        with isolate_rng(), torch.no_grad():
            self.scores = evaluation.run(self._samples(game, evaluation), self._real)
        averaged = self.weights == "ema" and getattr(game, "ema", None) is not None
        self.scores.protocol.update(weights="ema" if averaged else "raw", seed=self.seed)
        self._last = trainer.global_step
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asks all ranks
        # Without a logger, validate and test have no folder of their own.
        if trainer.is_global_zero and (trainer.state.fn == "fit" or trainer.loggers):
            folder.mkdir(parents=True, exist_ok=True)
            line = {"update": trainer.global_step, "name": self.name, **self.scores.as_json()}
            with (folder / "evaluations.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            with isolate_rng(), torch.no_grad():
                self._draw_neighbours(game, evaluation, folder, trainer.global_step)
        return self.scores

    def _samples(self, game: _Game, evaluation: Evaluation) -> Iterator[Samples]:
        ema = self.weights == "ema"
        latents, classes = latents_and_classes(game, self.num_samples, ema, self.seed)
        share = evaluation.share(self.num_samples)
        for start in range(share.start, share.stop, self.batch_size):
            part = slice(start, min(start + self.batch_size, share.stop))
            chosen = None if classes is None else classes[part]
            made = game.sample_from(latents[part], chosen, ema)
            samples = as_stored(made, start)
            if not self._looked:
                self._looked = True
                if start == 0:
                    warn_of_range(made)
            yield Samples(samples, torch.arange(part.start, part.stop), chosen)

    def _draw_neighbours(self, game: _Game, evaluation: Evaluation, folder: Path, update: int) -> None:
        """Draw samples beside the training images that are nearest to them."""
        for metric in evaluation.metrics:
            if not isinstance(metric, NearestNeighbours) or self._real is None or metric.nearest is None:
                continue
            places, _, indices = metric.nearest
            ema, chosen = self.weights == "ema", places.cpu()
            latents, classes = latents_and_classes(game, self.num_samples, ema, self.seed)
            samples = game.sample_from(latents[chosen], None if classes is None else classes[chosen], ema)
            real = self._real
            found = [torch.cat([real.read(i, i + 1) for i in row]) for row in indices.cpu().tolist()]
            name = "" if self.name is None else f"{self.name}-"
            path = folder / "neighbours" / f"{name}{metric.prefix}-step={update:08d}.png"
            path.parent.mkdir(exist_ok=True)
            neighbours_picture(as_stored(samples).cpu(), torch.stack(found)).save(path)

    def _log(self, trainer: Trainer, scores: Scores | None) -> None:
        values = self._row("val", scores)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            if values:
                logger.log_metrics(values, step=trainer.global_step)


def check_names(callbacks: Iterable[Callback]) -> None:
    """Look whether each :class:`Evaluate` has a name of its own.

    Raises:
        ValueError: If two have the same, or both none.
    """
    names = [callback.name for callback in callbacks if isinstance(callback, Evaluate)]
    twice = next((name for name in names if names.count(name) > 1), names)
    if twice is not names:
        raise ValueError(f"two Evaluate callbacks have name={twice}: give each a name of its own")


def table(scores: Scores) -> str:
    """Return scores as lines to read, with what must be known beside them."""
    rows = [f"  {name:24} {value:.6g}" for name, value in scores.scalars().items()]
    if "share_per_class" in scores.values:
        classes = len(scores.values["share_per_class"])
        rows = [f"{row}/{classes}" if row.split()[0] == "modes" else row for row in rows]
    about = {name: value for name, value in scores.protocol.items() if name != "real"}
    beside = f"{scores.samples:,} samples"
    if scores.real_samples is not None:
        beside += f", {scores.real_samples:,} real images"
    return "\n".join([f"scores of {beside}; {', '.join(f'{k} {v}' for k, v in about.items())}", *rows])


def latents_and_classes(game: _Game, n: int, ema: bool, seed: int) -> tuple[Tensor, Tensor | None]:
    """Return latents (n, latent_dim), always the same, and for conditional games classes (n,), in turn."""
    latents, drawn = game.draw_latents(n, ema, seed)
    return latents, None if drawn is None else torch.arange(n) % (game.num_classes or 1)
