"""A handler, and a section of the program in which its signal is blocked: the handler runs after the section."""

from __future__ import annotations

import os
import signal
import time

from _neighbour import arm, note, note_signal, ready

if __name__ == "__main__":
    arm("first")
    signal.signal(signal.SIGUSR1, note_signal)
    arm("last")
    for number in range(3):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.3)  # whoever takes it wrongly has the time to do so
        note("end of section", number)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    ready()
    time.sleep(600)
