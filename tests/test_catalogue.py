"""Every shipped spec against what is known of its model: exact counts, published figures, its lock."""

from __future__ import annotations

from fractions import Fraction

import pytest
from test_published import UNITS, rounds_to

from moe_plan.anatomy.build import inventory
from moe_plan.api import Model, load, models
from moe_plan.estimate import params
from moe_plan.estimate.cache import cache_elements
from moe_plan.spec import catalogue, locked
from moe_plan.spec.load import load_spec
from moe_plan.spec.locked import Locked

# total, active, active without the table, active without table and head; cached elements a token of layers
# that keep everything (indexer keys aside), and of windowed or chunked layers while they still grow.
# Counted outside this project: transformers 5.23.0's own classes on the meta device, or where it has none
# (Arctic, Grok-1, Hunyuan-Large, Ling, Step3) the tensor shapes of the model's own code, agreeing with the
# safetensors totals on Hugging Face where a release has one.
EXACT = {
    "arctic": (478584608768, 17318647808, 17089271808, 16859895808, 71680, 0),
    "dbrx": (131596523520, 36469708800, 35853146112, 35236583424, 81920, 0),
    "deepseek-v2": (235741434880, 21375800320, 20851512320, 20327224320, 34560, 0),
    "deepseek-v2-lite": (15706484224, 2661150208, 2451435008, 2241719808, 15552, 0),
    "deepseek-v3": (671026404352, 37552282624, 36625603584, 35698924544, 35136, 0),
    "deepseek-v3.2": (671877929216, 38403807488, 37477128448, 36550449408, 35136, 0),
    # 43 windows of 512; beyond them 3,440 elements a token on average, see COMPRESSED.
    "deepseek-v4-flash": (284332230231, 13799622231, 13270091351, 12740560471, 0, 22016),
    "dots.llm1": (142774373888, 14016581120, 13393726976, 12770872832, 507904, 0),
    "ernie-4.5-21b-a3b": (21825437888, 3352150208, 3352150208, 3087384768, 28672, 0),
    "gemma-4-26b-a4b": (25233141760, 3822530560, 3822530560, 3084333056, 10240, 102400),
    "glm-4.5-air": (106852245504, 13424123904, 12803366912, 12182609920, 94208, 0),
    "gpt-oss-120b": (116829156672, 5711982912, 5132849472, 4553716032, 18432, 18432),
    "gpt-oss-20b": (20914757184, 4187440704, 3608307264, 3029173824, 12288, 12288),
    "granite-3.0-1b-a400m": (1334625280, 428655616, 428655616, 378323968, 24576, 0),
    "granite-4.0-h-tiny": (6939037248, 1465470528, 1465470528, 1311329856, 4096, 0),
    "grok-1": (315684820992, 83756587008, 83756587008, 82951280640, 131072, 0),
    "hunyuan-a13b": (80393183232, 12747448320, 12747448320, 12222476288, 65536, 0),
    "hunyuan-large": (388701402880, 51322074880, 51322074880, 50496321280, 40960, 0),
    "jamba-1.5-mini": (51570323328, 12110311296, 11841875840, 11573440384, 8192, 0),
    # Its two output biases a layer serve whichever experts ran, so a token uses them whole. Scaling them by
    # k of E with the experts' matrices would give 73,728 (24 layers x 2 x 2,048 x 6/8) less.
    "jetmoe-8b": (8522237952, 2331371520 + 73728, 2331371520 + 73728, 2265835520 + 73728, 98304, 0),
    "kimi-k2-instruct": (1026408209408, 32861477888, 31687072768, 30512667648, 35136, 0),
    "kimi-linear-48b-a3b": (49122675072, 3484453248, 3106965888, 2729478528, 4032, 0),
    "lfm2-8b-a1b": (8339929856, 1557740288, 1557740288, 1423522560, 6144, 0),
    "ling-mini-2.0": (16255638528, 1432968192, 1111055360, 789142528, 20480, 0),
    "llama-3.1-405b": (405853388800, 405853388800, 403752042496, 401650696192, 258048, 0),
    "llama-3.1-8b": (8030261248, 8030261248, 7504924672, 6979588096, 65536, 0),
    "llama-4-maverick": (400711848960, 17184691200, 16150205440, 15115719680, 24576, 73728),
    "llama-4-scout": (107769861120, 17172894720, 16138408960, 15103923200, 24576, 73728),
    "longcat-flash": (560664958976, 32182654976, 31377348608, 30572042240, 32256, 0),
    "minimax-m2": (228689748992, 11030537216, 10415940608, 9801344000, 126976, 0),
    "minimax-text-01": (456089655296, 48403306496, 47174113280, 45944920064, 20480, 0),
    "mistral-small-4-119b": (118972826624, 6632588288, 6095717376, 5558846464, 11520, 0),
    "mixtral-8x22b": (140620634112, 39152031744, 38955423744, 38758815744, 114688, 0),
    "mixtral-8x7b": (46702792704, 12879925248, 12748853248, 12617781248, 65536, 0),
    "nemotron-3-nano-30b-a3b": (31577937344, 3580073408, 3227751872, 2875430336, 3072, 0),
    "olmoe-1b-7b": (6919161856, 1282017280, 1178994688, 1075972096, 65536, 0),
    "phi-3.5-moe": (41873153344, 6640999744, 6509665600, 6378299392, 65536, 0),
    "qwen1.5-moe-a2.7b": (14315784192, 2689173504, 2378008576, 2066843648, 98304, 0),
    "qwen2.5-72b": (72706203648, 72706203648, 71460495360, 70214787072, 163840, 0),
    "qwen3-235b-a22b": (235093634560, 22190763520, 21568433664, 20946103808, 96256, 0),
    "qwen3-30b-a3b": (30532122624, 3353032704, 3041867776, 2730702848, 49152, 0),
    "qwen3-next-80b-a3b": (79674391296, 3874929408, 3563764480, 3252599552, 12288, 0),
    "step3": (316294538240, 38841328640, 37917982720, 36994636800, 31232, 0),
    "switch-base-8": (619339008, 222977280, 222977280, 198302976, 18432, 0),
}
NAMES = sorted(EXACT)
INDEXER_KEYS = {"deepseek-v3.2": 7808}
# 21 layers of 512 + 128 a 4 tokens, 20 of 512 a 128 tokens.
COMPRESSED = {"deepseek-v4-flash": Fraction(21 * (512 + 128), 4) + Fraction(20 * 512, 128)}
# Elements in the checkpoint that are not trained: 58 x 256 correction biases in DeepSeek-V3, ...
BUFFERS = {
    "deepseek-v3": 14848,
    "deepseek-v3.2": 14848,
    # 40 x 256 biases, and in the first 3 layers a table of 129,280 x 6 expert numbers.
    "deepseek-v4-flash": 10240 + 2327040,
    "dots.llm1": 7808,
    "gemma-4-26b-a4b": 30,
    "glm-4.5-air": 5760,
    "kimi-k2-instruct": 23040,
    "kimi-linear-48b-a3b": 6656,
    "lfm2-8b-a1b": 704,
    "ling-mini-2.0": 4864,
    "longcat-flash": 21504,
    "minimax-m2": 15872,
    "nemotron-3-nano-30b-a3b": 2944,
}


def test_the_catalogue_holds_these_models():
    assert list(models()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_exact_counts(name):
    shipped = load(name)
    elements = cache_elements(shipped.inventory)
    assert EXACT[name] == (
        shipped.total_params,
        shipped.active_params,
        shipped.active_compute_params,
        shipped.active_body_params,
        elements.per_token_unbounded,
        elements.per_token_bounded,
    )
    assert elements.per_token_indexer == INDEXER_KEYS.get(name, 0)
    assert elements.per_token_compressed == COMPRESSED.get(name, 0)
    assert params.buffer_elements(shipped.inventory) == BUFFERS.get(name, 0)


# Where the printed figure is neither our count rounded nor within 1 % of it, and why.
TOTAL_EXCEPTIONS = {
    "ernie-4.5-21b-a3b": "21.8B is called 21B: digits cut off",
    "jetmoe-8b": "8.5B is called 8B: digits cut off",
    "kimi-linear-48b-a3b": "the release holds 49.1B (its safetensors total); 48B is its name",
    "llama-4-scout": "109B counts the vision tower and projector; the text model is 107.8B",
}
ACTIVE_EXCEPTIONS = {
    "deepseek-v2-lite": "2.45B is called 2.4B: digits cut off",
    "granite-3.0-1b-a400m": "378M without the table, 429M with it; 400M is a name",
    "hunyuan-large": "51.3B is called 52B; with an output head of its own it would be 52.1B",
    "jetmoe-8b": "2.27B is called 2.2B: digits cut off",
    "lfm2-8b-a1b": "1.56B is called 1.5B: digits cut off",
    "mistral-small-4-119b": "6.63B with the table and 6.10B without; the vendor says 6.5B",
    "qwen3-30b-a3b": "3.35B is called 3.3B: digits cut off",
}


def agrees(count: int, printed: str) -> bool:
    """The printed digits, or within 1 %: vendors also cut digits off (400.7B is called 400B)."""
    value = Fraction(printed[:-1]) * UNITS[printed[-1]]
    return rounds_to(count, printed) or abs(count - value) <= value / 100


def stated_active(shipped: Model) -> int:
    convention = shipped.spec.published.convention
    return {
        None: shipped.active_params,
        "active": shipped.active_params,
        "compute": shipped.active_compute_params,
        "body": shipped.active_body_params,
    }[convention]


@pytest.mark.parametrize("name", NAMES)
def test_published_total(name):
    shipped = load(name)
    if shipped.spec.published.total is not None:
        assert agrees(shipped.total_params, shipped.spec.published.total) is (name not in TOTAL_EXCEPTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_published_active(name):
    shipped = load(name)
    if shipped.spec.published.active is not None:
        assert shipped.spec.published.convention is not None
        assert agrees(stated_active(shipped), shipped.spec.published.active) is (
            name not in ACTIVE_EXCEPTIONS
        )


@pytest.mark.parametrize("name", NAMES)
def test_published_exact(name):
    """Parameters that a release's own tensors give, where a spec states them, are ours to the last one."""
    shipped = load(name)
    if shipped.spec.published.exact is not None:
        assert shipped.spec.published.exact == shipped.total_params
        assert shipped.spec.published.exact_source


@pytest.mark.parametrize("name", NAMES)
def test_lock_is_current_and_equal(name):
    """A stale lock is never wrong but slow: `python -m moe_plan.spec.catalogue` writes it anew."""
    path = catalogue.folder() / f"{name}.yaml"
    frozen = locked.locked_spec(catalogue.folder(), name, path.read_bytes())
    assert type(frozen) is Locked, "run python -m moe_plan.spec.catalogue"
    validated = load_spec(str(path))
    assert inventory(frozen) == inventory(validated)
    assert (
        Model(frozen, inventory(frozen)).weight_bytes()
        == Model(validated, inventory(validated)).weight_bytes()
    )
    assert frozen.native.default == validated.native.default
    assert validated.name == name == frozen.name


def test_the_lock_holds_nothing_else():
    lines = (catalogue.folder() / locked.LOCK_NAME).read_text(encoding="utf-8").splitlines()
    assert [line.split(" ")[0] for line in lines] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_source_and_first_line(name):
    shipped, path = load(name), catalogue.folder() / f"{name}.yaml"
    assert shipped.spec.source.startswith("https://")
    assert shipped.spec.published.source
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=../schemas/")


# Layers of the decoder, as the vendors' configs say (num_hidden_layers).
LAYERS = {
    "arctic": 35,
    "dbrx": 40,
    "deepseek-v2": 60,
    "deepseek-v2-lite": 27,
    "deepseek-v3": 61,
    "deepseek-v3.2": 61,
    "deepseek-v4-flash": 43,
    "dots.llm1": 62,
    "ernie-4.5-21b-a3b": 28,
    "gemma-4-26b-a4b": 30,
    "glm-4.5-air": 46,
    "gpt-oss-120b": 36,
    "gpt-oss-20b": 24,
    "granite-3.0-1b-a400m": 24,
    "granite-4.0-h-tiny": 40,
    "grok-1": 64,
    "hunyuan-a13b": 32,
    "hunyuan-large": 64,
    "jamba-1.5-mini": 32,
    "jetmoe-8b": 24,
    "kimi-k2-instruct": 61,
    "kimi-linear-48b-a3b": 27,
    "lfm2-8b-a1b": 24,
    "ling-mini-2.0": 20,
    "llama-3.1-405b": 126,
    "llama-3.1-8b": 32,
    "llama-4-maverick": 48,
    "llama-4-scout": 48,
    "longcat-flash": 28,
    "minimax-m2": 62,
    "minimax-text-01": 80,
    "mistral-small-4-119b": 36,
    "mixtral-8x22b": 56,
    "mixtral-8x7b": 32,
    "nemotron-3-nano-30b-a3b": 52,
    "olmoe-1b-7b": 16,
    "phi-3.5-moe": 32,
    "qwen1.5-moe-a2.7b": 24,
    "qwen2.5-72b": 80,
    "qwen3-235b-a22b": 94,
    "qwen3-30b-a3b": 48,
    "qwen3-next-80b-a3b": 48,
    "step3": 61,
    "switch-base-8": 12,
}


@pytest.mark.parametrize("name", NAMES)
def test_layers(name):
    shipped = load(name)
    layers = [i for b in shipped.inventory.blocks if b.part == "decoder" for i in b.layers]
    assert sorted(layers) == list(range(LAYERS[name]))


# What parameters and FLOPs do not prove: how many experts, how many a token, what is scored.
ROUTING = {
    "arctic": (128, 2),
    "deepseek-v3": (256, 8),
    "gpt-oss-120b": (128, 4),
    "grok-1": (8, 2),
    "kimi-k2-instruct": (384, 8),
    "llama-4-maverick": (128, 1),
    "longcat-flash": (512, 12),
    "mixtral-8x7b": (8, 2),
    "olmoe-1b-7b": (64, 8),
    "qwen3-next-80b-a3b": (512, 10),
}


@pytest.mark.parametrize("name", sorted(ROUTING))
def test_routing(name):
    downs = [w for w, _ in load(name).inventory.text_weights() if w.name == "experts.down"]
    assert {(w.copies, w.used) for w in downs} == {ROUTING[name]}
