"""``gloo_all_reduce`` with PyTorch's debug pages on ``DEBUG_PORT``, served by oobdump's worker server.

The one line that a user would change is the first of ``serve``: PyTorch's ``_WorkerServer``
is replaced by the one of ``oobdump.control_plane``. ``stay_outside`` waits in rank ``ODD_RANK``.
"""

from __future__ import annotations

import os
import socket

import gloo_all_reduce
import torch.distributed.debug as pages
from _program import arm

from oobdump import control_plane


def serve() -> None:
    """Start PyTorch's own pages over our server; the loopback's name stands for the host's, which need not resolve."""
    pages._WorkerServer = control_plane._WorkerServer
    socket.gethostname = lambda: "localhost"
    pages.start_debug_server(port=int(os.environ.get("DEBUG_PORT", "0")), fetch_timeout=30.0)


if __name__ == "__main__":
    arm()
    serve()
    gloo_all_reduce.main()
