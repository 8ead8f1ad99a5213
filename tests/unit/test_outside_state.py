"""State from evidence: a pure function, held to what it promises on whatever evidence there is."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.outside.look import Look, ThreadLook
from oobdump.outside.state import CRASHES, STATES, Ending, Evidence, Gil, Verdict, plain, state_of

GONE = {"crashed", "killed", "exited", "gone"}
THERE = STATES.keys() - GONE

tids = st.integers(1, 6)
threads = st.builds(
    ThreadLook,
    tid=tids,
    name=st.sampled_from(["python", "oobdump bell", "oobdump answer"]),
    state=st.sampled_from("SRDTtZI"),
    ticks=st.integers(0, 50),
    switches=st.integers(0, 200),
    wchan=st.sampled_from(["", "futex_wait_queue", "do_poll", "do_freezer_trap"]),
)
looks = st.builds(
    Look,
    pid=st.just(1),
    ppid=st.just(0),
    name=st.just("python"),
    state=st.sampled_from("SRDTt"),
    start_ticks=st.just(1),
    exit_code=st.just(0),
    tracer=st.sampled_from([0, 0, 0, 77]),
    status=st.just({"State": "?"}),
    threads=st.lists(threads, max_size=4, unique_by=lambda thread: thread.tid).map(tuple),
)
statuses = (
    st.integers(0, 255).map(lambda code: code << 8) | st.integers(1, 64) | st.integers(1, 31).map(lambda n: n | 128)
)
endings = st.builds(
    Ending,
    wait_status=st.none() | statuses,
    told_by=st.sampled_from(["", "sentinel"]),
    exit_mark=st.sampled_from(["", "exiting", "stopped"]),
    last_words=st.sampled_from(["", "Fatal Python error: Segmentation fault"]),
    kernel_log=st.sampled_from(["", "python[1]: segfault at 0"]),
    oom_line=st.booleans(),
    oom_kills=st.integers(0, 3),
)
gils = st.builds(Gil, tids=st.lists(st.none() | tids, min_size=1, max_size=3).map(tuple), place=st.just("f (x.py:1)"))
evidence = st.builds(
    Evidence,
    visible=st.booleans(),
    armed=st.booleans(),
    answered_after_s=st.none() | st.floats(0, 100),
    looks=st.lists(looks, max_size=2).map(tuple),
    gil=st.none() | gils,
    ending=st.none() | endings,
    obstacles=st.sampled_from([(), ("it is out of descriptors",)]),
)


@given(evidence)
def test_every_evidence_has_a_state_and_a_reason(seen):
    """Whatever was seen, and whatever could not be: one of the states, and never without a word why."""
    verdict = state_of(seen)
    assert verdict.state in STATES
    assert verdict.why
    assert plain(seen)["armed"] is seen.armed


@given(evidence)
def test_its_own_answer_counts_before_everything(seen):
    """Who answered is responsive, or busy if it was late; nothing that was seen from outside changes that."""
    answered = dataclasses.replace(seen, answered_after_s=1.0, grace_s=2.0)
    assert state_of(answered).state == "responsive"
    assert state_of(dataclasses.replace(answered, answered_after_s=2.5)).state == "busy"


@given(evidence)
def test_what_cannot_be_seen_is_unreachable(seen):
    """Of a worker on another machine nothing is made up."""
    elsewhere = dataclasses.replace(seen, visible=False, answered_after_s=None)
    assert state_of(elsewhere).state == "unreachable"


@given(evidence, endings)
def test_the_gone_and_the_living_are_never_confused(seen, left):
    """With an ending the state is one of a process that is gone; without one it never is."""
    here = dataclasses.replace(seen, visible=True, answered_after_s=None)
    assert state_of(dataclasses.replace(here, ending=left)).state in GONE
    assert state_of(dataclasses.replace(here, ending=None)).state in THERE


@given(endings, statuses)
def test_a_wait_status_is_the_last_word(left, status):
    """Who was told how it ended knows better than any sign that was left."""
    verdict = state_of(Evidence(ending=dataclasses.replace(left, wait_status=status)))
    if os.WIFEXITED(status):
        assert (verdict.state, f"exit code {os.WEXITSTATUS(status)}" in verdict.why) == ("exited", True)
    else:
        assert verdict.state == ("crashed" if os.WTERMSIG(status) in CRASHES else "killed")


@given(endings)
def test_out_of_memory_is_said_only_with_evidence(left):
    """The words stand there exactly if the kernel's log or its count says so, and SIGKILL ended it."""
    verdict = state_of(Evidence(ending=dataclasses.replace(left, wait_status=int(signal.SIGKILL))))
    assert ("out of memory" in verdict.why) is bool(left.oom_line or left.oom_kills)


def test_nothing_left_is_said_to_be_nothing():
    """No status, no words, no mark: gone, cause unknown."""
    assert state_of(Evidence(ending=Ending())) == Verdict(
        "gone", "cause unknown: nobody was told how it ended, and it left no sign"
    )


def thread(tid=1, state="S", ticks=0, switches=0, wchan="futex_wait_queue", name="python"):
    """One thread."""
    return ThreadLook(tid, name, state, ticks, switches, wchan)


def look(*found, state="S", tracer=0):
    """A process with these threads."""
    return Look(1, 0, "python", state, 1, 0, tracer, {"State": state}, found)


MAIN_STANDS = (thread(), thread())
MAIN_COMPUTES = (thread(state="R", ticks=10), thread(state="R", ticks=35))
BELL_STARVES = (thread(2, switches=10, name="oobdump bell"), thread(2, switches=60, name="oobdump bell"))
BELL_WAKES = tuple(thread(2, "R", switches=n, wchan="", name="oobdump bell") for n in (10, 40))
"""As on a loaded machine: it had just woken up in both looks."""
BELL_WAITS = (thread(2, wchan="do_poll", name="oobdump bell"),) * 2


@pytest.mark.parametrize(
    ("pairs", "gil", "state", "words"),
    [
        ([MAIN_STANDS, BELL_STARVES], (1, 1), "gil-held", "keeps the GIL and waits"),
        ([MAIN_COMPUTES, BELL_STARVES], (1, 1), "gil-held", "keeps the GIL and computes"),
        ([MAIN_COMPUTES, BELL_STARVES], (), "gil-held", "who keeps it could not be read"),
        ([MAIN_COMPUTES, BELL_WAKES], (1, 1), "gil-held", "keeps the GIL and computes"),
        ([MAIN_COMPUTES, BELL_WAITS], (1, 1), "busy", "runs on a processor"),
        ([MAIN_COMPUTES, BELL_STARVES], (1, 2), "busy", "runs on a processor"),
        ([MAIN_STANDS, BELL_WAITS], (None, None), "unreachable", "nothing that was seen says why"),
        ([(thread(state="D"),) * 2, BELL_STARVES], (1, 1), "uninterruptible", "keeps the GIL and waits in the kernel"),
        ([(thread(state="D"),) * 2, BELL_WAITS], (None, None), "uninterruptible", "in D state"),
        ([MAIN_STANDS, (thread(3, "D", name="oobdump answer"),) * 2], (), "unreachable", "dump directory"),
        ([(thread(state="t"),) * 2, BELL_WAITS], (), "traced", "process 7 traces it"),
        ([(thread(wchan="do_freezer_trap"),) * 2, BELL_WAITS], (), "stopped", "its cgroup is frozen"),
    ],
)
def test_each_state_by_its_evidence(pairs, gil, state, words):
    """What stands for each state, and what looks like it and is none."""
    before, after = zip(*pairs, strict=True)
    tracer = 7 if state == "traced" else 0
    found = Evidence(looks=(look(*before, tracer=tracer), look(*after, tracer=tracer)), gil=Gil(gil) if gil else None)
    verdict = state_of(found)
    assert verdict.state == state
    assert words in verdict.why


def test_who_runs_and_shares_the_gil_does_not_hold_it():
    """A thread that also waits for the GIL but gets some processor time is not starving."""
    other = (thread(2, switches=10, ticks=5), thread(2, switches=60, ticks=20))
    firsts, lasts = (MAIN_COMPUTES[0], other[0]), (MAIN_COMPUTES[1], other[1])
    assert state_of(Evidence(looks=(look(*firsts), look(*lasts)), gil=Gil((1, 1)))).state == "busy"


def test_who_is_not_armed_is_not_called_busy():
    """Nobody asked it anything: it owes no answer."""
    found = Evidence(armed=False, looks=(look(MAIN_COMPUTES[0]), look(MAIN_COMPUTES[1])))
    assert state_of(found).state == "unreachable"
    assert "not armed" in state_of(found).why
