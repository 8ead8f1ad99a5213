"""What surrounds the program: environment variables, module search path, versions, machine.

In: ``os.environ`` and ``sys``. Out: plain data with secrets redacted (``redaction`` knows what that
is). The rule this module keeps: versions come from modules that are loaded already, read from their
dict; nothing is imported and no package metadata is read for them.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from oobdump.handlers.plain import Readings, dict_of, text, text_of
from oobdump.handlers.redaction import redact, redact_value
from oobdump.identity import now_iso

__all__ = ["environment"]

_MAX_VARIABLES = 5000
"""Above it somebody keeps data in the environment."""

_MAX_PATHS = 1000

_VERSION_ATTRIBUTES = ("__version__", "version", "VERSION")

_MODULES = (
    *("torch", "torchvision", "torchaudio", "torchdata", "torchft", "torchtitan", "triton", "lightning"),
    *("pytorch_lightning", "accelerate", "deepspeed", "megatron", "transformers", "datasets", "tokenizers"),
    *("peft", "vllm", "flash_attn", "xformers", "apex", "transformer_engine", "nvidia", "bitsandbytes"),
    *("jax", "jaxlib", "flax", "tensorflow", "numpy", "scipy", "pandas", "pyarrow", "polars", "cupy", "numba"),
    *("ray", "dask", "distributed", "mpi4py", "horovod", "submitit", "hydra", "omegaconf", "fsspec", "s3fs"),
    *("gcsfs", "boto3", "botocore", "requests", "urllib3", "aiohttp", "httpx", "uvloop", "gevent", "eventlet"),
    *("trio", "anyio", "grpc", "google.protobuf", "msgpack", "orjson", "wandb", "mlflow", "tensorboard", "zmq"),
    *("IPython", "ipykernel", "debugpy", "pydevd", "celery", "gunicorn", "uvicorn", "multiprocess", "dill"),
    *("cloudpickle", "psutil", "oobdump"),
)
"""Modules whose version has explained a hang before: the training stack, and what changes threads, signals or I/O."""

_BUILDS = {"torch.version": ("cuda", "hip", "git_version")}


def environment(*, values: bool = True) -> dict[str, Any]:
    """Environment variables (secrets redacted), search path, versions of loaded modules, machine."""
    readings = Readings()
    found = {
        "variables": readings.take("variables", _variables if values else _names),
        "path": readings.take("path", _search_path),
        "modules": readings.take("modules", _versions),
        "flags": readings.take("flags", _flags),
        "uname": readings.take("uname", _uname),
        "python": {"version": text(sys.version), "platform": sys.platform, "prefix": text(sys.prefix)},
    }
    return {"schema_version": 1, "taken_at": now_iso(), **found, "problems": readings.problems}


def _variables() -> dict[str, str]:
    names = sorted(list(os.environ)[:_MAX_VARIABLES])
    pairs = ((text(name), os.environ.get(name)) for name in names)
    return {name: redact_value(name, text(value)) for name, value in pairs if value is not None}


def _names() -> list[str]:
    return sorted(text(name) for name in list(os.environ)[:_MAX_VARIABLES])


def _search_path() -> list[str]:
    return [redact(path) for path in map(text_of, sys.path[:_MAX_PATHS]) if path is not None]


def _versions() -> dict[str, str]:
    versions = ((name, _version(name)) for name in _MODULES)
    found = {name: version for name, version in versions if version}
    for name, attributes in _BUILDS.items():
        known = _attributes(name)
        found |= {f"{name}.{each}": version for each in attributes if (version := text_of(known.get(each)))}
    return found


def _version(name: str) -> str | None:
    attributes = _attributes(name)
    values = (attributes.get(each) for each in _VERSION_ATTRIBUTES)
    return next(filter(None, map(text_of, values)), None)


def _attributes(name: str) -> dict[str, Any]:
    """What a loaded module has; empty for what is not loaded and for objects that stand in for a module."""
    module = sys.modules.get(name)
    return dict_of(module) if issubclass(type(module), ModuleType) else {}


def _flags() -> dict[str, Any]:
    names = (name for name in dir(type(sys.flags)) if not name.startswith(("_", "n_")))
    values = ((name, getattr(sys.flags, name)) for name in names)
    return {name: value for name, value in values if isinstance(value, (bool, int))}


def _uname() -> dict[str, str]:
    machine = os.uname()
    return {
        "system": machine.sysname,
        "node": text(machine.nodename),
        "release": machine.release,
        "version": machine.version,
        "machine": machine.machine,
    }
