"""The page of Firestore's values is made from the code, and complete."""

from pathlib import Path

from schemas.firestore import Value
from schemas.firestore_values import Vector, to_value
from schemas.layouts import LAYOUTS
from schemas.values_page import EXAMPLES, page

ROOT = Path(__file__).parents[2]


def test_the_page_in_docs_is_todays():
    """`make docs` makes it again."""
    assert (ROOT / "docs/values.md").read_text("utf-8") == page()


def test_every_type_and_layout_is_on_it():
    """Each kind that a Value can be, a vector too, and each layout."""
    kinds = {to_value(value).WhichOneof("value_type") for _, _, value in EXAMPLES}
    of_events = {field.name for field in Value.DESCRIPTOR.oneofs_by_name["value_type"].fields}
    assert kinds == of_events
    assert any(isinstance(value, Vector) for _, _, value in EXAMPLES)
    made = page()
    assert all(f"\n| `{layout}` | " in made for layout in LAYOUTS)


def test_an_example_is_written_as_it_is():
    """The text beside each value is the Python that makes it."""
    import schemas.firestore_values as exact

    documents = "projects/p/databases/(default)/documents"
    for _, written, value in EXAMPLES:
        made = eval(written.replace("...", documents), vars(exact).copy())
        assert repr(made) == repr(value)
