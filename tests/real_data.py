"""Where the real files lie, and how a test says that they are absent."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("TIGHNARI_DATA", Path(__file__).parents[2] / "shared" / "data"))
GLC24 = DATA / "glc24"

needs_glc24 = pytest.mark.skipif(not GLC24.is_dir(), reason=f"no real surveys at {GLC24}")
