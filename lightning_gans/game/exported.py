"""Exported games: a folder with weights and a card, read as a checkpoint that no run can go on from."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

CARD, WEIGHTS = "config.json", "model.safetensors"
"""The files of an exported game, called as the hub of Hugging Face and its ``ModelHubMixin`` expect them."""


def exported(
    model: dict[str, Any], weights: dict[str, Tensor], update: int, about: dict[str, Any]
) -> dict[str, bytes]:
    """Return the two files of an exported game by name.

    Args:
        model: What ``plain_arguments`` returned.
        weights: Its ``state_dict``.
        update: The generator update they are of.
        about: What else the card says.
    """
    # Copies: safetensors refuses weights that share memory, or lie in another order.
    content = save({key: value.detach().cpu().contiguous().clone() for key, value in weights.items()})
    card = {"model": model, "update": update, "sha256": _digest(model, content), **about}
    return {WEIGHTS: content, CARD: f"{json.dumps(card, indent=1, default=str)}\n".encode()}


def read_card(path: Path) -> dict[str, Any]:
    """Read the card of an exported game.

    Raises:
        ValueError: If it is damaged.
    """
    card = json.loads(path.read_text())
    if not isinstance(card, dict):
        raise ValueError(f"{path.name} is no card of a game")
    return card


def read_exported(path: Path) -> dict[str, Any]:
    """Read an exported game as a checkpoint; tensors and plain values alone, nothing in it is run.

    Args:
        path: The card; the weights lie beside it.

    Raises:
        ValueError: If a file is damaged, or the two do not belong together.
    """
    card = read_card(path)
    if not isinstance(card.get("model"), dict):
        return {}  # of another package
    weights = path.with_name(WEIGHTS).read_bytes()
    if _digest(card["model"], weights) != card.get("sha256"):
        raise ValueError(
            f"{WEIGHTS} and the model in {path.name} do not have the checksum that is written there"
        )
    return {
        "hyper_parameters": card["model"],
        "state_dict": load(weights),
        "global_step": card.get("update"),
    }


def _digest(model: dict[str, Any], weights: bytes) -> str:
    return hashlib.sha256(json.dumps(model).encode() + weights).hexdigest()
