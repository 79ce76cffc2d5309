"""What is asked for by name: nothing of the core imports or calls a module of this folder."""
