"""The command line over Dawn: answer a prompt, or write the logits of given token ids. For debugging and profiling."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from local_llm.choosing import MODES as TUNE_MODES
from local_llm.entry import default_host
from local_llm.errors import InvalidRequest, LocalLLMError
from local_llm.loaded import INT8_MODES, Loading
from local_llm.reply import Chunk
from local_llm.runtime import LocalLLM


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m local_llm.native", description=__doc__)
    p.add_argument("prompt", nargs="?", help="what to say; one user message, or with --raw a text to continue")
    p.add_argument("--model", required=True, metavar="FILE_OR_FOLDER")
    p.add_argument("--quantize", type=int, metavar="BITS", help="8 or 4, for weights that the file has as floats")
    p.add_argument("--raw", action="store_true", help="continue the text, without a chat template")
    p.add_argument("--max-tokens", type=int, default=256)
    p.add_argument("--temperature", type=float, default=0.0)
    p.add_argument("--seed", type=int)
    p.add_argument("--context-size", type=int)
    p.add_argument("--cache-bits", type=int, metavar="BITS", help="16 or 8, for each key and value in the cache")
    p.add_argument("--int8", choices=INT8_MODES, default="auto", help="whether inputs may be rounded to bytes")
    p.add_argument("--tune", choices=TUNE_MODES, default="auto", help="whether kernels' variants are timed once")
    p.add_argument("--ids", metavar="FILE.json", help="a JSON list of token ids")
    p.add_argument("--logits", metavar="OUT.npy", help="write the logits of --ids, float32 [T, V]")
    return p


async def run(args: argparse.Namespace) -> None:
    llm = LocalLLM(default_host())
    asked = ("context_size", "quantize", "cache_bits", "int8", "tune")
    await llm.init(args.model, **Loading(**{name: getattr(args, name) for name in asked}))
    try:
        if args.ids:
            np.save(args.logits, await llm.logits(_read_ids(Path(args.ids))))
        else:
            await _answer(llm, args)
    finally:
        await llm.close()


def _read_ids(file: Path) -> list[int]:
    try:
        ids = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"--ids must name a JSON list of token ids; {file} is none: {error}") from None
    if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
        raise InvalidRequest(f"--ids must name a JSON list of token ids; {file} holds something else.")
    return ids


async def _answer(llm: LocalLLM, args: argparse.Namespace) -> None:
    options = {"max_tokens": args.max_tokens, "temperature": args.temperature, "seed": args.seed}
    if args.raw:
        chunks = await llm.complete(args.prompt, stream=True, **options)
    else:
        chunks = await llm.chat([{"role": "user", "content": args.prompt}], stream=True, **options)
    async for chunk in chunks:  # pyright: ignore[reportGeneralTypeIssues]
        print(chunk.delta, end="", flush=True)
        if chunk.done:
            await _summary(llm, chunk)


async def _summary(llm: LocalLLM, chunk: Chunk) -> None:
    reply, info = chunk.reply, await llm.runtime_info()
    assert reply is not None
    kind = " (software adapter)" if info["software_adapter"] else ""
    speed = f"{reply.tokens_per_second:.1f} tokens/s" if reply.tokens_per_second else "one token"
    first = f"{reply.time_to_first_token:.2f} s to the first" if reply.time_to_first_token is not None else "no token"
    usage = reply.usage
    print(
        f"\n[{info['adapter']}{kind}: {usage.prompt_tokens} prompt tokens, {usage.completion_tokens} new, "
        f"{first}, {speed}, {reply.finish_reason}]",
        file=sys.stderr,
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if bool(args.ids) != bool(args.logits) or not (args.ids or args.prompt):
        parser().error("give a prompt, or both --ids and --logits")
    try:
        asyncio.run(run(args))
    except LocalLLMError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0
