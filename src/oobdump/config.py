"""What can be set, and from where: an argument, else ``OOBDUMP_*``, else the default.

In: keyword arguments and the environment. Out: one frozen ``Settings``; ``ConfigError``
names the argument or variable, what it held and what would be right. The table of settings
in the docs is made from the fields below.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from oobdump import early
from oobdump.errors import ConfigError
from oobdump.request import DEFAULT_TIMEOUT_S, FORMATS, HANDLER_NAME, MAX_TIMEOUT_S

__all__ = ["Settings", "default_root", "fallback_dirs", "runtime_dir_candidates", "settings"]

SignalTable = Mapping[str, tuple[str, ...]]
"""Signal name to the handlers that it asks for."""

WATCH_MODES = ("auto", "events", "poll", "off")
DEFAULT_SIGNALS: SignalTable = {"SIGUSR1": ("stacks", "process")}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _setting(env: str, default: Any, text: str, read: Callable[[str], Any] = str) -> Any:
    made = {"default_factory": lambda: default} if isinstance(default, dict) else {"default": default}
    return field(metadata={"env": env, "help": text, "read": read}, **made)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("give a number above 0")
    return value


def _timeout(text: str) -> float:
    value = _positive(text)
    if value > MAX_TIMEOUT_S:
        raise ValueError(f"give seconds, up to {MAX_TIMEOUT_S:g}")
    return value


def _optional(text: str) -> str | None:
    return text or None  # a launcher that has nothing to say sets its variable to nothing


def _directory(text: str) -> str | None:
    return os.path.abspath(text) if text else None  # the program may change its directory later


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("give a whole number, 0 or more")
    return int(text)


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError("give true or false")
    return text.lower() in _TRUE


def _http(text: str) -> str:
    """``on`` and ``off`` in any of their spellings; an address as it is: the channel reads it."""
    if text.lower() in _TRUE + _FALSE:
        return "on" if text.lower() in _TRUE else "off"
    return text


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"give one of {', '.join(names)}")
        return text

    return read


def read_signals(text: str) -> SignalTable:
    """``SIGUSR1=stacks,process;SIGRTMIN+3=memory`` as a table; ``off`` as an empty one."""
    if text.strip().lower() in ("off", "none", ""):
        return {}
    table: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, (piece.strip() for piece in text.split(";"))):
        name, equals, handlers = entry.partition("=")
        names = tuple(filter(None, (handler.strip() for handler in handlers.split(","))))
        if not names:
            names = DEFAULT_SIGNALS["SIGUSR1"] if not equals else ()
        if not names:
            raise ValueError("give SIGNAL=handler,handler;… or off")
        _named(names)
        signal_number(name)
        table[name.strip()] = names
    return _each_once(table)


def _each_once(table: SignalTable) -> SignalTable:
    numbers = [signal_number(name) for name in table]
    for name, number in zip(table, numbers, strict=True):
        if numbers.count(number) > 1:
            raise ValueError(f"{name} stands twice: name all that it asks for at one place")
    return table


def signal_number(name: str) -> int:
    """The number of a signal by name (``SIGUSR1``, ``USR1``, ``SIGRTMIN+3``). Raises ``ValueError`` with advice."""
    bare = name.strip().upper().removeprefix("SIG")
    base, plus, offset = bare.partition("+")
    try:
        number = int(signal.Signals[f"SIG{base}"]) + (int(offset) if plus else 0)
    except (KeyError, ValueError):
        raise ValueError(f"there is no signal {name!r}: use a name such as SIGUSR1, SIGUSR2 or SIGRTMIN+3") from None
    if number in _NOT_OURS or number not in {int(s) for s in signal.valid_signals()}:
        raise ValueError(f"{name} cannot be a request signal: use SIGUSR1, SIGUSR2 or a real-time one (SIGRTMIN+3)")
    return number


_NOT_OURS = {int(getattr(signal, name)) for name in early.NOT_OURS if hasattr(signal, name)}


@dataclass(frozen=True)
class Settings:
    """How a worker is set up. Each field says its meaning and its variable in its metadata."""

    dir: str | None = _setting(
        "OOBDUMP_DIR", None, "root of the dumps; unset: a private directory of this user under /tmp", _directory
    )
    job: str | None = _setting("OOBDUMP_JOB", None, "name of the job; unset: from the launcher's variables", _optional)
    signals: SignalTable = _setting(
        "OOBDUMP_SIGNALS", dict(DEFAULT_SIGNALS), "request signals and what each asks for, or off", read_signals
    )
    share_signals: bool = _setting(
        "OOBDUMP_SHARE_SIGNALS",
        False,
        "whether a request signal is taken that the program handles already; its handler is then called too",
        _boolean,
    )
    format: str = _setting(
        "OOBDUMP_FORMAT", "json", "format of what a signal asks for: json, msgpack or pickle", _one_of(*FORMATS)
    )
    timeout_s: float = _setting(
        "OOBDUMP_TIMEOUT_S", DEFAULT_TIMEOUT_S, "seconds each handler of a signal's request may take", _timeout
    )
    grace_s: float = _setting(
        "OOBDUMP_GRACE_S", 2.5, "seconds a worker has to take a request before it is looked at from outside", _positive
    )
    watch: str = _setting(
        "OOBDUMP_WATCH", "auto", "how dropped files are noticed: auto, events, poll or off", _one_of(*WATCH_MODES)
    )
    poll_s: float = _setting(
        "OOBDUMP_POLL_S", 1.0, "seconds between looks where the file system delivers no events", _positive
    )
    store_timeout_s: float = _setting(
        "OOBDUMP_STORE_TIMEOUT_S",
        5.0,
        "seconds one write may take before the dump goes to the fallback directory",
        _positive,
    )
    runtime_dir: str | None = _setting(
        "OOBDUMP_RUNTIME_DIR", None, "node-local directory of the bells; unset: XDG_RUNTIME_DIR or /tmp", _directory
    )
    fallback_dir: str | None = _setting(
        "OOBDUMP_FALLBACK_DIR",
        None,
        "node-local directory for dumps that the root does not take; unset: /tmp, /var/tmp, /dev/shm",
        _directory,
    )
    keep: int = _setting("OOBDUMP_KEEP", 200, "requests whose dumps are kept; 0: all", _count)
    keep_s: float = _setting("OOBDUMP_KEEP_S", 7 * 86400.0, "seconds for which dumps are kept", _positive)
    keep_bytes: int = _setting("OOBDUMP_KEEP_BYTES", 8 * 2**30, "bytes of dumps kept for a job; 0: no bound", _count)
    http: str = _setting(
        "OOBDUMP_HTTP",
        "on",
        "where HTTP is served: on (a Unix socket beside the bell), off, unix:/PATH, tcp://HOST:PORT",
        _http,
    )
    http_token: str | None = _setting(
        "OOBDUMP_HTTP_TOKEN", None, "bearer token that HTTP requests must carry; needed for TCP", _optional
    )
    torch_server: str = _setting(
        "OOBDUMP_TORCH_SERVER",
        "auto",
        "PyTorch's own server beside ours, once torch is there: auto or off",
        _one_of("auto", "off"),
    )
    sentinel: str = _setting(
        "OOBDUMP_SENTINEL",
        "auto",
        "a process beside the workers of a node that answers for those that cannot: auto or off",
        _one_of("auto", "off"),
    )
    follow_fork: bool = _setting(
        "OOBDUMP_FOLLOW_FORK", True, "whether a forked child answers for itself; else it is disarmed", _boolean
    )
    durable: bool = _setting("OOBDUMP_DURABLE", False, "fsync each dump, against power loss", _boolean)


def settings(environ: Mapping[str, str] | None = None, /, **arguments: Any) -> Settings:
    """Arguments that are not None, else the environment, else the defaults. Raises ``ConfigError``."""
    environ = os.environ if environ is None else environ
    known = {item.name: item for item in fields(Settings)}
    for name in arguments:
        if name not in known:
            raise ConfigError(f"start() has no setting {name!r}: the settings are {', '.join(known)}")
    values = {}
    for name, item in known.items():
        if arguments.get(name) is not None:
            values[name] = _from_argument(name, arguments[name], item.metadata["read"])
        elif item.metadata["env"] in environ:
            values[name] = _read(item.metadata["env"], environ[item.metadata["env"]], item.metadata["read"])
    return Settings(**values)


def _from_argument(name: str, value: Any, read: Callable[[str], Any]) -> Any:
    """An argument as it stands in ``Settings``: texts and paths are read as a variable would be."""
    if name == "signals" and isinstance(value, Mapping):
        return _signals(value)
    if name == "signals" and value is False:
        return {}
    if isinstance(value, bool):
        value = "true" if value else "false"
    return _read(f"{name}=", str(os.fspath(value) if hasattr(value, "__fspath__") else value), read)


def _signals(given: Mapping[Any, Any]) -> SignalTable:
    """A table of signals from an argument; a signal may be given as ``signal.SIGUSR1`` too."""
    names = {str(getattr(key, "name", key)): value for key, value in given.items()}
    try:
        return _each_once({name: _handlers(name, value) for name, value in names.items()})
    except ValueError as error:
        raise ConfigError(f"signals=: {error}") from None


def _handlers(signal_name: str, names: Any) -> tuple[str, ...]:
    signal_number(signal_name)
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else ()
    if not found or not all(isinstance(name, str) and name for name in found):
        raise ValueError(f"{signal_name} asks for no handler: name at least one, such as 'stacks'")
    return _named(found)


def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not HANDLER_NAME.fullmatch(name):
            raise ValueError(f"{name!a} is no handler name: use letters, digits, '_' and '-'")
    return names


def _read(place: str, text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise ConfigError(f"{place} is {text!r}: {error}") from None


def default_root() -> str:
    """Where dumps go if nothing is said: per user, on this machine, and the same for worker and asker."""
    return f"/tmp/oobdump-{os.getuid()}"  # noqa: S108 - checked to be ours and private before it is used


def runtime_dir_candidates(given: str | None, environ: Mapping[str, str] | None = None) -> list[str]:
    """Where bells may be, best first. XDG_RUNTIME_DIR is often set and missing, so it is only a candidate."""
    if given:
        return [given]
    xdg = (os.environ if environ is None else environ).get("XDG_RUNTIME_DIR", "")
    return ([f"{xdg}/oobdump"] if xdg.startswith("/") else []) + [f"/tmp/oobdump-{os.getuid()}.run"]  # noqa: S108


def fallback_dirs(given: str | None) -> list[str]:
    """Where a dump goes that the root does not take, best first: other file systems, memory last."""
    if given:
        return [given]
    return [f"{place}/oobdump-{os.getuid()}.fallback" for place in ("/tmp", "/var/tmp", "/dev/shm")]  # noqa: S108
