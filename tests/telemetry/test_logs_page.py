"""docs/logs.md has every event that the source logs."""

from tests.support import logs_page


def test_every_event_has_a_meaning():
    missing = logs_page.without_meaning()
    assert missing == [], f"say in tests/support/logs_page.py what these mean: {', '.join(missing)}"


def test_every_meaning_is_one_of_an_event():
    assert logs_page.MEANINGS.keys() - logs_page.events().keys() == {"library"}


def test_fields_that_the_call_does_not_name_are_named_in_the_page():
    spread = {name for name, event in logs_page.events().items() if event.spreads}
    assert spread == logs_page.SPREAD.keys()


def test_events_are_named_as_names():
    assert [name for name in logs_page.events() if not name.replace("_", "").isalpha() or not name.islower()] == []


def test_nothing_else_is_logged_without_a_name():
    assert list(logs_page.loggers_of_the_standard_library()) == []


def test_the_page_is_up_to_date():
    page = logs_page.PAGE
    assert page.text == page.with_part(logs_page.table()), "docs/logs.md is out of date: run `make docs`"
