//! What a round saves in memory changes nothing about its weights.

use super::*;
use candle_core::{DType, quantized::GgmlDType};

fn trained(spec: &RoundSpec, model: &Model) -> Vec<u8> {
    let out = tempfile::tempdir().unwrap();
    run(input(spec, model, out.path()), &mut Silent).unwrap();
    weights(out.path())
}

#[test]
fn gradient_checkpointing_trains_the_same_weights_bit_for_bit() {
    let model = tiny::model(0);
    for kind in [RoundKind::Sft, RoundKind::Reward, RoundKind::Dpo] {
        let mut spec = spec(kind);
        let whole = trained(&spec, &model);
        spec.hyper.gradient_checkpointing = true;
        assert_eq!(trained(&spec, &model), whole, "{kind:?}");
    }
}

#[test]
fn quantised_weights_train_what_their_numbers_train() {
    let quantised = tiny::wide(0).held(&|matrix| matrix.quantise(GgmlDType::Q5_0).unwrap());
    let numbers = quantised.held(&|matrix| matrix.to_dtype(DType::F32).unwrap().into());
    for kind in [RoundKind::Reward, RoundKind::Dpo] {
        let spec = spec(kind);
        assert_eq!(trained(&spec, &quantised), trained(&spec, &numbers), "{kind:?}");
    }
}
