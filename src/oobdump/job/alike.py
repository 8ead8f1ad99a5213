"""Whether calls of several ranks in one place of a group can be the same collective.

In: what was called, by whom. Out: what differs, if anything that must be equal does. The rule
only this module keeps: which sides of an operation have to agree over ranks, and which sizes
inside one call; the table says where that is not so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Literal

from oobdump.job.trace import Op, Sizes

__all__ = ["Difference", "difference", "has_total", "own_fault", "total_fault"]

Difference = Literal["type-mismatch", "size-mismatch", "dtype-mismatch"]

_INPUTS_DIFFER = frozenset({"scatter", "all_to_all", "all_to_all_single", "all_to_all_v_single", "all_gather_v"})
_INPUTS_DIFFER |= {"alltoall", "alltoall_base", "_all_to_all_single"}
"""Operations whose inputs may differ over ranks: only the root of a scatter has one, and parts may be uneven."""

_OUTPUTS_DIFFER = frozenset({"gather", "all_to_all", "all_to_all_single", "all_to_all_v_single", "reduce_scatter_v"})
_OUTPUTS_DIFFER |= {"alltoall", "alltoall_base", "_all_to_all_single"}

_GATHERS = frozenset({"all_gather", "_all_gather_base", "all_gather_single", "all_gather_into_tensor_coalesced"})
_SCATTERS = frozenset(
    {"reduce_scatter", "_reduce_scatter_base", "reduce_scatter_single", "reduce_scatter_tensor_coalesced"}
)
_SAME_SHAPE = frozenset({"all_reduce", "allreduce_coalesced"})
_TOTALS = frozenset({"all_to_all", "all_to_all_single"})


def difference(usual: Op, other: Op) -> Difference | None:
    """What makes ``other`` no call of the same collective as ``usual``; None if it can be one."""
    if usual.name != other.name:
        return "type-mismatch"
    inputs, outputs = usual.name not in _INPUTS_DIFFER, usual.name not in _OUTPUTS_DIFFER
    if (inputs and usual.input_sizes != other.input_sizes) or (outputs and usual.output_sizes != other.output_sizes):
        return "size-mismatch"
    if _dtypes_differ(usual.input_dtypes, other.input_dtypes) or _dtypes_differ(
        usual.output_dtypes, other.output_dtypes
    ):
        return "dtype-mismatch"
    return None


def own_fault(op: Op, group_size: int) -> str:
    """What is wrong with the sizes of one call by itself, in words; nothing if they fit."""
    check = _OWN.get(op.name)
    return check(op, group_size) if check is not None and op.input_sizes and op.output_sizes else ""


def has_total(op: Op) -> bool:
    """Whether only all ranks' sizes together tell if they fit."""
    return op.name in _TOTALS


def total_fault(ops: Sequence[tuple[Op, int]]) -> str:
    """What is wrong with an all-to-all over all members, each op with how many called it so."""
    if not ops or not has_total(ops[0][0]):
        return ""
    sent = sum(_numbers(op.input_sizes) * times for op, times in ops)
    received = sum(_numbers(op.output_sizes) * times for op, times in ops)
    return "" if sent == received else f"{sent} elements go in and {received} come out"


def _dtypes_differ(usual: Sequence[str], other: Sequence[str]) -> bool:
    """Where one side has no tensor (only the root of a scatter has an input) there is nothing to compare."""
    return bool(usual) and bool(other) and set(usual) != set(other)


def _numbers(sizes: Sizes) -> int:
    return sum(map(prod, sizes))


def _gather(op: Op, group_size: int) -> str:
    given, made = _numbers(op.input_sizes), _numbers(op.output_sizes)
    return "" if given * group_size == made else f"{given} elements of each of {group_size} ranks make no {made}"


def _scatter(op: Op, group_size: int) -> str:
    given, made = _numbers(op.input_sizes), _numbers(op.output_sizes)
    return "" if made * group_size == given else f"{given} elements do not make {made} for each of {group_size} ranks"


def _same(op: Op, group_size: int) -> str:  # noqa: ARG001 - one of a table
    return "" if op.input_sizes == op.output_sizes else "what goes in and what comes out differ in size"


_OWN: Mapping[str, Callable[[Op, int], str]] = {
    **dict.fromkeys(_GATHERS, _gather),
    **dict.fromkeys(_SCATTERS, _scatter),
    **dict.fromkeys(_SAME_SHAPE, _same),
}
