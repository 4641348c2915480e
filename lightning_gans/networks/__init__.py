"""Networks: plain ``nn.Module`` classes, built from numbers and names, without Lightning."""

from lightning_gans.networks.acgan import (
    ACGANColourDiscriminator,
    ACGANColourGenerator,
    ACGANDiscriminator,
    ACGANGenerator,
    ACGANMLPDiscriminator,
    ACGANMLPGenerator,
    TwoHeadedDiscriminator,
)
from lightning_gans.networks.autoencoder import (
    Autoencoder,
    ConvAutoencoder,
    HashAutoencoder,
    IdentityAutoencoder,
    MLPAutoencoder,
)
from lightning_gans.networks.classifier import ConvClassifier, LeNet
from lightning_gans.networks.conditional import ConditionalMLPDiscriminator, ConditionalMLPGenerator
from lightning_gans.networks.dcgan import (
    ConditionalDCGANDiscriminator,
    ConditionalDCGANGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
    DCGANImageNetDiscriminator,
    DCGANImageNetGenerator,
    DCGANPaperDiscriminator,
    DCGANPaperGenerator,
)
from lightning_gans.networks.features import averaged_batch_norm, feature_maps, pooled_features
from lightning_gans.networks.guided import guided_backpropagation
from lightning_gans.networks.mlp import (
    ConvMaxoutDiscriminator,
    DeconvGenerator,
    Maxout,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
)
from lightning_gans.networks.patchgan import PatchDiscriminator
from lightning_gans.networks.rebuild import Rebuildable
from lightning_gans.networks.resnet import ResNetDiscriminator, ResNetGenerator
from lightning_gans.networks.segmenter import ConvSegmenter
from lightning_gans.networks.translator import ResNetTranslator
from lightning_gans.networks.unet import UNetGenerator
from lightning_gans.networks.wgan import ConstantFiltersGenerator, SmallDiscriminator, SmallGenerator

__all__ = [
    "ACGANColourDiscriminator",
    "ACGANColourGenerator",
    "ACGANDiscriminator",
    "ACGANGenerator",
    "ACGANMLPDiscriminator",
    "ACGANMLPGenerator",
    "Autoencoder",
    "ConditionalDCGANDiscriminator",
    "ConditionalDCGANGenerator",
    "ConditionalMLPDiscriminator",
    "ConditionalMLPGenerator",
    "ConstantFiltersGenerator",
    "ConvAutoencoder",
    "ConvClassifier",
    "ConvMaxoutDiscriminator",
    "ConvSegmenter",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DCGANImageNetDiscriminator",
    "DCGANImageNetGenerator",
    "DCGANPaperDiscriminator",
    "DCGANPaperGenerator",
    "DeconvGenerator",
    "HashAutoencoder",
    "IdentityAutoencoder",
    "LeNet",
    "MLPAutoencoder",
    "MLPDiscriminator",
    "MLPGenerator",
    "Maxout",
    "MaxoutDiscriminator",
    "PatchDiscriminator",
    "Rebuildable",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "ResNetTranslator",
    "SmallDiscriminator",
    "SmallGenerator",
    "TwoHeadedDiscriminator",
    "UNetGenerator",
    "averaged_batch_norm",
    "feature_maps",
    "guided_backpropagation",
    "pooled_features",
]
