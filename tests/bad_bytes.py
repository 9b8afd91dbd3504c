"""Bad specs that a text file cannot hold, and the one good spec that they are made from."""

from __future__ import annotations

GOOD = b"""name: tiny
source: https://example.org/config.json
published: {total: 1M, active: 1M, source: https://example.org}
hidden: 64
vocab: 1000
attention:
  main: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 16}
ffn:
  experts: {kind: moe, experts: 8, top_k: 2, width: 32}
layers:
  - {repeat: 2, attention: main, ffn: experts}
"""


def good_but(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new)


TOO_DEEP = "nested more than 32 levels deep"
TOO_LARGE = "larger than 256 KiB"
# name: (bytes, code, line, column, fragment of the message)
GENERATED: dict[str, tuple[bytes, str, int | None, int | None, str]] = {
    "empty": (b"", "MP106", None, None, "the file is empty"),
    "only_blanks": (b" \n\n  \n", "MP106", None, None, "the file is empty"),
    "bom_alone": (b"\xef\xbb\xbf", "MP106", None, None, "the file is empty"),
    "nested_33": (b"a: " + b"[" * 33, "MP110", 1, 35, TOO_DEEP),
    "nested_lists_100000": (b"[" * 100_000, "MP110", 1, 33, TOO_DEEP),
    "nested_lists_1000000": (b"[" * 1_000_000, "MP102", None, None, TOO_LARGE),
    "nested_mappings": (b"{a: " * 60_000, "MP110", 1, 129, TOO_DEEP),
    "nested_dashes": (b"- " * 130_000, "MP110", 1, 65, TOO_DEEP),
    "nested_dashes_400000": (b"- " * 400_000, "MP102", None, None, TOO_LARGE),
    "question_marks": (b"? " * 130_000, "MP113", 1, 3, "a key must be plain text"),
    "question_marks_300000": (b"? " * 300_000, "MP102", None, None, TOO_LARGE),
    "nested_by_indentation": (
        b"".join(b" " * depth + b"a:\n" for depth in range(700)),
        "MP110",
        33,
        33,
        TOO_DEEP,
    ),
    "flat_map_too_many": (
        b"".join(b"k%d: 1\n" % n for n in range(15_000)),
        "MP110",
        10_000,
        8,
        "20000 values",
    ),
    "flat_map_4_mb": (b"".join(b"k%d: 1\n" % n for n in range(400_000)), "MP102", None, None, TOO_LARGE),
    "flow_list_100000": (b"a: [" + b"1," * 100_000, "MP110", 1, 39_999, "20000 values"),
    "flow_list_250000": (b"a: [" + b"1," * 250_000, "MP102", None, None, TOO_LARGE),
    "scalar_of_200_kb": (b"name: " + b"x" * 200_000, "MP110", 1, 7, "a text of more than 4096 characters"),
    "scalar_of_1_mb": (b"name: " + b"x" * 1_000_000, "MP102", None, None, TOO_LARGE),
    "folded_scalar": (b"name: >\n" + b"  xx\n" * 40_000, "MP110", 1, 7, "a text of more than 4096"),
    "key_of_200_kb": (b'? "' + b"k" * 200_000 + b'"\n: 1\n', "MP110", 1, 3, "a text of more than 4096"),
    "quotes_unclosed": (b"a: '" + b"x\n " * 60_000, "MP105", 1, 4, "the quote that opens here is not closed"),
    "comments_only_250_kb": (b"# x\n" * 60_000, "MP106", None, None, "the file is empty"),
    "anchors_200_kb": (b"a: [" + b"&a x, " * 40_000, "MP108", 1, 5, "anchors (&name) are not used"),
    "utf_16_le": (GOOD.decode().encode("utf-16"), "MP104", 1, 1, "the file is UTF-16"),
    "utf_16_be": (b"\xfe\xff" + GOOD.decode().encode("utf-16-be"), "MP104", 1, 1, "the file is UTF-16"),
    "utf_16_without_bom": (GOOD.decode().encode("utf-16-le"), "MP104", 1, 2, "a NUL character"),
    "utf_32": (GOOD.decode().encode("utf-32-be"), "MP104", 1, 1, "a NUL character"),
    "latin_1": (good_but(b"tiny", "t\u00edny".encode("latin-1")), "MP104", 1, 8, "byte 0xed is not UTF-8"),
    "surrogate_bytes": (good_but(b"tiny", b"ti\xed\xa0\x80ny"), "MP104", 1, 9, "byte 0xed is not UTF-8"),
    "overlong_bytes": (good_but(b"1000", b"\xc0\xb1000"), "MP104", 5, 8, "byte 0xc0 is not UTF-8"),
    "cut_utf_8": (GOOD + b"note: \xe2\x82", "MP104", 12, 7, "byte 0xe2 is not UTF-8"),
    "nul": (good_but(b"tiny", b"ti\0ny"), "MP104", 1, 9, "a NUL character"),
    "raw_escape": (good_but(b"tiny", b"ti\x1b[31mny"), "MP104", 1, 9, "U+001B"),
    "raw_delete": (good_but(b"tiny", b"ti\x7fny"), "MP104", 1, 9, "U+007F"),
    "raw_c1_control": (good_but(b"tiny", "ti\u009bny".encode()), "MP104", 1, 9, "U+009B"),
    "raw_next_line": (good_but(b"1000", "1000\u0085a: 1".encode()), "MP104", 5, 12, "U+0085"),
    "raw_line_separator": (good_but(b"1000", "1000\u2028a: 1".encode()), "MP104", 5, 12, "U+2028"),
    "second_bom": (b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD, "MP104", 1, 1, "U+FEFF"),
    "form_feed": (good_but(b"\nvocab", b"\n\x0cvocab"), "MP104", 5, 1, "U+000C"),
    "escaped_surrogate": (
        good_but(b"tiny", b'"\\ud800"'),
        "MP105",
        1,
        10,
        "an escape that is not a character",
    ),
    "escaped_beyond_unicode": (
        good_but(b"tiny", b'"\\UFFFFFFFF"'),
        "MP105",
        1,
        10,
        "an escape that is not a character",
    ),
    "bom_and_fault": (b"\xef\xbb\xbf" + good_but(b"tiny", b"!x tiny"), "MP108", 1, 7, "tags (!name)"),
    "crlf_and_fault": (
        good_but(b"vocab: 1000", b"vocab: x").replace(b"\n", b"\r\n"),
        "MP122",
        5,
        8,
        'found the text "x"',
    ),
    "cr_and_fault": (
        good_but(b"vocab: 1000", b"vocab: x").replace(b"\n", b"\r"),
        "MP122",
        5,
        8,
        'found the text "x"',
    ),
    "crlf_and_control": (
        good_but(b"1000", b"\x1b").replace(b"\n", b"\r\n"),
        "MP104",
        5,
        8,
        "U+001B",
    ),
    "wide_text_before_fault": (
        good_but(b"{total", "{note: 混合专家, total: 1, x".encode()).replace(b"x: 1M, active", b"active"),
        "MP122",
        3,
        32,
        "found 1",
    ),
    "config_json": (
        b'{\n "model_type": "mixtral"\n}',
        "MP103",
        None,
        None,
        "looks like a Hugging Face config.json",
    ),
    "config_json_8_mb": (
        b'{"architectures": ["X"], "a": "' + b"x" * 8_000_000 + b'"}',
        "MP103",
        None,
        None,
        "looks like a Hugging Face config.json",
    ),
    "index_json": (b'{"metadata": {}, "weight_map": {}}', "MP103", None, None, "the index of a checkpoint"),
    "lfs_pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "MP103",
        None,
        None,
        "a Git LFS pointer",
    ),
    "html_page": (
        b"<!DOCTYPE html><html><body>404</body></html>",
        "MP103",
        None,
        None,
        "an HTML or XML page",
    ),
    "pickle": (b"\x80\x02}q\x00.", "MP103", None, None, "a pickle or zip file"),
    "zip": (b"PK\x03\x04\x00\x00", "MP103", None, None, "a pickle or zip file"),
    "random_bytes": (bytes(range(128, 256)) * 10, "MP104", 1, 1, "byte 0x80 is not UTF-8"),
    "long_value_is_cut": (good_but(b"1000", b"9x" * 1_500), "MP122", 5, 8, "9x9x" + "…"),
}
WORST = (
    "nested_lists_100000",
    "nested_lists_1000000",
    "nested_dashes",
    "question_marks",
    "flat_map_too_many",
    "flat_map_4_mb",
    "flow_list_100000",
    "folded_scalar",
    "anchors_200_kb",
    "quotes_unclosed",
    "config_json_8_mb",
)
