"""Many tasks at once: by processes of this machine, Ray, or an array of Slurm's."""
