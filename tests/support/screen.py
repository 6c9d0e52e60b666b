"""What a person sees: shows standard input as a terminal of COLUMNS does, as JSON.

`rows`: each row as runs of [text, style]. `steered`: whatever was more than text, colours and line ends.
`left_on`: the lines that ended while a colour or another attribute was still on.
"""

import json
import re
import sys

import pyte

HARMLESS = {"draw", "tab", "linefeed", "carriage_return", "select_graphic_rendition"}
# The emulator does not know every sequence; real terminals know these and more.
COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")
CONTROL = re.compile(rb"\x1b.{0,8}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", re.DOTALL)
STYLES = ("bold", "italics", "underscore", "strikethrough", "reverse", "blink")


class Witness:
    """Stands before the screen and writes down what it is asked for."""

    def __init__(self, screen):
        self.screen, self.steered, self.left_on = screen, [], []

    def __getattr__(self, name):
        request = getattr(self.screen, name)
        if not callable(request):
            return request

        def noted(*args, **options):
            pen = self.screen.cursor.attrs._replace(data=" ")
            if name == "linefeed" and pen != self.screen.default_char:
                self.left_on.append(self.screen.cursor.y)
            if name not in HARMLESS or options.pop("private", False):
                self.steered.append(f"{name}{args}")
            request(*args, **options)

        return noted


def style(cell):
    words = [word for word in STYLES if getattr(cell, word)]
    words += [cell.fg] if cell.fg != "default" else []
    words += [f"on {cell.bg}"] if cell.bg != "default" else []
    return " ".join(words)


def runs(line):
    cells = [(line[x].data, style(line[x])) for x in range(max(line, default=-1) + 1)]
    while cells and cells[-1] == (" ", ""):
        cells.pop()
    found = []
    for text, look in cells:
        if found and found[-1][1] == look:
            found[-1][0] += text
        else:
            found.append([text, look])
    return found


def main():
    received, columns = sys.stdin.buffer.read(), int(sys.argv[1])
    # So high that nothing is scrolled away, however the lines wrap.
    screen = pyte.Screen(columns, received.count(b"\n") + len(received) // columns + 2)
    witness = Witness(screen)
    stream = pyte.ByteStream()
    stream.attach(witness)
    stream.feed(received)
    steered = [repr(control) for control in CONTROL.findall(COLOUR.sub(b"", received))]
    rows = [runs(screen.buffer[y]) for y in range(screen.cursor.y + 1)]
    json.dump({"rows": rows, "steered": witness.steered + steered, "left_on": witness.left_on}, sys.stdout)


main()
