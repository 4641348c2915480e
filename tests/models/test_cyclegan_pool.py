"""The history of 50 images, by the counts and the balances that its rule implies."""

import pytest
import torch

from lightning_gans.models.cyclegan.pool import ImagePool


def numbered(*numbers):
    """Images that are told apart by the value of their pixels."""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def values(images):
    return images[:, 0, 0, 0].tolist()


def rng():
    return torch.Generator().manual_seed(0)


def test_the_first_queries_fill_it_and_return_their_images():
    pool, generator = ImagePool(50), rng()
    for number in range(50):
        assert values(pool.query(numbered(number), generator)) == [number]
        assert len(pool) == number + 1
    assert values(pool.state()) == list(range(50))


def test_half_of_what_a_full_one_returns_is_older():
    pool, generator = ImagePool(50), rng()
    pool.query(numbered(*range(50)), generator)
    older = sum(values(pool.query(numbered(n), generator)) != [n] for n in range(50, 10_050))
    assert 0.48 < older / 10_000 < 0.52
    assert len(pool) == 50


def test_each_image_is_exchanged_by_itself():
    """The new image comes back and nothing changes, or a stored one does and the new one takes its slot."""
    pool, generator = ImagePool(5), rng()
    slots = set()
    pool.query(numbered(*range(5)), generator)
    for number in range(5, 305):
        before = values(pool.state())
        (returned,) = values(pool.query(numbered(number), generator))
        after = values(pool.state())
        if returned == number:
            assert after == before
        else:
            slots.add(before.index(returned))
            assert after == [number if stored == returned else stored for stored in before]
    assert slots == set(range(5))


def test_a_batch_is_a_row_of_single_images():
    one, batch = ImagePool(3), ImagePool(3)
    singles, batches = rng(), rng()
    for first in range(0, 40, 4):
        images = numbered(*range(first, first + 4))
        expected = [value for image in images for value in values(one.query(image[None], singles))]
        assert values(batch.query(images, batches)) == expected
    assert values(one.state()) == values(batch.state())


def test_size_0_is_the_identity():
    pool = ImagePool(0)
    images = numbered(1, 2).clone().requires_grad_()
    returned = pool.query(images, rng())
    assert torch.equal(returned, images)
    assert not returned.requires_grad
    assert len(pool) == len(pool.state()) == 0


def test_copies_are_stored_without_a_graph():
    pool = ImagePool(2)
    images = numbered(1, 2).clone().requires_grad_()
    returned = pool.query(2 * images, rng())
    assert not returned.requires_grad
    assert not pool.state().requires_grad
    changed = numbered(7).clone()
    pool = ImagePool(1)
    pool.query(changed, rng())
    changed.zero_()
    pool.state().zero_()
    assert values(pool.state()) == [7]


@pytest.mark.parametrize("filled", [0, 3, 5])
def test_goes_on_from_its_state(filled):
    pool, generator = ImagePool(5), rng()
    for number in range(filled):
        pool.query(numbered(number), generator)
    again, other = ImagePool(5), torch.Generator()
    again.load(pool.state())
    other.set_state(generator.get_state())
    for number in range(10, 40):
        image = numbered(number)
        assert torch.equal(pool.query(image, generator), again.query(image, other))
    assert torch.equal(pool.state(), again.state())


def test_a_smaller_one_keeps_what_fits_and_another_type_of_number_is_no_obstacle():
    pool, generator = ImagePool(4), rng()
    pool.query(numbered(1, 2, 3, 4).bfloat16(), generator)
    smaller = ImagePool(2)
    smaller.load(pool.state())
    assert values(smaller.state()) == [1, 2]
    assert smaller.query(numbered(5), generator).dtype == torch.float32


@pytest.mark.parametrize("size", [-1, 1.5])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match=f"pool_size={size}"):
        ImagePool(size)
