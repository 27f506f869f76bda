"""For all tests: the folder from which they, and the processes that they start, import workers."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
