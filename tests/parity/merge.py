"""Merged models in the programs that people load them with: transformers reads the folders, llama.cpp the GGUF files.

Usage: merge.py OUT (`cargo xtask parity` sets LAUREL_MODEL and LAUREL_TRAINER_BIN). Tiny models of every family with a
LoRA and an IA3 adapter, then the default model with its LoRA adapter. Each is compared, token by token over the whole
vocabulary, with transformers and PEFT, which have the adapter apart. llama.cpp takes part where the package xllamacpp is
installed. Exits non-zero when something does not hold.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import torch
from peft import IA3Config, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from check import convert

try:
    import xllamacpp
except ImportError:
    xllamacpp = None

ROOT = Path(__file__).resolve().parents[2]
PARITY = ROOT / "trainer" / "tests" / "parity"
FAMILIES = ["llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"]
# llama.cpp computes with no window for these, and with windows in other blocks for the last.
WINDOW, NO_WINDOW_THERE, OTHER_WINDOWS_THERE = 6, {"mistral", "qwen2", "phi3"}, {"gemma3"}
TEXT = "In 2024, 13% of it isn't café Straße Привет 你好世界 🙂\n\n\tdef f(x):\n        return x ** 2\r\n  end."


def main() -> None:
    out = Path(sys.argv[1]) / "merge"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    torch.manual_seed(0)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    for family in FAMILIES:
        tiny(family, out)
    default_model(out)
    reward_model(out)


def merge(model: Path, adapter: Path, to: Path, *more: str) -> dict:
    command = [os.environ["LAUREL_TRAINER_BIN"], "merge", "--json", "--model", model, "--adapter", adapter, "--out", to, *more]
    return json.loads(subprocess.check_output([str(part) for part in command], text=True))


def logps(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)


def compare(what: str, found, wanted, allowed: float) -> None:
    difference = (found - wanted).abs().max().item()
    print(f"{what}: largest difference of a log-probability {difference:.1e}")
    assert difference <= allowed, f"{what}: {difference}"


def tiny(family: str, out: Path) -> None:
    source = PARITY / "families" / family
    folder = out / f"{family}-base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(source / name, folder / name)
    write_tokenizer(folder)
    expected = json.loads((source / "expected.json").read_text())
    load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    ia3 = out / f"{family}-ia3"
    targets = ["qkv_proj", "down_proj"] if family == "phi3" else ["q_proj", "k_proj", "v_proj", "down_proj"]
    model = get_peft_model(load(folder), IA3Config(task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=["down_proj"]))
    for name, weight in model.named_parameters():
        if "ia3" in name:
            weight.data.uniform_(0.5, 1.5)
    model.save_pretrained(ia3)
    for kind, adapter in (("LoRA", source / "adapter"), ("IA3", ia3)):
        apart = PeftModel.from_pretrained(load(folder), adapter).eval()
        merged = out / f"{family}-{kind}"
        merge(folder, adapter, merged)
        for ids in expected["ids"]:
            compare(f"{family}, {kind}, folder in transformers", logps(load(merged), ids), logps(apart, ids), 1e-4)
        # That of Gemma 2 holds queries scaled for a reader that takes head_dim, so a LoRA of the folder's is none for it.
        if (source / "model.gguf").exists() and (family, kind) != ("gemma2", "LoRA"):
            merged = out / f"{family}-{kind}-of-gguf"
            merge(source / "model.gguf", adapter, merged, "--dtype", "f32")
            for ids in expected["ids"]:
                found = logps(load(merged), ids)
                compare(f"{family}, {kind}, folder from GGUF in transformers", found, logps(apart, ids), 1e-4)
        file = out / f"{family}-{kind}.gguf"
        merge(folder, adapter, file)
        if xllamacpp and family not in OTHER_WINDOWS_THERE:
            ids = expected["ids"][0][: WINDOW if family in NO_WINDOW_THERE else None]
            found = in_llama_cpp(file, [ids], len(logps(apart, ids)[0]))[0]
            compare(f"{family}, {kind}, GGUF in llama.cpp", found, logps(apart, ids)[-1], 2e-3)


def write_tokenizer(folder: Path) -> None:
    """Byte-level BPE of 45 tokens. llama.cpp looks for the last two in a phi3 file."""
    tokens = ["<pad>", "<s>", "</s>", *map(chr, range(ord("a"), ord("z") + 1)), *"0123456789", "Ġ", "Ċ", "th", "Ġth", "<unk>", "<|endoftext|>"]
    names = ["<pad>", "<s>", "</s>", "<unk>", "<|endoftext|>"]
    rest = dict(special=True, normalized=False, single_word=False, lstrip=False, rstrip=False)
    special = [dict(id=tokens.index(name), content=name, **rest) for name in names]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    model = dict(type="BPE", vocab={token: at for at, token in enumerate(tokens)}, merges=[["t", "h"], ["Ġ", "th"]])
    text = dict(version="1.0", added_tokens=special, pre_tokenizer=level, decoder=level, model=model)
    (folder / "tokenizer.json").write_text(json.dumps(text))
    config = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def default_model(out: Path) -> None:
    gguf, adapter = Path(os.environ["LAUREL_MODEL"]), PARITY / "golden" / "adapter"
    folder = out / "default-base"
    convert(gguf, folder)
    load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    apart = PeftModel.from_pretrained(load(folder), adapter).eval()
    golden = json.loads((PARITY / "golden" / "golden.json").read_text())["pairs"][0]
    sequence = golden["prompt"] + golden["chosen"]
    wanted = logps(apart, sequence)
    with torch.no_grad():
        greedy = apart.generate(input_ids=torch.tensor([golden["prompt"]]), max_new_tokens=16, do_sample=False)[0]
    theirs = AutoTokenizer.from_pretrained(folder)
    for dtype, allowed in (("f32", 1e-3), ("bf16", 0.5)):
        merged = out / f"default-{dtype}"
        merge(gguf, adapter, merged, "--dtype", dtype)
        compare(f"default model, folder in {dtype}", logps(load(merged), sequence), wanted, allowed)
        ours = AutoTokenizer.from_pretrained(merged)
        assert ours(TEXT)["input_ids"] == theirs(TEXT)["input_ids"], "the tokenizers differ"
        turns = [dict(role="user", content=TEXT)]
        assert ours.apply_chat_template(turns, tokenize=False) == theirs.apply_chat_template(turns, tokenize=False)
    if not xllamacpp:
        print("llama.cpp takes no part: the package xllamacpp is not installed")
        return
    # llama.cpp rounds activations to 8 bits where weights are quantised, so it differs from itself in f32 as well.
    for name, base, dtype, allowed in [
        ("q8_0, from GGUF", gguf, None, 1.0), ("f32, from the folder", folder, "f32", 0.05),
    ]:
        file = out / f"default-{name.replace(' ', '-').replace(',', '')}.gguf"
        merge(base, adapter, file, *(["--dtype", dtype] if dtype else []))
        prompt = golden["prompt"]
        found, tokens, ids = in_llama_cpp(file, [prompt], 200, n_predict=16, text=TEXT)
        top = {int(id): logp for id, logp in found.items()}
        at = len(prompt) - 1
        difference = max(abs(logp - wanted[at, id].item()) for id, logp in top.items())
        same = sum(a == b for a, b in zip(tokens, greedy[len(prompt):].tolist()))
        print(f"default model, GGUF in {name}, llama.cpp: 200 likeliest tokens differ by {difference:.1e}, {same} of 16 greedy tokens are the same")
        assert difference <= allowed
        assert ids == theirs(TEXT, add_special_tokens=False)["input_ids"], "llama.cpp's tokens differ"


def in_llama_cpp(file: Path, prompts, n: int, n_predict: int = 1, text: str | None = None):
    """Of each prompt the log-probabilities of the n likeliest next tokens; with `text` also the greedy tokens and its ids."""
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 512, 1, False, 0
    params.cpuparams.n_threads = 2
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    results = []
    for prompt in prompts:
        ask = dict(prompt=prompt, n_predict=n_predict, temperature=0, n_probs=n, cache_prompt=False)
        content = server.handle_completions(ask)["choices"][0]["logprobs"]["content"]
        found = {entry["id"]: entry["logprob"] for entry in content[0]["top_logprobs"]}
        if text is None:
            results.append(torch.tensor([found[id] for id in range(n)]))
            continue
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize", json.dumps(dict(content=text)).encode(), {"Content-Type": "application/json"}
        )
        ids = json.load(urllib.request.urlopen(request))["tokens"]
        return found, [entry["id"] for entry in content], ids
    return results


def reward_model(out: Path) -> None:
    """A score head ends up where transformers looks for it."""
    from peft import LoraConfig

    folder, adapter, merged = out / "llama3-base", out / "reward-adapter", out / "reward"
    load = lambda path: AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.float32).eval()
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["score"])
    model = get_peft_model(load(folder), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_()
    model.save_pretrained(adapter)
    merge(folder, adapter, merged)
    ids = torch.tensor([[5, 9, 3, 17, 20]])
    with torch.no_grad():
        wanted, found = model.eval()(input_ids=ids).logits, load(merged)(input_ids=ids).logits
    difference = (wanted - found).abs().max().item()
    print(f"reward model, folder in transformers: scores differ by {difference:.1e}")
    assert difference <= 1e-4


if __name__ == "__main__":
    main()
