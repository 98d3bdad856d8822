"""The run folder: what a job was asked, what it did, and where its results are."""

import dataclasses
import os
import re
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import gen3d
from gen3d.errors import BadInput, Gen3DError, Interrupted, UsageError
from gen3d.files import read_json, sweep, write_json, write_text
from gen3d.pipeline import configuration, earlier
from gen3d.pipeline.lock import lock_folder, release
from gen3d.pipeline.manifest import Manifest, Status, input_digest, merged, peak_memory, read_manifest

Settings = TypeVar("Settings")


class Run:
    """A job's folder; as a context manager it keeps other processes out and records how the job ended.

    A run travels to other processes by pickle, but run.json is written only by the process that created or opened it.

    Attributes:
        folder: the run folder.
        manifest: what run.json holds.
        restored: whether the run ended with nothing to resume, and the results that it was to replace are back.
        inputs: subfolder for copies of what was given.
        cameras: subfolder for the camera poses.
        checkpoints: subfolder for what a resumption needs.
        previews: subfolder for contact_sheet.png and turntable.mp4.
        exports: subfolder for model.ply and other results.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.restored = False
        self.inputs, self.cameras, self.checkpoints, self.previews, self.exports = (folder / name for name in earlier.FOLDERS)
        self._owner = os.getpid()
        self._lock: int | None = None

    @classmethod
    def create(
        cls,
        out: str | Path | None,
        verb: str,
        settings: Any,
        *,
        name: str = "",
        inputs: Sequence[str | Path] = (),
        overwrite: bool = False,
    ) -> Self:
        """Start a run.

        Args:
            out: the run folder; None for `outputs/<slug>-<time>`, which `outputs/latest.txt` then names.
            name: what the slug is made of; the first input or the verb when empty.
            verb: the job.
            settings: its settings, a dataclass; `seed` and `device` are noted when it has them.
            inputs: files and folders that the job reads.
            overwrite: replace the results in a folder that is not empty. They come back when the new run ends before its first
                checkpoint.

        Raises:
            UsageError: the folder is not empty and `overwrite` is off, holds something of the user's own that a run would
                write over, is an input itself, or another process works in it.
            BadInput: an input does not exist.
        """
        digests = {str(Path(path).absolute()): input_digest(Path(path)) for path in inputs}
        folder = Path(out) if out is not None else _new_folder(name or (Path(inputs[0]).stem if inputs else verb))
        if folder.resolve() in [Path(path).resolve() for path in inputs]:
            raise UsageError(f"{folder} is what the job reads, so it cannot hold the results too; choose another --out")
        _make_room(folder, overwrite)
        manifest = Manifest(
            version=gen3d.__version__,
            verb=verb,
            config_sha256=configuration.digest(settings),
            seed=getattr(settings, "seed", 0),
            device=getattr(settings, "device", "cpu"),
            started=datetime.now(UTC).isoformat(timespec="milliseconds"),
            inputs=digests,
        )
        run = cls(folder.absolute(), manifest)
        try:
            with _writing(folder):
                for part in earlier.FOLDERS:
                    (folder / part).mkdir(parents=True, exist_ok=True)
            write_text(folder / "config.yaml", configuration.as_yaml(settings))
            run._write()
            if out is None:
                write_text(folder.parent / "latest.txt", f"{folder.name}\n")
        except BaseException:
            earlier.restore(folder)
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A run that exists.

        Raises:
            BadInput: the folder holds no readable run.json.
        """
        folder = Path(path).absolute()
        if not (folder / "run.json").is_file():
            raise BadInput(f"{path} is not a run folder (it has no run.json); give a folder that gen3d wrote")
        return cls(folder, read_manifest(folder / "run.json"))

    @property
    def resumable(self) -> bool:
        """Whether there is something to continue: the job was cut off, or failed after its first checkpoint."""
        return self.manifest.status in ("running", "interrupted") or (self.manifest.status == "failed" and self.has_checkpoint)

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint was written."""
        return self.checkpoints.is_dir() and any(not file.name.startswith(".") for file in self.checkpoints.iterdir())

    def settings(self, kind: type[Settings]) -> Settings:
        """The settings in config.yaml.

        Raises:
            BadInput: they were changed since the run began, so that it cannot be continued as it started.
        """
        path = self.folder / "config.yaml"
        settings = configuration.override(kind(), configuration.read_layer(path), str(path))
        if configuration.digest(settings) != self.manifest.config_sha256:
            raise BadInput(f"{path} is not what this run started with; undo the change, or start a new run with --config {path}")
        return settings

    def check_inputs(self) -> None:
        """Make sure that what the run read is still the same.

        Raises:
            BadInput: an input is missing or has changed.
        """
        for path, digest in self.manifest.inputs.items():
            if input_digest(Path(path)) != digest:
                raise BadInput(f"{path} has changed since the run began, so its result would not be reproducible; start a new run")

    def record(self, **facts: Any) -> None:
        """Set fields of the manifest; a mapping is merged into what is there, and `notes` and `weights` are appended.

        Raises:
            TypeError: a name is not a field of `Manifest`.
        """
        self.manifest = merged(self.manifest, **facts)
        self._write()

    def use_weights(self, *facts: Mapping[str, str]) -> None:
        """Record name, licence and sha256 of weight files.

        Raises:
            BadInput: the run began with other files of the same names.
        """
        for each in facts:
            before = {one.get("sha256") for one in self.manifest.weights if one.get("name") == each["name"]}
            if before and each["sha256"] not in before:
                raise BadInput(f"{each['name']} has changed since this run began; start it again with another --out")
        self.record(weights=tuple(facts))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to the stage `name`, however the block ends."""
        self.log(f"{name} begins")
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.manifest.stages.get(name, 0.0) + time.perf_counter() - start
            self.record(stages={name: round(seconds, 3)}, peak_memory_mib=peak_memory())
            self.log(f"{name} ends after {seconds:.1f} s")

    def note(self, message: str) -> None:
        """Keep a sentence that the user should know in the manifest and the log."""
        self.record(notes=(message,))
        self.log(message)

    def log(self, message: str) -> None:
        """Append a line with the time to log.txt; a full disk does not stop the job."""
        with suppress(OSError), (self.folder / "log.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {message}\n")

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json."""
        write_json(self.folder / "metrics.json", metrics)

    def add_metrics(self, **metrics: Any) -> None:
        """Write metrics.json with some more figures."""
        path = self.folder / "metrics.json"
        self.write_metrics({**(read_json(path) if path.is_file() else {}), **metrics})

    def finish(self, status: Status, error: str = "") -> None:
        """Record how the job ended.

        The results that this run replaced are gone for good on `done`, and back in place when there is nothing to resume.
        """
        self.log(f"{status}: {error}" if error else status)
        # A disk that is full must neither hide why the job ended nor keep the earlier results away.
        with nullcontext() if status == "done" else suppress(Gen3DError):
            self.record(status=status, error=error, peak_memory_mib=peak_memory())
        if os.getpid() != self._owner:
            return
        if status == "done":
            earlier.forget(self.folder)
        elif not self.has_checkpoint:
            self.restored = earlier.restore(self.folder)

    def __enter__(self) -> Self:
        with _writing(self.folder):
            self._lock = lock_folder(self.folder)
            try:
                if read_manifest(self.folder / "run.json").started != self.manifest.started:
                    raise UsageError(f"another gen3d has begun a run in {self.folder} meanwhile; choose another --out")
                for folder in (self.folder, self.cameras, self.checkpoints, self.previews, self.exports):
                    sweep(folder)
                if self.manifest.status != "running":
                    self.record(status="running", error="")
            except BaseException:
                release(self._lock)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.finish("done")
            elif was_interrupted(error):
                self.finish("interrupted")
            else:
                if not isinstance(error, Gen3DError):
                    self.log("".join(traceback.format_exception(error)).rstrip())
                self.finish("failed", str(error) or type(error).__name__)
        finally:
            release(self._lock)
            self._lock = None

    def _write(self) -> None:
        if os.getpid() == self._owner:
            write_json(self.folder / "run.json", dataclasses.asdict(self.manifest))


def was_interrupted(error: BaseException) -> bool:
    """Whether the user stopped the job; Lightning turns Ctrl-C and SIGTERM into SystemExit."""
    return isinstance(error, KeyboardInterrupt | Interrupted | SystemExit)


def _new_folder(name: str) -> Path:
    """An empty folder that no other job got."""
    slug = re.sub(r"[\W_]+", "-", name.lower())[:40].strip("-") or "run"
    first = folder = Path("outputs") / f"{slug}-{datetime.now():%Y%m%d-%H%M%S}"
    number = 1
    while True:
        with _writing(folder), suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
        number += 1
        folder = first.with_name(f"{first.name}-{number}")


def _make_room(folder: Path, overwrite: bool) -> None:
    with _writing(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; --out names the folder of the run")
        if not folder.is_dir() or not any(folder.iterdir()):
            return
        before = _run_in(folder)
        worthless = before is not None and before.manifest.status == "failed" and not before.has_checkpoint
        if not overwrite and not worthless:
            if before is not None and before.resumable:
                raise UsageError(f"{folder} holds an unfinished run: continue it with gen3d resume {folder}, or add --overwrite")
            raise UsageError(f"{folder} is not empty: choose another --out, or add --overwrite")
        if before is None:  # someone's own folder: the results may join what is there, not replace it
            if name := earlier.taken(folder):
                raise UsageError(f"{folder} is no run folder and has its own {name}, which a run would replace; choose another --out")
            return
        release(lock_folder(folder))
        if worthless or earlier.exist(folder):
            earlier.remove_results(folder)
        else:
            earlier.set_aside(folder)


def _run_in(folder: Path) -> Run | None:
    with suppress(BadInput):
        return Run.open(folder)
    return None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Gen3DError(f"could not write {folder}: {error.strerror or error}; choose another --out") from error
