"""Texts: files -> windows of symbols; asked for by name, see `ccenv.data.registry`."""
