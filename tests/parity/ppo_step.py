"""One step of PPO, GRPO and RLOO on a tiny random model, straightforwardly in PyTorch and f64.

usage: ppo_step.py > trainer/tests/parity/golden/ppo_step.json     (needs torch, transformers, peft; seconds on the CPU)

Model and adapter are trainer/tests/parity/families/llama3's. Each sequence goes through the model by itself. The policy
at sampling time is taken to have been a little different, so that ratios are not one and some are clipped; values too.
The reference is the model without the adapter.
"""
import json, os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
FAMILY = os.path.join(os.path.dirname(__file__), "..", "..", "trainer", "tests", "parity", "families", "llama3")
generator = torch.Generator().manual_seed(3)
base = AutoModelForCausalLM.from_pretrained(FAMILY, dtype=torch.float64, attn_implementation="eager").eval()
model = PeftModel.from_pretrained(base, f"{FAMILY}/adapter", is_trainable=True).double().eval()

PROMPTS = [[5, 9, 11, 7], [30, 6]]
# Two answers to each prompt; one ends by itself with token 2, the penalty is in the others' scores.
ANSWERS = [[12, 40, 8, 2], [17, 3], [21, 21, 9, 14, 2], [44]]
PROMPT_OF = [0, 0, 1, 1]
SCORES = [0.8, -1.2, 1.5, -0.4]
TEMPERATURE, CLIP, VALUE_CLIP, VALUE_WEIGHT, GAMMA, LAMBDA, BETA, ENTROPY = 0.7, 0.2, 0.2, 0.5, 0.97, 0.9, 0.15, 0.01


def random(*shape, scale=1.0):
    return (torch.randn(*shape, generator=generator) * scale).mul(1e4).round().div(1e4)


HEAD = random(1, base.config.hidden_size, scale=0.2)
LOGP_SHIFTS = [random(len(answer), scale=0.2) for answer in ANSWERS]
VALUE_SHIFTS = [random(len(answer), scale=0.3) for answer in ANSWERS]


def outputs(head):
    """Of each answer's tokens: log-probability, value of the state before, entropy there."""
    found = []
    for prompt, answer in zip((PROMPTS[at] for at in PROMPT_OF), ANSWERS):
        ids = torch.tensor([prompt + answer])
        causal = model.base_model.model
        states = causal.model(input_ids=ids, use_cache=False).last_hidden_state[0, len(prompt) - 1:-1]
        logps = F.log_softmax(causal.lm_head(states) / TEMPERATURE, -1)
        picked = logps.gather(1, torch.tensor(answer)[:, None])[:, 0]
        found.append((picked, (states @ head.T)[:, 0], -(logps.exp() * logps).sum(-1)))
    return found


def step(loss_name):
    head = HEAD.clone().requires_grad_(loss_name == "ppo")
    model.zero_grad()
    with torch.no_grad():
        now = outputs(head)
        with model.disable_adapter():
            ref = [logps for logps, _, _ in outputs(head)]
        old = [logps + shift for (logps, _, _), shift in zip(now, LOGP_SHIFTS)]
        old_values = [values + shift for (_, values, _), shift in zip(now, VALUE_SHIFTS)]
    kls = [a - b for a, b in zip(old, ref)]
    returns = None
    if loss_name == "ppo":
        advantages, returns = [], []
        for kl, values, score in zip(kls, old_values, SCORES):
            rewards = -BETA * kl
            rewards[-1] += score
            advantage, last = torch.zeros(len(kl)), 0.0
            for t in reversed(range(len(kl))):
                after = values[t + 1] if t + 1 < len(kl) else 0.0
                last = rewards[t] + GAMMA * after - values[t] + GAMMA * LAMBDA * last
                advantage[t] = last
            advantages.append(advantage)
            returns.append(advantage + values)
        flat = torch.cat(advantages)
        advantages = [(a - flat.mean()) / torch.sqrt(flat.var() + 1e-8) for a in advantages]
    else:
        per_answer = [0.0] * 4
        for group in ([0, 1], [2, 3]):
            if loss_name == "grpo":
                scores = torch.tensor([SCORES[i] for i in group])
                for i, a in zip(group, (scores - scores.mean()) / (scores.std() + 1e-4)):
                    per_answer[i] = a
            else:
                rewards = [SCORES[i] - BETA * kls[i].sum() for i in group]
                per_answer[group[0]], per_answer[group[1]] = rewards[0] - rewards[1], rewards[1] - rewards[0]
        advantages = [torch.full((len(answer),), float(a)) for a, answer in zip(per_answer, ANSWERS)]

    found = outputs(head)
    logps, values, entropies = (torch.cat(parts) for parts in zip(*found))
    old, old_values, ref, advantages = map(torch.cat, (old, old_values, ref, advantages))
    ratio = torch.exp(logps - old)
    policy = torch.max(-advantages * ratio, -advantages * torch.clamp(ratio, 1 - CLIP, 1 + CLIP)).mean()
    loss, value = policy - ENTROPY * entropies.mean(), None
    if loss_name == "ppo":
        target = torch.cat(returns)
        held = torch.clamp(values, old_values - VALUE_CLIP, old_values + VALUE_CLIP)
        value = 0.5 * torch.max((values - target) ** 2, (held - target) ** 2).mean()
        loss = loss + VALUE_WEIGHT * value
    if loss_name == "grpo":
        loss = loss + BETA * (torch.exp(ref - logps) - 1 - (ref - logps)).mean()
    loss.backward()
    norms = {name.replace("base_model.model.", "").replace(".default", ""): float(weight.grad.norm())
             for name, weight in model.named_parameters() if weight.grad is not None}
    if loss_name == "ppo":
        norms["value.weight"] = float(head.grad.norm())
    clipped = (-advantages * torch.clamp(ratio, 1 - CLIP, 1 + CLIP) > -advantages * ratio).double().mean()
    return {
        "loss": loss.item(), "policy_loss": policy.item(), "value_loss": value and value.item(),
        "clip_fraction": clipped.item(), "approximate_kl": (0.5 * (logps - old) ** 2).mean().item(),
        "kl": (old - ref).sum().item() / 4, "logps": [x.tolist() for x, _, _ in found],
        "gradient_norms": norms,
    }


print(json.dumps({
    "about": f"f64, eager attention, torch {torch.__version__.split('+')[0]}; made by ppo_step.py",
    "prompts": PROMPTS, "answers": ANSWERS, "prompt_of": PROMPT_OF, "scores": SCORES, "head": HEAD[0].tolist(),
    "logp_shifts": [x.tolist() for x in LOGP_SHIFTS], "value_shifts": [x.tolist() for x in VALUE_SHIFTS],
    "settings": dict(temperature=TEMPERATURE, clip=CLIP, value_clip=VALUE_CLIP, value_weight=VALUE_WEIGHT, gamma=GAMMA,
                     **{"lambda": LAMBDA}, kl_coefficient=BETA, entropy_weight=ENTROPY),
    "steps": {name: step(name) for name in ("ppo", "grpo", "rloo")},
}))
