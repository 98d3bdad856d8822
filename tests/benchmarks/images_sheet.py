"""gen3d image on every picture of a folder: seconds, what went wrong, and one sheet of picture, mask and four views.

python tests/benchmarks/images_sheet.py FOLDER --out sheet.png --preset draft
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import torch

from gen3d.errors import Gen3DError
from gen3d.pipeline.configuration import override, read_preset
from gen3d.pipeline.formats.images import contact_sheet, read_image, write_image
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.image import image_to_3d
from gen3d.pipeline.stages.settings import ImageSettings

SIZE = 96  # pixels of a cell of the sheet
KINDS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--weights", default="")
    parser.add_argument("--columns", type=int, default=3, help="pictures side by side")
    options = parser.parse_args()
    settings = override(ImageSettings(), {**read_preset("image", options.preset), "weights": options.weights}, "the preset")
    rows, seconds = [], []
    for picture in sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in KINDS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            try:
                with Run.create(Path(folder) / "run", "image", settings, inputs=[picture]) as run, contextlib.redirect_stdout(None):
                    image_to_3d(picture, settings, run, Silent())
            except Gen3DError as error:
                print(f"{picture.name}: {type(error).__name__}: {error}", flush=True)
                continue
            seconds.append(time.perf_counter() - began)
            notes = f" ({'; '.join(run.manifest.notes)})" if run.manifest.notes else ""
            print(f"{picture.name}: {seconds[-1]:.1f} s{notes}", flush=True)
            sheet, _ = read_image(run.previews / "contact_sheet.png")
            rows.append(smaller(sheet[: sheet.shape[1] // 6].float() / 255))
    print(f"{len(rows)} pictures, {sum(seconds) / len(seconds):.1f} s each, {max(seconds):.1f} s at most")
    write_image(options.out, contact_sheet(torch.stack(rows), options.columns))


def smaller(row):
    """A row of six cells, reduced."""
    planes = torch.nn.functional.interpolate(row.movedim(-1, 0)[None], (SIZE, 6 * SIZE), mode="area")
    return planes[0].movedim(0, -1)


if __name__ == "__main__":
    main()
