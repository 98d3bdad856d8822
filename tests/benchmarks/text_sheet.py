"""What sentences become, on one sheet: a row for two prompts, with the samples of each and its words above them.

python tests/benchmarks/text_sheet.py SET --field FIELD --attributes ATTRIBUTES --out sheet.jpg

SET is what gen3d data render wrote; the captions of its test objects, which no network has read as a whole, are the prompts.
"""

import argparse
import textwrap
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from gen3d.pipeline.formats.images import contact_sheet, write_image
from gen3d.pipeline.objects.holdout import in_any_order
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import object_cameras
from gen3d.pipeline.stages.place import normalised
from gen3d.pipeline.stages.sample_volumes import pixel_of
from gen3d.pipeline.stages.widening import as_drawn
from gen3d.priors.multiview.views import draw
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.volume.generate import Sampling, generate
from gen3d.priors.volume.shipped import shipped_model
from gen3d.priors.volume.volume import visible

SIZE, LINES, WIDE = 128, 26, 84  # pixels of a picture and of the words above, letters in a line
CAMERA = object_cameras([30.0], [20.0], SIZE, distance=2.0, fov=40.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--field", default="")
    parser.add_argument("--attributes", default="")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=Sampling().steps)
    parser.add_argument("--columns", type=int, default=2, help="prompts side by side")
    parser.add_argument("--out", type=Path, default=Path("sheet.jpg"))
    options = parser.parse_args()
    model, sampling = shipped_model(options.field, options.attributes), Sampling(options.steps)
    objects = ObjectSet(options.set).select(split="test")
    chosen = [objects.record(each) for each in in_any_order(record.id for record in objects.records)[: options.prompts]]
    cells = []
    for record in chosen:
        samples = [shown(model, record.caption, seed, sampling) for seed in range(options.seeds)]
        cells.append(torch.cat([heading(record.caption, options.seeds * SIZE), contact_sheet(torch.stack(samples), options.seeds)]))
    write_image(options.out, contact_sheet(torch.stack(cells), options.columns))


@torch.inference_mode()
def shown(model, prompt, seed, sampling):
    """A sample, seen from beside and above its front."""
    splats = visible(generate(model, model.told([prompt]), per_sample([seed]), 1, sampling).gaussians().unbatched())
    splats = as_drawn(splats, pixel_of(model.field.settings.size))
    return draw(normalised(splats) if splats.count else splats, CAMERA).rgb[0].clamp(0, 1)


def heading(words, width):
    """Words in black on white."""
    picture = Image.new("RGB", (width, LINES), "white")
    ImageDraw.Draw(picture).text((2, 0), "\n".join(textwrap.wrap(words, WIDE)[:2]), fill="black", spacing=1)
    return torch.from_numpy(np.array(picture)).float() / 255


if __name__ == "__main__":
    main()
