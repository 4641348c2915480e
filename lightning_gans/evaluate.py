"""The command ``lightning-gans evaluate``: score a checkpoint, a folder of images or an npz."""

import csv as csv_format
import json as json_format
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torchmetrics import Metric

from lightning_gans.adversarial import load
from lightning_gans.callbacks.evaluate import as_stored, latents_and_classes, table
from lightning_gans.data.base import Data, ImageDataModule
from lightning_gans.data.cache import cache_folder
from lightning_gans.data.decode import Decoder, open_image
from lightning_gans.data.folder import list_images
from lightning_gans.data.sources import ImageFiles, ImageSource
from lightning_gans.latent_game import LatentGame
from lightning_gans.metrics import FID, IS
from lightning_gans.metrics.evaluation import Evaluation, RealImages, Samples, Scores
from lightning_gans.metrics.extractors import Extractor, Inception
from lightning_gans.metrics.statistics import RealStatistics


def evaluate(
    ckpt_path: str | None = None,
    samples: str | None = None,
    data: ImageDataModule | None = None,
    reference: str | None = None,
    extractor: Extractor | None = None,
    metrics: list[Metric] | None = None,
    n: int | None = None,
    split: Literal["train", "test"] = "train",
    weights: Literal["ema", "raw"] = "ema",
    seed: int = 0,
    batch_size: int = 250,
    device: str | None = None,
    json: str | None = None,
    csv: str | None = None,
) -> None:
    """Score generated images, from this package or any other, against real ones.

    Args:
        ckpt_path: A checkpoint, to be sampled from.
        samples: Instead: a folder of images, or an .npz with uint8 images (n, height, width, channels).
        data: The real images: a data set.
        reference: Instead: a folder of images, an .npz of images, or an .npz with the statistics mu and
            sigma (enough for the FID).
        extractor: Makes features and logits. Default: the Inception network of 2015.
        metrics: Which. Default: FID and IS, or IS without real images.
        n: Number of samples. Default: 10,000 of a checkpoint, all of a folder or file.
        split: Of ``data``.
        weights: Averaged weights of the checkpoint, if it has some, or those of the last update.
        seed: Of a checkpoint's latents.
        batch_size: Images in a pass of the extractor.
        device: Such as cpu or cuda. Default: a GPU if there is one.
        json: Write the scores, those of each class and the protocol to this file.
        csv: Write the scores to this file.

    Raises:
        ValueError: If arguments do not fit, or images are too few.
        FileNotFoundError: If there is no such file or folder.
    """
    if (ckpt_path is None) == (samples is None):
        raise ValueError("ckpt_path, samples: give one of them, what is to be scored")
    if data is not None and reference is not None:
        raise ValueError("data, reference: give only one of them, what it is compared with")
    if n is not None and n < 2:
        raise ValueError(f"n={n}: a score needs 2 samples at least")
    for name, file in (("json", json), ("csv", csv)):
        if file is not None and not Path(file).absolute().parent.is_dir():
            raise ValueError(f"{name}={file}: there is no such folder")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    game: LatentGame | None = None
    if ckpt_path is not None:
        loaded = load(ckpt_path)
        if not isinstance(loaded, LatentGame):
            raise ValueError(f"ckpt_path={ckpt_path}: a {type(loaded).__name__} has no latent to sample from")
        game = loaded.to(place)
        count, shape = n or 10_000, tuple(game.image_shape)
        if len(shape) != 3:
            raise ValueError(f"ckpt_path={ckpt_path} makes vectors {shape}: evaluate scores images")
    else:
        assert samples is not None
        images = read_images(samples)
        count, shape = n or len(images), tuple(images.shape)[-3:]
        if count > len(images):
            raise ValueError(f"n={n} exceeds the {len(images)} images of samples={samples}")
    if metrics is None:
        metrics = [IS()] if data is None and reference is None else [FID(), IS()]
    real = _real(data, reference, split, shape[-1])
    for metric in metrics:
        if getattr(metric, "num_classes", 0) is None:
            known = game.num_classes if game is not None else getattr(data, "num_classes", None)
            if known is not None:
                metric.num_classes = known
    evaluation = Evaluation(
        metrics,
        extractor or Inception(),
        count=count,
        device=place,
        batch_size=batch_size,
        folder=cache_folder(None),
    )
    if game is not None:
        made = _of_game(game, evaluation, count, weights == "ema", seed, batch_size)
    else:
        made = _of_images(images, count, batch_size)
    scores = evaluation.run(made, real)
    if game is not None:
        averaged = weights == "ema" and game.ema is not None
        scores.protocol.update(weights="ema" if averaged else "raw", seed=seed)
    scores.protocol["scored"] = ckpt_path or samples
    print(table(scores))
    if json is not None:
        Path(json).write_text(json_format.dumps(scores.as_json(), indent=1) + "\n")
    if csv is not None:
        _write_csv(scores, Path(csv))


def read_images(path: str) -> Data:
    """Return the images of a folder, or of an .npz.

    Args:
        path: A folder of images of one size (others are cropped to their central square and resized to the
            first one's), or an .npz with uint8 (n, height, width, channels), as ``lightning-gans sample``
            and other packages write it.

    Returns:
        uint8 (n, C, H, W), or a source of such.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If there are no images in it.
    """
    place = Path(path)
    if place.is_dir():
        files = list_images(place, place)
        first = open_image(place / files[0], files[0])
        channels = 1 if first.mode in ("1", "L", "I;16") else 3
        return ImageFiles(place, files, Decoder(channels, min(first.size)))
    if not place.is_file():
        raise FileNotFoundError(f"{path} is neither a folder nor a file")
    array = _arrays(place).get("arr_0")
    if array is None or array.ndim != 4 or array.dtype != np.uint8 or array.shape[3] not in (1, 3):
        found = "nothing" if array is None else f"{array.dtype} {array.shape}"
        raise ValueError(f"{path}: arr_0 must be uint8 (n, height, width, 1 or 3), and is {found}")
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name == "arr_0"} | dict.fromkeys(
                set(file.files) - {"arr_0"}
            )
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{path}: no readable .npz of images or statistics") from error


def _real(
    data: ImageDataModule | None, reference: str | None, split: Literal["train", "test"], size: int
) -> RealImages | RealStatistics | None:
    if data is not None:
        data.prepare_data()
        data.setup("fit" if split == "train" else "test")
        images, labels, key = data.real_images(split)
        return RealImages(images, labels, key, size)
    if reference is None:
        return None
    if Path(reference).is_file() and {"mu", "sigma"} <= _arrays(Path(reference)).keys():
        return RealStatistics.load(reference)
    images = read_images(reference)
    labels = torch.full((len(images),), -1)
    key = {"data": Path(reference).name}
    if isinstance(images, ImageSource):
        key["content"] = images.fingerprint()
    else:
        state = Path(reference).stat()
        key["content"] = f"{state.st_size} {state.st_mtime_ns}"
    return RealImages(images, labels, key, size)


def _of_game(
    game: LatentGame, evaluation: Evaluation, count: int, ema: bool, seed: int, batch_size: int
) -> Iterator[Samples]:
    latents, classes = latents_and_classes(game, count, ema, seed)
    for start in range(0, count, batch_size):
        part = slice(start, min(start + batch_size, count))
        chosen = None if classes is None else classes[part]
        images = as_stored(game.generate(latents[part], chosen, ema), start)
        yield Samples(images, torch.arange(part.start, part.stop), chosen)


def _of_images(images: Data, count: int, batch_size: int) -> Iterator[Samples]:
    real = RealImages(images, torch.full((len(images),), -1), {}, count=count)  # in random order, for splits
    for start in range(0, count, batch_size):
        stop = min(start + batch_size, count)
        yield Samples(real.read(start, stop), torch.arange(start, stop))


def _write_csv(scores: Scores, path: Path) -> None:
    about = {"samples": scores.samples, "real_samples": scores.real_samples}
    about |= {name: value for name, value in scores.protocol.items() if not isinstance(value, dict)}
    about |= {f"real_{name}": value for name, value in scores.protocol.get("real", {}).items()}
    row = {**scores.scalars(), **about}
    with path.open("w", newline="") as file:
        writer = csv_format.writer(file)
        writer.writerow(row)
        writer.writerow(row.values())
