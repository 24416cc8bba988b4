"""Documents made for tests: PDFs written by hand, receipts and pages drawn with Pillow."""

from __future__ import annotations

import io
import zlib

from PIL import Image, ImageDraw, ImageFont

RECEIPT = [
    "MERIDIAN BOOK STORE SDN BHD",
    "(788123-K)",
    "NO. 12, JALAN MAWAR 3/4,",
    "TAMAN MELATI, 53100 KUALA LUMPUR",
    "TEL: 03-4142 7788",
    "TAX INVOICE",
    "Invoice No: INV00123456",
    "Date: 14/06/2023 18:22",
    "NOTEBOOK A5|2 X 4.50|9.00",
    "PENCIL BOX|1 X 12.90|12.90",
    "TOTAL (RM)|21.90",
    "CASH|50.00",
    "CHANGE|28.10",
    "THANK YOU, PLEASE COME AGAIN",
]
"""Lines of a made-up receipt; a bar parts the cells of a row."""


def drawn(rows, *, width=900, size=30, margin=40):
    """A page with a row a line; the first cell stands left, the last right."""
    font = ImageFont.load_default(size=size)
    image = Image.new("RGB", (width, 2 * margin + round(1.6 * size) * len(rows)), "white")
    draw = ImageDraw.Draw(image)
    for number, row in enumerate(rows):
        y = margin + round(1.6 * size) * number
        cells = row.split("|")
        for index, cell in enumerate(cells):
            length = draw.textlength(cell, font=font)
            share = index / (len(cells) - 1) if len(cells) > 1 else 0
            draw.text((margin + share * (width - 2 * margin - length), y), cell, "black", font)
    return image


def encoded(image, kind="PNG", **options):
    """The picture as a file's bytes."""
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


def pdf(objects, trailer=""):
    """A PDF of the given objects (bytes), numbered from 1; the first is the catalogue."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for place in places:
        out += b"%010d 00000 n \n" % place
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\n".encode()
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def stream(content, head=b""):
    """A stream object."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), head, content)


def text_pdf(pages, *, rotate=0, leaning="1 0 0 1", size=(400, 300)):
    """A PDF with a text layer: each page a list of (x, y from below, font size, text).

    Args:
        rotate: how the page is turned clockwise to be shown.
        leaning: the matrix that turns each text; "0 1 -1 0" has it run upwards.
    """
    count = len(pages)
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for index, words in enumerate(pages):
        drawing = "".join(
            f"BT /F1 {points} Tf {leaning} {x} {y} Tm ({text}) Tj ET\n"
            for x, y, points, text in words
        )
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] /Rotate {rotate}"
            f" /Contents {5 + 2 * index} 0 R /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(stream(drawing.encode()))
    return pdf(objects)


def encrypted_pdf():
    """A PDF that opens with a password, which nobody has."""
    plain = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
        b"<< /Filter /Standard /V 1 /R 2 /P -44 /O <%s> /U <%s> >>" % (b"11" * 32, b"22" * 32),
    ]
    return pdf(plain, "/Encrypt 4 0 R /ID [<33> <33>]")


def laughing_pdf(levels=12, times=12):
    """A few kilobytes that draw a form, that draws a form ten times over, and so on."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R"
        b" /Resources << /XObject << /X 5 0 R >> >> >>",
        stream(b"/X Do"),
    ]
    for level in range(levels):
        last = level == levels - 1
        content = b"0 0 200 200 re f\n" * times if last else b"/X Do\n" * times
        inner = b"" if last else b"/Resources << /XObject << /X %d 0 R >> >>" % (6 + level)
        head = b"/Type /XObject /Subtype /Form /BBox [0 0 200 200] " + inner
        objects.append(stream(content, head))
    return pdf(objects)


def inflating_pdf(size_bytes=600_000_000):
    """A page whose content stream unpacks to hundreds of megabytes."""
    packer = zlib.compressobj(9)
    block = b"0 0 9 9 re f " * 80_000
    packed = b"".join(packer.compress(block) for _ in range(size_bytes // len(block)))
    packed += packer.flush()
    return pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
            stream(packed, b"/Filter /FlateDecode"),
        ]
    )
