"""Over all ranks of a job, and pure: no file, clock, socket or terminal is touched here.

``ranks`` folds rank sets; ``stacks`` reads what one worker said; ``merge`` makes one tree of
what all said; ``plain`` gives it to other programs. No function here raises for one rank.
"""
