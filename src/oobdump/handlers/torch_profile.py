"""``torch_profile``: what every thread computes for some seconds, as a trace for Perfetto or Chrome.

In: a duration. Out: the JSON that PyTorch's profiler writes. The rules only this module keeps: the
profiler below ``torch.profiler`` is used, because the one above imports torch._inductor when it
starts; only one profiler runs in a process, and the program's own wins; no device is waited for
unless ``cuda=true`` asks for kernels too. The trace goes through a private directory, in memory
where there is one, because PyTorch writes it to a path and nowhere else.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from oobdump.errors import OobdumpError
from oobdump.handlers.torch_objects import NotInTorch, torch
from oobdump.request import MAX_TIMEOUT_S, HandlerRequest
from oobdump.response import HandlerResponse

__all__ = ["Busy", "torch_profile"]

DEFAULT_DURATION_S = 1.0
"""Some training steps; well within a request's default deadline."""

_PLACES = ("/dev/shm", "/tmp", "/var/tmp")  # noqa: S108 - a directory of mode 0700 is made there
_BOOLEANS = {"": False, "true": True, "1": True, "false": False, "0": False}
_count = itertools.count(1)


class Busy(OobdumpError):
    """Another profiler runs in this process: a second one would end it."""

    code = 409


def torch_profile(request: HandlerRequest, response: HandlerResponse) -> None:
    """A trace of all threads for ``duration`` seconds, by PyTorch's profiler; ``cuda`` adds kernels and waits."""
    torch()
    duration_s, wrong = _duration_s(request.get_param("duration"))
    cuda = _BOOLEANS.get(request.get_param("cuda"))
    if wrong or cuda is None:
        response.set_content(wrong or "Invalid value for cuda valid values are true or false", "text/plain")
        response.set_status(400)
        return
    profiler, config = _profiler()
    with profiler.profile(use_kineto=True, record_shapes=True, **_device(cuda=cuda), **config) as found:
        time.sleep(duration_s)
    response.set_content(_saved(found.kineto_results.save), "application/json")
    response.set_status(200)


def _duration_s(given: str) -> tuple[float, str]:
    """The duration, and what is wrong with it."""
    try:
        seconds = float(given or DEFAULT_DURATION_S)
    except ValueError:
        seconds = 0.0
    fine = 0 < seconds <= MAX_TIMEOUT_S
    return seconds, "" if fine else f"Invalid value for duration valid values are above 0 up to {MAX_TIMEOUT_S:g} (s)"


def _profiler() -> tuple[Any, dict[str, Any]]:
    """PyTorch's profiler and how it sees all threads, where this release can."""
    below, bindings = sys.modules.get("torch.autograd.profiler"), sys.modules.get("torch._C._profiler")
    if below is None or not hasattr(below, "profile"):
        raise NotInTorch("torch's profiler is not loaded in this process")
    if getattr(below, "_is_profiler_enabled", False):
        raise Busy("a profiler of the program's own runs already, and a second one would end it: ask again later")
    try:
        return below, {"experimental_config": bindings._ExperimentalConfig(profile_all_threads=True)}  # type: ignore[union-attr]  # noqa: SLF001 - PyTorch names it so
    except (AttributeError, TypeError):
        return below, {}


def _device(*, cuda: bool) -> dict[str, Any]:
    return {"use_device": "cuda"} if cuda else {}


def _saved(save: Callable[[str], object]) -> bytes:
    """What ``save`` writes to a path."""
    with _scratch() as directory:
        path = f"{directory}/trace.json"
        save(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(iter(lambda: os.read(descriptor, 2**20), b""))
        finally:
            os.close(descriptor)


@contextmanager
def _scratch() -> Iterator[str]:
    directory = _made()
    try:
        yield directory
    finally:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)


def _made() -> str:
    problems = []
    for place in _PLACES:
        directory = f"{place}/oobdump-trace.{os.getpid()}.{time.time_ns()}.{next(_count)}"
        try:
            os.mkdir(directory, 0o700)
        except OSError as error:
            problems.append(str(error))
        else:
            return directory
    raise OobdumpError(f"no directory for the trace: {'; '.join(problems)}")
