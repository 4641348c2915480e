"""Checks of shapes, shared by all networks: a wrong size is named before it becomes a size mismatch."""

from collections.abc import Sequence

from torch import Tensor


def checked_shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    """Return ``image_shape`` as a tuple: (channels, height, width), or (d,) for vectors.

    Raises:
        ValueError: If it is neither.
    """
    shape = tuple(image_shape)
    if len(shape) not in (1, 3) or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(f"image_shape is {shape}: give (channels, height, width), or (d,) for vectors")
    return shape


def square_image(image_shape: Sequence[int]) -> tuple[int, int]:
    """Return the channels and the size of square images.

    Raises:
        ValueError: If ``image_shape`` is not (channels, size, size).
    """
    shape = checked_shape(image_shape)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"image_shape is {shape}: this network needs square images, (channels, size, size)")
    return shape[0], shape[1]


def sized_image(image_shape: Sequence[int], wanted: int) -> int:
    """Return the channels of square images of the wanted size.

    Raises:
        ValueError: If ``image_shape`` is not (channels, wanted, wanted).
    """
    channels, size = square_image(image_shape)
    if size != wanted:
        raise ValueError(f"image_shape is {tuple(image_shape)}: resize to (channels, {wanted}, {wanted})")
    return channels


def power_of_two_image(image_shape: Sequence[int]) -> tuple[int, int]:
    """Return the channels and the size of square images whose size is 8, 16, 32, 64, ...

    Raises:
        ValueError: If ``image_shape`` is anything else.
    """
    channels, size = square_image(image_shape)
    if size < 8 or size & (size - 1):
        raise ValueError(
            f"image_shape is {tuple(image_shape)}: this network has 8, 16, 32, 64, 128 or 256 pixels, "
            "resize the images to one of these"
        )
    return channels, size


def check_positive(**values: int) -> None:
    """Raise a ValueError that names the first of ``values`` that is below 1."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: give an integer of at least 1")


def check_latents(latents: Tensor, latent_dim: int) -> None:
    """Raise a ValueError unless ``latents`` has the shape (N, latent_dim)."""
    if latents.dim() != 2 or latents.shape[1] != latent_dim:
        raise ValueError(
            f"latents has shape {tuple(latents.shape)}: this generator takes (N, {latent_dim}), "
            "make the latent's dim and the generator's latent_dim the same"
        )


def check_images(images: Tensor, image_shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless ``images`` has the shape (N, *image_shape)."""
    if images.shape[1:] != image_shape:
        raise ValueError(
            f"images has shape {tuple(images.shape)}: this network was built for {('N', *image_shape)}, "
            "give it the image_shape of the data"
        )
