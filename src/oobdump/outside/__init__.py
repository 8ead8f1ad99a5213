"""An answer for a worker that cannot give one: what can be seen of it from another process.

In: a request, a worker that was asked, and why it is looked at from outside. Out: a dump beside
where its own would be, with the worker's state, the evidence for it, and the outcome of each rung
of the ladder. Runs in a client or below a sentinel, never in a worker; pauses and signals nobody.
"""
