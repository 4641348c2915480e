"""What arithmetic of a trained generator's latents is worth, judged by a classifier of its data.

python benchmarks/latents.py RUN classifier/mnist [--seeds 5] [--triple 7 1 4]

For each seed other latents are drawn; `top` is how sure the classifier is of an image, on average. `--triple`
adds the classes of one sum of concepts.
"""

import argparse
from itertools import permutations

import torch
from common import machine

import lightning_gans
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.game.latent_space import interpolate_latents, most_certain
from lightning_gans.metrics.classifier import ClassifierExtractor

DRAWN, PAIRS, TRIPLES, WALKED = 3000, 200, 200, 200


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("classifier")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--triple", type=int, nargs=3)
    arguments = parser.parse_args()
    game, extractor = lightning_gans.load(arguments.run), ClassifierExtractor(arguments.classifier)
    rows = {}
    for seed in range(arguments.seeds):
        for name, value in measured(game, extractor, seed, arguments.triple).items():
            rows.setdefault(name, []).append(value)
    print(machine())
    for name, values in rows.items():
        mean, deviation = torch.tensor(values).float().mean(), torch.tensor(values).float().std()
        print(f"{name:48} {values if name.endswith('class') else f'{mean:.3f} +- {deviation:.3f}'}")


def measured(game, extractor, seed, triple):
    """Return all figures of one seed, by name."""

    def logits_of(images):
        return torch.cat([extractor(part)[1] for part in to_bytes(images).split(250)])

    def judged(images):
        """Return how sure the classifier is of images, and of which classes."""
        return logits_of(images).softmax(1).max(1)

    z, _ = game.draw_latents(DRAWN, seed=seed)
    x = game.sample_from(z)
    logits = logits_of(x)
    found = {"samples: top": float(logits.softmax(1).amax(1).mean())}

    ways = {
        name: torch.stack(
            [interpolate_latents(z[2 * i], z[2 * i + 1], 5, name == "arc") for i in range(PAIRS)]
        )
        for name in ("line", "arc")
    }
    for name, way in ways.items():
        found[f"{name}, halfway: top"] = float(judged(game.sample_from(way[:, 2]))[0].mean())
        found[f"{name}, a quarter of the way: top"] = float(judged(game.sample_from(way[:, 1]))[0].mean())
    pixels = (x[: 2 * PAIRS : 2] + x[1 : 2 * PAIRS : 2]) / 2
    found["pixels, halfway: top"] = float(judged(pixels)[0].mean())

    # Of each class the nine that are surest, in three concepts of three: alike, but of other latents.
    concepts = {k: most_certain(logits, k, 9).view(3, 3).T for k in range(logits.shape[1])}

    def sums(triples):
        """Return images of a - b + c, of latents and of pixels, for places of concepts (n, 3, members)."""
        a, b, c = triples.unbind(1)
        of_latents = z[a].mean(1) - z[b].mean(1) + z[c].mean(1)
        of_pixels = (x[a].mean(1) - x[b].mean(1) + x[c].mean(1)).clamp(-1, 1)
        return {"latents": game.sample_from(of_latents), "pixels": of_pixels}

    pairs = list(permutations(concepts, 2))
    back = torch.stack([torch.stack([concepts[i][0], *concepts[j][1:]]) for i, j in pairs])
    for name, images in sums(back).items():
        top, k = judged(images)
        right = (k == torch.tensor([i for i, _ in pairs])).float().mean()
        found[f"i - j + j, {name}: of class i"] = float(right)
        found[f"i - j + j, {name}: top"] = float(top.mean())

    rng = torch.Generator().manual_seed(seed)
    picks = [torch.randperm(len(concepts), generator=rng)[:3].tolist() for _ in range(TRIPLES)]
    others = torch.stack([torch.stack([concepts[k][0] for k in pick]) for pick in picks])
    for name, images in sums(others).items():
        top, classes = judged(images)
        found[f"i - j + k, {name}: top"] = float(top.mean())
        for place, letter in enumerate("ijk"):
            wanted = torch.tensor([pick[place] for pick in picks])
            found[f"i - j + k, {name}: of class {letter}"] = float((classes == wanted).float().mean())
    if triple:
        for name, images in sums(torch.stack([concepts[k][0] for k in triple])[None]).items():
            found["{} - {} + {}, ".format(*triple) + f"{name}: class"] = int(judged(images)[1])

    for count in (1, 3, 30):
        shares = []
        for i, j in picks_of(pairs, rng, 10):
            ends = [z[most_certain(logits, k, count)].mean(0) for k in (i, j)]
            start = z[-WALKED:]
            classes = [judged(game.sample_from(start + t * (ends[0] - ends[1])))[1] for t in (-1, 0, 1)]
            shares.append([float((each == k).float().mean()) for k in (i, j) for each in classes])
        for name, value in zip(("a", "b"), torch.tensor(shares).mean(0).view(2, 3).tolist(), strict=True):
            for t, share in zip((-1, 0, 1), value, strict=True):
                found[f"walk from b to a of {count}, t {t}: of class {name}"] = share
    return found


def picks_of(pairs, rng, count):
    """Return some of the pairs, drawn by ``rng``."""
    return [pairs[i] for i in torch.randperm(len(pairs), generator=rng)[:count].tolist()]


if __name__ == "__main__":
    main()
