"""Lets `python3 models/trials` run although the folder is not on the path. See README.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trials.main import main  # noqa: E402  (the path has to be set first)

sys.exit(main())
