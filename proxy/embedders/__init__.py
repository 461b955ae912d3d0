"""Ways to put a mark into an answer, one file each."""
