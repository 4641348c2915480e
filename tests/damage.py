"""Files as bad disks, killed writers and strangers leave them."""

import random
from collections.abc import Iterator


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` damaged copies of a file's content, each with what was done to it.

    A bit is flipped, a byte replaced, a block zeroed, removed, repeated or swapped with noise, the end cut
    off, something appended; every kind in turn, at a random place.
    """
    rng = random.Random(seed)
    kinds = ("flip", "byte", "zeros", "remove", "repeat", "noise", "cut", "append")
    for number in range(count):
        kind = kinds[number % len(kinds)]
        start = rng.randrange(len(content))
        end = min(len(content), start + rng.choice((1, 4, 64, 512)))
        block = content[start:end]
        if kind == "flip":
            new = bytes([block[0] ^ (1 << rng.randrange(8))]) + block[1:]
        elif kind == "byte":
            new = bytes([(block[0] + rng.randrange(1, 256)) % 256]) + block[1:]
        elif kind == "repeat":
            new = block + block
        else:
            new = {"zeros": bytes(len(block)), "noise": rng.randbytes(len(block))}.get(kind, b"")
        if kind == "cut":
            result = content[:start]
        elif kind == "append":
            result = content + rng.randbytes(len(block))
        else:
            result = content[:start] + new + content[end:]
        if result != content:
            yield f"{kind} at {start} to {end}", result
