"""Reading what others wrote: files as they lie on disk, ours and foreign, described without harm."""
