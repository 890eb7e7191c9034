#!/usr/bin/env python3
"""Makes api/data/price-catalogue.json: what providers publish as their prices, in this gateway's own terms.

The source is LiteLLM's list of model prices, which is MIT licensed (see NOTICE). It comes with the package on PyPI:

    pip download litellm==1.106.2 --no-deps
    unzip litellm-1.106.2-*.whl litellm/model_prices_and_context_window_backup.json
    tools/price-catalogue.py litellm/model_prices_and_context_window_backup.json \\
        --version 1.106.2 --date 2026-10-21 > api/data/price-catalogue.json

Prices are exact: the source's digits are read as decimals, shifted to a million tokens (a minute of audio, a million
characters) and written as strings; nothing is ever a binary fraction, and a price that would need rounding is left out
with a line on standard error. So is what these prices cannot say truthfully: models that are no longer served on the
day of the source, prices by size, page or second of video, fine-tuned models, calls over a socket.
"""

import argparse
import json
import re
import sys
from decimal import Decimal, localcontext, Inexact

# The source's name of a provider, and ours.
PROVIDERS = {
    "openai": "openai", "text-completion-openai": "openai", "anthropic": "anthropic", "gemini": "gemini",
    "deepseek": "deepseek", "xai": "xai", "mistral": "mistral", "moonshot": "moonshot", "dashscope": "dashscope",
    "zai": "zai", "cohere": "cohere", "cohere_chat": "cohere", "voyage": "voyage", "elevenlabs": "elevenlabs",
}

MODES = {
    "chat", "responses", "completion", "embedding", "image_generation", "audio_transcription", "audio_speech",
    "moderation",
}

# Prices per token, and the class each is.
CLASSES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}

# What a class costs if it has no price of its own, as the gateway has it.
FALLBACK = {
    "cache_read": "input", "cache_write": "input", "cache_write_1h": "cache_write", "reasoning": "output",
    "image_input": "input", "image_output": "output", "audio_input": "input", "audio_output": "output",
}

# In the order in which they are written.
ORDER = ["input", "output", *FALLBACK, "per_million_characters", "per_audio_minute", "per_image"]

MILLION = Decimal(1_000_000)
# Prices that no provider takes (USD per million tokens): a slip of the source, such as a price per thousand.
ABSURD = {"embedding": Decimal(10)}
ABSURD_ELSE = Decimal(1000)
MOST_DECIMALS = 9

KEY = re.compile(r"^(?P<base>.+?)(?:_above_(?P<thousands>\d+)k_tokens)?$")


class LeftOut(Exception):
    """Why an entry is not in the catalogue."""


def times(price, factor):
    """Exactly; a product that does not fit is an error, never rounded."""
    with localcontext() as context:
        context.prec = 60
        context.traps[Inexact] = True
        return Decimal(price) * factor


def text(price):
    """A decimal without exponent and without zeros at its end."""
    written = f"{price:f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    if "." in written and len(written.split(".")[1]) > MOST_DECIMALS:
        raise LeftOut(f"the price {written} has more than nine decimals")
    return written


def per_token(entry):
    """Prices by class per million tokens: those that hold always, and those above each threshold."""
    base, tiers = {}, {}
    for key, price in entry.items():
        parts = KEY.match(key)
        name = CLASSES.get(parts["base"])
        if name is None or price is None:
            continue
        into = tiers.setdefault(int(parts["thousands"]) * 1000, {}) if parts["thousands"] else base
        into[name] = times(price, MILLION)
    for step in entry.get("tiered_pricing") or []:
        above = int(step["range"][0])
        into = tiers.setdefault(above, {}) if above else base
        into.update(per_token({k: v for k, v in step.items() if k != "range"})[0])
    return base, tiers


def resolved(prices, name):
    """A class's price or what stands in for it."""
    while name not in prices:
        name = FALLBACK[name]
    return prices[name]


def tier(base, own):
    """A tier is a whole list: what it does not state is as below it, but never cheaper than what stands in for it."""
    merged = dict(own)
    for name in ("input", "output"):
        merged.setdefault(name, base[name])
    for name in FALLBACK:
        if name in base and name not in own:
            dearer = base[name] >= resolved(base, FALLBACK[name])
            stand_in = resolved(merged, FALLBACK[name])
            merged[name] = max(base[name], stand_in) if dearer else base[name]
    return merged


def written(prices):
    return {name: text(prices[name]) for name in ORDER if name in prices}


def prices_of(entry, mode):
    base, tiers = per_token(entry)
    by_token = any(price > 0 for price in base.values())
    # Where tokens have a price, they are what the provider bills: its prices by the image or minute are then only what it
    # comes to on average, and the gateway would bill by them instead.
    if not by_token:
        if mode == "image_generation":
            # The source writes the price of a made image in either place.
            per_image = entry.get("output_cost_per_image") or entry.get("input_cost_per_image")
            if per_image:
                base["per_image"] = Decimal(per_image)
        if mode == "audio_transcription" and entry.get("input_cost_per_second"):
            base["per_audio_minute"] = times(entry["input_cost_per_second"], 60)
        if mode == "audio_speech" and entry.get("input_cost_per_character"):
            base["per_million_characters"] = times(entry["input_cost_per_character"], MILLION)
    by_unit = any(name.startswith("per_") for name in base)
    if mode == "moderation":
        if "input" not in base:
            raise LeftOut("no price")
    elif not by_token and not by_unit:
        raise LeftOut("no price, or nothing but zeros")
    if by_token and not base.get("input"):
        raise LeftOut("a price for output only")
    base.setdefault("input", Decimal(0))
    if "output" not in base:
        # Nothing is written out as text: were it, then at what is made costs.
        if mode in ("chat", "responses", "completion"):
            raise LeftOut("no price for output")
        base["output"] = base.get("image_output", base.get("audio_output", Decimal(0)))
    elif by_token and not base["output"] and mode in ("chat", "responses", "completion"):
        raise LeftOut("output for nothing")
    limit = ABSURD.get(mode, ABSURD_ELSE)
    for name, price in base.items():
        if not name.startswith("per_") and (price < 0 or price > limit):
            raise LeftOut(f"{name} at {price:f} a million cannot be meant")
    listed = written(base)
    if tiers:
        if by_unit:
            raise LeftOut("tiers beside units of media")
        steps = sorted(tiers.items())
        below, out = base, []
        for above, own in steps:
            below = tier(below, own)
            out.append({"above_input": above, **written(below)})
        listed["tiers"] = out
    return listed


def name_of(key, provider, source_provider):
    for prefix in (provider, source_provider):
        if key.startswith(prefix + "/"):
            key = key[len(prefix) + 1:]
    if "/" in key:
        raise LeftOut("a price by size or place")
    if key.startswith("ft:"):
        raise LeftOut("fine-tuned models have names of their own")
    if "realtime" in key or re.search(r"(^|-)live(-|$)", key):
        raise LeftOut("called over a socket")
    return key


def count(entry, field):
    value = entry.get(field)
    return int(value) if isinstance(value, (int, Decimal)) and value > 0 else None


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("source", help="LiteLLM's model_prices_and_context_window*.json")
    arguments.add_argument("--version", required=True, help="of LiteLLM")
    arguments.add_argument("--date", required=True, help="the day of that version: 2026-10-21")
    asked = arguments.parse_args()
    with open(asked.source, encoding="utf-8") as file:
        source = json.load(file, parse_float=Decimal)

    models, left_out = {}, {}
    for key, entry in source.items():
        source_provider, mode = entry.get("litellm_provider"), entry.get("mode")
        provider = PROVIDERS.get(source_provider)
        if provider is None or mode not in MODES:
            continue
        try:
            if (entry.get("deprecation_date") or "9999") <= asked.date:
                raise LeftOut("no longer served")
            name = name_of(key, provider, source_provider)
            model = {"name": name, "provider": provider, "mode": mode}
            for ours, theirs in (("max_input", "max_input_tokens"), ("max_output", "max_output_tokens")):
                tokens = count(entry, theirs)
                if tokens:
                    model[ours] = tokens
            model["prices"] = prices_of(entry, mode)
        except LeftOut as why:
            left_out.setdefault(str(why), []).append(key)
            continue
        place = (provider, name)
        # Of two entries for one model the one that names its provider is the newer in the source.
        if place in models and models[place] != model:
            print(f"{provider}/{name} stands there twice and differs; taken: {'with' if '/' in key else 'without'} prefix",
                  file=sys.stderr)
            if "/" not in key:
                continue
        models[place] = model

    for why, keys in sorted(left_out.items()):
        print(f"left out {len(keys)}: {why}: {', '.join(keys[:6])}{' …' if len(keys) > 6 else ''}", file=sys.stderr)
    head = {
        "source": "LiteLLM, model_prices_and_context_window.json",
        "url": "https://github.com/BerriAI/litellm",
        "version": asked.version,
        "date": asked.date,
        "licence": "MIT, Copyright (c) 2023 Berri AI; the notice is in NOTICE",
        "currency": "USD",
    }
    # One model a line: a newer catalogue shows what changed.
    print("{")
    for field, value in head.items():
        print(f"{json.dumps(field)}: {json.dumps(value)},")
    print('"models": [')
    lines = [json.dumps(models[place], separators=(",", ":"), ensure_ascii=False) for place in sorted(models)]
    print(",\n".join(lines))
    print("]}")
    print(f"{len(models)} models", file=sys.stderr)


if __name__ == "__main__":
    main()
