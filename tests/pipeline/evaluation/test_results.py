"""Scores as files, and as tables."""

import json

import pytest

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.evaluation.comparison import MethodScores
from gen3d.pipeline.evaluation.object_scores import ObjectScores
from gen3d.pipeline.evaluation.results import Evaluated, read_results, write_results
from gen3d.pipeline.evaluation.table import markdown, opponent, summary


def method(name, values, lpips=None):
    figures = [{"psnr": (value, value + 2), **({"lpips_alex": (lpips[i], lpips[i])} if lpips else {})} for i, value in enumerate(values)]
    objects = tuple(ObjectScores(f"o{i}", "scan" if i < 2 else "lowpoly", figure, 0.25) for i, figure in enumerate(figures))
    return MethodScores(name, objects, 1.5, {"main": 1234}, {"share": [0.5]})


@pytest.fixture
def results():
    baselines = method("copy", [10.0, 12.0, 14.0], [0.2, 0.2, 0.2]), method("blend", [11.0, 13.0, 15.0], [0.3, 0.3, 0.3])
    return Evaluated("objects-v1-elevation-20-64", "abc", (*baselines, method("ceiling", [30.0, 30.0, 30.0], [0.1, 0.1, 0.1])), ("a note",))


def test_round_trip(results, tmp_path):
    write_results(tmp_path / "scores.json", results)
    assert read_results(tmp_path / "scores.json") == results


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"format": "other"}, "holds no scores of objects; give the scores.json that gen3d eval objects wrote"),
        ([], "holds no scores of objects"),
        ({"format": "gen3d-objects-scores-1"}, "is damaged .KeyError: 'methods'.; evaluate the methods again"),
    ],
)
def test_files_that_are_no_scores(content, sentence, tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=sentence):
        read_results(tmp_path / "scores.json")


def test_results_join(results):
    other = Evaluated(results.protocol, results.pictures, (method("net", [20.0, 20.0, 20.0]),), ("a note", "another"))
    joined = results.joined(other)
    assert [each.name for each in joined.methods] == ["copy", "blend", "ceiling", "net"]
    assert joined.notes == ("a note", "another")
    with pytest.raises(UsageError, match="there are two scores of the method blend; leave it out of --methods"):
        results.joined(results)
    with pytest.raises(UsageError, match=r"on objects-v1-elevation-20-64 \(pictures xyz\) do not compare"):
        results.joined(Evaluated(results.protocol, "xyz", other.methods))


def test_the_table(results):
    text = markdown(results)
    lines = text.splitlines()
    assert lines[0] == "# objects-v1-elevation-20-64"
    assert "3 objects, 2 views of each; pictures abc; mean ± standard error over objects" in lines
    assert "## all (3)" in lines
    assert "## scan (2)" in lines
    assert any(line.startswith("| copy    | 13.00 ± 1.15 | 0.200 ± 0.000 | 0.250    | 1,234") for line in lines)
    assert "## better than blend by, object by object" in lines
    assert any(line.startswith("| copy    | -1.00 ± 0.00  | -1.00 ± 0.00  | -1.00 ") and "+0.100 ± 0.000 | -6 % " in line for line in lines)
    assert "PSNR dB: share from blend to ceiling" in text
    assert "LPIPS alex: share from copy to ceiling" in text  # the best baseline differs from metric to metric
    assert lines[-1] == "note: a note"
    assert all(line.count("|") == lines[6].count("|") for line in lines[6:10])


def test_margins_over_a_method_that_is_named(results):
    assert "## better than copy by" in markdown(results, "copy")
    assert opponent(results, "best").name == "blend"
    assert opponent(Evaluated("p", "x", results.methods[2:]), "best") is None
    assert "better than" not in markdown(Evaluated("p", "x", results.methods[2:]))
    with pytest.raises(UsageError, match="over is 'net', which is not evaluated here; choose best or one of copy, blend, ceiling"):
        opponent(results, "net")


def test_facts_for_machines(results):
    facts = summary(results)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["over"] == "blend"
    assert facts["methods"]["copy"]["psnr"]["scan"] == {"mean": 12.0, "error": 1.0, "count": 2}
    assert facts["methods"]["copy"]["facts"] == {"share": [0.5]}
    assert facts["margins"]["ceiling"]["lpips_alex"]["all"] == {"mean": 0.2, "error": 0.0, "count": 3}
    assert facts["margins"]["blend"]["psnr"]["all"]["mean"] == 0.0
