"""A strict reader of the text exposition, written from its definition and not from our writer.

https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4), OpenMetrics 1.0.
"""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def labels_of(text):
    labels, at = {}, 0
    while at < len(text):
        found = LABEL.match(text, at)
        assert found, text[at:]
        name, value = found[1], re.sub(r'\\[\\"n]', lambda m: UNESCAPED[m[0]], found[2])
        assert name not in labels, f"{name} twice"
        assert not name.startswith("__")
        labels[name] = value
        at = found.end()
        if at < len(text):
            assert text[at] == ","
            at += 1
    return labels


def read(text, *, open_metrics=False):
    """{name: {labels as a sorted tuple: value}}; every rule that is broken is an AssertionError."""
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    if open_metrics:
        assert lines.pop() == "# EOF"
    samples, types, helped, finished, family = {}, {}, set(), set(), None
    for line in lines:
        if line.startswith("# "):
            _, word, name, *rest = line.split(" ", 3)
            assert word in {"HELP", "TYPE", "UNIT"}, line
            if name != family:
                assert name not in finished, f"{name} is not in one piece"
                finished.add(name)
                family = name
            if word == "TYPE":
                assert name not in types
                types[name] = rest[0]
            elif word == "HELP":
                assert name not in helped
                helped.add(name)
            else:
                assert open_metrics
                assert name.endswith(f"_{rest[0]}")
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, inside, value = found.groups()
        assert re.fullmatch(rf"{re.escape(family)}(_total|_info|_bucket|_sum|_count)?", name), (family, name)
        if open_metrics and types[family] == "counter":
            assert name == f"{family}_total"
        key = tuple(sorted(labels_of(inside or "").items()))
        assert key not in samples.setdefault(name, {}), f"{line} twice"
        samples[name][key] = float(value)
    return samples


def value(samples, name, **labels):
    """Of the one series with exactly these labels."""
    return samples[name][tuple(sorted(labels.items()))]
