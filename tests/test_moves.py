"""Laws of moved images: a row is one picture of one image, whoever draws it and beside whom."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from ccenv.data import Split, check_split
from ccenv.data.moves import Moves, random_moves
from ccenv.vector_env import BlockSelectionVectorEnv
from runs.recorded import data_checksum

HEIGHT, WIDTH = 5, 7


def pictures(count=3, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, 2, HEIGHT, WIDTH), generator=generator)
    return (images / 255).float() if dtype == torch.float32 else images.to(dtype)


def moved(copies=4, dtype=torch.uint8, **settings):
    images = pictures(dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    moves = random_moves(len(images), copies, (HEIGHT, WIDTH), generator=generator, **settings)
    labels = torch.arange(len(images)).repeat(1 + copies)
    return Split(images, labels, len(images), moves=moves)


def one(down=0, right=0, mirrored=False, hole=(-99, -99), hole_size=0):
    return Moves(
        torch.tensor([[down, right]], dtype=torch.int16),
        torch.tensor([mirrored]),
        torch.tensor([hole], dtype=torch.int16),
        hole_size,
    )


@given(st.integers(-8, 8), st.integers(-8, 8), st.booleans())
def test_a_shift_moves_every_pixel_as_far_and_leaves_black(down, right, mirrored):
    image = pictures(1)
    found = one(down, right, mirrored).shifted(image, torch.tensor([0])).numpy()[0]
    source = image.numpy()[0][..., ::-1] if mirrored else image.numpy()[0]
    for y in range(HEIGHT):
        for x in range(WIDTH):
            inside = 0 <= y - down < HEIGHT and 0 <= x - right < WIDTH
            expected = source[:, y - down, x - right] if inside else 0
            assert np.array_equal(found[:, y, x], np.broadcast_to(expected, 2))


@given(st.integers(-4, 8), st.integers(-4, 8), st.integers(1, 4))
def test_a_hole_is_a_square_of_zeros_and_may_reach_over_an_edge(top, left, size):
    image = pictures(1, torch.float32)
    moves = one(hole=(top, left), hole_size=size)
    found = moves.holed(image, torch.tensor([0]))
    gone = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    gone[max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)] = True
    assert torch.equal(found, image.masked_fill(gone, 0))


def test_the_first_rows_are_the_images_as_they_are_and_all_others_are_theirs_moved():
    split = moved(max_shift=2, mirror=True, hole_size=2)
    images, labels = split.batch(torch.arange(len(split)))
    assert len(split) == 15
    assert torch.equal(images[:3], split.images.float() / 255)
    assert torch.equal(labels, split.labels)
    for row in range(3, 15):
        own = split.images[row % 3].float() / 255
        assert not torch.equal(images[row], own)
        assert set(images[row].unique().tolist()) <= {0.0, *own.unique().tolist()}


def test_a_row_is_the_same_picture_whoever_stands_beside_it():
    split = moved(max_shift=2, mirror=True, hole_size=2)
    whole, _ = split.batch(torch.arange(len(split)))
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(2))
    assert torch.equal(split.batch(order)[0], whole[order])


def test_holes_are_the_mean_of_a_channel_where_pixels_are_standardised():
    split = moved(hole_size=3)
    scaled = dataclasses.replace(split, mean=torch.tensor([0.3, 0.6]), sd=torch.tensor([0.1, 0.2]))
    rows = torch.arange(3, len(split))
    plain, found = split.batch(rows)[0], scaled.batch(rows)[0]
    gone = plain == 0
    assert gone.any()
    assert torch.equal(found == 0, gone)


def test_draws_reach_every_shift_both_mirrors_and_every_middle_and_nothing_else():
    moves = random_moves(
        2,
        2000,
        (4, 6),
        generator=torch.Generator().manual_seed(0),
        max_shift=2,
        mirror=True,
        hole_size=3,
    )
    assert len(moves) == 2 * 2001
    shifts = {tuple(pair) for pair in moves.shift[2:].tolist()}
    assert shifts == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    assert 0.4 < moves.mirrored[2:].float().mean() < 0.6
    middles = {tuple(pair) for pair in (moves.hole[2:] + 1).tolist()}
    assert middles == {(y, x) for y in range(4) for x in range(6)}


@pytest.mark.parametrize("name", ["num_copies", "max_shift", "hole_size"])
def test_negative_numbers_are_refused(name):
    numbers = {"num_copies": 1, name: -1}
    copies = numbers.pop("num_copies")
    with pytest.raises(ValueError, match=f"expected {name} of 0 or more, got -1"):
        random_moves(3, copies, (4, 4), generator=torch.Generator(), **numbers)


def test_moves_that_do_not_fit_are_refused():
    split = moved()
    assert check_split(split, "mine") is split
    short = dataclasses.replace(split, labels=split.labels[:-1])
    with pytest.raises(ValueError, match="'mine': expected moves of a multiple of the 3 images"):
        check_split(short, "mine")
    other = dataclasses.replace(split, images=pictures(2))
    with pytest.raises(ValueError, match="multiple of the 2 images"):
        check_split(other, "mine")
    bare = dataclasses.replace(split, moves=None)
    with pytest.raises(ValueError, match="expected images"):
        check_split(bare, "mine")


def some_moves(name):
    if name == "train":
        return moved(copies=9, max_shift=1, mirror=True, hole_size=2)
    return Split(pictures(), torch.arange(3), 3)


def other_holes(name):
    split = some_moves(name)
    if split.moves is None:
        return split
    return dataclasses.replace(split, moves=dataclasses.replace(split.moves, hole_size=3))


def test_an_environment_learns_from_moved_images_and_draws_each_row_once_a_pass():
    env = BlockSelectionVectorEnv(
        15, dataset="test_moves:some_moves", num_blocks=(2,), block_size=3, weights="cotrain"
    )
    env.reset(seed=0)
    env.step(np.ones((15, 2), dtype=bool))
    assert np.isfinite(env.update_network()["network_loss"])
    env.reset(seed=0)
    simulator = env.simulator
    seen = [simulator.indices.clone()]
    simulator.begin()
    seen.append(simulator.indices)
    assert sorted(torch.cat(seen).tolist()) == list(range(30))
    images, _ = simulator.data.batch(simulator.indices)
    assert torch.equal(simulator.state.images.view_as(images), images)


def test_data_of_other_moves_is_other_data():
    assert data_checksum("test_moves:some_moves") != data_checksum("test_moves:other_holes")
