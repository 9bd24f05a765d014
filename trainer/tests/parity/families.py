"""Tiny random models of every family, and what transformers and PEFT compute with them.

usage: families.py OUT     (needs torch, transformers, peft, gguf; seconds on the CPU)

Writes for each family OUT/NAME/: config.json and model.safetensors (f32 numbers that f16 holds exactly), adapter/ (PEFT,
LoRA of rank 2 on every linear layer, B not zero), expected.json, and for most model.gguf with the same numbers, named and
described as llama.cpp's converter does. Two sequences begin with the same tokens. Sizes are such that a mistake shows: a
window shorter than the sequences, caps that bend, head_dim other than hidden / heads, scaled rotary frequencies, norm
weights that are not one. Everything expected is computed in f64 with eager attention: logits, log-probabilities of the
tokens, greedy continuations, and the gradients' norms of the summed log-probabilities of both ends by the adapter.
"""
import json, math, os, shutil, sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import gguf, numpy as np, torch, torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, LlamaConfig, MistralConfig, Phi3Config,
                          Qwen2Config, Qwen3Config)

torch.set_num_threads(1)
out = sys.argv[1]
SHARED, LENGTHS, NEW_TOKENS = 9, (22, 15), 12
COMMON = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              vocab_size=48, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
FAMILIES = {
    "llama2": LlamaConfig(**COMMON, tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=4.0)),
    "llama3": LlamaConfig(**{**COMMON, "head_dim": 8}, rope_parameters=LLAMA3),
    "mistral": MistralConfig(**COMMON, sliding_window=6),
    "qwen2": Qwen2Config(**COMMON, use_sliding_window=True, sliding_window=6, max_window_layers=1, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**COMMON, head_dim=8, tie_word_embeddings=True),
    "gemma2": Gemma2Config(**COMMON, head_dim=8, sliding_window=6, query_pre_attn_scalar=20, attn_logit_softcapping=2.0,
                           final_logit_softcapping=5.0),
    "gemma3": Gemma3TextConfig(**{**COMMON, "num_hidden_layers": 3}, head_dim=8, sliding_window=6, query_pre_attn_scalar=8,
                               layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                               rope_parameters=dict(full_attention=dict(rope_type="linear", rope_theta=2e4, factor=8.0),
                                                    sliding_attention=dict(rope_type="default", rope_theta=1e3))),
    "phi3": Phi3Config(**{**COMMON, "hidden_size": 32}, sliding_window=7, original_max_position_embeddings=64,
                       rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)),
}
ARCHITECTURES = {"llama3": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3", "gemma2": "GEMMA2", "gemma3": "GEMMA3", "phi3": "PHI3"}


def is_gemma(name):
    return name.startswith("gemma")


def fill(name, model, generator):
    """Random numbers that f16 holds. What blocks add outweighs the embedding, or a tied model repeats its last token."""
    with torch.no_grad():
        for path, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in path:
                noise = 0.3 * noise + (0 if is_gemma(name) else 1) + (2 if is_gemma(name) and "post" in path else 0)
            elif path.endswith("bias"):
                noise = 0.5 * noise
            elif "embed_tokens" in path:
                noise = noise * 0.3
            else:
                noise = noise * 1.5 / weight.shape[1] ** 0.5
            weight.copy_(noise.half().float())


def token_logps(model, ids):
    logps = F.log_softmax(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1], -1)
    return torch.gather(logps, 1, torch.tensor(ids[1:])[:, None])[:, 0]


def rounded(numbers):
    return [float(f"{x:.7g}") for x in numbers.tolist()]


def write_gguf(name, model, path):
    config, architecture = model.config, getattr(gguf.MODEL_ARCH, ARCHITECTURES[name])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    if name != "phi3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if name in ("gemma2", "gemma3", "phi3", "qwen2"):
        writer.add_sliding_window(config.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if name == "gemma3":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_float32("gemma3.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"])
    if name in ("gemma3", "qwen2"):
        writer.add_array(f"{name}.attention.sliding_window_pattern", [kind == "sliding_attention" for kind in config.layer_types])
    if name == "llama3":
        divisors = []
        for i in range(0, head_dim, 2):
            wave = 2 * math.pi * rope["rope_theta"] ** (i / head_dim)
            context, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
            share = (context / wave - low) / (high - low)
            divisors.append(1.0 if wave < context / high else rope["factor"] if wave > context / low
                            else 1 / ((1 - share) / rope["factor"] + share))
        writer.add_tensor("rope_freqs.weight", np.array(divisors, dtype=np.float32))
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for path, weight in model.state_dict().items():
        if path == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array, wide = weight.numpy(), weight.dim() == 1
        if name == "llama3" and ("q_proj" in path or "k_proj" in path):
            heads = config.num_attention_heads if "q_proj" in path else config.num_key_value_heads
            array = array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        if is_gemma(name) and path.endswith("norm.weight"):
            array = array + 1
        if name == "gemma2" and "q_proj" in path:
            # A GGUF file does not tell query_pre_attn_scalar; a reader takes head_dim.
            array, wide = array * (head_dim / config.query_pre_attn_scalar) ** 0.5, True
        to = names.get_name(path, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(to, np.ascontiguousarray(array.astype(np.float32 if wide else np.float16)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def greedy_tokens(model, prompt):
    with torch.no_grad():
        tokens = model.generate(input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=NEW_TOKENS,
                                min_new_tokens=NEW_TOKENS, eos_token_id=None, pad_token_id=0)[0, len(prompt):].tolist()
        steps = model(input_ids=torch.tensor([prompt + tokens]), use_cache=False).logits[0, len(prompt) - 1:-1]
    first, second = steps.topk(2).values.T
    assert steps.argmax(1).tolist() == tokens
    return tokens, float((first - second).min())


def varied(name, config):
    """A model and sequences whose greedy continuation has several tokens, and no step that hangs on f32's rounding."""
    for seed in range(1000):
        generator = torch.Generator().manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
        fill(name, model, generator)
        ids = [torch.randint(3, config.vocab_size, (n,), generator=generator).tolist() for n in LENGTHS]
        ids[1][:SHARED] = ids[0][:SHARED]
        tokens, margin = greedy_tokens(model, ids[0][:SHARED])
        if len(set(tokens)) >= 7 and margin > 0.02:
            return model, ids, generator
    raise SystemExit(f"no seed gives {name} a varied continuation")


for name, config in FAMILIES.items():
    folder = f"{out}/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model, ids, generator = varied(name, config)
    model.save_pretrained(folder)
    os.remove(f"{folder}/generation_config.json")
    if name in ARCHITECTURES:
        write_gguf(name, model, f"{folder}/model.gguf")

    targets = sorted({path.split(".")[-1] for path, module in model.named_modules()
                      if isinstance(module, torch.nn.Linear) and path != "lm_head"})
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=8, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for path, weight in sorted(adapted.named_parameters()):
            if "lora_A" in path:
                weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5)
            if "lora_B" in path:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    adapted.save_pretrained(f"{folder}/adapter")
    os.remove(f"{folder}/adapter/README.md")
    # PEFT writes the targets in the order of a set.
    written = json.load(open(f"{folder}/adapter/adapter_config.json"))
    json.dump({**written, "target_modules": targets}, open(f"{folder}/adapter/adapter_config.json", "w"), indent=2)
    adapted = adapted.double()

    with torch.no_grad(), adapted.disable_adapter():
        logits = [adapted(input_ids=torch.tensor([x]), use_cache=False).logits[0] for x in ids]
        logps = [token_logps(adapted, x) for x in ids]
        greedy, margin = greedy_tokens(adapted, ids[0][:SHARED])
    ends = [token_logps(adapted, x)[SHARED - 1:] for x in ids]
    sum(end.sum() for end in ends).backward()
    norms = {path.replace("base_model.model.", "").replace(".default", ""): float(f"{weight.grad.norm():.7g}")
             for path, weight in adapted.named_parameters() if weight.grad is not None}

    json.dump({
        "about": f"f64, eager attention, torch {torch.__version__.split('+')[0]}; made by families.py",
        "ids": ids, "shared": SHARED, "logits": [rounded(x.flatten()) for x in logits], "logps": [rounded(x) for x in logps],
        "greedy": greedy, "adapted_logps": [rounded(x) for x in ends], "gradient_norms": norms,
    }, open(f"{folder}/expected.json", "w"))
    print(name, "spread of logits", float(logits[0].std()), "margin", margin, "greedy", greedy)
