"""Adapters of every kind that PEFT makes and Laurel reads, and what PEFT computes with them.

usage: adapters.py OUT     (needs torch, transformers, peft; seconds on the CPU)

Writes for each case OUT/NAME/: adapter_config.json and adapter_model.safetensors as PEFT saves them (B not zero, magnitudes
and factors moved), and expected.json: log-probabilities of all tokens of two sequences, and the gradients of their sum, by
norm and for magnitudes number by number. Everything expected is computed in f64 on the models that families.py made, whose
folder `families` stands beside this file; Qwen2's has biases, Phi-3's fused layers.

The cases with dropout are in training mode. PEFT decides where dropout acts and on what; which numbers it drops is decided by
the streams that `rng.rs` and `ops/dropout.rs` describe, written out here a second time.
"""
import hashlib, json, os, shutil, sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, torch.nn.functional as F
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
out, families = Path(sys.argv[1]), Path(__file__).parent / "families"
SEED, STEP = 11, 3
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "rslora": ("qwen2", LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=LINEAR)),
    "dora": ("qwen2", LoraConfig(r=2, lora_alpha=8, use_dora=True, target_modules="all-linear")),
    "dora_fused": ("phi3", LoraConfig(r=2, lora_alpha=8, use_dora=True, target_modules=["qkv_proj", "gate_up_proj", "down_proj"])),
    "patterns": ("qwen2", LoraConfig(r=2, lora_alpha=8, use_dora=True, use_rslora=True,
                                     target_modules=r".*\.(q_proj|v_proj|up_proj|down_proj)",
                                     # PEFT saves them sorted, and takes the first that fits when it loads.
                                     rank_pattern={"down_proj": 4, r"layers\.1\..*": 1, "v_proj": 3},
                                     alpha_pattern={"0.self_attn.q_proj": 3, "mlp.*": 5})),
    "blocks": ("qwen2", LoraConfig(r=2, lora_alpha=8, target_modules=LINEAR, layers_to_transform=[1], exclude_modules=["o_proj"])),
    "ia3": ("qwen2", IA3Config(target_modules=["q_proj", "v_proj", "up_proj", "down_proj"], feedforward_modules=["up_proj", "down_proj"])),
    "lora_dropout": ("qwen2", LoraConfig(r=2, lora_alpha=8, lora_dropout=0.3, target_modules=LINEAR)),
    "dora_dropout": ("qwen2", LoraConfig(r=2, lora_alpha=8, lora_dropout=0.3, use_dora=True, target_modules=LINEAR)),
}
MASK = (1 << 64) - 1


def stream(name, index):
    """xoshiro256++ whose state is SHA-256(seed, index, name)."""
    digest = hashlib.sha256(SEED.to_bytes(8, "little") + index.to_bytes(8, "little") + name.encode()).digest()
    s = [int.from_bytes(digest[at:at + 8], "little") for at in range(0, 32, 8)]
    rotated = lambda x, n: (x << n | x >> (64 - n)) & MASK
    while True:
        yield (rotated((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        t = s[1] << 17 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotated(s[3], 45)


class Dropout(torch.nn.Module):
    """In the place of PEFT's nn.Dropout: x · m / (1 − p)."""
    number = 0

    def __init__(self, path, p):
        super().__init__()
        self.path, self.p = path, p

    def forward(self, x):
        if not self.training:
            return x
        rows, width = x.shape[-2:]
        keep = torch.zeros(rows, width, dtype=x.dtype)
        for row in range(rows):
            draws = stream(f"dropout {self.path} step {STEP} pass {Dropout.number}", row)
            halves = [half for draw in (next(draws) for _ in range((width + 1) // 2)) for half in (draw & 0xFFFFFFFF, draw >> 32)]
            keep[row] = torch.tensor([float(half >= round(self.p * 2**32)) for half in halves[:width]], dtype=x.dtype)
        return x * keep / (1 - self.p)


def token_logps(model, ids):
    logps = F.log_softmax(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1], -1)
    return torch.gather(logps, 1, torch.tensor(ids[1:])[:, None])[:, 0]


def rounded(numbers):
    return [float(f"{x:.7g}") for x in numbers.tolist()]


for name, (family, config) in CASES.items():
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    ids = json.loads((families / family / "expected.json").read_text())["ids"]
    base = AutoModelForCausalLM.from_pretrained(families / family, attn_implementation="eager", dtype=torch.float32)
    config.task_type = "CAUSAL_LM"
    model = get_peft_model(base, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for path, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if "lora_A" in path:
                weight.copy_(noise / weight.shape[1] ** 0.5)
            elif "lora_B" in path:
                weight.copy_(noise * 0.1)
            elif "magnitude" in path or "ia3" in path:
                weight.mul_(1 + 0.2 * noise)
    model.save_pretrained(folder)
    os.remove(folder / "README.md")
    # PEFT writes sets in any order, and where the base model lay.
    written = json.loads((folder / "adapter_config.json").read_text())
    ordered = {option: sorted(value) if isinstance(value, list) else value for option, value in written.items()}
    ordered["base_model_name_or_path"] = family
    (folder / "adapter_config.json").write_text(json.dumps(ordered, indent=2))

    for path, module in list(model.named_modules()):
        if path.endswith(".lora_dropout") and config.lora_dropout > 0:
            module["default"] = Dropout(path.removeprefix("base_model.model.").removesuffix(".lora_dropout"), config.lora_dropout)
    model = model.double().train("dropout" in name)
    logps = []
    for Dropout.number, sequence in enumerate(ids):
        logps.append(token_logps(model, sequence))
    torch.cat(logps).sum().backward()
    named = {path.replace("base_model.model.", "").replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector"): weight.grad
             for path, weight in model.named_parameters() if weight.grad is not None}
    json.dump({
        "about": f"f64, eager attention, torch {torch.__version__.split('+')[0]}; made by adapters.py",
        "family": family, "ids": ids, "logps": [rounded(x.detach()) for x in logps],
        "gradient_norms": {path: float(f"{gradient.norm():.7g}") for path, gradient in named.items()},
        "magnitude_gradients": {path: rounded(gradient) for path, gradient in named.items() if "magnitude" in path},
    }, open(folder / "expected.json", "w"))
    with torch.no_grad(), model.disable_adapter():
        moved = max(float((token_logps(model, x) - y).abs().max()) for x, y in zip(ids, logps))
    print(name, len(named), "gradients; the adapter moves log-probabilities by up to", round(moved, 3))
