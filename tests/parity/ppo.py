"""What PPO, GRPO and RLOO compute, from PyTorch in f64, for trainer/tests/ppo.rs.

usage: ppo.py > trainer/tests/parity/golden/ppo.json     (needs torch; seconds on the CPU)

Each formula is written out here on padded tensors with masks, as TRL and OpenAI's lm-human-preferences write it; ours
has no padding. Answers are of unlike lengths, one of them a single token.
"""
import json

import torch

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(0)
LENGTHS = [5, 1, 7, 3]
N = max(LENGTHS)
mask = torch.arange(N)[None, :] < torch.tensor(LENGTHS)[:, None]
out = {"lengths": LENGTHS}


def random(*shape, scale=1.0):
    # Rounded, so that the file stays small and JSON loses nothing.
    return (torch.randn(*shape, generator=generator) * scale).mul(1e4).round().div(1e4)


def rows(padded):
    return [row[:n].tolist() for row, n in zip(padded, LENGTHS)]


def masked_whiten(values, shift_mean=True):
    picked = values[mask]
    mean, var = picked.mean(), picked.var(unbiased=True)
    whitened = (values - mean) * torch.rsqrt(var + 1e-8)
    return whitened if shift_mean else whitened + mean


# Generalised advantage estimation, backwards over padded tensors.
rewards, values = random(4, N) * mask, random(4, N) * mask
out["rewards"], out["values"] = rows(rewards), rows(values)
for name, gamma, lam in [("plain", 1.0, 0.95), ("discounted", 0.9, 0.5)]:
    last, reversed_ = torch.zeros(4), []
    for t in reversed(range(N)):
        next_values = values[:, t + 1] if t < N - 1 else torch.zeros(4)
        delta = rewards[:, t] + gamma * next_values - values[:, t]
        last = delta + gamma * lam * last
        reversed_.append(last)
    advantages = torch.stack(reversed_[::-1], 1)
    out[f"gae_{name}"] = {"gamma": gamma, "lambda": lam, "advantages": rows(advantages)}
returns = advantages + values
out["whitened"] = masked_whiten(advantages)[mask].tolist()
out["whitened_with_mean"] = masked_whiten(rewards, shift_mean=False)[mask].tolist()
out["advantages"], out["returns"] = advantages[mask].tolist(), returns[mask].tolist()
out["explained_variance"] = float(1 - (returns - values)[mask].var() / returns[mask].var())

# Divergence of a token, and the controller.
logps, ref_logps = random(6) - 2, random(6) - 2
k1 = logps - ref_logps
k3 = torch.exp(ref_logps - logps) - 1 - (ref_logps - logps)
out["kl"] = {"logps": logps.tolist(), "ref_logps": ref_logps.tolist(), "k1": k1.tolist(), "k3": k3.tolist()}
out["controller"] = []
for kl in [0.0, 5.5, 6.4, 40.0]:
    error = torch.clip(torch.tensor(kl / 6.0 - 1), -0.2, 0.2)
    out["controller"].append({"kl": kl, "beta": float(0.15 * (1 + error * 64 / 10000))})

# Advantages within a group.
group = random(5)
out["group"] = {
    "rewards": group.tolist(), "grpo": ((group - group.mean()) / (group.std() + 1e-4)).tolist(),
    "rloo": [float(group[i] - torch.cat([group[:i], group[i + 1:]]).mean()) for i in range(5)],
}

# The losses, with masked means over all tokens of a minibatch; advantages of both signs and ratios beyond the clip.
def leaf(tensor):
    return tensor.clone().requires_grad_(True)


def masked_mean(values):
    return (values * mask).sum() / mask.sum()


advantages, old_logps = random(4, N), random(4, N) - 2
logps = leaf(old_logps + random(4, N, scale=0.3))
ratio = torch.exp(logps - old_logps)
policy = masked_mean(torch.max(-advantages * ratio, -advantages * torch.clamp(ratio, 0.8, 1.2)))
policy.backward()
clipped = ((-advantages * torch.clamp(ratio, 0.8, 1.2) > -advantages * ratio) & mask).sum()
assert 3 < clipped < mask.sum() - 3
out["policy_loss"] = {
    "clip": 0.2, "logps": logps.detach()[mask].tolist(), "old_logps": old_logps[mask].tolist(),
    "advantages": advantages[mask].tolist(), "loss": policy.item(), "gradient": logps.grad[mask].tolist(),
}
old_values, returns = random(4, N), random(4, N)
values = leaf(old_values + random(4, N, scale=0.4))
held = torch.clamp(values, old_values - 0.2, old_values + 0.2)
value = 0.5 * masked_mean(torch.max((values - returns) ** 2, (held - returns) ** 2))
value.backward()
out["value_loss"] = {
    "clip": 0.2, "values": values.detach()[mask].tolist(), "old_values": old_values[mask].tolist(),
    "returns": returns[mask].tolist(), "loss": value.item(), "gradient": values.grad[mask].tolist(),
}
logps, ref_logps = leaf(random(4, N) - 2), random(4, N) - 2
kl = masked_mean(torch.exp(ref_logps - logps) - 1 - (ref_logps - logps))
kl.backward()
out["kl_loss"] = {
    "logps": logps.detach()[mask].tolist(), "ref_logps": ref_logps[mask].tolist(), "loss": kl.item(),
    "gradient": logps.grad[mask].tolist(),
}
print(json.dumps(out))
