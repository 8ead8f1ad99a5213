"""Reading what was taken earlier or elsewhere: the edge between files and ``job``.

``look`` tells what a path holds, ``recorders`` reads flight recorders in ``child`` processes with
limits, ``copies`` finds dumps in copied directories, ``reading`` puts it together. Nothing here
raises for one file.
"""
