"""What else PyTorch knows of itself: ``wait_counter_values`` and ``cuda_memory``.

In: PyTorch's wait counters (its C++ handler) and its CUDA allocator's counters. Out: PyTorch's JSON,
and plain data. The rule only this module keeps: nothing here touches a device. The allocator's
counters are numbers of the process; whatever asks the driver (free memory, the device's name)
may wait for a GPU that hangs, and initialises CUDA in a process that never used it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from oobdump.handlers.plain import Readings, text
from oobdump.handlers.torch_objects import NotInTorch, c10d, call, control_plane, torch
from oobdump.identity import now_iso
from oobdump.request import HandlerRequest
from oobdump.response import HandlerResponse

__all__ = ["cuda_memory", "wait_counter_values"]


def wait_counter_values(request: HandlerRequest, response: HandlerResponse) -> None:
    """PyTorch's wait counters as JSON: calls, time in all, longest, and how many wait now."""
    c10d()
    module = control_plane()
    if module is None or "wait_counter_values" not in module._get_handler_names():  # noqa: SLF001 - PyTorch names it so
        raise NotInTorch(f"this PyTorch ({_version()}) has no wait counters")
    call(module, module._get_handler("wait_counter_values"), request, response)  # noqa: SLF001 - see above


def cuda_memory() -> dict[str, Any]:
    """The CUDA allocator's counters by device, without asking a device; says so on a CPU build."""
    found = torch()
    readings = Readings()
    built = _built(found)
    ready = bool(built and readings.take("initialized", found.cuda.is_initialized))
    devices = readings.take("devices", lambda: _devices(found)) if ready else []
    return {
        "schema_version": 1,
        "pid": os.getpid(),
        "taken_at": now_iso(),
        "torch": _version(),
        "built": built,
        "initialized": ready,
        "note": _note(built=built, ready=ready),
        "devices": devices,
        "problems": readings.problems,
    }


def _built(found: Any) -> str | None:
    """The version of CUDA or ROCm that this PyTorch was built with; None for a CPU build."""
    version = sys.modules.get("torch.version") or getattr(found, "version", None)
    for name in ("cuda", "hip"):
        value = getattr(version, name, None)
        if isinstance(value, str):
            return f"{name} {value}"
    return None


def _note(*, built: str | None, ready: bool) -> str:
    if built is None:
        return "this PyTorch was built without CUDA: there is no CUDA memory"
    return "" if ready else "CUDA is not initialised in this process: it holds no CUDA memory"


def _devices(found: Any) -> list[dict[str, Any]]:
    """The counters of each device that the allocator knows; the number of devices is what PyTorch remembers."""
    stats = found._C._cuda_memoryStats  # noqa: SLF001 - torch.cuda.memory_stats counts devices through the driver
    count = getattr(sys.modules.get("torch.cuda"), "_cached_device_count", None) or 1
    return [{"device": device, "stats": _plain(stats(device))} for device in range(count)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {text(str(key)): _plain(item) for key, item in value.items()}
    return value if isinstance(value, (int, float)) else text(str(value))


def _version() -> str:
    return text(str(getattr(sys.modules.get("torch"), "__version__", "of unknown version")))
