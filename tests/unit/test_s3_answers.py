"""What a service of S3 may answer about old versions, whatever it is."""

from http.client import HTTPMessage

import pytest

from shenyu_data.storage.cloud import Patience, Place
from shenyu_data.storage.s3_versions import Refused, VersionedBucket

SETTINGS = {"secret_access_key": "s", "access_key_id": "a", "region": "r"}
OLD = b"<Version><Key>keys/x</Key><VersionId>1</VersionId><IsLatest>false</IsLatest></Version>"


class Answering(VersionedBucket):
    """A bucket whose service gives the same answer to everything."""

    def __init__(self, body: bytes, until: str = "") -> None:
        super().__init__(Place("s3", "bucket", ""), Patience(), SETTINGS)
        self.body = body
        self.headers = HTTPMessage()
        if until:
            self.headers["x-amz-object-lock-retain-until-date"] = until
        self.asked = 0

    def _ask(self, method: str, key: str, query: dict[str, str]) -> tuple[HTTPMessage, bytes]:
        self.asked += 1
        return self.headers, self.body


def test_a_page_that_says_it_is_followed_by_itself_is_given_up() -> None:
    bucket = Answering(b"<L><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker></L>")
    with pytest.raises(Refused):
        bucket.old("keys")
    assert bucket.asked == 2


def test_a_page_that_does_not_say_where_the_next_begins_is_given_up() -> None:
    bucket = Answering(b"<L><IsTruncated>true</IsTruncated></L>")
    with pytest.raises(Refused):
        bucket.destroy("keys/x")


@pytest.mark.parametrize("until", ["tomorrow", "9999-99-99", " "])
def test_a_date_that_is_none_is_no_end_of_a_lock(until: str) -> None:
    assert Answering(b"<L>" + OLD + b"</L>", until).old("keys").held


@pytest.mark.parametrize("days", [b"9" * 5000, b"9" * 400, "٣".encode(), b"-1", b"x", b""])
def test_a_number_of_days_that_is_none_gives_no_date(days: bytes) -> None:
    rule = (
        b"<Rule><Status>Enabled</Status><Filter/><NoncurrentVersionExpiration><NoncurrentDays>"
        + days
        + b"</NoncurrentDays></NoncurrentVersionExpiration></Rule>"
    )
    assert Answering(b"<L>" + OLD + rule + b"</L>").old("keys").expires_s is None
