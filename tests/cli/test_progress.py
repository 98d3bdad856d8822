import io

import pytest

from gen3d.cli.progress import EVERY, Bar, describe


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fit(bar, clock, *, steps, seconds, first=0):
    bar.start("fit", steps)
    for step in range(first, steps + 1):
        bar.advance(step, loss=1 / (step + 1), splats=1000 + step)
        clock.now += seconds
    bar.finish()


def test_without_a_terminal_there_is_a_line_every_few_seconds(clock):
    stream = io.StringIO()
    with Bar(stream=stream, clock=clock) as bar:
        fit(bar, clock, steps=100, seconds=EVERY / 10)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "fit 10/100 loss 0.09091 splats 1,010, 0:45 left"
    assert lines[-1] == "fit done loss 0.009901 splats 1,100"
    assert len(lines) == 11


def test_a_resumed_stage_estimates_from_its_own_speed(clock):
    stream = io.StringIO()
    with Bar(stream=stream, clock=clock) as bar:
        fit(bar, clock, steps=100, seconds=EVERY, first=90)
    assert stream.getvalue().splitlines()[0].endswith("0:45 left")


def test_the_log_is_written_even_when_quiet(clock):
    stream, log = io.StringIO(), []
    with Bar(stream=stream, clock=clock, quiet=True, log=log.append) as bar:
        fit(bar, clock, steps=20, seconds=EVERY / 10)
        bar.note("81 photos to fit")
    assert stream.getvalue() == ""
    assert log[0] == "fit 10/20 loss 0.09091 splats 1,010, 0:05 left"
    assert log[-2:] == ["fit done loss 0.04762 splats 1,020", "81 photos to fit"]


def test_notes_reach_the_stream(clock):
    stream = io.StringIO()
    with Bar(stream=stream, clock=clock) as bar:
        bar.note("81 photos [to] fit")
    assert stream.getvalue() == "note: 81 photos [to] fit\n"


def test_a_terminal_gets_a_bar_and_the_log_gets_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    stream, log = Terminal(), []
    with Bar(stream=stream, clock=clock, log=log.append) as bar:
        fit(bar, clock, steps=20, seconds=EVERY / 10)
        bar.note("a [note]")
    assert "note: a [note]" in stream.getvalue()
    assert "fit 10/20" not in stream.getvalue()
    assert len(log) == 4


def test_a_terminal_is_left_as_it_was_after_an_error(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    bar = Bar(stream=stream, clock=clock)
    with pytest.raises(ValueError, match="in the fit"), bar:
        raise ValueError("in the fit")
    shown = stream.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # cursor hidden and shown again


@pytest.mark.parametrize("total", [0, 1])
def test_stages_of_unknown_length(clock, total):
    stream = io.StringIO()
    with Bar(stream=stream, clock=clock) as bar:
        bar.start("read", total)
        bar.finish()
    assert stream.getvalue() == "read done\n"


def test_figures_in_words():
    assert describe({"loss": 0.0312345, "splats": 41234, "psnr": 28.451}) == "loss 0.03123 splats 41,234 psnr 28.45"
