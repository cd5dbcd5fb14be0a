"""Data sets in memory and as bytes: bad files are listed, leaks are refused, archives come back whole."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DatasetRefused
from core.imaging.archive import Archive, decode_archive, encode_archive
from core.imaging.datasets import DatasetArrays, Part, ZipSource, load_arrays, read_index, split_by_patient
from core.imaging.synthetic import STYLES, generate_arrays
from core.studies import LEUKEMIA
from tests.unit.imaging.held import Held
from tests.unit.imaging.pictures import cell, encoded, png_that_declares, write_folder

LINES = "".join(f"{n}.png,{('leukemic', 'normal')[n % 2]},SMEAR,one,p{n // 2},\n" for n in range(12))


@pytest.fixture(scope="module")
def small() -> DatasetArrays:
    return generate_arrays(patients=6, cells_per_patient=2, style=STYLES["north"], seed=3)


def encoded_archive(archive: Archive) -> Held:
    return Held(b"".join(encode_archive(archive, LEUKEMIA)))


def zipped(folder: Path, prefix: str = "") -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, prefix + path.name)
    return buffer


def test_images_come_squared_and_ordered_by_part(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", LINES, pictures=12)
    split = split_by_patient(read_index(folder, LEUKEMIA), seed=0)
    seen: list[tuple[int, int]] = []
    arrays, rejected = load_arrays(split, folder, LEUKEMIA, lambda done, total: seen.append((done, total)))
    assert rejected == []
    assert arrays.images.shape == (12, 96, 96, 3)
    assert [len(arrays.part(part)) for part in Part] == [len(split[part]) for part in Part]
    assert np.shares_memory(arrays.part(Part.TEST).images, arrays.images)
    assert seen[-1] == (12, 12)
    assert sum(map(sum, arrays.class_counts(LEUKEMIA).values())) == 12
    first = split[Part.TRAINING][0]
    assert np.array_equal(arrays.images[0], cell(int(first.path[:-4]), blast=first.label == "leukemic", side=96))


def test_bad_files_are_listed_with_line_and_reason_and_stop_nothing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", LINES, pictures=12)
    (folder / "0.png").write_text("this is text")
    (folder / "1.png").write_bytes(encoded(cell(1), "JPEG")[:900])
    (folder / "2.png").unlink()
    (folder / "3.png").write_bytes(png_that_declares(30_000, 30_000))
    (folder / "4.png").write_bytes(encoded(cell(4, side=40)))
    (folder / "5.png").write_bytes((folder / "6.png").read_bytes())
    (folder / "7.png").unlink()
    (folder / "7.png").symlink_to("/etc/hostname")
    records = read_index(folder, LEUKEMIA)
    arrays, rejected = load_arrays({Part.TEST: records}, folder, LEUKEMIA)
    reasons = {item.path: (item.line, item.reason) for item in rejected}
    assert len(arrays) == 5
    assert reasons["0.png"] == (2, "This file is not an image that can be read. [IMG-TYPE]")
    assert reasons["1.png"][1] == "The image is damaged or incomplete. [IMG-BROKEN]"
    assert reasons["2.png"][1] == "there is no such file"
    assert reasons["3.png"][1] == "The image is larger than what is accepted. (at most 40 megapixels) [IMG-SIZE]"
    assert reasons["4.png"][1] == "40 x 40 pixels; the smaller side must be 64 or more"
    assert reasons["6.png"] == (8, "the same picture as line 7")
    assert reasons["7.png"][1] == "there is no such file"


def test_a_set_without_one_readable_image_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, LINES)
    with pytest.raises(DatasetRefused, match="none of 12 images could be read; the first: there is no such file"):
        load_arrays({Part.TEST: read_index(folder, LEUKEMIA)}, folder, LEUKEMIA)


@pytest.mark.parametrize("prefix", ["", "my images/"])
def test_a_zip_reads_like_its_folder_and_leaves_nothing_on_disk(tmp_path: Path, prefix: str) -> None:
    folder = write_folder(tmp_path / "set", LINES, pictures=12)
    source = ZipSource.open(zipped(folder, prefix))
    records = read_index(source, LEUKEMIA)
    assert records == read_index(folder, LEUKEMIA)
    from_zip, _ = load_arrays({Part.TEST: records}, source, LEUKEMIA)
    from_folder, _ = load_arrays({Part.TEST: records}, folder, LEUKEMIA)
    assert np.array_equal(from_zip.images, from_folder.images)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["../index.csv"], "leads out of it"),
        (["index.csv", "/etc/passwd"], "leads out of it"),
        (["index.csv", "a\\..\\b.png"], "leads out of it"),
        (["__MACOSX/0.png", ".hidden"], "no file in the zip"),
    ],
)
def test_a_zip_whose_names_lead_out_is_refused(names: list[str], said: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    with pytest.raises(DatasetRefused, match=said):
        ZipSource.open(buffer)


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.csv", "path\n")
        archive.writestr("0.png", bytes(32 * 2**20))
    with pytest.raises(DatasetRefused, match="too much space"):
        ZipSource.open(buffer)


def test_an_entry_that_lies_about_its_size_is_read_to_the_limit_only() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.csv", bytes(2**20))
    lying = bytearray(buffer.getvalue())
    entry = lying.rindex(b"PK\x01\x02")
    lying[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    source = ZipSource.open(io.BytesIO(bytes(lying)))
    with pytest.raises(DatasetRefused):
        read_index(source, LEUKEMIA)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_as_a_zip_give_one_named_error(data: bytes, cut: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.csv", data)
    for candidate in (data, buffer.getvalue()[:cut]):
        with pytest.raises(DatasetRefused):
            read_index(ZipSource.open(io.BytesIO(candidate)), LEUKEMIA)


def test_an_archive_comes_back_whole(small: DatasetArrays) -> None:
    again, provenance = decode_archive(encoded_archive(Archive(small, "public")), LEUKEMIA)
    assert np.array_equal(again.images, small.images)
    assert np.array_equal(again.labels, small.labels)
    assert np.array_equal(again.parts, small.parts)
    assert again.patients == small.patients
    assert provenance == "public"


@pytest.mark.parametrize(
    ("provenance", "clinical"), [("synthetic", False), ("public", False), ("clinical", True), ("", True), ("x", True)]
)
def test_what_is_not_known_to_be_something_else_is_clinical(
    small: DatasetArrays, provenance: str, clinical: bool
) -> None:
    assert decode_archive(encoded_archive(Archive(small, provenance)), LEUKEMIA).clinical is clinical


def test_a_changed_archive_is_refused_or_the_same(small: DatasetArrays) -> None:
    data = encoded_archive(Archive(small, "public"))
    for place in range(0, 900, 7):
        changed = bytearray(data.data)
        changed[place] ^= 0x41
        try:
            again = decode_archive(Held(bytes(changed)), LEUKEMIA)
        except DatasetRefused:
            continue
        assert len(again.arrays) == len(small)


@given(st.binary(max_size=200))
def test_any_bytes_as_an_archive_give_one_named_error(data: bytes) -> None:
    with pytest.raises(DatasetRefused):
        decode_archive(Held(data), LEUKEMIA)


def test_an_archive_of_another_preprocessing_is_refused(small: DatasetArrays) -> None:
    data = encoded_archive(Archive(small, "public")).data
    other = Held(data.replace(b"square-area-1+minmax", b"square-area-9+minmax"))
    with pytest.raises(DatasetRefused, match="prepared in another way"):
        decode_archive(other, LEUKEMIA)


def test_arrays_that_divide_a_patient_are_refused(small: DatasetArrays) -> None:
    with pytest.raises(DatasetRefused, match="a patient is in two parts"):
        DatasetArrays(small.images, small.labels, ("one",) * len(small), small.parts)


def test_arrays_that_do_not_belong_together_are_refused(small: DatasetArrays) -> None:
    with pytest.raises(DatasetRefused, match="do not belong together"):
        DatasetArrays(small.images[1:], small.labels, small.patients, small.parts)
    with pytest.raises(DatasetRefused, match="out of order"):
        DatasetArrays(small.images, small.labels, small.patients, small.parts[::-1].copy())
