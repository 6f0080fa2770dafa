"""Each input that is kept for a fuzz target, and some hundred like them: no crash, no hang, nothing that acts."""

import itertools

import pytest

from tests.fuzz import check
from tests.fuzz.mutate import inputs
from tests.fuzz.targets import CORPUS, TARGETS, corpus, run

_MUTATED = 60


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_others_write_breaks_a_parser(name):
    known = corpus(name)
    assert known, "no sample: put one into tests/fuzz/corpus"
    for data in (*known, b"", *itertools.islice(inputs(known, 1), _MUTATED)):
        run(name, data[:65536])


def test_every_folder_of_the_corpus_is_a_targets():
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\u202e", "\ud800", "\u2028", "\x85"])
def test_the_check_for_text_that_acts_finds_it(text):
    with pytest.raises(check.BrokenError):
        check.harmless(text)
    with pytest.raises(check.BrokenError):
        check.one_line('{"a": "' + ascii(text)[1:-1].replace("\\x", "\\u00") + '"}\n')


def test_mutated_inputs_are_the_same_for_a_seed():
    some, same = (list(itertools.islice(inputs([b"abc", b"{}"], 7), 50)) for _ in range(2))
    assert some == same
    assert len(set(some)) > 40
