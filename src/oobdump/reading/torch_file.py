"""A value as a file that ``torch.load(weights_only=True)`` reads, written without torch.

In: a decoded value. Out: the pieces of a zip archive as ``torch.save`` makes it: one pickle of
protocol 2, and a file for each array's bytes. Tensors become tensors, numpy's arrays become
tensors too; texts, numbers, lists and dicts are themselves, and what that loader refuses is its
tag, a dict of kind and body. Only this module knows that format; it never imports what it names.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from oobdump.codecs import model
from oobdump.codecs.arrays import Array
from oobdump.codecs.budget import DEFAULT, Purse
from oobdump.codecs.raw import Raw

__all__ = ["TORCH", "TorchFile", "torch_file"]

TORCH = "torch"
"""What the format is called where a format is chosen."""

_PROTOCOL = 2
"""Of the opcodes of later ones that loader knows few."""

_RECURSION = 20_000
_NAME = "archive"
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)

_DTYPES: Mapping[str, str] = MappingProxyType(
    {
        **{f"<f{size}": f"float{8 * size}" for size in (2, 4, 8)},
        **{f"<i{size}": f"int{8 * size}" for size in (2, 4, 8)},
        **{f"<u{size}": f"uint{8 * size}" for size in (2, 4, 8)},
        "|i1": "int8",
        "|u1": "uint8",
        "|b1": "bool",
        "<c8": "complex64",
        "<c16": "complex128",
    }
)
"""PyTorch's names for numpy's dtypes; it has none for others."""

_SIZES: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("bool", "uint8", "int8"), 1),
        **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
        **dict.fromkeys(("uint16", "int16", "float16", "bfloat16"), 2),
        **dict.fromkeys(("uint32", "int32", "float32", "complex32"), 4),
        **dict.fromkeys(("uint64", "int64", "float64", "complex64"), 8),
        "complex128": 16,
    }
)


_STORAGES: Mapping[str, str] = MappingProxyType(
    {
        "bool": "Bool",
        "uint8": "Byte",
        "int8": "Char",
        "int16": "Short",
        "int32": "Int",
        "int64": "Long",
        "float16": "Half",
        "bfloat16": "BFloat16",
        "float32": "Float",
        "float64": "Double",
        "complex64": "ComplexFloat",
        "complex128": "ComplexDouble",
    }
)
"""Classes of storages that have a dtype. Of others it is said beside them, in a way that has no ``requires_grad``."""


@dataclass(frozen=True)
class TorchFile:
    """The archive in pieces; how many tensors it has, and how many values are there as tags or marks only."""

    pieces: tuple[bytes | memoryview, ...]
    tensors: int
    tags: int
    unknown: int
    cut: int


def torch_file(value: object) -> TorchFile:
    """The file of a value; arrays in it are ``Array``s, as they are where no library is loaded."""
    purse = Purse(DEFAULT, DEFAULT.seconds)
    form = _Form(purse)
    tree = model.walk(value, form.form, purse)
    data = _pickled(tree, form.tensors)
    out: Any = _Out()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {"data.pkl": data, "byteorder": b"little", "version": b"3\n"}.items():
            archive.writestr(zipfile.ZipInfo(f"{_NAME}/{name}", _FIRST_DATE), content)
        for number, array in enumerate(form.tensors):
            archive.writestr(zipfile.ZipInfo(f"{_NAME}/data/{number}", _FIRST_DATE), memoryview(array.data))  # type: ignore[arg-type]
    return TorchFile(tuple(out.pieces), len(form.tensors), form.tags, purse.unknown, purse.cut)


class _Out:
    """Where the archive is written: in pieces, so that no array is copied; there is no way back."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []

    def write(self, data: bytes | memoryview) -> int:
        self.pieces.append(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Nothing is held back."""


class _Form:
    """What the pickle holds as it is; counts what it does not."""

    def __init__(self, purse: Purse) -> None:
        self.tensors: list[Array] = []
        self.tags = 0
        leaves: dict[int, Callable[[Any], bool]] = {
            id(cls): model.always for cls in (type(None), bool, int, float, bytes)
        }
        keys = frozenset({*leaves, id(str)})
        leaves |= {id(str): model.is_unicode, id(Raw): model.always, id(Array): self._is_tensor}
        self._purse = purse
        self.form = model.Form(MappingProxyType(leaves), keys, self._tag)

    def _tag(self, kind: str) -> dict[str, Any]:
        self.tags += 1
        return model.empty_tag(kind)

    def _is_tensor(self, array: Array) -> bool:
        """Whether PyTorch has its dtype, and its bytes are here, all of them."""
        size = _SIZES.get(_torch_name(array.dtype), 0)
        data = array.data
        if not size or not isinstance(data, (bytes, bytearray, memoryview)):
            return False
        fits = memoryview(data).nbytes == size * math.prod(array.shape)
        if fits:
            self.tensors.append(array)
        return fits


def _torch_name(dtype: object) -> str:
    return _DTYPES.get(dtype, dtype) if type(dtype) is str else ""


# -- the pickle --------------------------------------------------------------------------------------------------------


class _Global:
    """A name in a module that is not imported here."""

    def __init__(self, module: str, name: str) -> None:
        self.place = f"{module}\n{name}\n".encode("ascii")

    def __call__(self) -> None:
        """The pickler wants what it writes as a function to be callable."""


@dataclass(frozen=True)
class _Storage:
    """Elements that are in a file of their own; of no class, bytes."""

    key: int
    count: int
    of: str


_REBUILD_TYPED = _Global("torch._utils", "_rebuild_tensor_v2")
_REBUILD = _Global("torch._utils", "_rebuild_tensor_v3")
_PARAMETER = _Global("torch._utils", "_rebuild_parameter")
_STORAGE = _Global("torch.storage", "UntypedStorage")


_Opcodes: Any = pickle._Pickler  # noqa: SLF001 - the one whose opcodes can be chosen


class _Pickler(_Opcodes):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, tensors: list[Array]) -> None:
        super().__init__(file, _PROTOCOL)
        self._numbers = {id(array): number for number, array in enumerate(tensors)}

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:  # noqa: FBT001, FBT002 - pickle's signature
        """Writes names and tensors; all else as the library does."""
        if type(obj) is _Global:
            return self.write(pickle.GLOBAL + obj.place)
        if type(obj) is Array:
            return self._tensor(obj)
        if type(obj) in (Raw, memoryview):  # of an array that is tagged
            return self.save(bytes(obj.data if type(obj) is Raw else obj))
        return super().save(obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> Any:
        """A storage, by the file that it is in."""
        if type(obj) is not _Storage:
            return None
        cls = _Global("torch", f"{obj.of}Storage") if obj.of else _STORAGE
        return "storage", cls, str(obj.key), "cpu", obj.count

    def _tensor(self, array: Array) -> None:
        needs_grad = array.extra.get("requires_grad") is True
        if array.extra.get("parameter") is not True:
            self.save_reduce(*self._rebuilt(array, needs_grad=needs_grad))
            return
        self.save(_PARAMETER)
        self.write(pickle.MARK)
        self.save_reduce(*self._rebuilt(array, needs_grad=False))
        self.save(needs_grad)
        self.save(OrderedDict())
        self.write(pickle.TUPLE + pickle.REDUCE)

    def _rebuilt(self, array: Array, *, needs_grad: bool) -> tuple[_Global, tuple[object, ...]]:
        """What makes the tensor, and of what."""
        number, name = self._numbers[id(array)], _torch_name(array.dtype)
        of = _STORAGES.get(name, "")
        count = math.prod(array.shape) * (1 if of else _SIZES[name])
        hooks: OrderedDict[str, object] = OrderedDict()
        args = (_Storage(number, count, of), 0, tuple(array.shape), _strides(array), needs_grad and bool(of), hooks)
        return (_REBUILD_TYPED, args) if of else (_REBUILD, (*args, _Global("torch", name)))


def _strides(array: Array) -> tuple[int, ...]:
    """Elements from one to the next, in each dimension."""
    sizes = array.shape if array.order == "F" else array.shape[::-1]
    strides, step = [], 1
    for size in sizes:
        strides.append(step)
        step *= max(size, 1)
    return tuple(strides if array.order == "F" else strides[::-1])


def _pickled(tree: Any, tensors: list[Array]) -> bytes:
    file = io.BytesIO()
    _Pickler(file, tensors).dump(tree)
    return file.getvalue()
