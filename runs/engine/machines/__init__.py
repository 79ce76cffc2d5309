"""Many tasks at once: by processes of this machine, Ray, or an array of Slurm's."""

LOCAL = "local"
ENGINES = {
    "ray": "ccenv.runs.engine.machines.clusters:open_ray",
    "slurm": "ccenv.runs.engine.machines.clusters:open_slurm",
}
"""Name -> what opens it, imported on use: each needs a library of its own."""
