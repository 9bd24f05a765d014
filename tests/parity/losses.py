"""Values and gradients of every loss from PyTorch in f64, for trainer/tests/losses.rs.

usage: losses.py > trainer/tests/parity/golden/losses.json     (needs torch and trl; seconds on the CPU)

Each loss is written out here from its paper. Where TRL has it too, TRL's own function is run on the same numbers and
must agree, or the script fails; the field "trl" names it. TRL computes ORPO in f32, so there it agrees to 1e-6.
"""
import json, math, sys
from collections import defaultdict
from types import SimpleNamespace

import torch, torch.nn.functional as F
import trl
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_trainer import RewardTrainer
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(0)
cases = []


def random(*shape, scale=1.0):
    # Rounded, so that the file stays small and JSON loses nothing.
    return (torch.randn(*shape, generator=generator) * scale).mul(1e4).round().div(1e4)


def case(name, loss, inputs, settings, trl_loss=None, trl_name="", tolerance=1e-12):
    """`loss` of leaf tensors `inputs`; a gradient for each that is a float with requires_grad."""
    leaves = {key: value.clone().requires_grad_(key in loss.trained) for key, value in inputs.items()}
    value = loss(leaves, **settings)
    value.backward()
    if trl_loss is not None:
        theirs = float(trl_loss({key: value.detach().clone() for key, value in leaves.items()}, **settings))
        assert abs(theirs - value.item()) <= tolerance * max(1.0, abs(value.item())), (name, theirs, value.item())
    cases.append({
        "name": name, "settings": settings, "trl": trl_name,
        "inputs": {key: value.tolist() for key, value in inputs.items()},
        "loss": value.item(), "gradients": {key: leaves[key].grad.tolist() for key in loss.trained},
    })


def of(*trained):
    def mark(function):
        function.trained = trained
        return function
    return mark


def ratios(it):
    return it["chosen"] - it["ref_chosen"], it["rejected"] - it["ref_rejected"]


def smoothed(x, eps):
    return -(1 - eps) * F.logsigmoid(x) - eps * F.logsigmoid(-x)


# DPO's family

@of("chosen", "rejected")
def sigmoid(it, beta, smoothing):
    chosen, rejected = ratios(it)
    return smoothed(beta * (chosen - rejected), smoothing).mean()


@of("chosen", "rejected")
def sigmoid_norm(it, beta, smoothing):
    chosen, rejected = ratios(it)
    return smoothed(beta * (chosen / it["chosen_tokens"] - rejected / it["rejected_tokens"]), smoothing).mean()


@of("chosen", "rejected")
def hinge(it, beta):
    chosen, rejected = ratios(it)
    return torch.relu(1 - beta * (chosen - rejected)).mean()


@of("chosen", "rejected")
def ipo(it, beta):
    chosen, rejected = ratios(it)
    return (chosen / it["chosen_tokens"] - rejected / it["rejected_tokens"] - 1 / (2 * beta)).pow(2).mean()


@of("chosen", "rejected")
def robust(it, beta, smoothing):
    chosen, rejected = ratios(it)
    x = beta * (chosen - rejected)
    return ((-(1 - smoothing) * F.logsigmoid(x) + smoothing * F.logsigmoid(-x)) / (1 - 2 * smoothing)).mean()


def trl_dpo(loss_type):
    """DPOTrainer._compute_loss on a model that gives token log-probabilities which sum to ours."""
    def run(it, beta, smoothing=0.0):
        n_tokens = torch.cat([it["chosen_tokens"], it["rejected_tokens"]]).long()
        logps = torch.cat([it["chosen"], it["rejected"]])
        width = int(n_tokens.max()) + 1
        mask = torch.zeros(len(logps), width, dtype=torch.long)
        per_token = torch.zeros(len(logps), width - 1)
        for row, n in enumerate(n_tokens):
            mask[row, 1:n + 1] = 1
            per_token[row, :n] = logps[row] / n
        zeros = torch.zeros_like(per_token)
        outputs = SimpleNamespace(log_probs=per_token, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
        accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)

        class Model(SimpleNamespace):
            def __call__(self, **_):
                return outputs
        trainer = SimpleNamespace(
            model=Model(training=True), accelerator=accelerator, aux_loss_enabled=False, ld_alpha=None,
            precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=[loss_type], loss_weights=[1.0],
            beta=beta, label_smoothing=smoothing, use_weighting=False, _total_train_tokens=0, _tp_size=1,
            _metrics=defaultdict(lambda: defaultdict(list)))
        inputs = {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask,
                  "ref_chosen_logps": it["ref_chosen"], "ref_rejected_logps": it["ref_rejected"]}
        return DPOTrainer._compute_loss(trainer, trainer.model, inputs, False)
    return run


n = 8
policy = {
    "chosen": -60 + random(n, scale=8), "rejected": -70 + random(n, scale=8),
    "chosen_tokens": torch.tensor([30.0, 12, 41, 7, 25, 33, 3, 18]),
    "rejected_tokens": torch.tensor([22.0, 35, 9, 14, 28, 6, 40, 11]),
}
policy["ref_chosen"] = policy["chosen"] + random(n, scale=6)
policy["ref_rejected"] = policy["rejected"] + random(n, scale=6)
for beta in (0.1, 0.5):
    case("sigmoid", sigmoid, policy, {"beta": beta, "smoothing": 0.0}, trl_dpo("sigmoid"), "DPOTrainer, sigmoid")
    case("sigmoid_norm", sigmoid_norm, policy, {"beta": 10 * beta, "smoothing": 0.0}, trl_dpo("sigmoid_norm"), "DPOTrainer, sigmoid_norm")
    case("hinge", hinge, policy, {"beta": beta}, trl_dpo("hinge"), "DPOTrainer, hinge")
    case("ipo", ipo, policy, {"beta": beta}, trl_dpo("ipo"), "DPOTrainer, ipo")
    case("robust", robust, policy, {"beta": beta, "smoothing": 0.2}, trl_dpo("robust"), "DPOTrainer, robust")
case("sigmoid", sigmoid, policy, {"beta": 0.1, "smoothing": 0.15})
case("sigmoid_norm", sigmoid_norm, policy, {"beta": 2.0, "smoothing": 0.15})

# At the first step policy and reference are the same.
start = {**policy, "ref_chosen": policy["chosen"].clone(), "ref_rejected": policy["rejected"].clone()}
case("sigmoid", sigmoid, start, {"beta": 0.1, "smoothing": 0.0}, trl_dpo("sigmoid"), "DPOTrainer, sigmoid")
case("hinge", hinge, start, {"beta": 0.1}, trl_dpo("hinge"), "DPOTrainer, hinge")
case("ipo", ipo, start, {"beta": 0.1}, trl_dpo("ipo"), "DPOTrainer, ipo")


# Without a reference

@of("chosen", "rejected")
def simpo(it, beta, gamma, smoothing):
    return smoothed(beta * (it["chosen"] - it["rejected"]) - gamma, smoothing).mean()


@of("chosen", "rejected")
def orpo(it):
    def log_odds(m):
        return m - torch.log1p(-torch.exp(m))
    return -F.logsigmoid(log_odds(it["chosen"]) - log_odds(it["rejected"])).mean()


def trl_simpo(it, beta, gamma, smoothing):
    trainer = SimpleNamespace(alpha=0.0, loss_type="simpo", simpo_gamma=gamma, beta=beta, label_smoothing=smoothing,
                              accelerator=SimpleNamespace(device="cpu"))
    return CPOTrainer.cpo_loss(trainer, it["chosen"], it["rejected"])[0].mean()


def trl_orpo(it):
    trainer = SimpleNamespace(beta=1.0, accelerator=SimpleNamespace(device="cpu"))
    return -ORPOTrainer.odds_ratio_loss(trainer, it["chosen"], it["rejected"])[0].mean()


means = {"chosen": -random(n).abs() - 0.3, "rejected": -random(n).abs() - 0.5}
means["chosen"][0] = -0.001
case("simpo", simpo, means, {"beta": 2.0, "gamma": 1.0, "smoothing": 0.0}, trl_simpo, "CPOTrainer, simpo")
case("simpo", simpo, means, {"beta": 2.5, "gamma": 0.4, "smoothing": 0.1}, trl_simpo, "CPOTrainer, simpo")
case("orpo", orpo, means, {}, trl_orpo, "ORPOTrainer, odds_ratio_loss", tolerance=1e-6)


# Reward models

@of("chosen", "rejected")
def bradley_terry(it, smoothing):
    return (smoothed(it["chosen"] - it["rejected"] - it["margin"], smoothing) * it["weight"]).sum()


@of("chosen", "rejected")
def centred(it, coefficient):
    loss = -F.logsigmoid(it["chosen"] - it["rejected"] - it["margin"])
    return ((loss + coefficient * (it["chosen"] + it["rejected"]) ** 2) * it["weight"]).sum()


@of("chosen", "rejected")
def rao_kupper(it, threshold):
    # In strengths p = e^r, as the paper has it.
    p, q, theta = torch.exp(it["chosen"] - it["margin"]), torch.exp(it["rejected"]), math.exp(threshold)
    strict = p / (p + theta * q)
    tie = (theta ** 2 - 1) * p * q / ((p + theta * q) * (theta * p + q))
    return -(torch.where(it["tie"] == 1, tie, strict).log() * it["weight"]).sum()


@of("chosen", "rejected")
def davidson(it, nu):
    p, q = torch.exp(it["chosen"] - it["margin"]), torch.exp(it["rejected"])
    z = p + q + nu * (p * q).sqrt()
    return -(torch.where(it["tie"] == 1, nu * (p * q).sqrt() / z, p / z).log() * it["weight"]).sum()


def trl_reward(coefficient):
    """RewardTrainer.compute_loss on a model whose logits are our scores; equal weights only."""
    def run(it, **_):
        logits = torch.cat([it["chosen"], it["rejected"]])[:, None]
        accelerator = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x)
        trainer = SimpleNamespace(model=SimpleNamespace(training=False), accelerator=accelerator,
                                  args=SimpleNamespace(center_rewards_coefficient=coefficient), _total_train_tokens=0,
                                  _metrics=defaultdict(lambda: defaultdict(list)))
        inputs = {"margin": it["margin"]}
        return RewardTrainer.compute_loss(trainer, lambda **_: SimpleNamespace(logits=logits), inputs)
    return run


scores = {
    "chosen": random(n, scale=2), "rejected": random(n, scale=2), "margin": random(n).abs(),
    "tie": torch.zeros(n), "weight": torch.full((n,), 1 / n),
}
case("bradley_terry", bradley_terry, scores, {"smoothing": 0.0}, trl_reward(None), "RewardTrainer, margin")
case("bradley_terry", bradley_terry, scores, {"smoothing": 0.1})
case("centred", centred, scores, {"coefficient": 0.01}, trl_reward(0.01), "RewardTrainer, margin, center_rewards_coefficient")
tied = {**scores, "margin": torch.zeros(n), "tie": torch.tensor([0.0, 1, 0, 0, 1, 1, 0, 0])}
for share in (0.1, 0.5):
    case("rao_kupper", rao_kupper, tied, {"threshold": 2 * math.atanh(share)})
    case("davidson", davidson, tied, {"nu": 2 * share / (1 - share)})
equal = {**tied, "rejected": tied["chosen"].clone()}
case("rao_kupper", rao_kupper, equal, {"threshold": 2 * math.atanh(0.3)})
case("davidson", davidson, equal, {"nu": 0.6 / 0.7})


# K-wise: rankings of 4 and of 3 completions, best first, each the mean over its pairs.

@of("scores")
def k_wise(it, sizes):
    loss, at = 0, 0
    for size in sizes:
        ranking = it["scores"][at:at + size]
        pairs = [-F.logsigmoid(ranking[i] - ranking[j]) for i in range(size) for j in range(i + 1, size)]
        loss, at = loss + torch.stack(pairs).mean() / len(sizes), at + size
    return loss


@of("scores")
def plackett_luce(it, sizes):
    loss, at = 0, 0
    for size in sizes:
        ranking = it["scores"][at:at + size]
        for i in range(size - 1):
            loss = loss - (ranking[i] - torch.logsumexp(ranking[i:], 0)) / len(sizes)
        at += size
    return loss


for function in (k_wise, plackett_luce):
    case(function.__name__, function, {"scores": random(7, scale=2)}, {"sizes": [4, 3]})

# Answers that are judged one by one: KTO, with z0 from other log-probabilities, and APO-zero.

@of("logps")
def kto(it, beta, kl, weights):
    ratio = it["logps"] - it["ref_logps"]
    loss = torch.where(it["sign"] == 1, 1 - torch.sigmoid(beta * (ratio - kl)), 1 - torch.sigmoid(beta * (kl - ratio)))
    return (loss * it["weight"]).sum()


def per_token(logps, n_tokens):
    """A model's answer: token log-probabilities that sum to `logps`, with the mask of the completions."""
    mask = torch.zeros(len(logps), max(n_tokens) + 1, dtype=torch.long)
    values = torch.zeros(len(logps), max(n_tokens))
    for row, n in enumerate(n_tokens):
        mask[row, 1:n + 1] = 1
        values[row, :n] = logps[row] / n
    zeros = torch.zeros_like(values)
    return SimpleNamespace(log_probs=values, entropy=zeros, mean_logits=zeros), mask


def trl_kto(loss_type, mismatched=None):
    """KTOTrainer._compute_loss; `mismatched` are the log-probabilities of the KL completions, by policy and reference."""
    def run(it, beta, kl, weights):
        n_tokens = [4, 9, 3, 11, 6, 2, 8, 5][:len(it["logps"])]
        outputs, mask = per_token(it["logps"], n_tokens)
        inputs = {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask,
                  "label": it["sign"] == 1, "ref_logps": it["ref_logps"]}
        answers = [outputs]
        if mismatched is not None:
            kl_outputs, kl_mask = per_token(mismatched[0], n_tokens)
            inputs |= {"KL_input_ids": torch.ones_like(mask), "KL_attention_mask": torch.ones_like(mask),
                       "KL_completion_mask": kl_mask, "ref_KL_logps": mismatched[1]}
            answers.insert(0, kl_outputs)
        accelerator = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x)
        metrics = defaultdict(lambda: defaultdict(list))
        trainer = SimpleNamespace(
            accelerator=accelerator, aux_loss_enabled=False, precompute_ref_logps=True, loss_type=loss_type, beta=beta,
            calculate_KL=mismatched is not None, desirable_weight=weights[0], undesirable_weight=weights[1],
            model=SimpleNamespace(training=True), _total_train_tokens=0, _tp_size=1, _metrics=metrics)
        model = lambda **_: answers.pop(0)
        trainer._compute_kl_logps = lambda model, batch: (
            KTOTrainer._compute_kl_logps(trainer, model, batch) if mismatched is not None else None)
        model_answer = KTOTrainer._compute_loss(trainer, model, inputs, False)
        assert abs(metrics["train"]["kl"][0] - kl) < 1e-9, (metrics["train"]["kl"], kl)
        return model_answer
    return run


def judged(sign, weights):
    sign = torch.tensor(sign)
    answers = {"logps": -60 + random(len(sign), scale=8), "sign": sign,
               "weight": torch.where(sign == 1, *weights) / len(sign)}
    answers["ref_logps"] = answers["logps"] + random(len(sign), scale=6)
    return answers


both = [1.0, -1, -1, 1, 1, -1, 1, -1]
for sign, beta, weights, shift in ((both, 0.1, (1.0, 1.0), 1.5), (both, 0.5, (1.3, 0.8), -2.0), ([1.0] * 5, 0.1, (1.0, 1.0), 4.0), ([-1.0] * 5, 0.1, (1.0, 2.0), 4.0)):
    answers = judged(sign, weights)
    mismatched = (random(len(sign), scale=8) - 50, None)
    mismatched = (mismatched[0], mismatched[0] + random(len(sign), scale=3) - shift)
    kl = max(0.0, float((mismatched[0] - mismatched[1]).mean()))
    case("kto", kto, answers, {"beta": beta, "kl": kl, "weights": weights}, trl_kto("kto", mismatched), "KTOTrainer, kto")
answers = judged(both, (1.0, 1.5))
case("kto", kto, answers, {"beta": 0.1, "kl": 0.0, "weights": (1.0, 1.5)}, trl_kto("apo_zero_unpaired"), "KTOTrainer, apo_zero_unpaired")

about = f"f64, torch {torch.__version__}, trl {trl.__version__}; made by tests/parity/losses.py"
sys.stdout.write('{"about": ' + json.dumps(about) + ', "cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}\n")
