"""The numbers of the data flow at published size: what a spec says is what the release's config.json says.

transformers' own configuration class reads both: from the spec by way of its case of the referee, and from the
release's keys (referee_configs.yaml, referee_flows.yaml) over the class's defaults. That these numbers then mean
the same is for test_replica_referee.py, and that none of them goes unused for test_referee_feels.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="needs the test extra: pip install -e '.[test]'")
transformers = pytest.importorskip("transformers", reason="needs the test extra: pip install -e '.[test]'")

from test_referee import BY_NAME  # noqa: E402
from test_replica_referee import CASES  # noqa: E402

FLOWS = yaml.safe_load(Path(__file__).with_name("referee_flows.yaml").read_text(encoding="utf-8"))
KEYS = FLOWS.pop("keys")
NAMES = sorted(name for name, case in CASES.items() if case.spec is None and name in BY_NAME)


def flow(config: Any) -> dict[str, Any]:
    """What the class will compute by, in one form: rotary positions without what changes nothing."""
    given, declared = config.to_dict(), type(config)().to_dict()
    facts = {key: given[key] for key in KEYS if key in declared and given.get(key) is not None}
    facts |= {
        f"attn_config.{key}": value
        for key, value in _inner(given, "attn_config").items()
        if key == "clip_qkv"
    }
    rope = _inner(given, "rope_parameters")
    return facts | {
        "rope": {
            key: _rope(value) if isinstance(value, Mapping) else value for key, value in _rope(rope).items()
        }
    }


def _inner(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = given.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _rope(rope: Mapping[str, Any]) -> dict[str, Any]:
    """Hunyuan's alpha stretches the base, which a spec says outright; heads are 128 wide."""
    facts = {key: value for key, value in rope.items() if key not in ("type", "max_position_embeddings")}
    if facts.get("truncate") is True:
        del facts["truncate"]
    if facts.get("partial_rotary_factor") == 1.0:
        del facts["partial_rotary_factor"]
    if "alpha" in facts:
        return {
            "rope_type": "default",
            "rope_theta": pytest.approx(facts["rope_theta"] * facts["alpha"] ** (128 / 126)),
        }
    return facts


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_says_what_the_release_says(name):
    case, release = CASES[name], BY_NAME[name]
    ours = getattr(transformers, case.config or f"{case.family}Config")(**case.facts(case.full()))
    theirs = getattr(transformers, release.config)(**(release.facts | FLOWS.get(name, {})))
    assert flow(ours) == flow(theirs)


def test_every_release_is_of_a_case():
    assert set(FLOWS) <= set(NAMES)
