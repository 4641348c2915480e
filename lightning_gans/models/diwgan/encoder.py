"""Auto-encoders of DIWGAN: those of other runs, and how well one must reconstruct."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lightning_gans.game.checkpoints import load

EncoderFactory = Callable[[tuple[int, ...]], nn.Module]
"""Makes an auto-encoder from ``image_shape``."""


def trained_encoder(path: str) -> nn.Module:
    """Return the auto-encoder of a trained DIWGAN, the first one if it has several replicas.

    Args:
        path: Its checkpoint, or the folder of its run.

    Raises:
        ValueError: If there is none, or it has no auto-encoder.
    """
    try:
        game: Any = load(path)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"encoder={path}: {error}; give identity, a checkpoint or an auto-encoder"
        ) from error
    if getattr(game, "replicas", 1) > 1:
        game = game.replica(0)
    encoder = getattr(game, "encoder", None)
    if not isinstance(encoder, nn.Module) or not hasattr(encoder, "encode"):
        raise ValueError(
            f"encoder={path}: this {type(game).__name__} has no auto-encoder, give one of a DIWGAN"
        )
    return encoder


def largest_error(data: Any, variance: float) -> float:
    """Return the largest mean squared error of reconstructions whose codes still show the data's structure.

    Args:
        data: The data module; one of mixtures has ``covariances`` ``(K, d, d)``.
        variance: Of the data around its mean.

    Returns:
        A quarter of the least variance of a component, so that codes keep the components' width; otherwise
        half of the data's variance.
    """
    covariances = getattr(data, "covariances", None)
    if covariances is None:
        return variance / 2
    return float(torch.linalg.eigvalsh(covariances.double()).min()) / 4
