"""A gunicorn master with one worker; SIGUSR1 has each of them open its log files anew, as logrotate wants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from _neighbour import arm, note, ready
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

MASTER = os.getpid()
DIRECTORY = Path(os.environ["NOTES"]).parent


class NotingLogger(Logger):
    """Notes what logrotate relies on: the files were opened anew, and in which process."""

    def reopen_files(self) -> None:
        """Opens them, then notes it."""
        super().reopen_files()
        note("reopened", "master" if os.getpid() == MASTER else "worker", (DIRECTORY / "error.log").exists())


def answer(_environ: Any, start_response: Any) -> list[bytes]:
    """The application."""
    start_response("200 OK", [])
    return [b"ok"]


def after_start(_worker: Any) -> None:
    """In the worker, when it has installed its handlers."""
    arm("last")
    ready()


class Server(BaseApplication):
    """The whole configuration."""

    def load_config(self) -> None:
        """On a Unix socket, so that no port is needed."""
        self.cfg.set("bind", f"unix:{DIRECTORY}/socket")
        self.cfg.set("workers", 1)
        self.cfg.set("errorlog", f"{DIRECTORY}/error.log")
        self.cfg.set("logger_class", NotingLogger)
        self.cfg.set("post_worker_init", after_start)
        self.cfg.set("control_socket_disable", True) if "control_socket_disable" in self.cfg.settings else None

    def load(self) -> Any:
        """The application."""
        return answer


if __name__ == "__main__":
    arm("first")
    Server().run()
