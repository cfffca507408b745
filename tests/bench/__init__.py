"""How long things take here, compared with each other in one run: `make bench`. No test depends on a figure."""
