"""Makes the benchmarks importable, which are no part of the package, however pytest was started."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
