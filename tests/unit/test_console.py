"""What the tutorial's test takes for the output that the page shows."""

import pytest

from tests.e2e.console import Command, Console, commands, is_as_shown

PAGE = """\
```console
$ kubectl get ky
NAME   AGE
web    41s
$ kubectl patch '[
>   1]'
```

```sh
not a command of the tutorial
```
"""


def test_commands_and_their_output_are_found() -> None:
    assert commands(PAGE) == [
        Command("kubectl get ky", "NAME   AGE\nweb    41s\n"),
        Command("kubectl patch '[\n  1]'"),
    ]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("web  Ready 2m3s\n", "web   Ready   41s"),
        ("1 2026-01-02 03:04:05 Ready 0.4s", "1  2026-11-26 19:02:28  Ready  12.5s"),
        ('{"v1": 799, "v2": 201}', '{"v1": 800, "v2": 200}'),
        ("before\nFAILED AT\nafter\n", "...\nFAILED AT\n..."),
        ("pay-v3-abc (10.0.0.1:80)", "pay-v3-... (...)"),
    ],
)
def test_what_may_differ(printed: str, expected: str) -> None:
    assert is_as_shown(printed, expected)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("web Degraded 41s", "web Ready 41s"),
        ("web 1/2", "web 2/2"),
        ('{"v1": 750, "v2": 250}', '{"v1": 800, "v2": 200}'),
        ("myapp-v1:http=50", "myapp-v1:http=80"),
        ("revision 3", "revision 2"),
        ("", "web"),
        ("web\nmore", "web"),
    ],
)
def test_what_may_not_differ(printed: str, expected: str) -> None:
    assert not is_as_shown(printed, expected)


def test_variables_stay_and_a_command_that_fails_is_an_error() -> None:
    console = Console({"PATH": "/usr/bin:/bin"})
    console.run(Command("NAME=web"))
    console.run(Command("echo $NAME", "web"))
    with pytest.raises(AssertionError, match="web"):
        console.run(Command("echo $NAME", "other"))
    with pytest.raises(AssertionError, match="false"):
        console.run(Command("false"))
