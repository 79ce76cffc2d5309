"""The console script `ccenv` as a module: python -m ccenv COMMAND ..."""

import sys

from ccenv.runs.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
