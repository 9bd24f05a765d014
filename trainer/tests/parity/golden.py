"""Reference numbers from PyTorch for the golden tests.

usage: golden.py MODEL.gguf OUT     (needs torch, transformers, peft, gguf; a few minutes on the CPU)

Reads OUT/rows.jsonl (preferences in TRL's columns), writes OUT/golden.json and OUT/adapter/ (PEFT, LoRA of rank 2 with
a B that is not zero). The model is the GGUF file de-quantised to f32 and computed in f64, so that the numbers carry no
rounding of their own; sequences are padded on the right. A completion
is everything after the generation prompt: the answer, its end token and the newline of the template, as in TRL.
"""
import json, os, sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from tokenizers import pre_tokenizers

torch.set_num_threads(1)
gguf, out = sys.argv[1:3]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BETA, RANK, ALPHA = 0.1, 2, 8

folder, file = os.path.split(os.path.abspath(gguf))
tok = AutoTokenizer.from_pretrained(folder, gguf_file=file)
# transformers' conversion loses that this vocabulary splits digits one by one.
tok.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
config = loaded.config.to_dict()
for key in ("quantization_config", "_name_or_path"):
    config.pop(key, None)
config["rms_norm_eps"] = 1e-5
base = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager"))
base.load_state_dict(loaded.state_dict(), strict=True)
base.tie_weights()


def ids(messages, prompt=False):
    return tok.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)


rows = [json.loads(line) for line in open(out + "/rows.jsonl")]
pairs = []
for row in rows:
    prompt = ids(row["prompt"], True)
    pair = {"prompt": prompt}
    for side in ("chosen", "rejected"):
        whole = ids(row["prompt"] + row[side])
        assert whole[: len(prompt)] == prompt
        pair[side] = whole[len(prompt):]
    pairs.append(pair)
sequences = [(p["prompt"], p[side]) for side in ("chosen", "rejected") for p in pairs]
width = max(len(p) + len(c) for p, c in sequences)
x = torch.zeros(len(sequences), width, dtype=torch.long)
attention, trained = torch.zeros_like(x), torch.zeros_like(x)
for i, (prompt, completion) in enumerate(sequences):
    n = len(prompt) + len(completion)
    x[i, :n] = torch.tensor(prompt + completion)
    attention[i, :n] = 1
    trained[i, len(prompt):n] = 1


def with_lora(model, task):
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=LINEAR, task_type=task))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "lora_A" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5)
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
    return model.eval()


def norms(model):
    return {name.replace("base_model.model.", "").replace(".default", "").replace("modules_to_save.", ""): float(p.grad.norm())
            for name, p in model.named_parameters() if p.grad is not None}


model = with_lora(base, "CAUSAL_LM")
model.save_pretrained(out + "/adapter")
model = model.double()


def token_logps():
    logits = model(input_ids=x, attention_mask=attention).logits[:, :-1]
    logps = torch.gather(F.log_softmax(logits, -1), 2, x[:, 1:, None])[..., 0]
    return logps * trained[:, 1:]


with torch.no_grad(), model.disable_adapter():
    reference = token_logps().sum(1)
policy_tokens = token_logps()
policy = policy_tokens.sum(1)
(chosen, rejected), (ref_chosen, ref_rejected) = policy.chunk(2), reference.chunk(2)
dpo = -F.logsigmoid(BETA * ((chosen - ref_chosen) - (rejected - ref_rejected))).mean()
dpo.backward(retain_graph=True)
dpo_norms = norms(model)
model.zero_grad()
half = len(pairs)
sft = -policy_tokens[:half].sum() / trained[:half].sum()
sft.backward()
sft_norms = norms(model)
first = policy_tokens[0, len(pairs[0]["prompt"]) - 1:][: len(pairs[0]["chosen"])]

# The reward model: the same adapter under a score head, read at the last token.
classifier = LlamaForSequenceClassification(LlamaConfig(**{**config, "num_labels": 1, "pad_token_id": 0}, attn_implementation="eager"))
classifier.model.load_state_dict({k.removeprefix("model."): v for k, v in loaded.state_dict().items() if k.startswith("model.")})
with torch.no_grad():
    classifier.score.weight.copy_(torch.randn(classifier.score.weight.shape, generator=torch.Generator().manual_seed(0)) * 0.02)
head = classifier.score.weight.detach()[0].tolist()
reward = with_lora(classifier, "SEQ_CLS").double()
states = reward.base_model.model.model(input_ids=x, attention_mask=attention).last_hidden_state
last = states[torch.arange(len(sequences)), attention.sum(1) - 1]
scores = reward.base_model.model.score(last).squeeze(-1)
(score_chosen, score_rejected) = scores.chunk(2)
bt = -F.logsigmoid(score_chosen - score_rejected).mean()
reward.zero_grad()
bt.backward()

json.dump({
    "about": f"f64, eager attention, torch {torch.__version__}; made by golden.py",
    "beta": BETA, "pairs": pairs,
    "policy": {"chosen": chosen.tolist(), "rejected": rejected.tolist()},
    "reference": {"chosen": ref_chosen.tolist(), "rejected": ref_rejected.tolist()},
    "first_chosen_token_logps": first.tolist(),
    "dpo": {"loss": float(dpo), "gradient_norms": dpo_norms},
    "sft": {"loss": float(sft), "gradient_norms": sft_norms},
    "reward": {"head": head, "chosen": score_chosen.tolist(), "rejected": score_rejected.tolist(),
               "loss": float(bt), "gradient_norms": norms(reward)},
}, open(out + "/golden.json", "w"))
print("dpo", float(dpo), "sft", float(sft), "bt", float(bt), policy.tolist(), reference.tolist())
