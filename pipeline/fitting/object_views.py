"""Rendered views of an object as photos to fit to."""

from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.scenes.scene import View


def photos_of(views: ObjectViews) -> tuple[View, ...]:
    """A photo for each view `[v]`, cut out."""
    return tuple(
        View(f"{number}.png", to_uint8(views.rgb[number]), to_uint8(views.alpha[number]), None, views.cameras.select([number]))
        for number in range(len(views.rgb))
    )
