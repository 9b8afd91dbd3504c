"""Every way a routing file is known to be wrong: text, code, line, key, message."""

from __future__ import annotations

from moe_plan.spec import limits

GOOD = '{"format": "moe-plan/routing/v1",\n "layers": [\n  [],\n  [4, 0, 9],\n  [1, 2, 3, 0, 5]\n ]}\n'
GOOD_CSV = "layer,expert,count\n1,0,4\n1,2,9\n2,0,1\n2,1,2\n2,2,3\n2,4,5\n"


def but(old, new, text=GOOD):
    assert text.count(old) == 1, old
    return text.replace(old, new)


WHOLE = "is not a whole number from 0 to 1e15"
JSON_FAULTS = {
    "fraction": (but("4, 0", "4.0, 0"), "MP152", 4, "layers.1.0", f"4.0 {WHOLE}"),
    "exponent": (but("4, 0", "4e2, 0"), "MP152", 4, "layers.1.0", f"4e2 {WHOLE}"),
    "negative": (but("[1, 2", "[1, -2"), "MP152", 5, "layers.2.1", f"-2 {WHOLE}"),
    "nan": (but("0, 5", "0, NaN"), "MP152", 5, "layers.2.4", f"NaN {WHOLE}"),
    "infinity": (but("0, 5", "0, -Infinity"), "MP152", 5, "layers.2.4", f"-Infinity {WHOLE}"),
    "too large": (but("0, 5", f"0, {10**15 + 1}"), "MP152", 5, "layers.2.4", f"{10**15 + 1} {WHOLE}"),
    "5,000 digits": (but("0, 5", f"0, {'7' * 5000}"), "MP152", 5, "layers.2.4", f"{'7' * 39}… {WHOLE}"),
    "text": (but("0, 5", '0, "5"'), "MP152", 5, "layers.2.4", f'"5" {WHOLE}'),
    "true": (but("0, 5", "0, true"), "MP152", 5, "layers.2.4", f"true {WHOLE}"),
    "null": (but("0, 5", "0, null"), "MP152", 5, "layers.2.4", f"null {WHOLE}"),
    "list": (but("0, 5", "0,\n [5]"), "MP152", 6, "layers.2.4", f"a list {WHOLE}"),
    "object": (but("0, 5", '0, {"layers": 5}'), "MP152", 5, "layers.2.4", f"an object {WHOLE}"),
    "number for a layer": (
        but("[],", "7,"),
        "MP151",
        3,
        "layers.0",
        "7 where a layer's list of counts should stand",
    ),
    "null for a layer": (
        but("[],", "null,"),
        "MP151",
        3,
        "layers.0",
        "null where a layer's list of counts should stand",
    ),
    "object of layers": (
        '{"format": "moe-plan/routing/v1", "layers": {"1": [4, 0, 9]}}',
        "MP151",
        1,
        "layers",
        "an object where a list of the layers' counts should stand",
    ),
    "another format": (
        but("/v1", "/v2"),
        "MP151",
        1,
        "format",
        '"moe-plan/routing/v2" is not "moe-plan/routing/v1"',
    ),
    "no format": ('{\n"layers": []}', "MP151", 1, "format", "the key is missing"),
    "no layers": ('{"format": "moe-plan/routing/v1"}', "MP151", 1, "layers", "the key is missing"),
    "misspelt": (
        but('"layers"', '"layer"'),
        "MP151",
        2,
        "layer",
        "unknown key; did you mean layers?; allowed are format and layers",
    ),
    "unknown": (
        but("]}", '],\n"model": 1}'),
        "MP151",
        7,
        "model",
        "unknown key; allowed are format and layers",
    ),
    "empty key": (but("]}", '],\n"": [1, 2]}'), "MP151", 7, "", "unknown key; allowed are format and layers"),
    "twice": (but("]}", '],\n"layers": []}'), "MP151", 7, "layers", "the key stands twice"),
    "bare list": (
        "[[1, 2]]",
        "MP151",
        1,
        "",
        'the file should hold {"format": "moe-plan/routing/v1", "layers": [[counts], ...]}',
    ),
    "cut off": (GOOD[:-4], "MP150", 6, "", "the JSON cannot be read: Expecting ',' delimiter"),
    "trailing comma": (but("5]", "5,]"), "MP150", 5, "", "the JSON cannot be read: Expecting value"),
    "nested": ("[" * 200_000, "MP150", None, "", "the JSON is nested too deeply"),
    "too few": (but("0, 5", "5"), "MP153", 5, "layers.2", "4 counts of a layer that has 5 experts"),
    "too many": (but("0, 9", "0, 9, 1"), "MP153", 4, "layers.1", "4 counts of a layer that has 3 experts"),
    "dense layer": (
        but("[],", "[3, 4, 5],"),
        "MP153",
        3,
        "layers.0",
        "layer 0 of the model has no routed experts; those with them are 1-2",
    ),
    "layer beyond": (
        but("]\n ]}", "],\n[1]]}"),
        "MP153",
        6,
        "layers.3",
        "layer 3 of the model has no routed experts; those with them are 1-2",
    ),
    "missing layer": (
        but(",\n  [1, 2, 3, 0, 5]", ""),
        "MP153",
        None,
        "layers",
        "no counts for layers 2; needed are those of 1-2",
    ),
    "empty layer": (
        but("[4, 0, 9]", "[]"),
        "MP153",
        None,
        "layers",
        "no counts for layers 1; needed are those of 1-2",
    ),
    "one expert alone": (
        but("[4, 0, 9]", "[0, 0, 9]"),
        "MP155",
        4,
        "layers.1",
        "1 of 3 experts have tokens, and one token chooses 2",
    ),
    "all zero": (
        but("[1, 2, 3, 0, 5]", "[0, 0, 0, 0, 0]"),
        "MP155",
        5,
        "layers.2",
        "0 of 5 experts have tokens, and one token chooses 1",
    ),
}
CSV_FAULTS = {
    "header missing": ("1,0,4\n1,2,9\n", "MP151", 1, "", "the first line is `1,0,4`; it should name the columns: layer,expert,count"),
    "other header": (but("count\n", "tokens\n", GOOD_CSV), "MP151", 1, "", "the first line is `layer,expert,tokens`; it should name the columns: layer,expert,count"),
    "column twice": (but("expert,", "layer,", GOOD_CSV), "MP151", 1, "", "the first line is `layer,layer,count`; it should name the columns: layer,expert,count"),
    "further column": (but("count\n", "count,share\n", GOOD_CSV), "MP151", 1, "", "the first line is `layer,expert,count,share`; it should name the columns: layer,expert,count"),
    "semicolons": (GOOD_CSV.replace(",", ";"), "MP151", 1, "", "the first line is `layer;expert;count`; it should name the columns: layer,expert,count"),
    "short row": (but("1,2,9", "1,2", GOOD_CSV), "MP151", 3, "", "2 fields in a row of 3: layer,expert,count"),
    "long row": (but("1,2,9", "1,2,9,0", GOOD_CSV), "MP151", 3, "", "4 fields in a row of 3: layer,expert,count"),
    "negative": (but("1,2,9", "1,2,-9", GOOD_CSV), "MP152", 3, "count", f"`-9` {WHOLE}"),
    "nan": (but("1,2,9", "1,2,nan", GOOD_CSV), "MP152", 3, "count", f"`nan` {WHOLE}"),
    "fraction": (but("1,2,9", "1,2,9.0", GOOD_CSV), "MP152", 3, "count", f"`9.0` {WHOLE}"),
    "nothing": (but("1,2,9", "1,2,", GOOD_CSV), "MP152", 3, "count", f"nothing {WHOLE}"),
    "other digits": (but("1,2,9", "1,2,\u0669", GOOD_CSV), "MP152", 3, "count", f"`\u0669` {WHOLE}"),
    "too large": (but("1,2,9", f"1,2,{10**15 + 1}", GOOD_CSV), "MP152", 3, "count", f"{10**15 + 1} {WHOLE}"),
    "huge": (but("1,2,9", f"1,2,{'1' * 5000}", GOOD_CSV), "MP152", 3, "count", f"`{'1' * 39}…` {WHOLE}"),
    "negative layer": (but("1,2,9", "-1,2,9", GOOD_CSV), "MP152", 3, "layer", "`-1` is not a whole number from 0"),
    "named expert": (but("1,2,9", "1,e2,9", GOOD_CSV), "MP152", 3, "expert", "`e2` is not a whole number from 0"),
    "expert beyond": (but("1,2,9", "1,3,9", GOOD_CSV), "MP153", 3, "", "expert 3 of layer 1, which has experts 0 to 2"),
    "dense layer": (but("1,2,9", "0,2,9", GOOD_CSV), "MP153", 3, "layers.0", "layer 0 of the model has no routed experts; those with them are 1-2"),
    "missing layer": ("layer,expert,count\n2,0,1\n", "MP153", None, "layers", "no counts for layers 1; needed are those of 1-2"),
    "header alone": ("layer,expert,count\n", "MP153", None, "layers", "no counts for layers 1-2; needed are those of 1-2"),
    "twice": (GOOD_CSV + "\n1,2,9\n", "MP154", 9, "", "expert 2 of layer 1 was counted on line 3 already"),
    "one expert alone": (but("1,0,4\n", "1,0,0\n", GOOD_CSV), "MP155", 3, "layers.1", "1 of 3 experts have tokens, and one token chooses 2"),
    "open quote": (but("1,2,9", '1,2,"9', GOOD_CSV), "MP150", 7, "", "the CSV cannot be read: unexpected end of data"),
    "long field": (GOOD_CSV + "9" * 200_000, "MP150", 8, "", "the CSV cannot be read: field larger than field limit (131072)"),
}  # fmt: skip
BYTES_FAULTS = {
    "empty": (b"", "MP150", None, "", "the file is empty; it should hold expert counts in JSON or CSV"),
    "blank": (b" \n\n", "MP150", None, "", "the file is empty; it should hold expert counts in JSON or CSV"),
    "too large": (b" " * (limits.ROUTING_BYTES + 1), "MP150", None, "", "larger than 8 MiB, the most that a routing file may have"),
    "not utf-8": (b"layer,expert,count\n1,\xff,2\n", "MP104", 2, "", "byte 0xff is not UTF-8; save it as UTF-8"),
    "nul": (b"layer,expert,count\n1,\0,2\n", "MP104", 2, "", "a NUL character; is the file binary, or UTF-16?"),
}  # fmt: skip
FAULTS = {
    f"{kind} {name}": fault
    for kind, faults in (("json", JSON_FAULTS), ("csv", CSV_FAULTS), ("bytes", BYTES_FAULTS))
    for name, fault in faults.items()
}
