"""`kanary run`: the operator's settings as options."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource
from click.types import OptionHelpExtra

from kanary.cli.failure import CommandError
from kanary.cli.parameters import WholeNumber
from kanary.operator.settings import SETTINGS, BadSettingError, Setting, Settings


class _SettingOption(click.Option):
    """The option of a setting. It shows the environment variable in `--help`; `Settings` reads the variable."""

    def __init__(self, setting: Setting) -> None:
        is_flag = isinstance(setting.default, bool)
        super().__init__(
            [f"{setting.option}/--no-{setting.option[2:]}" if is_flag else setting.option],
            type=_type(setting),
            default=setting.default,
            # An empty default is not worth showing.
            show_default=setting.default not in {None, ""},
            metavar=None if is_flag or setting.choices else setting.name.rpartition("_")[2].upper(),
            help=setting.description,
        )
        self._variable = setting.variable

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Add the environment variable to the help."""
        return {**super().get_help_extra(ctx), "envvars": (self._variable,)}


def options() -> list[click.Parameter]:
    """An option for each setting."""
    return [_SettingOption(setting) for setting in SETTINGS]


def run(context: click.Context) -> int:
    """Run the operator with the options of the context; returns the exit code.

    Raises BadParameter for an invalid option, CommandError for an invalid environment variable.
    """
    given = {name: value for name, value in context.params.items() if _is_given(context, name)}
    try:
        settings = Settings.load(**given)
    except BadSettingError as error:
        if error.setting.name in given:
            raise click.BadParameter(error.problem, context, param_hint=f"'{error.setting.option}'") from error
        raise CommandError(str(error)) from error
    from kanary.operator import run as operator  # noqa: PLC0415 -- loads what --help does not need

    return operator.run(settings)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _type(setting: Setting) -> Any:
    if setting.bounds:
        return WholeNumber(*setting.bounds)
    return click.Choice(setting.choices) if setting.choices else None
