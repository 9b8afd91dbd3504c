"""The table of injected bugs, the commonest real ones among them, each with the check that catches it."""

from __future__ import annotations

from mutants_attention import OTHER_ATTENTION, RECURRENT
from mutants_decode import DECODE, READING, SHARDING
from mutants_estimate import BYTES, ESTIMATES
from mutants_experts import EXPERTS
from mutants_gqa import GQA_BUGS
from mutants_hardware import HARDWARE
from mutants_layers import LAYERS_AND_PARTS
from mutants_parallel import PARALLEL
from mutants_profile import PROFILES
from mutants_replica_attention import ABSORBED, CACHES, CHOSEN, ENTRIES, POSITIONS, SCORES, WINDOWS
from mutants_replica_experts import CHOICES, MIXING, ROUTERS
from mutants_replica_model import JOINED, LEDGER, STATES

MUTANTS = (
    *LAYERS_AND_PARTS,
    *GQA_BUGS,
    *OTHER_ATTENTION,
    *RECURRENT,
    *EXPERTS,
    *ESTIMATES,
    *BYTES,
    *DECODE,
    *SHARDING,
    *READING,
    *CACHES,
    *WINDOWS,
    *SCORES,
    *ABSORBED,
    *CHOSEN,
    *ENTRIES,
    *POSITIONS,
    *ROUTERS,
    *MIXING,
    *CHOICES,
    *STATES,
    *JOINED,
    *LEDGER,
    *PARALLEL,
    *PROFILES,
    *HARDWARE,
)
