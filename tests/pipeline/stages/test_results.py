import torch

from gen3d.pipeline.progress import Silent
from gen3d.pipeline.scenes.scene import View
from gen3d.pipeline.stages.results import LONGEST_SIDE, comparison_sheet, flight
from gen3d.renderers.cameras import orbit
from gen3d.renderers.rendering import Rendering


def cameras(count, width, height):
    return orbit(torch.arange(count) * 30.0, torch.zeros(count), radius=3.0, fov=50.0, width=width, height=height)


def draw_red(views):
    """A renderer that sees red everywhere."""
    shape = (views.shape[0], views.height, views.width)
    red = torch.tensor([1.0, 0.0, 0.0]).expand(*shape, 3)
    return Rendering(red, torch.ones(shape), torch.zeros(shape[0], 0, 2, dtype=torch.int32))


def green_photo(width, height):
    image = torch.tensor([0, 255, 0], dtype=torch.uint8).expand(height, width, 3)
    return View("a.png", image, None, None, cameras(1, width, height))


def test_the_sheet_has_photos_above_renders_and_takes_other_sizes_along():
    sheet = comparison_sheet(draw_red, (green_photo(32, 24), green_photo(32, 24), green_photo(64, 48)), None)
    rows, columns = sheet.shape[0] // 4, sheet.shape[1] // 2
    for row, colour in enumerate(([0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0])):
        assert sheet[row * rows + rows // 2, columns // 2].tolist() == colour
    assert sheet[-rows // 2, -columns // 2].tolist() == [0, 0, 0]  # the fourth place stays empty


def test_a_flight_has_a_frame_for_each_view_and_a_bounded_size():
    frames = list(flight(draw_red, cameras(5, 1600, 800), Silent()))
    assert [frame.shape for frame in frames] == [(LONGEST_SIDE // 2, LONGEST_SIDE, 3)] * 5
    assert frames[0][0, 0].tolist() == [255, 0, 0]
