"""Scores of the samples while a game trains, and in ``validate`` and ``test``."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.seed import isolate_rng
from torchmetrics import Metric

from lightning_gans.callbacks.clock import stopped
from lightning_gans.callbacks.scoring import Scoring
from lightning_gans.checks import at_least, one_of, within
from lightning_gans.data.cache import cache_folder
from lightning_gans.drawing.pixels import as_png
from lightning_gans.files import write_whole
from lightning_gans.game.ranks import share_buffers
from lightning_gans.game.rows import NO_SCORES, show_best, update_of, write_row
from lightning_gans.metrics.base import Contract, score_names, snake_case
from lightning_gans.metrics.evaluation import (
    Evaluation,
    RealImages,
    Scores,
    over_replicas,
    real_images_of,
)
from lightning_gans.metrics.extractors import Extractor
from lightning_gans.metrics.loaders import given_loaders
from lightning_gans.metrics.stream import RejectedSamples, SampleStream, samples_at, samples_of


@dataclass
class _Game:
    """What is scored: the game of the run, or one of its replicas.

    Attributes:
        game: With the weights to score.
        data: Its data module, if the run has one.
        stream: Its samples.
        real: Real images that they are compared with, if metrics compare.
        evaluation: Scores the samples.
        made_for: The evaluation, with its statistics of real images, is kept from fit to test if all these
            are equal.
        about: What its lines say of a replica.
    """

    game: Any
    data: Any
    stream: SampleStream
    real: RealImages | None
    evaluation: Evaluation
    made_for: tuple[Any, ...]
    about: dict[str, Any]


class Evaluate(Scoring):
    """Score the generator by any metrics: FID, IS, modified IS, KID, precision and recall, modes, ...

    One pass of one extractor over the samples feeds all metrics. The samples come from the same latents each
    time, are rounded to 256 levels as image files would hold them, and are shared out over the ranks.
    Conditional games make equally many of each class; games from images to images translate the held-out
    inputs of the data. Statistics or features of the real images are computed before the training begins, and
    kept in the cache folder for all later runs.

    Scores are logged as ``val/<score>`` (``test/<score>`` in ``test``) and are in
    ``trainer.callback_metrics``, so that Lightning's ``ModelCheckpoint`` and ``EarlyStopping`` can go by
    them: both after each validation with ``every_n_updates=None``; otherwise only a ``ModelCheckpoint``, with
    ``every_n_train_steps`` of the same number. ``evaluations.jsonl`` in the run's folder has a line an
    evaluation: update, name, ``seconds`` (of training up to there, over all resumes, without those of
    evaluations, validations and pictures), ``processor_seconds`` (the same of the processor), scores, scores
    of each class, numbers of samples and real images, and the protocol (extractor, hash of its weights,
    resize, weights). ``validate`` and ``test`` write it only if there is a logger. ``fast_dev_run`` tests
    everything with two samples, and scores nothing.

    Each replica of a game that has several is scored as the run of its seed would be, with a line of its own:
    ``replica``, its ``seed``, and of how many ``replicas`` the seconds are. Logged is the mean over replicas,
    and as ``val/<score>_std`` the standard deviation (of a sample, n - 1).

    Metrics that need different splits, extractors or cadences go into several of these, each with its name.

    Evaluating changes nothing: weights are the same, bit for bit, with this callback and without.

    Args:
        metrics: Metrics of :mod:`lightning_gans.metrics`, or any ``torchmetrics.Metric`` by class path; see
            :class:`~lightning_gans.metrics.base.Contract`.
        extractor: Makes features and logits. None: metrics of pixels or of vectors only.
        every_n_updates: Generator updates between two evaluations, and one at the end. None: at each
            validation, unless ``every_n_seconds`` is given.
        num_samples: Generated samples of an evaluation; of translations at most as many as there are inputs.
        num_real: Real images that they are compared with. None: all of the split.
        split: Real images are those the game is trained on (``train``, the papers' custom) or held-out ones.
        weights: Averaged weights, if there are any, or those of the last update.
        batch_size: Images in a pass of the extractor.
        seed: Decides the latents.
        cache: Keep statistics of real images in ``LIGHTNING_GANS_CACHE``, else ``~/.cache/lightning_gans``;
            in the folder given; or (false) not at all.
        direction: Which translations are scored: from the inputs to the targets of the batches, ``AtoB``, or
            back, of games that translate both ways.
        name: Name of this callback, if there are several: scores are logged as ``val/<name>/<score>``.
        rejection: Score only samples that the discriminator accepts: p, in (0, 1), of
            :class:`~lightning_gans.game.rejection.RejectionSampler`. The line has the ``acceptance``.
        num_calibration: Samples by which each evaluation calibrates it.
        every_n_seconds: Seconds of training between two evaluations, and one at the end: the processor's on a
            CPU, the clock's on a GPU, as in :class:`~lightning_gans.callbacks.StopAfter`.

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
        direction: Literal["AtoB", "BtoA"] = "AtoB",
        name: str | None = None,
        rejection: float | None = None,
        num_calibration: int = 50_000,
        every_n_seconds: float | None = None,
    ) -> None:
        super().__init__(every_n_updates, name, every_n_seconds)
        at_least(1, batch_size=batch_size, num_calibration=num_calibration)
        at_least(2, num_samples=num_samples, num_real=num_real)
        one_of(("train", "test"), split=split)
        one_of(("ema", "raw"), weights=weights)
        one_of(("AtoB", "BtoA"), direction=direction)
        within("(0, 1)", rejection=rejection)
        self.metrics, self.extractor = metrics, extractor
        self.num_samples, self.num_real = num_samples, num_real
        self.split, self.weights, self.batch_size, self.seed = split, weights, batch_size, seed
        self.cache, self.direction = cache, direction
        self.rejection, self.num_calibration = rejection, num_calibration
        self.scores: Scores | None = None
        self._games: list[_Game] = []

    # ------------------------------------------------------------------ when it evaluates

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module can be sampled from, and that other callbacks fit.

        Metrics, extractor and data are tested with two samples when the run starts.

        Raises:
            TypeError: If the module cannot be sampled from.
            ValueError: If two have the same name, or another callback reads scores at updates without any.
        """
        if stage == "predict":
            return
        kind = type(pl_module).__name__
        latents = hasattr(pl_module, "draw_latents") and hasattr(pl_module, "sample_from")
        if not (latents or hasattr(pl_module, "translate")):
            raise TypeError(
                f"Evaluate scores samples that are made of latents or translated, and a {kind} makes none: "
                "leave the callback out"
            )
        needed = ("image_shape", "num_classes") if latents else ("image_shape",)
        missing = [name for name in needed if not hasattr(pl_module, name)]
        if missing:
            raise TypeError(
                f"Evaluate asks {kind} for {' and '.join(missing)}, which it does not have: set image_shape, "
                "(C, H, W) or (d,), and num_classes, a number or None"
            )
        one_of(getattr(pl_module, "directions", ("AtoB",)), direction=self.direction)
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and self.cadence is not None:
            self._check_monitors(trainer, self.cadence.every)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test metrics and data with two samples; compute the statistics of the real images."""
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock; in ``validate``, do what :meth:`on_fit_start` does."""
        super().on_validation_start(trainer, pl_module)
        if trainer.state.fn == "validate":
            self._begin(trainer, pl_module)

    on_test_start = on_fit_start

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate at each validation, if ``every_n_updates`` is None."""
        fitting = trainer.state.fn == "fit"
        if trainer.sanity_checking or (fitting and self.cadence is not None):
            return
        row = self._evaluate(trainer, pl_module, "val")
        if fitting:
            write_row(trainer, row)
        else:  # validate prints and returns them; sync_dist avoids a warning, all ranks have equal values
            pl_module.log_dict(row, sync_dist=True)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate, and log the scores as those of the test."""
        pl_module.log_dict(self._evaluate(trainer, pl_module, "test"), sync_dist=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the weights at the end of training, unless that was done, and print the scores."""
        super().on_train_end(trainer, pl_module)
        if trainer.is_global_zero and self.scores is not None:
            print(*([] if self.name is None else [f"{self.name}:"]), self.scores.table())

    # ------------------------------------------------------------------ how it evaluates

    def _begin(self, trainer: Trainer, module: Any) -> None:
        """Set up metrics, games and data for evaluations, and test them with two samples."""
        for metric in map(Contract, self.metrics):
            metric.check_split(self.split, "give it an Evaluate of its own")
        before, self._games, self.scores = self._games, [], None
        replicas = getattr(module, "replicas", 1)
        for r in range(replicas):
            game, data = module, trainer.datamodule  # type: ignore[attr-defined]
            about: dict[str, Any] = {}
            if replicas > 1:
                game, data = module.replica(r), module.data_of(r)
                about = {"replica": r, "replicas": replicas, "seed": module.seed_of(r)}
            known = before[r] if r < len(before) else None
            self._games.append(self._prepared(trainer, game, data, about, known))

    def _prepared(
        self, trainer: Trainer, game: Any, data: Any, about: dict[str, Any], before: _Game | None
    ) -> _Game:
        """Return what one game needs to be scored, with the evaluation of an earlier stage if it fits."""
        back = self.direction == "BtoA"
        shape, real = tuple(game.input_shape if back else game.image_shape), None
        if any(metric.compares for metric in map(Contract, self.metrics)):
            source = given_loaders(trainer) if data is None else data
            square = len(shape) == 3 and shape[1] == shape[2]  # others are compared as they are
            real = real_images_of(source, self.split, shape[-1] if square else None, self.num_real, back)
        stage: Literal["val", "test"] = "test" if trainer.state.fn == "test" else "val"
        averaged = self.weights == "ema"
        stream = samples_of(
            game,
            self.num_samples,
            averaged,
            self.seed,
            data,
            stage,
            self.direction,
            self.rejection,
            self.num_calibration,
        )
        key, device = None if real is None else real.key, trainer.lightning_module.device
        made_for = (key, stream.count, shape, device, trainer.global_rank, trainer.world_size)
        if before is not None and before.made_for == made_for:
            evaluation = before.evaluation
        else:
            evaluation = Evaluation(
                self.metrics,
                self.extractor,
                count=stream.count,
                device=device,
                batch_size=self.batch_size,
                folder=None if self.cache is False else cache_folder(self.cache),
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                progress=trainer.progress_bar_callback is not None,
            )
        evaluation.fill_in(data, getattr(game, "num_classes", None), game)
        with isolate_rng(), torch.no_grad():
            # What is rejected has the same form, and untrained networks may reject all.
            evaluation.try_out(stream.candidates if isinstance(stream, RejectedSamples) else stream, real)
            if real is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
                evaluation.prepare(real)
        return _Game(game, data, stream, real, evaluation, made_for, about)

    def _check_monitors(self, trainer: Trainer, every: float) -> None:
        unit = "updates" if self.every_n_seconds is None else "seconds of training"
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            monitor = getattr(callback, "monitor", None)
            if monitor is None or not self.logs(monitor):
                continue
            if isinstance(callback, EarlyStopping):
                raise ValueError(
                    f"EarlyStopping looks at {monitor} after validations, Evaluate computes it every "
                    f"{every:g} {unit}: use every_n_updates=null, which evaluates at each validation"
                )
            if isinstance(callback, ModelCheckpoint):
                steps = callback._every_n_train_steps
                fits = f"give it every_n_train_steps={every:g}, or a multiple"
                if self.every_n_seconds is not None:
                    fits = "give Evaluate every_n_updates in place of every_n_seconds"
                elif steps != 0 and steps % every == 0:
                    continue
                raise ValueError(
                    f"ModelCheckpoint(every_n_train_steps={steps}) goes by {monitor}, which is computed "
                    f"every {every:g} {unit}: {fits}"
                )

    def logs(self, monitor: str) -> bool:
        """Return whether this callback logs a score of this name."""
        return self._metric_of(monitor) is not None

    def _metric_of(self, name: str) -> Metric | None:
        prefix = self._prefix("val")
        for metric in self.metrics:
            own = snake_case(type(metric).__name__)
            for pattern in score_names(type(metric)) or (own, f"{own}_*"):
                if name.startswith(prefix) and fnmatchcase(name.removeprefix(prefix), pattern):
                    return metric
        return None

    def _evaluate(self, trainer: Trainer, module: LightningModule, stage: str) -> dict[str, float]:
        """Score the current weights, store the scores, and return them by their names in the log."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return {}
        with stopped(trainer):
            # All ranks must sample from equal networks: each scores a part of the samples.
            share_buffers(module)
            found = [self._score(trainer, module, scored) for scored in self._games]
        self.scores = found[0] if len(found) == 1 else over_replicas(found)
        self._last = trainer.global_step
        row = {f"{self._prefix(stage)}{name}": value for name, value in self.scores.scalars().items()}
        better = {name: getattr(self._metric_of(name), "higher_is_better", None) for name in row}
        show_best(
            trainer,
            {k: higher for k, higher in better.items() if higher is not None and not k.endswith(NO_SCORES)},
        )
        return row

    def _score(self, trainer: Trainer, module: Any, scored: _Game) -> Scores:
        """Score the game, or one replica of it; write its line, and the pictures of its metrics."""
        if scored.about:
            module.replica(scored.about["replica"], into=scored.game)
            # The metrics are the same objects for all replicas, whose data differ.
            scored.evaluation.fill_in(scored.data, scored.game.num_classes, scored.game)
        # Gradients and random states of the training must stay as they are.
        with isolate_rng(), torch.no_grad():
            if isinstance(scored.stream, RejectedSamples):
                scored.stream.sampler.calibrate()  # for the weights as they are now
            share = scored.evaluation.share(scored.stream.count)
            scores = scored.evaluation.run(scored.stream.batches(share, self.batch_size), scored.real)
        averaged = self.weights == "ema" and getattr(module, "ema", None) is not None
        scores.protocol.update(weights="ema" if averaged else "raw", seed=self.seed)
        if hasattr(module, "translate"):
            scores.protocol["direction"] = self.direction
        if isinstance(scored.stream, RejectedSamples):
            scores.protocol.update(scored.stream.protocol)
        folder = self._write_line(trainer, scored.about, scores.as_json())
        if folder is not None:
            with isolate_rng(), torch.no_grad():
                self._draw(scored, folder, update_of(trainer))
        return scores

    def _draw(self, scored: _Game, folder: Path, update: int) -> None:
        """Store the pictures of those metrics that have a method ``pictures``."""
        folder = folder / f"replica={scored.about['replica']}" if scored.about else folder
        for metric in self.metrics:
            if not hasattr(metric, "pictures") or scored.real is None:
                continue
            drawn = metric.pictures(lambda places: samples_at(scored.stream, places), scored.real.at)  # type: ignore[operator]
            for title, picture in drawn.items():
                path = folder / title
                name = path.name if self.name is None else f"{self.name}-{path.name}"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path.with_name(f"{name}-update={update:08d}.png"), as_png(picture))
