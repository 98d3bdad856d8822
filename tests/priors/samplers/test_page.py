"""The examples of the samplers' page run, one after the other as a reader would type them."""

import re
from pathlib import Path

import torch

import gen3d.priors.samplers

PAGE = Path(gen3d.priors.samplers.__file__).with_name("README.md")


def test_all_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 5
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)


def test_all_tests_that_the_page_names_exist():
    named = re.findall(r"`(test_\w+)(\*?)`", PAGE.read_text(encoding="utf-8"))
    written = re.findall(r"def (test_\w+)", "\n".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py")))
    for name, star in named:
        assert any(each.startswith(name) if star else each == name for each in written), name
