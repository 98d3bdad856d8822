"""Work shared by processes, of which any may die without ending the job. Standard library only: spawned processes start with it."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection
from typing import Any, TypeVar

from gen3d.errors import Gen3DError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # items for each process that are handed out before their turn


def outcomes(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int, lost: Callable[[Item], Result]
) -> Generator[Result, None, None]:
    """The result of each item, in their order.

    A process that dies, because an item crashes a library or takes all memory, costs the result of that item only: those that were
    under way are tried again one by one, each with a process for itself.

    Args:
        work: done in other processes, so that it and the items travel by pickle; what it raises ends the job.
        items: what to work on.
        workers: processes; with 1 the work is done in this one, and nobody survives its death.
        lost: the result of an item whose process died.

    Raises:
        Gen3DError: processes die before they begin, as those of a script without a guard do.
    """
    if workers <= 1:
        yield from map(work, items)
        return
    rest, ahead = iter(items), deque[tuple[Item, Future[Result]]]()
    pool = _pool(workers)
    try:
        while True:
            ahead.extend((item, _submit(pool, work, item)) for item in islice(rest, AHEAD * workers - len(ahead)))
            if not ahead:
                return
            item, future = ahead.popleft()
            broken = isinstance(future.exception(), BrokenProcessPool)
            if not broken:
                yield future.result()
                continue
            suspects = [item, *(each for each, _ in ahead)]
            ahead.clear()
            pool.shutdown()
            for suspect in suspects:
                yield _alone(work, suspect, lost)
            pool = _pool(workers)
    finally:
        pool.shutdown(cancel_futures=True)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _submit(pool: ProcessPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    try:
        return pool.submit(work, item)
    except BrokenProcessPool as error:
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def _alone(work: Callable[[Item], Result], item: Item, lost: Callable[[Item], Result]) -> Result:
    with _pool(1) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise Gen3DError("no process can be started here: guard the script with if __name__ == '__main__', or use 1 worker") from error
        try:
            return pool.submit(work, item).result()
        except BrokenProcessPool:
            return lost(item)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, because forking a process in which torch has threads can hang.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    """Leave Ctrl-C to the first process, and do not outlive it: when it is killed nobody else ends the others; one thread is enough."""
    os.environ["OMP_NUM_THREADS"] = "1"  # there is a process for each core; torch reads it when work imports it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent: Any = multiprocessing.parent_process()
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
