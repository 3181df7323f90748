"""Small folders of shards in the documented format, written without the code under test."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import cv2
from tiny_families import CATEGORIES, picture


def save_shards(folder: Path, crop_px: int = 160, each: int = 3, held_out: int = 1, categories=CATEGORIES) -> Path:
    """`each` crops a category to train on and `held_out` to validate on, as JPEG; returns the folder."""
    folder.mkdir(parents=True)
    counts = {"train": dict.fromkeys(categories, each), "validation": dict.fromkeys(categories, held_out)}
    shards = []
    for offset, (split, num) in enumerate((("train", each), ("validation", held_out))):
        path = folder / f"{split}-000000.tar"
        with tarfile.open(path, "w") as tar:
            for c, category in enumerate(categories):
                for i in range(num):
                    key = f"{c * num + i:06d}"
                    pixels = picture(100 * offset + 10 * c + i, crop_px, crop_px)
                    jpeg = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                    about = {"category": category, "photo": f"{category}/{i}.jpg", "y": 0, "x": 0}
                    for name, data in ((f"{key}.jpg", jpeg), (f"{key}.json", json.dumps(about).encode())):
                        member = tarfile.TarInfo(name)
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        num_crops = num * len(categories)
        shards.append({"file": path.name, "split": split, "crops": num_crops, "bytes": len(data), "sha256": digest})
    manifest = {
        "format": 1,
        "crop_px": crop_px,
        "encoding": "jpeg",
        "seed": 0,
        "licence": "CC0-1.0",
        "source": "drawn for a test",
        "categories": sorted(categories),
        "measures": {},
        "photographs": (each + held_out) * len(categories),
        "megapixels": 0.1,
        "shards": [s for s in shards if s["crops"]],
        "crops": counts,
        "statistics": {"mean_rgb": [0.5, 0.5, 0.5], "std_rgb": [0.2, 0.2, 0.2]},
        "left_out": {"counts": {}, "files": []},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
