"""An HTML page as a test reads it."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "path", "circle"}


class Page(HTMLParser):
    """The text, tags and attributes of a page whose tags are balanced."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.words, self.attributes, self.tags = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def values(self, *names):
        return [value for name, value in self.attributes if name in names]
