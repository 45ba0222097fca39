# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The pictures of the page, and the script that draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording


@dataclass(frozen=True)
class Pictures:
    """The pictures of a page.

    Attributes:
        specs: title → Vega-Lite specification.
        script: Vega, Vega-Lite and Vega-Embed, as one script without references to others.
        missing: why there are no pictures, or "".
    """

    specs: dict[str, dict[str, Any]]
    script: str
    missing: str = ""


def pictures(run: Recording) -> Pictures:
    """The timeline and the graph of a recording, with the script that draws them in a browser.

    Without Altair or vl-convert there are none, and `missing` says so.
    """
    try:
        import altair
        import vl_convert
    except ImportError as error:
        return Pictures(
            {}, "", f"Pictures need Altair and vl-convert-python: {error.name} is missing."
        )
    charts = {"Timeline": run.plot.timeline(), "Graph": run.plot.graph()}
    version = ".".join(altair.SCHEMA_VERSION.split(".")[:2])
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed", vl_version=version)
    return Pictures({title: chart.to_dict() for title, chart in charts.items()}, script)
