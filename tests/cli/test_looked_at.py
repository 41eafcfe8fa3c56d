"""What an approval asks a person to look at."""

from __future__ import annotations

import io
from typing import cast

from rich.console import Console

from cmdop import v1
from cmdop.cli.output import approval_view


def test_what_is_looked_at_is_shown_with_its_reason_and_is_not_called_undeclared() -> None:
    effect = v1.ObservedEffect(kind=v1.EffectKind.EFFECT_KIND_FILE_MODIFY, target="/srv/app/a.db", count=1)
    held = v1.SideEffect(effect=effect, severity=v1.Severity.SEVERITY_HIGH, why="`site.database` holds it")
    approval = v1.Approval(approval_id="a", diff=v1.Observation(effects=[effect]), beyond=[held])
    console = Console(width=200, file=io.StringIO())
    console.print(approval_view(approval))
    (line,) = [line for line in cast("io.StringIO", console.file).getvalue().splitlines() if "look at" in line]
    assert "/srv/app/a.db" in line and "`site.database` holds it" in line
    assert "beyond" not in line
