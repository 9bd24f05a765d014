//! The adapter in the tensors of a file, which come one at a time: a layer's weight, or its bias.

use crate::adapters::{Adapter, Module, effective};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};

/// A tensor with the adapter in it, on the CPU; none where the adapter does not change it.
pub fn merged(adapter: &Adapter, name: &str, tensor: &Tensor) -> Result<Option<Tensor>> {
    let module = |path: Option<&str>| path.and_then(|path| adapter.modules.get(path));
    let (of_weight, of_bias) = (
        module(name.strip_suffix(".weight")),
        module(name.strip_suffix(".bias")),
    );
    let merged = match (of_weight, of_bias) {
        (Some(module), _) => effective(&tensor.to_device(device(module))?, None, module)?.0,
        (None, Some(module)) => bias(tensor, module)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(merged.to_device(&Device::Cpu)?))
}

/// What [`effective`] makes of a layer's bias, without its weight.
fn bias(bias: &Tensor, module: &Module) -> Result<Tensor> {
    match module {
        Module::Ia3 {
            factors,
            feed_forward: false,
        } => {
            let factors = factors.tensor().detach();
            let bias = bias.to_device(factors.device())?.to_dtype(DType::F32)?;
            Ok((bias * factors)?)
        }
        _ => Ok(bias.clone()),
    }
}

fn device(module: &Module) -> &Device {
    match module {
        Module::Lora { a, .. } => a.tensor().device(),
        Module::Ia3 { factors, .. } => factors.tensor().device(),
    }
}
