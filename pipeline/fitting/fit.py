"""Running a fit: trainer, checkpoints, interruption, resume, several processes."""

import logging
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch

from gen3d.errors import Gen3DError, Interrupted
from gen3d.files import atomic_path
from gen3d.pipeline.fitting.distributed import LocalProcesses, ReplicatedStrategy, free_port, leave_processes, process_rank
from gen3d.pipeline.fitting.machine import Machine, sparing_threads
from gen3d.pipeline.fitting.module import GaussianFitting
from gen3d.pipeline.fitting.schedule import Schedule
from gen3d.pipeline.fitting.settings import FittingSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.progress import Progress, Silent
from gen3d.renderers.gaussians import Gaussians

PATIENCE = timedelta(minutes=5)  # how long processes wait for each other before they give up
LAST_WORDS = 5.0  # seconds in which a process that failed comes to its end
FIGURES_EVERY = 10  # steps between two reports
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class FitJob:
    """Everything that decides the result of a fit.

    Attributes:
        initial: the splats to start from.
        photos: what they should look like.
        settings: the fit; `steps` below stands for its budget.
        steps: optimisation steps.
        extent: size of the scene, scene units.
        seed: of all randomness.
        machine: device, processes and rasterizer.
        checkpoint: where to save the state on the way, or None; a fit continues from the file when it exists.
    """

    initial: Gaussians
    photos: Sequence[Photo]
    settings: FittingSettings
    steps: int
    extent: float
    seed: int
    machine: Machine
    checkpoint: Path | None = None


def fit(job: FitJob, progress: Progress) -> Gaussians:
    """Optimise splats for the job's number of steps; the result is on the CPU.

    Raises:
        UsageError: the views of a step cannot be shared equally by the devices.
        Interrupted: Ctrl-C; the checkpoint holds the last finished step.
        Gen3DError: the fit diverged, or one of its processes died.
    """
    count = job.machine.devices
    job = replace(job, settings=job.settings.for_devices(count))
    progress.start("fit", job.steps)
    if count == 1:
        return _fit_as(0, job, progress, free_port())
    threads, port = torch.get_num_threads(), free_port()
    context = multiprocessing.get_context("spawn")
    # As bytes: a file descriptor for each of many tensors, torch's own way, would run out of them.
    content = pickle.dumps(job)
    others = [context.Process(target=_replica, args=(rank, content, port, threads // count), daemon=True) for rank in range(1, count)]
    for process in others:
        process.start()
    try:
        torch.set_num_threads(max(1, threads // count))
        return _fit_as(0, job, progress, port)
    except RuntimeError as error:
        for process in others:  # its connection closes before it has ended
            process.join(timeout=LAST_WORDS)
        if dead := [process for process in others if process.exitcode]:
            raise Gen3DError(f"{len(dead)} of {count} processes of the fit died; see their messages above, or use --devices 1") from error
        raise
    finally:
        torch.set_num_threads(threads)
        leave_processes()
        for process in others:
            process.join(timeout=10)
            process.kill()


def _replica(rank: int, content: bytes, port: int, threads: int) -> None:
    """A process beside the first one. Signals reach all of them; the first decides what they mean."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(max(1, threads))
    with _quiet_lightning():
        _fit_as(rank, pickle.loads(content), Silent(), port)


def _fit_as(rank: int, job: FitJob, progress: Progress, port: int) -> Gaussians:
    schedule = Schedule(job.settings, steps=job.steps, initial_count=job.initial.count)
    module = GaussianFitting(job.initial, job.photos, schedule, extent=job.extent, seed=job.seed, backend=job.machine.backend)
    count = job.machine.devices
    here = LocalProcesses(rank, count, port)
    strategy = ReplicatedStrategy(cluster_environment=here, timeout=PATIENCE) if count > 1 else "auto"
    callbacks: list[pl.Callback] = [_Interrupts(), _Reporter(progress)]
    if job.checkpoint is not None:
        callbacks.append(_Saver(job.checkpoint))
    with _quiet_lightning(), _signals_put_back(), sparing_threads(job.machine, job.settings.densify.cap):
        trainer = pl.Trainer(
            accelerator=job.machine.accelerator,
            devices=count,
            strategy=strategy,
            plugins=[here] if count == 1 else None,  # never what a cluster's variables say: the processes are ours
            max_steps=job.steps,
            max_epochs=-1,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        resume = job.checkpoint if job.checkpoint is not None and job.checkpoint.exists() else None
        trainer.fit(module, ckpt_path=resume, weights_only=True)
    if module.stopping or module.interrupted:
        raise Interrupted(f"the fit was interrupted at step {trainer.global_step} of {job.steps}")
    progress.finish()
    return module.splats.activated().detach().to("cpu")


class _Reporter(pl.Callback):
    """Tells the progress listener, and ends the fit after an interruption."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_end(self, trainer: pl.Trainer, module: GaussianFitting, *_: Any) -> None:  # type: ignore[override]
        """Report every few steps."""
        done = trainer.global_step
        if done % FIGURES_EVERY == 0 or done == trainer.max_steps:
            self.progress.advance(done, **module.figures)
        trainer.should_stop = module.stopping


class _Saver(pl.Callback):
    """Writes the checkpoint when the schedule says so, and after an interruption."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, module: GaussianFitting, *_: Any) -> None:  # type: ignore[override]
        """Save in one step: a kill while writing leaves the previous checkpoint."""
        if not (module.stopping or module.schedule.checkpoints(trainer.global_step - 1)):
            return
        if trainer.is_global_zero:
            with atomic_path(self.path) as temporary:
                trainer.save_checkpoint(temporary)
        else:
            trainer.save_checkpoint(self.path)  # takes part in gathering the state, writes nothing


class _Interrupts(pl.Callback):
    """The first Ctrl-C or SIGTERM lets the step end and the checkpoint be written; the second one stops at once."""

    def on_train_start(self, trainer: pl.Trainer, module: GaussianFitting) -> None:  # type: ignore[override]
        """Take the signals; Lightning has put its own handlers by now."""
        if threading.current_thread() is not threading.main_thread():
            return
        if process_rank() > 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Lightning has put its own; the first process decides
            return
        # What is ignored stays so: a shell starts its background jobs deaf to Ctrl-C.
        before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) != signal.SIG_IGN}

        def on_signal(number: int, frame: FrameType | None) -> None:
            module.interrupted = True
            for each, handler in before.items():
                signal.signal(each, handler)

        for number in before:
            signal.signal(number, on_signal)


@contextmanager
def _signals_put_back() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's hints about loggers, cores and workers are not for the users of this job."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
