"""Writes scikit-learn's handwritten digits (UCI optical digits) as PNG files in class folders."""

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path) -> int:
    """Write `folder/CLASS/NNNN.png`, 8 x 8 grey levels from 0 to 16; the number of files."""
    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = folder / str(label) / f"{index:04d}.png"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype("uint8")).save(file)
    return len(digits.target)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "raw"
    print(f"{write_digits(folder)} images in {folder}")
