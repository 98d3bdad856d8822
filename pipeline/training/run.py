"""Running a training: trainer, logs, checkpoints, resume, several devices and machines."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from gen3d.errors import Interrupted
from gen3d.pipeline.formats.images import contact_sheet, write_image
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.training.batches import ObjectBatch
from gen3d.renderers.native.threads import kernel_threads

LAST = "last.ckpt"


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What a training needs beside its module and its data.

    Attributes:
        out: folder of checkpoints and logs; a training goes on from what is there.
        steps: of optimisation.
        clip: norm of gradients.
        check: steps between measurements.
        every: minutes between checkpoints.
        accelerator: cpu, cuda or auto.
        devices: processes on this machine.
        nodes: machines.
        strategy: Lightning's: auto, ddp, fsdp.
        precision: Lightning's: 32-true, bf16-mixed.
        accumulate: batches of a step.
    """

    out: Path
    steps: int
    clip: float = 1.0
    check: int = 500
    every: float = 5.0
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: str = "bf16-mixed"
    accumulate: int = 1


class Reporter(pl.Callback):
    """Tells the progress listener."""

    def __init__(self, progress: Progress, job: TrainingJob) -> None:
        self._progress, self._job = progress, job

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The number of steps."""
        self._progress.start("train", self._job.steps)
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
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: ObjectBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """The first batch that shows one view."""
        if batch_idx or dataloader_idx or not trainer.is_global_zero or trainer.state.fn != "fit":
            return
        rows = torch.stack([batch.pictures, outputs], 1).flatten(0, 2).float().cpu()
        self._folder.mkdir(exist_ok=True)
        sheet = contact_sheet(rows.movedim(1, -1) / 2 + 0.5, batch.pictures.shape[1])
        write_image(self._folder / f"step-{trainer.global_step:07d}.png", sheet)


def run(
    module: pl.LightningModule, data: pl.LightningDataModule, job: TrainingJob, callbacks: Sequence[pl.Callback] = ()
) -> dict[str, float]:
    """Train until the job's last step, from where an earlier run with the same folder stopped; what was measured at the end.

    Raises:
        Interrupted: Ctrl-C; the last checkpoint is at most `every` minutes old.
    """
    saver = ModelCheckpoint(
        job.out, filename="last", save_top_k=1, train_time_interval=timedelta(minutes=job.every), enable_version_counter=False
    )
    final = job.out / LAST
    with warnings.catch_warnings(), kernel_threads(max(1, torch.get_num_threads())):
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        trainer = pl.Trainer(
            accelerator=job.accelerator,
            devices=job.devices,
            num_nodes=job.nodes,
            strategy=job.strategy,
            precision=job.precision,  # type: ignore[arg-type]  # Lightning checks it
            max_steps=job.steps,
            max_epochs=-1,
            accumulate_grad_batches=job.accumulate,
            gradient_clip_val=job.clip,
            val_check_interval=job.check,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=20,
            logger=CSVLogger(job.out, name="logs"),
            callbacks=[saver, Grids(job.out), *callbacks],
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, data, ckpt_path=final if final.exists() else None, weights_only=True)
        if trainer.interrupted:
            raise Interrupted(
                f"the training was interrupted at step {trainer.global_step} of {job.steps}; the same command goes on from {final}"
            )
        trainer.save_checkpoint(final)
        trainer.validate(module, data, verbose=False)
        return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("check/")}
