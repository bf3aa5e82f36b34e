"""Reading archives and pickles without trusting them.

Members are read into memory one by one; nothing is extracted to disk under a name taken from an archive.
"""

from __future__ import annotations

import io
import pickle
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from datasets.errors import DataError

_PICKLE_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


def tar_members(path: Path, wanted: Callable[[str], bool] = lambda _name: True) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every wanted regular file of a tar archive (any compression), in its order.

    Raises:
        DataError: a member is a link or a device, or its name leads out of the archive.
        OSError: the archive's checksum is wrong, once all members are read.
    """
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            _check_name(member.name, path)
            if member.isdir() or not wanted(member.name):
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise _no_file(path, member.name)
            yield member.name, content.read()
        # Read to the very end, where a compressed archive has its checksum, which is only compared then.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the wanted files of a tar archive (any compression) or a zip archive, in its order.

    Raises:
        DataError: it is neither, one of them is a link, or a name leads out of the archive.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_name(member.filename, path)
                if not member.is_dir() and wanted(member.filename):
                    if stat.S_ISLNK(member.external_attr >> 16):
                        raise _no_file(path, member.filename)
                    yield member.filename, archive.read(member)
        return
    try:
        yield from tar_members(path, wanted)
    except tarfile.ReadError as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # the other lines say why each format fails
        raise DataError(f"{path} is not a complete tar or zip archive ({reason}): replace it and try again.") from error


def zip_member(path: Path, name: str) -> bytes:
    """Bytes of one member of a zip archive (a wheel is one).

    Raises:
        DataError: there is no such member, or the name of any member leads out of the archive.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            _check_name(member, path)
        if name not in archive.namelist():
            raise DataError(f"{path.name} has no member {name!r}: it is not the version this suite was written for.")
        return archive.read(name)


def unpickle_arrays(data: bytes) -> Any:
    """Tuples, lists, numbers and numeric numpy arrays from a pickle; nothing else is ever constructed.

    The caller has already checked the digest of the data.

    Raises:
        DataError: the pickle asks for any other class or function.
    """
    return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PICKLE_GLOBALS[module, name]
        except KeyError:
            raise DataError(
                f"the pickle asks for {module}.{name}, which array data never need: do not use it."
            ) from None


def _no_file(archive: Path, name: str) -> DataError:
    return DataError(f"{archive} holds a link or device, {name!r}: get the archive from its publisher.")


def _check_name(name: str, archive: Path) -> None:
    # Windows rules are checked too: a name such as C:\x or ..\x is harmless here but hostile there.
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.anchor or ".." in windows.parts:
        raise DataError(f"{archive} holds the unsafe name {name!r}: get the archive from its publisher.")
