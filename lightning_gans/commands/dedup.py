"""Find near-duplicate images by semantic hashing, as the DCGAN paper did."""

import json
import math
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array
from torch import Tensor
from tqdm import tqdm

from lightning_gans import checks
from lightning_gans.data.base import ImageDataModule, resize
from lightning_gans.data.cache import read_ahead
from lightning_gans.data.loader import to_float
from lightning_gans.data.sources import ImageSource, TensorImages
from lightning_gans.drawing.grids import labelled_grid, shrunk
from lightning_gans.drawing.pixels import as_png
from lightning_gans.files import write_csv, write_whole
from lightning_gans.networks import HashAutoencoder

Codes = NDArray[np.uint8]  # (N, bits / 8): 8 bits in each byte
Places = NDArray[np.int64]

CROP = 32
READ, READ_BYTES = 1024, 2**25
"""Images that are read, made smaller and coded at once, at most, and their bytes."""
TRAINING_BATCH, LEARNING_RATE = 256, 1e-3
FLAT = 1 / 255
"""Standard deviation of the pixels below which a crop shows nothing."""
ROWS, COLUMNS = 1024, 8192
"""Codes that are compared with codes at once."""
MOST_PAIRS = 50_000_000
EXAMPLES = 5
FILES = "exclude.txt", "pairs.csv", "pairs.png", "report.json"


def dedup(
    data: ImageDataModule,
    out: str = "dedup",
    distance: int = 0,
    code_dim: int = 128,
    noise: float = 0.05,
    dropout: float = 0.1,
    epochs: int = 5,
    train_images: int = 200_000,
    seed: int = 0,
    pairs_in_picture: int = 32,
) -> dict[str, Any]:
    """Find near-duplicates among training images, by the semantic hashing of the DCGAN paper.

    A denoising, dropout-regularised ReLU autoencoder learns the images' 32x32 central crops (3072-128-3072;
    grey ones 1024-128-1024); which of its hidden units are active is an image's code. Images of equal codes
    are near-duplicates, and the first of them is kept (Radford et al., 2015, section 4.1).

    The paper gives neither noise, dropout, optimizer nor epochs: what is here was chosen by measurement
    (``benchmarks/dedup.py``), Adam 1e-3 and batches of 256. So was the autoencoder's input: each crop is
    scaled to mean 0 and variance 1, and the mean crop is subtracted. So a darker copy is found too; without
    this, many units are never active. Images without a useful code are kept: codes of zeros, crops of one
    grey. Copies that
    are moved by a pixel of the 32 are not found.

    Args:
        data: The images. Those that ``val_fraction``, ``limit``, ``classes`` or ``exclude`` leave out are not
            looked at.
        out: Folder of the results, made if it is not there: ``exclude.txt`` (names of the near-duplicates:
            what data modules take as ``exclude``), ``pairs.csv`` (kept, dropped, bits in which their codes
            differ), ``pairs.png`` (some of these pairs) and ``report.json``.
        distance: An image is dropped if its code differs in at most so many bits from the code of an image
            that is kept. The paper: 0, which finds here only what is almost the same. More finds more, right
            and wrong: look at ``pairs.png``. Most pairs were right up to 3 among Fashion-MNIST, whose
            clothes look alike, and up to 8 among CIFAR-10. Above 0 each code is compared with each: 60,000
            take 10 s, 3 million take hours without a GPU.
        code_dim: Bits of a code, the units of the hidden layer.
        noise: Probability that a pixel of the autoencoder's input is dropped. More makes codes coarser.
        dropout: Probability that a hidden unit is dropped. More makes codes coarser.
        epochs: Passes over the images that the autoencoder is trained on.
        train_images: Images that the autoencoder is trained on at most, drawn by ``seed``: they are kept in
            memory, 3 kB each. All images are coded.
        seed: Decides training and picture.
        pairs_in_picture: Pairs in ``pairs.png``, drawn by ``seed``. 0: no picture.

    Returns:
        What is in ``report.json``: the numbers of ``images`` looked at, of distinct ``codes``, of images that
        were kept because their code says nothing (``uninformative``: all zeros, or a flat crop), of images
        kept for others (``groups``), of ``duplicates`` of these (the lines of ``exclude.txt``) and their
        ``share`` of the images; the ``loss`` at the end of training (mean squared error, with noise and
        dropout; the crops' variance is 1), the bits that are equal in all codes (``idle_bits``), and the
        arguments (``settings``).

    Raises:
        ValueError: If an argument is out of range, there are fewer than 2 images, or ``distance`` joins so
            many images that the pairs do not fit into memory.
        OSError: If ``out`` is a file, or cannot be written.
    """
    settings = {name: value for name, value in locals().items() if name not in ("data", "out")}
    checks.at_least(0, distance=distance, pairs_in_picture=pairs_in_picture)
    checks.seed(seed=seed)
    checks.at_least(1, code_dim=code_dim, epochs=epochs)
    checks.at_least(2, train_images=train_images)
    checks.within("[0, 1)", noise=noise, dropout=dropout)
    if distance >= code_dim:
        raise ValueError(f"distance={distance} is not less than code_dim={code_dim}: lower it")
    checks.writable_folder(out=out)
    data.drop_last = False  # also fewer images than a batch will do
    data.prepare_data()
    data.setup("fit")
    stored, _ = data.training_images()
    images = TensorImages(stored) if isinstance(stored, Tensor) else stored
    if len(images) < 2:
        raise ValueError(f"{type(data).__name__}: {len(images)} training images have no duplicates")
    folder = Path(out)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        sample = _sample(images, train_images).to(device)
        network = HashAutoencoder(tuple(sample.shape[1:]), code_dim, noise, dropout).to(device)
        mean, loss = _train(network, sample, epochs)
    del sample
    codes = _code(network, mean, images)
    kept, distinct = first_alike(codes, distance)
    dropped = np.flatnonzero(kept != np.arange(len(kept)))
    kept = kept[dropped]

    bits = np.unpackbits(codes, axis=1, count=code_dim).view(bool)
    report = {
        "images": len(images),
        "codes": distinct,
        "uninformative": int((~codes.any(1)).sum()),
        "groups": len(np.unique(kept)),
        "duplicates": len(dropped),
        "share": len(dropped) / len(images),
        "loss": loss,
        "idle_bits": int((bits.all(0) | ~bits.any(0)).sum()),
        "settings": settings,
    }
    apart = (bits[kept] != bits[dropped]).sum(1)
    pairs = [
        (data.sample_name(int(a)), data.sample_name(int(b)), int(d))
        for a, b, d in zip(kept, dropped, apart, strict=True)
    ]
    print(summary(report, pairs))  # first: it is known, whatever the disk does
    _write(folder, report, pairs)
    shown = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:pairs_in_picture])
    (folder / "pairs.png").unlink(missing_ok=True)
    if len(shown):
        left, right = (images.__getitems__(places[shown].tolist()) for places in (kept, dropped))
        title = f"{len(shown)} of {len(pairs)} pairs: kept, dropped"
        write_whole(folder / "pairs.png", as_png(draw_pairs(left, right, [pairs[i] for i in shown], title)))
    written = [name for name in FILES if (folder / name).is_file()]
    print(f"written to {folder}: {', '.join(written)}")
    if pairs:
        print(f"to train without them: --data.exclude {folder / 'exclude.txt'}")
    return report


def summary(report: dict[str, Any], pairs: list[tuple[str, str, int]]) -> str:
    """Say in a few lines what was found."""
    duplicates, groups = report["duplicates"], report["groups"]
    lines = [f"{report['images']:,} images, {report['codes']:,} different codes"]
    if report["uninformative"]:
        lines.append(f"{report['uninformative']:,} images whose code says nothing, kept")
    lines.append(
        f"{duplicates:,} near-duplicates ({report['share']:.2%}) of {groups:,} images that are kept"
        if duplicates
        else "no near-duplicates"
    )
    lines += [f"  {dropped} is like {kept} ({_apart(bits)})" for kept, dropped, bits in pairs[:EXAMPLES]]
    lines += [f"  and {duplicates - EXAMPLES:,} more"] * (duplicates > EXAMPLES)
    return "\n".join(lines).encode(errors="replace").decode()


def first_alike(codes: Codes, distance: int = 0) -> tuple[Places, int]:
    """Return for each image the image that is kept for it: itself, or an earlier one with a near code.

    An image is kept if no code of an image kept before is within ``distance``; otherwise the nearest of these
    is kept in its place. (Chains of images, each within ``distance`` of the next, are not joined: they would
    make groups of thousands that are not alike.) Images with a code of zeros are kept.

    Args:
        codes: uint8 (N, n): 8 bits a byte, as ``numpy.packbits`` makes them.
        distance: Bits in which near codes may differ.

    Returns:
        int64 (N,); and how many distinct codes there are.

    Raises:
        ValueError: If so many codes are near each other that the pairs do not fit into memory.
    """
    # As one void value each, codes are sorted three times as fast as rows of bytes.
    words = np.ascontiguousarray(codes).view(f"V{codes.shape[1]}")[:, 0]
    _, first, code = np.unique(words, return_index=True, return_inverse=True)
    order = np.argsort(first)  # distinct codes in the order of the images, not of the codes
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first, code = first[order], place[code]
    kept = np.arange(len(first))
    telling = np.flatnonzero(codes[first].any(1))
    if distance > 0 and len(telling) > 1:
        kept[telling] = telling[_first_near(codes[first[telling]], distance)]
    found: Places = first[kept[code]]
    silent = np.flatnonzero(~codes.any(1))
    found[silent] = silent
    return found, len(first)


def _first_near(codes: Codes, distance: int) -> Places:
    """Return for each of these distinct codes the index of the one that is kept in its place."""
    earlier, later, apart = _near(codes, distance)
    graph = csr_array((apart, (later, earlier)), shape=(len(codes), len(codes)))
    graph.sort_indices()
    kept = np.arange(len(codes))
    for place in np.unique(later):
        start, stop = graph.indptr[place : place + 2]
        near = graph.indices[start:stop]
        candidates = kept[near] == near
        if candidates.any():
            kept[place] = near[candidates][graph.data[start:stop][candidates].argmin()]
    return kept


def _near(codes: Codes, distance: int) -> tuple[Places, Places, Places]:
    """Return the pairs of codes that differ in at most ``distance`` bits: earlier, later, bits."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bits, size = 8 * codes.shape[1], len(codes)

    def signs(start: int, stop: int) -> Tensor:
        unpacked = torch.from_numpy(np.unpackbits(codes[start:stop], axis=1)).to(device)
        return unpacked.float().mul_(2).sub_(1)

    found: list[Tensor] = []
    count = 0
    for top in tqdm(range(0, size, ROWS), desc="comparing codes", unit=f" x {ROWS} codes", delay=2):
        rows = signs(top, top + ROWS)
        for left in range(top, size, COLUMNS):
            # With bits as -1 and 1, the product is the number of equal bits less that of unequal ones.
            equal = rows @ signs(left, left + COLUMNS).T
            row, column = (equal >= bits - 2 * distance).nonzero(as_tuple=True)
            above = row + top < column + left
            row, column = row[above], column[above]
            apart = (bits - equal[row, column]) / 2
            found.append(torch.stack([row + top, column + left, apart.long()]).int().cpu())
            count += len(row)
            if count > MOST_PAIRS:
                most = f"{MOST_PAIRS} pairs of {size} codes"
                raise ValueError(f"distance={distance} joins more than {most}: lower it")
    earlier, later, apart = torch.cat(found, 1).numpy()
    return earlier, later, apart


def draw_pairs(kept: Tensor, dropped: Tensor, pairs: list[tuple[str, str, int]], title: str) -> Image.Image:
    """Draw pairs of images side by side, a row each, with names and distance at the left.

    Args:
        kept: uint8 (n, C, H, W), the left ones; grey if C is 1 or 2, otherwise the first three channels.
        dropped: uint8 (n, C, H, W), the right ones.
        pairs: Name of the left one, name of the right one, bits in which their codes differ.
        title: The line above.
    """
    images = to_float(torch.stack([kept, dropped], 1).flatten(0, 1))
    rows = []
    for *names, apart in pairs:
        # The end of a path is shown: it says more than its start.
        shown = [name if len(name) < 24 else f"...{name[-20:]}" for name in names]
        rows.append("\n".join([*shown, _apart(apart)]).encode(errors="replace").decode())
    return labelled_grid(shrunk(images), 2, title, rows)


def _apart(bits: int) -> str:
    return f"{bits} bit{'s' * (bits > 1)} apart" if bits else "equal codes"


def _crops(images: ImageSource, places: Places, doing: str) -> Iterator[Tensor]:
    """Yield the 32x32 central crops of images in batches, uint8 (n, C, 32, 32), read ahead by threads."""
    size = max(1, min(READ, READ_BYTES // math.prod(images.shape)))
    batches = np.array_split(places, range(size, len(places), size))
    threads = 1 if isinstance(images, TensorImages) else min(8, os.cpu_count() or 1)

    def read(batch: Places) -> Tensor:
        return resize(images.__getitems__(batch.tolist()), CROP)

    with tqdm(total=len(places), desc=doing, unit="image", delay=2) as bar:
        for crops in read_ahead(read, batches, threads):
            yield crops
            bar.update(len(crops))


def _sample(images: ImageSource, size: int) -> Tensor:
    """Return the crops of ``size`` random images, or of all, in order: uint8 (n, C, 32, 32)."""
    places = torch.randperm(len(images))[:size].sort().values.numpy()
    crops = torch.empty(len(places), images.shape[0], CROP, CROP, dtype=torch.uint8)
    start = 0
    for batch in _crops(images, places, "reading images"):
        crops[start : start + len(batch)] = batch
        start += len(batch)
    return crops


def standardise(crops: Tensor) -> Tensor:
    """Scale each crop to mean 0 and variance 1; a crop of one grey becomes zeros.

    Args:
        crops: uint8 (N, C, H, W).

    Returns:
        float32 (N, C, H, W).
    """
    pixels = crops.flatten(1).float() / 255
    pixels = pixels - pixels.mean(1, keepdim=True)
    spread = pixels.square().mean(1, keepdim=True).sqrt()
    return torch.where(spread < FLAT, 0, pixels / spread).view(crops.shape)


def _train(network: HashAutoencoder, crops: Tensor, epochs: int) -> tuple[Tensor, float]:
    """Train the autoencoder on uint8 crops; return the mean crop and the loss at the end."""
    total = torch.zeros(crops.shape[1:], dtype=torch.float64, device=crops.device)
    for batch in crops.split(READ):
        total += standardise(batch).sum(0)
    mean = (total / len(crops)).float()
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    size = min(TRAINING_BATCH, len(crops))
    steps = len(crops) // size
    # Kept as numbers: small tensors that stay allocated would fragment the memory of large ones.
    losses: deque[float] = deque(maxlen=100)
    bar = tqdm(total=epochs * steps, desc="training", unit="step", delay=2)
    for _ in range(epochs):
        order = torch.randperm(len(crops)).to(crops.device)
        for start in range(0, steps * size, size):
            clean = standardise(crops[order[start : start + size]]) - mean
            loss = F.mse_loss(network(clean), clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            bar.update()
    bar.close()
    return mean, sum(losses) / len(losses)


def _code(network: HashAutoencoder, mean: Tensor, images: ImageSource) -> Codes:
    """Return the codes of all images, 8 bits a byte; zeros for a crop of one colour."""
    codes = list[Codes]()
    for crops in _crops(images, np.arange(len(images)), "coding images"):
        pixels = standardise(crops.to(mean.device))
        code = network.codes(pixels - mean) & pixels.flatten(1).any(1, keepdim=True)
        codes.append(np.packbits(code.cpu().numpy(), axis=1))
    return np.concatenate(codes)


def _write(folder: Path, report: dict[str, Any], pairs: list[tuple[str, str, int]]) -> None:
    write_whole(folder / "exclude.txt", "".join(f"{dropped}\n" for _, dropped, _ in pairs))
    write_csv(folder / "pairs.csv", [("kept", "dropped", "distance"), *pairs])
    write_whole(folder / "report.json", json.dumps(report, indent=2) + "\n")
