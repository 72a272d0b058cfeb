"""``python -m rini``."""

import sys

from rini.cli.main import main

sys.exit(main())
