"""Classifiers of images, which score generated images."""

from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks.base import check_images
from lightning_gans.networks.pooling import MaxPoolOf4
from lightning_gans.networks.rebuild import Rebuildable

SMALLEST, LARGEST = 8, 128
"""Sizes that :class:`ConvClassifier` is made for."""


class _Classifier(Rebuildable, nn.Module):
    """A classifier of ``stages``, a ``hidden`` layer whose units are the features, and a ``head``."""

    stages: nn.Module
    hidden: nn.Module
    head: nn.Module

    def __init__(self, image_shape: tuple[int, ...], num_classes: int, num_features: int) -> None:
        super().__init__()
        checks.at_least(1, num_classes=num_classes)
        self.image_shape, self.num_classes, self.num_features = tuple(image_shape), num_classes, num_features

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images to features (N, num_features), which are not negative, and logits (N, num_classes)."""
        check_images(images, self.image_shape)
        features = self.hidden(self.stages(images))
        return features, self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Map images to logits."""
        return self.features_and_logits(images)[1]


class ConvClassifier(_Classifier):
    """Small convolutional classifier: images (N, *image_shape) to logits (N, num_classes).

    Stages of 3x3 convolutions with batch norm and ReLU, each followed by max pooling, until 4 to 7 pixels are
    left; channels double up to four times ``width``. Then a hidden layer, whose units are the features by
    which metrics compare images, and the logits.

    Args:
        image_shape: (channels, size, size) with size 8 to 128.
        num_classes: Number of classes.
        width: Channels of the first stage.
        depth: Convolutions of a stage.
        features: Units of the hidden layer.
        dropout: Share of the features that is dropped in training.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        width: int = 32,
        depth: int = 1,
        features: int = 128,
        dropout: float = 0.0,
    ) -> None:
        channels, size = checks.square_image(image_shape, range(SMALLEST, LARGEST + 1))
        checks.at_least(1, width=width, depth=depth, features=features)
        checks.within("[0, 1)", dropout=dropout)
        super().__init__(image_shape, num_classes, features)
        layers: list[nn.Module] = []
        maps = width
        while size > 7:
            for _ in range(depth):
                convolution = nn.Conv2d(channels, maps, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(maps), nn.ReLU()]
                channels = maps
            layers.append(nn.MaxPool2d(2))
            size, maps = size // 2, min(2 * maps, 4 * width)
        self.stages = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, features), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))


class LeNet(_Classifier):
    """The classifier of GOLD's fitting capacity: images (N, channels, 32, 32) to logits (N, num_classes).

    Two 5x5 convolutions of 6 and 16 channels with max pooling and ReLU; layers of 120 and 84 units.
    Source: the released code of Mining GOLD Samples (arXiv 1910.09170), after LeCun et al., 1998.

    Args:
        image_shape: (channels, 32, 32).
        num_classes: Number of classes.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], num_classes: int) -> None:
        channels, _ = checks.square_image(image_shape, (32,))
        super().__init__(image_shape, num_classes, 84)
        self.stages = nn.Sequential(
            *self._stage(channels, 6), *self._stage(6, 16), nn.Flatten(), nn.Linear(400, 120), nn.ReLU()
        )
        self.hidden = nn.Sequential(nn.Linear(120, 84), nn.ReLU())
        self.head = nn.Linear(84, num_classes)

    @staticmethod
    def _stage(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        # The same function as ReLU and then pooling, on a quarter of the numbers.
        return nn.Conv2d(inputs, outputs, 5), MaxPoolOf4(), nn.ReLU()
