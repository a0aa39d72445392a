"""Writes docs/settings.md from the operator's settings.

`python -m kanary.settings_page` writes it in place; a test fails when it is not what this module writes.
"""

from pathlib import Path

from kanary.operator.settings import SETTINGS, Setting

PAGE = Path("docs/settings.md")
_HEAD = """\
# Settings of the operator

<!-- Made by python -m kanary.settings_page. -->

Each setting is an environment variable of the operator (in `manifests/base/operator.yaml`, or `settings` of the chart)
and an option of `kanary run`. An option takes precedence over its variable. An empty variable counts as not set, except
`KANARY_HISTORY_URL`. An invalid value is reported in one line, and `kanary run` exits with 2 for an option and with 1
for a variable.

A URL with a password belongs in a variable, set from a Secret: other processes can read options.

| variable | option | default | values | meaning |
|---|---|---|---|---|
"""


def text() -> str:
    """The whole page."""
    return _HEAD + "".join(f"| {' | '.join(_cells(setting))} |\n" for setting in SETTINGS)


def _cells(setting: Setting) -> tuple[str, ...]:
    is_flag = isinstance(setting.default, bool)
    option = f"`--no-{setting.option[2:]}`" if is_flag else f"`{setting.option}`"
    default = str(setting.default).lower() if is_flag else str(setting.default or "")
    return f"`{setting.variable}`", option, default and f"`{default}`", setting.expected, setting.description


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
