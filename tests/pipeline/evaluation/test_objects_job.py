"""Methods judged from meshes to figures."""

import pytest
import torch

from gen3d.errors import Gen3DError, MissingWeights, UsageError
from gen3d.pipeline.evaluation import objects_job
from gen3d.pipeline.evaluation.baselines import Entrant, Informed
from gen3d.pipeline.evaluation.measuring import Usage
from gen3d.pipeline.evaluation.methods import BASELINES, CEILINGS, NETWORKS, REACHES, named
from gen3d.pipeline.evaluation.objects_job import ObjectsJob, check, evaluate_objects, limited, lpips_networks
from gen3d.pipeline.evaluation.objects_protocol import Predicted
from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.progress import Silent
from gen3d.priors.perceptual import Lpips

QUICK = "white,mean,copy,nearest-pixels,nearest-silhouette,four-nearest,blend"


@pytest.fixture
def judge(library, tmp_path):
    """Judge methods on the two test objects of the library, with pictures of 24 pixels."""

    def run(methods=QUICK, earlier=(), **settings):
        options = {"size": 24, "lpips": "none", "holdout": 1, **settings}
        job = ObjectsJob(library.folder, tmp_path / "cache", ObjectsSettings(methods=methods, **options), workers=1, earlier=earlier)
        return evaluate_objects(job, Silent())

    return run


def test_every_baseline_answers_for_every_object(judge):
    found = judge()
    assert [each.name for each in found.methods] == QUICK.split(",")
    assert found.protocol == "objects-v1-elevation-20-24"
    for each in found.methods:
        assert [(scores.id, scores.tier) for scores in each.objects] == [("o1", "scan"), ("o4", "lowpoly")]
        assert each.metrics == ("psnr", "psnr_union", "ssim", "iou")
        assert all(len(scores.figures["psnr"]) == 9 and scores.seconds >= 0 for scores in each.objects)
        assert each.memory_mib.get("main", 1) > 0
    psnr = {each.name: each.objects[1].mean("psnr") for each in found.methods}
    assert psnr["white"] < psnr["copy"]  # a ball looks the same from everywhere
    assert psnr["copy"] > 25


def test_the_same_figures_twice(judge):
    first, second = ([[scores.figures for scores in each.objects] for each in judge().methods] for _ in range(2))
    assert first == second


def test_a_network_answers_beside_them(judge, monkeypatch):
    def build(bench):
        assert (bench.device, bench.protocol.size) == ("cpu", 24)

        def answer(question):
            count = question.targets.shape[-1]
            assert question.given.rgb.shape == (1, 24, 24, 3)
            return Predicted(torch.full((count, 24, 24, 3), 0.5), torch.ones(count, 24, 24))

        return Entrant(answer, {"weights": "none"})

    monkeypatch.setitem(NETWORKS, "grey", build)
    baselines = judge("white,copy")
    found = judge("grey", earlier=(baselines,), over="copy")
    assert [each.name for each in found.methods] == ["white", "copy", "grey"]
    assert found.methods[2].facts == {"weights": "none"}
    with pytest.raises(UsageError, match="two scores of the method copy"):
        judge("grey,copy", earlier=(baselines,))
    with pytest.raises(UsageError, match="over is 'blend', which is not evaluated here"):
        judge("grey", over="blend")


def test_ceilings_alone_see_the_truth(judge, monkeypatch):
    def build(bench):
        return Informed(lambda question, truth: Predicted(truth.over(torch.ones(3))[1:], truth.alpha[1:]), {"sees": "all"})

    monkeypatch.setitem(CEILINGS, "ceiling", build)
    found = judge("ceiling")
    assert found.methods[0].objects[0].figures["psnr"] == (40.0,) * 9
    assert found.methods[0].facts == {"sees": "all"}


def test_margins_over_a_method_that_was_left_out_are_refused_before_anything_is_judged(judge, monkeypatch):
    def build(bench):
        raise MissingWeights("no weights")

    def never(*_):
        raise AssertionError("an object was judged")

    monkeypatch.setitem(NETWORKS, "absent", build)
    monkeypatch.setattr(objects_job, "score", never)
    with pytest.raises(UsageError, match="over is 'absent', which is not evaluated here; choose best or one of white"):
        judge("white,absent", over="absent")


def test_fitted_splats_come_near(judge, monkeypatch):
    monkeypatch.setattr("gen3d.pipeline.evaluation.ceilings.INITIAL", 500)
    monkeypatch.setattr("gen3d.pipeline.evaluation.ceilings.CAP", 600)
    found = judge("white,ceilings", size=32, limit=1)
    assert [each.name for each in found.methods] == ["white", *CEILINGS]
    white, one, four, every = ({scores.id: scores.mean("psnr") for scores in each.objects} for each in found.methods)
    assert all(four[each] > white[each] + 8 and every[each] > white[each] + 8 for each in white), (white, four, every)
    assert all(white[each] < one[each] < every[each] for each in white), (white, one, every)


def test_answers_that_cannot_be_scored():
    truth = Predicted(torch.ones(2, 4, 4, 3), torch.ones(2, 4, 4))
    check(truth, truth, "net", "cup")
    with pytest.raises(Gen3DError, match=r"net answered for 'cup' with rgb of shape \(1, 4, 4, 3\); it must be \(2, 4, 4, 3\)"):
        check(Predicted(truth.rgb[:1], truth.alpha), truth, "net", "cup")
    with pytest.raises(Gen3DError, match="net answered for 'cup' with alpha that is not finite"):
        check(Predicted(truth.rgb, truth.alpha * float("nan")), truth, "net", "cup")


def test_a_few_objects_of_each_tier(make_set, blob):
    objects = make_set("some", {name: blob() for name in "abcdef"})
    few = limited(objects, 2)
    assert len(few) == 2
    assert {record.id for record in few.records} < set("abcdef")
    assert [record.id for record in limited(objects, 2).records] == [record.id for record in few.records]
    assert len(limited(objects, 0)) == len(limited(objects, 99)) == 6


def test_lpips_is_measured_or_absent_with_a_note(monkeypatch):
    def load(net):
        if net == "vgg":
            raise MissingWeights("no network")
        return Lpips(net)

    monkeypatch.setattr(objects_job, "load_lpips", load)
    networks, notes = lpips_networks(ObjectsSettings(size=32), "cpu")
    assert (list(networks), notes) == (["alex"], ["LPIPS vgg is absent: no network"])
    networks, notes = lpips_networks(ObjectsSettings(size=24, lpips="alex"), "cpu")
    assert (networks, notes) == ({}, ["LPIPS alex was not measured: it needs 31 pixels and these pictures have 24"])
    assert lpips_networks(ObjectsSettings(lpips="none"), "cpu") == ({}, [])


def test_lpips_stands_beside_the_other_figures(judge, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(objects_job, "load_lpips", lambda net: Lpips(net).requires_grad_(False))
    found = judge("white,copy", size=32, lpips="both")
    assert found.methods[0].metrics == ("psnr", "psnr_union", "ssim", "lpips_alex", "lpips_vgg", "iou")


def test_names_of_methods():
    assert named("all") == (*BASELINES, *NETWORKS, *REACHES, *CEILINGS)
    assert named("ceilings, copy,white") == ("white", "copy", *CEILINGS)
    assert named("baselines") == tuple(BASELINES)
    with pytest.raises(UsageError, match="the method 'coppy' is not known; did you mean copy"):
        named("white,coppy")


def test_an_empty_group_is_wrong_usage(monkeypatch):
    monkeypatch.setattr("gen3d.pipeline.evaluation.methods.NETWORKS", {})
    monkeypatch.setitem(objects_job.named.__globals__["GROUPS"], "networks", {})
    with pytest.raises(UsageError, match="methods is 'networks', a group that is empty; choose some of white"):
        named("networks")


def test_usage_adds_up():
    usage = Usage()
    for _ in range(2):
        with usage.measuring():
            sum(range(10_000))
    assert usage.seconds > 0
    assert usage.memory_mib.get("main", 1) > 0
