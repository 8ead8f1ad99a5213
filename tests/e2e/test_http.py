"""Hung programs asked over HTTP, ``worker_main``, and the bench: real processes all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from oobdump.client import Client
from oobdump.errors import RequestError
from oobdump.http_client import HttpClient, ask_by_http
from oobdump.request import HandlerCall, Request
from oobdump.store.layout import Layout
from support import dumps, programs
from support.programs import SOURCES, Running

IN_PYTHON = ["lock", "blocking_read", "spinning_python", "asyncio_owns_wakeup_fd", "c_wait_gil_released", "d_state"]
HOLDING = ["logging_lock", "import_lock", "import_unfinished", "stdout_full", "del_wants_lock", "enumerate_lock"]
BUILT_IN = ["ping", "stacks", "dump_traceback", "process", "environment", "memory", "asyncio_tasks", "handlers"]
TOOLS = SOURCES.parent / "tools"


def client_of(program: Running, **options: Any) -> HttpClient:
    """A client of the program's own server, as the roster tells where it is."""
    entry = next(iter(dumps.wait_for_roster(program.job_dir, program.pids).values()))
    return HttpClient(entry["channels"]["http"]["address"], **options)


def environment(tmp_path: Path, **extra: str) -> dict[str, str]:
    """For a program of a test's own: its dumps and sockets under ``tmp_path``."""
    places = {"OOBDUMP_DIR": str(tmp_path / "root"), "OOBDUMP_JOB": "job", "OOBDUMP_RUNTIME_DIR": str(tmp_path / "run")}
    return programs.client_environment(**places, **extra)


def run(code: str, tmp_path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """A short program, to its end."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environ = environment(tmp_path, **extra)
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)


# -- hung programs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*IN_PYTHON, *HOLDING])
def test_a_hung_worker_answers_over_http(name: str, tmp_path: Path) -> None:
    """In each of these states: the frame it hangs in, and a dump that is committed when the answer is there."""
    with programs.running(name, tmp_path) as program:
        client = client_of(program)
        part = client.run(HandlerCall("stacks"), timeout_s=10)
        assert part.status == "ok", bytes(part.body)[:500]
        main = next(thread for thread in json.loads(bytes(part.body))["threads"] if thread["main"])
        assert program.program.frame in {frame["function"].rpartition(".")[2] for frame in main["frames"]}
        manifest, directory = client.dump(Request((HandlerCall("stacks"), HandlerCall("ping"))))
        assert manifest == json.loads((Path(directory) / "manifest.json").read_bytes())
        assert [record["status"] for record in manifest["parts"]] == ["ok", "ok"]
        assert Path(directory).is_relative_to(program.job_dir)
        assert program.popen.poll() is None, "asking ended the program"


def test_an_answer_over_http_imports_logs_prints_and_resolves_nothing(tmp_path: Path) -> None:
    """With every such call broken: each built-in handler in each format, help, errors, a 404 and a dump."""
    with programs.running("no_imports", tmp_path) as program:
        client = client_of(program)
        for form in ("json", "msgpack", "pickle"):
            for handler in BUILT_IN:
                plain = handler in ("ping", "dump_traceback")
                part = client.run(HandlerCall(handler, format=None if plain else form), timeout_s=10)
                assert part.status == "ok", bytes(part.body)[:500]
        assert client.describe("stacks")["name"] == "stacks"
        assert client.run(HandlerCall("stacks", {"no": "é"})).code == 400
        assert client.run(HandlerCall("nope")).code == 404
        assert client.ask("POST", "/dump", b'{"handlers": 1}', {"Content-Type": "application/json"}, 10).code == 400
        assert client.dump(Request((HandlerCall("ping"),)))[0]["status"] == "ok"
        assert (program.handler_file.read_text() if program.handler_file.exists() else "") == ""


STUCK = """
import os, threading, time
import oobdump

def stuck(request, response):
    threading.Event().wait()

oobdump.register_handler("stuck", stuck)
worker = oobdump.start(http={http!r}, http_token={token!r})
print(worker.describe()["http"]["address"], flush=True)
os.read(0, 1)
oobdump.stop()
"""


def test_a_worker_with_a_stuck_handler_answers_a_hundred_others(tmp_path: Path) -> None:
    """Ten askers at once, while one waits for its 504; the stuck handler is refused to the next, by file too."""
    code = STUCK.format(http=True, token=None)
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        client = HttpClient(process.stdout.readline().decode().strip())
        late: list[int] = []
        waiting = threading.Thread(target=lambda: late.append(client.run(HandlerCall("stuck"), timeout_s=2).code))
        waiting.start()
        codes: list[int] = []
        askers = [threading.Thread(target=lambda: codes.extend(ten(client))) for _ in range(10)]
        for asker in askers:
            asker.start()
        for asker in [*askers, waiting]:
            asker.join()
        assert codes == [200] * 100
        assert late == [504]
        assert client.run(HandlerCall("stuck"), timeout_s=30).code == 503
        manifest, _ = client.dump(Request((HandlerCall("stuck"), HandlerCall("ping"))))
        assert [record["code"] for record in manifest["parts"]] == [503, 200]
        process.communicate(b"x", timeout=30)
        assert process.returncode == 0


def ten(client: HttpClient) -> list[int]:
    """The statuses of ten requests."""
    return [client.run(HandlerCall("ping")).code for _ in range(10)]


def test_tcp_wants_its_token(tmp_path: Path) -> None:
    """What ``start()`` opens on TCP answers nobody without it; without one it does not start."""
    code = STUCK.format(http="tcp://127.0.0.1:0", token="secret")
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        with pytest.raises(RequestError, match="401"):
            HttpClient(address).names()
        assert HttpClient(address, token="secret").run(HandlerCall("ping")).body == b"pong"
        process.communicate(b"x", timeout=30)
    refused = run(STUCK.format(http="tcp://127.0.0.1:0", token=None), tmp_path)
    assert refused.returncode == 1
    assert "OOBDUMP_HTTP_TOKEN" in refused.stderr


def test_a_client_asks_every_worker_over_http(tmp_path: Path) -> None:
    """One outcome a worker, its dump beside it; a worker without a server is said to have none."""
    ends = [{"RANK": "0"}, {"RANK": "1"}, {"RANK": "2", "OOBDUMP_HTTP": "off"}]
    code = "import os, oobdump; oobdump.start(); os.write(1, b'up\\n'); os.read(0, 1); oobdump.stop()"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(tmp_path, **end),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for end in ends
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"up\n"
        client = Client(Layout(str(tmp_path / "root"), "job"))
        outcomes = ask_by_http(client, Request((HandlerCall("ping"), HandlerCall("stacks"))))
        assert [(outcome.rank, outcome.status) for outcome in outcomes] == [(0, "ok"), (1, "ok"), (2, "no_answer")]
        assert [len(outcome.parts) for outcome in outcomes] == [2, 2, 0]
        assert "no HTTP server" in outcomes[2].why
    finally:
        for worker in workers:
            worker.communicate(b"x", timeout=30)


def oobdump(tmp_path: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """The command, on the job of these tests."""
    return subprocess.run(
        [sys.executable, "-m", "oobdump", *words],
        env=environment(tmp_path, **extra),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_asks_over_http(tmp_path: Path) -> None:
    """``request --via http`` over a Unix socket and over TCP: one outcome a worker, whose inbox nobody watches.

    Without the token the worker with a TCP port is said to refuse; what belongs to a dropped request is refused.
    """
    code = "import os, oobdump; oobdump.start(); os.write(1, b'up\\n'); os.read(0, 1); oobdump.stop()"
    ends = [{"RANK": "0"}, {"RANK": "1", "OOBDUMP_HTTP": "tcp://127.0.0.1:0", "OOBDUMP_HTTP_TOKEN": "secret"}]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(tmp_path, OOBDUMP_WATCH="off", **end),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for end in ends
    ]
    words = ("request", "ping", "stacks", "--via", "http")
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"up\n"
        both = oobdump(tmp_path, *words, "--json", OOBDUMP_HTTP_TOKEN="secret")
        assert both.returncode == 0, both.stderr
        outcomes = json.loads(both.stdout)["outcomes"]
        assert [(outcome["rank"], outcome["status"], len(outcome["parts"])) for outcome in outcomes] == [
            (0, "ok", 2),
            (1, "ok", 2),
        ]
        for outcome in outcomes:
            assert Path(outcome["dump_dir"], outcome["worker"], "manifest.json").exists()
        one = oobdump(tmp_path, *words)
        assert one.returncode == 75
        assert "401" in one.stdout + one.stderr
        assert "1 of 2 ranks answered" in one.stdout + one.stderr
        refused = oobdump(tmp_path, *words, "--id", "mine")
        assert refused.returncode == 2
        assert "--via http" in refused.stderr
    finally:
        for worker in workers:
            worker.communicate(b"x", timeout=30)


# -- worker_main -----------------------------------------------------------------------------------------------------

MAIN = """
import os, signal
from oobdump.control_plane import TORCH_WORKER_SERVER_SOCKET, worker_main
from oobdump.http_client import HttpClient
from oobdump.request import HandlerCall

def armed():
    return signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL

path = os.environ.get(TORCH_WORKER_SERVER_SOCKET)
"""


@pytest.mark.parametrize("form", ["with worker_main():\n    main()", "worker_main()(main)()", "worker_main(main)()"])
def test_worker_main_serves_and_arms_while_main_runs(form: str, tmp_path: Path) -> None:
    """As a context manager and as either decorator, twice: inside both, afterwards neither."""
    body = """
    def main():
        print(HttpClient(path).run(HandlerCall("ping")).body, armed())
    for _ in range(2):
        FORM
        print(os.path.exists(path), armed())
    """
    code = MAIN + textwrap.dedent(body).replace("    FORM", textwrap.indent(form, "    "))
    done = run(code, tmp_path, TORCH_WORKER_SERVER_SOCKET=str(tmp_path / "s"))
    assert done.stdout.splitlines() == ["b'pong' True", "False False"] * 2, done.stderr
    assert done.stderr == ""


def test_worker_main_without_a_socket_arms_only(tmp_path: Path) -> None:
    """Without the variable there is nothing to serve; a worker that ``start()`` made before stays."""
    code = """
    import oobdump
    oobdump.start()
    with worker_main():
        print(path, armed())
    print(armed())
    oobdump.stop()
    """
    assert run(MAIN + textwrap.dedent(code), tmp_path).stdout.splitlines() == ["None True", "True"]


def test_two_ranks_at_one_path_get_one_each(tmp_path: Path) -> None:
    """The first has the path; the second one beside it, answers there, and a warning says which."""
    code = MAIN + textwrap.dedent("""
    with worker_main():
        os.write(1, b"up\\n")
        os.read(0, 1)
    """)
    path = tmp_path / "s"
    ranks = []
    for rank in ("0", "1", "1"):
        environ = environment(tmp_path, TORCH_WORKER_SERVER_SOCKET=str(path), RANK=rank)
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        stdout = ranks[-1].stdout
        assert stdout is not None
        assert stdout.readline() == b"up\n"
    own = [path, Path(f"{path}.rank1"), Path(f"{path}.rank1.{ranks[2].pid}")]
    try:
        pids = []
        for each in own:
            part = HttpClient(str(each)).run(HandlerCall("process"))
            pids.append(json.loads(bytes(part.body))["pid"])
        assert pids == [rank.pid for rank in ranks]
    finally:
        said = [rank.communicate(b"x", timeout=60)[1].decode() for rank in ranks]
    assert said[0] == ""
    for rank, text in zip((1, 2), said[1:], strict=True):
        assert f"{path} is served by another process" in text
        assert f"is at {own[rank]}" in text
    assert not any(each.exists() for each in own)


def test_a_dump_directory_that_is_not_ours_does_not_keep_main_from_running(tmp_path: Path) -> None:
    """It is warned of, and the socket is served."""
    (tmp_path / "root").write_text("a file")
    code = """
    with worker_main():
        print(armed(), os.path.exists(path))
    """
    done = run(MAIN + textwrap.dedent(code), tmp_path, TORCH_WORKER_SERVER_SOCKET=str(tmp_path / "s"))
    assert done.stdout == "False True\n", done.stderr
    assert "oobdump is not armed" in done.stderr


FAILS = """
import IMPORTED
from oobdump.control_plane import worker_main

@worker_main()
def main():
    raise RuntimeError("step 12 went wrong")

main()
"""


@pytest.mark.torch
def test_an_exception_is_recorded_as_torch_does(tmp_path: Path) -> None:
    """With torch imported it is in the file that torchrun reads; it is raised all the same."""
    error_file = tmp_path / "error.json"
    done = run(FAILS.replace("IMPORTED", "torch"), tmp_path, TORCHELASTIC_ERROR_FILE=str(error_file))
    assert done.returncode == 1
    assert "RuntimeError: step 12 went wrong" in done.stderr
    message = json.loads(error_file.read_text())["message"]
    assert message["message"] == "RuntimeError: step 12 went wrong"
    assert "in main" in message["extraInfo"]["py_callstack"]


def test_torch_is_not_imported_to_record(tmp_path: Path) -> None:
    """Without torch imported by the program there is no record, and no torch."""
    error_file = tmp_path / "error.json"
    at_exit = "atexit.register(lambda: print('torch' in sys.modules))\n\n@worker_main()"
    code = FAILS.replace("IMPORTED", "sys, atexit").replace("@worker_main()", at_exit)
    done = run(code, tmp_path, TORCHELASTIC_ERROR_FILE=str(error_file))
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert not error_file.exists()


# -- the bench -------------------------------------------------------------------------------------------------------


def test_the_bench_runs(tmp_path: Path) -> None:
    """A tiny run prints a line for our server; its figures are the campaign's business."""
    command = [
        sys.executable,
        str(TOOLS / "bench" / "http_server.py"),
        "--turns=2",
        "--mib=2",
        "--rounds=1",
        "--rest=0.1",
    ]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    header, ours, *_ = done.stdout.splitlines()
    assert "ping p50 us" in header
    assert ours.split()[0] == "ours"
    assert os.path.basename(command[1]) != "http.py", "a script of that name would hide the standard library's http"
