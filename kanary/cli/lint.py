"""`kanary lint`: checks manifests as the operator does, and says where in the file a problem is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path

from engine.model.spec import API_VERSION, GROUP, KIND, KanarySpec
from engine.resolve.validation import check_spec
from kanary.cli.failure import note
from kanary.cli.findings import Finding, LintRule, Severity, write_findings
from kanary.cli.likely_mistakes import warnings_of
from kanary.cli.manifest import Json, Manifest, metadata_problem, read_text
from kanary.cli.render import problems_of
from kanary.cli.yaml_source import YamlObject, read_objects
from kanary.cli.yaml_values import YamlError

_SUFFIXES = (".yaml", ".yml", ".json")
_STDIN = "-"
_NAMESPACE = "default"
"""Of objects that name none."""
_FINDINGS = 100
"""Of one kind about one Kanary."""
_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")


class Linted:
    """A Kanary of a file."""

    def __init__(self, file: str, found: YamlObject) -> None:
        self.file = file
        self.document: Json = found.value
        self._found = found
        metadata = found.value.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        self.name = str(metadata.get("name") or "")
        self.key = str(metadata.get("namespace") or _NAMESPACE), self.name
        self.spec: KanarySpec | None = None
        """None if it is invalid."""

    def finding(self, rule: str, message: str, *, severity: Severity = Severity.ERROR) -> Finding:
        """A finding at the field with whose path the message begins."""
        return Finding(self.file, self._found.place_of(message), severity, rule, message, self.name)

    def check(self) -> Iterator[Finding]:
        """The findings about this Kanary alone."""
        for key, place in self._found.repeated[:_FINDINGS]:
            text = f"duplicate key {key}: only the last one counts; remove the others"
            yield Finding(self.file, place, Severity.ERROR, LintRule.DUPLICATE_KEY, text, self.name)
        if self.document.get("kind") != KIND:
            yield self.finding(LintRule.UNKNOWN_KIND, f"kind is {self.document.get('kind')}: must be {KIND}")
            return
        if self.document["apiVersion"] != API_VERSION:
            text = f"apiVersion is {self.document['apiVersion']}: must be {API_VERSION}"
            yield self.finding(LintRule.UNKNOWN_KIND, text)
            return
        for key in sorted(self.document.keys() - {*_FIELDS})[:_FINDINGS]:
            near = get_close_matches(str(key).lower(), _FIELDS, n=1)
            way_out = f"did you mean {near[0]}?" if near else f"it has {', '.join(_FIELDS)}"
            yield self.finding("InvalidSpec", f"{key} is not a field of a Kanary: {way_out}")
        metadata = self.document.get("metadata")
        if isinstance(metadata, dict) and (problem := metadata_problem(metadata)):
            yield self.finding(LintRule.INVALID_METADATA, problem)
            return
        spec, problems = check_spec(self.document, unknown="forbid")
        yield from (self.finding(problem.reason, problem.message) for problem in problems[:_FINDINGS])
        self.spec = None if problems else spec


def lint(paths: Sequence[str], output: str, *, strict: bool) -> int:
    """Print the findings about these files and folders; returns the exit code. Raises InputError."""
    files = list({Path(file).resolve(): file for path in paths for file in _files(path)}.values())
    now, kanaries, findings = datetime.now(UTC), 0, list[Finding]()
    # What is in one folder is applied together. In other folders, the same names may be those of another environment.
    for _, group in groupby(sorted(files, key=_folder), _folder):
        checked, found = _lint_together(list(group), now)
        kanaries += checked
        findings += found
    findings.sort()
    write_findings(findings, output, sys.stdout)
    errors = sum(each.severity is Severity.ERROR for each in findings)
    checked_text = f"{_count(kanaries, 'Kanary', 'Kanaries')} in {_count(len(files), 'file', 'files')}"
    warnings = _count(len(findings) - errors, "warning", "warnings")
    note(f"{checked_text}: {_count(errors, 'error', 'errors')}, {warnings}")
    return 1 if errors or (strict and findings) else 0


def _files(path: str) -> Iterable[str]:
    """The files of a path, in a stable order; hidden folders are left out."""
    folder = Path(path)
    if path == _STDIN or not folder.is_dir():
        return [path]
    found = (each for each in folder.rglob("*") if each.suffix in _SUFFIXES and each.is_file())
    return sorted(str(each) for each in found if not any(p.startswith(".") for p in each.relative_to(folder).parts))


def _folder(file: str) -> str:
    return "" if file == _STDIN else str(Path(file).resolve().parent)


def _lint_together(files: Sequence[str], now: datetime) -> tuple[int, list[Finding]]:
    """The number of Kanaries in these files, and the findings."""
    texts, findings = dict[str, str](), list[Finding]()
    for file in files:
        try:
            texts[file] = read_text(file)
        except YamlError as error:
            findings.append(_not_yaml(file, error))
    if not any(GROUP in text for text in texts.values()):
        # Files without a Kanary may be of any kind, such as templates.
        return 0, findings
    kanaries, others = list[Linted](), list[Json]()
    for file, text in texts.items():
        try:
            for found in read_objects(text):
                if isinstance(found.value, dict) and str(found.value.get("apiVersion")).split("/")[0] == GROUP:
                    kanaries.append(Linted(file, found))
                elif isinstance(found.value, dict) and isinstance(found.value.get("metadata"), dict):
                    others.append(found.value)
        except YamlError as error:
            if GROUP in text:
                findings.append(_not_yaml(file, error))
    findings += [finding for each in kanaries for finding in each.check()]
    return len(kanaries), [*findings, *_compared([each for each in kanaries if each.spec], others, now)]


def _compared(kanaries: Sequence[Linted], others: list[Json], now: datetime) -> Iterator[Finding]:
    """The findings about valid Kanaries because of each other and of the Services beside them."""
    first: dict[tuple[str, str], Linted] = {}
    for each in kanaries:
        first.setdefault(each.key, each)
    for each in kanaries:
        former = first[each.key]
        if former is not each and former.file == each.file:
            text = f"metadata.name is {each.name}, which an earlier Kanary of this file has: this one replaces it"
            yield each.finding(LintRule.DUPLICATE_KANARY, text)
            continue
        # In another file, the same Kanary is another version of it, not a rival.
        manifest = Manifest([linted.document for linted in (first | {each.key: each}).values()] + others, _NAMESPACE)
        placed = manifest.kanary(*each.key)
        if placed and each.spec:
            for problem in problems_of(placed, each.spec, manifest):
                yield each.finding(problem.reason, problem.message)
            for kind, message in warnings_of(placed, each.spec, manifest, now):
                yield each.finding(kind, message, severity=Severity.WARNING)


def _not_yaml(file: str, error: YamlError) -> Finding:
    return Finding(file, error.place, Severity.ERROR, LintRule.INVALID_YAML, f"is not YAML: {error}")


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
