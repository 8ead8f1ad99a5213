"""Arrays of numpy and PyTorch, as other programs and our own readers without those libraries have them."""

from __future__ import annotations

import importlib.util
import math
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from oobdump import codecs
from oobdump.cli import app

READER = Path(__file__).resolve().parents[2] / "tools" / "read_tags.js"

NAMES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)

pytestmark = pytest.mark.torch


def tensors() -> dict:
    """One tensor of each dtype with every bit pattern that 256 bytes have, and some of other shapes."""
    import torch

    raw = torch.arange(256, dtype=torch.uint8)
    found = {name: raw.clone().view(getattr(torch, name)).reshape(4, -1) for name in NAMES if name != "bool"}
    found["bool"] = raw > 100
    found["transposed"] = torch.arange(6.0).reshape(2, 3).t()
    found["strided"] = torch.arange(12.0)[::2]
    found["zero-d"] = torch.tensor(2.5)
    found["empty"] = torch.empty(0, 3)
    found["grad"] = torch.ones(2, requires_grad=True)
    found["parameter"] = torch.nn.Parameter(torch.ones(2))
    found["large"] = torch.arange(100_000.0)
    return found


def run(*words):
    """A command line in this process, which has torch."""
    return CliRunner().invoke(app, [str(word) for word in words])


def written(place: Path, value, name: str) -> Path:
    """The file of a value, and its side part if it has one."""
    codec = codecs.get(name)
    made = codec.encode_parts(value)
    path = place / f"part.{codec.suffix}"
    path.write_bytes(made.data)
    if made.bulk:
        path.with_name(f"{path.name}.bin").write_bytes(b"".join(made.bulk))
    return path


def same(first, second) -> bool:
    """Whether two tensors are the same, bit for bit."""
    import torch

    bits = [tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist() for tensor in (first, second)]
    return (first.dtype, first.shape, *bits[:1]) == (second.dtype, second.shape, *bits[1:])


@pytest.mark.parametrize("name", codecs.names())
def test_torch_loads_what_is_converted_for_it(tmp_path, name):
    """``torch.load(weights_only=True)`` has every tensor, bit for bit, from each format, and the values beside them."""
    import torch

    value = {**tensors(), "step": 7, "names": ["a", "b"], "rate": 0.1, "nothing": None, "raw": b"\0\xff"}
    path = written(tmp_path, value, name)
    done = run("convert", path, "--to", "torch", "-o", tmp_path / "new.pt", "--trust")
    assert done.exit_code == 0, done.stderr
    loaded = torch.load(tmp_path / "new.pt", weights_only=True)
    assert list(loaded) == list(value)
    for key, tensor in tensors().items():
        assert same(loaded[key], tensor), key
        assert (type(loaded[key]), loaded[key].requires_grad) == (type(tensor), tensor.requires_grad)
    assert {key: loaded[key] for key in list(value)[-5:]} == {key: value[key] for key in list(value)[-5:]}


def test_what_torch_refuses_is_tagged_and_said(tmp_path):
    """A tuple, a tensor without data: dicts of kind and body; exit code 1."""
    import torch

    path = written(tmp_path, {"pair": (1, 2), "meta": torch.ones(3, device="meta")}, "json")
    done = run("convert", path, "--to", "torch", "-o", tmp_path / "new.pt")
    assert done.exit_code == 1
    assert "2 values are of types that torch.load(weights_only=True) refuses" in done.stderr
    loaded = torch.load(tmp_path / "new.pt", weights_only=True)
    assert loaded["pair"] == {"$oobdump": "tuple", "v": [1, 2]}


def figures(line: str) -> dict[str, float]:
    """min, max, mean and NaN of a line of ``show``."""
    found = re.findall(r"\b(min|max|mean|NaN) (\S+)", line)
    return {name: {"true": 1.0, "false": 0.0}.get(text) or float(text.replace("false", "0")) for name, text in found}


@pytest.mark.parametrize("name", ["json", "msgpack", "pickle"])
def test_show_computes_what_torch_computes(tmp_path, name):
    """Least, largest, mean and NaN of every dtype and shape, from the file alone."""
    import torch

    path = written(tmp_path, tensors(), name)
    lines = dict(line.split(": ", 1) for line in run("show", path, "--trust", "--full").stdout.splitlines()[1:])
    for key, tensor in tensors().items():
        line = lines[key] if key in lines else lines[f'"{key}"']
        assert line.startswith(f"tensor {str(tensor.dtype)[6:]} {list(tensor.shape)}")
        if tensor.dtype.is_complex or not tensor.numel():
            continue
        every = tensor.detach().to(torch.float64).reshape(-1).tolist()
        numbers = [number for number in every if not math.isnan(number)]
        told = figures(line)
        assert told["NaN"] == tensor.numel() - len(numbers), key
        assert told["min"] == pytest.approx(min(numbers), rel=1e-5), key
        assert told["max"] == pytest.approx(max(numbers), rel=1e-5), key
        if all(map(math.isfinite, numbers)) and max(map(abs, numbers)) < 1e300:
            assert told["mean"] == pytest.approx(math.fsum(numbers) / len(numbers), rel=1e-4, abs=1e-6), key


def test_show_needs_neither_numpy_nor_torch(tmp_path):
    """The command and the process that reads for it import none of them."""
    path = written(tmp_path, tensors(), "json")
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('numpy', 'torch')))\n"
        "from oobdump.cli import app\n"
        f"app.main(['show', {str(path)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bfloat16 [4, 32]: min " in done.stdout


def test_node_reads_tensors(node, tmp_path):
    """dtype, shape, order and each byte; of a large one from the side part."""
    from plain import json_text

    value = list(tensors().values())
    path = written(tmp_path, value, "json")
    assert path.with_name("part.json.bin").exists()
    done = subprocess.run([node, READER, path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == json_text(value)


def test_msgpack_in_node_reads_tensors(node, msgpack_peer, tmp_path):
    """The same, through the extension type."""
    from plain import msgpack_text

    value = [tensor for name, tensor in tensors().items() if name != "large"]
    document = codecs.get("msgpack").encode(value)
    path = tmp_path / "documents"
    path.write_bytes(struct.pack(">I", len(document)) + document)
    done = subprocess.run([node, msgpack_peer, path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == msgpack_text(value)


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")
def test_arrays_of_numpy_are_shown_and_become_tensors(tmp_path):
    """Records, times, texts, objects, Fortran order; those that PyTorch has a dtype for are tensors in its file."""
    import numpy as np
    import torch

    value = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "record": np.array([(1, 2.5)], dtype=[("a", "<i2"), ("b", "<f4", (2,))]),
        "time": np.array(["2026-01-02", "NaT"], dtype="<M8[D]"),
        "text": np.array(["a\x1b[31m", "bc"]),
        "object": np.array([{1: 2}, None], dtype=object),
        "scalar": np.float32(1.5),
    }
    path = written(tmp_path, value, "msgpack")
    lines = run("show", path, "--full").stdout
    for seen in (
        "fortran: ndarray <f8 [2, 3] Fortran order: min 0 max 5 mean 2.5 NaN 0 [0, 3, 1, 4, 2, 5]",
        "(1, (2.5, 2.5))",
        "min 2026-01-02T00:00:00 max 2026-01-02T00:00:00 NaN 1",
        r"'a\x1b[31m'",
        "ndarray |O [2]",
        "scalar: npscalar <f4 []: min 1.5",
    ):
        assert seen in lines
    assert run("convert", path, "--to", "torch", "-o", tmp_path / "new.pt").exit_code == 1
    loaded = torch.load(tmp_path / "new.pt", weights_only=True)
    assert loaded["fortran"].tolist() == value["fortran"].tolist()
    assert loaded["scalar"].item() == 1.5
