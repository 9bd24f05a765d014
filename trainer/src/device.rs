//! Where the tensors live: `--device auto|cpu|cuda:N|metal`, from the command line to a candle device.

use anyhow::{Context, Result, bail};
use candle_core::Device;

/// Opens the device that `name` asks for. `auto` takes a GPU where this build and machine have one.
pub fn open(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(auto()),
        "metal" => Device::new_metal(0).context("open the Metal device (is this build made with it?)"),
        _ => {
            let Some(index) = name.strip_prefix("cuda").map(|rest| rest.trim_start_matches(':')) else {
                bail!("unknown device {name:?}: use auto, cpu, cuda:N or metal");
            };
            let index: usize = match index {
                "" => 0,
                digits => digits
                    .parse()
                    .with_context(|| format!("device {name:?}: N is not a number"))?,
            };
            Device::new_cuda(index).with_context(|| {
                format!("open CUDA device {index} (is this build made with the feature cuda?)")
            })
        }
    }
}

fn auto() -> Device {
    if candle_core::utils::cuda_is_available()
        && let Ok(device) = Device::new_cuda(0)
    {
        return device;
    }
    if candle_core::utils::metal_is_available()
        && let Ok(device) = Device::new_metal(0)
    {
        return device;
    }
    Device::Cpu
}

/// The name that is reported to the server, for example `cuda:0`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_device_is_refused_by_name() {
        assert!(open("tpu").unwrap_err().to_string().contains("tpu"));
        assert_eq!(name(&open("cpu").unwrap()), "cpu");
    }
}
