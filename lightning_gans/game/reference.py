"""Weights of the authors' code, junyanz/pytorch-CycleGAN-and-pix2pix: ``latest_net_G.pth`` and its kind."""

import pickle
import zipfile
from itertools import count, takewhile
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_gans.checks import first_line
from lightning_gans.game.checkpoints import check_entries
from lightning_gans.networks.base import Norm
from lightning_gans.networks.patchgan import HALVINGS, PatchDiscriminator
from lightning_gans.networks.translator import ResNetTranslator
from lightning_gans.networks.unet import Dropout, UNetGenerator

Weights = dict[str, Tensor]
Names = list[tuple[str, str | None]]
"""How the file calls each convolution, and the norm after it, in the order of the network's own layers."""
Reference = UNetGenerator | ResNetTranslator | PatchDiscriminator

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def load_reference(path: str | Path, dropout: bool | None = None) -> Reference:
    """Build the network whose weights the authors' PyTorch code wrote, of pix2pix or CycleGAN.

    It reads ``<epoch>_net_G.pth``, ``G_A``, ``G_B``, ``D``, ``D_A`` and ``D_B``: U-Nets of any depth,
    residual generators with any number of blocks, discriminators of patches or pixels. Architecture, width,
    channels and norm follow from the names and shapes in the file. Statistics that old versions kept of
    instance norms are left out, as the authors leave them out. A U-Net's file does not say if it has dropout.

    To go on from such weights give the network to a game, ``Pix2Pix(input_shape, image_shape,
    generator=load_reference("latest_net_G.pth"))``, or load them into one of the same architecture:
    ``game.generator.load_state_dict(load_reference("latest_net_G.pth").state_dict())``.

    Args:
        path: The file. It is read as tensors alone, nothing in it is run (SECURITY.md).
        dropout: Give a U-Net the dropout that the authors' ``--no_dropout`` leaves out. Default: if it has
            batch norm, as in their pix2pix and not in their CycleGAN.

    Returns:
        The network on the CPU, in training mode; its ``input_shape`` has the size that the authors train at.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds none of these networks.
    """
    path = Path(path)
    weights = _read(path)
    try:
        with torch.device("meta"):  # no memory before all shapes are known to fit
            network, names = _network(weights, dropout)
        network.load_state_dict(_renamed(weights, network, names), assign=True)
    except ValueError as error:
        raise ValueError(f"{path} holds no network of pytorch-CycleGAN-and-pix2pix: {error}") from error
    return network


def _read(path: Path) -> Weights:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        if zipfile.is_zipfile(path):  # torch before 1.6 wrote files of another kind, without checksums
            check_entries(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise exceptions of zip, pickle or torch, of any kind
        objects = isinstance(error, pickle.UnpicklingError)  # of which torch writes a page
        reason = "it holds other objects than tensors" if objects else first_line(error)
        raise ValueError(f"{path} is damaged or no file of weights: {reason}") from error
    if isinstance(weights, dict) and "hyper_parameters" in weights:
        raise ValueError(f"{path} is a checkpoint of Lightning, and not of the authors' code: use load")
    if not isinstance(weights, dict) or not all(map(_is_plain, weights.keys(), weights.values())):
        raise ValueError(f"{path} holds no network of pytorch-CycleGAN-and-pix2pix: it is no dict of tensors")
    return {key.removeprefix("module."): value for key, value in weights.items()}  # DataParallel's


def _is_plain(key: object, value: object) -> bool:
    if not isinstance(key, str) or not isinstance(value, Tensor):
        return False
    return value.device.type == "cpu" and value.layout is torch.strided and not value.is_quantized


def _network(weights: Weights, dropout: bool | None) -> tuple[Reference, Names]:
    """Return the network, still without its weights, and the names of its layers in the file."""
    if "model.model.0.weight" in weights:
        return _unet(weights, dropout)
    if "model.1.weight" in weights:
        return _resnet(weights)
    for root in ("model", "net"):
        if f"{root}.0.weight" in weights:
            return _discriminator(weights, root)
    raise ValueError(f"there is no first layer among its {len(weights)} tensors")


def _unet(weights: Weights, dropout: bool | None) -> tuple[UNetGenerator, Names]:
    # Each level holds its convolution, the next level and its transposed convolution; the last has no next.
    nested = (f"model.model.1.model{'.3.model' * depth}" for depth in count())
    levels = [next(nested), *takewhile(lambda level: f"{level}.1.weight" in weights, nested)]
    *outer, innermost = levels
    names: Names = [("model.model.0", None), *((f"{level}.1", f"{level}.2") for level in outer)]
    names += [(f"{innermost}.1", None), (f"{innermost}.3", f"{innermost}.4")]
    names += [*((f"{level}.5", f"{level}.6") for level in reversed(outer)), ("model.model.3", None)]
    width, inputs, *_ = _shape(weights, "model.model.0")
    _, outputs, *_ = _shape(weights, "model.model.3")
    norm, downs = _norm(weights, names), len(levels) + 1
    placed: Dropout = "middle" if (norm == "batch" if dropout is None else dropout) else "none"
    size = 2**downs
    network = UNetGenerator((inputs, size, size), (outputs, size, size), width, downs, True, norm, placed)
    return network, names


def _resnet(weights: Weights) -> tuple[ResNetTranslator, Names]:
    places = (f"model.{i}.conv_block" for i in count(10))
    blocks = [*takewhile(lambda block: f"{block}.1.weight" in weights, places)]
    dropout = bool(blocks) and f"{blocks[0]}.5.weight" not in weights  # which moves what follows by one
    convs = ["model.1", "model.4", "model.7"]
    convs += [f"{block}.{place}" for block in blocks for place in (1, 6 if dropout else 5)]
    end = 10 + len(blocks)
    convs += [f"model.{end}", f"model.{end + 3}"]
    last = f"model.{end + 7}"
    names: Names = [*((conv, _next(conv)) for conv in convs), (last, None)]
    width, inputs, *_ = _shape(weights, "model.1")
    outputs, *_ = _shape(weights, last)
    norm, size = _norm(weights, names), 256 if len(blocks) >= 9 else 128
    shapes = (inputs, size, size), (outputs, size, size)
    return ResNetTranslator(*shapes, width, len(blocks), norm, dropout), names


def _discriminator(weights: Weights, root: str) -> tuple[PatchDiscriminator, Names]:
    places = (f"{root}.{i}" for i in count(2, 3))
    *normed, last = [*takewhile(lambda conv: f"{conv}.weight" in weights, places)] or [f"{root}.2"]
    fields = {halvings: field for field, halvings in HALVINGS.items() if halvings}
    field = 1 if root == "net" else fields.get(len(normed))
    if field is None:
        raise ValueError(f"it has {len(normed) + 2} convolutions, as no discriminator that is known here")
    names: Names = [(f"{root}.0", None), *((conv, _next(conv)) for conv in normed), (last, None)]
    width, channels, *_ = _shape(weights, f"{root}.0")
    return PatchDiscriminator((channels, 256, 256), field, width, _norm(weights, names)), names


def _shape(weights: Weights, layer: str) -> torch.Size:
    weight = weights.get(f"{layer}.weight")
    if weight is None or weight.dim() != 4:
        raise ValueError(
            f"{layer}.weight is {'missing' if weight is None else f'{weight.dim()}-dimensional'}"
        )
    return weight.shape


def _norm(weights: Weights, names: Names) -> Norm:
    conv, norm = next((pair for pair in names if pair[1]), ("", ""))
    if f"{norm}.weight" in weights:
        return "batch" if f"{norm}.running_var" in weights else "instance_affine"
    return "instance" if f"{conv}.bias" in weights else "none"  # where the authors give no bias


def _next(layer: str) -> str:
    root, _, place = layer.rpartition(".")
    return f"{root}.{int(place) + 1}"


def _renamed(weights: Weights, network: Reference, names: Names) -> Weights:
    """Return the weights under the network's own names."""
    layers = dict(network.named_modules())
    convs = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [name for name, layer in layers.items() if isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d)]
    theirs = [conv for conv, _ in names], [norm for _, norm in names if norm]
    calls = dict(zip(convs, theirs[0], strict=True)) | dict(zip(norms, theirs[1], strict=bool(norms)))
    left, found = dict(weights), {}
    for own, wanted in network.state_dict().items():
        layer, _, kind = own.rpartition(".")
        name = f"{calls[layer]}.{kind}"
        value = left.pop(name, None)
        # Where there is no norm the authors' convolutions have no bias; batch norm once counted no batches.
        if value is None and (kind == "num_batches_tracked" or (kind == "bias" and not norms)):
            value = torch.zeros(wanted.shape, device="cpu")
        if value is None or value.shape != wanted.shape:
            given = "missing" if value is None else f"of shape {tuple(value.shape)}"
            raise ValueError(f"{name} is {given}, where a {type(network).__name__} has {tuple(wanted.shape)}")
        found[own] = value.to(wanted.dtype).contiguous()
    for norm in theirs[1]:
        for kind in STATISTICS:
            left.pop(f"{norm}.{kind}", None)
    if left:
        raise ValueError(f"a {type(network).__name__} has no {next(iter(left))}")
    return found
