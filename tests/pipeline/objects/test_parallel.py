"""Work on several processes, of which some die."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gen3d.pipeline.objects.parallel import outcomes, processors

DIES = "__import__('os')._exit(9)"  # items are expressions, because spawned processes can import eval


def lost(item):
    return f"lost {item[:9]}"


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers):
    assert list(outcomes(eval, ["1", "2 + 2", "__import__('time').sleep(0.2)", "4"], workers=workers, lost=lost)) == [1, 4, None, 4]


def test_a_death_costs_one_result():
    items = ["1", "2", DIES, "4", "5", *map(str, range(6, 20)), DIES, "21"]
    found = list(outcomes(eval, items, workers=2, lost=lost))
    assert found == [1, 2, "lost __import_", 4, 5, *range(6, 20), "lost __import_", 21]


def test_other_errors_end_the_job():
    with pytest.raises(ZeroDivisionError):
        list(outcomes(eval, ["1", "1 / 0", "2"], workers=2, lost=lost))


def test_a_script_without_a_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from gen3d.pipeline.objects.parallel import outcomes\nlist(outcomes(eval, ['1', '2'], workers=2, lost=str))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no process can be started here: guard the script with if __name__ == '__main__', or use 1 worker" in done.stderr


def test_there_is_a_processor():
    assert 1 <= processors() <= os.cpu_count()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL") or not os.path.isdir("/proc"), reason="looks for processes as Linux shows them")
def test_nobody_outlives_a_killed_job():
    code = """if __name__ == "__main__":
    from gen3d.pipeline.objects.parallel import outcomes
    for pid in outcomes(eval, ["__import__('os').getpid()"] * 3 + ["__import__('time').sleep(60)"] * 9, workers=2, lost=str):
        print(pid, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as job:
        worker = int(job.stdout.readline())
        job.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while os.path.isdir(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.isdir(f"/proc/{worker}")
