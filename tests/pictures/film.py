"""A recorded terminal as an SVG image: all that it showed as an animation, or what it showed once.

All frames lie below one another, and CSS moves them past a window, one after another.
"""

import json
from html import escape
from itertools import groupby

from tests.pictures.recording import COLUMNS, ROWS, new_screen

# What each part of a recording takes at most: so waits are shortened, and a search runs ten times
# as fast. What the display says of its own time remains true. No frame stands for less than 0.1 s.
SECONDS = (2.4, 4, 1.8, 2, 3, 2)
FEWEST, LAST = 0.1, 2.0  # seconds between frames, and of the last one
WIDE, HIGH, MARGIN, BAND = 8.4, 18, 16, 40  # pixels: a letter, a row, around all, the caption
WIDTH = round(COLUMNS * WIDE) + 2 * MARGIN
COLORS = {"default": "#d7dde5", "black": "#30363d", "red": "#ff7b72", "green": "#7ee787"}
COLORS |= {"brown": "#e3b341", "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#56d4dd"}
COLORS |= {"white": "#d7dde5", "brightblack": "#8b949e"}
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
STYLE = f"""
text{{font:14px {FONT};fill:{COLORS["default"]};white-space:pre}}
.b{{font-weight:bold}}
.c{{font:600 20px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#ffa657}}
"""


def rows_of(screen):
    """Return each row of a screen as SVG, without what is empty below."""
    rows = []
    for at in range(screen.lines):
        cells, column, row = [screen.buffer[at][place] for place in range(screen.columns)], 0, ""
        for (color, bold), run in groupby(cells, lambda cell: (cell.fg, cell.bold)):
            text = "".join(cell.data for cell in run)
            if text.strip():
                fill = "" if color == "default" else f' fill="{COLORS.get(color, f"#{color}")}"'
                style = fill.replace(' fill="', ' style="fill:') + ' class="b"' * bold
                place = f'x="{column * WIDE:g}" textLength="{len(text) * WIDE:g}"'
                row += f"<text {place}{style}>{escape(text)}</text>"
            column += len(text)
        rows.append(row)
    while rows and not rows[-1]:
        rows.pop()
    return rows


def card(height, inside, style=""):
    """Return an image with a dark, rounded background."""
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    edge = f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="10"'
    edge += ' fill="#161b22" stroke="#3d444d"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}{style}</style>'
        f"{edge}{inside}</svg>\n"
    )


def still(rows):
    """Return the image of some rows."""
    placed = (f'<g transform="translate(0 {at * HIGH})">{row}</g>' for at, row in enumerate(rows))
    inside = f'<g transform="translate({MARGIN} {MARGIN + 14})">{"".join(placed)}</g>'
    return card(len(rows) * HIGH + 2 * MARGIN, inside)


def printed(text):
    """Return the image of what a program printed."""
    screen, stream = new_screen(rows=len(text.splitlines()))
    stream.feed(text.strip("\n").replace("\n", "\r\n"))
    return still(rows_of(screen))


def parts_of(cast):
    """Return the captions of a recording, each with the screens of its part and their times."""
    screen, stream = new_screen()
    parts = []
    for at, kind, text in map(json.loads, cast.splitlines()[1:]):
        if kind == "m":
            parts.append((text, at, []))
        else:
            stream.feed(text)
            if parts:
                shown = "\n".join(screen.display)
                parts[-1][2].append((at - parts[-1][1], rows_of(screen), shown))
    return [(caption, screens) for caption, _, screens in parts]


def frames_of(cast):
    """Return the frames of the film, as the second, the caption, the rows and the part of each."""
    frames, begins = [], 0.0
    for part, ((caption, screens), most) in enumerate(zip(parts_of(cast), SECONDS, strict=True)):
        takes = screens[-1][0]
        shorter = min(1.0, most / takes)
        for at, rows, _ in screens:
            now = begins + at * shorter
            if frames and now - frames[-1][0] < FEWEST and frames[-1][3] == part:
                frames[-1] = (frames[-1][0], caption, rows, part)
            else:
                frames.append((now, caption, rows, part))
        begins += max(takes * shorter, 1.5)
    return frames, begins + LAST


def film(cast):
    """Return the animation of a recording; where nothing moves, it shows how the trial goes on."""
    frames, seconds = frames_of(cast)
    height = BAND + ROWS * HIGH + MARGIN
    names = {row: f"r{at}" for at, row in enumerate(sorted({r for f in frames for r in f[2]}))}
    kept = "".join(f'<g id="{name}">{row}</g>' for row, name in names.items() if row)
    strip, steps = [], []
    for at, (second, caption, rows, _) in enumerate(frames):
        top = at * height
        strip.append(f'<text class="c" x="0" y="{top + 29}">{escape(caption)}</text>')
        strip += (
            f'<use href="#{names[row]}" y="{top + BAND + 14 + line * HIGH}"/>'
            for line, row in enumerate(rows)
            if row
        )
        steps.append(f"{100 * second / seconds:.2f}%{{transform:translateY(-{top}px)}}")
    resting = next(at for at, frame in enumerate(frames) if frame[3] == 4)
    style = (
        f"@keyframes f{{{''.join(steps)}}}"
        f".f{{transform:translateY(-{resting * height}px);"
        f"animation:f {seconds:.1f}s steps(1,end) infinite}}"
        "@media(prefers-reduced-motion:reduce){.f{animation:none}}"
    )
    window = f'<svg x="{MARGIN}" width="{WIDTH - 2 * MARGIN}" height="{height}">'
    inside = f'<defs>{kept}</defs>{window}<g class="f">{"".join(strip)}</g></svg>'
    return card(height, inside, style)
