"""Networks that extract features and logits from images, and the protocol to report beside their scores."""

import hashlib
import io
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lightning_gans import checks
from lightning_gans.checks import at_least, one_of, positive
from lightning_gans.data.cache import cache_folder
from lightning_gans.files import locked

Resize = Literal["tf", "antialias", "clean"]
Precision = Literal["fp32", "bf16"]

_FILE = "weights-inception-2015-12-05-6726825d.pth"
_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_FILE}"
_SHA = "6726825d"
_SIZE = 299
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Extractor(nn.Module, ABC):
    """Extracts features and logits. It is never trained, draws no random numbers and ignores autocast.

    A subclass writes :meth:`extract` and :attr:`protocol`.

    Args:
        name: Its name beside reported scores.
        channels: Channels of the images that :meth:`extract` takes; for 3, grey images are repeated.
    """

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name = name
        self.channels = channels

    @property
    @abstractmethod
    def protocol(self) -> dict[str, str]:
        """What to report beside a score, with at least the keys extractor, hash, resize and precision."""

    @abstractmethod
    def extract(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits of images that are checked and have the right number of channels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits.

        Args:
            images: uint8 (n, C, H, W).

        Returns:
            Features, float32 (n, d), and logits, float32 (n, K); K = 0 if there are none.

        Raises:
            TypeError: If images are not uint8.
            ValueError: If their shape does not fit.
        """
        if images.dtype != torch.uint8:
            raise TypeError(
                f"images are {images.dtype}: give torch.uint8 in [0, 255]; from [-1, 1] that is "
                "((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)"
            )
        if images.dim() != 4 or 0 in images.shape[1:]:
            raise ValueError(f"images have shape {tuple(images.shape)}: (n, C, H, W) is needed")
        taken = {self.channels: f"{self.channels}"} | ({1: "1 (grey)"} if self.channels == 3 else {})
        if images.shape[1] not in taken:
            takes = f"{self.name} takes {' or '.join(taken.values())}"
            raise ValueError(f"images have {images.shape[1]} channels: {takes}")
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False), _full_precision():
            features, logits = self.extract(images.expand(-1, self.channels, -1, -1))
        return features.float(), logits.float()

    def train(self, mode: bool = True) -> "Extractor":
        """Stay in evaluation mode, also if the module that holds this one is set to training."""
        return super().train(False)


class Inception(Extractor):
    """The Inception network of FID, IS and KID (2015-12-05, TensorFlow), as torch-fidelity rebuilds it.

    The network is built when it is first needed: constructing this opens no file. Its weights come from
    ``weights``, else from the cache folder (:func:`lightning_gans.data.cache.cache_folder`), else from
    torch-fidelity's release, into that folder. Features are those of the last pooling layer (d = 2048),
    logits are without the bias (K = 1008), as in the official Inception Score.

    Scores with different ways of resizing are not comparable; ``resize`` is one of

    - ``"tf"``: TensorFlow 1, whose corners are not aligned: the papers, TTUR, torch-fidelity, StyleGAN.
    - ``"antialias"``: PyTorch's bilinear one: torchmetrics >= 1.8; pytorch-fid, for images of at most 299 px.
    - ``"clean"``: clean-fid: bicubic in floats, as PIL does it (0.003 of 255 apart).

    Args:
        weights: Path of the weights.
        resize: How images are resized to 299 px.
        precision: ``"bf16"`` is faster (3.6 times on a CPU with AVX512-BF16), with batch normalisation folded
            into the convolutions. Its scores are not comparable with those of ``"fp32"``: with random
            weights, FID differs by 2.5 %, KID by 16 %.
        verify: Take only the official file. False: any weights of this network; :attr:`protocol` tells
            them apart.

    Raises:
        ValueError: If ``resize`` or ``precision`` is unknown; when the network is built, if the file is
            damaged or holds something else.
        FileNotFoundError: When the network is built, if ``weights`` does not exist.
        OSError: When the network is built, if the weights cannot be downloaded.
    """

    network: nn.Module | None

    def __init__(
        self,
        weights: str | Path | None = None,
        resize: Resize = "tf",
        precision: Precision = "fp32",
        verify: bool = True,
    ) -> None:
        one_of(get_args(Resize), resize=resize)
        one_of(get_args(Precision), precision=precision)
        super().__init__("inception-2015-12-05", 3)
        self.weights, self.verify = weights, verify
        self.resize, self.precision = resize, precision
        self.network, self.hash = None, ""

    @property
    def protocol(self) -> dict[str, str]:
        """Name, file hash, resize and precision; builds the network."""
        self._built()
        return {
            "extractor": self.name,
            "hash": self.hash,
            "resize": self.resize,
            "precision": self.precision,
        }

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return pool3 features (n, 2048) and unbiased logits (n, 1008)."""
        network: Any = self._built().to(images.device)
        x = (resized(images, _SIZE, self.resize) - 128) / 128
        if self.precision == "bf16":
            x = x.to(torch.bfloat16, memory_format=torch.channels_last)
        for name, layer in network.named_children():
            if name != "fc":
                x = layer(x)
        features = x.flatten(1).float()
        return features, features @ network.fc.weight.T

    def _built(self) -> nn.Module:
        if self.network is None:
            file = self._located()
            state, self.hash = _read_weights(file, self.verify)
            if not self.hash.startswith(_SHA):
                self.name = "inception"
            network = _empty_network()
            try:
                network.load_state_dict(state)
            except Exception as error:  # whatever is in a file of weights of something else
                reason = " ".join(str(error).split())[:200]  # the first line only names the class
                raise ValueError(
                    f"weights={file}: not the weights of this Inception network: {reason}"
                ) from error
            network.float()
            if self.precision == "bf16":
                _fold(network)
            self.network = network.requires_grad_(False).eval()
        return self.network

    def _located(self) -> Path:
        """Return the file of weights."""
        if self.weights is None:
            file = cache_folder() / _FILE
            if not file.is_file():
                _download(file)
        else:
            file = Path(self.weights).expanduser()
            if not file.is_file():
                raise FileNotFoundError(f"weights={self.weights}: no such file")
        return file


class ModuleExtractor(Extractor):
    """Any network as an extractor: a classifier of torchvision, a DINOv2.

    The network is set to evaluation mode and its parameters need no gradients any more.

    Args:
        module: Takes float images (n, C, S, S). Its output (n, d) is the features, unless ``features`` is
            given.
        size: S; images are resized to it (bilinear, antialiased). None: they are not resized.
        mean: Subtracted from pixels in [0, 1], a value for each input channel of the network.
        std: Pixels are divided by it then, a value for each channel.
        features: Name of the part of ``module`` whose output, flattened, is the features; the output of the
            whole is the logits then, if it has shape (n, K).
        name: Its name beside reported scores; None: the class of ``module``.

    Raises:
        ValueError: If an argument does not fit; in the forward pass, if an output does not.
    """

    def __init__(
        self,
        module: nn.Module,
        size: int | None = None,
        mean: Sequence[float] = _IMAGENET_MEAN,
        std: Sequence[float] = _IMAGENET_STD,
        features: str | None = None,
        name: str | None = None,
    ) -> None:
        at_least(1, size=size)
        if not mean or len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} values and std {len(std)}: give one per channel")
        positive(**{f"std[{place}]": value for place, value in enumerate(std)})
        super().__init__(name or type(module).__name__, len(mean))
        one_of([part for part, _ in module.named_modules() if part], features=features)
        self.module = module.requires_grad_(False).eval()
        self.size, self.features, self._hash = size, features, ""
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))

    @property
    def protocol(self) -> dict[str, str]:
        """Name, hash of the weights, and how images are prepared."""
        self._hash = self._hash or hash_of(self.module)
        return {
            "extractor": self.name,
            "hash": self._hash,
            "resize": "none" if self.size is None else f"antialias-{self.size}",
            "precision": "fp32",
            "features": self.features or "output",
            "mean": " ".join(map(str, self.mean)),
            "std": " ".join(map(str, self.std)),
        }

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, and logits if the features are the output of a part of the network."""
        x = images.float() if self.size is None else resized(images, self.size, "antialias")
        mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        x = (x / 255 - mean) / std
        if self.features is None:
            return self._flat(self.module(x), len(x), 2), x.new_empty(len(x), 0)
        caught: list[Any] = []
        part = self.module.get_submodule(self.features)
        handle = part.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        try:
            output = self.module(x)
        finally:
            handle.remove()
        if len(caught) != 1:
            raise ValueError(f"features={self.features!r}: that part ran {len(caught)} times, not once")
        no_logits = not isinstance(output, Tensor) or output.dim() != 2
        return self._flat(caught[0], len(x)), x.new_empty(len(x), 0) if no_logits else output

    def _flat(self, output: Any, n: int, dimensions: int | None = None) -> Tensor:
        """Check features and flatten them to (n, d)."""
        if not isinstance(output, Tensor):
            raise ValueError(f"{self.name} returns {type(output).__name__}: features must be a tensor (n, d)")
        if output.dim() < 2 or len(output) != n or (dimensions and output.dim() != dimensions):
            raise ValueError(
                f"{self.name} returns features of shape {tuple(output.shape)} for {n} images: (n, d) is "
                "needed; features=... names the part to take them from"
            )
        return output.flatten(1)


def resized(images: Tensor, size: int, resize: Resize) -> Tensor:
    """Resize images to a square.

    Args:
        images: (n, C, H, W) in [0, 255].
        size: Height and width of the result.
        resize: How, see :class:`Inception`.

    Returns:
        float32 (n, C, size, size) in [0, 255], not rounded.
    """
    images = images.float()
    if resize == "tf":
        return _resized_like_tensorflow(images, size)
    mode = "bilinear" if resize == "antialias" else "bicubic"
    result = F.interpolate(images, (size, size), mode=mode, align_corners=False, antialias=True)
    return result.clamp_(0, 255) if resize == "clean" else result


def _resized_like_tensorflow(images: Tensor, size: int) -> Tensor:
    """Resize bilinearly as TensorFlow 1 does: pixel i of the result is at i * H / size of the image."""
    for dim in (3, 2):
        extent = images.shape[dim]
        # float32 as in TensorFlow: its rounding decides between which pixels a position lies.
        place = torch.arange(size, dtype=torch.float32) * torch.tensor(extent / size, dtype=torch.float32)
        below = place.long()
        share = (place - below).to(images.device).view(-1, *[1] * (3 - dim))
        below = below.to(images.device)
        low = images.index_select(dim, below)
        high = images.index_select(dim, (below + 1).clamp(max=extent - 1))
        images = low + (high - low) * share
    return images


def _empty_network() -> nn.Module:
    """Build the network on the device ``meta``: without weights, and without drawing random numbers.

    torch-fidelity's constructor unpickles any file that it is given, so it gets an empty one here.

    Raises:
        ImportError: If torch-fidelity is not installed.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(
            "Inception needs the package torch-fidelity, which is not installed: pip install torch-fidelity"
        ) from error

    class Network(FeatureExtractorInceptionV3):  # type: ignore[misc]
        """Takes the tensors it is given instead of copying them."""

        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = True) -> Any:
            # The constructor calls this with an empty state.
            return super().load_state_dict(state_dict, strict=strict and bool(state_dict), assign=assign)

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("meta"):
        network: nn.Module = Network("inception-v3-compat", ["2048", "logits_unbiased"], nothing)
    return network


def _read_weights(file: Path, verify: bool) -> tuple[Any, str]:
    """Return the content of a file of weights, and the first 16 hex digits of its sha256."""
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    if verify and not digest.startswith(_SHA):
        raise ValueError(
            f"weights={file}: sha256 begins with {digest[:8]}, that of the official {_FILE} with {_SHA}: "
            "damaged, or another file (delete it and it is downloaded again; verify=False takes others)"
        )
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), digest
    except Exception as error:  # a wrong file can raise exceptions of pickle, zip or torch
        # torch's own advice is to unpickle it.
        objects = isinstance(error, pickle.UnpicklingError)
        reason = "it holds other objects than tensors" if objects else checks.first_line(error)
        raise ValueError(f"weights={file}: no file of weights, or damaged ({reason})") from error


def _fold(network: nn.Module) -> None:
    """Fold batch normalisations into the convolutions in float32; then make these bfloat16."""
    part: Any
    for part in network.modules():
        if hasattr(part, "conv") and hasattr(part, "bn"):
            part.conv = fuse_conv_bn_eval(part.conv.eval(), part.bn.eval())
            part.bn = nn.Identity()
            part.to(dtype=torch.bfloat16, memory_format=torch.channels_last)


def _download(file: Path) -> None:
    """Download the official weights in one of several processes; the others wait."""
    try:
        with locked(file, f"downloads {file.name}"):
            if not file.is_file():
                # The unfinished file of a killed process.
                for leftover in file.parent.glob(f"{file.name}.*.partial"):
                    leftover.unlink()
                torch.hub.download_url_to_file(_URL, str(file), hash_prefix=_SHA)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = checks.first_line(error)
        raise OSError(
            f"{file.name} is not in {file.parent} and cannot be downloaded from {_URL} ({reason}): put it "
            "there, or give its path (weights=...)"
        ) from error


@contextmanager
def _full_precision() -> Iterator[None]:
    """Turn TF32 off within this block: CUDA's convolutions use it by default, and features change by 1e-3."""
    backends: Any = torch.backends
    try:
        before = backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        # The program uses the newer settings of torch >= 2.9: then reading the older ones is an error.
        gpu, cpu = backends.cudnn, backends.mkldnn
        places = (gpu.conv, gpu.rnn, backends.cuda.matmul, cpu.conv, cpu.rnn, cpu.matmul)
        values = [place.fp32_precision for place in places]
        try:
            for place in places:
                place.fp32_precision = "ieee"
            yield
        finally:
            for place, value in zip(places, values, strict=True):
                place.fp32_precision = value
        return
    try:
        backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def hash_of(module: nn.Module) -> str:
    """Return 16 hex digits that change with any weight, name, shape or dtype."""
    sha = hashlib.sha256()
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]
