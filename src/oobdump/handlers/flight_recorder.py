"""The flight recorder's collectives: ``fr_trace_json``, ``dump_nccl_trace_pickle``, ``dump_nccl_trace_json``.

In: a request with PyTorch's parameters. Out: the bytes that PyTorch's recorder gives, unchanged, with
PyTorch's media types, and PyTorch's texts for parameters that are wrong. The rule only this module
keeps: NCCL's recorder is asked where the build has one, else the generic one, so that the same
request works on CPU builds and on Gloo. The recorder symbolises stacks itself, shielded from imports.
"""

from __future__ import annotations

from collections.abc import Mapping

from oobdump.handlers.torch_lazy import shielded
from oobdump.handlers.torch_objects import function
from oobdump.request import HandlerRequest
from oobdump.response import HandlerResponse

__all__ = ["dump_nccl_trace_json", "dump_nccl_trace_pickle", "fr_trace_json"]

_FOR_PICKLE = {"includecollectives": True, "includestacktraces": True, "onlyactive": False}
_FOR_JSON = {"includecollectives": True, "onlyactive": False}
"""PyTorch's parameters and their defaults."""

_BOOLEANS = {"true": True, "false": False}

_PICKLES = ("_dump_nccl_trace", "_dump_fr_trace")
_JSONS = ("_dump_nccl_trace_json", "_dump_fr_trace_json")
"""NCCL's recorder first. Feature-detected at each call: the names move between releases."""


def fr_trace_json(_request: HandlerRequest, response: HandlerResponse) -> None:
    """The generic flight recorder's active collectives as JSON, as PyTorch's handler of that name."""
    dump = function("flight recorder", *reversed(_JSONS))
    response.set_content(dump(includeCollectives=True, onlyActive=True), "application/json")
    response.set_status(200)


def dump_nccl_trace_pickle(request: HandlerRequest, response: HandlerResponse) -> None:
    """The flight recorder as a pickle that torchfrtrace reads; includecollectives, includestacktraces, onlyactive."""
    chosen = _chosen(request, response, _FOR_PICKLE)
    if chosen is None:
        return
    dump = function("flight recorder", *_PICKLES)
    with shielded():
        content = dump(
            includeCollectives=chosen["includecollectives"],
            includeStackTraces=chosen["includestacktraces"],
            onlyActive=chosen["onlyactive"],
        )
    response.set_content(content, "application/octet-stream")


def dump_nccl_trace_json(request: HandlerRequest, response: HandlerResponse) -> None:
    """The flight recorder as JSON, without stacks; includecollectives and onlyactive are true or false."""
    chosen = _chosen(request, response, _FOR_JSON)
    if chosen is None:
        return
    dump = function("flight recorder", *_JSONS)
    content = dump(includeCollectives=chosen["includecollectives"], onlyActive=chosen["onlyactive"])
    response.set_content(content, "application/json")
    response.set_status(200)


def _chosen(request: HandlerRequest, response: HandlerResponse, known: Mapping[str, bool]) -> dict[str, bool] | None:
    """The parameters, or None once the response says which is wrong: a value before a name, as in PyTorch."""
    given = request.params()
    for name in sorted(given.keys() & known.keys()):
        if given[name] not in _BOOLEANS:
            _refuse(response, f"Invalid value for {name} valid values are true or false")
            return None
    if given.keys() - known.keys():
        _refuse(response, "Invalid parameters - unexpected param passed in")
        return None
    return {**known, **{name: _BOOLEANS[text] for name, text in given.items()}}


def _refuse(response: HandlerResponse, why: str) -> None:
    response.set_status(400)
    response.set_content(why, "text/plain")
