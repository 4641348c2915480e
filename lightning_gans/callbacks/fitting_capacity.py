"""Fitting capacity while a game trains."""

from statistics import mean, stdev
from time import perf_counter
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_gans.callbacks.clock import stopped
from lightning_gans.callbacks.scoring import Scoring
from lightning_gans.metrics.fitting_capacity import (
    Budget,
    FittingCapacityScores,
    Judges,
    RealData,
    check_game,
    folder_of,
    real_data,
    score_game,
    train_judges,
)


class FittingCapacity(Scoring):
    """Score how well classifiers do that are trained on what a conditional game generates.

    ``val/fitting_capacity`` (trained on generated images, tested on real ones), ``val/gan_test`` (the
    reverse), ``val/fitting_capacity_ceiling`` (trained on real images that have labels when the run begins),
    their standard deviations over seeds under the same names with ``_sd``, and with ``rejection`` the
    ``val/acceptance``. See :func:`~lightning_gans.metrics.fitting_capacity.fitting_capacity` for the
    protocol. Averaged weights are scored if there are any. ``evaluations.jsonl`` in the run's folder has a
    line a score, as of :class:`~lightning_gans.callbacks.Evaluate`: update, name, ``seconds`` of training up
    to there, scores, ``labels`` (training samples that have one now), ``classifier_seconds`` (what this
    score took, with all it needs), numbers of samples and test images, and the budget.

    With its defaults a score takes minutes on a GPU; for a curve lower ``epochs`` and ``seeds``, and leave
    the ceiling out (``real``). The classifiers of real images are trained once for all runs with the same
    images and budget. Several of these, as with and without ``rejection``, each have their name.

    Each replica of a game that has several is scored as the run of its seed would be, with a line of its
    own. Logged is the mean over replicas, and as ``val/fitting_capacity_std`` the standard deviation.

    Rank 0 works while the others wait, 30 minutes at most unless ``DDPStrategy(timeout=...)`` says otherwise:
    a score must not take longer. Watching does not change the training: weights are the same, bit for bit,
    with this callback and without.

    Args:
        every_n_updates: Generator updates between two scores, and one at the end. None: only that.
        name: Name of this callback, if there are several: scores are logged as ``val/<name>/<score>``.
        cache: Keep classifiers of real images in ``LIGHTNING_GANS_CACHE``, else ``~/.cache/lightning_gans``;
            in the folder given; or (false) for this run only.
        **budget: Arguments of :class:`~lightning_gans.metrics.fitting_capacity.Budget`.

    Raises:
        ValueError: If an argument does not fit.
    """

    def __init__(
        self,
        every_n_updates: int | None = 10_000,
        name: str | None = None,
        cache: bool | str = True,
        **budget: Any,
    ) -> None:
        super().__init__(every_n_updates, name)
        self.budget, self.cache = Budget(**budget), cache
        self._real: list[RealData] = []  # of each replica; on rank 0
        self._judges: dict[str, Judges] = {}  # by the key of the images that they learned from
        self._scores: list[FittingCapacityScores] = []  # the last ones of each replica; on rank 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that game and data fit together, before any long work starts.

        Raises:
            ValueError: If they do not, or two have the same name.
            TypeError: If they are not of the right kind.
        """
        if stage == "fit":
            super().setup(trainer, pl_module, stage)
            check_game(pl_module, trainer.datamodule, self.budget)  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the real images.

        Raises:
            ValueError: If none has a label, or a label is out of range.
        """
        self._real, self._judges, self._scores = [], {}, []
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            for r in range(pl_module.replicas):  # type: ignore[arg-type]
                found = real_data(pl_module.data_of(r))  # type: ignore[operator]
                # Replicas mostly have the same images, which then are in memory once.
                self._real.append(next((x for x in self._real if x.key == found.key), found))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the weights at the end of training, unless that was done, and print the scores."""
        super().on_train_end(trainer, pl_module)
        for scores in self._scores:
            print(*([] if self.name is None else [f"{self.name}:"]), scores)
        self._real, self._judges, self._scores = [], {}, []

    def _evaluate(self, trainer: Trainer, module: Any, stage: str) -> dict[str, float]:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return {}
        self._scores = []
        with stopped(trainer):
            found = [self._score(trainer, module, r) for r in range(module.replicas)]
        self._last = trainer.global_step
        row = {name: mean(scores[name] for scores in found) for name in found[0]}
        if len(found) > 1:
            row |= {f"{name}_std": stdev(scores[name] for scores in found) for name in found[0]}
        return {f"{self._prefix(stage)}{name}": value for name, value in row.items()}

    def _score(self, trainer: Trainer, module: Any, replica: int) -> dict[str, float]:
        """Score the game, or one replica of it, and write its line; all ranks return the same scores."""
        values: dict[str, float] = {}
        line: dict[str, Any] = {}
        if trainer.is_global_zero:
            started, real, budget = perf_counter(), self._real[replica], self.budget
            if real.key not in self._judges:
                self._judges[real.key] = train_judges(real, budget, module.device, folder_of(self.cache))
            scores = score_game(module.replica(replica), real, self._judges[real.key], budget)
            self._scores.append(scores)
            values = scores.values()
            line = {
                **values,
                "labels": module.data_of(replica).num_labelled,
                "classifier_seconds": round(perf_counter() - started, 3),
                "samples": budget.epoch_size(real.num_classes),
                "real_samples": scores.n_test,
                "protocol": {**budget.protocol(), "weights": "raw" if module.ema is None else "ema"},
            }
        # Sent to all ranks, so that checkpoints by a metric decide the same on each.
        values = trainer.strategy.broadcast(values)
        about = {"replica": replica, "replicas": module.replicas, "seed": module.seed_of(replica)}
        self._write_line(trainer, about if module.replicas > 1 else {}, line)
        return values
