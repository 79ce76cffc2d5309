"""Results on disk that explain themselves, and safe reading of other people's."""

LOGS, REPORTS = "runs/logs", "runs/reports"
"""Folders of runs and of reports, seen from where a command is given."""
PAGE = "index.html"
"""Of a report, in its folder."""
