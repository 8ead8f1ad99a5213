"""``show PATH`` and ``convert``: files of any format, ours and foreign, and directories that somebody tampered with."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import time
from pathlib import Path

import msgpack
import pytest
from click.testing import CliRunner, Result

from oobdump import codecs
from oobdump.cli import app
from oobdump.codecs.arrays import Array
from oobdump.identity import Identity, Machine
from oobdump.inbox import publish
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import Part
from oobdump.store import atomic, roster
from oobdump.store.layout import Layout
from oobdump.store.writer import DumpWriter
from strategies_values import canon

REQUEST = "20260101T000000.000Z-0000000001"
HOSTILE = "\x1b]0;title\x07\x1b[2J\u202ereversed\r\x9b31m"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


def run(*words, env=()) -> Result:
    """A command line, as the entry point runs it."""
    environ = {"COLUMNS": None, "NO_COLOR": None, **dict(env)}
    return CliRunner().invoke(app, [str(word) for word in words], env=environ)


class Job:
    """A job of one worker that has answered one request."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root), "job")
        below = (self.layout.job_dir, self.layout.roster, self.layout.inbox, self.layout.dumps)
        atomic.make_tree(self.layout.root, *below)
        self.identity = Identity(machine=Machine.here(), pid=os.getpid(), start_ticks=1, job="job", rank=0, role="rank")
        roster.write(self.layout, roster.Entry(self.identity, 0))

    def answer(self, value, codec="json", request_id=REQUEST) -> Path:
        """The directory of a committed dump of one part."""
        chosen = codecs.get(codec)
        request = Request((HandlerCall("custom"),))
        publish(self.layout, AcceptedRequest(request_id, request, (self.identity.worker,), time.time(), "test", {}))
        writer = DumpWriter(self.layout, request_id, self.identity)
        writer.claim(("custom",), time.time())
        made = chosen.encode_parts(value)
        part = Part("custom", "ok", 200, chosen.media_type, chosen.suffix, made.data, side=made.bulk)
        writer.commit((writer.write_part(part),), "responsive", {}, time.time())
        return Path(writer.directory)

    def run(self, *words) -> Result:
        """A command on this job's root."""
        return run(*words, "--dir", self.layout.root)


@pytest.fixture
def job(tmp_path) -> Job:
    """A job."""
    return Job(tmp_path / "root")


# -- show PATH -------------------------------------------------------------------------------------------------------

VALUE = {"answer": 42, "pair": (1, 2.5), "text": "ü", "bytes": b"\0\1", "big": 2**80, "nan": float("nan")}
OUTLINE = ["answer: 42", "pair: tuple [1, 2.5]", 'text: "ü"', "bytes: 2 bytes: 00 01", f"big: {2**80}", "nan: nan"]


@pytest.mark.parametrize("name", codecs.names())
def test_a_part_is_shown_by_its_path(job, name):
    """Each format of ours, alike; a pickle only with ``--trust``, and described without."""
    directory = job.answer(VALUE, name)
    path = directory / f"custom.{codecs.get(name).suffix}"
    done = run("show", path, *(["--trust"] if name == "pickle" else []))
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1:] == OUTLINE
    described = run("show", path)
    assert ("answer: 42" in described.stdout) == (name != "pickle")
    assert name != "pickle" or "(a pickle: described, and not decoded without --trust)" in described.stdout


def test_a_side_part_is_followed_and_held_against_its_manifest(job):
    """A large array's data is beside its document: shown from there, converted with it, and missed if it is torn."""
    values = struct.pack("<10000f", *range(10000))
    directory = job.answer({"weights": Array("tensor", "float32", (10000,), values)})
    told = "tensor float32 [10000]: min 0 max 9999 mean 4999.5 NaN 0 [0, 1, 2, 3, 4, 5, 6, 7, …]"
    for words in (["show", directory], ["show", directory / "custom.json"]):
        assert f"weights: {told}" in run(*words).stdout
    new = directory.parent.parent.parent / "new.msgpack"
    assert run("convert", directory / "custom.json", "--to", "msgpack", "-o", new).exit_code == 0
    assert bytes(codecs.get("msgpack").decode(new.read_bytes())["weights"].data) == values
    os.truncate(directory / "custom.json.bin", 100)
    done = run("show", directory / "custom.json")
    assert "its data is missing" in done.stdout
    assert "custom.json.bin is not what its manifest says" in done.stderr


def test_a_dumps_directory_is_shown_with_its_parts(job, tmp_path):
    """In its place and copied to anywhere; with ``--json`` as one object. A request's directory is the request."""
    directory = job.answer(VALUE)
    elsewhere = tmp_path / "copied"
    elsewhere.mkdir()
    for each in directory.iterdir():
        (elsewhere / each.name).write_bytes(each.read_bytes())
    for place in (directory, elsewhere):
        done = run("show", place)
        assert done.exit_code == 0
        assert "answer: 42" in done.stdout
        document = json.loads(run("show", place, "--json").stdout)
        assert document["parts"][0]["handler"] == "custom"
        assert document["parts"][0]["content"]["answer"] == 42
    assert "1 of 1 rank answered" in run("show", directory.parent).stdout


def test_a_directory_that_is_no_dump_is_listed_and_not_read(tmp_path):
    """What is in it, and what each is; nothing of it is opened."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / f"{HOSTILE.replace('/', '')}.txt").write_text("x")
    done = run("show", tmp_path)
    assert done.exit_code == 0
    assert not UNSAFE.search(done.stdout)
    assert "a FIFO" in done.stdout
    assert "a link to /dev/zero" in done.stdout


def foreign_files(place: Path) -> dict[str, str]:
    """Files that oobdump did not write, and what is to be seen of each."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + struct.pack("<2f", 1, 3)
    files = {
        "strange.json": (b'{"a": NaN, "a": 2}', "NaN is not JSON"),
        "bare": (b'[1, {"b": null}]', "null"),
        "strange.msgpack": (msgpack.packb({"e": msgpack.ExtType(5, b"abc"), b"k": 1}), "extension type 5, 3 bytes"),
        "strange.pkl": (pickle.dumps({"f": print}), "builtins.print"),
        "words.txt": (b"one\n\x1b[31mtwo\n", "\\x1b[31mtwo"),
        "array.npy": (array, "ndarray <f4 [2]: min 1 max 3 mean 2 NaN 0 [1, 3]"),
        "noise.dat": (b"\xff\xfe\0\1" * 100, "00000000  ff fe 00 01"),
        "empty": (b"", "empty: text, 0 B"),
    }
    for name, (data, _) in files.items():
        (place / name).write_bytes(data)
    return {name: seen for name, (_, seen) in files.items()}


def test_foreign_files_are_shown_as_far_as_they_can_be_read(tmp_path):
    """JSON that is none, msgpack with other types, a pickle of anything, text, numpy, noise."""
    for name, seen in foreign_files(tmp_path).items():
        done = run("show", tmp_path / name)
        assert done.exit_code == 0, (name, done.stderr)
        assert seen in done.stdout, (name, done.stdout)
        assert not UNSAFE.search(done.stdout)
        assert json.loads(run("show", tmp_path / name, "--json").stdout)["format"]


@pytest.mark.torch
def test_what_torch_saved_is_listed_without_torch(tmp_path):
    """An archive's entries; its pickle described, with the globals that it names."""
    import torch

    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    done = run("show", tmp_path / "m.pt")
    assert "torch._utils._rebuild_tensor_v2" in done.stdout
    assert "12 bytes" in done.stdout


def test_a_path_with_escapes_cannot_move_the_cursor(tmp_path):
    """Neither as the name of a file that is there, nor in an error about one that is not."""
    path = tmp_path / f"{HOSTILE}.json"
    path.write_text(json.dumps({HOSTILE: HOSTILE}))
    for words in (["show", path], ["show", f"{path}.gone/"], ["convert", path, "--to", "pickle", "-o", path]):
        done = run(*words)
        assert not UNSAFE.search(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "./nosuch"], 66, "No such file"),
        (["show", "/dev/zero"], 66, "a device"),
        (["show", "{dir}/fifo"], 66, "a FIFO"),
        (["show", "{dir}/link.json"], 66, "a link to"),
        (["show", "{dir}/torn.msgpack"], 66, "no msgpack"),
        (["show", "{dir}/torn.json"], 66, "no JSON"),
        (["show", "{dir}/deep.json"], 66, "too deep"),
        (["show", "{dir}/torn.json", "--raw"], 2, "choose from a request"),
        (["convert", "{dir}/words.txt", "--to", "json", "-o", "{dir}/new"], 66, "only json, msgpack, pickle"),
        (["convert", "{dir}/torn.json", "--to", "json", "-o", "{dir}/torn.json"], 2, "--force"),
        (["convert", "{dir}/p.pkl", "--to", "json", "-o", "{dir}/new"], 66, "not decoded without --trust"),
        (["convert", "{dir}/torn.json", "--to", "json", "--json"], 2, "-o names"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, words, code, said):
    """The place, the cause, an exit code; and no new file."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    (tmp_path / "torn.msgpack").write_bytes(b"\x82\xa1a")
    (tmp_path / "torn.json").write_bytes(b'{"a": ')
    (tmp_path / "deep.json").write_bytes(b"[" * 100_000 + b"]" * 100_000)
    (tmp_path / "words.txt").write_bytes(b"words")
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(1))
    done = run(*(word.format(dir=tmp_path) for word in words))
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "new").exists()


def test_large_values_are_cut_and_full_shows_them(tmp_path):
    """What was cut is counted; ``--full`` shows it; ``--json`` has it."""
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"items": [{"n": number} for number in range(1000)]}))
    assert "… 800 more items" in run("show", path).stdout
    assert '"n": 999' in run("show", path, "--full").stdout
    assert len(json.loads(run("show", path, "--json").stdout)["content"]["items"]) == 1000


# -- convert ---------------------------------------------------------------------------------------------------------


def test_values_survive_every_way_from_format_to_format(tmp_path):
    """JSON to msgpack to pickle and back, in each order: the same value, of the same types, and nothing is said."""
    for first in codecs.names():
        start = tmp_path / f"start.{codecs.get(first).suffix}"
        start.write_bytes(codecs.get(first).encode(VALUE))
        for to in codecs.names():
            new = tmp_path / f"{first}-{to}"
            done = run("convert", start, "--to", to, "-o", new, "--trust")
            assert done.exit_code == 0, done.stderr
            assert canon(codecs.get(to).decode(new.read_bytes())) == canon(VALUE)
            assert done.stderr.count("\n") == 1  # where it was written


def test_stdout_gets_the_document(tmp_path):
    """Without ``-o``, and where stdout is no terminal."""
    path = tmp_path / "a.json"
    path.write_text('{"a":[1]}')
    assert msgpack.unpackb(run("convert", path, "--to", "msgpack").stdout_bytes) == {"a": [1]}


def test_losses_are_said_and_are_a_finding(tmp_path):
    """A cycle that only pickle holds, and a file of somebody else: counted, exit code 1, and the rest is there."""
    cycle: list = [1]
    cycle.append(cycle)
    path = tmp_path / "cycle.pkl"
    path.write_bytes(codecs.get("pickle").encode(cycle))
    done = run("convert", path, "--to", "json", "-o", tmp_path / "cycle.json", "--trust", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["new_cuts"] == 1
    assert "cycle" in (tmp_path / "cycle.json").read_text()
    assert run("convert", path, "--to", "pickle", "-o", tmp_path / "again.pkl", "--trust").exit_code == 0
    (tmp_path / "nan.json").write_text("[NaN]")
    done = run("convert", tmp_path / "nan.json", "--to", "json", "-o", tmp_path / "strict.json")
    assert (done.exit_code, (tmp_path / "strict.json").read_text()) == (1, '[{"$oobdump":"float","v":"nan"}]')
    assert "taken as plain data" in done.stderr


def test_placeholders_are_carried_over_and_counted(tmp_path):
    """What was lost when it was dumped is no new loss."""
    path = tmp_path / "odd.json"
    path.write_bytes(codecs.get("json").encode([object()]))
    done = run("convert", path, "--to", "msgpack", "-o", tmp_path / "odd.msgpack")
    assert done.exit_code == 0
    assert "1 placeholders and 0 cuts were in it before" in done.stderr


# -- a dump directory that somebody tampered with --------------------------------------------------------------------


def sabotage(job: Job, directory: Path) -> None:
    """Whatever may lie in a dump directory that others could write to, or that a disk has eaten."""
    dumps = Path(job.layout.dumps)
    os.mkfifo(dumps / "20260102T000000.000Z-00000000f0")
    (dumps / "20260102T000000.000Z-00000000f1").symlink_to("/")
    (dumps / HOSTILE.replace("/", "")).mkdir()
    for name, make in {
        "a": os.mkfifo,
        "b": lambda path: path.symlink_to("/dev/zero"),
        "c": lambda path: path.write_bytes(b"[" * 500_000),
        "d": lambda path: path.write_bytes(b"\xff\x00"),
        "e": lambda path: path.mkdir(),
        "f": _huge,
    }.items():
        request = dumps / f"20260103T000000.000Z-000000000{name}"
        request.mkdir()
        make(request / "request.json")
    for name, make in {
        "manifest.json": lambda path: path.write_bytes(b"[" * 500_000),
        "claim.json": lambda path: path.symlink_to("/dev/zero"),
    }.items():
        for number, rank in ((1, "rank00001"), (2, "rank00002")):
            other = directory.parent / f"{rank}.host.{number}"
            other.mkdir(exist_ok=True)
            make(other / name)
    (directory.parent / "rank00003.host.3").symlink_to("/etc")
    os.mkfifo(directory.parent / "rank00004.host.4")
    _huge(Path(job.layout.roster) / "rank00009.host.9.json")
    os.mkfifo(Path(job.layout.roster) / "rank00008.host.8.json")


def _huge(path: Path) -> None:
    """A sparse file of a terabyte."""
    with open(path, "wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("words", [["ls"], ["show"], ["show", REQUEST], ["ps"], ["ls", "--json"], ["show", "--json"]])
def test_a_hostile_dump_directory_is_reported_and_ends_no_command(job, words):
    """FIFOs, devices behind links, deep JSON, a terabyte of nothing: the good dump is shown, the rest is said."""
    sabotage(job, job.answer({"answer": 42}))
    began = time.monotonic()
    done = job.run(*words)
    assert done.exit_code in (0, 75), done.stderr
    assert time.monotonic() - began < 30
    assert not UNSAFE.search(done.stdout + done.stderr)
    if words[0] == "show":
        assert "42" in done.stdout


def test_parts_that_are_not_what_they_were_are_said_one_by_one(job):
    """In place of a part: a FIFO, a link, a terabyte; each is said, nothing is waited for, nothing is followed."""
    directory = job.answer({"answer": 42})
    part = directory / "custom.json"
    for make in (os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero"), lambda path: _huge(Path(path)), os.mkdir):
        part.unlink()
        make(part)
        done = job.run("show")
        assert done.exit_code == 0
        assert re.search(r"custom\.json", done.stdout)
        assert "42" not in done.stdout
        done = run("show", directory)
        assert done.exit_code == 0
        assert "42" not in done.stdout
        if part.is_dir():
            part.rmdir()
            part.touch()


def test_stacks_reads_round_what_is_damaged(job):
    """A worker whose part is not stacks at all is listed as such, and ends nothing."""
    job.answer({"threads": "none of ours"}, request_id=REQUEST)
    done = job.run("stacks", REQUEST)
    assert done.exit_code == 66
    assert "did not ask for stacks" in done.stderr


def test_a_changed_part_is_shown_and_the_change_is_said(job):
    """A part that is named by its path is shown as it is; that its manifest says otherwise goes to stderr."""
    directory = job.answer({"answer": 42})
    (directory / "custom.json").write_text('{"answer": 43}')
    done = run("show", directory / "custom.json")
    assert "answer: 43" in done.stdout or '"answer": 43' in done.stdout
    assert "is not what its manifest says" in done.stderr
