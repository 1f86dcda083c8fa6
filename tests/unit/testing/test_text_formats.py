"""html, csv, json and text as markdown, and the names of files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from morag_client.testing.mock.fetching import filename_of
from morag_client.testing.pipeline.document import Document, StepFailure, file_name
from morag_client.testing.pipeline.formats import SUPPORTED_FORMATS, convert
from morag_client.testing.pipeline.formats.converted import Converted, Limits

PAGE = """<!doctype html><html lang="en-GB"><head><title>Tides &amp; moons</title><style>p { color: red }</style>
<meta name="author" content="Jane Smith"><meta property="article:published_time" content="2025-02-03T10:00:00Z"></head>
<body><h1>Tides</h1><script>alert("never")</script>
<p>The <b>tide</b> is <em> high </em>at <a href="https://example.com/a(b)">Saint-Malo</a>, 2 * 3 = <code>6*1</code>.
<ul><li>one<li>two<ol start="3"><li>three</ol></ul>
<blockquote><p>First.</p><p>Second.</p></blockquote>
<pre><code class="language-python">def tide():
    return 1 &lt; 2</code></pre>
<table><caption>Heights</caption><tr><th>Place</th><th>a|b</th></tr><tr><td>Saint-Malo<td>12<br>13</table>
</body></html>"""

PAGE_AS_MARKDOWN = """# Tides

The **tide** is *high* at [Saint-Malo](https://example.com/a%28b%29), 2 \\* 3 = `6*1`.

- one
- two
  3. three

> First.
>
> Second.

```python
def tide():
    return 1 < 2
```

Heights

| Place | a\\|b |
| --- | --- |
| Saint-Malo | 12 13 |
"""


def converted(name: str, content: str | bytes) -> Converted:
    return convert(Document(name, content.encode() if isinstance(content, str) else content))


def refusal(name: str, content: bytes, limits: Limits | None = None) -> StepFailure:
    with pytest.raises(StepFailure) as refused:
        convert(Document(name, content), limits=limits)
    return refused.value


def test_a_web_page() -> None:
    page = converted("tides.html", PAGE)

    assert page.markdown == PAGE_AS_MARKDOWN
    assert (page.stated.title, page.stated.author) == ("Tides & moons", "Jane Smith")
    assert (page.stated.created, page.stated.language) == ("2025-02-03", "en")


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("1. no list", "1\\. no list"),
        ("<p># none</p><p>- none</p>", "\\# none\n\n\\- none"),
        ("a <b>bold <i>both</b> after", "a **bold *both*** after"),
        ("<b>open", "**open**"),
        ("<h2>Two<br>lines</h2>", "## Two lines"),
        ("one<br>two", "one  \ntwo"),
        ("x<hr>y", "x\n\n* * *\n\ny"),
        ("<a href='javascript:x()'>safe</a><img src='data:image/png;base64,xx' alt=' picture'>", "safepicture"),
        ("<img src=a.png alt='a [b]'>", "![a [b]](a.png)"),
        ("<!-- no --><![CDATA[no]]><?no?>yes", "yes"),
        ("a < b <c>d</c> & e &lt;f&gt;", "a < b d & e \\<f>"),
        ("<p title='a>b' title=z>text", "text"),
        ("<script>if (a < b) '</p>'</script>after", "after"),
        ("<svg><text>no</text></svg><svg/>after", "after"),
        ("</li></ul></blockquote></table></td></pre></title>after", "after"),
        ("<table><tr><td>frame</td></tr><tr><td>around</td></tr></table>", "frame\n\naround"),
        ("<table><tr><td colspan=2>a<td>b<tr><td>c</table>", "| a |  | b |\n| --- | --- | --- |\n| c |"),
        ("<table><tr><td>a<table><tr><td>in</table><td>b</table>", "| a in | b |\n| --- | --- |"),
        ("<li>lonely", "- lonely"),
        ("<ul><li>a<p>b</p></ul>", "- a\n\n  b"),
        ("<pre>```\nx</pre>", "````\n```\nx\n````"),
        ("<code>a`b</code>", "`` a`b ``"),
        ("&#" + "1" * 5000 + ";x", "&#1111"),
    ],
)
def test_pieces_of_pages(html: str, markdown: str) -> None:
    assert converted("piece.htm", html).markdown.startswith(markdown)


def test_what_a_page_declares_decides_only_where_it_is_no_utf_8() -> None:
    declared = b'<meta charset="windows-1251"><p>'

    assert converted("a.html", declared + "прилив".encode("cp1251")).markdown == "прилив\n"
    assert converted("a.html", declared + "прилив".encode()).markdown == "прилив\n"
    assert converted("a.html", b"<meta charset=idna><p>caf\xe9").markdown == "café\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.html"])
def test_encodings(name: str, encoding: str) -> None:
    assert "été … “mer”" in converted(name, "x;été … “mer”\n".encode(encoding)).markdown


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", ["a | b", "1 | 2"]),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ["a | b", "1,5 | 2,5", "3,5 | 4,5"]),
        ("a\tb\n1, 2\t3\n", ["a | b", "1, 2 | 3"]),
        ("a|b\n1|2\n", ["a | b", "1 | 2"]),
        ("sep=;\r\na,x;b\r\n1;2\r\n", ["a,x | b", "1 | 2"]),
        ('a,b\n"1,1\n1","say ""hi"""\n', ["a | b", '1,1 1 | say "hi"']),
        ("a,b\n\n,\n1\n1,2,3\n", ["a | b | ", "1", "1 | 2 | 3"]),
        ("one\ntwo\n", ["one", "two"]),
        ("a,b\nx|y,*z*\n", ["a | b", "x\\|y | \\*z\\*"]),
    ],
)
def test_delimited_values_are_a_table(text: str, rows: list[str]) -> None:
    head, rule, *others = converted("a.csv", text).markdown.splitlines()

    assert [row.strip(" |") for row in (head, *others)] == [row.strip(" |") for row in rows]
    assert set(rule) == set("| -")
    assert rule.count("---") == head.replace("\\|", "").count("|") - 1


def test_one_wide_row_among_many_does_not_widen_them() -> None:
    markdown = converted("a.csv", "x," * 1000 + "\n" + "a,b\n" * 1000).markdown

    assert len(markdown) < 30_000


def test_json_is_headings_lists_and_tables() -> None:
    text = (
        '{"title": "Tides", "count": 2, "places": [{"name": "A", "height": 1.5}, {"name": "B"}],'
        ' "more": {"tags": ["x*", "y"], "none": null}}'
    )

    page = converted("tides.json", text)

    assert page.stated.title == "Tides"
    assert page.markdown == (
        "- **title:** Tides\n- **count:** 2\n\n# places\n\n| name | height |\n| --- | --- |\n| A | 1.5 |\n| B |  |\n\n"
        "# more\n\n- **none:** null\n\n## tags\n\n- x\\*\n- y\n"
    )


def test_json_lines_are_a_table() -> None:
    for name in ("a.jsonl", "a.json"):
        assert converted(name, '{"a": 1}\n\n{"a": 2}\n').markdown == "| a |\n| --- |\n| 1 |\n| 2 |\n"


def test_half_a_character_in_json_is_replaced() -> None:
    assert converted("a.json", '"a\\ud800b \\ud83c\\udf0a"').markdown == "a\N{REPLACEMENT CHARACTER}b \N{WATER WAVE}\n"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.json", b"{not json", "CORRUPT_DOCUMENT"),
        ("a.json", b"[" * 100_000, "CORRUPT_DOCUMENT"),
        ("a.json", b"[" * 101 + b"]" * 101, "CORRUPT_DOCUMENT"),
        ("a.json", b"9" * 5000, "CORRUPT_DOCUMENT"),
        ("a.csv", b'a,b\n"' + b"x" * 200_000, "CORRUPT_DOCUMENT"),
        ("a.html", b"<script>only</script>", "EMPTY_DOCUMENT"),
        ("a.csv", b",,,\n,,,\n", "EMPTY_DOCUMENT"),
        *[(f"a.{ending}", b"", "EMPTY_DOCUMENT") for ending in SUPPORTED_FORMATS],
        *[(f"a.{ending}", b"\x00\xff\xfe\x80 " * 9, "CORRUPT_DOCUMENT") for ending in ("pdf", "docx", "json")],
    ],
)
def test_what_cannot_be_read_says_why(name: str, content: bytes, code: str) -> None:
    failure = refusal(name, content)

    assert failure.details["error_code"] == code
    assert str(failure).startswith(f"{name} cannot be converted to markdown: it") or name == "a.csv"
    assert failure.details["attempted_format"] == name.partition(".")[2]


def test_what_is_too_large_or_takes_too_long_is_refused() -> None:
    for ending in ("txt", "html", "csv", "json"):
        failure = refusal(f"a.{ending}", b"x" * 101, Limits(text_bytes=100))
        assert failure.details["error_code"] == "DOCUMENT_TOO_LARGE"
    assert refusal("a.json", b"[1,2,3]", Limits(values=2)).details["error_code"] == "DOCUMENT_TOO_LARGE"
    late = refusal("a.html", b"<p>x" * 1000, Limits(seconds=-1))
    assert late.details["error_code"] == "CONVERSION_TIMEOUT"


def test_what_a_file_says_of_itself_is_tidied() -> None:
    head = f"<html lang='x-very-odd'><title>a\x00\n b{'c' * 999}</title><meta name=date content=2025-02-30>"
    said = converted("a.html", f"{head}text")

    assert said.stated.title is not None
    assert said.stated.title.startswith("a bc")
    assert len(said.stated.title) == 300
    assert (said.stated.created, said.stated.language) == (None, None)


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("/etc/cron.d/job.txt", "job.txt"),
        ("..\\..\\windows\\evil.txt", "evil.txt"),
        ("C:\\a.txt", "a.txt"),
        ("a\x00b\r\n.txt", "ab.txt"),
        ("..", "upload"),
        (".", "upload"),
        ("", "upload"),
        ("folder/", "upload"),
        ("été 海.md", "été 海.md"),
        ("\u202etxt.exe", "txt.exe"),
        ("\ud800.txt", ".txt"),
        ("a" * 300 + ".docx", "a" * 250 + ".docx"),
        ("a." + "b" * 300, "a." + "b" * 253),
    ],
)
def test_a_files_name_is_only_a_name(stated: str, name: str) -> None:
    assert file_name(stated) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://localhost/a/tides.pdf?x=1", "tides.pdf"),
        ("http://localhost/..%5C..%5Ca%00b.txt", "ab.txt"),
        ("http://localhost/%2e%2e%2fa.txt", "a.txt"),
        ("http://localhost/", "page"),
    ],
)
def test_nor_does_the_name_of_what_is_fetched_lead_anywhere(url: str, name: str) -> None:
    assert filename_of(url) == name


@given(stated=st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_files_name_is_a_name(stated: str) -> None:
    name = file_name(stated)

    assert 0 < len(name) <= 255
    assert name.isprintable()
    assert not set(name) & {"/", "\\"}
    assert name.strip(".")


MARKS = st.sampled_from("<>/!-=\"'& \nabptdlih`*[](){}:,;|#1\\\x00")


@given(text=st.text(MARKS), ending=st.sampled_from(SUPPORTED_FORMATS))
@settings(max_examples=300, deadline=None)
def test_any_text_ends_as_markdown_or_as_a_failure(text: str, ending: str) -> None:
    codes = set()
    try:
        markdown = converted(f"a.{ending}", text).markdown
        assert markdown.strip()
        markdown.encode()
    except StepFailure as failure:
        codes.add(failure.details["error_code"])
    assert codes <= {"EMPTY_DOCUMENT", "CORRUPT_DOCUMENT"}
