"""What is looked at before a run: does the data fit the game, and do its networks do what the losses need?"""

import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_gans import checks


def check_data(game: Any, data: Any, training: bool) -> None:
    """Check that a data module serves what a game from latents to images learns from.

    Raises:
        ValueError: If it serves pairs, other shapes, or no labels where the game needs them.
    """
    name, of = type(game).__name__, type(data).__name__
    if getattr(data, "view_names", ()):
        raise ValueError(
            f"data={of} serves {' and '.join(data.view_names)}, but a {name} learns from single images: use "
            "ImageFolder for these files"
        )
    shape = tuple(getattr(data, "image_shape", None) or game.image_shape)
    if shape != game.image_shape:
        raise ValueError(f"image_shape={game.image_shape} of the model is not the data's, {shape}: use that")
    if training and game.conditional and hasattr(data, "training_images"):
        labels = data.training_images()[1]
        unlabeled = int((labels < 0).sum())
        if unlabeled and not game.semi_supervised:
            raise ValueError(
                f"{unlabeled} training samples of {of} have no label, but a conditional {name} needs all: "
                "leave out label_fraction, num_labels and unlabeled data"
            )
        if unlabeled == len(labels):
            raise ValueError(
                f"none of the {unlabeled} training samples of {of} has a label: a {name} learns classes from "
                "those that have one, use such data"
            )


@contextmanager
def trying(game: nn.Module, method: str) -> Iterator[None]:
    """Within this block, whatever a network or a method raises becomes one line that says where and why.

    Args:
        game: The game that is tried.
        method: Which of its methods is called.

    Raises:
        ValueError: Naming the network that failed and what it was called with, or the method if none was.
    """
    try:
        yield
    except Exception as error:
        where = _failed_call(game, error) or f"{type(game).__name__}.{method}()"
        raise ValueError(f"{where} failed: {type(error).__name__}: {checks.first_line(error)}") from error


def _failed_call(game: nn.Module, error: Exception) -> str | None:
    """Say which network of a game an error left, and what it had been called with; None if it left none."""
    names = {id(network): name for name, network in game.named_children()}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = frame.f_locals  # those of torch's method that calls forward()
        network = found.get("self")
        if id(network) in names and {"args", "kwargs"} <= set(found):
            given = " and ".join(map(described, [*found["args"], *found["kwargs"].values()])) or "nothing"
            named = f"{names[id(network)]}={type(network).__name__} of {type(game).__name__}"
            return f"{named}, called with {given},"
    return None


def described(value: Any) -> str:
    """Say in a few words what a loader served, or a network was given or returned."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {', '.join(map(described, value)) or 'nothing'}"
    return "None" if value is None else f"a {type(value).__name__}"


def check_images(game: Any, images: Any, shape_name: str = "image_shape") -> None:
    """Check two images that a game made.

    Args:
        game: The game.
        images: What it made.
        shape_name: Which of its attributes is the shape that they should have.

    Raises:
        ValueError: If they have not the game's ``image_shape``, or are not finite.
    """
    name, wanted_shape = f"generator of {type(game).__name__}", getattr(game, shape_name)
    if not isinstance(images, Tensor):
        wanted = ", ".join(map(str, wanted_shape))
        raise ValueError(f"{name} returned {described(images)}: it must return a tensor (N, {wanted})")
    made = f"{name} makes"
    shape = tuple(images.shape[1:])
    if shape != wanted_shape or len(images) != 2:
        raise ValueError(
            f"{made} images of shape {shape}, but {shape_name}={wanted_shape}: build it for that shape"
        )
    if not bool(images.isfinite().all()):
        raise ValueError(f"{made} values that are not finite: look at its weights and its last layer")
    warn_of_range(images, f"{made} images")


def warn_of_range(samples: Tensor, what: str = "samples lie") -> None:
    """Warn of images ``(n, C, H, W)`` that cannot be meant as ones in [-1, 1]; vectors have no range."""
    if samples.ndim != 4:
        return
    low, high = float(samples.min()), float(samples.max())
    if max(-low, high) > 1.05:
        found = "what is beyond is cut off"
    elif low >= 0:
        found = "this looks like [0, 1]"
    else:
        return
    warnings.warn(f"{what} in [{low:.3g}, {high:.3g}], not in [-1, 1]: {found}", stacklevel=2)


def check_batches(check: Callable[[int], None], batch_size: int, smallest: int) -> None:
    """Check that a game can learn from full batches, and from the rest at the end of an epoch.

    Args:
        check: Refuses a batch size.
        batch_size: Samples of a full batch.
        smallest: Samples of the smallest batch.

    Raises:
        ValueError: If it cannot.
    """
    check(batch_size)
    if smallest == batch_size:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is a pity, and was said of full batches
            check(smallest)
    except ValueError as error:
        raise ValueError(
            f"an epoch ends with a batch of {smallest}: set data.drop_last to true, or change batch_size or "
            f"the number of samples ({error})"
        ) from error


def batch_sizes(loader: Any) -> tuple[int, int] | None:
    """Return the sizes of a full batch and of the smallest one that a torch DataLoader serves, if known."""
    if not isinstance(loader, DataLoader) or not loader.batch_size:
        return None
    try:
        samples = len(loader.sampler)  # type: ignore[arg-type]
    except TypeError:  # a stream
        return None
    rest = 0 if loader.drop_last else samples % loader.batch_size
    return loader.batch_size, rest or loader.batch_size


def check_served(game: Any, data: Any) -> None:
    """Check the sizes of the batches that a data module says it serves, if it does.

    Raises:
        ValueError: If the game cannot learn from them.
    """
    batch_size = getattr(data, "batch_size", None)
    if batch_size is not None:
        check_batches(game.check_batch, batch_size, getattr(data, "smallest_batch", batch_size))


def check_loader(game: Any) -> None:
    """Check the sizes of the batches of training, unless they come from a data module of this package.

    Raises:
        ValueError: If the game cannot learn from them.
    """
    sizes = batch_sizes(game.trainer.train_dataloader)
    if sizes is not None and not hasattr(getattr(game.trainer, "datamodule", None), "smallest_batch"):
        check_batches(game.check_batch, *sizes)


def check_shapes(model: Any, data: Any) -> None:
    """Check that a model was built for the inputs and targets of a data module, as far as that says them.

    Raises:
        ValueError: If it was built for others.
    """
    for key in ("input_shape", "image_shape"):
        given, found = getattr(model, key), getattr(data, key, None)
        if found is not None and tuple(found) != given:
            raise ValueError(f"{key}={given} of the model is not the data's, {tuple(found)}: use that")


def check_loss(game: nn.Module, player: str, loss: Any) -> None:
    """Check what a player is to minimise.

    Raises:
        ValueError: If that is no scalar, or no gradient leads from it.
    """
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
        return
    found = f"the {player}'s loss of {type(game).__name__} is"
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ValueError(f"{found} {described(loss)}: return a scalar, such as a mean over the batch")
    raise ValueError(
        f"{found} {loss.item():.4g} without a gradient: compute it from what the {player} makes, "
        "without detach() or no_grad()"
    )


def check_gradients(game: nn.Module, player: str, parameters: Sequence[nn.Parameter]) -> None:
    """Check that the gradient of a player's loss has reached the player.

    Raises:
        ValueError: If it has not.
    """
    if all(parameter.grad is None for parameter in parameters):
        raise ValueError(
            f"the {player}'s loss of {type(game).__name__} does not depend on its networks: "
            f"compute it from what the {player} makes"
        )
