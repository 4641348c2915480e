"""Scores of the samples while a game trains, and in ``validate`` and ``test``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torchmetrics import Metric

from lightning_gans.data.base import ImageDataModule
from lightning_gans.data.cache import cache_folder
from lightning_gans.metrics.evaluation import Evaluation, RealImages, Samples, Scores
from lightning_gans.metrics.extractors import Extractor
from lightning_gans.metrics.neighbours import NearestNeighbours
from lightning_gans.pictures import neighbours_picture, to_bytes


class _Game(Protocol):
    """What a module must offer to be scored."""

    image_shape: tuple[int, ...]
    num_classes: int | None
    ema: Any

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

    Scores are logged as ``val/<name>`` (``test/<name>`` in ``test``) and are in ``trainer.callback_metrics``,
    so that Lightning's ``ModelCheckpoint`` and ``EarlyStopping`` can go by them: after each validation with
    ``every_n_updates=None``; otherwise give ``ModelCheckpoint(every_n_train_steps=...)`` the same number.
    ``evaluations.jsonl`` in the run's folder has a line an evaluation: update, scores, scores of each class,
    numbers of samples and real images, and the protocol (extractor, hash of its weights, resize, weights).

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
    ) -> None:
        super().__init__()
        for name, number in (("every_n_updates", every_n_updates), ("batch_size", batch_size)):
            if number is not None and number < 1:
                raise ValueError(f"{name}={number} must be at least 1")
        for name, number in (("num_samples", num_samples), ("num_real", num_real)):
            if number is not None and number < 2:
                raise ValueError(
                    f"{name}={number}: a score needs 2 samples at least, and means little below 10,000"
                )
        if split not in ("train", "test") or weights not in ("ema", "raw"):
            raise ValueError(f"split={split!r}, weights={weights!r}: use train or test, and ema or raw")
        self.evaluation_arguments = (metrics, extractor)
        self.every_n_updates, self.num_samples, self.num_real = every_n_updates, num_samples, num_real
        self.split, self.weights, self.batch_size, self.seed = split, weights, batch_size, seed
        self.cache = cache
        self.scores: Scores | None = None
        self._evaluation: Evaluation | None = None
        self._real: RealImages | None = None
        self._next = 0
        self._last = -1

    # ------------------------------------------------------------------ when

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that module, data, metrics and extractor fit together, before any long work starts.

        Raises:
            TypeError: If the module cannot be sampled from.
            ValueError: If something does not fit; one line that says what to do.
        """
        if stage == "predict":
            return
        if not (hasattr(pl_module, "draw_latents") and hasattr(pl_module, "generate")):
            raise TypeError(
                f"Evaluate scores samples made of latents, and a {type(pl_module).__name__} makes none: "
                "leave the callback out"
            )
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
            self._log(trainer, self._evaluate(trainer, pl_module), "val")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate at each validation, if there is no other cadence."""
        if trainer.sanity_checking or (trainer.state.fn == "fit" and self.every_n_updates is not None):
            return
        scores = self._evaluate(trainer, pl_module)
        row: dict[str, Any] = {f"val/{name}": value for name, value in scores.scalars().items()}
        if trainer.state.fn == "fit":
            row["step"] = float(trainer.global_step)  # the loggers' x-axis, which would be batches
        pl_module.log_dict(row, on_step=False, on_epoch=True)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate once."""
        scores = self._evaluate(trainer, pl_module)
        pl_module.log_dict({f"test/{name}": value for name, value in scores.scalars().items()})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the end, and print its scores."""
        if trainer.global_step != self._last:
            self._log(trainer, self._evaluate(trainer, pl_module), "val")
        if trainer.is_global_zero and self.scores is not None:
            print(table(self.scores))

    def state_dict(self) -> dict[str, Any]:
        """Return which update was evaluated last."""
        return {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run stopped."""
        self._last = state_dict["last"]

    # ------------------------------------------------------------------ what

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        if self._evaluation is not None:
            return
        game = cast(_Game, module)
        metrics, extractor = self.evaluation_arguments
        for metric in metrics:
            if getattr(metric, "num_classes", 0) is None and game.num_classes is not None:
                metric.num_classes = game.num_classes
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
        if self._evaluation.compares:
            self._real = self._real_images(trainer, game)
        with isolate_rng():
            latents, classes = latents_and_classes(game, 2, True, 0)
            samples = as_stored(game.generate(latents, classes))
            self._evaluation.try_out(Samples(samples, torch.arange(2), classes))
            if self._real is not None:
                self._evaluation.prepare(self._real)

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

    def _evaluate(self, trainer: Trainer, module: LightningModule) -> Scores:
        evaluation = self._evaluation
        assert evaluation is not None
        game = cast(_Game, module)
        # Lightning's loops hold gradients and random states that must not notice.
        with isolate_rng(), torch.no_grad():
            self.scores = evaluation.run(self._samples(game, evaluation), self._real)
        averaged = self.weights == "ema" and game.ema is not None
        self.scores.protocol.update(weights="ema" if averaged else "raw", seed=self.seed)
        self._last = trainer.global_step
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asks all ranks
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "evaluations.jsonl").open("a") as file:
                file.write(json.dumps({"update": trainer.global_step, **self.scores.as_json()}) + "\n")
            self._draw_neighbours(game, evaluation, folder, trainer.global_step)
        return self.scores

    def _samples(self, game: _Game, evaluation: Evaluation) -> Iterator[Samples]:
        ema = self.weights == "ema"
        latents, classes = latents_and_classes(game, self.num_samples, ema, self.seed)
        share = evaluation.share(self.num_samples)
        for start in range(share.start, share.stop, self.batch_size):
            part = slice(start, min(start + self.batch_size, share.stop))
            chosen = None if classes is None else classes[part]
            samples = as_stored(game.generate(latents[part], chosen, ema), start)
            yield Samples(samples, torch.arange(part.start, part.stop), chosen)

    def _draw_neighbours(self, game: _Game, evaluation: Evaluation, folder: Path, update: int) -> None:
        """Draw samples beside the training images that are nearest to them."""
        for metric in evaluation.metrics:
            if not isinstance(metric, NearestNeighbours) or self._real is None or metric.nearest is None:
                continue
            places, _, indices = metric.nearest
            ema, chosen = self.weights == "ema", places.cpu()
            latents, classes = latents_and_classes(game, self.num_samples, ema, self.seed)
            samples = game.generate(latents[chosen], None if classes is None else classes[chosen], ema)
            real = self._real
            found = [torch.cat([real.read(i, i + 1) for i in row]) for row in indices.cpu().tolist()]
            path = folder / "neighbours" / f"step={update:08d}.png"
            path.parent.mkdir(exist_ok=True)
            neighbours_picture(as_stored(samples).cpu(), torch.stack(found)).save(path)

    def _log(self, trainer: Trainer, scores: Scores, stage: str) -> None:
        values = {f"{stage}/{name}": value for name, value in scores.scalars().items()}
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)


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


def as_stored(samples: Tensor, first: int = 0) -> Tensor:
    """Return images as files would hold them, in 256 levels; vectors as they are.

    Raises:
        ValueError: If a sample is not finite.
    """
    good = samples.flatten(1).isfinite().all(1)
    if not good.all():
        bad = first + int((~good).nonzero()[0])
        raise ValueError(f"sample {bad} is not finite: the generator has diverged, and has no score")
    return to_bytes(samples) if samples.ndim == 4 else samples
