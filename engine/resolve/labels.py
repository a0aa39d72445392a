"""What Kubernetes accepts as keys of labels and annotations, and as values of labels."""

import re
from collections.abc import Iterator, Mapping

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KEY = re.compile(rf"({_LABEL}(\.{_LABEL})*/)?{_NAME}")
_VALUE = re.compile(f"({_NAME})?")
_MOST_PREFIX, _MOST_NAME = 253, 63
_CHARACTERS = "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"


def key_problems(where: str, keys: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the keys of labels."""
    for key in keys:
        is_long = key.rfind("/") > _MOST_PREFIX or len(key) > _MOST_PREFIX + 1 + _MOST_NAME
        if is_long or not _KEY.fullmatch(key):
            yield (
                f"{where} has the key {key[:80]!a}: must be at most 63 {_CHARACTERS}, after a DNS name and '/' if you "
                "like, such as example.com/team"
            )


def annotation_problems(where: str, annotations: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with annotations, whose keys have no letter case."""
    return key_problems(where, {key.lower(): value for key, value in annotations.items()})


def label_problems(where: str, labels: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with labels, or with a selector of them."""
    yield from key_problems(where, labels)
    for key, value in labels.items():
        if not _VALUE.fullmatch(value):
            yield f"{where}.{key[:80]} is {value[:80]!a}: must be empty or at most 63 {_CHARACTERS}"
