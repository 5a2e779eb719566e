"""How figures look: few colours, few lines, text that says what is seen."""

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe & Ito (2008): told apart with every kind of colour vision, and by lightness.
BLUE, VERMILION = "#0072B2", "#D55E00"
INK, MUTED, RULE = "#222222", "#6B6B6B", "#E4E4E4"
LONGEST_NAME = 28


def restrain(axes: "Axes", *, grid: str) -> None:
    """Take away the frame, and put a pale grid behind what is drawn: "x", "y" or "both"."""
    axes.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9.5)


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name in one line of at most so many characters."""
    line = " ".join(name.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def png(figure: "Figure", *, dots_per_inch: int = 100) -> bytes:
    """Render a figure to a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to alarm anybody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dots_per_inch)
    return buffer.getvalue()
