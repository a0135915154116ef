"""Pictures for the tests of reading them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """RGB, 90 × 60: smooth, with an edge; every corner differs, so turns and crops show."""
    y, x = np.mgrid[0:60, 0:90]
    planes = [x * 255 / 89, y * 255 / 59, np.where(x > y, 40, 200)]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))
