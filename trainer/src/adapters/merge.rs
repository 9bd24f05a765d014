//! What a linear layer's weight and bias become with an adapter in them. Used by generation and by `laurel-trainer merge`.

use super::{Module, low_rank};
use crate::ops::weight_norm;
use candle_core::{DType, Result, Tensor};

/// The layer with `module` in it: W + s · B A for LoRA, m / ‖W + s · B A‖ ⊙ (W + s · B A) by rows for DoRA, W with its
/// rows scaled, and the bias with them, or its columns, for IA3. In f32 where the base is in bf16, which would lose most
/// of what the adapter adds. Shapes: `(out, in)` and `(out,)`, also of the results.
pub fn effective(
    weight: &Tensor,
    bias: Option<&Tensor>,
    module: &Module,
) -> Result<(Tensor, Option<Tensor>)> {
    let wide = match weight.dtype() {
        DType::F64 => weight.clone(),
        _ => weight.to_dtype(DType::F32)?,
    };
    match module {
        Module::Lora {
            a,
            b,
            magnitude,
            scaling,
        } => {
            let low_rank = low_rank((a, b), *scaling, None);
            let turned = (&wide + (low_rank.b.matmul(&low_rank.a)? * low_rank.scaling)?)?;
            let turned = match magnitude {
                Some(magnitude) => {
                    let factors =
                        (magnitude.tensor().detach() / weight_norm(&wide.clone().into(), &low_rank)?)?;
                    turned.broadcast_mul(&factors.unsqueeze(1)?)?
                }
                None => turned,
            };
            Ok((turned, bias.cloned()))
        }
        Module::Ia3 {
            factors,
            feed_forward,
        } => {
            let factors = factors.tensor().detach();
            if *feed_forward {
                return Ok((wide.broadcast_mul(&factors)?, bias.cloned()));
            }
            let bias = bias.map(|bias| bias * &factors).transpose()?;
            Ok((wide.broadcast_mul(&factors.unsqueeze(1)?)?, bias))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::Adapter,
        model::{Linear, tiny},
        rng::Rng,
    };
    use laurel_protocol::adapter::{AdapterConfig, Ia3Config, LoraConfig};

    #[test]
    fn the_effective_layer_computes_what_layer_and_adapter_do() {
        let model = tiny::biased_model(0);
        let lora = LoraConfig {
            rank: 2,
            use_rslora: true,
            ..LoraConfig::default()
        };
        let dora = LoraConfig {
            use_dora: true,
            ..lora.clone()
        };
        let ia3 = Ia3Config {
            target_modules: "all-linear".into(),
            ..Ia3Config::default()
        };
        for config in [
            AdapterConfig::Lora(lora),
            AdapterConfig::Lora(dora),
            AdapterConfig::Ia3(ia3),
        ] {
            let adapter = Adapter::init(&config, &model, &Rng::new(1)).unwrap();
            tiny::disturb(&adapter, 0.3);
            for linear in model.linears() {
                let x = linear.weight.rows(&[0, 1, 2, 3, 4]).unwrap();
                let (weight, bias) = (linear.weight.to_dtype(DType::F32).unwrap(), linear.bias.as_ref());
                let module = &adapter.modules[&linear.path];
                let (weight, bias) = effective(&weight, bias, module).unwrap();
                let merged = Linear {
                    path: linear.path.clone(),
                    weight: weight.into(),
                    bias,
                };
                let ours = merged.forward(&x, None).unwrap();
                let difference = (ours - linear.forward(&x, Some(&adapter)).unwrap()).unwrap();
                let difference = difference.abs().unwrap().max_all().unwrap();
                let difference = difference.to_scalar::<f32>().unwrap();
                assert!(difference < 1e-5, "{config:?} {}: {difference}", linear.path);
            }
        }
    }
}
