"""Files that people give for a spec by mistake, recognised by their first bytes."""

from __future__ import annotations

import re

from moe_plan.errors import InputError, Problem

_LFS = b"version https://git-lfs.github.com/spec/"
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head")
_ZIP = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_CONFIG = re.compile(rb'"(?:architectures|model_type)"\s*:')
_INDEX = re.compile(rb'"weight_map"\s*:')
# A config in YAML dress: the same keys at the start of a line.
_YAML_CONFIG = re.compile(rb"^(?:architectures|model_type):", re.MULTILINE)


def refuse_foreign(data: bytes, where: str) -> None:
    """Raise InputError where `data` is plainly some other kind of file."""
    message = _recognised(data)
    if message:
        raise InputError([Problem("MP103", where, None, None, "", message)])


def _recognised(data: bytes) -> str:
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_LFS):
        return "this is a Git LFS pointer, not the file; fetch it with `git lfs pull`"
    if start[:16].lower().startswith(_MARKUP):
        return "this is an HTML or XML page, perhaps a download that failed; give a spec in YAML"
    if data.startswith(_ZIP) or _PICKLE.match(data):
        return "this is a pickle or zip file, which is never opened; give a spec in YAML"
    if start.startswith(b"{") and _INDEX.search(data):
        return "this looks like the index of a checkpoint; give a spec in YAML"
    if (start.startswith(b"{") and _CONFIG.search(data)) or _YAML_CONFIG.search(data):
        return "this looks like a Hugging Face config.json; write a spec, see model_specs/ for examples"
    return ""
