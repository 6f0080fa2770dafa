"""Attributes: valid, bounded, each once."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sigtrace.sinks.otlp.resource import image_of
from sigtrace.sinks.otlp.wire import TEXT_MAX, WORDS_MAX, fill, text
from tests.receivers.strict import attributes_of

ANY_TEXT = st.text(alphabet=st.characters(), max_size=3000)  # lone surrogates too
VALUES = st.none() | ANY_TEXT | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.lists(ANY_TEXT)


def filled(attributes):
    resource = Resource()
    fill(resource.attributes, attributes)
    return attributes_of(Resource.FromString(resource.SerializeToString()).attributes)


@given(st.dictionaries(st.text(min_size=1), VALUES))
def test_whatever_is_given_arrives_as_valid_utf8_and_bounded(attributes):
    found = filled(attributes)
    assert set(found) == {key for key, value in attributes.items() if value is not None}
    for value in found.values():
        words = value if isinstance(value, list) else [value]
        assert len(words) <= max(WORDS_MAX, 1)
        assert all(len(word) <= TEXT_MAX for word in words if isinstance(word, str))


def test_each_type_stays_what_it_is():
    attributes = {"s": "x", "b": True, "i": 1, "f": 0.5, "l": ["a", "b"], "empty": [], "nothing": None}
    found = filled(attributes)
    assert found == {key: value for key, value in attributes.items() if value is not None}
    assert [type(found[key]) for key in "sbif"] == [str, bool, int, float]


def test_numbers_beyond_64_bits_end_at_the_border():
    assert filled({"a": 1 << 80, "b": -(1 << 80)}) == {"a": (1 << 63) - 1, "b": -(1 << 63)}


def test_text_is_cut_with_a_mark_and_surrogates_go():
    assert text("x" * 2000) == "x" * (TEXT_MAX - 1) + "…"
    assert text("a\udcffb") == "a?b"
    assert text("größe") == "größe"


@given(st.text())
def test_any_image_has_parts(image):
    image_of(image)


def test_images_are_taken_apart():
    digest = "sha256:" + "ab" * 32
    found = image_of(f"registry:5000/team/app:1.2@{digest}")
    assert (found.name, found.tag) == ("registry:5000/team/app", "1.2")
    assert found.digest == f"registry:5000/team/app@{digest}"
    assert image_of("registry:5000/app").tag is None
    assert image_of("nginx:1").tag == "1"
    assert image_of(digest).id == digest
    assert image_of(None) == image_of("")
