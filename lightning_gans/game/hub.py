"""Exported games on the hub of Hugging Face."""

import shutil
from pathlib import Path
from typing import Any

from lightning_gans.game.checkpoints import checkpoint_file, load
from lightning_gans.game.exported import CARD, WEIGHTS

try:
    from huggingface_hub import ModelHubMixin, snapshot_download
except ImportError as error:
    raise ImportError("the hub needs huggingface_hub: pip install 'lightning-gans[hub]'") from error


class HubGame(ModelHubMixin):
    """What ``lightning-gans export`` wrote, to be pushed to the hub, from where the game itself comes back.

    ::

        HubGame("shared").push_to_hub("ada/digits")
        game = HubGame.from_pretrained("ada/digits")
        game.sample(16)

    ``from_pretrained`` takes a local folder too, and ``trusted``, as :func:`lightning_gans.load` does. It
    fetches card and weights, nothing else.

    Args:
        folder: The exported game.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is none of an exported game.
    """

    def __init__(self, folder: str | Path) -> None:
        if checkpoint_file(folder).name != CARD:
            raise ValueError(f"folder={folder} is no exported game: write one with lightning-gans export")
        self.folder = Path(folder)

    def _save_pretrained(self, save_directory: Path) -> None:
        shutil.copytree(self.folder, save_directory, dirs_exist_ok=True)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, trusted: tuple[str, ...] = (), **of_the_hub: Any) -> Any:
        folder = model_id
        if not Path(model_id).is_dir():
            folder = snapshot_download(model_id, allow_patterns=[CARD, WEIGHTS], **of_the_hub)
        return load(folder, trusted=trusted)
