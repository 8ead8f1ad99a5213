"""``c_wait_gil_held`` with torch loaded, whose control plane answers without the GIL: ``wait_in_c_with_gil``."""

from __future__ import annotations

import torch.distributed  # noqa: F401 - brings the control plane
from _program import arm
from c_wait_gil_held import wait_in_c_with_gil

if __name__ == "__main__":
    arm()
    wait_in_c_with_gil()
