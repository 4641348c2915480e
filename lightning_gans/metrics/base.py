"""How an evaluation learns what any metric takes, and which scores it gives."""

import inspect
import re
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

INPUTS = {
    "images": "generated (or real) images, uint8 (n, C, H, W)",
    "samples": "the same, or vectors (n, d) of a game that generates vectors",
    "features": "what the extractor makes of them, float32 (n, d)",
    "logits": "its logits, float32 (n, K)",
    "modes": "its classes of stacked digits, int64 (n,)",
    "judged": "what the game's discriminator says of samples or real images, float32 (n,)",
    "labels": "the classes that samples were made for, int64 (n,)",
    "index": "the samples' places among all of them, int64 (n,), the same whatever the number of ranks",
    "order": "numbers that sort the samples by their content, int64 (n,), whatever their places",
    "inputs": "what images were translated from, uint8 (n, C, H, W)",
    "targets": "what they should have become, uint8 (n, C, H, W)",
    "label_maps": "the label of each pixel that they should show, whole numbers (n, H, W)",
}
"""What ``update`` can ask for, by the names of its arguments."""


class Contract:
    """A metric as an evaluation calls it. Any ``torchmetrics.Metric`` can be one, by these rules.

    - ``update``'s arguments are named after what they take, by the names in :data:`INPUTS`. A single argument
      of any other name takes ``images``. Where the names cannot be chosen, the attribute ``wants`` lists the
      inputs that they take.
    - A last argument ``real`` says that the metric compares: it gets real images too, with ``real=True``.
      Features of real images are cached; metrics of images get all of them each time.
    - ``compute`` returns a number, a tuple of numbers, or a dict of names and numbers; vectors in a dict are
      stored, not logged. A number is called by the class in snake case, the entries of a tuple have ``_1``,
      ``_2``, ... behind it from the second on, unless ``scores`` has their names.

    What a metric may have besides:

    - ``scores``: a class attribute with the names of its scores, or patterns of them (``swd_[0-9]*``), by
      which monitors and tables are checked before anything is computed.
    - ``real_split``: the split that it must be compared with, ``train`` or ``test``.
    - ``fill_in(data, num_classes, num_samples)``: takes what it needs from data module, game and
      evaluation; each argument may be None. Called before an evaluation tests its metrics.
    - ``take_game(game)``: takes the game that is scored, or None, when ``fill_in`` is called. Its weights
      are those of each evaluation; a replica's are, while that one is scored.
    - ``take_real(statistics)``: takes :class:`~lightning_gans.metrics.statistics.RealStatistics` in place of
      real features. ``real_needs = "statistics"`` says that mean and covariance are enough.
    - ``pictures(samples, real)``: returns pictures by name, stored beside the scores. Both arguments are
      functions that return the images (n, C, H, W) at places (n,).
    - ``protocol``: a flat dict of JSON values that belong beside its scores, such as the network it uses.
    - ``empty_batches``: true if ranks that have no real features must call ``update`` with empty ones.

    Attributes:
        metric: The metric.
        name: Name of its class.
        wants: What its ``update`` takes.
        compares: Whether it needs real images.
        real_needs: What it needs of real images: ``statistics``, ``features``, ``images`` or None.
        real_split: The split that it must be compared with, if there is only one.

    Args:
        metric: Any metric.

    Raises:
        ValueError: If it is no metric, or it is not clear what ``update`` takes.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric: Any = metric
        self.name = type(metric).__name__
        if not isinstance(metric, Metric):
            raise ValueError(f"metrics: {self.name} is no torchmetrics.Metric: derive it from that class")
        parameters = inspect.signature(type(metric).update).parameters
        self.compares = "real" in parameters
        self.wants = tuple(getattr(metric, "wants", ())) or self._wants(list(parameters.values())[1:])
        of_translations = {"inputs", "targets", "label_maps"} & set(self.wants)
        if self.compares and of_translations:
            raise ValueError(
                f"metrics: {self.name}.update takes real and {min(of_translations)}, which real images "
                "do not have: leave out one of them"
            )
        cached = set(self.wants) <= {"features", "labels", "index", "order"}
        needs = getattr(metric, "real_needs", "features" if cached else "images")
        self.real_needs: str | None = needs if self.compares else None
        self.real_split: str | None = getattr(metric, "real_split", None)

    def _wants(self, parameters: list[inspect.Parameter]) -> tuple[str, ...]:
        names = [
            parameter.name
            for parameter in parameters
            if parameter.default is parameter.empty
            and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            and parameter.name != "real"
        ]
        if names and set(names) <= INPUTS.keys():
            return tuple(names)
        if len(names) == 1:
            return ("images",)
        raise ValueError(
            f"metrics: {self.name}.update takes {' and '.join(names) or 'no argument by name'}: call its "
            f"arguments by what they take ({', '.join(INPUTS)}), or list that in the attribute wants"
        )

    def check_split(self, split: str, advice: str) -> None:
        """Refuse real images of a split that the metric must not be compared with."""
        if self.real_split not in (None, split):
            raise ValueError(f"{self.name} needs split={self.real_split}, not {split}: {advice}")

    def fill_in(self, data: Any, num_classes: int | None, num_samples: int | None, game: Any) -> None:
        """Pass data module, number of classes, number of samples and game on to the metric."""
        if hasattr(self.metric, "fill_in"):
            self.metric.fill_in(data=data, num_classes=num_classes, num_samples=num_samples)
        if hasattr(self.metric, "take_game"):
            self.metric.take_game(game)

    def update(self, given: dict[str, Tensor], real: bool = False) -> None:
        """Update the metric with those inputs of a batch that it wants."""
        arguments = [given[name] for name in self.wants]
        self.metric.update(*arguments, **({"real": real} if self.compares else {}))

    def compute(self) -> dict[str, Tensor]:
        """Return the scores by name, on the CPU."""
        return self.named(self.metric.compute())

    def named(self, found: Any) -> dict[str, Tensor]:
        """Return what the metric computed by name, as tensors on the CPU.

        Raises:
            ValueError: If it is no number, no tuple and no dict of them.
        """
        if not isinstance(found, dict):
            values = found if isinstance(found, tuple | list) else (found,)
            names = score_names(type(self.metric))
            if len(names) != len(values):
                name = snake_case(self.name)
                names = (name, *(f"{name}_{place}" for place in range(1, len(values))))
            found = dict(zip(names, values, strict=True))
        scores = {}
        for name, value in found.items():
            try:
                score = torch.as_tensor(value).detach().cpu()
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(
                    f"{self.name}.compute gives {type(value).__name__} for the score {name}: return a "
                    "number, a tuple of numbers, or a dict of names and numbers"
                ) from error
            scores[name] = score.reshape(()) if score.numel() == 1 else score
        return scores


def score_names(metric: type[Metric] | str) -> tuple[str, ...]:
    """Return the names of a metric's scores, or patterns of them; empty if the class does not name them.

    Args:
        metric: The class, or its path; a name without dots is one of :mod:`lightning_gans.metrics`.
    """
    kind: Any = metric
    if isinstance(metric, str):
        module, _, name = metric.rpartition(".")
        try:
            kind = getattr(import_module(module or "lightning_gans.metrics"), name, None)
        except ImportError:
            return ()
    return tuple(getattr(kind, "scores", ()))


def snake_case(name: str) -> str:
    """Return a class's name in lower case with underscores: of ``KernelMMD``, kernel_mmd."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
