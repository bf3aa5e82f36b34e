"""Fixtures of the data tests: the real small domains, a tiny domain of our own, a server that errs on order."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from datasets import fetch, registry, verify
from datasets.store import Location
from tests.datasets.data_helpers import Site, Tiny, handler, tiny_domain


@pytest.fixture(scope="session")
def real(digits_mini: Location) -> Location:
    """The machine's data folder with every domain of ``digits-mini`` prepared."""
    return digits_mini


@pytest.fixture
def site() -> Iterator[Site]:
    """A server on 127.0.0.1."""
    served = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(served))
    server.daemon_threads = True
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    served.release.set()
    server.shutdown()
    server.server_close()


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
