"""Pages for people: data in, lines of text out; no file, clock, socket or terminal here.

``text`` is the page for a terminal; ``harmless`` makes names from files safe to print.
"""
