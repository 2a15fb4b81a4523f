"""The C templates of an artifact."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

NOTICE = "SPDX-License-Identifier: Apache-2.0"
"""Of what the runtime makes for itself; an artifact has another one."""


@cache
def environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("graphopt.runtime", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C is not HTML; names are cleaned before they get here
    )


def render(template: str, **context: Any) -> str:
    """A template, filled; a name that it uses and ``context`` lacks is an error."""
    return environment().get_template(f"{template}.j2").render(**context)
