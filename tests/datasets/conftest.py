"""Fixtures of the data tests: the real small domains, a tiny domain of our own, a server that errs on order."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from datasets import decoders, fetch, registry, store, verify
from datasets.registry import Domain, File, Route
from datasets.store import Location

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real() -> Location:
    """The data folder of the checkout (or ``DATA_ROOT``) with every domain of ``digits-mini`` prepared."""
    root = os.environ.get("DATA_ROOT")
    location = Location(Path(root) if root else CHECKOUT / "data", os.environ.get("DATA_MIRROR") or None)
    for name in registry.suite("digits-mini").domains.values():
        store.prepare(name, location)
    return location


@dataclass
class Site:
    """A web server on this machine.

    ``script[path]`` lists what it does on the next requests of a path; afterwards it behaves, Range included.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    script: dict[str, list[str]] = field(default_factory=dict)
    log: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request."""
    release: threading.Event = field(default_factory=threading.Event)
    """Ends every hanging answer."""

    def ranges(self, path: str) -> list[str | None]:
        """Range headers of all requests of a path."""
        return [sent for name, sent in self.log if name == path]


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range")
            site.log.append((path, wanted))
            todo = site.script.get(path, [])
            behaviour = todo.pop(0) if todo else "behave"
            if path not in site.files:
                self.send_error(404)
            elif behaviour.isdigit():
                self.send_error(int(behaviour))
            elif behaviour == "hang":
                site.release.wait(10)
            else:
                self.answer(site.files[path], wanted, behaviour)

        def answer(self, content: bytes, wanted: str | None, behaviour: str) -> None:
            start = 0
            if wanted and behaviour != "no-range":
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
                shown = start + 7 if behaviour == "wrong-range" else start
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            body = content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                if behaviour == "truncate":
                    body = body[: len(body) // 2]
                if behaviour == "stall":
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    site.release.wait(10)
                    body = body[len(body) // 2 :]
                self.wfile.write(body)
            except OSError:
                pass  # the client is gone, as some tests want it

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    """A server on 127.0.0.1."""
    served = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    server.daemon_threads = True
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    served.release.set()
    server.shutdown()
    server.server_close()


@dataclass
class Tiny:
    """A domain of 3,000 images of 4 x 4 pixels, known to the registry while the test runs."""

    domain: Domain
    content: bytes
    """The file as published."""
    manifests: Path


def tiny_domain(address: str, content: bytes) -> Domain:
    """The domain ``tiny``, offered at ``address``."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    file = File("tiny/tiny.csv", (f"{address}/tiny/tiny.csv",), digest=digest, size=len(content))
    route = Route((file,), partial(decoders.table, height=4, width=4))
    return Domain("tiny", "Tiny", "For tests.", (route,), parts=("train",), frame="stretch")


@pytest.fixture
def tiny(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A tiny domain at the test's server, with a manifest; time-outs and pauses are short."""
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.integers(0, 256, (3000, 16)), np.arange(3000)[:, None] % 10], axis=1)
    content = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist()).encode()
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    part = {
        "count": 3000,
        "per_class": [300] * 10,
        "shape": [4, 4, 1],
        "images": hashlib.sha256(rows[:, :16].astype(np.uint8).tobytes()).hexdigest(),
        "labels": hashlib.sha256(rows[:, 16].astype(np.int64).tobytes()).hexdigest(),
    }
    (manifests / "tiny.json").write_text(json.dumps({"domain": "tiny", "parts": {"train": part}}))
    site.files["tiny/tiny.csv"] = content
    domain = tiny_domain(site.address, content)
    monkeypatch.setattr(registry, "DOMAINS", {"tiny": domain})
    monkeypatch.setattr(verify, "MANIFESTS", manifests)
    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(fetch, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "READ_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "CHUNK", 16384)
    return Tiny(domain, content, manifests)


@pytest.fixture
def here(tmp_path: Path) -> Location:
    """An empty data folder without a mirror."""
    return Location(tmp_path / "data")
