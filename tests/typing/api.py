"""Uses of the public names as a user would write them: checked by mypy, never run.

In: ``import oobdump``. Out: nothing; ``assert_type`` says what each call must give. A change
here is a change for users.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oobdump

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


@oobdump.handler
def optimizer_state(*, device: int = 0, full: bool = False) -> dict[str, float]:
    """A handler that returns a value."""
    return {"lr": 0.1 * device, "full": full}


@oobdump.handler("loader")
def loader_state(request: oobdump.HandlerRequest, response: oobdump.HandlerResponse) -> None:
    """A handler that fills a response."""
    assert_type(request.body(), bytes)
    assert_type(request.params(), dict[str, str])
    response.set_content(request.get_param("worker"), "text/plain")
    response.set_content(b"\0", "application/octet-stream")
    response.set_status(200)


def decorated_functions_keep_their_types() -> None:
    """A decorator gives the function back as it was."""
    assert_type(optimizer_state(device=1), dict[str, float])
    optimizer_state(device="1")  # type: ignore[arg-type]


def registration_by_call() -> None:
    """The same registry, without a decorator."""
    oobdump.register_handler("again", optimizer_state)
    assert_type(oobdump.get_handler("again"), Callable[..., Any])
    assert_type(oobdump.get_handler_names(), list[str])


def arming() -> None:
    """Every argument of ``start()`` can be left out."""
    assert_type(oobdump.start(), oobdump.Worker)
    oobdump.start(dir=Path("/shared/dumps"), job="myjob", format="msgpack")
    oobdump.start(dir="/shared/dumps", signals={"SIGUSR2": ("stacks", "process")}, timeout_s=5)
    oobdump.start(signals=False, watch="poll", poll_s=0.5, keep=10, durable=True)
    oobdump.start(colour="red")  # type: ignore[call-arg]
    oobdump.stop()


def dumping_from_inside() -> None:
    """The result is the path of the committed dump."""
    assert_type(oobdump.dump(), str)
    assert_type(oobdump.dump("stacks", "memory", format="pickle", timeout_s=2.5), str)


def reading_a_response(request: oobdump.Request, response: oobdump.Response) -> list[str]:
    """What travels is frozen."""
    request.timeout_s = 1.0  # type: ignore[misc]
    assert_type(response.worker, str)
    return [part.handler for part in response.parts if part.status != "ok"]


assert_type(oobdump.__version__, str)


@oobdump.worker_main
def train(steps: int) -> float:
    """A program's main function, served and armed while it runs."""
    return steps / 2


def pytorchs_names() -> None:
    """``worker_main`` in its forms, and a server by hand."""
    assert_type(train(3), float)
    with oobdump.worker_main():
        pass
    server = oobdump.WorkerServer("127.0.0.1", 0)
    assert_type(server.port, int)
    server.shutdown()
