"""Images and files that the imaging tests are made of, none of them written by the code under test."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

DEPTHS = (np.uint8, np.uint16, np.float32)


def noise(shape, dtype, seed=0):
    """Samples over the whole range of `dtype`, both ends included."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype) == np.float32:
        samples = rng.random(shape, dtype=np.float32)
        samples.flat[0] = 1.0
    else:
        samples = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        samples.flat[0] = np.iinfo(dtype).max
    return samples


def smooth(height, width):
    """A colourful uint8 RGB image without hard edges, which lossy formats keep well."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = [0.5 + 0.5 * np.sin(3 * x + 1), 0.5 + 0.5 * np.cos(2 * y + x), 0.2 + 0.7 * x * y]
    return np.rint(255 * np.stack(planes, axis=-1)).clip(0, 255).astype(np.uint8)


def saved(image, format, **options):
    """The bytes that Pillow writes for an array or a Pillow image."""
    buffer = BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, format, **options)
    return buffer.getvalue()


def reopened(data):
    """The file as Pillow sees it, loaded."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(rows, *, width, depth, color_type, extra=b""):
    """A PNG of raw rows of bytes, unfiltered: for kinds of PNG that no library at hand writes."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    )


def red_cyan_profile():
    """A CMYK profile (ICC 2, one 2×2×2×2 table) by which cyan ink prints pure red, black black, the others white."""
    white, red, black = (255, 128, 128), (round(53.2 * 2.55), 128 + 80, 128 + 67), (0, 128, 128)
    table = b"".join(bytes(black if corner & 1 else red if corner & 8 else white) for corner in range(16))
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + table + ramp * 3
    lut += bytes(-len(lut) % 4)
    text = b"text" + bytes(4) + b"free\0\0\0\0"
    white_point = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags, body, at = [], b"", 128 + 4 + 3 * 12
    for name, value in ((b"A2B0", lut), (b"cprt", text), (b"wtpt", white_point)):
        tags.append(name + struct.pack(">II", at + len(body), len(value)))
        body += value
    head = struct.pack(">I", at + len(body)) + b"lcms" + bytes([2, 0x10, 0, 0]) + b"prtrCMYKLab "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", 3) + b"".join(tags) + body
