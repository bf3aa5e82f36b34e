"""Every registered domain and suite, found by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from datasets import halves, registry, verify
from datasets.errors import DataError

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", registry.DOMAINS)
def test_domain_is_complete(name: str) -> None:
    domain = registry.domain(name)
    assert domain.name == name
    assert domain.title
    assert domain.description.endswith(".")
    assert domain.channels in (1, 3)
    assert domain.routes
    assert domain.parts[0] == "train"
    if domain.subset:
        assert registry.domain(domain.subset).classes == domain.classes
    for route in domain.routes:
        assert len({file.name for file in route.files}) == len(route.files)
        for file in route.files:
            assert not Path(file.name).is_absolute()
            assert all(url.startswith(("http://", "https://")) for url in file.urls)
            assert not file.digest or file.digest.partition(":")[0] in ("md5", "sha256")
            assert file.wheel is None or "==" in file.wheel.requirement


@pytest.mark.parametrize("name", registry.DOMAINS)
def test_manifest_fits_the_domain(name: str) -> None:
    domain = registry.domain(name)
    expected = verify.manifest(name)
    assert tuple(expected) == domain.parts
    recorded = 0
    for part in expected.values():
        if part.per_class:
            assert sum(part.per_class) == part.count
            assert len(part.per_class) == len(domain.classes)
        recorded += bool(part.images and part.labels)
    description = " ".join(domain.description.split())
    if domain.kind == "photos":
        # Of photographs every file is recorded, or the user must read what vouches for them.
        assert all(part.count for part in expected.values())
        files = verify.file_digests(name)
        assert len(files) in (0, sum(part.count or 0 for part in expected.values()))
        assert bool(files) != ("vouch" in description)
        return
    # Where the content is not recorded, published digests must vouch for it, and the user must read so.
    if recorded < len(expected):
        assert recorded == 0
        assert all(file.digest for route in domain.routes for file in route.files)
        assert "No digest of its content is recorded" in description


def test_every_manifest_is_small_and_used() -> None:
    for path in verify.MANIFESTS.iterdir():
        assert path.name.partition(".")[0] in registry.DOMAINS
        assert path.stat().st_size < 500_000


def test_every_domain_is_documented() -> None:
    text = (CHECKOUT / "datasets" / "README.md").read_text()
    assert [name for name in registry.DOMAINS if f"| `{name}` |" not in text] == []


def test_files_of_a_mirror_never_clash() -> None:
    """One name is one file; an archive may serve several domains."""
    found: dict[str, registry.File] = {}
    for domain in registry.DOMAINS.values():
        for route in domain.routes:
            for file in route.files:
                assert found.setdefault(file.name, file) == file


@pytest.mark.parametrize("name", registry.SUITES)
def test_suite_is_complete(name: str) -> None:
    suite = registry.suite(name)
    assert suite.name == name
    assert len(set(suite.tasks)) == len(suite.tasks)
    for source, target in suite.tasks:
        assert source != target
        assert {source, target} <= set(suite.domains) or halves.are_opposite(
            halves.side(suite, source), halves.side(suite, target)
        )
    if suite.subset:
        subset = registry.suite(suite.subset)
        assert (subset.classes, subset.natural, subset.tasks) == (suite.classes, suite.natural, suite.tasks)
        assert set(subset.domains.values()) == {registry.domain(name).subset for name in suite.domains.values()}
    assert set(suite.natural) <= set(suite.classes)
    for short, full in suite.domains.items():
        domain = registry.domain(full)
        assert ":" not in short
        assert domain.classes == suite.classes
        assert "test" in domain.parts or suite.transductive


def test_unknown_names_list_what_exists() -> None:
    with pytest.raises(DataError, match="mnist-5k, optdigits"):
        registry.domain("mnits")
    with pytest.raises(DataError, match="digits-mini, digits"):
        registry.suite("digit")


def test_package_needs_neither_torch_nor_the_rest_of_the_suite() -> None:
    code = (
        "import sys, pkgutil, importlib, datasets\n"
        "[importlib.import_module('datasets.' + m.name) for m in pkgutil.iter_modules(datasets.__path__)]\n"
        "print([m for m in ('torch', 'benchmarks', 'methods', 'report') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
