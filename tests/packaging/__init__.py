"""The layer as it ships: the zips, and the executable in them, run where there is nothing else."""
