"""The order in which samples are scored where a score depends on one: by content, not by file names."""

import hashlib

import torch
from torch import Tensor

_PLACE_BITS = 24  # room for 16.7 million samples
_HASH_BITS = 38


def content_hash(content: bytes | memoryview) -> int:
    """Return a number of 38 bits that follows from bytes."""
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 64 - _HASH_BITS


def content_order(values: Tensor, index: Tensor) -> Tensor:
    """Return numbers that sort samples by a hash of their content, equal ones by their place.

    So the same images have the same order, and a score that depends on it the same value, whether they come
    from a game, from files of whatever names or from an array, and on any number of ranks.

    Args:
        values: Samples (n, ...).
        index: Their places, int64 (n,).

    Returns:
        int64 (n,), none negative, no two equal.
    """
    rows = values.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    hashes = torch.tensor([content_hash(row.data) for row in rows], dtype=torch.int64)
    return (hashes << _PLACE_BITS) + index.cpu()


def place_of(number: int) -> int:
    """Return the place of the sample of a number."""
    return number & ((1 << _PLACE_BITS) - 1)
