"""Encoded images to samples: sizes, channels, orientation, and what does not decode."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps
from tests.image_files import bomb, encoded, samples

from shardline.data import decoding
from shardline.data.decoding import (
    UndecodableError,
    decoded_image,
    decoded_images,
    decoding_threads,
    files_of,
    undecodable_images,
)
from shardline.data.schema import Column

JPEG = encoded(samples(40, 60), "JPEG")


def column(height, width, channels=3):
    return Column(name="image", dtype="uint8", shape=(height, width, channels), encoded=True)


def fault(data):
    with pytest.raises(UndecodableError) as caught:
        decoded_image(data, column(4, 4))
    return str(caught.value)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_decoded_image_of_its_own_size_has_the_samples_of_the_file(channels):
    array = samples(5, 7, channels)
    found = decoded_image(encoded(array), column(5, 7, channels))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (13, 50), (100, 9), (1, 1)])
def test_decoded_image_is_stretched_by_pillows_bilinear_filter(height, width):
    array = samples(40, 60)
    expected = Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        decoded_image(encoded(array), column(height, width)), np.asarray(expected)
    )


def test_decoded_image_leaves_no_aliases():
    stripes = np.repeat(np.tile(np.uint8([0, 255]), 128)[None, :, None], 256, axis=0)
    found = decoded_image(encoded(stripes), column(32, 32, 1))
    assert 120 < found.min() <= found.max() < 136


def test_decoded_image_of_a_large_jpeg_is_nearly_that_of_all_its_pixels():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    data = encoded(np.asarray(noise.resize((1200, 900))), "JPEG", quality=92)
    whole = Image.open(io.BytesIO(data)).resize((64, 48), Image.Resampling.BILINEAR)
    found = decoded_image(data, column(48, 64)).astype(int)
    # Decoded at an eighth, 150 x 112.5: what lies beyond the last half row is not to be seen.
    assert np.abs(found - np.asarray(whole)).mean() < 1.5
    assert np.abs(found - np.asarray(whole)).max() < 12


@pytest.mark.parametrize(("given", "wanted"), [(1, 3), (3, 1), (4, 3), (3, 4)])
def test_decoded_image_has_the_channels_of_the_column(given, wanted):
    found = decoded_image(encoded(samples(6, 6, given)), column(6, 6, wanted))
    assert found.shape == (6, 6, wanted)
    if given == 1:
        np.testing.assert_array_equal(found, samples(6, 6, 1).repeat(3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(6, 9), (3, 4)])
def test_decoded_image_stands_upright(orientation, size):
    data = encoded(samples(6, 9), orientation=orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = upright.resize(size[::-1], Image.Resampling.BILINEAR)
    found = decoded_image(data, column(*size)).astype(int)
    # Resized before it is turned: sums of the two directions are rounded in the other order.
    assert np.abs(found - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not decode (it has no bytes)"),
        (b"no image at all", "does not decode (it is no image that Pillow knows)"),
        (JPEG[:-200], "does not decode (OSError: image file is truncated"),
        (encoded(samples(40, 60))[:-100], "does not decode (OSError: image file is truncated"),
        (JPEG[:100], "does not decode ("),
        (bomb(), "does not decode (DecompressionBombError: "),
        (bomb(9000, 8000), "does not decode (ValueError: it claims 72000000 pixels, at most "),
        (
            encoded(np.zeros((4, 4, 1), np.uint16), "PNG"),
            "does not decode (ValueError: mode I;16 has more than 8 bits per sample)",
        ),
    ],
)
def test_decoded_image_names_what_is_wrong(data, reason):
    assert fault(data).startswith(reason)


@pytest.mark.parametrize("threads", [1, 3])
def test_decoded_images_have_zeros_and_a_reason_where_one_is_broken(threads):
    files = [encoded(samples(8, 9, seed=n), "JPEG") for n in range(5)]
    every = [*files[:2], None, b"", *files[2:]]
    found = decoded_images(every, column(4, 4), threads=threads)
    assert found.faults == {2: "is null", 3: "does not decode (it has no bytes)"}
    assert undecodable_images(every, column(4, 4), threads=threads) == found.faults
    assert not found.samples[2:4].any()
    for place, file in zip((0, 1, 4, 5, 6), files, strict=True):
        np.testing.assert_array_equal(found.samples[place], decoded_image(file, column(4, 4)))


def test_files_of_a_slice_are_its_own():
    values = pa.array([b"a", b"bc", None, b""], pa.large_binary()).slice(1)
    found = [None if file is None else bytes(file) for file in files_of(values)]
    assert found == [b"bc", None, b""]


def test_decoded_images_that_are_large_are_the_same_one_at_a_time(monkeypatch):
    files = [JPEG] * 6
    at_once = decoded_images(files, column(4, 4), threads=3).samples
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 1)
    np.testing.assert_array_equal(decoded_images(files, column(4, 4), threads=3).samples, at_once)


def test_decoding_threads_are_those_that_ray_has_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert decoding_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert decoding_threads() >= 1
