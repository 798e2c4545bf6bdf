"""The frozen teacher: pseudo-rehearsal and token annotations."""
