//! The fields of a new round's form that are no hyper-parameter in a number field.

use crate::{components::field::Field, words::t};
use laurel_protocol::RoundKind;

pub const KIND: Field = Field {
    name: "kind",
    label: "Kind",
    help: "",
    hook: "round-kind",
};
pub const LOSS: Field = Field {
    name: "hyper.loss",
    label: "Loss",
    help: "",
    hook: "round-loss",
};
pub const MARGIN: Field = Field {
    name: "hyper.margin",
    label: "Margin",
    help: "How much higher the chosen answer is to score.",
    hook: "round-margin",
};
pub const ROW_WEIGHTS: Field = Field {
    name: "hyper.row_weights",
    label: "Annotations count",
    help: "By reliability: who often contradicts what the others make likely counts less, a coin nothing.",
    hook: "round-row-weights",
};
pub const BATCH_BY: Field = Field {
    name: "hyper.batch_by",
    label: "A batch counts",
    help: "Whole rankings weigh the same, however many pairs they have.",
    hook: "round-batch-by",
};
pub const KEEP: Field = Field {
    name: "hyper.keep",
    label: "Keep",
    help: "Which weights become the adapter.",
    hook: "round-keep",
};
pub const PRECISION: Field = Field {
    name: "hyper.precision",
    label: "Precision of the base model",
    help: "bf16 halves its memory; meant for CPUs with AVX-512 BF16. Quantised takes the least and is a little slower.",
    hook: "round-precision",
};
pub const CHECKPOINTING: Field = Field {
    name: "hyper.gradient_checkpointing",
    label: "Gradient checkpointing",
    help: "Computes each block twice: a fraction of the memory for about a third more time, and the same weights.",
    hook: "round-gradient-checkpointing",
};
pub const NAME: Field = Field {
    name: "name",
    label: "Name",
    help: "Empty: one is made up.",
    hook: "round-name",
};
pub const START: Field = Field {
    name: "starting_adapter",
    label: "Start from",
    help: "DPO and PPO hold the model to a frozen copy of this.",
    hook: "round-adapter",
};
pub const SCHEDULE: Field = Field {
    name: "hyper.schedule",
    label: "After the warm-up",
    help: "",
    hook: "round-schedule",
};
pub const RANK: Field = Field {
    name: "adapter.rank",
    label: "LoRA rank",
    help: "1 to 256. Taken from the starting adapter where there is one.",
    hook: "round-rank",
};
pub const ALPHA: Field = Field {
    name: "adapter.alpha",
    label: "LoRA alpha",
    help: "Above 0, at most 1024.",
    hook: "round-alpha",
};
pub const DROPOUT: Field = Field {
    name: "adapter.dropout",
    label: "LoRA dropout",
    help: "Share of LoRA's inputs left out while training, 0 to 0.9. Most rounds need none.",
    hook: "round-dropout",
};
pub const USE_RSLORA: Field = Field {
    name: "adapter.use_rslora",
    label: "rs-LoRA",
    help: "Scales by alpha / √rank, so that high ranks learn as fast. Taken from the starting adapter where there is one.",
    hook: "round-rslora",
};
pub const USE_DORA: Field = Field {
    name: "adapter.use_dora",
    label: "DoRA",
    help: "Trains the length of each weight row apart from its direction. Slower; taken from the starting adapter where there is one.",
    hook: "round-dora",
};
pub const KL_ESTIMATOR: Field = Field {
    name: "hyper.ppo.kl_estimator",
    label: "KL estimate",
    help: "k1 is the log-ratio itself; k3 is never negative and varies less.",
    hook: "round-kl-estimator",
};
pub const TARGET_REWARD: Field = Field {
    name: "hyper.ppo.target_reward",
    label: "Target score",
    help: "Ends the round once the mean score of the held-out prompts is so high; empty never.",
    hook: "round-target-reward",
};
pub const WHITEN: Field = Field {
    name: "hyper.ppo.whiten_rewards",
    label: "Whiten rewards",
    help: "Divides the rewards of a step's tokens by their deviation.",
    hook: "round-whiten-rewards",
};
pub const NORMALISE: Field = Field {
    name: "hyper.ppo.normalise_rewards",
    label: "Normalise scores",
    help: "Shifts and scales scores to mean 0 and deviation 1 by all so far.",
    hook: "round-normalise-rewards",
};
pub const REWARD: Field = Field {
    name: "reward",
    label: "Scored by",
    help: "",
    hook: "round-reward",
};
pub const REWARD_ADAPTER: Field = Field {
    name: "reward_adapter",
    label: "Reward model",
    help: "What a reward round of this project made.",
    hook: "round-reward-adapter",
};
pub const REWARD_TARGET: Field = Field {
    name: "reward.target",
    label: "Tokens an answer is to have",
    help: "1 to 2048. The score falls with the distance from it.",
    hook: "round-reward-target",
};
pub const REWARD_PATTERN: Field = Field {
    name: "reward.pattern",
    label: "Regular expression",
    help: "An answer in which it matches scores 1, any other 0.",
    hook: "round-reward-pattern",
};
pub const REWARD_URL: Field = Field {
    name: "reward.url",
    label: "Address of the service",
    help: "The trainer sends it prompts and completions, and it answers with scores (docs/TRAINING.md).",
    hook: "round-reward-url",
};
pub const REWARD_TIMEOUT: Field = Field {
    name: "reward.timeout_seconds",
    label: "Longest wait, in seconds",
    help: "For one answer of the service, 1 to 600.",
    hook: "round-reward-timeout",
};
pub const SEED: Field = Field {
    name: "seed",
    label: "Seed",
    help: "The same seed and data give the same weights.",
    hook: "round-seed",
};

pub fn kind_help(kind: RoundKind) -> &'static str {
    match kind {
        RoundKind::Sft => {
            t("Supervised fine-tuning on the chosen answers: the model learns to write like them.")
        }
        RoundKind::Reward => t("A reward model: it learns to score answers as people would."),
        RoundKind::Dpo => t(
            "Direct preference optimisation: the model learns to prefer the chosen over the rejected answer.",
        ),
        RoundKind::Ppo => t(
            "Reinforcement learning: the model answers the prompts itself and learns from how its answers are scored.",
        ),
    }
}
