"""Named Hypothesis strategies for what travels and what stands on disk, and a real job directory.

In: nothing. Out: strategies whose values are all well formed, so that a test that wants a
malformed one says how it breaks it; ``job_at`` and ``identity_of`` for tests on real files.
"""

from __future__ import annotations

import string
import time
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from oobdump.identity import Identity, Machine, Role, name_of, start_ticks
from oobdump.request import (
    FORMATS,
    MAX_EXPIRES_IN_S,
    MAX_TIMEOUT_S,
    AcceptedRequest,
    HandlerCall,
    Request,
)
from oobdump.response import ErrorInfo, Part
from oobdump.store import atomic, roster
from oobdump.store.layout import Layout
from oobdump.store.retention import Bounds, Kept
from oobdump.targets import Candidate

FEW = settings(max_examples=max(10, settings().max_examples // 4))
"""For properties whose examples are slow (files, long documents): a quarter of the profile's number."""

_NAME = string.ascii_letters + string.digits + "_-"

# -- texts -----------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
"""What a request's text may be: anything but NUL and lone surrogates."""

raw_names = st.binary(min_size=1, max_size=20).map(lambda name: name.decode("utf-8", "surrogateescape"))
"""File names as ``os.listdir`` gives them; some are no Unicode."""

handler_names = st.builds(
    "{}{}".format,
    st.sampled_from(string.ascii_letters + "_"),
    st.text(_NAME, max_size=12),
) | st.sampled_from(["stacks", "claim", "manifest", "request", "x-2", "_"])
"""Names of handlers; some are also names of files that a dump has anyway."""

request_ids = st.builds(
    "{}{}".format, st.sampled_from(string.ascii_letters + string.digits + "_"), st.text(_NAME + ".", max_size=8)
) | st.sampled_from(["20260131T120000.000Z-0123456789", "request.json", "a" * 80])
"""Ids that an asker may choose."""

hosts = st.builds("{}{}".format, st.sampled_from(_NAME), st.text(_NAME + ".", max_size=8)) | st.sampled_from(
    ["n0", "rank", "0", "a.b.7"]
)
"""Host names, made safe; some look like other words of the target language."""

ranks = st.integers(0, 12) | st.integers(0, 999_999_999)
pids = st.integers(1, 4_194_304)

worker_names = st.builds(name_of, st.none() | ranks, hosts, pids)
"""Names of workers, with and without a rank."""

# -- requests --------------------------------------------------------------------------------------------------------

calls = st.builds(
    HandlerCall,
    handler_names,
    st.dictionaries(texts, texts, max_size=2),
    st.none() | st.sampled_from(FORMATS),
)

target_words = texts.map(lambda text: text.replace(",", " ").strip()).filter(bool) | st.sampled_from(
    ["all", "any", "0", "0-7", "child", "host:n0", "rank:3", "worker:proc.n0.5"]
)
"""One word of the target language, whether or not it means anybody."""

requests = st.builds(
    Request,
    st.lists(calls, min_size=1, max_size=3).map(tuple),
    st.sampled_from(FORMATS),
    st.binary(max_size=40),
    st.lists(target_words, min_size=1, max_size=3).map(tuple),
    st.floats(0, MAX_TIMEOUT_S, exclude_min=True),
    st.floats(0, MAX_EXPIRES_IN_S, exclude_min=True),
    st.none() | request_ids,
)
"""Well-formed requests."""

sources = st.dictionaries(texts, st.integers() | texts | raw_names, max_size=3)

accepted_requests = st.builds(
    AcceptedRequest,
    request_ids,
    requests,
    st.lists(worker_names, max_size=4, unique=True).map(tuple),
    st.floats(0, 4e9),
    texts,
    sources,
)
"""Requests with an id and the workers that are asked; a source's name may be no Unicode."""

# -- who is there ----------------------------------------------------------------------------------------------------


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """One worker that can be asked; a child has its rank's number."""
    role: Role = draw(st.sampled_from(["rank", "rank", "child", "other"]))
    rank = None if role == "other" else draw(st.integers(0, 12))
    host = draw(st.sampled_from(["n0", "n1", "rank", "3", "a.b.7"]))
    return Candidate(name_of(rank, host, draw(pids)), host, rank, role)


rosters = st.lists(candidates(), max_size=8, unique_by=lambda candidate: candidate.worker)
"""Who is there, as the target language sees it, in any order."""


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    """Identities of workers anywhere."""
    number = st.none() | ranks
    return Identity(
        machine=Machine(draw(hosts), draw(texts), draw(texts)),
        pid=draw(pids),
        start_ticks=draw(st.integers(0, 2**63)),
        job=draw(hosts),
        rank=draw(number),
        local_rank=draw(number),
        world_size=draw(number),
        node=draw(number),
        attempt=draw(number),
        role=draw(st.sampled_from(["rank", "child", "other"])),
        sources=draw(st.dictionaries(texts, texts, max_size=2)),
    )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""Documents that JSON and msgpack can both carry."""

entries = st.builds(
    roster.Entry,
    identities(),
    st.integers(1, 2**63),
    st.dictionaries(texts, st.none() | texts | st.dictionaries(texts, texts, max_size=2), max_size=2),
    st.lists(texts, max_size=2).map(tuple),
    st.floats(0, 4e9),
    st.none() | st.just({"at": "2026-01-31T12:00:00.000Z", "at_s": 1e9, "by": "client", "how": "found gone"}),
)
"""Roster entries as workers write them."""

# -- what is kept ----------------------------------------------------------------------------------------------------

kept_lists = st.lists(
    st.builds(
        Kept,
        st.text("abc", min_size=1, max_size=4),
        st.integers(0, 4).map(float) | st.floats(0, 1000),
        st.integers(0, 100),
        st.booleans(),
    ),
    max_size=12,
    unique_by=lambda kept: kept.id,
)
"""What retention finds: some of the same age, some in progress."""

bounds = st.builds(Bounds, st.integers(0, 6), st.just(float("inf")) | st.floats(0, 1000), st.integers(0, 300))

# -- parts -----------------------------------------------------------------------------------------------------------

parts = st.builds(
    Part,
    handler_names,
    st.sampled_from(["ok", "error", "timeout", "refused"]),
    st.integers(100, 599),
    st.sampled_from(["application/json", "text/plain; charset=utf-8"]),
    st.sampled_from(["json", "msgpack", "pkl", "txt", "bin"]),
    st.binary(max_size=60),
    st.floats(0, 1e6),
    st.none() | st.builds(ErrorInfo, texts, st.text(max_size=10), texts),
)
"""What handlers gave; a message may hold half a surrogate pair."""

# -- real ones -------------------------------------------------------------------------------------------------------


def identity_of(pid: int, rank: int | None = None, job: str = "job") -> Identity:
    """The identity that a running process of this machine has."""
    role: Role = "other" if rank is None else "rank"
    return Identity(Machine.here(), pid, start_ticks(pid) or 0, job, rank, role=role)


def job_at(root: Path, workers: Sequence[Identity] = (), job: str = "job") -> Layout:
    """A job's directories below ``root``, and these workers in its roster."""
    layout = Layout(str(root), job)
    atomic.make_tree(layout.root, layout.job_dir, layout.roster, layout.inbox, layout.dumps)
    for identity in workers:
        roster.write(layout, roster.Entry(identity, 0, started_at=time.time()))
    return layout
