//! An adapter's module merged into the layer that it changes: the weight and the bias that give, alone, what base and
//! module give together. Used by generation and by `laurel-trainer merge`.

use super::Module;
use candle_core::{DType, Result, Tensor};

/// In f32 whatever the base is in: bf16 would lose most of what the adapter adds. IA3's factors on outputs scale the
/// bias as well. Shapes: `(out, in)` and `(out,)`.
pub fn effective(
    weight: &Tensor,
    bias: Option<&Tensor>,
    module: &Module,
) -> Result<(Tensor, Option<Tensor>)> {
    let wide = weight.to_dtype(DType::F32)?;
    match module {
        Module::Lora { a, b, scaling } => {
            let change = (b.tensor().detach().matmul(&a.tensor().detach())? * *scaling)?;
            Ok(((wide + change)?, bias.cloned()))
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
