"""check_vector_env."""


def check_vector_env(env):
    """Not yet."""
    raise NotImplementedError
