"""A few images in the formats of all data sets that the documentation and the recipes name."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lightning_gans.metrics import FACADES_PALETTE
from tests.data.test_datasets import write_idx
from tests.data.test_official import write_celeba, write_cifar10, write_lmdb, write_svhn

SKETCHES = ["apple", "candle", "canoe", "carrot", "cup", "fish", "pear", "scissors", "strawberry", "tomato"]
PAIRS = ["cityscapes", "edges2shoes", "facades", "horse2zebra", "maps", "monet2photo"]
SKETCHES += ["tree", "violin", "wine-bottle", "wineglass"]


def noise(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def write_grey(root):
    """MNIST, Fashion-MNIST and sketches."""
    for folder in ("MNIST", "FashionMNIST"):
        for split, n in (("train", 512), ("t10k", 32)):
            place = root / folder / "raw"
            write_idx(place / f"{split}-images-idx3-ubyte", noise(n, 28, 28))
            write_idx(place / f"{split}-labels-idx1-ubyte", (torch.arange(n) % 10).byte())
    for name in SKETCHES:
        write_pictures(root / "tu-berlin-sketches" / name, 24, 8)


def write_colour(root):
    """CIFAR-10, SVHN, CelebA, LSUN's bedrooms, the facades and other pairs."""
    write_cifar10(root)
    write_svhn(root)
    write_celeba(root)
    for path in root.glob("celeba/*/*.jpg"):  # bright ones of one colour look like [0, 1]
        Image.effect_noise((178, 218), 100).convert("RGB").save(path)
    for split in ("train", "val"):
        write_lmdb(root / f"bedroom_{split}_lmdb", range(20))
    for name in PAIRS:
        write_labelled(root / name, 9, 32)
    write_pictures(root / "photos", 9, 32)


def write_pictures(folder, n, size, width=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        Image.fromarray(noise(size, width or size, 3, seed=number).numpy()).save(folder / f"{number}.png")


def write_labelled(folder, n, size, splits=("train", "val")):
    """Pairs side by side: photographs, and pictures of their labels in the facades' colours, noise on both.

    The photographs are pale, in four squares.
    """
    palette = np.array(FACADES_PALETTE)
    for split in splits:
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            rng = np.random.default_rng([number, len(split)])
            classes = rng.integers(0, len(palette), (2, 2)).repeat(size // 2, 0).repeat(size // 2, 1)
            photograph = 80 + palette[classes] // 3 + rng.integers(-5, 5, (size, size, 3))
            picture = palette[classes] + rng.integers(-15, 15, (size, size, 3))
            both = np.concatenate([photograph, picture], 1).clip(0, 255).astype(np.uint8)
            Image.fromarray(both).save(folder / split / f"{number}.png")


def write_npz(path, n, size, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, arr_0=noise(n, size, size, 3).numpy(), **more)


def write_galaxies(root: Path):
    """As docs/data.md describes them."""
    for split in ("train", "test"):
        root.mkdir(exist_ok=True)
        np.savez(root / f"galaxies_{split}.npz", images=noise(40, 3, 64, 64), labels=np.arange(40) % 2)


def write_session(
    path, worker, fooled, trials=40, practice=0, ask="real", study="0123456789abcdef", shown=1.0
):
    """What the page of a study offers at its end; in the practice every fake was taken for real."""
    answers = []
    for i in range(practice + trials):
        left, taken = ("real", "fake")[i % 2], i < practice + fooled
        wanted = "left" if (left == ask) != taken else "right"
        answers.append(
            {
                **{"practice": i < practice, "real": f"{i}.png", "fake": f"{i}.png", "left": left},
                **{"choice": wanted, "seconds": 0.5, "shown": shown, "pixels": 256},
            }
        )
    about = {"format": "lightning-gans study 1", "study": study, "seed": 0, "ask": ask, "exposure": 1.0}
    counts = {"practice": practice, "trials": trials, "worker": worker, "session": f"{worker}-{fooled}"}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps({**about, **counts, "answers": answers}))
    return path
