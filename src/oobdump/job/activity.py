"""What a stack is busy with: a collective, the rendezvous, a DataLoader, a checkpoint, or the user's own code.

In: frames. Out: an ``Activity`` with the frame that tells, and the innermost frame of the user's.
The rule only this module keeps: only paths and names of frames are looked at, never a source file,
so that stacks of another machine mean the same here. A new library is a line in a table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from oobdump.job.stacks import Frame, Stack, is_library

__all__ = ["Activity", "Kind", "activity", "in_distributed", "user_frame"]

Kind = Literal["collective", "p2p", "init", "leave", "dataloader", "checkpoint", "checkpoint-name", "user", "library"]

_DISTRIBUTED = r"(?:^|/)torch/distributed/"

_P2P = r"(?:i?send|i?recv|(?:send|recv)_object_list|batch_isend_irecv)"

_INIT = (
    r"(?:init_process_group|_store_based_barrier|_create_c10d_store|_tcp_rendezvous_handler|"
    r"_env_rendezvous_handler|rendezvous|_new_process_group_helper|_new_group_with_tag|new_group|split_group|"
    r"new_subgroups|new_subgroups_by_enumeration|monitored_barrier)"
)

_TABLE: tuple[tuple[Kind, str, str], ...] = (
    ("checkpoint", r"(?:^|/)torch/(?:serialization\.py$|distributed/checkpoint/)", r".*"),
    ("checkpoint", r"(?:^|/)(?:safetensors|orbax|torchsnapshot)/", r".*"),
    ("checkpoint", r"(?:^|/)numpy/lib/(?:_?npyio|format|_npyio_impl|_format_impl)", r".*"),
    ("checkpoint", r".*", r"(?:.*\.)?(?:save_pretrained|_save_checkpoint|load_from_checkpoint)"),
    ("dataloader", r"(?:^|/)torch/utils/data/", r".*"),
    ("leave", _DISTRIBUTED + r"distributed_c10d\.py$", r"destroy_process_group|_shutdown_backend|_abort_.*"),
    ("init", _DISTRIBUTED + r"(?:distributed_c10d|rendezvous)\.py$", _INIT),
    ("init", _DISTRIBUTED + r"(?:device_mesh|elastic/utils/store)\.py$", r".*"),
    ("p2p", _DISTRIBUTED + r"distributed_c10d\.py$", _P2P),
    (
        "collective",
        _DISTRIBUTED + r"(?:distributed_c10d|_functional_collectives(?:_impl)?|nn/functional)\.py$",
        r"(?:all_|barrier|broadcast|reduce|gather|scatter|wait|_wait).*",
    ),
)
"""Kind, file, function: of a stack the innermost frame that fits a line counts, of that frame the first line."""

_MOVES_BYTES = r"(?:save|load|write|read|restore|upload|download|store|dump|flush|sync)"
_CHECKPOINT_NAMED = re.compile(
    rf"{_MOVES_BYTES}.*(?:check_?point|ckpt)|(?:check_?point|ckpt).*{_MOVES_BYTES}", re.IGNORECASE
)
"""In a function's name: the user says what it is for. ``checkpoint`` alone may be activation checkpointing."""

_OURS = re.compile(r"(?:^|/)oobdump/(?:worker|__init__|control_plane|http_apps|run|__main__)[^/]*\.py$")
"""Of oobdump's own functions those that call the user's."""

_COMPILED = tuple((kind, re.compile(file), re.compile(rf"(?:{function})$")) for kind, file, function in _TABLE)

_CACHED_FRAMES = 2**16


@dataclass(frozen=True)
class Activity:
    """What a stack is busy with. ``frame`` tells it; ``user`` is the innermost frame of the user's, if there is one."""

    kind: Kind
    frame: Frame | None
    user: Frame | None

    @property
    def waits_for_others(self) -> bool:
        """Whether it goes on only when other ranks do their part."""
        return self.kind in ("collective", "p2p", "init")


def activity(stack: Stack) -> Activity:
    """What the innermost frame that any table knows says."""
    user = user_frame(stack)
    for frame in reversed(stack):
        kind = _kind_of(frame)
        if kind is not None:
            return Activity(kind, frame, user)
    named = next((f for f in reversed(stack) if not is_library(f) and _CHECKPOINT_NAMED.search(f.function)), None)
    if named is not None:
        return Activity("checkpoint-name", named, user)
    return Activity("library" if user is None else "user", stack[-1] if stack else None, user)


def user_frame(stack: Stack) -> Frame | None:
    """The innermost frame of the user's own code; None if the stack has none."""
    return next((frame for frame in reversed(stack) if not is_library(frame) and not _OURS.search(frame.file)), None)


def in_distributed(stack: Stack) -> bool:
    """Whether the stack goes through ``torch.distributed``."""
    return any(re.search(_DISTRIBUTED, frame.file) for frame in stack)


@lru_cache(maxsize=_CACHED_FRAMES)
def _kind_of(frame: Frame) -> Kind | None:
    function = frame.function.rpartition(".")[2]
    return next((kind for kind, file, name in _COMPILED if file.search(frame.file) and name.match(function)), None)
