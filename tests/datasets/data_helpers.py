"""A server that errs on order, a tiny domain, and builders of small archives, shared by the data tests."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import decoders
from datasets.registry import Domain, File, Route


@dataclass
class Site:
    """A web server on this machine.

    ``script[path]`` lists what it does on the next requests of a path; afterwards it behaves, Range included.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    """Path -> Content-Type, where one is sent."""
    script: dict[str, list[str]] = field(default_factory=dict)
    log: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request."""
    release: threading.Event = field(default_factory=threading.Event)
    """Ends every hanging answer."""

    def ranges(self, path: str) -> list[str | None]:
        """Range headers of all requests of a path."""
        return [sent for name, sent in self.log if name == path]


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    """The request handler that serves ``site``."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def do_HEAD(self) -> None:
            """Says whether the file is there; not logged."""
            path = self.path.lstrip("/")
            todo = site.script.get(f"HEAD {path}", [])
            self.send_response(int(todo.pop(0)) if todo else 200 if path in site.files else 404)
            self.end_headers()

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
            if kind := site.types.get(self.path.lstrip("/")):
                self.send_header("Content-Type", kind)
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


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """A compressed tar archive of these members."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def png(values: np.ndarray) -> bytes:
    """A PNG file of uint8 (H, W, 3)."""
    out = io.BytesIO()
    Image.fromarray(values).save(out, format="PNG")
    return out.getvalue()


def mnistm_members(images: np.ndarray) -> dict[str, bytes]:
    """Archive members in MNIST-M's original layout, the same images in both parts; label = index mod 10."""
    members = {}
    for part in ("train", "test"):
        lines = ""
        for index, image in enumerate(images):
            members[f"mnist_m/mnist_m_{part}/{index:08d}.png"] = png(image)
            lines += f"{index:08d}.png {index % 10}\n"
        members[f"mnist_m/mnist_m_{part}_labels.txt"] = lines.encode()
    return members
