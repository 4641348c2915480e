"""Active learning: a game asks for the labels from which it expects to learn most."""

import json
import sys
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_gans import checks
from lightning_gans.callbacks.cadence import Cadence
from lightning_gans.callbacks.clock import stopped
from lightning_gans.callbacks.shown import failure_is_a_warning, show_picture
from lightning_gans.data.base import DataModule
from lightning_gans.drawing.pixels import as_png
from lightning_gans.drawing.queries import draw_label_curves, draw_queries
from lightning_gans.files import scores_in, write_whole
from lightning_gans.game.again import begin_again
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.ranks import share_buffers
from lightning_gans.game.ratios import terms
from lightning_gans.game.rows import write_row
from lightning_gans.losses import gold

Acquisition = Literal["gold", "entropy", "random"]

PART = 2_000  # samples of the pool that are in memory at once, as floats
DRAWN = 50  # samples in a picture


class ActiveLearning(Callback):
    """Train in rounds, and ask for the labels of some training samples after each.

    A round is ``every_n_updates`` generator updates. Before the next one begins

    1. the pool is scored: the training samples that have no label and can get one
       (:meth:`~lightning_gans.data.base.DataModule.pool`), in evaluation mode, as evaluations see them, not
       cropped at random or mirrored;
    2. the data module is asked for the labels of the ``per_round`` samples with the highest scores;
    3. the discriminator gets new initial weights, the generator keeps its own, and all optimizers forget
       their state.

    The scores are, with l the discriminator's logit of "real" and H the entropy of its classes::

        gold      l + rho H, with rho = sd(l) / sd(H) over the pool (GOLD, arXiv 1910.09170)
        entropy   H
        random    uniform numbers, which follow from the run's seed, ``seed`` and the round

    Learning-rate schedulers and averaged weights go on over all rounds. A checkpoint at the end of a round
    has the networks that were trained in it. The first batch of a round was read before the query.

    In the run's folder, ``queries.jsonl`` has a line a query, ``queries/round=<round>.png`` the samples that
    were asked for, with their classes and scores, and ``queries/fitting_capacity.png`` the fitting capacity
    over the number of labels, where :class:`~lightning_gans.callbacks.FittingCapacity` with the same
    ``every_n_updates`` writes it into ``evaluations.jsonl``. A run that is killed and resumed asks for the
    same labels.

    Args:
        every_n_updates: Generator updates of a round; ``trainer.max_steps`` is that times ``rounds``.
        per_round: Labels that are asked for after each round but the last.
        rounds: How often the game is trained.
        acquisition: What the scores are.
        reset: Which players get new initial weights: the ``discriminator`` and whoever else plays against the
            generator, or ``both`` sides.
        seed: Decides new initial weights and random scores, together with the run's seed.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        every_n_updates: int,
        per_round: int,
        rounds: int,
        acquisition: Acquisition = "gold",
        reset: Literal["discriminator", "both"] = "discriminator",
        seed: int = 0,
    ) -> None:
        super().__init__()
        checks.at_least(1, per_round=per_round, rounds=rounds)
        checks.at_least(0, seed=seed)
        checks.one_of(get_args(Acquisition), acquisition=acquisition)
        checks.one_of(("discriminator", "both"), reset=reset)
        self.cadence = Cadence(every_n_updates)
        self.per_round, self.rounds, self.acquisition = per_round, rounds, acquisition
        self.reset, self.seed = reset, seed
        self.queries: list[dict[str, Any]] = []  # the lines of queries.jsonl
        self._run_seed = 0
        self._curves: dict[str, dict[int, float]] = {}
        self._folder: Path | None = None  # the run's; None where nothing is to be written

    # ------------------------------------------------------------------ before a run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the game can begin again, that its data can be asked, and that the rounds fit the run.

        Raises:
            TypeError: If the game is none from latents to images.
            ValueError: If something does not fit.
        """
        if stage != "fit":
            return
        name = type(pl_module).__name__
        if not isinstance(pl_module, LatentGame):
            raise TypeError(f"ActiveLearning trains games from latents to images: {name} is none")
        pl_module.refuse_replicas("each would ask for other labels")
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, DataModule):
            raise ValueError(
                f"ActiveLearning asks for labels, and data={type(data).__name__} has no way to answer: use a "
                "data module of this package"
            )
        self.queries, self._curves, self._folder = [], {}, None  # a resumed run restores them after this hook
        self.cadence.start(0)
        self._run_seed = trainer.strategy.broadcast(torch.initial_seed())
        pl_module.another(seed=0)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.cadence.next = sys.maxsize
            return
        wanted = self.rounds * self.cadence.every
        if trainer.max_steps != wanted:
            raise ValueError(
                f"trainer.max_steps={trainer.max_steps} does not fit rounds={self.rounds} of every_n_updates="
                f"{self.cadence.every}: set it to {wanted}"
            )
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # all ranks must call this
        if trainer.is_global_zero:
            checks.writable_folder(**{"folder of ActiveLearning": folder / "queries"})
            self._folder = folder

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the pool suffices for all rounds, and that the game can score it.

        Raises:
            ValueError: If not.
        """
        assert isinstance(pl_module, LatentGame)
        data: DataModule = trainer.datamodule  # type: ignore[attr-defined]
        pool = data.pool()
        queries = self.rounds - 1 - len(self.queries)
        if queries > 0 and len(pool) == 0:
            raise ValueError(
                f"{type(data).__name__} has no labels to ask for: set data.num_labels, the number that the "
                "first round has"
            )
        if queries * self.per_round > len(pool):
            raise ValueError(
                f"per_round={self.per_round}: {queries} queries exceed the pool, which has {len(pool)} "
                f"samples: use at most {len(pool) // queries}"
            )
        if len(pool):
            self._scored(pl_module, data, pool[:2])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the run lasts, and write what was asked for before it was resumed, perhaps elsewhere.

        Raises:
            ValueError: If ``max_epochs`` ends it before its last round.
        """
        epochs, batches = trainer.max_epochs or -1, int(trainer.num_training_batches)
        if 0 < epochs * batches < trainer.max_steps:  # an update takes a batch, or more
            raise ValueError(
                f"trainer.max_epochs={epochs} ends the run before max_steps={trainer.max_steps}, within the "
                "rounds: leave it out"
            )
        if self._folder is not None and self.queries:
            self._write()
            for query in self.queries:
                if not self._picture_of(query).exists():
                    self._draw(trainer, query)

    # ------------------------------------------------------------------ while it goes on

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ask for labels and begin again, if a round was ended by the batch before, and there is a next."""
        if self.cadence.due(trainer.global_step):
            self._query(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curve of the whole run."""
        self._draw_curves(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the queries so far, when the next one is due, the run's seed and the curves."""
        self._read_curves()
        return {
            "next": self.cadence.next,
            "queries": list(self.queries),
            "seed": self._run_seed,
            "curves": {name: dict(curve) for name, curve in self._curves.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: If rounds were of another length.
        """
        every = state_dict["next"] // (len(state_dict["queries"]) + 1)
        if every != self.cadence.every:
            raise ValueError(
                f"every_n_updates={self.cadence.every} differs from that of the checkpoint's rounds: resume "
                f"with every_n_updates={every}"
            )
        self.cadence.next, self._run_seed = state_dict["next"], state_dict["seed"]
        self.queries, self._curves = list(state_dict["queries"]), dict(state_dict["curves"])

    # ------------------------------------------------------------------ inside

    def _query(self, trainer: Trainer, module: Any) -> None:
        data: DataModule = trainer.datamodule  # type: ignore[attr-defined]
        number = len(self.queries) + 1
        share_buffers(module)  # of which rank 0 scores with its own
        pool = data.pool()
        found: tuple[Tensor, Tensor, float | None] | None = None
        seeds = np.random.SeedSequence([self._run_seed, self.seed, number]).generate_state(2).tolist()
        if trainer.is_global_zero:
            scores, ratio = self._scored(module, data, pool, seeds[0])
            places = highest(scores, self.per_round)
            found = pool[places], scores[places], ratio
        found = trainer.strategy.broadcast(found)
        assert found is not None
        indices, scores, ratio = found
        classes = data.label(indices).tolist()
        begin_again(module, seeds[1], generator=self.reset == "both")
        query: dict[str, Any] = {
            "round": number,
            "update": trainer.global_step,
            "acquisition": self.acquisition,
            "labels": data.num_labelled,
            "pool": len(pool),
            **({} if ratio is None else {"ratio": ratio}),
            "indices": indices.tolist(),
            "names": [data.sample_name(index) for index in indices.tolist()],
            "classes": classes,
            "scores": scores.tolist(),
        }
        self.queries.append(query)
        write_row(trainer, {"train/labels": query["labels"]})
        if self._folder is not None:
            self._write()
            self._draw(trainer, query)
            self._draw_curves(trainer)

    def _scored(
        self, game: LatentGame, data: DataModule, pool: Tensor, seed: int = 0
    ) -> tuple[Tensor, float | None]:
        """Return the scores ``(n,)`` of samples of the pool, and the factor of the entropy in GOLD's."""
        if self.acquisition == "random":
            return torch.rand(len(pool), generator=torch.Generator().manual_seed(seed)), None
        _, read = data.reader()
        parts = [terms(game, read(part.tolist())) for part in pool.split(PART)]
        if parts[0][1] is None:
            raise ValueError(
                f"acquisition={self.acquisition}: the discriminator of {type(game).__name__} has no head for "
                "classes. Use ACGAN, or acquisition=random"
            )
        # Doubles: rho H is large, and differs in its last digits, where the classes are not learned yet.
        marginal = torch.cat([logits for logits, _ in parts]).double()
        entropy = gold.entropy(torch.cat([classes for _, classes in parts if classes is not None]).double())
        if self.acquisition == "entropy":
            return entropy, None
        if not game.log_ratio:
            raise ValueError(
                f"acquisition=gold: the logits of {type(game).__name__} are no log ratios of densities. Use "
                "ACGAN, or acquisition=entropy"
            )
        ratio = gold.balance(marginal, entropy)
        return gold.gold_balanced(marginal, entropy, ratio), float(ratio)

    def _write(self) -> None:
        assert self._folder is not None
        lines = "".join(f"{json.dumps(query)}\n" for query in self.queries)
        write_whole(self._folder / "queries.jsonl", lines)

    def _picture_of(self, query: dict[str, Any]) -> Path:
        assert self._folder is not None
        return self._folder / "queries" / f"round={query['round']:02d}.png"

    def _draw(self, trainer: Trainer, query: dict[str, Any]) -> None:
        data: DataModule = trainer.datamodule  # type: ignore[attr-defined]
        if len(data.image_shape) != 3:
            return
        path = self._picture_of(query)
        with failure_is_a_warning(f"the picture {path}"), stopped(trainer), isolate_rng():
            images = data.reader()[1](query["indices"][:DRAWN])
            scored = zip(query["classes"], query["scores"], strict=True)
            captions = [f"{data.class_names[label]}\n{score:.4g}" for label, score in scored]
            about = f"asked for before round {query['round'] + 1} ({query['acquisition']}): class and score"
            picture = draw_queries(images, captions[:DRAWN], about)
            write_whole(path, as_png(picture))
            show_picture(trainer, "queries", picture, query["update"])

    def _draw_curves(self, trainer: Trainer) -> None:
        self._read_curves()
        if self._folder is None or not self._curves:
            return
        path = self._folder / "queries" / "fitting_capacity.png"
        with failure_is_a_warning(f"the picture {path}"), stopped(trainer), isolate_rng():
            title = f"{type(trainer.lightning_module).__name__}, {self.acquisition}"
            write_whole(path, as_png(draw_label_curves(self._curves, title)))

    def _read_curves(self) -> None:
        """Take up what FittingCapacity has written since; of each number of labels the last line counts."""
        for line in scores_in(self._folder):
            if {"labels", "fitting_capacity"} <= line.keys():
                self._curves.setdefault(line["name"] or "", {})[line["labels"]] = line["fitting_capacity"]


def highest(scores: Tensor, n: int) -> Tensor:
    """Return the places of the ``n`` highest scores ``(N,)``, the highest first, of equal ones the first.

    (The released code of GOLD takes the last of the pool: it never sorts the scores.)
    """
    return scores.argsort(descending=True, stable=True)[:n]
