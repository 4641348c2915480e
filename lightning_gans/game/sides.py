"""The two sides of a game, real and generated samples, and how a batch of data becomes one."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_gans.game.trial import described


@dataclass(frozen=True)
class Side:
    """Samples of one side, real or generated, with what is known of them.

    Attributes:
        images: ``(n, *image_shape)`` float32; images are in [-1, 1].
        labels: ``(n,)`` int64 classes, -1 where a sample has none. None where the game draws none.
        latents: ``(n, latent_dim)``: what generated samples were made of, or what an encoder found in real
            ones.
        inputs: ``(n, *input_shape)``: the images that these were translated from, or belong to.
    """

    images: Tensor
    labels: Tensor | None = None
    latents: Tensor | None = None
    inputs: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.images)

    def detach(self) -> "Side":
        """Return the same samples without the graph that made them."""
        latents, inputs = (None if x is None else x.detach() for x in (self.latents, self.inputs))
        return replace(self, images=self.images.detach(), latents=latents, inputs=inputs)

    def to(self, device: torch.device) -> "Side":
        """Return the same samples on a device."""
        parts = (self.images, self.labels, self.latents, self.inputs)
        return Side(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]


def read_batch(batch: Any) -> Side:
    """Take a batch of a data loader as real samples.

    Args:
        batch: ``(images, labels)``, a bare tensor of images, ``(images,)``, or a mapping with the key
            ``images`` (or ``image``) and perhaps ``labels`` (or ``label``).

    Returns:
        The samples; their labels are -1 where the batch has none.

    Raises:
        ValueError: If it is none of these.
    """
    labels = None
    if isinstance(batch, Tensor):
        images: Any = batch
    elif isinstance(batch, Mapping):
        images = batch.get("images", batch.get("image"))
        labels = batch.get("labels", batch.get("label"))
    elif isinstance(batch, list | tuple) and 1 <= len(batch) <= 2:
        images, labels = batch[0], batch[1] if len(batch) == 2 else None
    else:
        images = None
    if not isinstance(images, Tensor) or not (labels is None or isinstance(labels, Tensor)):
        raise ValueError(
            f"a batch of the data is {described(batch)}: give images, (images, labels), or a mapping with "
            "images and labels, each a tensor"
        )
    if labels is None:
        labels = torch.full((len(images),), -1, device=images.device)
    return Side(images, labels)


def check_real(images: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Check the first real images of a run: shape, type and range.

    Args:
        images: ``(n, ...)``.
        shape: What each of them is to be.
        name: Of what they are, for the message.

    Raises:
        ValueError: If they are not float32 ``(n, *shape)``, or not images in [-1, 1].
    """
    if tuple(images.shape[1:]) != shape:
        raise ValueError(
            f"{name} has shape {tuple(images.shape)}, but the model was built for (n, {_listed(shape)}): "
            "resize the data, or give the model this image_shape"
        )
    if images.dtype != torch.float32:
        scaled = ", scaled to [-1, 1]: images / 127.5 - 1" if images.dtype == torch.uint8 else ""
        raise ValueError(f"{name} is {images.dtype}: give float32{scaled}")
    if len(shape) != 3:
        return
    low, high = (float(x) for x in images.aminmax())
    if not (low >= -1.01 and high <= 1.01):
        raise ValueError(f"{name} has values from {low:.4g} to {high:.4g}: scale images to [-1, 1]")
    if low >= 0 and high > low:
        _check_scale(images, f"{name} has values from {low:.4g} to {high:.4g}")


def _check_scale(images: Tensor, found: str) -> None:
    """Tell images that were scaled to [0, 1] from bright ones in [-1, 1]."""
    levels = images * 255  # 256 levels in [0, 1] give whole numbers, in [-1, 1] odd ones
    whole = bool((levels - levels.round()).abs().max() < 0.01)
    if whole and bool((levels.round() % 2 == 1).all()):
        return
    message = f"{found}, as if scaled to [0, 1]: give [-1, 1], 2 * images - 1"
    if whole:
        raise ValueError(message)
    warnings.warn(message, stacklevel=2)


def check_labels(labels: Tensor | None, n: int) -> None:
    """Check the labels of the first real images of a run.

    Raises:
        ValueError: If they are not whole numbers ``(n,)``.
    """
    if labels is not None and (labels.shape != (n,) or labels.is_floating_point()):
        raise ValueError(
            f"labels of a batch are {labels.dtype} of shape {tuple(labels.shape)}: give int64 ({n},), "
            "-1 for a sample without one"
        )


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
