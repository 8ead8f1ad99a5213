"""Ask a worker what it is doing, whatever it is doing.

``oobdump.start()`` arms this process: dropped request files and the request signal are then
answered by the handlers of one registry, into a dump directory. Importing starts nothing.
"""

from oobdump._version import __version__
from oobdump.registry import get_handler, get_handler_names, handler, register_handler
from oobdump.request import HandlerRequest, Request
from oobdump.response import HandlerResponse, Response
from oobdump.worker import Worker, dump, start, stop

__all__ = [
    "HandlerRequest",
    "HandlerResponse",
    "Request",
    "Response",
    "Worker",
    "__version__",
    "dump",
    "get_handler",
    "get_handler_names",
    "handler",
    "register_handler",
    "start",
    "stop",
]
