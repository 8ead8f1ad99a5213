"""The ways to hang, each with what must be found: a table, and nothing else.

In: nothing. Out: ``EXHIBITS``. Each names a program of ``tests/programs``, what is done to it once it hangs
(``keepers``), the functions that must be on the stacks of those who were asked, and the states of
which one must be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RESPONSIVE = ("responsive",)
"""It answers for itself."""

HELD = ("gil-held",)


@dataclass(frozen=True)
class Exhibit:
    """One way to hang.

    ``frames`` must all be found, over all workers asked; none where no frame can exist. ``keeper`` names what is
    done to the program before it is asked. ``needs``: ``torch``, ``root``, ``cgroup``. ``ends``: it is dead when it
    is asked, or dies of something that is not the asking.
    """

    name: str
    program: str
    states: tuple[str, ...] = RESPONSIVE
    frames: tuple[str, ...] = ()
    keeper: str = "leave_alone"
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    ends: bool = False


def _plain(program: str, *frames: str, name: str = "", states: tuple[str, ...] = RESPONSIVE) -> Exhibit:
    return Exhibit(name or program.replace("_", " "), program, states, frames)


EXHIBITS: tuple[Exhibit, ...] = (
    _plain("lock", "wait_for_lock"),
    _plain("blocking_read", "read_from_empty_pipe"),
    _plain("c_wait_gil_released", "wait_in_c_without_gil"),
    _plain("c_wait_gil_held", "wait_in_c_with_gil", states=HELD),
    _plain("c_sum", "sum_in_c", name="sum(range(10**12))", states=HELD),
    _plain("c_deque", "drain_in_c", name="deque(repeat(0), maxlen=0)", states=HELD),
    _plain("regex", "match_for_ever", states=HELD),
    _plain("spinning_python", "spin_in_python"),
    Exhibit(
        "2,000 threads", "many_threads", frames=("wait_beside_many", "wait_with_the_others"), env={"THREADS": "2000"}
    ),
    _plain("deep_recursion", "enter_the_recursion", "wait_at_the_bottom"),
    _plain("logging_lock", "wait_holding_logging_locks"),
    _plain("import_lock", "wait_holding_import_lock"),
    _plain("import_unfinished", "wait_while_imported"),
    _plain("stdout_full", "print_into_full_pipe"),
    _plain("del_wants_lock", "wait_holding_the_lock"),
    _plain("fork_child", "acquire_what_nobody_holds", "parent_waits_for_child", name="fork-deadlocked child"),
    Exhibit("DataLoader worker", "dataloader_worker", frames=("read_one_sample", "fetch_a_batch"), needs=("torch",)),
    Exhibit("Gloo all_reduce", "gloo_all_reduce", frames=("enter_all_reduce", "stay_outside"), needs=("torch",)),
    _plain("asyncio_blocked", "block_the_loop"),
    _plain("asyncio_owns_wakeup_fd", "wait_in_coroutine"),
    _plain("asyncio_owns_signal", "run_loop"),
    Exhibit("SIGSTOP", "lock", ("stopped",), ("wait_for_lock",), "stop"),
    Exhibit("SIGSTOP while it spins", "spinning_python", ("stopped",), ("spin_in_python",), "stop"),
    Exhibit("traced by a debugger", "lock", ("traced",), ("wait_for_lock",), "trace"),
    _plain("d_state", "wait_in_vfork", name="main in D state"),
    Exhibit("another thread in D state", "d_state_thread", frames=("wait_for_the_thread", "wait_in_vfork")),
    Exhibit("out of descriptors", "no_descriptors", ("unreachable", "responsive"), ("wait_without_descriptors",)),
    Exhibit("disk full", "lock", frames=("wait_for_lock",), keeper="fill_disk", needs=("root",)),
    Exhibit("read-only dump directory", "lock", frames=("wait_for_lock",), keeper="remount_read_only", needs=("root",)),
    Exhibit(
        "dump directory that hangs", "lock", ("busy", "responsive"), ("wait_for_lock",), "freeze_disk", needs=("root",)
    ),
    Exhibit("address space exhausted", "no_memory", ("responsive", "busy"), ("wait_without_memory",)),
    _plain("signal_blocked", "wait_with_signal_blocked", name="signal blocked by the program"),
    Exhibit("interpreter finalising", "finalising", ("exited", "unreachable", "busy"), ("wait_while_finalising",)),
    Exhibit("segfault", "crash", ("crashed",), keeper="release", env={"CRASH": "segfault"}, ends=True),
    Exhibit("abort", "crash", ("crashed",), keeper="release", env={"CRASH": "abort"}, ends=True),
    Exhibit("exit 3", "crash", ("exited",), keeper="release", env={"CRASH": "exit:3"}, ends=True),
    Exhibit("kill -9 before the question", "lock", ("killed",), keeper="kill", ends=True),
    Exhibit("kill -9 after the claim", "user_handlers", ("killed",), keeper="kill_when_claimed", ends=True),
    Exhibit(
        "OOM-kill in a cgroup",
        "crash",
        ("killed",),
        keeper="run_out_of_memory",
        env={"CRASH": "memory"},
        needs=("cgroup",),
        ends=True,
    ),
)
