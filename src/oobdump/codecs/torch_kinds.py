"""torch's tensors, and its sizes, dtypes and devices, as bodies of numbers about bytes.

In: torch, as it was found among the loaded modules. Out: for its types how they are opened, and
for its kinds how they are revived. Only exact types: a subclass may have methods of its own, and
what is asked of a tensor is asked by the methods of torch's base class. The data of a contiguous
tensor in this machine's memory is not copied; of one on a device only what it is, is told:
to fetch it would wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from oobdump import linux
from oobdump.codecs.arrays import Array, array_from
from oobdump.codecs.kind import items_in, text_in
from oobdump.codecs.marked import mark
from oobdump.codecs.raw import Raw, Reference

__all__ = ["rows"]

Opens = Mapping[int, tuple[str, Callable[[Any], object]]]
Revives = Mapping[str, Callable[[Any], object]]

_NEEDED = ("Tensor", "Size", "dtype", "device", "frombuffer", "nn", "strided", "sparse_coo", "sparse_csr", "_C")
_EMPTY = memoryview(b"")

_WHOLE_QUANTA = ("qint8", "quint8", "qint32")
"""Those that torch gives as integers of their own; the others hold several in a byte."""

_COMPRESSED = {
    "sparse_csr": ("crow_indices", "col_indices"),
    "sparse_bsr": ("crow_indices", "col_indices"),
    "sparse_csc": ("ccol_indices", "row_indices"),
    "sparse_bsc": ("ccol_indices", "row_indices"),
}


def rows(torch: Any) -> tuple[Opens, Revives] | None:
    """What opens torch's types and revives its kinds; None while it is still being imported."""
    names = vars(torch)
    if any(name not in names for name in _NEEDED) or "Parameter" not in vars(torch.nn):
        return None
    base = torch._C.TensorBase  # noqa: SLF001 - where the methods are that no instance shadows
    open_tensor = partial(_open_tensor, torch, base)
    opens: Opens = {
        id(torch.Tensor): ("tensor", open_tensor),
        id(torch.nn.Parameter): ("tensor", lambda value: _marked_as_parameter(open_tensor(value))),
        id(torch.Size): ("torch.Size", lambda value: list(tuple.__iter__(value))),
        id(torch.dtype): ("torch.dtype", short_name),
        id(torch.device): ("torch.device", str),
    }
    revives: Revives = {
        "tensor": partial(_revive_tensor, torch),
        "torch.Size": lambda body: torch.Size(tuple(body)),
        "torch.dtype": partial(_dtype_named, torch),
        "torch.device": lambda body: torch.device(text_in(body)),
    }
    return opens, revives


def short_name(value: object) -> str:
    """``float32`` for ``torch.float32``; a layout's name too. Both are C types with a ``__repr__`` of their own."""
    return repr(value).removeprefix("torch.")


def _dtype_named(torch: Any, name: object) -> Any:
    found = vars(torch).get(text_in(name))
    if type(found) is not torch.dtype:
        raise ValueError(f"this torch has no dtype {name!r:.50}")
    return found


def _marked_as_parameter(body: Any) -> object:
    return {**body, "parameter": True} if type(body) is dict else body


# -- what a tensor is


def _open_tensor(torch: Any, base: Any, value: Any) -> object:
    get = partial(_get, base, value)
    body: dict[str, object] = {"dtype": short_name(get("dtype")), "shape": list(get("shape"))}
    if get("requires_grad"):
        body["requires_grad"] = True
    layout, device = short_name(get("layout")), str(get("device"))
    if layout != "strided":
        body["layout"] = layout
    if device != "cpu":
        body["device"] = device
        return body if device == "meta" else {**body, "why": "its data is on a device, and was not asked for"}
    if get("is_quantized"):
        return _quantized(torch, base, value, body)
    if get("is_mkldnn") or layout == "jagged":
        return {**body, "why": "its data has no form"}
    if layout == "strided":
        return _with_data(base, value, body)
    return {**body, **_parts(torch, base, value, layout)}


def _get(base: Any, value: Any, name: str) -> Any:
    return getattr(base, name).__get__(value)


def _call(base: Any, value: Any, name: str, *args: Any) -> Any:
    return getattr(base, name)(value, *args)


def _with_data(base: Any, value: Any, body: dict[str, object]) -> object:
    plain = _call(base, value, "detach")
    if _call(base, plain, "is_conj"):
        plain = _call(base, plain, "resolve_conj")
    if _call(base, plain, "is_neg"):
        plain = _call(base, plain, "resolve_neg")
    if not _call(base, plain, "is_contiguous"):
        turned = _call(base, plain, "permute", tuple(reversed(range(plain.dim()))))
        if _call(base, turned, "is_contiguous"):
            body, plain = {**body, "order": "F"}, turned
        else:
            plain = _call(base, plain, "contiguous")
    size = _call(base, plain, "numel") * _call(base, plain, "element_size")
    address = _call(base, plain, "data_ptr")
    if size and not address:
        return mark(value, "object", body, "its data has no place in memory")
    keep = (plain, _call(base, plain, "untyped_storage"))
    return {**body, "data": Raw(linux.memory_at(address, size, keep) if size else _EMPTY)}


def _quantized(torch: Any, base: Any, value: Any, body: dict[str, object]) -> dict[str, object]:
    if body["dtype"] not in _WHOLE_QUANTA or short_name(_call(base, value, "qscheme")) != "per_tensor_affine":
        return {**body, "why": "its data has no form"}
    scale, zero = _call(base, value, "q_scale"), _call(base, value, "q_zero_point")
    parts = {"int_repr": _open_tensor(torch, base, _call(base, value, "int_repr"))}
    return {**body, "parts": parts, "q_scale": scale, "q_zero_point": zero}


def _parts(torch: Any, base: Any, value: Any, layout: str) -> dict[str, object]:
    """A sparse tensor's are tensors of their own."""
    plain = _call(base, value, "detach")
    if layout == "sparse_coo":
        names: dict[str, str] = {"indices": "_indices", "values": "_values"}
    else:
        names = {name: name for name in (*_COMPRESSED[layout], "values")}
    parts = {part: _open_tensor(torch, base, _call(base, plain, method)) for part, method in names.items()}
    more = {"coalesced": True} if layout == "sparse_coo" and _call(base, plain, "is_coalesced") else {}
    return {"parts": parts, **more}


# -- and back


def _revive_tensor(torch: Any, body: Any) -> object:
    neutral = array_from("tensor", body)
    dtype = _dtype_named(torch, neutral.dtype)
    made = _made(torch, neutral, dtype)
    if made is None:
        return neutral
    if neutral.extra.get("parameter"):
        return torch.nn.Parameter(made, requires_grad=bool(neutral.extra.get("requires_grad")))
    return made.requires_grad_() if neutral.extra.get("requires_grad") else made


def _made(torch: Any, neutral: Array, dtype: Any) -> Any:
    """The tensor; None if its data is not here."""
    if neutral.extra.get("device") == "meta":
        return torch.empty(neutral.shape, dtype=dtype, device="meta")
    if "parts" in neutral.extra:
        return _made_of_parts(torch, neutral, dtype)
    if neutral.data is None or isinstance(neutral.data, Reference) or "device" in neutral.extra:
        return None
    if len(neutral.data) == 0:
        return torch.empty(neutral.shape, dtype=dtype)
    flat = torch.frombuffer(bytearray(neutral.data), dtype=torch.uint8).view(dtype)
    if neutral.order == "C":
        return flat.reshape(neutral.shape)
    return flat.reshape(neutral.shape[::-1]).permute(tuple(reversed(range(len(neutral.shape)))))


def _made_of_parts(torch: Any, neutral: Array, dtype: Any) -> Any:
    parts = {name: _revive_tensor(torch, part) for name, part in neutral.extra["parts"].items()}
    if any(type(part) is Array for part in parts.values()):
        return None
    if "int_repr" in parts:
        extra = neutral.extra
        return torch._make_per_tensor_quantized_tensor(  # noqa: SLF001 - there is no public one
            parts["int_repr"], float(extra["q_scale"]), int(extra["q_zero_point"])
        )
    layout = text_in(neutral.extra.get("layout"))
    if layout == "sparse_coo":
        coalesced = bool(neutral.extra.get("coalesced"))
        return torch.sparse_coo_tensor(
            parts["indices"], parts["values"], neutral.shape, dtype=dtype, is_coalesced=coalesced, check_invariants=True
        )
    inner = items_in([parts[name] for name in (*_COMPRESSED[layout], "values")])
    form = vars(torch)[layout]
    return torch.sparse_compressed_tensor(*inner, neutral.shape, dtype=dtype, layout=form, check_invariants=True)
