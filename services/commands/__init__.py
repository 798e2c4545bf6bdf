"""The commands of `recollect`, a file each."""
