"""With which variants a model's products run: those kept for this adapter and their shapes, or timed now, once.

So a text stays the same from one start to the next: variants add up in other orders. Where a store fails, forgets or
holds rubbish, the rules of ops/variants.py decide. Knows no events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from local_llm.errors import DeviceLost, InvalidRequest, LocalLLMError
from local_llm.gpu.ports import Caps, Host
from local_llm.models.model import Model
from local_llm.models.proof import case_name, steps
from local_llm.models.tuning import Outcome, by_shape, chosen, live, products, prompts, tune
from local_llm.notes import Facts, recall, revise
from local_llm.ops.leaving import LEAVING
from local_llm.ops.variants import Shape, Variant, candidates
from local_llm.soundness import ONLY, chunk_lengths, wrong_on

KEY = "variants"  # in the host's store
MODES = ("auto", "off")
SECONDS = 1.2  # from then on no further shape is begun
MOST_TRIES = 2  # that may end with the device or the page
RUBBISH = (ValueError, TypeError, KeyError, AttributeError)  # what _read raises

Outcomes = Mapping[Shape, Outcome]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tuning:
    """shapes: that were ever timed. faster: of them run otherwise than by the rule. gain: share of the seconds that the
    products of a step of one token took by the rules. seconds: that it took now, 0 where all was known.
    """

    shapes: int
    faster: int
    gain: float
    seconds: float


def check_mode(mode: str) -> str:
    """The option `tune`. Raises InvalidRequest."""
    if mode not in MODES:
        raise InvalidRequest(f"tune must be one of {', '.join(MODES)}; found {mode!r}.")
    return mode


async def settle(host: Host, model: Model, mode: str, say: Say) -> tuple[Model, list[str], Tuning | None]:
    """The model with the variants that shall run, its kernels that are wrong even so, and what is known of variants.

    None where the rules decide. say(text): what goes on, where it takes a while.
    """
    caps, counts = model.shared.caps, chunk_lengths(model)
    note = await _note(host, model, mode)
    if note is None:
        return model, await wrong_on(host, model, counts) or [], None
    tries, known = note
    shapes = [*products(model), *prompts(model)]
    model, wrong = await _proven(host, model, _variants(model, known, shapes), counts)
    seconds = 0.0
    new = any(shape not in known for shape in shapes)
    if new and host.store.lasts and tries < MOST_TRIES and set(wrong) <= set(ONLY):
        held = await _keep(host, caps, tries + 1, known)
        if held is not None:
            began = host.clock()
            known = await _tuned(host, model, [shape for shape in shapes if shape not in held], held, tries, say)
            model, wrong = await _proven(host, model, _variants(model, known, shapes), counts)
            seconds = host.clock() - began
    here = {shape: known[shape] for shape in shapes if shape in known}
    return model, wrong, _summary(here, model.shared.choices, seconds)


async def _note(host: Host, model: Model, mode: str) -> tuple[int, dict[Shape, Outcome]] | None:
    """How often it was tried in vain, and what is known; None where nothing shall be timed."""
    caps = model.shared.caps
    if mode == "off" or caps.software or not host.self_test or not model.config.causal:
        return None
    try:
        facts = await recall(host.store, KEY, caps)
        return None if facts is None else _read(caps, facts)
    except RUBBISH:
        await _keep(host, caps, 0, {})  # the next start times anew
        return None


def _variants(model: Model, known: Outcomes, shapes: Sequence[Shape]) -> dict[Shape, Variant]:
    return live(model, {shape: known[shape].variant for shape in shapes if shape in known})


async def _tuned(
    host: Host, model: Model, missing: list[Shape], known: Outcomes, tries: int, say: Say
) -> dict[Shape, Outcome]:
    """What is known afterwards. A device that is lost counts as a try: what hangs it shall not do so for ever."""
    caps, began = model.shared.caps, host.clock()

    def tell(done: int, count: int) -> None:
        if host.clock() - began > 0.2:
            say(f"Tuning kernels, {done + 1} of {count}")

    try:
        fresh = await tune(model, missing, host.clock, SECONDS, tell)
    except DeviceLost:
        raise
    except LocalLLMError:  # no memory left for it
        fresh = {}
    except BaseException:  # stopped
        await _keep(host, caps, tries, known)
        raise
    held = await _keep(host, caps, 0, {**known, **fresh})
    return dict(known) if held is None else held


async def _proven(
    host: Host, model: Model, variants: Mapping[Shape, Variant], counts: Sequence[int]
) -> tuple[Model, list[str]]:
    """The model with those of variants that this adapter computes right, and its kernels that are wrong even so."""
    caps = model.shared.caps
    tuned = chosen(model, {shape: one for shape, one in variants.items() if one != candidates(caps, shape)[0]})
    wrong = await wrong_on(host, tuned, counts)
    choices = tuned.shared.choices
    if wrong == [] or not choices:
        return tuned, wrong or []
    calls = by_shape(tuned, [call for some in steps(tuned, counts) for call in some])
    bad = {shape for shape, some in calls.items() if wrong is None or any(case_name(call) in wrong for call in some)}
    if wrong and any(LEAVING in name for name in wrong):  # it is for those who take it that something is left
        bad |= {shape for shape, one in choices.items() if one.takes_left}
    tuned = chosen(model, {shape: one for shape, one in choices.items() if shape not in bad})
    return tuned, await wrong_on(host, tuned, counts) or []


def _summary(known: Outcomes, right: Mapping[Shape, Variant], seconds: float) -> Tuning:
    timed = {shape: found for shape, found in known.items() if found.before}
    decoding = {shape: found for shape, found in timed.items() if shape.kernel != "matmul"}
    before = sum(found.before for found in decoding.values())
    after = sum(found.after if shape in right else found.before for shape, found in decoding.items())
    return Tuning(len(timed), len(right), 1 - after / before if before else 0.0, seconds)


async def _keep(host: Host, caps: Caps, tries: int, known: Outcomes) -> dict[Shape, Outcome] | None:
    """What is known then: another tab may have timed the same meanwhile, and texts shall be those of its choices.

    None where it is not kept.
    """

    def revised(facts: Facts) -> Facts:
        try:
            both = {**known, **_read(caps, facts)[1]}
        except RUBBISH:
            both = known
        return {"tries": tries, "choices": [_written(shape, found) for shape, found in both.items()]}

    kept = await revise(host.store, KEY, caps, revised)
    return _read(caps, kept)[1] if kept is not None and host.store.lasts else None


def _written(shape: Shape, found: Outcome) -> dict[str, Any]:
    return {"shape": asdict(shape), "variant": asdict(found.variant), "before": found.before, "after": found.after}


def _read(caps: Caps, facts: Facts) -> tuple[int, dict[Shape, Outcome]]:
    """How often it was tried in vain, and what is known. Raises RUBBISH where facts are not what _keep wrote."""
    known: dict[Shape, Outcome] = {}
    for one in facts.get("choices", []):
        shape = Shape(**one["shape"])
        variants = [each for each in candidates(caps, shape) if asdict(each) == one["variant"]]
        if not variants:
            raise ValueError(f"{one['variant']} is no variant for {shape}")
        seconds = float(one["before"]), float(one["after"])
        if not all(0 <= each < math.inf for each in seconds):
            raise ValueError(f"{seconds} are no seconds")
        known[shape] = Outcome(variants[0], *seconds)
    return int(facts.get("tries", 0)), known
