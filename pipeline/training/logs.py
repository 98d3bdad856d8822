"""What a training tells: figures in CSV files and, where it is installed, in TensorBoard; pictures; progress."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from gen3d.optional import available
from gen3d.pipeline.formats.images import contact_sheet, write_image
from gen3d.pipeline.progress import Progress


def loggers(out: Path) -> list[Logger]:
    """logs/version_0/metrics.csv, a version for each time that the training goes on; the same in tensorboard/."""
    found: list[Logger] = [CSVLogger(out, name="logs")]
    if available("tensorboard"):
        found.append(TensorBoardLogger(out, name="tensorboard"))
    return found


class Reporter(pl.Callback):
    """Tells the progress listener."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress, self._steps = progress, steps

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The number of steps."""
        self._progress.start("train", self._steps)
        self._progress.advance(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: object, index: int) -> None:
        """One step and its figures."""
        figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(("train/psnr", "check/psnr"))}
        short = {name.removeprefix("train/").removeprefix("check/"): value for name, value in figures.items() if "noise " not in name}
        self._progress.advance(trainer.global_step, **short)


class Grids(pl.Callback):
    """previews/step-0001000.png at every measurement: objects of the hold-out, a row of true views above a row of rendered ones."""

    def __init__(self, out: Path) -> None:
        self._folder = out / "previews"

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """What the first batch returns: pictures in [0, 1], `[b, 2, v, h, w, 3]`; nothing where there are none."""
        if outputs is None or batch_idx or dataloader_idx or not trainer.is_global_zero or trainer.state.fn != "fit":
            return
        sheet = contact_sheet(outputs.flatten(0, 2).float().cpu(), outputs.shape[2])
        self._folder.mkdir(exist_ok=True)
        write_image(self._folder / f"step-{trainer.global_step:07d}.png", sheet)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("hold-out", sheet.movedim(-1, 0), trainer.global_step)
