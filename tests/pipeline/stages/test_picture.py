"""Pictures of objects: cut out, centred, framed; and what is said when that cannot be."""

import subprocess
import sys

import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.stages.picture import FILLED, LARGEST, LOWER, cut_out, framed


def picture(height, width, box):
    """A red rectangle with rows y0:y1 and columns x0:x1 on blue, and its mask."""
    y0, y1, x0, x1 = box
    rgb = torch.zeros(height, width, 3, dtype=torch.uint8)
    rgb[..., 2] = 255
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[y0:y1, x0:x1] = 255
    rgb[y0:y1, x0:x1] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    return rgb, mask


def prepare(rgb, alpha, size, **how):
    cut = cut_out(rgb, alpha, **how)
    return framed(cut, cut.tallest, size)


def never(image):
    raise AssertionError("the network is not needed")


def box_of(alpha):
    rows, columns = ((alpha > 0.5).any(axis).nonzero().flatten() for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


@pytest.mark.parametrize("box", [(100, 200, 50, 250), (10, 290, 120, 180), (0, 40, 0, 40), (250, 300, 350, 400)])
def test_an_object_is_framed_as_in_training(box):
    rgb, mask = picture(300, 400, box)
    ready = prepare(rgb, mask, 128, matte=never)
    top, bottom, left, right = box_of(ready.alpha)
    assert max(bottom - top, right - left) / 128 == pytest.approx(FILLED, abs=0.03)
    assert (left + right) / 2 / 128 == pytest.approx(0.5, abs=0.02)
    assert (top + bottom) / 2 / 128 == pytest.approx(LOWER, abs=0.02)
    assert ((bottom - top) / (right - left)) == pytest.approx((box[1] - box[0]) / (box[3] - box[2]), rel=0.1)


def test_nothing_of_the_background_is_left():
    rgb, mask = picture(300, 400, (100, 200, 150, 250))
    ready = prepare(rgb, mask, 64, matte=never)
    red, green, blue = ready.picture
    inside, outside = ready.alpha > 0.999, ready.alpha < 1e-6
    assert torch.allclose(ready.picture[:, inside], torch.tensor([1.0, -1.0, -1.0])[:, None], atol=1e-4)
    assert (ready.picture[:, outside] == 1).all()
    assert (blue <= red + 1e-5).all()  # no blue rim
    assert torch.allclose(green, blue, atol=1e-5)


def test_a_mask_counts_more_than_transparency_and_that_more_than_the_network():
    rgb, mask = picture(200, 200, (50, 150, 50, 150))
    small = mask[::2, ::2]
    other = torch.full_like(mask, 100)
    assert box_of(prepare(rgb, other, 64, matte=never, mask=small).alpha) == box_of(prepare(rgb, mask, 64, matte=never).alpha)
    asked = []

    def matte(image):
        asked.append(tuple(image.shape))
        return mask.float() / 255

    for alpha in (None, torch.full_like(mask, 255)):
        assert torch.equal(prepare(rgb, alpha, 64, matte=matte).alpha, prepare(rgb, mask, 64, matte=never).alpha)
    assert asked == [(200, 200, 3)] * 2


LARGE = """
import resource, torch
from gen3d.pipeline.stages.picture import cut_out
y = torch.arange(6250)[:, None]
solid = ((y - 3000).abs() < 2000) & ((torch.arange(8000) - 4000).abs() < 1000)
rgb = torch.where(solid[..., None], torch.tensor([200, 30, 30], dtype=torch.uint8), 255).to(torch.uint8)
alpha, before = solid.to(torch.uint8) * 255, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cut = cut_out(rgb, alpha, matte=None)
assert cut.planes.shape == (4, 1600, 2048), cut.planes.shape
assert abs(float(cut.planes[0, 800, 1024]) - 200 / 255) < 1e-3
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_fifty_megapixels_take_little_memory():
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500_000  # KiB; all of it in floats takes 2,000,000


def test_what_is_thinner_than_its_blocks_is_kept():
    with pytest.raises(BadInput, match="no object stands out"):
        cut_out(torch.zeros(1, 9000, 3, dtype=torch.uint8), torch.zeros(1, 9000, dtype=torch.uint8), matte=never)


def test_large_pictures_are_made_smaller_first():
    rgb, mask = picture(60, 5000, (10, 31, 1000, 3000))
    rgb[mask == 0] = torch.tensor([0, 255, 0], dtype=torch.uint8)
    cut = cut_out(rgb, mask, matte=never)
    assert cut.mask.shape == (25, LARGEST)
    _, green, blue, alpha = cut.planes
    assert ((alpha > 0) & (alpha < 1)).any()
    assert max(float(green.max()), float(blue.max())) < 1e-6  # what is transparent reaches no neighbour


def test_specks_do_not_decide_where_the_object_is():
    rgb, mask = picture(300, 400, (100, 200, 150, 250))
    plain = cut_out(rgb, mask, matte=never)
    mask[3:6, 390:394] = 255
    mask[210:250, 150:250] = 255  # a part of its own, as legs may be
    spotted = cut_out(rgb, mask, matte=never)
    assert plain.box == (100, 200, 150, 250)
    assert spotted.box == (100, 250, 150, 250)


def test_all_pictures_of_an_object_have_it_as_tall_and_whole():
    front, side = (cut_out(*picture(400, 400, box), matte=never) for box in ((190, 210, 180, 220), (150, 250, 10, 390)))
    height = min(front.tallest, side.tallest)
    boxes = [box_of(framed(cut, height, 128).alpha) for cut in (front, side)]
    assert boxes[0][1] - boxes[0][0] == pytest.approx(boxes[1][1] - boxes[1][0], abs=1)
    assert boxes[1][3] - boxes[1][2] == pytest.approx(128 * FILLED, abs=2)
    flat = cut_out(*picture(400, 2000, (190, 210, 10, 1990)), matte=never)
    tall = cut_out(*picture(2000, 2000, (10, 1990, 400, 1600)), matte=never)
    ready = framed(tall, flat.tallest, 512)  # a frame of 240,000 pixels along a side
    assert box_of(ready.alpha)[1] - box_of(ready.alpha)[0] == pytest.approx(4, abs=1)


def test_what_a_user_should_know_is_noted():
    rgb, mask = picture(300, 400, (0, 100, 50, 150))
    assert "touches the border" in cut_out(rgb, mask, matte=never).notes[0]
    rgb, mask = picture(600, 600, (100, 130, 100, 130))
    (note,) = cut_out(rgb, mask, matte=never).notes
    assert note.startswith("the object fills 0.2 % of the picture")
    rgb, mask = picture(300, 400, (100, 200, 150, 250))
    assert cut_out(rgb, mask, matte=never).notes == ()


def test_what_cannot_be_is_told():
    rgb, mask = picture(100, 100, (20, 80, 20, 80))
    with pytest.raises(BadInput, match="no object stands out"):
        prepare(rgb, None, 64, matte=lambda image: torch.zeros(image.shape[:2]))
    with pytest.raises(BadInput, match="the object is 10 pixels large"):
        prepare(*picture(100, 100, (20, 30, 20, 28)), 64, matte=never)
    with pytest.raises(BadInput, match="the mask has 100 x 50 pixels and the picture 100 x 100"):
        prepare(rgb, None, 64, matte=never, mask=mask[:50])
    with pytest.raises(BadInput, match="no object stands out"):
        prepare(torch.zeros(1, 1, 3, dtype=torch.uint8), None, 64, matte=lambda image: torch.zeros(1, 1))
