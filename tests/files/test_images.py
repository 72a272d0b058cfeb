"""What an image is by its bytes, what is refused, and what a provider gets of it."""

import asyncio
import random
import struct
import threading
import time
import tracemalloc
import zlib

import pytest
from PIL import Image

from rini.errors import ImageRefusedError
from rini.files import images
from rini.files.images import fitted, inspect, unhurried
from rini.providers.vision import ImageLimits, image_limits
from tests.files.pictures import TYPES, animated, chunk, gif, noise, opened, png, saved, webp_header

ANYTHING = ImageLimits(provider="Acme", mime_types=frozenset(TYPES.values()), max_bytes=10**9)
PNG_AND_JPEG = ImageLimits(provider="Acme", mime_types=frozenset(("image/png", "image/jpeg")), max_bytes=10**9)


def refusal(data: bytes) -> str:
    with pytest.raises(ImageRefusedError) as refused:
        inspect(data)
    return refused.value.detail


def limits(**changes: object) -> ImageLimits:
    return ImageLimits(**({"provider": "Acme", "mime_types": frozenset(TYPES.values()), "max_bytes": 10**9} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TYPES)
def test_the_type_comes_from_the_bytes(kind: str):
    assert inspect(saved(kind)) == (TYPES[kind], 60, 40, 1)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_frames_are_counted(kind: str):
    assert inspect(animated(kind, 3)) == (TYPES[kind], 20, 10, 3)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"%PDF-1.7\n%...", "a PDF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "an SVG drawing"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg onload="x()"/>', "an SVG drawing"),
        (b"<!DOCTYPE html><p>hello", "an HTML page"),
        (b"<?xml version='1.0'?><note/>", "XML"),
        (saved("BMP"), "a BMP"),
        (saved("TIFF"), "a TIFF"),
        (saved("AVIF"), "an AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "an HEIC"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"PK\x03\x04rest", "a ZIP archive, as Office's documents are"),
        (b"hello", "text"),
        ("그림이 아닌 글".encode() * 500, "text"),
        (b'{"image": 1}', "text"),
        (b"\x89PNG\n\x1a\nits line ends were changed", "a damaged PNG"),
        (b"RIFF\x04\0\0\0WAVE", "none of the image types that are read"),
        (b"\0" * 100, "none of the image types that are read"),
        (b"\xff\xd8", "none of the image types that are read"),
    ],
)
def test_what_is_no_image_is_told(data: bytes, what: str):
    assert refusal(data) == f"The file is {what}; send a PNG, JPEG, GIF or WebP."


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(60_000, 60_000, pixels=b""), "60,000 x 60,000"),
        (png(2**31 - 1, 1, pixels=b""), "2,147,483,647 x 1"),
        (gif(1, 65_535, 65_535), "65,535 x 65,535"),
        (webp_header(16_000_000, 16_000_000), "16,000,000 x 16,000,000"),
        (b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\x03" + b"\x01\x11\0" * 3 + b"\xff\xda\0\x02", "65,500 x 65,500"),
    ],
)
def test_a_bomb_is_refused_before_it_is_unpacked(data: bytes, size: str):
    tracemalloc.start()
    sentence = refusal(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"has {size} pixels; at most" in sentence
    assert most < 1_000_000


@pytest.mark.parametrize("data", [gif(100_000), png(1, 1, chunk(b"acTL", struct.pack(">II", 4_000_000_000, 0)))])
def test_too_many_frames_are_refused(data: bytes):
    assert refusal(data).endswith("frames; at most 1,000 are read.")


@pytest.mark.parametrize(
    "bomb",
    [
        chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 50_000_000)),
        chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"a" * 50_000_000)),
        chunk(b"iCCP", b"k\0\0" + zlib.compress(b"a" * 50_000_000)),
    ],
)
def test_a_bomb_in_a_pngs_texts_is_not_unpacked(bomb: bytes):
    tracemalloc.start()
    assert "cannot be read" in refusal(png(4, 4, bomb))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000


def test_pixels_that_unpack_to_more_than_the_header_says_are_not_kept():
    assert inspect(png(4, 4, pixels=b"\0" * 50_000_000)).width == 4


def test_a_jpeg_of_very_many_scans_is_refused():
    progressive = saved("JPEG", progressive=True)
    start = progressive.rindex(b"\xff\xda")
    scan = progressive[start:-2]
    assert inspect(progressive).width == 60
    assert "more than 100 scans" in refusal(progressive[:-2] + scan * 100 + b"\xff\xd9")


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_cut_off_anywhere_is_refused(kind: str):
    data = saved(kind)
    for end in (*range(4, 60), len(data) // 2, len(data) - 30, len(data) - 12, len(data) - 2, len(data) - 1):
        with pytest.raises(ImageRefusedError):
            inspect(data[:end])


@pytest.mark.parametrize("kind", TYPES)
def test_damage_is_refused_or_harmless(kind: str):
    """Whatever a decoder makes of it, the answer is an image or one clear refusal."""
    chance = random.Random(3)
    whole = saved(kind, noise(30, 20), **({"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"} if kind == "JPEG" else {}))
    found = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(4, min(len(data), 200) if chance.random() < 0.7 else len(data))
            data[place : place + 1] = chance.randbytes(chance.choice((0, 1, 1, 1, 3)))
        try:
            info = inspect(bytes(data))
            fitted(bytes(data), info, limits(max_side=8, max_frames=5))
        except ImageRefusedError:
            found += 1
    assert 0 < found < 400


def test_random_bytes_are_refused():
    chance = random.Random(4)
    starts = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x40\0\0\0WEBP")
    for number in range(500):
        refusal(starts[number % len(starts)] + chance.randbytes(chance.randrange(300)))


def test_a_picture_with_a_document_behind_it_is_the_picture():
    data = saved("PNG") + b"%PDF-1.7 <script>alert(1)</script>"
    assert inspect(data).mime_type == "image/png"


@pytest.mark.parametrize("kind", TYPES)
def test_what_fits_goes_as_it_came(kind: str):
    data = saved(kind)
    assert fitted(data, inspect(data), ANYTHING) == (data, TYPES[kind])


def test_a_gif_becomes_a_png_where_gifs_are_not_read():
    data = saved("GIF", Image.new("P", (30, 20), 3))
    assert fitted(data, inspect(data), image_limits("openai", "gpt-4o")).data == data
    made = fitted(data, inspect(data), image_limits("google", "gemini-2.5-flash"))
    assert made.mime_type == "image/png"
    assert opened(made.data).convert("RGB").tobytes() == opened(data).convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "openai_compatible"])
def test_an_animation_is_refused_with_its_frames(kind: str, provider: str):
    data = animated(kind, 4)
    with pytest.raises(ImageRefusedError, match=r"is an animation of 4 frames, and .* reads 1 at most"):
        fitted(data, inspect(data), image_limits(provider, "some-model"))


def test_an_image_that_is_too_large_is_scaled_down():
    data = saved("PNG", noise(300, 100))
    made = fitted(data, inspect(data), limits(max_side=150))
    assert (made.mime_type, opened(made.data).size) == ("image/png", (150, 50))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_of_too_many_bytes_becomes_smaller(kind: str):
    data = saved(kind, noise(400, 300), quality=95)
    most = len(data) // 5
    made = fitted(data, inspect(data), limits(max_bytes=most))
    assert len(made.data) <= most
    width, height = opened(made.data).size
    assert width / height == pytest.approx(4 / 3, rel=0.05)


def test_a_drawing_stays_without_loss():
    drawing = Image.new("RGB", (900, 900), "white")
    drawing.paste((10, 20, 30), (100, 100, 300, 500))
    data = saved("PNG", drawing, compress_level=0)
    made = fitted(data, inspect(data), limits(max_bytes=len(data) // 10))
    assert made.mime_type == "image/png"
    assert opened(made.data).tobytes() == drawing.tobytes()


def test_a_thin_image_is_scaled_and_not_refused():
    data = saved("PNG", noise(3000, 3))
    made = fitted(data, inspect(data), limits(max_side=100))
    assert opened(made.data).size == (100, 1)


def test_what_does_not_fit_however_small_is_refused():
    data = saved("PNG")
    with pytest.raises(ImageRefusedError, match="does not fit into the 50 bytes that Acme takes"):
        fitted(data, inspect(data), limits(max_bytes=50))


@pytest.mark.parametrize("kind", TYPES)
def test_the_same_image_gives_the_same_bytes(kind: str):
    data = saved(kind, noise(200, 150))
    asked = limits(max_side=100, max_bytes=5000)
    assert fitted(data, inspect(data), asked) == fitted(data, inspect(data), asked)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (2, 0)), (3, (2, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 2)), (8, (0, 2))],
)
def test_a_turned_photo_is_upright_when_it_is_made_anew(orientation: int, corner: tuple[int, int]):
    """The red field lies at the stored picture's upper left."""
    photo = Image.new("RGB", (96, 64), "white")
    photo.paste((255, 0, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved("JPEG", photo, exif=exif)
    made = opened(fitted(data, inspect(data), limits(max_side=95)).data)
    assert (made.width > made.height) == (orientation < 5)
    columns = 3 if made.width > made.height else 2
    red = [
        (x, y)
        for x in range(columns)
        for y in range(5 - columns)
        if made.getpixel((made.width * (2 * x + 1) // (2 * columns), made.height * (2 * y + 1) // (2 * (5 - columns))))[
            2
        ]
        < 90
    ]
    assert red == [corner]
    assert 0x0112 not in made.getexif()


def palette_with_transparency() -> bytes:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 20, 40))
    return saved("PNG", image, transparency=0)


def test_a_palette_with_a_transparent_colour_keeps_it():
    data = palette_with_transparency()
    made = opened(fitted(data, inspect(data), limits(max_side=20)).data)
    assert made.mode == "RGBA"
    assert (made.getpixel((2, 2))[3], made.getpixel((17, 2))) == (0, (0, 0, 255, 255))


def test_what_shines_through_is_white_in_a_jpeg():
    image = noise(100, 100, "RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 50, 100))
    data = saved("PNG", image)
    made = opened(fitted(data, inspect(data), limits(max_bytes=4000)).data)
    assert made.format == "JPEG"
    assert min(made.getpixel((2, 2))) > 240


def test_sixteen_bits_become_eight_and_keep_their_shades():
    image = Image.new("I;16", (40, 20))
    image.paste(65_535, (20, 0, 40, 20))
    image.paste(32_896, (0, 10, 20, 20))
    data = saved("PNG", image)
    made = opened(fitted(data, inspect(data), limits(max_side=39)).data)
    assert made.mode == "L"
    assert [made.getpixel(at) for at in ((5, 3), (5, 15), (30, 10))] == pytest.approx([0, 128, 255], abs=2)


def test_a_cmyk_photo_becomes_rgb():
    data = saved("JPEG", Image.new("CMYK", (64, 64), (0, 255, 255, 0)))
    made = opened(fitted(data, inspect(data), limits(max_side=32)).data)
    assert made.mode == "RGB"
    assert made.getpixel((5, 5)) == pytest.approx((254, 0, 0), abs=6)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_kind_of_pixels_is_read(kind: str, mode: str):
    image = noise(64, 48, "RGBA").convert(mode)
    if kind == "JPEG" and mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    data = saved(kind, image)
    for asked in (limits(max_side=32), limits(max_bytes=1200), limits(mime_types=frozenset(("image/x",)))):
        made = fitted(data, inspect(data), asked)
        assert opened(made.data).format in ("PNG", "JPEG")


def test_metadata_is_left_out_of_what_is_made_anew():
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    data = saved("JPEG", exif=exif, comment=b"a secret place", icc_profile=b"a secret place")
    assert b"secret" not in fitted(data, inspect(data), limits(max_side=20)).data


def test_at_most_two_images_are_worked_on_at_once():
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    async def many() -> None:
        await asyncio.gather(*(unhurried(work) for _ in range(10)))

    asyncio.run(many())
    assert most == images.AT_ONCE == 2


def test_large_images_are_worked_on_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "LARGE", 1000)
    assert images._large.acquire(blocking=False)
    data = saved("PNG")

    async def both() -> tuple[bool, int]:
        large = asyncio.create_task(unhurried(inspect, data))
        small = await unhurried(inspect, saved("PNG", noise(10, 10)))
        waiting = not large.done()
        images._large.release()
        await large
        return waiting, small.width

    assert asyncio.run(both()) == (True, 10)


def test_the_other_decoders_stay_shut(monkeypatch: pytest.MonkeyPatch):
    """A file that says it is a GIF is opened as one, whatever else it may be."""
    asked: list[object] = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda file, formats: asked.append(formats) or real(file, formats=formats))
    for kind in TYPES:
        inspect(saved(kind))
    assert asked == [["PNG"], ["JPEG"], ["GIF"], ["WebP"]]
