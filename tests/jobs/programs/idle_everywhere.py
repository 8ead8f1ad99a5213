"""Every rank waits for work of its own, none for another: no collective is under way."""

import threading

from _job import begin


def serve_forever() -> None:
    """Waits for what nobody brings."""
    threading.Event().wait()


begin()
serve_forever()
