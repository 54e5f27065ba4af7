"""Makes the images of this folder and what torchvision makes of them.

    python make.py

Made with Pillow 13.0.0 (libjpeg-turbo 3.2.0, libwebp 1.6.0), torch 2.13.0 and torchvision 0.28.0. The images are formulas
and noise, so nobody holds rights in them. Writes `images/<class>/<file>` and `expected.safetensors`: for each image
`<class>/<file>` the bytes of `Resize(24) -> CenterCrop(20)` (planar uint8), and for some `<class>/<file>:float` what
`ToTensor -> Normalize` makes of them. `mean` and `std` are the ones of ImageNet.
"""

import json
import os
import shutil
import struct
import zlib

import numpy as np
import torchvision.transforms as T
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = os.path.join(HERE, "images")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
random = np.random.default_rng(0)


def picture(height, width, noise=6):
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = [127 + 120 * np.sin(x / 7 + y / 13), 127 + 120 * np.cos(x / 5 - y / 9), (x * 3 + y * 2) % 256]
    values = np.stack(planes, -1)
    values[height // 3 : height // 2, width // 4 : width // 2] = [250, 10, 10]
    return np.clip(values + random.normal(0, noise, values.shape), 0, 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(colour, rows, extra=b""):
    """16-bit PNGs, which Pillow does not write for colour."""
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def main():
    shutil.rmtree(IMAGES, ignore_errors=True)

    def save(name, image, **options):
        path = os.path.join(IMAGES, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(image, bytes):
            with open(path, "wb") as file:
                file.write(image)
        else:
            image.save(path, **options)

    rgb = Image.fromarray(picture(37, 45))
    tall = Image.fromarray(picture(51, 29))
    ink = np.concatenate([picture(33, 31), picture(33, 31)[..., :1]], -1)
    rgba = Image.fromarray(np.concatenate([picture(30, 34), picture(30, 34)[..., :1]], -1), "RGBA")

    save("jpeg/420.jpg", rgb, quality=75, subsampling="4:2:0")
    save("jpeg/422_progressive.jpeg", tall, quality=85, subsampling="4:2:2", progressive=True)
    save("jpeg/444.JPG", rgb, quality=60, subsampling="4:4:4")
    save("jpeg/cmyk.jpg", Image.fromarray(ink, "CMYK"), quality=80)
    save("jpeg/grey.jpg", tall.convert("L"), quality=80)
    save("jpeg/restarts.jpg", rgb, quality=50, subsampling="4:2:0", restart_marker_blocks=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("jpeg/turned.jpg", tall, quality=75, exif=exif)

    save("other/bits.bmp", rgb.convert("1"))
    save("other/bmp.bmp", Image.fromarray(picture(25, 24)))
    save("other/deep/grey_alpha.png", rgba.convert("LA"))
    save("other/grey16.png", png16(0, picture(26, 30)[..., 0].astype(int) * 3))
    save("other/grey16_transparent.png", png16(0, picture(22, 23)[..., 0].astype(int) * 2, chunk(b"tRNS", b"\0\7")))
    save("other/lossless.webp", rgba, lossless=True)
    save("other/lossy.webp", rgb, quality=60)
    save("other/palette.png", rgb.quantize(60), transparency=3)
    save("other/ppm.ppm", Image.fromarray(picture(24, 26)))
    save("other/rgb16.png", png16(2, picture(25, 27).astype(int) * 257 + 77))
    save("other/rgba.png", rgba)
    save("other/small.png", Image.fromarray(picture(5, 9)))

    tensors = {}
    crop = T.Compose([T.Resize(24), T.CenterCrop(20)])
    whole = T.Compose([crop, T.ToTensor(), T.Normalize(MEAN, STD)])
    for folder, _, files in os.walk(IMAGES):
        for file in files:
            path = os.path.join(folder, file)
            name = os.path.relpath(path, IMAGES)
            image = Image.open(path).convert("RGB")
            tensors[name] = np.asarray(crop(image)).transpose(2, 0, 1)
            if file in ("420.jpg", "palette.png"):
                tensors[name + ":float"] = whole(image).numpy()
    # A crop wider than the resized image is padded with black.
    small = Image.open(os.path.join(IMAGES, "other/small.png")).convert("RGB")
    tensors["padded"] = np.asarray(T.Compose([T.Resize(6), T.CenterCrop(11)])(small)).transpose(2, 0, 1)

    header, data = {}, b""
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        kind = {"uint8": "U8", "float32": "F32"}[str(values.dtype)]
        data += b"\0" * (-len(data) % 4)
        begin = len(data)
        data += values.tobytes()
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, "expected.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


main()
