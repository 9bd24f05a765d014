//! Frozen matrices of the base model, as they are held in memory: in f32 or bf16, or in the blocks of a GGUF file,
//! which are de-quantised where a product needs them (the idea of QLoRA, Dettmers et al. 2023, arXiv:2305.14314).
//!
//! A product takes a quantised matrix panel by panel: some rows at a time become f32 in a scratch buffer of limited
//! size, and the f32 kernels multiply them. A row of the matrix is a whole number of blocks.
#![allow(unsafe_code)]

use candle_core::{
    DType, Device, Result, Tensor, bail,
    quantized::{
        GgmlDType, GgmlType, QTensor,
        k_quants::{
            BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
            BlockQ8_0, BlockQ8K,
        },
    },
};
use half::{bf16, f16};
use rayon::prelude::*;
use std::{borrow::Cow, cell::Cell, sync::Arc};

/// Numbers of a panel at most, unless a row has more: 16 MB.
pub const PANEL: usize = 4 << 20;
/// Rows of a panel that one task de-quantises.
const TASK_ROWS: usize = 32;
/// How many numbers name a matrix ([`Matrix::first_numbers`]).
pub const FIRST_NUMBERS: usize = 1024;

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A frozen weight, `(out, in)`. Cheap to clone.
#[derive(Clone)]
pub struct Matrix {
    pub(super) held: Held,
    /// The first numbers as the file had them, where they were rounded since.
    first: Option<Arc<[f32]>>,
}

#[derive(Clone)]
pub(super) enum Held {
    Tensor(Tensor),
    Blocks(Arc<Blocks>),
}

/// A matrix in the blocks of a GGUF file.
pub(super) struct Blocks {
    tensor: QTensor,
    pub rows: usize,
    pub columns: usize,
    device: Device,
}

impl From<Tensor> for Matrix {
    fn from(tensor: Tensor) -> Self {
        Self {
            held: Held::Tensor(tensor),
            first: None,
        }
    }
}

impl Matrix {
    /// Keeps the blocks as they are.
    pub fn from_blocks(tensor: QTensor) -> Result<Self> {
        let (rows, columns) = tensor.shape().dims2()?;
        let device = tensor.device();
        if device.is_cpu() && fill_of(tensor.dtype()).is_none() {
            bail!("weights in {:?} cannot be kept quantised", tensor.dtype());
        }
        let blocks = Blocks {
            tensor,
            rows,
            columns,
            device,
        };
        Ok(Self {
            held: Held::Blocks(Arc::new(blocks)),
            first: None,
        })
    }

    /// The same rounded to bf16.
    pub fn to_bf16(&self) -> Result<Self> {
        Ok(Self {
            held: Held::Tensor(self.to_dtype(DType::BF16)?),
            first: Some(self.first_numbers()?),
        })
    }

    /// The same in blocks of another type; its rows must be whole numbers of them.
    pub fn quantise(&self, dtype: GgmlDType) -> Result<Self> {
        let blocks = QTensor::quantize(&self.to_dtype(DType::F32)?, dtype)?;
        Ok(Self {
            first: Some(self.first_numbers()?),
            ..Self::from_blocks(blocks)?
        })
    }

    pub fn dims(&self) -> &[usize] {
        match &self.held {
            Held::Tensor(tensor) => tensor.dims(),
            Held::Blocks(blocks) => blocks.tensor.shape().dims(),
        }
    }

    pub fn dims2(&self) -> Result<(usize, usize)> {
        match &self.held {
            Held::Tensor(tensor) => tensor.dims2(),
            Held::Blocks(blocks) => Ok((blocks.rows, blocks.columns)),
        }
    }

    pub fn dim(&self, at: usize) -> Result<usize> {
        let (rows, columns) = self.dims2()?;
        Ok(if at == 0 { rows } else { columns })
    }

    pub fn device(&self) -> &Device {
        match &self.held {
            Held::Tensor(tensor) => tensor.device(),
            Held::Blocks(blocks) => &blocks.device,
        }
    }

    /// The numbers, unless they are quantised.
    pub(super) fn as_tensor(&self) -> Option<&Tensor> {
        match &self.held {
            Held::Tensor(tensor) => Some(tensor),
            Held::Blocks(_) => None,
        }
    }

    /// Whether it is held in f32 or a finer type, so that a sum with it loses nothing.
    pub fn is_full(&self) -> bool {
        matches!(&self.held, Held::Tensor(tensor) if tensor.dtype() != DType::BF16)
    }

    /// What it takes in memory.
    pub fn n_bytes(&self) -> usize {
        match &self.held {
            Held::Tensor(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
            Held::Blocks(blocks) => blocks.tensor.storage_size_in_bytes(),
        }
    }

    /// All its numbers as a tensor; a copy unless it is held so.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        match &self.held {
            Held::Tensor(tensor) => tensor.to_dtype(dtype),
            Held::Blocks(blocks) => blocks.dequantise()?.to_dtype(dtype),
        }
    }

    /// Some rows, in f32 where it is quantised. Shapes: `(indices,)` to `(indices, in)`.
    pub fn rows(&self, indices: &[u32]) -> Result<Tensor> {
        match &self.held {
            Held::Tensor(tensor) => tensor.index_select(&Tensor::new(indices, tensor.device())?, 0),
            Held::Blocks(blocks) if blocks.device.is_cpu() => {
                let n = blocks.columns;
                let mut numbers = vec![0.0; indices.len() * n];
                for (&row, numbers) in indices.iter().zip(numbers.chunks_exact_mut(n.max(1))) {
                    if row as usize >= blocks.rows {
                        bail!("row {row} of a matrix of {} rows", blocks.rows);
                    }
                    blocks.fill(row as usize, numbers);
                }
                Tensor::from_vec(numbers, (indices.len(), n), &Device::Cpu)
            }
            Held::Blocks(blocks) => {
                let indices = Tensor::new(indices, &blocks.device)?;
                blocks.dequantise()?.index_select(&indices, 0)
            }
        }
    }

    /// Up to [`FIRST_NUMBERS`] of its numbers as the file had them: they name the matrix.
    pub fn first_numbers(&self) -> Result<Arc<[f32]>> {
        if let Some(first) = &self.first {
            return Ok(first.clone());
        }
        let (rows, columns) = self.dims2()?;
        let n = FIRST_NUMBERS.min(rows * columns);
        let indices: Vec<u32> = (0..n.div_ceil(columns.max(1)) as u32).collect();
        let numbers = self.rows(&indices)?.flatten_all()?.narrow(0, 0, n)?;
        Ok(numbers.to_dtype(DType::F32)?.to_vec1()?.into())
    }
}

pub(super) type Fill = fn(&[u8], &mut [f32]);

/// De-quantises whole blocks; none for types that candle does not de-quantise.
pub(super) fn fill_of(dtype: GgmlDType) -> Option<Fill> {
    Some(match dtype {
        GgmlDType::F32 => fill::<f32>,
        GgmlDType::F16 => fill::<f16>,
        GgmlDType::BF16 => fill::<bf16>,
        GgmlDType::Q4_0 => fill::<BlockQ4_0>,
        GgmlDType::Q4_1 => fill::<BlockQ4_1>,
        GgmlDType::Q5_0 => fill::<BlockQ5_0>,
        GgmlDType::Q5_1 => fill::<BlockQ5_1>,
        GgmlDType::Q8_0 => fill::<BlockQ8_0>,
        GgmlDType::Q2K => fill::<BlockQ2K>,
        GgmlDType::Q3K => fill::<BlockQ3K>,
        GgmlDType::Q4K => fill::<BlockQ4K>,
        GgmlDType::Q5K => fill::<BlockQ5K>,
        GgmlDType::Q6K => fill::<BlockQ6K>,
        GgmlDType::Q8K => fill::<BlockQ8K>,
        // A type of activations: candle has no way back.
        GgmlDType::Q8_1 => return None,
    })
}

fn fill<T: GgmlType>(bytes: &[u8], numbers: &mut [f32]) {
    // SAFETY: the bytes are blocks of a `Vec<T>` that candle holds, and blocks are plain numbers, of which every bit
    // pattern is one.
    let (before, blocks, after) = unsafe { bytes.align_to::<T>() };
    assert!(before.is_empty() && after.is_empty(), "whole blocks");
    T::to_float(blocks, numbers);
}

impl Blocks {
    /// De-quantises rows from `first` on, as many as `numbers` has place for. In main memory only.
    pub fn fill(&self, first: usize, numbers: &mut [f32]) {
        let n_rows = numbers.len() / self.columns.max(1);
        let bytes = self.tensor.data().expect("blocks in main memory can be read");
        let fill = fill_of(self.tensor.dtype()).expect("the type was checked when the matrix was made");
        let row = bytes.len() / self.rows.max(1);
        fill(&bytes[first * row..(first + n_rows) * row], numbers);
    }

    /// The type and the blocks of all rows, where they are in main memory.
    pub fn bytes(&self) -> Option<(GgmlDType, &[u8])> {
        match self.tensor.data() {
            Ok(Cow::Borrowed(bytes)) => Some((self.tensor.dtype(), bytes)),
            _ => None,
        }
    }

    /// Hands all rows to `body`, a panel at a time: the first row's number, and the rows in f32. In main memory only.
    pub fn panels(&self, mut body: impl FnMut(usize, &[f32])) {
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        let n_panels = (self.rows * self.columns).div_ceil(PANEL);
        let panel = self
            .rows
            .div_ceil(n_panels)
            .next_multiple_of(TASK_ROWS)
            .min(self.rows);
        // Taken out, since a task that this thread picks up meanwhile may want one too.
        let mut scratch = SCRATCH.take();
        let length = panel * self.columns;
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        for first in (0..self.rows).step_by(panel) {
            let numbers = &mut scratch[..panel.min(self.rows - first) * self.columns];
            self.fill_together(first, numbers);
            body(first, numbers);
        }
        SCRATCH.set(scratch);
    }

    /// [`Blocks::fill`] on all threads.
    fn fill_together(&self, first: usize, numbers: &mut [f32]) {
        let tasks = numbers.par_chunks_mut(TASK_ROWS * self.columns);
        tasks
            .enumerate()
            .for_each(|(task, numbers)| self.fill(first + task * TASK_ROWS, numbers));
    }

    fn dequantise(&self) -> Result<Tensor> {
        if !self.device.is_cpu() || self.columns == 0 {
            return self.tensor.dequantize(&self.device);
        }
        let mut numbers = vec![0.0; self.rows * self.columns];
        self.fill_together(0, &mut numbers);
        Tensor::from_vec(numbers, (self.rows, self.columns), &self.device)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ops::{
        few_rows_transposed,
        matmul::{times, times_transposed},
        tape::check::{distance, numbers},
    };

    /// Every type that candle quantises to and back.
    pub const TYPES: [GgmlDType; 13] = [
        GgmlDType::F32,
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q2K,
        GgmlDType::Q3K,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn products_with_blocks_have_the_bits_of_those_with_their_numbers() {
        let w = numbers(&[75, 512], 1);
        let (x, g, few) = (
            numbers(&[130, 512], 2),
            numbers(&[130, 75], 3),
            numbers(&[5, 512], 4),
        );
        for dtype in TYPES {
            let blocks = QTensor::quantize(&w, dtype).unwrap();
            let whole = Matrix::from(blocks.dequantize(&Device::Cpu).unwrap());
            let held = Matrix::from_blocks(blocks).unwrap();
            let same = |product: &dyn Fn(&Matrix) -> Result<Tensor>| {
                assert_eq!(
                    bits(&product(&held).unwrap()),
                    bits(&product(&whole).unwrap()),
                    "{dtype:?}"
                );
            };
            same(&|w| times_transposed(&x, w));
            same(&|w| times(&g, w));
            same(&|w| few_rows_transposed(&few, w));
            same(&|w| w.to_dtype(DType::F32));
            same(&|w| w.rows(&[74, 0, 3, 3]));
            assert_eq!(held.first_numbers().unwrap(), whole.first_numbers().unwrap());
            assert!(held.rows(&[75]).is_err());
        }
    }

    #[test]
    fn a_matrix_of_several_panels_gives_the_same_products() {
        let (rows, columns) = (PANEL / 1024 + 77, 1024);
        let w = numbers(&[rows, columns], 1);
        let blocks = QTensor::quantize(&w, GgmlDType::Q4K).unwrap();
        let whole = Matrix::from(blocks.dequantize(&Device::Cpu).unwrap());
        let held = Matrix::from_blocks(blocks).unwrap();
        let (x, g) = (numbers(&[20, columns], 2), numbers(&[20, rows], 3));
        // A panel holds whole sums here, and parts of them there.
        let forward = [&held, &whole].map(|w| bits(&times_transposed(&x, w).unwrap()));
        assert!(forward[0] == forward[1], "the same bits");
        let [ours, theirs] = [&held, &whole].map(|w| times(&g, w).unwrap());
        assert!(distance(&ours, &theirs) < 1e-6, "{}", distance(&ours, &theirs));
    }

    #[test]
    fn what_was_rounded_is_known_by_its_first_numbers() {
        let whole = Matrix::from(numbers(&[6, 256], 1));
        for held in [whole.to_bf16().unwrap(), whole.quantise(GgmlDType::Q8_0).unwrap()] {
            assert_eq!(held.first_numbers().unwrap(), whole.first_numbers().unwrap());
            assert!(!held.is_full() && held.n_bytes() < whole.n_bytes());
        }
    }
}
