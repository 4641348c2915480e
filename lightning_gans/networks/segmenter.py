"""A network that tells the class of each pixel of a photograph."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from lightning_gans import checks
from lightning_gans.networks.rebuild import Rebuildable


class ConvSegmenter(Rebuildable, nn.Module):
    """Small convolutional segmenter: images (N, C, H, W) to logits (N, num_classes, H, W).

    An encoder of ``depth`` stages, each of two 3x3 convolutions with batch norm and ReLU and then max
    pooling; a last stage; and a decoder that enlarges the maps (nearest) and sets each encoder's stage beside
    them. Channels double from stage to stage, up to eight times ``width``. Any height and width of at least
    ``2 ** depth`` pixels will do.

    Args:
        image_shape: (channels, height, width) of the images that it is trained on.
        num_classes: Number of classes.
        width: Channels of the first stage.
        depth: How often the maps are halved.
        dropout: Share of the channels of the last encoder's stage that is dropped in training.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets smaller images or other channels.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        width: int = 24,
        depth: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        checks.at_least(1, num_classes=num_classes, width=width, depth=depth)
        checks.within("[0, 1)", dropout=dropout)
        channels, height, width_px = checks.image_shape(image_shape)
        self.channels, self.smallest = channels, 2**depth
        if min(height, width_px) < self.smallest:
            raise ValueError(
                f"image_shape={tuple(image_shape)} cannot be halved {depth} times: use larger images, or a "
                "smaller depth"
            )
        maps = [width * min(2**stage, 8) for stage in range(depth + 1)]
        self.encoder = nn.ModuleList(_stage(*pair) for pair in zip([channels, *maps], maps, strict=False))
        self.dropout = nn.Dropout2d(dropout)
        self.decoder = nn.ModuleList(
            _stage(below + beside, beside) for below, beside in zip(maps[:0:-1], maps[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images to logits of each pixel."""
        checks.shaped(("n", self.channels, "H", "W"), "float", images=images)
        maps, beside = images, list[Tensor]()
        for stage in self.encoder:
            maps = stage(maps if not beside else max_pool2d(maps, 2))
            beside.append(maps)
        maps = self.dropout(beside.pop())
        for stage in self.decoder:
            skip = beside.pop()
            maps = stage(torch.cat([interpolate(maps, skip.shape[2:]), skip], 1))
        logits: Tensor = self.head(maps)
        return logits


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
