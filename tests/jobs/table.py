"""The jobs that misbehave, and what the verdict on each must be.

In: nothing. Out: ``JOBS``. The rule only this module keeps: each program of ``programs/`` is a line here,
and each line names the rule, the ranks, and the function in which the user's code stands. The very line
is marked ``# stands here`` in the program.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "programs"

MARK = "# stands here"
"""In a program, at the end of the line that must be found."""


@dataclass(frozen=True)
class Job:
    """One job: its program, how many ranks it has, and the verdict.

    ``function`` is where the ranks that are named stand ("" where none is named); ``outside``: only somebody
    else can read their stack; ``hangs``: whether to wait until all its ranks stand still; ``short``: it is
    in the short form, which `make test` runs.
    """

    name: str
    size: int
    rule: str
    ranks: tuple[int, ...] = ()
    function: str = ""
    hangs: bool = True
    outside: bool = False
    short: bool = False
    confidence: tuple[str, ...] = ("high", "medium")
    samples: int = 3
    says: str = ""
    """A text that the summary or its evidence must have."""

    @property
    def path(self) -> Path:
        """The program."""
        return PROGRAMS / f"{self.name}.py"

    @property
    def lines(self) -> tuple[int, ...]:
        """The marked lines of the program."""
        texts = self.path.read_text(encoding="utf-8").splitlines()
        return tuple(number for number, text in enumerate(texts, 1) if text.endswith(MARK))


JOBS = (
    Job("healthy_steps", 2, "not-hung", hangs=False, short=True),
    Job("healthy_long_step", 2, "not-hung", hangs=False),
    Job("skipped_collective", 4, "missing-rank", (2,), "upload_results", short=True),
    Job("eight_ranks", 8, "missing-rank", (5,), "fetch_shard"),
    Job("two_missing", 6, "missing-rank", (2, 3), "call_service", says="exactly the members of group"),
    Job("chain", 4, "missing-rank", (3,), "compile_kernel"),
    Job("lock", 2, "missing-rank", (0,), "append_metrics"),
    Job("spins", 2, "missing-rank", (1,), "find_free_slot", hangs=False),
    Job("subprocess_wait", 2, "missing-rank", (0,), "upload_logs"),
    Job("thread_pool", 2, "missing-rank", (1,), "next_batch"),
    Job("receive", 3, "missing-rank", (1,), "prepare_batch"),
    Job("async_wait", 3, "missing-rank", (0,), "wait_for_batch"),
    Job("before_init", 3, "missing-rank", (1,), "read_configuration"),
    Job("destroy", 2, "missing-rank", (1,), "write_summary"),
    Job("different_collective", 3, "different-collective", (1,), "share_loss", short=True),
    Job("swapped_calls", 2, "different-collective", (0, 1), "gather_sizes"),
    Job("order_mismatch", 3, "order-mismatch", (1,), "overlap"),
    Job("shape_mismatch", 3, "shape-mismatch", (1,), "train", says="share_lengths"),
    Job("dtype_mismatch", 3, "shape-mismatch", (1,), "act_on", says="share_loss"),
    Job("order_over_groups", 2, "deadlock-over-groups", (0, 1), "reduce_gradients", short=True),
    Job("loader_in_process", 2, "dataloader-stuck", (1,), "read_sample", short=True),
    Job("loader_child", 3, "dataloader-stuck", (2,), "train"),
    Job("checkpoint_save", 2, "checkpoint-io", (0,), "save_model"),
    Job("checkpoint_load", 4, "checkpoint-io", (3,), "load_checkpoint"),
    Job("regex", 2, "gil-held", (1,), "clean_text", outside=True, hangs=False),
    Job("gil_held", 2, "gil-held", (0,), "call_extension", outside=True),
    Job("stopped", 3, "stopped", (2,), "pause", outside=True, short=True),
    Job("killed", 4, "process-dead", (3,)),
    Job("raised", 3, "process-dead", (1,)),
    Job("store_wait", 4, "store-wait", (3,), "wait_for_permission"),
    Job("all_in_store", 2, "store-wait", (0, 1), "agree_on_version"),
    Job("slow_rank", 3, "straggler", (1,), "compute", hangs=False),
    Job("evaluates_alone", 3, "straggler", (0,), hangs=False, samples=6),
    Job("idle_everywhere", 2, "unknown", confidence=("low",)),
)
