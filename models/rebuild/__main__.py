"""Lets `python3 models/rebuild` run the package although the folder is not on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rebuild.main import main  # noqa: E402  (the path has to be set first)

sys.exit(main())
