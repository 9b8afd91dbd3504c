"""Every way a spec is known to be wrong: one error a fault, at its line and column, in plain words.

Each file of `bad_specs/` holds one fault and says on its first line what must be reported:
`# code line:column key | message`. What a text file cannot hold stands in bad_bytes.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bad_bytes import GENERATED, GOOD, good_but

from moe_plan.errors import CODES, ERRORS_SHOWN, InputError, Problem
from moe_plan.spec import limits
from moe_plan.spec.load import parse_spec, parse_spec_with_notes

FOLDER = Path(__file__).parent / "bad_specs"
FILES = sorted(FOLDER.glob("*.yaml"))


def only_problem(data: bytes, where: str = "bad.yaml") -> Problem:
    with pytest.raises(InputError) as caught:
        parse_spec(data, where)
    assert caught.value.exit_code == 3
    assert len(caught.value.problems) == 1, str(caught.value)
    assert caught.value.more == 0
    (problem,) = caught.value.problems
    assert problem.where == where
    assert str(caught.value).isprintable()
    return problem


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bad_file_is_told_once_and_exactly(path: Path) -> None:
    data = path.read_bytes()
    head, _, message = data.decode().partition("\n")[0].removeprefix("# ").partition(" | ")
    code, position, key = head.split(" ", 2)
    problem = only_problem(data, path.name)
    found = f"{problem.line or '-'}:{problem.column or '-'}"
    assert (problem.code, found, problem.key or "-", problem.message) == (code, position, key, message)


@pytest.mark.parametrize("name", GENERATED)
def test_bad_bytes_are_told_once(name: str) -> None:
    data, code, line, column, fragment = GENERATED[name]
    if name == "long_value_is_cut":
        fragment = "9x" * 39 + "9" + "…"
    problem = only_problem(data)
    assert (problem.code, problem.line, problem.column) == (code, line, column)
    assert fragment in problem.message


def test_corpus_is_large_and_meets_every_code() -> None:
    met = {path.read_text().split(" ", 2)[1] for path in FILES} | {case[1] for case in GENERATED.values()}
    expected = {code for code in CODES if code.startswith("MP1") and not code.startswith(("MP15", "MP16"))}
    assert met == expected - {"MP101"}, (
        "MP101: paths, MP15x: routing files, MP16x: hardware; tests of their own"
    )
    assert len(FILES) + len(GENERATED) >= 150


def test_good_spec_is_good() -> None:
    spec, notes = parse_spec_with_notes(GOOD, "good.yaml")
    assert (spec.name, spec.layers[0].repeat, notes) == ("tiny", 2, ())


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n", b"\r"),
        b"%YAML 1.2\n---\n" + GOOD,
        b"---\n" + GOOD + b"...\n",
        good_but(b"vocab: 1000", b"vocab: 1e3"),
        good_but(b"vocab: 1000", b"vocab: 01000"),
        good_but(b"vocab: 1000", b"vocab: 0x3e8"),
        good_but(b"vocab: 1000", b"vocab: 0o1750"),
        good_but(b"vocab: 1000", b"vocab: +1000"),
        good_but(b"vocab: 1000", b"vocab: 10.00e2"),
    ],
)
def test_harmless_differences_are_accepted(data: bytes) -> None:
    assert parse_spec(data, "x") == parse_spec(GOOD, "x")


def test_json_is_yaml() -> None:
    data = b'{"name": "a", "source": "s", "published": {"source": "s"}, "hidden": 8, "vocab": 8,'
    data += b'\n "attention": {"m": {"kind": "short-conv", "taps": 3}}, "layers": [{"attention": "m"}]}'
    assert parse_spec(data, "x").attention["m"].kind == "short-conv"


def test_yaml_1_1_words_are_text_with_a_warning() -> None:
    spec, notes = parse_spec_with_notes(good_but(b"tiny", b"NO"), "good.yaml")
    assert spec.name == "NO"
    assert [note.render() for note in notes] == [
        "good.yaml:1:7: warning[MP201] name: NO was read as text; quote it, or write true or false"
    ]


def test_quoted_yaml_1_1_word_is_plain_text() -> None:
    assert parse_spec_with_notes(good_but(b"tiny", b"'NO'"), "x")[1] == ()


def test_unused_block_is_a_warning() -> None:
    data = good_but(b"ffn:\n", b"ffn:\n  spare: {kind: dense, width: 8}\n")
    _, notes = parse_spec_with_notes(data, "good.yaml")
    assert [note.render() for note in notes] == [
        "good.yaml:9:3: warning[MP202] ffn.spare: defined and never used"
    ]


def test_part_uses_the_models_blocks_and_hides_them() -> None:
    own = b"parts:\n  next:\n    role: mtp\n    ffn: {experts: {kind: dense, width: 8}}\n"
    _, notes = parse_spec_with_notes(GOOD + own + b"    layers: [{attention: main, ffn: experts}]\n", "x")
    assert notes == ()
    _, notes = parse_spec_with_notes(GOOD + own + b"    layers: [{attention: main}]\n", "x")
    assert [note.key for note in notes] == ["parts.next.ffn.experts"]


def test_shared_keys_after_a_layer_that_has_them() -> None:
    shared = b"  main: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 16}\n  again: "
    data = good_but(b"  main:", shared).replace(b"16}\nffn", b"16, shared_kv: true}\nffn")
    data = data.replace(b"  - {repeat: 2, attention: main", b"  - {attention: [main, again]")
    assert parse_spec(data, "x").attention["again"].shared_kv  # type: ignore[union-attr]


def test_mtp_module_may_share_the_decoders_keys() -> None:
    part = (
        b"parts:\n  draft:\n    role: mtp\n    layers: [{attention: own}]\n"
        b"    attention: {own: {kind: gqa, heads: 1, kv_heads: 1, head_dim: 8, shared_kv: true}}\n"
    )
    assert parse_spec(GOOD + part, "x").parts["draft"].role == "mtp"


def test_two_faults_are_two_errors_in_order() -> None:
    data = good_but(b"hidden: 64", b"hidden: many").replace(b"top_k: 2", b"topk: 2")
    with pytest.raises(InputError) as caught:
        parse_spec(data, "a.yaml")
    assert str(caught.value).splitlines() == [
        'a.yaml:4:9: error[MP122] hidden: expected a whole number of at least 1, found the text "many"',
        "a.yaml:9:36: error[MP120] ffn.experts.topk: unknown key; did you mean top_k?",
    ]


def test_many_errors_are_counted_and_not_shown() -> None:
    data = GOOD + b"".join(b"k%d: 1\n" % number for number in range(9_000))
    with pytest.raises(InputError) as caught:
        parse_spec(data, "a.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == ERRORS_SHOWN + 1
    assert lines[-1] == f"and {9_000 - ERRORS_SHOWN} more problems"


def test_many_broken_rules_are_counted_and_not_shown() -> None:
    data = GOOD + b"  - {repeat: 2}\n" * 3_000
    with pytest.raises(InputError) as caught:
        parse_spec(data, "a.yaml")
    assert str(caught.value).splitlines()[-1] == f"and {3_000 - ERRORS_SHOWN} more problems"


def test_python_parser_agrees_with_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installations without libyaml give the same answers; only the words for a bare syntax error differ."""
    cases = {path.name: path.read_bytes() for path in FILES}
    with_libyaml = {name: only_problem(data) for name, data in cases.items()}
    monkeypatch.setitem(sys.modules, "yaml.cyaml", None)
    assert parse_spec(GOOD, "x").name == "tiny"
    for name, problem in with_libyaml.items():
        other = only_problem(cases[name])
        if problem.code == "MP105":
            assert (other.code, other.line) == (problem.code, problem.line), name
        else:
            assert other == problem, name
    for name in ("nested_lists_100000", "nested_dashes", "question_marks", "nested_mappings"):
        assert only_problem(GENERATED[name][0]).code == GENERATED[name][1]
    assert only_problem(GENERATED["escaped_surrogate"][0]).code == "MP104"


def test_limits_hold_exactly() -> None:
    padding = limits.SPEC_BYTES - len(GOOD) - 2
    assert parse_spec(GOOD + b"#" + b"x" * padding + b"\n", "x").name == "tiny"
    assert only_problem(GOOD + b"#" + b"x" * padding + b"\n\n").code == "MP102"
    note = b"note: " + b"x" * limits.TEXT + b"\n"
    assert parse_spec(GOOD + note, "x").note == "x" * limits.TEXT
