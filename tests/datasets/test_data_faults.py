"""What can go wrong between a publisher and the prepared data, with a real server and real kills."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import fetch, registry, store
from datasets.errors import DataError
from datasets.registry import Installed, Wheel
from datasets.store import Location
from tests.datasets.data_helpers import Site, Tiny

CHECKOUT = Path(__file__).parents[2]
PATH = "tiny/tiny.csv"


def partial_of(location: Location) -> Path:
    return location.root / "downloads" / "tiny" / "tiny.csv.partial"


def kept(location: Location) -> Path:
    return location.root / "downloads" / "tiny" / "tiny.csv"


def use(monkeypatch: pytest.MonkeyPatch, tiny: Tiny, **changes: Any) -> None:
    """Replace fields of the tiny domain's file."""
    route = tiny.domain.routes[0]
    file = dataclasses.replace(route.files[0], **changes)
    domain = dataclasses.replace(tiny.domain, routes=(dataclasses.replace(route, files=(file,)),))
    monkeypatch.setattr(registry, "DOMAINS", {"tiny": domain})


def assert_clean(location: Location) -> None:
    """Nothing half-prepared is left, and the error is final."""
    assert not store.is_prepared("tiny", location)
    prepared = location.root / "prepared"
    assert not prepared.exists() or not list(prepared.iterdir())


def test_download_prepares(site: Site, tiny: Tiny, here: Location) -> None:
    assert store.prepare("tiny", here) == "tiny"
    data = store.load("tiny", "train", here)
    assert data.images.shape == (3000, 28, 28, 1)
    assert data.names[:2] == ("train/000000", "train/000001")
    assert kept(here).read_bytes() == tiny.content
    assert not partial_of(here).exists()
    store.prepare("tiny", here)
    assert site.ranges(PATH) == [None]


def test_truncated_transfer_is_carried_on(site: Site, tiny: Tiny, here: Location) -> None:
    site.script[PATH] = ["truncate", "truncate"]
    store.prepare("tiny", here)
    half = len(tiny.content) // 2
    first, second, third = site.ranges(PATH)
    assert first is None
    assert second == f"bytes={half}-"
    assert third == f"bytes={half + (len(tiny.content) - half) // 2}-"


def test_server_that_ignores_range_starts_again(site: Site, tiny: Tiny, here: Location) -> None:
    site.script[PATH] = ["truncate", "no-range"]
    store.prepare("tiny", here)
    assert kept(here).read_bytes() == tiny.content


def test_server_that_sends_another_range_starts_again(site: Site, tiny: Tiny, here: Location) -> None:
    site.script[PATH] = ["truncate", "wrong-range"]
    store.prepare("tiny", here)
    assert site.ranges(PATH)[2] is None
    assert kept(here).read_bytes() == tiny.content


@pytest.mark.parametrize("surplus", [b"", b"x"])
def test_partial_file_that_is_complete_or_too_long(surplus: bytes, site: Site, tiny: Tiny, here: Location) -> None:
    partial_of(here).parent.mkdir(parents=True)
    partial_of(here).write_bytes(tiny.content + surplus)
    store.prepare("tiny", here)
    assert len(site.ranges(PATH)) == 1 + len(surplus)


def test_wrong_digest(site: Site, tiny: Tiny, here: Location) -> None:
    site.files[PATH] = tiny.content.replace(b"1", b"2", 1)
    with pytest.raises(DataError, match=r"^http\S+ has the digest sha256:\w+ where sha256:\w+ was expected, and"):
        store.prepare("tiny", here)
    assert not partial_of(here).exists()
    assert not kept(here).exists()
    assert_clean(here)
    site.files[PATH] = tiny.content
    store.prepare("tiny", here)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [(b"\n", b"1\n", "labels"), (b"1", b"2", "images"), (b"\n", b"\n" * 2 + b"1," * 16 + b"1\n", "number of images")],
)
def test_wrong_content_without_a_published_digest(
    old: bytes, new: bytes, named: str, site: Site, tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tiny, digest="")
    site.files[PATH] = tiny.content.replace(old, new, 1)
    with pytest.raises(DataError, match=rf"tiny, train: {named}.*expected .*found .*tiny\.csv"):
        store.prepare("tiny", here)
    assert_clean(here)


def test_missing_file_is_told_with_every_source_tried(site: Site, tiny: Tiny, tmp_path: Path) -> None:
    del site.files[PATH]
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    here = Location(tmp_path / "data", str(mirror))
    with pytest.raises(DataError) as error:
        store.prepare("tiny", here)
    assert f"{mirror} has no {PATH}" in str(error.value)
    assert f"{site.address}/{PATH} answers with status 404" in str(error.value)
    assert str(here.root / "downloads") in str(error.value)
    assert "\n" not in str(error.value)
    assert len(site.log) == 1  # no second attempt: a missing file stays missing


def test_server_error_then_success(site: Site, tiny: Tiny, here: Location) -> None:
    site.script[PATH] = ["500", "503"]
    store.prepare("tiny", here)
    assert len(site.log) == 3


def test_server_error_for_good(site: Site, tiny: Tiny, here: Location) -> None:
    site.script[PATH] = ["500"] * 20
    with pytest.raises(DataError, match=r"failed 4 times \(status 500\)"):
        store.prepare("tiny", here)


def test_hanging_connection(site: Site, tiny: Tiny, here: Location) -> None:
    site.script[PATH] = ["hang", "stall"]
    start = time.monotonic()
    store.prepare("tiny", here)
    assert time.monotonic() - start < 5
    assert site.ranges(PATH)[2] is not None  # what came before the stall was used


def test_nobody_listens(tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tiny, urls=("http://127.0.0.1:9/tiny.csv",))
    with pytest.raises(DataError, match="connection refused"):
        store.prepare("tiny", here)


class FullDisk(io.FileIO):
    """A file on a disk with room for 50,000 bytes."""

    def write(self, content: Any) -> int:
        room = 50_000 - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.name))
        return super().write(memoryview(content)[:room])


def fill_disk(monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    original = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if self.name.endswith(suffix) and mode in ("wb", "ab"):
            return FullDisk(self, mode.replace("b", ""))
        return original(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)


def test_disk_full_while_fetching(site: Site, tiny: Tiny, here: Location) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch, ".partial")
        missing = (len(tiny.content) - 49_152) / 1e6  # whole chunks are counted
        with pytest.raises(DataError, match=rf"disk of .* is full, tiny.csv needs a further {missing:.1f} MB"):
            store.prepare("tiny", here)
    assert_clean(here)
    assert tiny.content.startswith(partial_of(here).read_bytes())
    store.prepare("tiny", here)
    assert site.ranges(PATH)[-1] == "bytes=50000-"


def test_disk_full_while_decoding(tiny: Tiny, here: Location) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fill_disk(patch, ".images.npy")
        with pytest.raises(DataError, match=r"disk of .* is full, tiny needs"):
            store.prepare("tiny", here)
    assert_clean(here)
    store.prepare("tiny", here)


def test_disk_too_small_is_noticed_before_writing(tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 448_000}))
    with pytest.raises(DataError, match=r"is full, tiny needs a further 2\.0 MB"):
        store.prepare("tiny", here)
    assert_clean(here)


def test_data_folder_that_is_a_file(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataError, match="cannot be read or written"):
        store.prepare("tiny", Location(tmp_path / "data"))


def mirror_with(tmp_path: Path, content: bytes) -> Location:
    (tmp_path / "mirror" / "tiny").mkdir(parents=True)
    (tmp_path / "mirror" / PATH).write_bytes(content)
    return Location(tmp_path / "data", str(tmp_path / "mirror"))


def test_mirror_directory_is_used_in_place(site: Site, tiny: Tiny, tmp_path: Path) -> None:
    store.prepare("tiny", mirror_with(tmp_path, tiny.content))
    assert not site.log
    assert not (tmp_path / "data" / "downloads").exists()


@pytest.mark.parametrize("digest", [True, False])
def test_corrupt_mirror_fails_and_is_left_alone(
    digest: bool, site: Site, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not digest:
        use(monkeypatch, tiny, digest="")
    corrupt = tiny.content[: len(tiny.content) // 2]
    place = mirror_with(tmp_path, corrupt)
    with pytest.raises(DataError, match=r"mirror/tiny/tiny\.csv .*replace it"):
        store.prepare("tiny", place)
    assert (tmp_path / "mirror" / PATH).read_bytes() == corrupt
    assert not site.log  # the public address was not asked instead
    assert_clean(place)


def test_corrupt_file_put_by_hand_is_left_alone(site: Site, tiny: Tiny, here: Location) -> None:
    kept(here).parent.mkdir(parents=True)
    kept(here).write_bytes(b"no,table")
    with pytest.raises(DataError, match=r"tiny\.csv has the digest"):
        store.prepare("tiny", here)
    assert kept(here).read_bytes() == b"no,table"


@pytest.mark.parametrize("kind", ["missing", "file", "unreadable file"])
def test_unreadable_mirror(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    if kind == "file":
        mirror.write_text("")
    elif kind == "unreadable file":
        (mirror / PATH).mkdir(parents=True)  # a directory where the file should be cannot be read, even by root
    place = Location(tmp_path / "data", str(mirror))
    with pytest.raises(DataError, match=r"mirror.* cannot be read"):
        store.prepare("tiny", place)
    if kind != "unreadable file":
        with pytest.raises(DataError, match=r"mirror.* cannot be read"):
            store.listing(place)


def test_mirror_address(site: Site, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tiny, urls=())
    site.files = {f"lab/{PATH}": tiny.content}
    place = Location(tmp_path / "data", f"{site.address}/lab/")
    assert [entry.state for entry in store.listing(place)] == ["in the mirror"]
    store.prepare("tiny", place)
    assert [entry.state for entry in store.listing(place)] == ["prepared"]


def test_mirror_address_that_does_not_answer(site: Site, tiny: Tiny, tmp_path: Path) -> None:
    place = Location(tmp_path / "data", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"mirror http://127\.0\.0\.1:9 does not answer"):
        store.prepare("tiny", place)
    assert not site.log


def test_mirror_address_without_head(site: Site, tiny: Tiny, tmp_path: Path) -> None:
    site.script[f"HEAD {PATH}"] = ["501"]
    store.prepare("tiny", Location(tmp_path / "data", site.address))
    assert site.ranges(PATH) == [None, None]


def test_mirror_address_that_wants_a_password(site: Site, tiny: Tiny, tmp_path: Path) -> None:
    site.script[f"HEAD {PATH}"] = ["401"]
    site.script[PATH] = ["401"]
    with pytest.raises(DataError, match=r"mirror .* does not answer: .* failed \(status 401\)"):
        store.prepare("tiny", Location(tmp_path / "data", site.address))


BROKEN = {"decoding": b"no,table", "verification": b"1," * 16 + b"1\n"}


@pytest.mark.parametrize("stage", BROKEN)
@pytest.mark.parametrize("source", ["mirror", "web", "installed", "wheel"])
def test_broken_file_fetched_just_now_is_removed(
    stage: str, source: str, site: Site, tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Location(here.root, site.address) if source == "mirror" else here
    changes: dict[str, Any] = {"digest": ""} | ({} if source == "web" else {"urls": ()})
    if source == "installed":
        changes["installed"] = Installed("tiny-digits", "tiny_digits", "x.csv")
    elif source == "wheel":
        changes["wheel"] = Wheel("tiny==1.0", "tiny/data.csv", 1)
    use(monkeypatch, tiny, **changes)

    def offer(content: bytes) -> None:
        site.files[PATH] = content
        wheel_by(monkeypatch, {"tiny/data.csv": content})
        monkeypatch.setattr(fetch, "copy_installed", lambda _, target: fetch.write_whole(target, content))

    offer(BROKEN[stage])
    with pytest.raises(
        DataError, match=r"tiny\.csv .*try again \(just fetched and now removed: tiny\.csv\)\.$"
    ) as error:
        store.prepare("tiny", place)
    assert "\n" not in str(error.value)
    assert not list(kept(place).parent.iterdir())
    assert_clean(place)
    offer(tiny.content)
    assert store.prepare("tiny", place) == "tiny"


@pytest.mark.parametrize("stage", BROKEN)
def test_broken_file_without_a_digest_put_by_hand_is_left_alone(
    stage: str, site: Site, tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tiny, digest="")
    kept(here).parent.mkdir(parents=True)
    kept(here).write_bytes(BROKEN[stage])
    with pytest.raises(DataError, match=r"tiny\.csv .*replace it and try again\.$"):
        store.prepare("tiny", Location(here.root, site.address))
    assert kept(here).read_bytes() == BROKEN[stage]
    assert not site.log


@pytest.mark.parametrize("source", ["mirror", "web"])
def test_only_the_fetched_file_of_a_mixed_route_is_removed(
    source: str, site: Site, tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = tiny.domain.routes[0]
    first = dataclasses.replace(route.files[0], digest="")
    second = dataclasses.replace(first, name="tiny/second.csv", urls=(f"{site.address}/tiny/second.csv",))
    domain = dataclasses.replace(tiny.domain, routes=(dataclasses.replace(route, files=(first, second)),))
    monkeypatch.setattr(registry, "DOMAINS", {"tiny": domain})
    site.files = {PATH: b"of the server", second.name: b"of the server"}
    kept(here).parent.mkdir(parents=True)
    kept(here).write_bytes(b"of the user")
    with pytest.raises(DataError, match=r"now removed: second\.csv\)\.$"):
        store.prepare("tiny", Location(here.root, site.address) if source == "mirror" else here)
    assert [path.name for path in kept(here).parent.iterdir()] == ["tiny.csv"]
    assert kept(here).read_bytes() == b"of the user"


def test_mirror_address_without_the_file_falls_through(site: Site, tiny: Tiny, tmp_path: Path) -> None:
    store.prepare("tiny", Location(tmp_path / "data", f"{site.address}/empty"))
    assert site.ranges(PATH) == [None]


def wheel_by(monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], error: str = "") -> list[list[str]]:
    """Make pip ``download`` a wheel of these members, or fail; returns the commands it was called with."""
    commands = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if not error:
            with zipfile.ZipFile(Path(command[-1], "tiny-1.0-py3-none-any.whl"), "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        return subprocess.CompletedProcess(command, int(bool(error)), "", error)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_wheel_member_is_kept_and_the_wheel_dropped(
    tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tiny, urls=(), wheel=Wheel("tiny==1.0", "tiny/data.csv", 1))
    commands = wheel_by(monkeypatch, {"tiny/data.csv": tiny.content, "tiny/__init__.py": b""})
    store.prepare("tiny", here)
    assert {"tiny==1.0", "--no-deps", "--only-binary=:all:"} <= set(commands[0])
    assert [path.name for path in kept(here).parent.iterdir()] == ["tiny.csv"]


def test_wheel_with_another_content_or_hostile_names(
    tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tiny, urls=(), wheel=Wheel("tiny==1.0", "tiny/data.csv", 1))
    for members, message in (
        ({"tiny/data.csv": b"1"}, "of tiny==1.0 has the digest"),
        ({"tiny/data.csv": tiny.content, "../../x": b""}, "unsafe name"),
    ):
        wheel_by(monkeypatch, members)
        with pytest.raises(DataError, match=message):
            store.prepare("tiny", here)
        assert not list(kept(here).parent.iterdir())
        assert_clean(here)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("noise\nERROR: No matching distribution found\n\n", r"tiny==1\.0 failed \(No matching distribution found\)"),
        ("ERROR: Exception:\nTraceback\n  x\nValueError: y\n", r"tiny==1\.0 failed \(ValueError: y\)"),
        ("OSError: [Errno 28] No space left on device", r"is full, tiny==1\.0 needs a further 2\.0 MB"),
        ("/usr/bin/python: No module named pip", "No module named pip"),
    ],
)
def test_pip_fails(error: str, message: str, tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tiny, urls=(), wheel=Wheel("tiny==1.0", "tiny/data.csv", 2_000_000))
    wheel_by(monkeypatch, {}, error)
    with pytest.raises(DataError, match=message):
        store.prepare("tiny", here)
    assert not list(kept(here).parent.iterdir())


def test_package_that_is_not_installed(tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tiny, urls=(), installed=Installed("tiny-digits", "tiny_digits.data", "x.csv"))
    with pytest.raises(DataError, match="no installed tiny-digits"):
        store.prepare("tiny", here)


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{checkout!r}, {tests!r}]
from tests.datasets.data_helpers import tiny_domain
from datasets import fetch, registry, store, verify
content = Path({content!r}).read_bytes()
registry.DOMAINS = {{"tiny": tiny_domain({address!r}, content)}}
verify.MANIFESTS = Path({manifests!r})
fetch.CHUNK = 16384
{extra}
print(store.prepare("tiny", store.Location(Path({root!r}))))
"""


def start(site: Site, tiny: Tiny, here: Location, extra: str = "") -> subprocess.Popen[str]:
    """Another process that prepares the tiny domain."""
    content = tiny.manifests / "content"
    content.write_bytes(tiny.content)
    code = SCRIPT.format(
        checkout=str(CHECKOUT),
        tests=str(Path(__file__).parent),
        content=str(content),
        address=site.address,
        manifests=str(tiny.manifests),
        root=str(here.root),
        extra=textwrap.dedent(extra),
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here.root.parent
    )


def test_killed_while_fetching_then_carried_on(site: Site, tiny: Tiny, here: Location) -> None:
    site.script[PATH] = ["stall"]
    process = start(site, tiny, here)
    deadline = time.monotonic() + 20
    while not (partial_of(here).exists() and partial_of(here).stat().st_size >= 16384):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_clean(here)
    have = partial_of(here).stat().st_size
    store.prepare("tiny", here)
    assert site.ranges(PATH)[-1] == f"bytes={have}-"
    assert np.bincount(store.load("tiny", "train", here).labels).tolist() == [300] * 10


def test_killed_while_decoding_then_done_again(site: Site, tiny: Tiny, here: Location) -> None:
    extra = """
    import os, signal
    frame = store.to_frame
    calls = []
    def dying(*arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return frame(*arguments)
    store.to_frame = dying
    """
    process = start(site, tiny, here, extra)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert not store.is_prepared("tiny", here)
    store.prepare("tiny", here)
    assert [path.name for path in (here.root / "prepared").iterdir()] == ["tiny"]
    assert len(store.load("tiny", "train", here).images) == 3000


def test_two_processes_at_once_fetch_once(site: Site, tiny: Tiny, here: Location) -> None:
    processes = [start(site, tiny, here) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert out.strip() == "tiny"
    assert site.ranges(PATH) == [None]
    assert store.is_prepared("tiny", here)
