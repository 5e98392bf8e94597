"""Pictures of learned control policies, for the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.pipeline.files import read_json

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COMFORT_F = (68.0, 72.0)


def control_figures(stage_dir: Path) -> list[dict[str, Any]]:
    """Figures of a Control stage: {"title", "figure" (plotly's), "caption"} each.

    A stage that has not finished has nothing to draw yet: none.

    Raises:
        RunError: the stage's curves are damaged.
    """
    curves = read_json(stage_dir / "artifacts" / "curves.json")
    if curves is None:
        return []
    found = [_training(curves)]
    if "cart" in curves:
        found.append(_cart(curves["cart"]))
    if "room" in curves:
        found += [_heating(curves["room"]), _day(curves["day"])]
    return found


def _training(curves: Mapping[str, Any]) -> dict[str, Any]:
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    for line in curves["training"]:
        figure.add_trace(
            Scatter(x=line["env_steps"], y=line["episode_return"], name=line["policy"])
        )
    if curves["threshold"] is not None:
        # A grey that shows on light and dark pages: the default is black.
        line = {"dash": "dot", "color": "gray"}
        figure.add_hline(curves["threshold"], line=line, annotation_text="solved")
    figure.update_layout(
        xaxis_title="environment steps", yaxis_title="return, mean of the last 100 episodes"
    )
    return {
        "title": "Return while training",
        "figure": figure,
        "caption": "Each line is an independent training. Actions are sampled, so the policy as "
        "evaluated, greedily, is a little better.",
    }


def _cart(cart: Mapping[str, Any]) -> dict[str, Any]:
    from plotly.graph_objects import Figure, Heatmap

    figure = Figure(
        Heatmap(
            x=cart["angle"],
            y=cart["speed"],
            z=cart["push_right"],
            zmin=0,
            zmax=1,
            colorscale="RdBu",
            colorbar={"title": "P(push right)"},
        )
    )
    figure.update_layout(xaxis_title="pole angle (rad)", yaxis_title="pole angular speed (rad/s)")
    return {
        "title": "When the learned policy pushes right",
        "figure": figure,
        "caption": "Probability of pushing right, the cart at rest in the middle. Positive angles "
        "lean right; an episode ends beyond 0.21 rad. The white line is where it is undecided.",
    }


def _heating(room: Mapping[str, Any]) -> dict[str, Any]:
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    for outside, chances in room["heating_by_outside"].items():
        figure.add_trace(Scatter(x=room["inside"], y=chances, name=f"{outside} F outside"))
    figure.add_vrect(*COMFORT_F, opacity=0.15, fillcolor="green", line_width=0)
    figure.update_layout(
        xaxis_title="temperature inside (F)", yaxis_title="P(heater on)", yaxis_range=[0, 1]
    )
    return {
        "title": "When the learned policy heats",
        "figure": figure,
        "caption": "Probability of heating over the temperature inside, for three temperatures "
        "outside. The band is where a step is rewarded.",
    }


def _day(day: Mapping[str, Any]) -> dict[str, Any]:
    figure = _temperatures(day)
    figure.add_hrect(*COMFORT_F, opacity=0.15, fillcolor="green", line_width=0)
    figure.update_layout(
        xaxis_title="hour of the day",
        yaxis_title="degrees Fahrenheit",
        yaxis2={"overlaying": "y", "side": "right", "range": [0, 8], "visible": False},
    )
    return {
        "title": "A day under the learned policy",
        "figure": figure,
        "caption": "An unseen day, played greedily. Bars at the foot: the heater is on.",
    }


def _temperatures(day: Mapping[str, Any]) -> "Figure":
    from plotly.graph_objects import Bar, Figure, Scatter

    return Figure(
        [
            Bar(x=day["hour"], y=day["heater"], name="heater on", yaxis="y2", opacity=0.5),
            Scatter(x=day["hour"], y=day["inside"], name="inside"),
            Scatter(x=day["hour"], y=day["outside"], name="outside"),
        ]
    )
