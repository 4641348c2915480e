"""Score a checkpoint, a folder of images or an npz: FID, IS, KID, ..."""

import hashlib
import json as json_format
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torchmetrics import Metric

import lightning_gans.metrics.classifier
import lightning_gans.metrics.segmenter  # noqa: F401 - imported so that short names are known
from lightning_gans import checks
from lightning_gans.commands.parsing import call, take_trusted
from lightning_gans.commands.stored import nameable, settings_of
from lightning_gans.data.base import Data, ImageDataModule
from lightning_gans.data.cache import cache_folder
from lightning_gans.data.decode import image_endings
from lightning_gans.data.folder import read_folder
from lightning_gans.files import write_csv, write_whole
from lightning_gans.game.checkpoints import checkpoint_file, load, run_config
from lightning_gans.metrics import FID, IS
from lightning_gans.metrics.base import Contract
from lightning_gans.metrics.evaluation import Evaluation, RealImages, Scores, real_images_of
from lightning_gans.metrics.extractors import Extractor, Inception
from lightning_gans.metrics.order import content_hash
from lightning_gans.metrics.statistics import RealStatistics, open_npz
from lightning_gans.metrics.stream import RejectedSamples, SampleStream, samples_of
from lightning_gans.trust import check_trusted, only_trusted


def run(arguments: list[str]) -> None:
    """Run ``evaluate`` with arguments from the command line; those that are left out are as in the run."""
    call_as_in_the_run(evaluate, arguments)


def call_as_in_the_run(
    function: Callable[..., Any], arguments: list[str], names: Collection[str] | None = None
) -> None:
    """Call a function with arguments from the command line; the run of a checkpoint gives what is left out.

    Args:
        function: It takes a ``ckpt_path``, whose name may be left out.
        arguments: What the user typed.
        names: The arguments that the run gives. None: its data, and all arguments of its Evaluate.
    """
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--ckpt_path", *arguments]
    typed: dict[str, str] = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        typed[name] = value if equals else following
    if not typed.get("--ckpt_path") or "--samples" in typed:
        call(function, arguments)
        return
    allowed = nameable(*take_trusted(arguments))
    with only_trusted(allowed):
        found = _as_in_the_run(checkpoint_file(typed["--ckpt_path"]), typed, allowed, names)
        call(function, [*found, *arguments])


def evaluate(
    ckpt_path: str | None = None,
    samples: str | None = None,
    data: LightningDataModule | None = None,
    reference: str | None = None,
    extractor: Extractor | None = None,
    metrics: list[Metric] | None = None,
    n: int | None = None,
    split: Literal["train", "test"] = "train",
    weights: Literal["ema", "raw"] = "ema",
    seed: int = 0,
    direction: Literal["AtoB", "BtoA"] = "AtoB",
    rejection: float | None = None,
    num_calibration: int = 50_000,
    batch_size: int = 250,
    device: str | None = None,
    json: str | None = None,
    csv: str | None = None,
    trusted: tuple[str, ...] = (),
) -> None:
    """Score generated images, from this package or any other, against real ones.

    Args:
        ckpt_path: The checkpoint of a game, or the folder of its run, whose samples are scored; the option's
            name may be left out. The run's data and first Evaluate are the defaults of data, extractor,
            metrics, n, split, weights, seed, direction, rejection and num_calibration.
        samples: In place of a checkpoint: a folder of images, or an .npz with uint8 images (n, height, width,
            channels).
        data: The data set of the real images, which are read at the samples' size; any LightningDataModule.
        reference: In place of a data set: a folder of images, an .npz of images, or an .npz with the
            statistics mu and sigma (enough for the FID). Its images keep their size.
        extractor: Makes features and logits. Default: the Inception network of 2015, if a metric needs one.
        metrics: The metrics. Default: FID and IS, or IS without real images.
        n: Number of samples. Default: 10,000 of a checkpoint, all of a folder or file.
        split: The split of ``data`` to compare with. Games that translate images get the validation data's
            inputs with ``train``, the test data's with ``test``.
        weights: Averaged weights of the checkpoint, if it has some, or those of the last update.
        seed: Decides the latents of a checkpoint's samples.
        direction: Of games that translate images both ways: which translations are scored.
        rejection: Score only samples that a checkpoint's discriminator accepts, by rejection sampling: the
            quantile p, in (0, 1), of its log density ratios above which all are accepted.
        num_calibration: With ``rejection``: samples that the quantile is measured on.
        batch_size: Images in a pass of the extractor.
        device: The device, such as cpu or cuda. Default: a GPU if there is one.
        json: Write the scores, those of each class and the protocol to this file.
        csv: Write the scores to this file.
        trusted: Modules whose classes the checkpoint may name; once for each.

    Raises:
        ValueError: If arguments do not fit, or images are too few.
        FileNotFoundError: If there is no such file or folder.
    """
    if (ckpt_path is None) == (samples is None):
        raise ValueError("ckpt_path, samples: give one of them, what is to be scored")
    if data is not None and reference is not None:
        raise ValueError("data, reference: give only one of them, what it is compared with")
    checks.at_least(2, n=n)
    checks.at_least(1, batch_size=batch_size)
    checks.writable_file(json=json, csv=csv)
    checks.seed(seed=seed)
    checks.within("(0, 1)", rejection=rejection)
    if samples is not None and rejection is not None:
        raise ValueError(f"rejection={rejection}: files have no discriminator, leave it out")
    place = checks.device(device)
    if metrics is None:
        metrics = [IS()] if data is None and reference is None else [FID(), IS()]
    for metric in map(Contract, metrics):
        if metric.compares and data is None and reference is None:
            raise ValueError(f"{metric.name} compares with real images: give them, by --data or --reference")
        if data is not None:
            metric.check_split(split, f"give --split {metric.real_split}, or leave it out")
    num_classes, back = getattr(data, "num_classes", None), direction == "BtoA"
    stream: SampleStream
    game: Any = None
    if ckpt_path is not None:
        game = load(ckpt_path, trusted=trusted)
        if not (hasattr(game, "sample_from") or hasattr(game, "translate")) or len(game.image_shape) != 3:
            raise ValueError(
                f"ckpt_path={ckpt_path}: a {type(game).__name__} that makes no images; to score points by "
                "the metrics of their run: lightning-gans validate --ckpt_path ..."
            )
        checks.one_of(getattr(game, "directions", ("AtoB",)), direction=direction)
        shape = tuple((game.input_shape if back else game.image_shape)[1:])
        translates = hasattr(game, "translate")
        if translates and data is None:
            raise ValueError(f"data=None: a {type(game).__name__} translates, give the data with its inputs")
        if translates:
            set_up(data, split)
        stage: Literal["val", "test"] = "val" if split == "train" else "test"
        ema, count = weights == "ema", n or 10_000
        stream = samples_of(
            game.to(place), count, ema, seed, data, stage, direction, rejection, num_calibration
        )
        num_classes = getattr(game, "num_classes", num_classes)
        about: dict[str, Any] = {"weights": "ema" if ema and game.ema is not None else "raw", "seed": seed}
        about |= {"direction": direction} if translates else {}
    else:
        assert samples is not None
        stream = given = read_images(samples, n, "samples")
        if (n or 0) > given.count:
            raise ValueError(f"n={n} exceeds the {given.count} images of samples={samples}")
        if given.count < 2:
            raise ValueError(f"samples={samples} is 1 image: a score needs 2 samples at least")
        shape, translates = given.shape[1:], False
        about = {"resized": given.key["resized"]} if "resized" in given.key else {}
    square = shape[0] == shape[1]
    if isinstance(data, ImageDataModule) and not square:
        raise ValueError(
            f"{'samples' if samples else 'ckpt_path'}={samples or ckpt_path}: {shape[1]}x{shape[0]} pixels "
            "are not square, as the images of a data set are: compare with such images, by --reference"
        )
    if extractor is None and any({"features", "logits"} & set(Contract(metric).wants) for metric in metrics):
        extractor = Inception()
    if not (translates or isinstance(data, ImageDataModule)):  # these read their images at the samples' size
        set_up(data, split)
    size = shape[0] if square else None
    real = real_images_of(data, split, size, inputs=back) if data is not None else _real(reference)
    if isinstance(real, RealImages) and real.shape[1:] != shape:
        sizes = [f"{width}x{height}" for height, width in (shape, real.shape[1:])]
        warnings.warn(
            f"samples have {sizes[0]} pixels, real images {sizes[1]}: each keeps its size", stacklevel=2
        )
    evaluation = Evaluation(
        metrics,
        extractor,
        count=stream.count,
        device=place,
        batch_size=batch_size,
        folder=cache_folder(),
    )
    evaluation.fill_in(data, num_classes, game)
    # Before the samples are calibrated, which takes long.
    tried = stream.candidates if isinstance(stream, RejectedSamples) else stream
    evaluation.try_out(tried, real, "" if reference is None else f"reference={reference}: ")
    if isinstance(real, RealImages):
        evaluation.prepare(real)
    scores = evaluation.run(stream.batches(range(stream.count), batch_size), real)
    about |= stream.protocol if isinstance(stream, RejectedSamples) else {}
    scores.protocol.update(about, scored=ckpt_path or samples)
    print(scores.table())
    if json is not None:
        write_whole(json, json_format.dumps(scores.as_json(), indent=1) + "\n")
    if csv is not None:
        _write_csv(scores, csv)


def _as_in_the_run(
    ckpt: Path, typed: Collection[str], allowed: Sequence[str], wanted: Collection[str] | None
) -> list[str]:
    """Return data, metrics and their settings of a checkpoint's run as arguments, unless they are typed."""
    file = run_config(ckpt)
    config = settings_of(ckpt, allowed)
    scored: dict[str, Any] = {}
    with suppress(AttributeError, KeyError, TypeError):  # a checkpoint alone, or a file of another shape
        given = config["trainer"]["callbacks"]
        callbacks = given if isinstance(given, list) else [given]
        own = [x for x in callbacks if x["class_path"].rpartition(".")[2] == "Evaluate"]
        # That without a name if there are several.
        scored = min((x["init_args"] for x in own), key=lambda each: each.get("name") is not None, default={})
    names = ["extractor", "metrics", "split", "weights", "seed", "direction", "rejection"]
    names += ["num_calibration"] * (scored.get("rejection") is not None)
    known = {name: scored.get(name) for name in names}
    known = {"data": config.get("data"), **known, "n": scored.get("num_samples")}
    if "--reference" in typed:
        del known["data"]
    if wanted is not None:
        known = {name: value for name, value in known.items() if name in wanted}
    found = {name: value for name, value in known.items() if value is not None and f"--{name}" not in typed}
    check_trusted(found, allowed, file or f"checkpoint {ckpt}")
    if found:
        print(f"as in its run: {', '.join(map(_shown, found, found.values()))}", file=sys.stderr)
    return [
        f"--{name}={value if isinstance(value, str) else json_format.dumps(value)}"
        for name, value in found.items()
    ]


def _shown(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{name} {value}"
    parts = value if isinstance(value, list) else [value]
    paths = [str(x.get("class_path") if isinstance(x, dict) else x).rpartition(".")[2] for x in parts]
    return f"{name} {' and '.join(paths)}"


def set_up(data: LightningDataModule | None, split: Literal["train", "test"]) -> None:
    """Prepare data, if there is some, for reading the images of a split."""
    if data is not None:
        data.prepare_data()
        data.setup("fit" if split == "train" else "test")


def read_images(path: str, count: int | None = None, name: str = "reference") -> RealImages:
    """Return the images of a folder, or of an .npz, in an order that follows from their content.

    Args:
        path: A folder of images, or an .npz with uint8 (n, height, width, channels), as ``lightning-gans
            sample`` and other packages write it. Files of different sizes are cropped to their central square
            and resized to the size that most have; a warning and ``resized`` in the key say so.
        count: Number of images to use. None: all.
        name: The option, for messages.

    Returns:
        Images without labels, grey if all of them are.

    Raises:
        FileNotFoundError: If ``path`` does not exist.
        ValueError: If there are no images in it, or a file is damaged.
    """
    place = Path(path)
    key = {"data": place.name}
    images: Data
    if place.is_dir():
        images, resized = read_folder(place)
        key["content"] = images.fingerprint()
        if resized is not None:
            key["resized"] = resized
        contents: Iterable[bytes] = ((place / images.name(i)).read_bytes() for i in range(len(images)))
    elif place.is_file():
        if _is_picture(place):
            raise ValueError(f"{name}={path} is one image: give a folder of images, or an .npz of them")
        with open_npz(place, ".npz of images or statistics") as file:
            array = file.get("arr_0")
            if array is None:
                raise ValueError(f"it has {', '.join(file) or 'nothing'}: images are to be called arr_0")
            if array.ndim != 4 or array.dtype != np.uint8 or array.shape[3] not in (1, 3) or not array.size:
                found = f"{array.dtype} {array.shape}"
                raise ValueError(f"arr_0 is {found}: give uint8 (n, height, width, 1 or 3)")
        array = np.ascontiguousarray(array)
        images = torch.from_numpy(array).permute(0, 3, 1, 2)
        key["content"] = hashlib.sha256(array.data).hexdigest()[:32]
        contents = (image.tobytes() for image in array)
    else:
        raise FileNotFoundError(f"{name}={path} is neither a folder nor a file")
    order = torch.tensor([content_hash(content) for content in contents]).argsort(stable=True)
    return RealImages(images, torch.full((len(images),), -1), key, count=count, order=order)


def _is_picture(path: str | Path) -> bool:
    return Path(path).suffix.lower() in image_endings()


def _real(reference: str | None) -> RealImages | RealStatistics | None:
    if reference is None:
        return None
    if Path(reference).is_file() and not _is_picture(reference):
        with open_npz(reference, ".npz of images or statistics") as file:
            known = "mu" in file or "sigma" in file
        if known:
            return RealStatistics.load(reference)
    return read_images(reference)


def _write_csv(scores: Scores, path: str) -> None:
    about = {"samples": scores.samples, "real_samples": scores.real_samples}
    about |= {name: value for name, value in scores.protocol.items() if not isinstance(value, dict)}
    about |= {f"real_{name}": value for name, value in scores.protocol.get("real", {}).items()}
    row = {**scores.scalars(), **about}
    write_csv(path, [row, row.values()])
