"""More reference numbers from PyTorch for the golden tests: logits, log-probabilities of all tokens, and the losses
that golden.py leaves out.

usage: golden_more.py MODEL.gguf OUT     (needs torch, transformers, peft, gguf; a few minutes on the CPU)

Reads what golden.py left in OUT, golden.json and adapter/, and writes OUT/more.json. In f64, a sequence at a time: the
gradient of a loss is put together from those of the sequences' log-probabilities.
"""
import json, os, sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)
gguf, out = sys.argv[1:3]
folder, file = os.path.split(os.path.abspath(gguf))
loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
config = loaded.config.to_dict()
for key in ("quantization_config", "_name_or_path"):
    config.pop(key, None)
config["rms_norm_eps"] = 1e-5
base = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager"))
base.load_state_dict(loaded.state_dict(), strict=True)
base.tie_weights()
model = PeftModel.from_pretrained(base, out + "/adapter", is_trainable=True).eval().double()

golden = json.load(open(out + "/golden.json"))
beta, pairs = golden["beta"], golden["pairs"]
sequences = [(pair["prompt"], pair[side]) for side in ("chosen", "rejected") for pair in pairs]
half = len(pairs)
trained = [p for p in model.parameters() if p.requires_grad]


def token_logps(ids):
    """Log-probabilities of all tokens but the first, and the logits they come from."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(ids)[1:, None])[:, 0], logits


sums, gradients, all_tokens = [], [], []
for at, (prompt, completion) in enumerate(sequences):
    logps, logits = token_logps(prompt + completion)
    if at == 0:
        probe = logits[len(prompt) - 1].detach()
    total = logps[len(prompt) - 1:].sum()
    gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, trained)]))
    sums.append(total.item())
    all_tokens.append(logps.detach())
policy = torch.tensor(sums, dtype=torch.double, requires_grad=True)
known = golden["policy"]["chosen"] + golden["policy"]["rejected"]
assert torch.allclose(policy.detach(), torch.tensor(known, dtype=torch.double), rtol=1e-9), (sums, known)

reference = torch.tensor(golden["reference"]["chosen"] + golden["reference"]["rejected"], dtype=torch.double)
n_tokens = torch.tensor([len(completion) for _, completion in sequences])
ratio = policy - reference
margin = ratio[:half] - ratio[half:]
mean_margin = (ratio / n_tokens)[:half] - (ratio / n_tokens)[half:]

# KTO: the eight completions as one batch, the chosen ones desirable. Its z0 is from each prompt with the completion
# before it, the first with the last, as in TRL.
mismatched = {"policy": [], "reference": []}
with torch.no_grad():
    for at, (prompt, _) in enumerate(sequences):
        ids = prompt + sequences[at - 1][1]
        mismatched["policy"].append(float(token_logps(ids)[0][len(prompt) - 1:].sum()))
        with model.disable_adapter():
            mismatched["reference"].append(float(token_logps(ids)[0][len(prompt) - 1:].sum()))
kl = max(0.0, (sum(mismatched["policy"]) - sum(mismatched["reference"])) / len(sequences))
sign = torch.tensor([1.0] * half + [-1.0] * half, dtype=torch.double)

losses = {
    "hinge": torch.relu(1 - beta * margin).mean(),
    "ipo": (mean_margin - 1 / (2 * beta)).pow(2).mean(),
    "ipo_of_sums": (margin - 1 / (2 * beta)).pow(2).mean(),
    "kto": (1 - torch.sigmoid(beta * sign * (ratio - kl))).mean(),
}
result = {}
for name, loss in losses.items():
    shares, = torch.autograd.grad(loss, policy, retain_graph=True)
    whole = sum(share * gradient for share, gradient in zip(shares, gradients))
    result[name] = {"loss": float(loss), "gradient_norm": float(whole.norm())}

n_chosen = int(n_tokens[:half].sum())
json.dump({
    "about": f"f64, eager attention, torch {torch.__version__}; made by golden_more.py",
    "logits": {"first": probe[:16].tolist(), "likeliest": int(probe.argmax()), "logsumexp": float(probe.logsumexp(-1))},
    "first_chosen_logps": all_tokens[0].tolist(),
    "mean_nll_of_all_tokens": -float(torch.cat(all_tokens[:half]).mean()),
    "sft_reference_loss": -float(reference[:half].sum()) / n_chosen,
    "mismatched": mismatched, "kl": kl, "losses": result,
}, open(out + "/more.json", "w"))
print(json.dumps(result), kl)
