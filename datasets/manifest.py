"""Writes the manifest of a domain, for maintainers: ``python -m datasets.manifest DOMAIN [--data DIR] [--mirror M]``.

It records what the sources hold now, so look at the images before you commit it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from datasets import registry, sources, verify
from datasets.decoders import Native
from datasets.errors import DataError
from datasets.sources import Location


def write(domain_name: str, location: Location) -> Path:
    """Acquire a domain without comparing it with the present manifest, and write a new one.

    Raises:
        DataError: as ``sources.acquire``.
    """
    domain = registry.domain(domain_name)
    parts, _ = sources.acquire(domain, location, verified=False)
    content = {"domain": domain.name, "parts": {part: _fields(native, domain) for part, native in parts.items()}}
    path = verify.MANIFESTS / f"{domain.name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    lines = [f"{name} {digest}\n" for native in parts.values() for name, digest in _files(native)]
    if lines:
        packed = gzip.compress("".join(lines).encode(), mtime=0)
        (verify.MANIFESTS / f"{domain.name}.files.gz").write_bytes(packed)
    return path


def _fields(native: Native, domain: registry.Domain) -> Mapping[str, object]:
    return {
        "count": len(native.labels),
        "per_class": verify.per_class(native.labels, len(domain.classes)),
        "shape": native.images.shape[1:],
        "images": verify.array_digest(native.images),
        "labels": verify.array_digest(native.labels),
    }


def _files(native: Native) -> list[tuple[str, str]]:
    return list(zip(native.names, native.files, strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m datasets.manifest", description="Write the manifest of a domain.")
    parser.add_argument("domain")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--mirror")
    options = parser.parse_args(arguments)
    try:
        print(write(options.domain, Location(options.data, options.mirror)))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
