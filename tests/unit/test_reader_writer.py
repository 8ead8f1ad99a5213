"""One writer's dump, written and read back: committed, partial or foreign, and never half a part."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump.errors import DamagedDump, ForeignDirectory
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import ErrorInfo, Part, worst
from oobdump.store import reader
from oobdump.store.layout import CLAIM, MANIFEST, REQUEST, Layout
from oobdump.store.writer import DumpWriter, PartRecord, checksum

ME = strategies.identity_of(os.getpid(), 0)
SOMEBODY = 12345
PART = Part("ping", "ok", 200, "text/plain", "txt", b"pong", 0.25)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def layout(tmp_path):
    """A job."""
    return strategies.job_at(tmp_path / "root")


@pytest.fixture
def writer(layout):
    """The writer of this process's dump of one request."""
    return DumpWriter(layout, "r", ME)


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory):
    """A job whose one request each example makes anew."""
    return strategies.job_at(tmp_path_factory.mktemp("dumps") / "root")


def write(writer, parts=(PART,)):
    """A whole dump; its records."""
    writer.claim(tuple(part.handler for part in parts), 1.0)
    seen = [part.handler for part in parts]
    records = tuple(writer.write_part(part, seen[: n + 1].count(part.handler)) for n, part in enumerate(parts))
    assert writer.commit(records, "responsive", {"channel": "signal"}, 2.0) is True
    return records


def read(layout, writer=ME.worker):
    """The dump of the one request."""
    return reader.read_dump(layout, "r", writer)


def change(path, **fields):
    """Changes a document behind its writer's back."""
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, **fields}))


# -- committed -------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(st.lists(strategies.parts, max_size=4), st.booleans())
def test_round_trip(anywhere, parts, durable):
    """Every part comes back with its bytes and what was said of it, whatever its handler is called."""
    shutil.rmtree(anywhere.request_dir("r"), ignore_errors=True)
    records = write(DumpWriter(anywhere, "r", ME, durable), parts)
    dump = read(anywhere)
    assert (dump.found, dump.why, dump.outside, dump.worker) == ("committed", "", False, ME.worker)
    assert dump.parts == records
    assert [reader.part_bytes(dump, record) for record in records] == [part.body for part in parts]
    assert [dataclasses.astuple(record)[:4] for record in records] == [
        (part.handler, part.status, part.code, part.media_type) for part in parts
    ]
    assert [record.error for record in dump.parts] == [part.error for part in parts]
    assert dump.status == worst(part.status for part in parts)
    assert len({record.path for record in records if record.path}) == sum(bool(part.body) for part in parts)


def test_a_manifest_says_who_and_what(layout, writer):
    """Identity, state and its evidence, times, and for each part status, code, type, size, checksum and seconds."""
    write(writer)
    dump = read(layout)
    assert (dump.answered_by, dump.state, dump.evidence) == ("worker", "responsive", {"channel": "signal"})
    assert (dump.claimed_at, dump.committed_at) == (1.0, 2.0)
    assert (dump.identity["rank"], dump.identity["pid"], dump.identity["role"]) == (0, os.getpid(), "rank")
    document = json.loads(Path(writer.directory, MANIFEST).read_bytes())
    assert (document["schema_version"], document["request_id"], document["worker"]) == (1, "r", ME.worker)
    assert document["parts"] == [
        {
            "handler": "ping",
            "status": "ok",
            "code": 200,
            "media_type": "text/plain",
            "path": "ping.txt",
            "size": 4,
            "checksum": checksum(b"pong"),
            "seconds": 0.25,
            "error": None,
        }
    ]


def test_everything_is_private(layout, writer):
    """Directories 0700, files 0600, and no name but the promised ones."""
    write(writer)
    assert sorted(os.listdir(writer.directory)) == [CLAIM, MANIFEST, "ping.txt"]
    for path in [layout.request_dir("r"), writer.directory]:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    for name in os.listdir(writer.directory):
        assert stat.S_IMODE(os.stat(f"{writer.directory}/{name}").st_mode) == 0o600


@pytest.mark.parametrize("handler", ["claim", "manifest", "request"])
def test_a_handler_may_be_called_like_a_file_of_ours(layout, writer, handler):
    """Its part gets another name, and claim and manifest stay what they are."""
    write(writer, [Part(handler, "ok", 200, "application/json", "json", b"1"), PART])
    dump = read(layout)
    assert dump.found == "committed"
    assert reader.part_bytes(dump, dump.parts[0]) == b"1"
    assert dump.claimed_at == 1.0


def test_a_part_without_content_has_no_file(layout, writer):
    """Only the manifest tells of it."""
    (record,) = write(writer, [Part("ping", "error", 500, error=ErrorInfo("E", "m", "t"))])
    assert (record.path, record.size, record.checksum) == (None, 0, None)
    assert sorted(os.listdir(writer.directory)) == [CLAIM, MANIFEST]
    assert reader.part_bytes(read(layout), record) == b""


def test_large_parts_of_any_kind_of_bytes(layout, writer):
    """Bytes, bytearrays and views of whole arrays are written as they are."""
    words = memoryview(bytearray(8 * 200_000)).cast("Q")
    parts = [Part(name, "ok", 200, body=body) for name, body in (("a", words), ("b", bytearray(b"x" * 999)))]
    records = write(writer, parts)
    assert [record.size for record in records] == [1_600_000, 999]
    assert [len(reader.part_bytes(read(layout), record)) for record in records] == [1_600_000, 999]


# -- the first commit wins -------------------------------------------------------------------------------------------


def test_a_committed_dump_is_not_changed(layout, writer):
    """A second commit is told that it came late; neither the manifest nor a part that it lists is replaced."""
    write(writer)
    before = {name: Path(writer.directory, name).read_bytes() for name in os.listdir(writer.directory)}
    late = DumpWriter(layout, "r", ME)
    late.claim(("ping", "stacks"), 9.0)
    records = (late.write_part(dataclasses.replace(PART, body=b"another")),)
    assert late.commit(records, "responsive", {}, 9.0) is False
    assert {name: Path(writer.directory, name).read_bytes() for name in os.listdir(writer.directory)} == before
    assert reader.part_bytes(read(layout), read(layout).parts[0]) == b"pong"


def test_a_claim_stays_that_of_the_first(layout, writer):
    """Claiming again changes nothing."""
    writer.claim(("ping",), 1.0)
    writer.claim(("ping", "stacks"), 9.0)
    assert read(layout).claimed_at == 1.0


def test_a_step_may_be_done_again_before_the_commit(layout, writer):
    """A part that a lost thread wrote is written once more."""
    writer.claim(("ping",), 1.0)
    writer.write_part(dataclasses.replace(PART, body=b"lost"))
    write(writer)
    assert reader.part_bytes(read(layout), read(layout).parts[0]) == b"pong"


# -- partial and foreign ---------------------------------------------------------------------------------------------


def test_partial(layout, writer):
    """Until the manifest stands, a dump is partial, and says how far it came."""
    nothing = read(layout)
    assert (nothing.found, nothing.parts, nothing.claimed_at) == ("partial", (), None)
    os.makedirs(writer.directory, 0o700)
    assert (read(layout).found, read(layout).why) == ("partial", "no manifest")
    writer.claim(("ping",), 1.0)
    assert (read(layout).found, read(layout).why) == ("partial", "claimed, not committed")
    writer.write_part(PART)
    Path(writer.directory, f".{MANIFEST}.7.1.tmp").write_bytes(b"{")
    dump = read(layout)
    assert (dump.found, dump.status, dump.parts, dump.claimed_at) == ("partial", None, (), 1.0)
    assert reader.has_manifest(layout, "r", ME.worker) is False


def test_a_dump_from_outside_is_told_apart(layout, writer):
    """What a sentinel or a client says of a worker stands beside what the worker says."""
    write(writer)
    os.rename(writer.directory, f"{writer.directory}.outside")
    write(writer)
    assert [(dump.worker, dump.outside, dump.found) for dump in reader.dumps(layout, "r")] == [
        (ME.worker, False, "committed"),
        (ME.worker, True, "committed"),
    ]


def test_a_listing_tells_all_apart(layout, writer):
    """Whatever else is in a request's directory, each thing is one line."""
    write(writer)
    for name in ("notes", "rank3.h.1", "proc.h.2"):
        Path(layout.request_dir("r"), name).mkdir()
    Path(layout.request_dir("r"), "proc.h.3").touch()
    Path(layout.request_dir("r"), ".hidden").touch()
    Path(layout.request_json("r")).touch()
    found = {dump.worker: (dump.found, dump.why) for dump in reader.dumps(layout, "r")}
    assert found == {
        ME.worker: ("committed", ""),
        "notes": ("foreign", "its name is no worker's: oobdump did not make it"),
        "rank3.h.1": ("foreign", "its name is no worker's: oobdump did not make it"),
        "proc.h.2": ("partial", "no manifest"),
        "proc.h.3": ("foreign", "not a directory: oobdump did not make it"),
    }
    assert reader.dumps(layout, "none") == []
    assert reader.request_ids(layout) == ["r"]


def test_a_link_is_foreign(layout, writer):
    """A dump that stands elsewhere is not read through a link."""
    write(writer)
    os.rename(writer.directory, f"{layout.root}/elsewhere")
    os.symlink(f"{layout.root}/elsewhere", writer.directory)
    assert read(layout).found == "foreign"


@needs_root
def test_somebody_elses_directory_is_refused_by_the_writer(layout, writer):
    """Neither a claim nor a part nor a manifest is written there."""
    os.makedirs(writer.directory, 0o700)
    os.chown(writer.directory, SOMEBODY, SOMEBODY)
    for step in (
        lambda: writer.claim(("ping",), 1.0),
        lambda: writer.write_part(PART),
        lambda: writer.commit((), "responsive", {}, 1.0),
    ):
        with pytest.raises(ForeignDirectory):
            step()
    assert os.listdir(writer.directory) == []


@needs_root
def test_somebody_elses_dump_is_foreign_to_who_is_not_root(layout, writer):
    """Root reads everybody's dumps; anybody else their own and root's."""
    write(writer)
    os.chown(writer.directory, SOMEBODY, SOMEBODY)
    assert read(layout).found == "committed"
    real = os.geteuid
    try:
        os.geteuid = lambda: 5
        assert (read(layout).found, read(layout).why) == ("foreign", f"belongs to uid {SOMEBODY}")
    finally:
        os.geteuid = real


# -- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"pon"),
        lambda path: path.write_bytes(b"ponk"),
        lambda path: path.write_bytes(b"pong!"),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.rename(path.with_name("real")), path.symlink_to("real")),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["short", "changed", "long", "gone", "directory", "link", "fifo"],
)
def test_a_damaged_part_is_not_handed_out(layout, writer, damage):
    """Its bytes must be those of the manifest; the other parts still are."""
    write(writer, [PART, dataclasses.replace(PART, handler="other")])
    damage(Path(writer.directory, "ping.txt"))
    dump = read(layout)
    with pytest.raises(DamagedDump, match=r"ping\.txt"):
        reader.part_bytes(dump, dump.parts[0])
    assert reader.part_bytes(dump, dump.parts[1]) == b"pong"


def test_a_manifest_leads_nowhere_else(layout, writer):
    """A planted path, however it is written, makes the dump foreign."""
    write(writer)
    for path in ("../r/request.json", "/etc/passwd", "a/../ping.txt", ".ping.txt", CLAIM, 5, ["ping.txt"]):
        document = json.loads(Path(writer.directory, MANIFEST).read_bytes())
        document["parts"][0]["path"] = path
        Path(writer.directory, MANIFEST).write_text(json.dumps(document))
        assert read(layout).found == "foreign"


@pytest.mark.parametrize(
    "fields",
    [{"schema_version": 2}, {"worker": "proc.h.1"}, {"request_id": "x"}, {"status": "fine"}, {"parts": 5}],
)
def test_a_manifest_of_something_else_is_foreign(layout, writer, fields):
    """A later version, or another worker's or request's, is not taken for this one."""
    write(writer)
    change(Path(writer.directory, MANIFEST), **fields)
    dump = read(layout)
    assert (dump.found, dump.parts, dump.status) == ("foreign", (), None)
    assert dump.why.startswith("its manifest cannot be read")


@strategies.FEW
@given(st.data())
def test_every_torn_manifest_is_foreign(anywhere, data):
    """No prefix of a manifest is taken for whole, wherever it was cut."""
    shutil.rmtree(anywhere.request_dir("r"), ignore_errors=True)
    writer = DumpWriter(anywhere, "r", ME)
    write(writer)
    path = Path(writer.directory, MANIFEST)
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert read(anywhere).found == "foreign"


@strategies.FEW
@given(
    st.binary(max_size=40) | strategies.json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([CLAIM, MANIFEST]),
)
def test_rubbish_never_ends_a_listing(anywhere, data, name):
    """Whatever is in claim or manifest, the dump is one line with a reason."""
    shutil.rmtree(anywhere.request_dir("r"), ignore_errors=True)
    writer = DumpWriter(anywhere, "r", ME)
    write(writer)
    Path(writer.directory, name).write_bytes(data)
    (dump,) = reader.dumps(anywhere, "r")
    assert dump.found == ("foreign" if name == MANIFEST else "committed")


@pytest.mark.parametrize("value", ["1e999", "NaN", "1" + "0" * 400, "[]", "{}", "null", '"x"', "[" * 100_000])
def test_hostile_values_never_end_a_listing(layout, writer, value):
    """Each field of claim, manifest and record in turn holds what no writer writes."""
    write(writer)
    whole = {name: json.loads(Path(writer.directory, name).read_bytes()) for name in (CLAIM, MANIFEST)}
    for name, document in whole.items():
        record = document.get("parts", [{}])[0]
        planted = [{**document, key: "<here>"} for key in document]
        planted += [{**document, "parts": [{**record, key: "<here>"}]} for key in record]
        for variant in planted:
            Path(writer.directory, name).write_text(json.dumps(variant).replace('"<here>"', value))
            (dump,) = reader.dumps(layout, "r")
            assert dump.found in ("committed", "foreign")
            assert dump.why.isprintable()
        Path(writer.directory, name).write_text(json.dumps(document))


# -- requests --------------------------------------------------------------------------------------------------------

ACCEPTED = AcceptedRequest("r", Request((HandlerCall("ping"),)), (ME.worker,), 1.0, "client", {"name": "\udcff"})


def test_a_request_is_published_once(layout, writer):
    """``request.json`` as accepted; the first one stands."""
    assert reader.open_request(layout, "r") is None
    writer.publish(ACCEPTED)
    writer.publish(dataclasses.replace(ACCEPTED, accepted_at=9.0))
    assert reader.open_request(layout, "r") == ACCEPTED


def test_a_writer_makes_what_is_missing(tmp_path):
    """A fallback directory is made at its first dump."""
    fallback = Layout(f"{tmp_path}/away", "job")
    write(DumpWriter(fallback, "r", ME))
    assert read(fallback).found == "committed"
    for path in (fallback.root, fallback.job_dir, fallback.dumps):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_request_is_an_error(layout, writer, data):
    """It is not the same as one that is not published yet."""
    writer.publish(ACCEPTED)
    Path(layout.request_json("r")).write_bytes(data)
    with pytest.raises(DamagedDump, match=REQUEST):
        reader.open_request(layout, "r")


def test_a_request_under_another_id_is_an_error(layout, writer):
    """A copied directory is not another request."""
    writer.publish(ACCEPTED)
    os.rename(layout.request_dir("r"), layout.request_dir("copy"))
    with pytest.raises(DamagedDump, match="put there by hand"):
        reader.open_request(layout, "copy")


def test_ids_come_in_order(layout):
    """Oldest first, and no others' names."""
    for name in ("b", "a", ".trash-c"):
        os.mkdir(layout.request_dir(name))
    assert reader.request_ids(layout) == ["a", "b"]
    assert reader.request_ids(Layout(layout.root, "none")) == []


def test_records_are_values():
    """What a manifest says of a part is frozen."""
    record = PartRecord("a", "ok", 200, "text/plain", None, 0, None, 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.size = 1
