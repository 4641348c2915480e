import math
import struct

import pytest
import torch
from torchvision import datasets

from lightning_gans.data import MNIST, Digits, GaussianMixtures


def write_idx(path, values):
    """Write uint8 values in the format of the official files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">BBBB", 0, 0, 8, values.dim()) + struct.pack(f">{values.dim()}I", *values.shape)
    path.write_bytes(header + values.numpy().tobytes())


@pytest.fixture
def mnist_files(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    images = torch.randint(
        0, 256, (70, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = (torch.arange(70) % 10).to(torch.uint8)
    write_idx(raw / "train-images-idx3-ubyte", images[:50])
    write_idx(raw / "train-labels-idx1-ubyte", labels[:50])
    write_idx(raw / "t10k-images-idx3-ubyte", images[50:])
    write_idx(raw / "t10k-labels-idx1-ubyte", labels[50:])
    return tmp_path, images, labels


def test_mnist(mnist_files):
    root, images, labels = mnist_files
    root.chmod(0o500)
    data = MNIST(root=str(root), batch_size=10)
    assert data.image_shape == (1, 28, 28)
    assert data.num_classes == 10
    data.prepare_data()
    data.setup()
    served = torch.cat([batch for batch, _ in data.test_dataloader()])
    torch.testing.assert_close(served, images[50:, None] / 127.5 - 1)
    assert torch.equal(torch.cat([batch for _, batch in data.test_dataloader()]), labels[50:].long())
    assert sum(len(batch) for batch, _ in data.train_dataloader()) == 50


def test_mnist_is_resized_not_padded(mnist_files):
    root, _, _ = mnist_files
    data = MNIST(root=str(root), image_size=32, batch_size=10)
    data.setup()
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (10, 1, 32, 32)
    assert images[..., 0, :].std() > 0.1


@pytest.mark.parametrize("download", [True, False])
def test_missing_mnist(tmp_path, monkeypatch, download):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    data = MNIST(root=str(tmp_path / "none"), download=download)
    with pytest.raises(FileNotFoundError) as error:
        (data.prepare_data if download else data.setup)()
    message = str(error.value)
    assert "\n" not in message
    for words in (
        "MNIST/raw/{train,t10k}",
        str(tmp_path / "none"),
        "://",
        "--data.root",
        "LIGHTNING_GANS_DATA",
    ):
        assert words in message


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03\0\0", b"something else entirely, of some length"])
def test_damaged_mnist(mnist_files, content):
    root, _, _ = mnist_files
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match="damaged file among MNIST/raw") as error:
        MNIST(root=str(root)).prepare_data()
    assert "\n" not in str(error.value)


def test_truncated_mnist(mnist_files):
    root, _, _ = mnist_files
    path = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged file among MNIST/raw"):
        MNIST(root=str(root)).prepare_data()


def test_digits():
    data = Digits(batch_size=100)
    assert data.image_shape == (1, 8, 8)
    assert data.num_classes == 10
    data.prepare_data()
    data.setup()
    images, labels = data.load("train")
    assert images.shape == (1500, 1, 8, 8)
    assert len(data.load("test")[0]) == 297
    assert torch.equal(images.unique(), (torch.arange(17) * 255 / 16).round().to(torch.uint8))
    assert labels.bincount().min() > 130
    batch, _ = next(iter(data.train_dataloader()))
    assert batch.min() == -1
    assert batch.max() == 1
    other = Digits(seed=5).load("train")
    assert torch.equal(other[0], images)
    together = torch.cat([images, data.load("test")[0]]).flatten(1).unique(dim=0)
    assert len(together) == 1797


@pytest.mark.parametrize("size", [16, 32])
def test_larger_digits(size):
    data = Digits(image_size=size)
    data.setup()
    assert next(iter(data.train_dataloader()))[0].shape == (128, 1, size, size)


def test_digits_of_another_size():
    with pytest.raises(ValueError, match=r"image_size=28 .* 8, 16, 32"):
        Digits(image_size=28)


@pytest.mark.parametrize(
    ("layout", "modes", "dim"),
    [
        ("ring", 8, 2),
        ("grid", 25, 2),
        ("random_grid", 25, 2),
        ("cube", 27, 3),
        ("grid9", 9, 2),
        ("single", 1, 2),
        ("pair", 2, 2),
    ],
)
def test_mixtures(layout, modes, dim):
    data = GaussianMixtures(layout, samples=50_000)
    assert data.image_shape == (dim,)
    assert data.num_classes == len(data.class_names) == modes
    assert data.means.shape == (modes, dim)
    assert data.covariances.shape == (modes, dim, dim)
    samples, labels = data.load("train")
    assert samples.dtype == torch.float32
    assert samples.shape == (50_000, dim)
    for k in range(modes):
        own = samples[labels == k]
        assert len(own) == pytest.approx(50_000 / modes, rel=0.15)
        scale = data.covariances[k].diagonal().max()
        torch.testing.assert_close(
            own.mean(0), data.means[k], rtol=0, atol=5 * (scale / len(own)).sqrt().item()
        )
        torch.testing.assert_close(own.T.cov(), data.covariances[k], rtol=0, atol=0.15 * scale.item())


def test_geometry():
    ring = GaussianMixtures("ring")
    torch.testing.assert_close(ring.means.norm(dim=1), torch.ones(8))
    assert torch.pdist(ring.means).min().item() == pytest.approx(0.765367, abs=1e-6)
    torch.testing.assert_close(ring.covariances[3], 1e-4 * torch.eye(2))
    grid = GaussianMixtures("grid")
    assert torch.pdist(grid.means).min() == 2
    assert grid.means[:, 0].std(correction=0).item() == pytest.approx(2.8284, abs=1e-4)
    torch.testing.assert_close(grid.covariances[0], 0.0025 * torch.eye(2))
    nine = GaussianMixtures("grid9")
    torch.testing.assert_close(nine.covariances[0], 0.05 * torch.eye(2))
    assert math.sqrt(GaussianMixtures("grid9", std=0.05).covariances[0, 0, 0]) == pytest.approx(0.05)
    single, pair = GaussianMixtures("single"), GaussianMixtures("pair")
    assert single.means.tolist() == [[0, 0]]
    torch.testing.assert_close(single.covariances[0], 0.09 * torch.eye(2))
    torch.testing.assert_close(pair.means, torch.tensor([[0.6, 0.6], [-0.6, -0.6]]))
    torch.testing.assert_close(pair.covariances[1], 0.0225 * torch.eye(2))
    random = GaussianMixtures("random_grid")
    assert torch.pdist(random.means).min() >= 1
    assert random.means.abs().max() <= 4
    scales = torch.linalg.eigvalsh(random.covariances).sqrt()
    assert scales.min() >= 0.03 - 1e-6
    assert scales.max() <= 0.12 + 1e-6
    assert torch.equal(random.means, GaussianMixtures("random_grid", seed=9).means)


def test_mixtures_follow_from_the_seed():
    samples = GaussianMixtures(samples=300).load("train")[0]
    assert torch.equal(samples, GaussianMixtures(samples=300).load("train")[0])
    assert not torch.equal(samples, GaussianMixtures(samples=300, seed=1).load("train")[0])
    test = GaussianMixtures(samples=300).load("test")[0]
    assert len(test) == 10_000
    assert not torch.equal(samples, test[:300])


def test_samples_of_mixtures_for_evaluations():
    data = GaussianMixtures(samples=300, limit=100)
    samples, labels, key = data.real_images("train")
    data.setup("fit")
    assert torch.equal(samples, data.training_images()[0])
    assert labels.shape == (100,)
    held_out, _, other_key = data.real_images("test")
    assert torch.equal(held_out, data.load("test")[0])
    assert key != other_key


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layout": "circle"}, "layout='circle'.* ring"),
        ({"samples": 0}, "samples=0"),
        ({"std": 0}, "std=0"),
        ({"flip": True}, "flip=True"),
    ],
)
def test_bad_mixtures(arguments, words):
    with pytest.raises(ValueError, match=words):
        GaussianMixtures(**arguments)
