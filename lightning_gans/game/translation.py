"""The game from images to images: what pix2pix, CycleGAN and their kind have in common."""

from typing import Any

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.game.adversarial import AdversarialModule
from lightning_gans.game.sides import Side, check_real
from lightning_gans.game.trial import check_images, described, trying


class TranslationGame(AdversarialModule):
    """A generator translates images of one domain into another.

    A paper names its players and writes ``training_step``; beside it :meth:`generate`, where its generator
    has another name than ``generator``, and :meth:`judge`, where its discriminator sees more than the images.
    Batches are ``(input, target)``: pairs, or images of two domains that do not belong together
    (:class:`~lightning_gans.PairedImages`, :class:`~lightning_gans.UnpairedImages`).

    Args:
        input_shape: ``(channels, height, width)`` of what is translated.
        image_shape: ``(channels, height, width)`` of the translations.
        kwargs: Arguments of :class:`~lightning_gans.game.adversarial.AdversarialModule`.

    Raises:
        ValueError: If a shape is none of images.
    """

    num_classes = None

    def __init__(self, input_shape: tuple[int, ...], image_shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, shape in (("input_shape", input_shape), ("image_shape", image_shape)):
            if len(checks.image_shape(shape, name)) != 3:
                raise ValueError(f"{name}={shape}: a translation needs images, (channels, height, width)")
        self.input_shape, self.image_shape = tuple(input_shape), tuple(image_shape)
        self._unseen = True  # no real batch of this run was checked yet

    # ------------------------------------------------------------------ what a paper writes

    def generate(self, inputs: Tensor, ema: bool = False) -> Tensor:
        """Translate ``(n, *input_shape)`` to ``(n, *image_shape)``; the only place that calls the generator.

        Args:
            inputs: What to translate.
            ema: With averaged weights, if there are any.
        """
        self._needs("generator", "generate")
        images: Tensor = self.network("generator", ema)(inputs)
        return images

    def judge(self, side: Side) -> Any:
        """Map images of the target domain to logits by the discriminator; the only place that calls it.

        ``side.inputs`` are the inputs that the images belong to.
        """
        self._needs("discriminator", "judge")
        return self.get_submodule("discriminator")(side.images)

    def _needs(self, network: str, method: str) -> None:
        if not hasattr(self, network):
            raise TypeError(f"{type(self).__name__} has no {network}: write {method}()")

    # ------------------------------------------------------------------ the game

    def read(self, batch: Any) -> Side:
        """Take a batch ``(input, target)`` as real samples of the target; the first of a run is checked.

        Raises:
            ValueError: If it is no batch of the model's images.
        """
        pair = isinstance(batch, list | tuple) and len(batch) == 2
        if not pair or not all(isinstance(part, Tensor) for part in batch):
            raise ValueError(
                f"a batch of the data is {described(batch)}: {type(self).__name__} needs "
                "(input, target), two tensors of images"
            )
        inputs, targets = batch
        if self._unseen:
            check_real(inputs, self.input_shape, "the first batch of inputs")
            check_real(targets, self.image_shape, "the first batch of targets")
            self._unseen = False
        return Side(self.memory_format(targets), inputs=self.memory_format(inputs))

    def draw_fakes(self, real: Side) -> Side:
        """Translate the inputs of ``real``."""
        assert real.inputs is not None
        return Side(self.generate(real.inputs), inputs=real.inputs)

    def translate(self, inputs: Tensor, ema: bool = True) -> Tensor:
        """Translate images, in evaluation mode.

        Args:
            inputs: ``(n, *input_shape)`` float32 in [-1, 1].
            ema: Use averaged weights if there are any.

        Returns:
            ``(n, *image_shape)`` float32 in [-1, 1].
        """
        checks.shaped(("n", *self.input_shape), "float", inputs=inputs)
        with self.inference():
            parts = [self.generate(part.to(self.device), ema).float() for part in inputs.split(16)]
        return torch.cat(parts)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Translate the inputs of the batch."""
        inputs = self.read(batch).inputs
        assert inputs is not None
        return self.translate(inputs)

    # ------------------------------------------------------------------ checks before a run

    def setup(self, stage: str) -> None:
        """Translate two images before any long work starts.

        Raises:
            ValueError: If generator and data do not fit together.
        """
        self._unseen = True
        name, data = type(self).__name__, getattr(self.trainer, "datamodule", None)
        if hasattr(data, "image_shape") and not hasattr(data, "input_shape"):
            raise ValueError(
                f"data={type(data).__name__} serves single images, but a {name} translates one kind into "
                "another: use PairedImages or UnpairedImages"
            )
        for key in ("input_shape", "image_shape"):
            given, found = getattr(self, key), getattr(data, key, None)
            if found is not None and tuple(found) != given:
                raise ValueError(f"{key}={given} of the model is not the data's, {tuple(found)}: use that")
        with trying(self, "generate"), self.inference():
            noise = torch.rand(2, *self.input_shape, generator=torch.Generator().manual_seed(0))
            inputs = 2 * noise.to(self.device) - 1
            images = self.generate(inputs)
        check_images(self, images)
        if hasattr(self, "discriminator") or type(self).judge is not TranslationGame.judge:
            with trying(self, "judge"), self.inference():
                self.judge(Side(images, inputs=inputs))
