"""The printed policy is the one that is enforced."""

from tests import policy_page


def test_the_page_is_what_the_code_says() -> None:
    assert policy_page.PAGE.read_text(encoding="utf-8") == policy_page.render(), "run `make docs`"
