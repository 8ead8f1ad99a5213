"""The hang zoo: every way to hang, what must be said of it, and what other tools say."""
