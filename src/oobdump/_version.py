"""The version, in the one place that everything else reads.

In: nothing. Out: ``__version__``. A worker reads it without looking into package metadata,
which would open files.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
