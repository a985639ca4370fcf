"""The `o2-lambda` command, which joins everything else."""
