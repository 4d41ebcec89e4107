"""Image files as bytes, sound ones and others."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

EXIF_ORIENTATION = 0x0112


def samples(height, width, channels=3, seed=0):
    """A smooth picture, which JPEG keeps nearly as it is: uint8 [height, width, channels]."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [rows * (3 + c + seed % 5) + columns * (5 - c) + 40 * seed for c in range(channels)]
    return np.stack(waves, axis=2).astype(np.uint8) // 2 + 60


def encoded(array, format="PNG", *, orientation=None, **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    if orientation is not None:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        options["exif"] = exif
    image.save(file, format, **options)
    return file.getvalue()


def bomb(width=20_000, height=20_000):
    """A PNG of a few bytes that claims to be huge."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
