//! An adapter's module merged into the layer that it changes: the weight and the bias that give, alone, what base and
//! module give together. Used by generation and by `laurel-trainer merge`.

use super::Module;
use candle_core::{DType, Device, Result, Tensor};

impl Module {
    pub fn device(&self) -> &Device {
        match self {
            Self::Lora { a, .. } => a.tensor().device(),
            Self::Ia3 { factors, .. } => factors.tensor().device(),
        }
    }

    /// The layer's weight with the module in it. In f32 whatever the base is in: bf16 would lose most of what the
    /// adapter adds. Shape: `(out, in)`
    pub fn merged_weight(&self, weight: &Tensor) -> Result<Tensor> {
        let weight = weight.to_dtype(DType::F32)?;
        match self {
            Self::Lora { a, b, scaling } => {
                weight + (b.tensor().detach().matmul(&a.tensor().detach())? * *scaling)?
            }
            Self::Ia3 {
                factors,
                feed_forward: true,
            } => weight.broadcast_mul(&factors.tensor().detach()),
            Self::Ia3 {
                factors,
                feed_forward: false,
            } => weight.broadcast_mul(&factors.tensor().detach().unsqueeze(1)?),
        }
    }

    /// The layer's bias with the module in it: IA3's factors on outputs scale the bias as well. Shape: `(out,)`
    pub fn merged_bias(&self, bias: &Tensor) -> Result<Tensor> {
        match self {
            Self::Ia3 {
                factors,
                feed_forward: false,
            } => bias.to_dtype(DType::F32)? * factors.tensor().detach(),
            _ => Ok(bias.clone()),
        }
    }
}
