"""Running a training: trainer, logs, checkpoints, resume, several devices and machines."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy, Strategy

from gen3d.errors import Interrupted, UsageError
from gen3d.pipeline.training.logs import Grids, loggers
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.ranges import UNLIMITED, check_choices, check_ranges
from gen3d.renderers.native.threads import kernel_threads

LAST = "last.ckpt"
REQUEUED = "hpc_ckpt_*.ckpt"  # what Lightning writes when SLURM says that a job's time is over
STRATEGIES = ("auto", "ddp", "fsdp")


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What a training needs beside its module and its data.

    Attributes:
        out: folder of checkpoints and logs; a training goes on from what is there.
        steps: of optimisation.
        clip: norm of gradients.
        check: steps between measurements.
        every: minutes between checkpoints.
        accelerator: cpu, cuda or auto, which is cuda where there is one.
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

    def __post_init__(self) -> None:
        check_choices(self, strategy=STRATEGIES, accelerator=("auto", "cpu", "cuda"), precision=("32-true", "bf16-mixed"))
        check_ranges(self, devices=(1, UNLIMITED), nodes=(1, UNLIMITED), accumulate=(1, UNLIMITED), every=(0.01, UNLIMITED))
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise UsageError("the accelerator is cuda and torch finds none here; choose --accelerator cpu, or see gen3d doctor")
        if self.accelerator == "auto":  # Lightning's own choice can be Apple's, which has no float64
            object.__setattr__(self, "accelerator", "cuda" if torch.cuda.is_available() else "cpu")


def strategy_of(name: str) -> str | Strategy:
    """Lightning's strategy; fsdp cuts whole networks into one piece for each process, the average and what it follows alike."""
    return FSDPStrategy(auto_wrap_policy={MultiviewNetwork, VolumeNetwork}, state_dict_type="full") if name == "fsdp" else name


def newest(out: Path) -> Path | None:
    """The checkpoint that a training goes on from; None where there is none."""
    found = [path for path in (out / LAST, *out.glob(REQUEUED)) if path.exists()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


class Saver(ModelCheckpoint):
    """Writes checkpoints by the clock, and when a training is interrupted; not when it has gone astray and would spoil the last one."""

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save what Ctrl-C has stopped."""
        if isinstance(exception, KeyboardInterrupt | SystemExit):
            super().on_exception(trainer, pl_module, exception)


def run(
    module: pl.LightningModule, data: pl.LightningDataModule, job: TrainingJob, callbacks: Sequence[pl.Callback] = ()
) -> dict[str, float]:
    """Train until the job's last step, from where an earlier run with the same folder stopped; what was measured at the end.

    Raises:
        Interrupted: Ctrl-C; a checkpoint is written first.
    """
    saver = Saver(
        job.out,
        filename="last",
        save_top_k=1,
        train_time_interval=timedelta(minutes=job.every),
        enable_version_counter=False,
        save_on_exception=True,
    )
    final = job.out / LAST
    with warnings.catch_warnings(), kernel_threads(max(1, torch.get_num_threads())):
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        trainer = pl.Trainer(
            default_root_dir=job.out,
            accelerator=job.accelerator,
            devices=job.devices,
            num_nodes=job.nodes,
            strategy=strategy_of(job.strategy),
            precision=job.precision,  # type: ignore[arg-type]  # Lightning checks it
            max_steps=job.steps,
            max_epochs=-1,
            accumulate_grad_batches=job.accumulate,
            gradient_clip_val=job.clip,
            val_check_interval=job.check * job.accumulate,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=20,
            logger=loggers(job.out),
            callbacks=[saver, Grids(job.out), *callbacks],
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(module, data, ckpt_path=newest(job.out), weights_only=True)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise Interrupted(
                f"the training was interrupted at step {trainer.global_step} of {job.steps}; the same command goes on from {final}"
            ) from error
        trainer.save_checkpoint(final)
        if trainer.is_global_zero:
            for file in job.out.glob(REQUEUED):
                file.unlink()
        trainer.validate(module, data, verbose=False)
        return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("check/")}
