"""Write a trained game into a folder to share: weights, a card, and its generator as ONNX if wished."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.commands.stored import nameable, settings_of, to_repeat
from lightning_gans.files import scores_in, write_folder
from lightning_gans.game.adversarial import AdversarialModule
from lightning_gans.game.as_in_training import as_in_training
from lightning_gans.game.checkpoints import checkpoint_file, load, read_checkpoint, run_config
from lightning_gans.game.exported import CARD, exported, read_card
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.run_settings import versions
from lightning_gans.game.translation import TranslationGame
from lightning_gans.networks.rebuild import describe

PICTURE = "samples.png"
README = """---
library_name: lightning-gans
pipeline_tag: {task}
tags: [gan, lightning-gans, {kind}]
---
# {title}

{picture}A {kind} of lightning-gans (`pip install lightning-gans`), after {update:,} generator updates:

```bash
lightning-gans {command}
```

or, in Python, `lightning_gans.load("FOLDER")`. The recipe, scores and their protocol are in `{card}`.
"""


def export(
    ckpt_path: str,
    out: str,
    replica: int | None = None,
    onnx: bool = False,
    weights: Literal["ema", "raw"] = "ema",
    trusted: tuple[str, ...] = (),
) -> None:
    """Write a trained game into a folder to share, which load, sample, translate and evaluate take.

    The folder has ``model.safetensors``, all weights with the averaged ones; ``config.json``, a card with the
    model, the run's recipe, the scores of these weights with their protocol, and versions; a ``README.md``;
    and the run's picture of this update, if there is one.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        out: A new folder.
        replica: Of a run that trained several games: this one alone. Default: all.
        onnx: Write the generator too, for any number of images at once: ``generator.onnx`` from latents, and
            labels of a conditional game, of several replicas the first; or ``AtoB.onnx`` and ``BtoA.onnx``
            for images of the size of training, without dropout.
        weights: What is written as ONNX: averaged weights (``ema``), if the checkpoint has some, or those of
            the last update (``raw``).
        trusted: Modules whose classes the checkpoint may name; once for each.

    Raises:
        ValueError: If the checkpoint is none of a game, a network cannot be written down, or the generator
            cannot be written as ONNX.
        ImportError: If the packages for ONNX are missing.
        OSError: If ``out`` cannot be written.
    """
    checks.empty_folder(out=out)
    if onnx and not (find_spec("onnx") and find_spec("onnxscript")):
        raise ImportError("onnx=True needs onnx and onnxscript: pip install 'lightning-gans[onnx]'")
    file = checkpoint_file(ckpt_path)
    checkpoint, config = read_checkpoint(file), run_config(file)
    if config is None:  # which would say how networks are built
        _written_down(checkpoint["hyper_parameters"], ckpt_path)
    game: Any = load(file, trusted=trusted)
    if not isinstance(game, AdversarialModule):
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} is no game, share the checkpoint")
    checks.one_of(range(game.replicas), replica=replica)
    if replica is not None and isinstance(game, LatentGame):
        game = game.replica(replica)
    model = _written_down(game.plain_arguments(), ckpt_path)

    update, run = checkpoint["global_step"], file.parent.parent
    lines, picture = scores_in(run), run / "samples" / f"update={update:08d}.png"
    if file.name == CARD:
        lines, picture = read_card(file).get("scores", []), file.with_name(PICTURE)
    recipe = settings_of(file, nameable((), trusted))
    of_these = [line for line in lines if line.get("update") == update]
    about = {
        "latent": describe(game.latent) if isinstance(game, LatentGame) else None,
        "scores": [line for line in of_these if replica in (None, line.get("replica", replica))],
        "recipe": recipe,
        "versions": versions(),
    }
    files = dict(_as_onnx(game, weights == "ema")) if onnx else {}
    files |= {PICTURE: picture.read_bytes()} if picture.is_file() else {}
    translates, kind = isinstance(game, TranslationGame), type(game).__name__
    command = "translate --input my_images" if translates else "sample --out samples.png"
    name = recipe.get("name")
    files["README.md"] = README.format(
        task="image-to-image" if translates else "unconditional-image-generation",
        kind=kind,
        title=f"{kind}, {name}" if name else kind,
        picture=f"![Samples in training]({PICTURE})\n\n" if PICTURE in files else "",
        update=update,
        command=f"{command} --ckpt_path FOLDER{to_repeat(model)}",
        card=CARD,
    ).encode()
    files |= exported(model, game.state_dict(), update, about)
    write_folder(out, files.items(), len(files))
    print(f"{kind} after {update:,} updates: {out} ({', '.join(files)})")


def _written_down(model: dict[str, Any], ckpt_path: str) -> dict[str, Any]:
    """Return a model's arguments as they are; optimizers that could not be written down are not needed.

    Raises:
        ValueError: If another argument could not be.
    """
    model, kind = dict(model), model["_class_path"].rpartition(".")[2]
    lost = [x for x in model.pop("_not_rebuildable", ()) if not x.endswith(("_optimizer", "_scheduler"))]
    if lost:
        raise ValueError(
            f"ckpt_path={ckpt_path}: {' and '.join(lost)} of this {kind} cannot be written down, so nobody "
            "could load the export: derive the class from lightning_gans.networks.Rebuildable"
        )
    return model


class _Images(nn.Module):
    """What a game makes of its inputs, as the module that exporters ask for."""

    def __init__(self, game: Any, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.game, self.options = game, options

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.game.generate(inputs, *(() if labels is None else (labels,)), **self.options)
        return images.float()


def _as_onnx(game: AdversarialModule, ema: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each generator's file, and its content.

    Raises:
        ValueError: If one cannot be written as ONNX.
    """
    given: dict[str, Tensor]
    if isinstance(game, TranslationGame):
        for direction in game.directions:
            shape = game.image_shape if direction == "BtoA" else game.input_shape
            given, options = {"inputs": torch.zeros(2, *shape)}, {"ema": ema, "direction": direction}
            yield f"{direction}.onnx", _content(game, given, options, game.norm_at_test == "batch")
    elif isinstance(game, LatentGame):
        game = game.replica(0)
        latents, labels = game.draw_latents(2, ema, seed=0)
        given = {"latents": latents} | ({} if labels is None else {"labels": labels})
        yield "generator.onnx", _content(game, given, {"ema": ema})
    else:
        raise ValueError(f"onnx=True: a {type(game).__name__} has neither latents nor images to begin with")


def _content(
    game: AdversarialModule, given: dict[str, Tensor], options: dict[str, Any], batch_statistics: bool = False
) -> bytes:
    size = torch.export.Dim("n"), torch.export.Dim.AUTO  # of labels it is found to be the same
    try:
        with game.inference(), as_in_training(batch_statistics, None):
            program: Any = torch.onnx.export(
                _Images(game, options).eval(),
                tuple(given.values()),
                input_names=list(given),
                output_names=["images"],
                dynamic_shapes=[{0: dim} for dim in size[: len(given)]],
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # tracing runs the network, and may raise anything
        cause: Any = error.__cause__ or error  # torch wraps it in a page of advice
        raise ValueError(
            f"onnx=True: the generator of this {type(game).__name__} cannot be written as ONNX: "
            f"{checks.first_line(cause)}"
        ) from error
    content: bytes = program.model_proto.SerializeToString()
    return content
