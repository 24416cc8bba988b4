"""The demo's shop: two dozen products with title, category, colour and price."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from polymodal.cli.drawing import Colour, Layer, arc, curve, draw_product, mirrored

__all__ = ["METADATA_FILE", "Product", "draw_shop", "picture_of", "products"]

METADATA_FILE = "products.csv"
COLOURS: dict[str, Colour] = {
    "red": (196, 38, 46),
    "blue": (38, 84, 168),
    "navy": (34, 44, 78),
    "green": (46, 122, 78),
    "yellow": (236, 190, 52),
    "white": (238, 236, 230),
    "black": (44, 43, 45),
    "pink": (232, 142, 168),
    "orange": (226, 112, 42),
    "purple": (112, 66, 142),
    "brown": (128, 82, 50),
    "grey": (138, 140, 144),
}
BACKGROUNDS: Sequence[Colour] = ((244, 242, 238), (226, 232, 236), (238, 230, 220), (228, 234, 226))
CREAM: Colour = (246, 243, 235)
CATALOGUE = """
t-shirt: red 499, blue striped 649, white 399, black 549, yellow 599, green striped 699
dress: red 1799, blue 2499, pink 1499, black 3299, green 1899
mug: white 249, red 349, blue 299, yellow 329, black 399
bag: brown 2799, red 1599, navy 1999, pink 1299
sneaker: white 2999, red 2499, blue 1899, black 3499
"""
"""A line a category; an item is a colour, perhaps a pattern, and a price in rupees."""


@dataclass(frozen=True)
class Product:
    """One product: what its picture shows and what the shop knows of it."""

    category: str
    colour: str
    pattern: str
    price: int

    @property
    def title(self) -> str:
        """As a shop would list it."""
        return " ".join(filter(None, (self.colour, self.pattern, self.category))).capitalize()

    @property
    def file_name(self) -> str:
        """Without folder."""
        return f"{self.title.lower().replace(' ', '-')}.jpg"


def products() -> Iterator[Product]:
    """Everything in the shop, in order."""
    for line in CATALOGUE.strip().splitlines():
        category, _, items = line.partition(": ")
        for item in items.split(", "):
            colour, *pattern, price = item.split()
            yield Product(category, colour, " ".join(pattern), int(price))


def draw_shop(folder: Path) -> Path:
    """Draw what is not there yet; return the table of metadata, which lies beside the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / METADATA_FILE
    for seed, product in enumerate(products()):
        file = folder / product.file_name
        if not file.exists():
            picture_of(product, seed).save(file, quality=90)
    if not table.exists():
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "title", "category", "colour", "price"])
            for product in products():
                values = (product.title, product.category, product.colour, product.price)
                writer.writerow([product.file_name, *values])
    return table


def picture_of(product: Product, seed: int) -> Image:
    """Draw one product; `seed` decides its background and its folds."""
    return draw_product(_layers(product), BACKGROUNDS[seed % len(BACKGROUNDS)], seed)


def _layers(product: Product) -> list[Layer]:
    shapes: dict[str, Callable[[Colour, str], list[Layer]]] = {
        "t-shirt": _t_shirt,
        "dress": _dress,
        "mug": _mug,
        "bag": _bag,
        "sneaker": _sneaker,
    }
    return shapes[product.category](COLOURS[product.colour], product.pattern)


def _darker(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(value * share) for value in colour)
    return red, green, blue


def _t_shirt(colour: Colour, pattern: str) -> list[Layer]:
    neck = curve((0.5, 0.235), (0.58, 0.235), (0.60, 0.15), steps=12)
    half = [
        *neck,
        *curve((0.60, 0.15), (0.68, 0.17), (0.74, 0.20)),
        *curve((0.74, 0.20), (0.83, 0.26), (0.90, 0.43)),
        *curve((0.90, 0.43), (0.84, 0.48), (0.765, 0.48), steps=8),
        *curve((0.765, 0.48), (0.74, 0.40), (0.715, 0.385), steps=8),
        *curve((0.715, 0.385), (0.72, 0.62), (0.725, 0.85)),
        *curve((0.725, 0.85), (0.62, 0.875), (0.5, 0.872), steps=8),
    ]
    layers = [
        Layer(arc((0.5, 0.18), (0.102, 0.058), 0, 360), _darker(colour, 0.5), depth=0.02),
        Layer(mirrored(half), colour, folds=0.07),
    ]
    if pattern == "striped":
        for row in range(6):
            y = 0.40 + row * 0.075
            right = 0.714 + (y - 0.385) * 0.02
            band = curve((1 - right, y), (0.5, y + 0.012), (right, y))
            lower = curve((right, y + 0.03), (0.5, y + 0.042), (1 - right, y + 0.03))
            layers.append(Layer([*band, *lower], CREAM, depth=0.0, folds=0.07))
    rim = curve((0.40, 0.15), (0.42, 0.24), (0.5, 0.242), (0.58, 0.24), (0.60, 0.15))
    seams = [
        curve((0.715, 0.385), (0.70, 0.30), (0.74, 0.20), steps=12),
        curve((0.285, 0.385), (0.30, 0.30), (0.26, 0.20), steps=12),
        curve((0.276, 0.835), (0.5, 0.86), (0.724, 0.835), steps=12),
    ]
    layers.append(Layer(rim, _darker(colour, 0.86), stroke=0.018, depth=0.004))
    layers += [Layer(seam, _darker(colour, 0.78), stroke=0.004, depth=0.0) for seam in seams]
    return layers


def _dress(colour: Colour, pattern: str) -> list[Layer]:
    half = [
        *curve((0.5, 0.22), (0.56, 0.22), (0.585, 0.10), steps=12),
        (0.625, 0.09),
        *curve((0.625, 0.09), (0.61, 0.20), (0.645, 0.265), steps=12),
        *curve((0.645, 0.265), (0.60, 0.36), (0.60, 0.43), steps=12),
        *curve((0.60, 0.43), (0.66, 0.62), (0.79, 0.88)),
        *curve((0.79, 0.88), (0.66, 0.93), (0.5, 0.925), steps=10),
    ]
    waist = [*curve((0.40, 0.415), (0.5, 0.43), (0.60, 0.415)),
             *curve((0.602, 0.452), (0.5, 0.468), (0.398, 0.452))]  # fmt: skip
    pleats = [
        curve((0.5 + 0.17 * s, 0.46), (0.5 + 0.26 * s, 0.66), (0.5 + 0.5 * s, 0.905), steps=12)
        for s in (-0.42, -0.22, -0.05, 0.14, 0.34)
    ]
    return [
        Layer(mirrored(half), colour, depth=0.045, folds=0.10),
        *(Layer(pleat, _darker(colour, 0.8), stroke=0.006, depth=0.0) for pleat in pleats),
        Layer(waist, _darker(colour, 0.62), depth=0.01),
    ]


def _mug(colour: Colour, pattern: str) -> list[Layer]:
    body = [
        *curve((0.24, 0.27), (0.245, 0.55), (0.27, 0.76)),
        *curve((0.27, 0.76), (0.30, 0.84), (0.46, 0.84), (0.62, 0.84), (0.65, 0.76)),
        *curve((0.65, 0.76), (0.675, 0.55), (0.68, 0.27)),
    ]
    handle = curve((0.66, 0.36), (0.90, 0.30), (0.90, 0.66), (0.645, 0.66))
    return [
        Layer(handle, _darker(colour, 0.92), stroke=0.052, depth=0.016),
        Layer(body, colour, depth=0.09),
        Layer(arc((0.46, 0.27), (0.22, 0.062), 0, 360), _darker(colour, 1.0), depth=0.012),
        Layer(arc((0.46, 0.272), (0.20, 0.05), 0, 360), _darker(colour, 0.6), depth=0.03),
        Layer(arc((0.46, 0.285), (0.185, 0.036), 0, 360), (72, 44, 28), depth=0.02),
    ]


def _bag(colour: Colour, pattern: str) -> list[Layer]:
    body = [
        *curve((0.22, 0.42), (0.5, 0.40), (0.78, 0.42)),
        *curve((0.78, 0.42), (0.82, 0.66), (0.85, 0.83)),
        *curve((0.85, 0.83), (0.85, 0.88), (0.79, 0.885), steps=8),
        *curve((0.79, 0.885), (0.5, 0.90), (0.21, 0.885)),
        *curve((0.21, 0.885), (0.15, 0.88), (0.15, 0.83), steps=8),
    ]
    back = curve((0.35, 0.44), (0.36, 0.12), (0.64, 0.12), (0.65, 0.44))
    front = curve((0.32, 0.47), (0.34, 0.08), (0.66, 0.08), (0.68, 0.47))
    flap = [
        *curve((0.22, 0.42), (0.5, 0.40), (0.78, 0.42)),
        *curve((0.78, 0.42), (0.79, 0.56), (0.5, 0.62), (0.21, 0.56), (0.22, 0.42)),
    ]
    dark = _darker(colour, 0.7)
    return [
        Layer(back, _darker(colour, 0.5), stroke=0.026, depth=0.008),
        Layer(body, colour, depth=0.06),
        Layer(flap, _darker(colour, 0.88), depth=0.02),
        Layer(front, dark, stroke=0.032, depth=0.01),
        Layer(arc((0.5, 0.575), (0.028, 0.028), 0, 360), (206, 170, 92), depth=0.008),
        *(
            Layer(arc((x, 0.475), (0.02, 0.02), 0, 360), (206, 170, 92), depth=0.006)
            for x in (0.32, 0.68)
        ),
    ]


def _sneaker(colour: Colour, pattern: str) -> list[Layer]:
    upper = [
        *curve((0.12, 0.60), (0.11, 0.46), (0.15, 0.36), steps=12),
        *curve((0.15, 0.36), (0.22, 0.40), (0.30, 0.37), (0.34, 0.33), steps=12),
        *curve((0.34, 0.33), (0.48, 0.40), (0.58, 0.49)),
        *curve((0.58, 0.49), (0.74, 0.52), (0.86, 0.55), (0.90, 0.66)),
        (0.12, 0.67),
    ]
    sole = [
        *curve((0.105, 0.635), (0.5, 0.665), (0.90, 0.635)),
        *curve((0.90, 0.635), (0.94, 0.66), (0.92, 0.715), (0.86, 0.725), steps=10),
        *curve((0.86, 0.725), (0.5, 0.735), (0.14, 0.725), steps=10),
        *curve((0.14, 0.725), (0.09, 0.72), (0.105, 0.635), steps=10),
    ]
    toe = [
        *curve((0.75, 0.65), (0.76, 0.57), (0.70, 0.518), steps=10),
        *curve((0.70, 0.518), (0.85, 0.55), (0.895, 0.65), steps=10),
    ]
    heel = [
        *curve((0.118, 0.65), (0.11, 0.50), (0.145, 0.40), steps=10),
        *curve((0.145, 0.40), (0.21, 0.46), (0.225, 0.65), steps=10),
    ]
    stripe = [(0.36, 0.645), (0.42, 0.645), (0.49, 0.475), (0.455, 0.448)]
    laces = [
        curve((0.36 + d, 0.355 + d * 0.62), (0.40 + d, 0.40 + d * 0.5), (0.375 + d, 0.43 + d * 0.5))
        for d in (0.02, 0.07, 0.12, 0.17)
    ]
    collar = curve((0.15, 0.365), (0.22, 0.405), (0.30, 0.375), (0.34, 0.335), steps=12)
    accent = CREAM if sum(colour) < 560 else (120, 124, 130)
    return [
        Layer(upper, colour, depth=0.05),
        Layer(toe, _darker(colour, 0.9), depth=0.02),
        Layer(heel, _darker(colour, 0.8), depth=0.02),
        Layer(stripe, accent, depth=0.0),
        Layer(collar, _darker(colour, 0.62), stroke=0.024, depth=0.006),
        *(Layer(lace, accent, stroke=0.014, depth=0.004) for lace in laces),
        Layer(sole, (240, 238, 232), depth=0.02),
        Layer(curve((0.115, 0.70), (0.5, 0.71), (0.905, 0.70)), accent, stroke=0.006, depth=0.0),
    ]
