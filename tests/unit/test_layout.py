"""Which path belongs to whom, and what counts as a document: in both layouts, with any name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.layout import (
    Place,
    is_passing,
    is_plain_name,
    is_plain_path,
    kind_of,
    owner_of_user_file,
    path_of,
)
from shenyu_data.testing.strategies import HOSTILE_NAMES, names


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (b"anna.json", (b"anna", Place.USER_FILE)),
        (b"anna.json.gz", (b"anna", Place.USER_FILE_GZIP)),
        (b"a.json.json", (b"a.json", Place.USER_FILE)),
        (b"a.json.gz.json", (b"a.json.gz", Place.USER_FILE)),
        (b"....json", (b"...", Place.USER_FILE)),
        (b"\xff\n.json", (b"\xff\n", Place.USER_FILE)),
        (b".json", None),
        (b"..json", None),  # the user "." would have the folder histories/.
        (b"...json", None),
        (b".json.gz", None),
        (b"..json.gz", None),
        (b"anna", None),
        (b"anna.JSON", None),
        (b"anna.json~", None),
        (b"json", None),
    ],
)
def test_a_user_file_belongs_to_the_user_it_names(
    name: bytes, owner: tuple[bytes, Place] | None
) -> None:
    assert owner_of_user_file(name) == owner


@given(names())
def test_a_user_files_path_is_found_again_from_its_owner_and_place(name: bytes) -> None:
    found = owner_of_user_file(name)
    if found is not None:
        owner, place = found
        assert is_plain_name(owner)
        assert path_of(owner, place, b"") == b"users/" + name


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Place.USER_FILE, b"users/anna.json"),
        (Place.USER_FILE_GZIP, b"users/anna.json.gz"),
        (Place.HISTORY_FOLDER, b"histories/anna"),
        (Place.IN_HISTORY_FOLDER, b"histories/anna/name"),
        (Place.ANYWHERE, b"name"),
    ],
)
def test_every_place_has_its_path(place: Place, path: bytes) -> None:
    assert path_of(b"anna", place, b"name") == path


def test_the_numbers_of_the_places_are_those_of_the_format() -> None:
    assert [place.value for place in Place] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("place", "name", "kind"),
    [
        (Place.USER_FILE, b"", "user"),
        (Place.USER_FILE_GZIP, b"", "user"),
        (Place.IN_HISTORY_FOLDER, b"chat-history.json", "history"),
        (Place.IN_HISTORY_FOLDER, b"0.json.gz", "history"),
        (Place.IN_HISTORY_FOLDER, b".hidden.json", "other"),
        (Place.IN_HISTORY_FOLDER, b".json", "other"),
        (Place.IN_HISTORY_FOLDER, b"below/chat-history.json", "other"),
        (Place.IN_HISTORY_FOLDER, b"notes.txt", "other"),
        (Place.IN_HISTORY_FOLDER, b"chat-history.json.tmp", "other"),
        (Place.HISTORY_FOLDER, b"", "other"),
        (Place.ANYWHERE, b"example/user.json", "other"),
        (Place.ANYWHERE, b"users/.json", "other"),
    ],
)
def test_only_what_the_application_could_read_is_a_document(
    place: Place, name: bytes, kind: str
) -> None:
    assert kind_of(place, name) == kind


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0", b"../x"])
def test_what_leaves_its_folder_is_no_plain_name(name: bytes) -> None:
    assert not is_plain_name(name)
    assert not is_plain_path(b"a/" + name) or name == b"a/b"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_an_ugly_name_is_a_plain_one_all_the_same(name: bytes) -> None:
    assert is_plain_name(name)
    assert is_plain_path(b"a/" + name + b"/b")


@given(st.lists(st.sampled_from((b"a", b"", b".", b"..", b"b\0", b"...")), min_size=1))
def test_a_path_is_plain_if_each_of_its_parts_is(parts: list[bytes]) -> None:
    assert is_plain_path(b"/".join(parts)) == all(map(is_plain_name, parts))


@pytest.mark.parametrize(
    "name",
    [
        b".shenyu-data-displaced-",
        b".shenyu-data-displaced-mine",
        b".shenyu-data-new-0123456789abcdef.json",
        b".shenyu-data-kept-0123456789abcdef",
        b"x.shenyu-data-new-0123456789abcdef",
    ],
)
def test_a_name_that_only_resembles_one_of_ours_is_a_strangers(name: bytes) -> None:
    assert not is_passing(name)
    assert is_passing(b".shenyu-data-new-0123456789abcdef")
    assert is_passing(b".shenyu-data-displaced-0123456789abcdef")
