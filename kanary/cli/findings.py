"""The findings of `kanary lint`, as text, JSON or SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, TextIO
from urllib.parse import quote

from kanary.cli.output import json_text
from kanary.cli.yaml_values import Place
from kanary.version import VERSION
from states.catalogue import CATALOGUE
from states.texts import plain

Json = dict[str, Any]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


class Severity(StrEnum):
    """Whether the operator would refuse it."""

    ERROR = "error"
    WARNING = "warning"


class LintRule(StrEnum):
    """What only a file can have; all other errors have the reasons of the operator."""

    INVALID_YAML = "InvalidYAML"
    DUPLICATE_KEY = "DuplicateKey"
    DUPLICATE_KANARY = "DuplicateKanary"
    UNKNOWN_KIND = "UnknownKind"
    INVALID_METADATA = "InvalidMetadata"


@dataclass(frozen=True, order=True)
class Finding:
    """A problem at a place of a file."""

    file: str
    place: Place
    severity: Severity
    rule: str
    message: str
    kanary: str = ""
    """Its name; empty if unknown."""


def write_findings(findings: Sequence[Finding], output: str, stream: TextIO) -> None:
    """Write the findings."""
    if output == "text":
        stream.writelines(plain(_line(each)) + "\n" for each in findings)
    else:
        found = _sarif(findings) if output == "sarif" else [_document(each) for each in findings]
        stream.write(json_text(found, stream, indent=2) + "\n")


def _line(finding: Finding) -> str:
    line, column = finding.place
    return f"{finding.file}:{line}:{column}: {finding.severity} {finding.rule}: {finding.message}"


def _document(finding: Finding) -> Json:
    line, column = finding.place
    return {
        "file": finding.file,
        "line": line,
        "column": column,
        "severity": finding.severity,
        "rule": finding.rule,
        "message": finding.message,
        "kanary": finding.kanary or None,
    }


def _sarif(findings: Sequence[Finding]) -> Json:
    rules = sorted({str(each.rule) for each in findings})
    driver = {"name": "kanary lint", "version": VERSION, "rules": [_rule(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, rules.index(each.rule)) for each in findings],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(name: str) -> Json:
    explained = next((found[name] for found in CATALOGUE.values() if name in found), None)
    if explained is None:
        return {"id": name}
    return {"id": name, "shortDescription": {"text": explained.cause}, "help": {"text": explained.remedy}}


def _result(finding: Finding, rule: int) -> Json:
    line, column = finding.place
    where = {
        "artifactLocation": {"uri": _uri(finding.file)},
        "region": {"startLine": line, "startColumn": column},
    }
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": where}],
    }


def _uri(file: str) -> str:
    path = PurePath(file)
    return Path(path).as_uri() if path.is_absolute() else quote(path.as_posix())
