"""The main thread is in D state (uninterruptible) with the GIL released: ``wait_in_vfork``.

``posix_spawn`` is a ``vfork`` that returns once: the kernel holds the calling thread in
D state until the child has called ``exec``. This child first opens ``RELEASE_FIFO`` for
writing, which blocks until somebody opens it for reading. ``os.posix_spawn`` would hold
the GIL meanwhile, so glibc's is called through ``ctypes``. Once released, the program
collects the child and ends with 0.
"""

from __future__ import annotations

import ctypes
import os

from _program import arm, ready

FILE_ACTIONS_BYTES = 512
"""``posix_spawn_file_actions_t`` has 80 bytes in glibc and musl on 64 bit machines."""

CHILD_FD = 63
"""The child's descriptor for the FIFO: any number that is not 0 to 2."""

EXECUTABLE = b"/bin/true"


def wait_in_vfork(fifo: str) -> int:
    """Spawn a child that cannot reach its ``exec`` yet; its pid once it has."""
    libc = ctypes.CDLL(None)
    pid = ctypes.c_int()
    actions = ctypes.create_string_buffer(FILE_ACTIONS_BYTES)
    libc.posix_spawn_file_actions_init(actions)
    libc.posix_spawn_file_actions_addopen(actions, CHILD_FD, os.fsencode(fifo), os.O_WRONLY, ctypes.c_uint(0))
    arguments = (ctypes.c_char_p * 2)(EXECUTABLE, None)
    environment = ctypes.c_void_p.in_dll(libc, "environ")
    ready()
    error = libc.posix_spawn(ctypes.byref(pid), EXECUTABLE, actions, None, arguments, environment)
    if error:
        raise OSError(error, os.strerror(error))
    return pid.value


def main() -> int:
    """Hang until released; 0 if the child then ran and ended well."""
    arm()
    _, status = os.waitpid(wait_in_vfork(os.environ["RELEASE_FIFO"]), 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    raise SystemExit(main())
