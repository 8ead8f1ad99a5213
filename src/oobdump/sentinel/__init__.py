"""A process beside the workers of a node: it answers for a worker that cannot answer for itself."""
