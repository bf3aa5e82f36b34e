"""Writes the manifest of a domain, for maintainers: ``python -m datasets.manifest DOMAIN [--data DIR] [--mirror M]``.

It records what the sources hold now, so look at the images before committing it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from datasets import photos, registry, sources, verify
from datasets.domains import Part
from datasets.errors import DataError
from datasets.photos import Photos
from datasets.sources import Location


def write(domain_name: str, location: Location) -> Path:
    """Acquire a domain without comparing it with the current manifest, and write a new one.

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


def _fields(native: Part, domain: registry.Domain) -> Mapping[str, object]:
    counts = {"count": len(native.labels), "per_class": verify.per_class(native.labels, len(domain.classes))}
    if isinstance(native, Photos):
        return counts
    return {
        **counts,
        "shape": native.images.shape[1:],
        "images": verify.array_digest(native.images),
        "labels": verify.array_digest(native.labels),
    }


def _files(native: Part) -> list[tuple[str, str]]:
    digests = photos.file_digests(native) if isinstance(native, Photos) else native.files
    return list(zip(native.names, digests, strict=True))


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
