"""Settings: an argument, else the variable, else the default; anything else is said with its place."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.config import Settings, default_root, fallback_dirs, runtime_dir_candidates, settings, signal_number
from oobdump.errors import ConfigError
from oobdump.request import MAX_TIMEOUT_S, HandlerCall, Request

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
VARIABLES = {name: field.metadata["env"] for name, field in FIELDS.items()}

EXAMPLES = {
    "dir": ("/a", "/a"),
    "job": ("j", "j"),
    "signals": ("SIGUSR2=ping,stacks;SIGRTMIN+3=memory", {"SIGUSR2": ("ping", "stacks"), "SIGRTMIN+3": ("memory",)}),
    "share_signals": ("yes", True),
    "format": ("pickle", "pickle"),
    "timeout_s": ("2.5", 2.5),
    "watch": ("poll", "poll"),
    "poll_s": ("0.25", 0.25),
    "grace_s": ("1.5", 1.5),
    "store_timeout_s": ("1", 1.0),
    "runtime_dir": ("/r", "/r"),
    "fallback_dir": ("/f", "/f"),
    "keep": ("7", 7),
    "keep_s": ("60", 60.0),
    "keep_bytes": ("0", 0),
    "http": ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
    "http_token": ("secret", "secret"),
    "torch_server": ("off", "off"),
    "sentinel": ("off", "off"),
    "follow_fork": ("no", False),
    "durable": ("1", True),
}
"""For each setting a text that is not its default, and what it means."""


# -- where a value comes from ----------------------------------------------------------------------------------------


def test_every_setting_has_an_example_here():
    """No setting is added without a test."""
    assert EXAMPLES.keys() == FIELDS.keys()
    assert all(field.metadata["help"] for field in FIELDS.values())
    assert all(variable.startswith("OOBDUMP_") for variable in VARIABLES.values())
    assert len(set(VARIABLES.values())) == len(VARIABLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_setting_is_read_from_its_variable_and_its_argument(name):
    """Variable and argument mean the same, the argument wins, and other settings stay at their defaults."""
    text, value = EXAMPLES[name]
    expected = dataclasses.replace(Settings(), **{name: value})
    assert settings({VARIABLES[name]: text}) == expected != Settings()
    assert settings({}, **{name: text}) == expected
    assert settings({VARIABLES[name]: "nonsense\0"}, **{name: value}) == expected


def test_defaults():
    """Nothing set is the default, and None is nothing."""
    assert settings({}) == settings({}, **dict.fromkeys(FIELDS)) == Settings()
    assert Settings().signals == {"SIGUSR1": ("stacks", "process")}


def test_the_environment_is_read_by_default(monkeypatch):
    """Without a mapping it is the process's own."""
    monkeypatch.setenv("OOBDUMP_KEEP", "3")
    assert settings().keep == 3


def test_settings_are_frozen():
    """Nobody changes them under a running worker."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().keep = 1


@pytest.mark.parametrize(
    ("given_http", "expected"),
    [("1", "on"), ("True", "on"), (True, "on"), ("off", "off"), ("", "off"), (False, "off"), ("unix:/a", "unix:/a")],
)
def test_http_is_a_switch_or_an_address(given_http, expected):
    """Any spelling of on and off, as a text or as a boolean; an address stays as it is."""
    assert settings({}, http=given_http).http == expected


# -- what is refused -------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(sorted(VARIABLES.values())), st.text(max_size=15), max_size=3))
def test_any_text_is_a_setting_or_a_config_error_that_names_its_place(environ):
    """No variable makes ``start()`` raise anything but ``ConfigError``, which says which one it was."""
    try:
        settings(environ)
    except ConfigError as error:
        assert any(str(error).startswith(name) for name in environ)  # noqa: PT017 - it depends on the text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("format", "xml"),
        ("timeout_s", "0"),
        ("timeout_s", "-1"),
        ("timeout_s", "nan"),
        ("timeout_s", "inf"),
        ("timeout_s", "soon"),
        ("timeout_s", str(MAX_TIMEOUT_S + 1)),
        ("watch", "inotify"),
        ("keep", "-1"),
        ("keep", "1.5"),
        ("keep", ""),
        ("durable", "maybe"),
        ("signals", "SIGUSR1=stacks;USR1=ping"),
        ("signals", "SIGKILL"),
        ("signals", "SIGUSR1="),
        ("signals", "SIGUSR1=,"),
        ("signals", "=stacks"),
        ("signals", "stacks"),
    ],
)
def test_refuses(name, text):
    """What makes no sense stops ``start()``, whether it came as an argument or in a variable."""
    with pytest.raises(ConfigError, match=VARIABLES[name]):
        settings({VARIABLES[name]: text})
    with pytest.raises(ConfigError, match=f"^{name}="):
        settings({}, **{name: text})


@pytest.mark.parametrize(
    "signals",
    [
        {"SIGUSR1": ()},
        {"SIGUSR1": ("",)},
        {"SIGUSR1": 5},
        {"SIGUSR1": (5,)},
        {"SIGSEGV": "stacks"},
        {10: "stacks"},
        {"SIGUSR1": "stacks", "usr1": "process"},
        True,
        5,
    ],
)
def test_refuses_signals(signals):
    """So does a table of signals that asks for nothing, or for one signal twice."""
    with pytest.raises(ConfigError, match=r"^signals="):
        settings({}, signals=signals)


def test_an_unknown_setting_is_refused_with_the_known_ones():
    """A misspelt argument is not ignored."""
    with pytest.raises(ConfigError, match="timeout_s"):
        settings({}, timeout=5)


@given(st.floats(0, exclude_min=True))
def test_a_timeout_that_is_taken_makes_a_request(seconds):
    """Whatever timeout ``start()`` takes, the signal's request can have: it does not fail when the signal comes."""
    try:
        chosen = settings({}, timeout_s=seconds)
    except ConfigError:
        assert seconds > MAX_TIMEOUT_S
    else:
        Request((HandlerCall("stacks"),), timeout_s=chosen.timeout_s)


@pytest.mark.parametrize("name", ["a/b", "../x", "a b"])
def test_a_handler_that_cannot_exist_is_refused_at_start(name):
    """A name that no handler can have would make every answer to the signal fail."""
    with pytest.raises(ConfigError):
        settings({"OOBDUMP_SIGNALS": f"SIGUSR1={name}"})


# -- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("off", {}),
        ("", {}),
        ("NONE", {}),
        ("SIGUSR1", {"SIGUSR1": ("stacks", "process")}),
        ("usr1=ping", {"usr1": ("ping",)}),
        (" SIGUSR1 = stacks , ping ; SIGUSR2=a ;", {"SIGUSR1": ("stacks", "ping"), "SIGUSR2": ("a",)}),
    ],
)
def test_reads_signals(text, table):
    """A table in one line; a signal alone asks for what the default asks."""
    assert settings({"OOBDUMP_SIGNALS": text}).signals == table


def test_signals_as_an_argument():
    """A mapping to one name or several, by name or by ``signal``'s own constant; False is off."""
    given_table = {"SIGUSR1": "stacks", signal.SIGUSR2: ["ping", "memory"]}
    assert settings({}, signals=given_table).signals == {"SIGUSR1": ("stacks",), "SIGUSR2": ("ping", "memory")}
    assert settings({"OOBDUMP_SIGNALS": "SIGUSR1"}, signals=False).signals == {}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGUSR1", signal.SIGUSR1),
        ("usr2", signal.SIGUSR2),
        (" SIGRTMIN ", signal.SIGRTMIN),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("SIGHUP", signal.SIGHUP),
    ],
)
def test_signal_numbers(name, number):
    """Names with and without ``SIG``, and real-time signals by their distance."""
    assert signal_number(name) == number


@pytest.mark.parametrize(
    "name", ["SIGKILL", "SIGSTOP", "SIGSEGV", "SIGCHLD", "SIGRTMIN+99", "10", "", "SIG", "SIGUSR1+1"]
)
def test_no_signal_for_requests(name):
    """Signals that cannot be caught, mean a fault, or do not exist."""
    with pytest.raises(ValueError, match="SIGUSR1"):
        signal_number(name)


# -- directories -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dir", "runtime_dir", "fallback_dir"])
def test_directories_are_absolute(name, tmp_path, monkeypatch):
    """A relative directory is where ``start()`` was called: the program may change its own later."""
    monkeypatch.chdir(tmp_path)
    chosen = settings({VARIABLES[name]: "dumps/"})
    assert getattr(chosen, name) == f"{tmp_path}/dumps"
    assert getattr(settings({}, **{name: Path("x")}), name) == f"{tmp_path}/x"


@pytest.mark.parametrize("name", ["dir", "job", "runtime_dir", "fallback_dir", "http_token"])
def test_an_empty_variable_is_unset(name):
    """``OOBDUMP_JOB= python train.py`` names no job, and does not put all such jobs into one."""
    assert getattr(settings({VARIABLES[name]: ""}), name) is None


def test_directories_of_this_user():
    """Without settings each user has directories of their own, on more than one file system for the fallback."""
    uid = os.getuid()
    assert default_root() == f"/tmp/oobdump-{uid}"
    assert len({os.path.dirname(place) for place in fallback_dirs(None)}) == 3
    assert all(str(uid) in place and place != default_root() for place in fallback_dirs(None))
    assert fallback_dirs("/f") == ["/f"]


@pytest.mark.parametrize(
    ("given_dir", "xdg", "expected"),
    [
        ("/r", "/run/user/5", ["/r"]),
        (None, "/run/user/5", ["/run/user/5/oobdump", f"/tmp/oobdump-{os.getuid()}.run"]),
        (None, "", [f"/tmp/oobdump-{os.getuid()}.run"]),
        (None, "relative", [f"/tmp/oobdump-{os.getuid()}.run"]),
    ],
)
def test_runtime_directories(given_dir, xdg, expected):
    """XDG_RUNTIME_DIR is often set and missing, so there is always another one."""
    assert runtime_dir_candidates(given_dir, {"XDG_RUNTIME_DIR": xdg}) == expected
