"""What is on disk: the only package that writes under the root (DESIGN, "On disk")."""
