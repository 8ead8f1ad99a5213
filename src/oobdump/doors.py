"""The ways in that need sockets: our HTTP server, and PyTorch's registry and server beside it.

In: settings, and where a worker's sockets may be. Out: open doors, or in words why there is
none; a worker without sockets answers files and signals all the same. The rule only this
module keeps: no door opens onto TCP without a token, and nothing here can stop ``start()``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from oobdump.channels.http_deadlines import Alarms
from oobdump.channels.http_listen import TcpAddress, UnixAddress, parse_address, socket_path
from oobdump.channels.http_routes import Routes, Submit
from oobdump.channels.http_server import HttpServer
from oobdump.codecs import Codec
from oobdump.config import Settings
from oobdump.errors import ConfigError, OobdumpError
from oobdump.registry import Registry
from oobdump.slots import Slots
from oobdump.torch_bridge import TorchBridge

__all__ = ["Doors", "check"]


def check(settings: Settings) -> None:
    """Whether the HTTP settings make sense. Raises ``ConfigError``."""
    if settings.http in ("on", "off"):
        return
    if isinstance(parse_address(settings.http), TcpAddress) and not settings.http_token:
        raise ConfigError(
            f"http is {settings.http!r}, and a TCP port is open to whoever reaches it: set OOBDUMP_HTTP_TOKEN "
            "(or http_token=), or use a Unix socket (http='on')"
        )


class Doors:
    """The sockets of one worker. ``open`` and ``close`` once each; ``on_change`` is called when torch has come."""

    def __init__(self, settings: Settings, runtime: tuple[str, str, str] | None) -> None:
        """``runtime`` is the runtime directory, the job and the worker, None where there is no such directory."""
        self._settings = settings
        self._runtime = runtime
        self._http: HttpServer | None = None
        self._why_no_http = "by setting"
        self._torch = TorchBridge(settings.torch_server)
        self.problems: list[str] = []

    def open(
        self,
        registry: Registry,
        codecs: Mapping[str, Codec],
        slots: Slots,
        submit: Submit,
        alarms: Alarms,
        on_change: Callable[[], None],
    ) -> None:
        """Opens what the settings want and this machine allows."""
        try:
            self._open_http(Routes(registry, codecs, slots, submit, self._settings.http_token), alarms)
        except (OSError, OobdumpError) as error:
            self._why_no_http = str(error)
            self.problems.append(f"no HTTP: {error}")

        def changed() -> None:
            self._note_torch()
            on_change()

        self._torch.on_change = changed
        self._torch.attach(registry, self._path("torch."))
        self._note_torch()

    def close(self) -> None:
        """Closes them, and removes what they made."""
        self._torch.detach()
        self._note_torch()
        if self._http is not None:
            self._http.stop()

    def leave(self) -> None:
        """At exit."""
        self._torch.leave()
        if self._http is not None:
            self._http.stop(0.0)

    def forget(self) -> None:
        """In a forked child: lets go of the parent's sockets, touching nothing of the parent's."""
        self._torch.forget()
        if self._http is not None:
            self._http.forget()

    def describe(self) -> dict[str, Any]:
        """What the roster says of them."""
        http = {"off": self._why_no_http} if self._http is None else self._http.describe()
        return {"http": http, "torch": self._torch.describe()}

    def _note_torch(self) -> None:
        """What went wrong there so far: torch may come, or not be let go of, later."""
        self.problems += [problem for problem in self._torch.problems if problem not in self.problems]

    def _open_http(self, routes: Routes, alarms: Alarms) -> None:
        wanted, path = self._settings.http, self._path("")
        if wanted == "off":
            return
        if wanted == "on" and path is None:
            self._why_no_http = "no directory for its socket"
            return
        address = UnixAddress(path or "") if wanted == "on" else parse_address(wanted)
        server = HttpServer(address, routes.plan, alarms)
        if not server.start():
            server.stop(0.0)
            self._why_no_http = "no thread can be started"
            return
        self._http = server

    def _path(self, prefix: str) -> str | None:
        if self._runtime is None:
            return None
        directory, job, worker = self._runtime
        return socket_path(directory, job, f"{prefix}{worker}") if os.path.isdir(directory) else None
