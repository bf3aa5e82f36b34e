"""GoogLeNet: every layer against a slow reference, its input, its weights from each published form, what it sees."""

from __future__ import annotations

import io
import math
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.machine.errors import UserError
from benchmarks.networks import caffe, googlenet, pretrained, weights
from datasets import fetch
from datasets.errors import DataError, UnavailableError
from datasets.store import Location
from tests.benchmarks.test_pretrained import photographs, prepared

KNOWN = pretrained.KNOWN["googlenet"]
Array = NDArray[np.float64]

# The network, layer by layer, from Caffe's definition.


def conv(x: Array, weight: Array, bias: Array, stride: int = 1, pad: int = 0) -> Array:
    """(C, H, W) -> (out, H', W'), with ReLU."""
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.maximum(np.einsum("chwij,ocij->ohw", windows, weight, optimize=True) + bias[:, None, None], 0)


def pool(x: Array, stride: int, pad: int = 0) -> Array:
    """The largest of 3 x 3; as many windows as begin inside the image or its border, cut off at its end."""
    count = [math.ceil((length + 2 * pad - 3) / stride) + 1 for length in x.shape[1:]]
    out = np.empty((len(x), *count))
    for row in range(count[0]):
        for column in range(count[1]):
            top, left = row * stride - pad, column * stride - pad
            out[:, row, column] = x[:, max(top, 0) : top + 3, max(left, 0) : left + 3].max((1, 2))
    return out


def norm(x: Array) -> Array:
    """Caffe's LRN: local_size 5, alpha 0.0001, beta 0.75, k 1."""
    out = np.empty_like(x)
    for channel in range(len(x)):
        around = x[max(channel - 2, 0) : channel + 3]
        out[channel] = x[channel] / (1 + 0.0001 / 5 * (around**2).sum(0)) ** 0.75
    return out


class Reference:
    """Layers by their names in Caffe, on weights of ours."""

    def __init__(self, model: nn.Module) -> None:
        self.state = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def conv(self, x: Array, name: str, **how: int) -> Array:
        key = name.replace("/", ".")
        return conv(x, self.state[f"{key}.weight"], self.state[f"{key}.bias"], **how)

    def inception(self, x: Array, name: str) -> Array:
        return np.concatenate(
            [
                self.conv(x, f"{name}/1x1"),
                self.conv(self.conv(x, f"{name}/3x3_reduce"), f"{name}/3x3", pad=1),
                self.conv(self.conv(x, f"{name}/5x5_reduce"), f"{name}/5x5", pad=2),
                self.conv(pool(x, 1, 1), f"{name}/pool_proj"),
            ]
        )

    def block(self, x: Array, name: str) -> Array:
        if name == "conv1":
            return norm(pool(self.conv(x, "conv1/7x7_s2", stride=2, pad=3), 2))
        if name == "conv2":
            return pool(norm(self.conv(self.conv(x, "conv2/3x3_reduce"), "conv2/3x3", pad=1)), 2)
        if name in ("pool3", "pool4"):
            return pool(x, 2)
        if name == "pool5":
            return x.mean((1, 2))
        if name == "loss3":
            return self.state["loss3.classifier.weight"] @ x + self.state["loss3.classifier.bias"]
        return self.inception(x, name)


ORDER = (
    *("conv1", "conv2", "inception_3a", "inception_3b", "pool3"),
    *("inception_4a", "inception_4b", "inception_4c", "inception_4d", "inception_4e", "pool4"),
    *("inception_5a", "inception_5b", "pool5", "loss3"),
)


def test_every_layer_is_that_of_the_definition() -> None:
    """Random weights, an image whose sides no stride divides, in float64; each layer gets what the one before gave."""
    torch.manual_seed(3)
    model = googlenet.build().double().eval()
    assert [name for name, _ in model.named_children()] == list(ORDER)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=1.5 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.1)
    reference = Reference(model)
    x = np.random.default_rng(0).normal(0, 60, (3, 79, 57))
    for name, layer in model.named_children():
        with torch.inference_mode():
            ours = layer(torch.from_numpy(x)[None])[0].numpy()
        wanted = reference.block(x, name)
        assert wanted.std() > 0
        np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max(), err_msg=name)
        x = wanted
    assert x.shape == (1000,)


def test_the_norm_has_the_right_gradient_and_holds_in_bfloat16() -> None:
    x = torch.randn(2, 7, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).mul_(100)
    layer = googlenet.ResponseNorm()
    np.testing.assert_allclose(layer(x).numpy(), np.stack([norm(one) for one in x.numpy()]), rtol=1e-12)
    others = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    into, slope = x.clone().requires_grad_(), torch.randn_like(x)
    (ours,), (wanted,) = (torch.autograd.grad((made(into) * slope).sum(), into) for made in (layer, others))
    torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-12)
    half = x.bfloat16()
    assert layer(half).dtype == torch.bfloat16
    torch.testing.assert_close(layer(half).double(), layer(half.double()), rtol=2**-8, atol=0)


def test_blue_comes_first_and_the_mean_is_subtracted() -> None:
    images = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8)
    x = pretrained.centre_crop(images, KNOWN)
    red, green, blue = images[:, 16:240, 16:240].float().unbind(3)
    torch.testing.assert_close(x, torch.stack([blue - 104, green - 117, red - 123], 1), rtol=1e-5, atol=1e-4)


# What it sees.

SEEN = {
    "coffee": ("espresso", 15.31),
    "chelsea": ("Egyptian cat", 20.02),
    "camera": ("tripod", 18.97),
    "rocket": ("missile", 9.45),
    "china": ("palace", 14.19),
}
"""Photograph -> the best class and its logit."""


@pytest.fixture(scope="module")
def real(location: Location) -> Path:
    """The published weights, where this machine has them or a mirror."""
    at_hand = [one for one in weights.PUBLISHED["googlenet"] if weights._in_mirror(one.file, location)]
    if not at_hand and not weights.is_here("googlenet", location):
        pytest.skip("GoogLeNet's weights are in no package; DATA_MIRROR names a folder that has them")
    return weights.path("googlenet", location)


def test_it_names_what_real_photographs_show_and_only_in_its_own_colours(real: Path) -> None:
    from torchvision.models import AlexNet_Weights

    names = AlexNet_Weights.IMAGENET1K_V1.meta["categories"]
    images = photographs()
    model = pretrained.classifier("googlenet", real)
    x = pretrained.centre_crop(prepared({name: images[name] for name in SEEN}), KNOWN)
    mean = torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    with torch.inference_mode():
        logits, (red_first, with_mean) = model(x), model(torch.stack([x[0].flip(0), x[0] + mean]))
    assert [names[i] for i in logits.argmax(1)] == [best for best, _ in SEEN.values()]
    wanted = torch.tensor([logit for _, logit in SEEN.values()])
    torch.testing.assert_close(logits.amax(1), wanted, rtol=0, atol=0.1)
    espresso = names.index("espresso")
    assert names[red_first.argmax()] == "soup bowl"
    assert red_first[espresso] < logits[0, espresso] - 5, "red, green and blue in the usual order"
    assert with_mean[espresso] < logits[0, espresso] - 1, "pixels in 0 .. 255"


# Where the weights come from.

SHAPES = {
    "a.3x3.weight": (4, 3, 2, 5),
    "a.3x3.bias": (4,),
    "loss3.classifier.weight": (6, 4),
    "loss3.classifier.bias": (6,),
}


@pytest.fixture
def arrays() -> caffe.Arrays:
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def archived(arrays: caffe.Arrays, path: Path, above: str = "") -> Path:
    """A filter as (out, height, width, in), the files of an archive; ``above``: the folders above theirs."""
    files = {}
    for name, values in arrays.items():
        layer, _, kind = name.rpartition(".")
        name = f"{above}bvlc_googlenet/weights/{layer.replace('.', '/')}_{'filter' if kind == 'weight' else 'bias'}.bin"
        files[name] = (values.transpose(0, 2, 3, 1) if values.ndim == 4 else values).astype("<f4").tobytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**files, f"{above}other.txt": b"x"}.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def schema() -> Any:
    """``NetParameter`` with some of the fields of ``caffe.proto``, as Google's package makes it."""
    descriptors = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    messages = {
        "BlobShape": "1 dim* int64",
        "BlobProto": "1 num int32, 2 channels int32, 5 data* float, 6 diff* float, 7 shape BlobShape",
        "V1LayerParameter": "2 bottom* string, 4 name string, 5 type int32, 6 blobs* BlobProto, 7 blobs_lr* float, "
        "30 scale double",
        "LayerParameter": "1 name string, 2 type string, 7 blobs* BlobProto",
        "NetParameter": "1 name string, 2 layers* V1LayerParameter, 4 input_dim* int32, 100 layer* LayerParameter",
    }
    file = descriptors.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    types = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9}
    for message, fields in messages.items():
        made = file.message_type.add(name=message)
        for number, name, kind in (field.split() for field in fields.split(", ")):
            field = made.field.add(name=name.rstrip("*"), number=int(number), label=3 if name[-1] == "*" else 1)
            field.type = types.get(kind, 11)
            if kind not in types:
                field.type_name = f".caffe.{kind}"
            field.options.packed = name in ("dim*", "data*")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


@pytest.mark.parametrize("form", ["layers", "layer"])
def test_caffes_own_file_and_the_archives_give_the_same(form: str, arrays: caffe.Arrays, tmp_path: Path) -> None:
    """Layers of 2014 and later ones, among fields and layers that do not matter."""
    net = schema()(name="GoogleNet", input_dim=[10, 3, 224, 224])
    for layer in ("loss1/classifier", "a/3x3", "a/relu", "loss3/classifier"):
        made = getattr(net, form).add(name=layer)
        if form == "layers":
            made.bottom.append("data")
            made.type, made.scale = 300, 0.5
            made.blobs_lr.extend([1.0, 2.0])
        for kind in ("weight", "bias"):
            values = arrays.get(f"{layer.replace('/', '.')}.{kind}")
            if values is not None:
                made.blobs.add(num=1, channels=2000, data=values.ravel().tolist(), diff=[7.0]).shape.dim.extend(
                    [1, 300]
                )
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    forms = {
        "caffemodel": caffe.from_caffemodel(path, SHAPES),
        "tar": caffe.from_archive(archived(arrays, tmp_path / "a.tar"), SHAPES),
        "zip": caffe.from_archive(archived(arrays, tmp_path / "a.zip", "caffejs-d161/models/"), SHAPES),
    }
    for read in forms.values():
        assert list(read) == list(arrays)
        assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
        assert all(values.flags.c_contiguous for values in read.values())
    for end in (1, 50, path.stat().st_size - 5):
        path.write_bytes(net.SerializeToString()[:end])
        with pytest.raises((ValueError, KeyError)):
            caffe.from_caffemodel(path, SHAPES)


@pytest.fixture
def small(arrays: caffe.Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with an archive of a few weights, which are then those of the network; no public address answers."""
    import safetensors.numpy

    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(googlenet, "shapes", lambda: SHAPES)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    tar = archived(arrays, mirror / "bvlc_googlenet.tar")
    kept = tmp_path / "kept"
    kept.write_bytes(safetensors.numpy.save(arrays))

    def file(name: str, digest: str, url: str = "") -> weights.File:
        return weights.File(name, (url,) if url else (), digest=digest)

    name = weights.FILES["googlenet"].name
    monkeypatch.setitem(weights.FILES, "googlenet", file(name, fetch.file_digest(kept, "sha256:")))
    published = (
        weights.Published(file(tar.name, fetch.file_digest(tar, "sha256:")), caffe.from_archive),
        weights.Published(file("bvlc_googlenet.caffemodel", "sha1:0", "http://127.0.0.1:9/m"), caffe.from_caffemodel),
        weights.Published(file("caffejs.zip", "", "http://127.0.0.1:9/zip"), caffe.from_archive),
    )
    monkeypatch.setattr(weights, "PUBLISHED", {"googlenet": published})
    return mirror


def test_weights_are_converted_once_from_whatever_is_at_hand(
    small: Path, arrays: caffe.Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file

    place = Location(tmp_path / "data", str(small))
    found = weights.path("googlenet", place)
    assert found == tmp_path / "data" / "downloads" / "weights" / "bvlc_googlenet.safetensors"
    assert {name: values.tolist() for name, values in load_file(found).items()} == {
        name: values.tolist() for name, values in arrays.items()
    }
    (small / "bvlc_googlenet.tar").unlink()
    assert weights.path("googlenet", place) == found, "no second look at what was published"
    by_hand = Location(tmp_path / "other")
    (by_hand.root / "downloads").mkdir(parents=True)
    archived(arrays, by_hand.root / "downloads" / "caffejs.zip", "caffejs-d161/models/")
    assert weights.path("googlenet", by_hand).read_bytes() == found.read_bytes()
    online = Location(tmp_path / "online")
    content = by_hand.kept(weights.PUBLISHED["googlenet"][2].file).read_bytes()

    def download(url: str, target: Path, _digest: str = "") -> None:
        if not url.endswith("/zip"):
            raise UnavailableError(f"{url} is away")
        fetch.write_whole(target, content)

    monkeypatch.setattr(fetch, "download", download)
    assert weights.path("googlenet", online).read_bytes() == found.read_bytes()
    content = b"a page"
    with pytest.raises(DataError, match=r"caffejs\.zip is not a complete tar or zip archive"):
        weights.path("googlenet", Location(tmp_path / "once more"))
    assert not list((tmp_path / "once more" / "downloads").glob("*.zip")), (
        "it does not stand in the way of the next try"
    )


def test_without_mirror_and_internet_one_sentence_says_where_they_come_from(small: Path, tmp_path: Path) -> None:
    for place in (Location(tmp_path / "data"), Location(tmp_path / "data", str(tmp_path))):
        with pytest.raises(UserError) as caught:
            weights.path("googlenet", place)
        said = str(caught.value)
        assert said.startswith(
            "the ImageNet weights of googlenet are not available (http://127.0.0.1:9/m failed 4 times"
        )
        assert (
            "): name a mirror that has bvlc_googlenet.tar or bvlc_googlenet.caffemodel or caffejs.zip, or put one of "
            f"them into {tmp_path / 'data' / 'downloads'}; BACKBONE=lite0 needs nothing but the package index."
        ) in said
        assert "\n" not in said


def test_damage_is_told_by_the_name_of_the_file(small: Path, arrays: caffe.Arrays, tmp_path: Path) -> None:
    tar = small / "bvlc_googlenet.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:600] + b"?" + whole[601:])
    place = Location(tmp_path / "data", str(small))
    with pytest.raises(DataError, match=rf"^{tar} has the digest sha256:.* was expected: replace it, and try again\.$"):
        weights.path("googlenet", place)
    assert not place.kept(weights.FILES["googlenet"]).exists()
    tar.unlink()
    folder = tmp_path / "data" / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    other = {name: values + 1 for name, values in arrays.items()}
    archive = archived(other, folder / "caffejs.zip")
    with pytest.raises(DataError, match=rf"^{archive} holds other weights of googlenet than those that were published"):
        weights.path("googlenet", place)
    archived({"a.3x3.bias": arrays["a.3x3.bias"]}, archive)
    with pytest.raises(
        DataError, match=rf"^{archive} cannot be read as weights of googlenet \(KeyError: .*\): replace"
    ):
        weights.path("googlenet", place)
    archive.write_bytes(b"no archive")
    with pytest.raises(DataError, match=rf"^{archive} is not a complete tar or zip archive"):
        weights.path("googlenet", place)
    archived(arrays, archive)
    kept = weights.path("googlenet", place)
    kept.write_bytes(b"damaged")
    with pytest.raises(DataError, match=rf"^{kept} has the digest sha256:.* was expected: delete it, and try again\.$"):
        weights.path("googlenet", place)


def test_the_published_addresses() -> None:
    tar, model, repository = (one.file for one in weights.PUBLISHED["googlenet"])
    assert tar.name == "bvlc_googlenet.tar"
    assert model.urls == ("http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",)
    assert model.digest == "sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204", "as BVLC's readme has it"
    assert repository.urls[0].endswith("/chaosmail/caffejs/zip/d161d610145d6ce1ee4b9e44b10de780e8ecec2d")
    assert sum(math.prod(shape) for shape in googlenet.shapes().values()) * 4 == 27994208, "58 layers"
    assert len(googlenet.shapes()) == 116
