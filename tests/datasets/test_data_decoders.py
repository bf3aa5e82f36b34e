"""Decoders on small files in the layouts of the publishers, and the frame that every image gets."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from datasets import archives, decoders, frames
from datasets.errors import DataError
from tests.datasets.data_helpers import mnistm_members, png, write_tar

RNG = np.random.default_rng(0)


def write_idx(path: Path, values: np.ndarray) -> Path:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))
    return path


def test_both_files_of_mnist_give_the_same_arrays(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (12, 28, 28)).astype(np.uint8)
    images[0, 0, :2] = 0, 255
    labels = RNG.integers(0, 10, 12)
    fractions = images.reshape(12, 784).astype(np.float32) / np.float32(256)
    sets = tuple((fractions[a:b], labels[a:b]) for a, b in ((0, 6), (6, 9), (9, 12)))
    pickled = tmp_path / "mnist.pkl.gz"
    pickled.write_bytes(gzip.compress(pickle.dumps(sets, protocol=4)))
    paths = [
        write_idx(tmp_path / "a", images[:9]),
        write_idx(tmp_path / "b", labels[:9]),
        write_idx(tmp_path / "c", images[9:]),
        write_idx(tmp_path / "d", labels[9:]),
    ]
    one, two = decoders.idx(paths), decoders.mnist_pickle([pickled])
    for part, count in (("train", 9), ("test", 3)):
        assert one[part].images.shape == (count, 28, 28, 1)
        assert np.array_equal(one[part].images, two[part].images)
        assert np.array_equal(one[part].labels, two[part].labels)
        assert one[part].labels.dtype == two[part].labels.dtype == np.int64
    assert np.array_equal(one["train"].images[..., 0], images[:9])


def test_pixels_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    images = np.full((1, 784), 0.3, dtype=np.float32)
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(((images, np.zeros(1, np.int64)),) * 3, protocol=4)))
    with pytest.raises(ValueError, match="multiples"):
        decoders.mnist_pickle([path])


def test_matlab_files_as_svhn_and_synthetic_digits(tmp_path: Path) -> None:
    from scipy.io import savemat

    images = RNG.integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    for name in ("train", "test"):
        content = {"X": images.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9], [10], [0]], np.uint8)}
        savemat(tmp_path / f"{name}.mat", content)
    parts = decoders.matlab([tmp_path / "train.mat", tmp_path / "test.mat"])
    assert np.array_equal(parts["test"].images, images)
    assert parts["train"].labels.tolist() == [0, 1, 9, 0, 0]


def test_saved_tensors_as_mnistm(tmp_path: Path) -> None:
    import torch

    images = torch.randint(0, 256, (4, 28, 28, 3), dtype=torch.uint8)
    paths = []
    for part in ("train", "test"):
        saved = io.BytesIO()
        torch.save((images, torch.tensor([3, 1, 4, 1])), saved)
        paths.append(write_tar(tmp_path / f"{part}.tar.gz", {f"mnist_m_{part}.pt": saved.getvalue()}))
    parts = decoders.torch_pair(paths)
    assert np.array_equal(parts["train"].images, images.numpy())
    assert parts["test"].labels.tolist() == [3, 1, 4, 1]


def test_saved_tensors_run_no_code(tmp_path: Path) -> None:
    import torch

    saved = io.BytesIO()
    torch.save(Hostile(str(tmp_path / "harm")), saved)
    path = write_tar(tmp_path / "train.tar.gz", {"mnist_m_train.pt": saved.getvalue()})
    with pytest.raises(pickle.UnpicklingError):
        decoders.torch_pair([path, path])
    assert not (tmp_path / "harm").exists()


def test_listed_images_as_mnistm(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    members = mnistm_members(images)
    parts = decoders.listed_pngs([write_tar(tmp_path / "a.tar.gz", members)])
    assert np.array_equal(parts["train"].images, images)
    assert parts["train"].labels.tolist() == [0, 1, 2]
    assert parts["train"].names[1] == "mnist_m_train/00000001.png"
    content = members["mnist_m/mnist_m_train/00000001.png"]
    assert parts["train"].files[1] == decoders.file_digest("mnist_m_train/00000001.png", content)
    del members["mnist_m/mnist_m_test/00000002.png"]
    with pytest.raises(ValueError, match=r"00000002.png is listed but missing"):
        decoders.listed_pngs([write_tar(tmp_path / "b.tar.gz", members)])
    members = mnistm_members(images) | {"mnist_m/mnist_m_test/extra.png": png(images[0])}
    with pytest.raises(ValueError, match="4 files and its list names 3"):
        decoders.listed_pngs([write_tar(tmp_path / "c.tar.gz", members)])


def saved_by_r(name: str, rows: list[list[float]]) -> bytes:
    """What ``save`` of R 2 writes of a matrix: its name, the values column by column, and the dimensions."""
    cell, end = b"\0\0\4\2\0\0\0\1\0\4\0\t", b"\0\0\0\xfe"
    values = [value for column in zip(*rows, strict=True) for value in column]
    return b"".join([
        b"RDX2\nX\n\0\0\0\2\0\2\x0f\0\0\2\3\0", cell, len(name).to_bytes(4, "big"), name.encode(),
        b"\0\0\2\x0e", len(values).to_bytes(4, "big"), *(struct.pack(">d", value) for value in values),
        cell, b"\0\0\0\3dim", b"\0\0\0\r\0\0\0\2", struct.pack(">2i", len(rows), len(rows[0])), end, end,
    ])  # fmt: skip


def test_usps_as_r_saved_it(tmp_path: Path) -> None:
    rows = [[7.0, -1.0, 1.0, 0.0, *[-1.0] * 253], [3.0, *[-1.0] * 255, 0.004]]
    paths = [tmp_path / "train", tmp_path / "test"]
    contents = [saved_by_r(name, rows) for name in ("zip.train", "zip.test")]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(bz2.compress(content))
    native = decoders.rdata(paths)["train"]
    assert native.images.shape == (2, 16, 16, 1)
    assert native.images[0, 0, :4, 0].tolist() == [0, 255, 128, 0], "half a pixel value is rounded up"
    assert native.images[1].sum() == native.images[1, 15, 15, 0] == 128
    assert native.labels.tolist() == [7, 3]
    assert np.array_equal(decoders.rdata(paths)["test"].images, native.images)


@pytest.mark.parametrize(
    "damaged",
    [
        saved_by_r("zip.test", [[1.0, 0.0]]),
        saved_by_r("zip.train", [[1.0, 0.0]])[:-4],
        saved_by_r("zip.train", [[1.0, 0.0]]) + b"\0\0\0\xfe",
        saved_by_r("zip.train", [[1.0, 0.0]]).replace(b"RDX2", b"RDX3"),
        saved_by_r("zip.train", [[1.0, 0.0]]).replace(b"\0\0\0\1\0\0\0\2", b"\0\0\0\2\0\0\0\2"),
    ],
    ids=["another name", "cut short", "longer", "another version", "other dimensions"],
)
def test_what_r_saved_otherwise_is_refused(damaged: bytes, tmp_path: Path) -> None:
    path = tmp_path / "zip.train.RData"
    path.write_bytes(bz2.compress(damaged))
    with pytest.raises(ValueError, match=r"zip\.train\.RData is not the matrix zip\.train as R saves it"):
        decoders.rdata([path, path])


def test_a_pixel_of_usps_out_of_range_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train"
    path.write_bytes(bz2.compress(saved_by_r("zip.train", [[7.0, 1.01, *[0.0] * 255]])))
    with pytest.raises(ValueError, match="outside"):
        decoders.rdata([path, path])


def test_tables_hold_whole_bytes_only(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("0,1,2,3,9\n4,5,6,7,1\n")
    native = decoders.table([path], height=2, width=2)["train"]
    assert native.images[1, :, :, 0].tolist() == [[4, 5], [6, 7]]
    assert native.labels.tolist() == [9, 1]
    for wrong in ("0,1,2,3.5,9\n", "0,1,2,256,9\n", "0,1,2,-1,9\n"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match="whole number"):
            decoders.table([path], height=2, width=2)


class Hostile:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return open, (self.path, "w")


def test_hostile_pickle_runs_no_code(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    with pytest.raises(DataError, match=r"io\.open"):
        archives.unpickle_arrays(pickle.dumps(Hostile(str(harm))))
    assert not harm.exists()
    with pytest.raises(DataError, match=r"builtins\.eval"):
        archives.unpickle_arrays(b"cbuiltins\neval\n(S'1'\ntR.")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil"])
def test_names_that_lead_out_of_an_archive(name: str, tmp_path: Path) -> None:
    import zipfile

    tar = write_tar(tmp_path / "a.tar.gz", {name: b"x"})
    with pytest.raises(DataError, match="unsafe name"):
        list(archives.tar_members(tar))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", b"x")
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match="unsafe name"):
        archives.zip_member(tmp_path / "a.zip", "good")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("link")
        info.type = kind
        info.linkname = "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match="link or device"):
        list(archives.tar_members(tmp_path / "a.tar"))


def test_missing_member_of_a_wheel(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("other", b"x")
    with pytest.raises(DataError, match="no member 'wanted'"):
        archives.zip_member(tmp_path / "a.whl", "wanted")


def test_box_keeps_the_aspect_and_pads() -> None:
    full = np.full((2, 16, 15, 1), 6, dtype=np.uint8)
    out = frames.to_frame(full, "box", 6)
    assert out.shape == (2, 28, 28, 1)
    rows, columns = np.flatnonzero(out[0, :, 14, 0]), np.flatnonzero(out[0, 14, :, 0])
    assert (rows[0], rows[-1]) == (4, 23)
    assert (columns[0], columns[-1]) == (4, 22)
    assert set(np.unique(out)) == {0, 255}


def test_stretch_fills_the_frame() -> None:
    assert (frames.to_frame(np.full((1, 32, 32, 3), 77, dtype=np.uint8), "stretch", 255) == 77).all()
    assert (frames.to_frame(np.full((1, 16, 16, 1), 200, dtype=np.uint8), "stretch", 255) == 200).all()


def test_kept_images_are_not_touched() -> None:
    images = RNG.integers(0, 256, (2, 28, 28, 1)).astype(np.uint8)
    assert np.array_equal(frames.to_frame(images, "keep", 255), images)
    with pytest.raises(ValueError, match="expected"):
        frames.to_frame(images[:, 1:], "keep", 255)


def test_values_above_white_are_refused() -> None:
    with pytest.raises(ValueError, match="a pixel of 17"):
        frames.to_frame(np.full((1, 8, 8, 1), 17, dtype=np.uint8), "box", 16)
