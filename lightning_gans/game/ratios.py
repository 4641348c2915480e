"""What a discriminator says of many samples at once: the logit of "real", and those of the classes."""

import torch
from torch import Tensor

from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.sides import Side


def terms(
    game: LatentGame, images: Tensor, labels: Tensor | None = None, batch_size: int = 500
) -> tuple[Tensor, Tensor | None]:
    """Return the logits of "real" and, of a discriminator with a head for them, those of the classes.

    Evaluation mode, without gradients, in parts.

    Args:
        game: The game.
        images: (n, *image_shape), as the game's networks take them.
        labels: int64 (n,), for a discriminator that sees them; -1 by default.
        batch_size: Images in a part.

    Returns:
        (n,) and (n, num_classes) or None, both float32 on the CPU.
    """
    labels = torch.full((len(images),), -1) if labels is None else labels
    marginal, classes = [], []
    with game.inference():
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            side = Side(images[part], labels[part]).to(game.device)
            judged = game.judge(game.real_side(side))
            marginal.append(game.logits(judged).cpu())
            head = game.class_logits(judged)
            if head is not None:
                classes.append(head.float().cpu())
    return torch.cat(marginal), torch.cat(classes) if classes else None
