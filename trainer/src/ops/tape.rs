//! The tape: what a forward pass leaves for its backward pass.
//!
//! Operations append a closure that turns the gradient of their result into gradients of their inputs and of
//! the trainable weights that they used. [`Tape::backward`] runs them last to first, and drops each with the
//! activations it held. Weights are known by name; a weight without a gradient is an error in `optim`.

use super::{
    dropout::{Dropout, Mask},
    elementwise::sum_of,
};
use candle_core::{Result, Tensor, Var};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// Gradients of the trainable weights, by name; those of several packs add up.
#[derive(Clone, Debug, Default)]
pub struct Gradients(pub BTreeMap<String, Tensor>);

impl Gradients {
    pub fn add(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        match self.0.get_mut(name) {
            Some(sum) => *sum = sum_of(sum, &gradient)?,
            None => {
                self.0.insert(name.to_owned(), gradient);
            }
        }
        Ok(())
    }
}

/// A value on the way through the decoder. Constants have no slot.
#[derive(Clone)]
pub struct Traced {
    pub value: Tensor,
    slot: Option<usize>,
}

impl Traced {
    pub fn constant(value: Tensor) -> Self {
        Self { value, slot: None }
    }

    pub fn needs_gradient(&self) -> bool {
        self.slot.is_some()
    }

    pub fn place(&self) -> Place {
        Place(self.slot)
    }
}

/// Where a value's gradient goes, without the value: an operation whose backward pass does not read its input keeps
/// this instead, so that the input's memory is freed.
#[derive(Clone, Copy)]
pub struct Place(Option<usize>);

type Backward = Box<dyn FnOnce(Tensor, &mut Recording<'_>) -> Result<()>>;

/// The gradients collected so far, as a backward closure sees them.
pub struct Recording<'a> {
    slots: Vec<Option<Tensor>>,
    weights: &'a mut Gradients,
}

impl Recording<'_> {
    /// Adds to the gradient of an input; a constant ignores it.
    pub fn add(&mut self, input: &Traced, gradient: Tensor) -> Result<()> {
        self.add_at(input.place(), gradient)
    }

    pub fn add_at(&mut self, Place(slot): Place, gradient: Tensor) -> Result<()> {
        let Some(slot) = slot else { return Ok(()) };
        let sum = match self.slots[slot].take() {
            Some(sum) => sum_of(&sum, &gradient)?,
            None => gradient,
        };
        self.slots[slot] = Some(sum);
        Ok(())
    }

    pub fn add_weight(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        self.weights.add(name, gradient)
    }
}

/// Records operations, or (switched off) nothing.
pub struct Tape {
    steps: Option<RefCell<Vec<Backward>>>,
    checkpoints: bool,
    dropout: Option<Dropout>,
}

impl Tape {
    /// Records; nothing is dropped out.
    pub fn recording() -> Self {
        Self {
            steps: Some(RefCell::default()),
            checkpoints: false,
            dropout: None,
        }
    }

    /// Of each block it records the input alone, and computes the block again in the backward pass.
    pub fn checkpointing(self) -> Self {
        Self {
            checkpoints: true,
            ..self
        }
    }

    /// Records a pass of training, the only kind of pass with dropout.
    pub fn training(dropout: Dropout) -> Self {
        Self {
            dropout: Some(dropout),
            ..Self::recording()
        }
    }

    /// The mask of a layer's adapter whose dropout is `rate`; none outside of training.
    pub fn mask(&self, path: &str, rate: f64) -> Option<Mask> {
        self.dropout.and_then(|dropout| dropout.mask(path, rate))
    }

    /// For passes that need no gradient: nothing is kept.
    pub fn off() -> Self {
        Self {
            steps: None,
            checkpoints: false,
            dropout: None,
        }
    }

    pub fn is_recording(&self) -> bool {
        self.steps.is_some()
    }

    pub fn keeps_checkpoints(&self) -> bool {
        self.checkpoints
    }

    /// Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): of `body` only the input is kept. The backward pass
    /// runs it again and then backwards. It must compute the same both times, random draws included.
    pub fn checkpoint(
        &self,
        input: &Traced,
        body: impl Fn(&Tape, &Traced) -> Result<Traced> + 'static,
    ) -> Result<Traced> {
        // Recorded as it will be then, and dropped.
        let dropout = self.dropout;
        let again = move || Tape {
            dropout,
            ..Tape::recording()
        };
        let value = body(&again(), &Traced::constant(input.value.clone()))?.value;
        let input = input.clone();
        Ok(self.record(value, move |gradient, out| {
            let tape = again();
            let found = Rc::new(RefCell::new(None));
            let x = match input.needs_gradient() {
                true => {
                    let found = found.clone();
                    tape.record(input.value.clone(), move |gradient, _| {
                        *found.borrow_mut() = Some(gradient);
                        Ok(())
                    })
                }
                false => Traced::constant(input.value.clone()),
            };
            let result = body(&tape, &x)?;
            tape.backward(&result, gradient, out.weights)?;
            match found.borrow_mut().take() {
                Some(gradient) => out.add(&input, gradient),
                None => Ok(()),
            }
        }))
    }

    /// A value whose gradient is wanted; used at the boundary to candle's own graph and in tests.
    pub fn variable(&self, value: Tensor, name: &str) -> Traced {
        let name = name.to_owned();
        self.record(value, move |gradient, out| out.add_weight(&name, gradient))
    }

    /// Appends a step that yields `value`.
    pub fn record(
        &self,
        value: Tensor,
        backward: impl FnOnce(Tensor, &mut Recording<'_>) -> Result<()> + 'static,
    ) -> Traced {
        let slot = self.steps.as_ref().map(|steps| {
            let mut steps = steps.borrow_mut();
            steps.push(Box::new(backward));
            steps.len() - 1
        });
        Traced { value, slot }
    }

    /// Like [`Tape::record`], but a constant where no input needs a gradient.
    pub fn record_from(
        &self,
        value: Tensor,
        inputs: &[&Traced],
        backward: impl FnOnce(Tensor, &mut Recording<'_>) -> Result<()> + 'static,
    ) -> Traced {
        if inputs.iter().any(|input| input.needs_gradient()) {
            self.record(value, backward)
        } else {
            Traced::constant(value)
        }
    }

    /// The composed form of an operation: `body` in candle's operations. The backward pass runs `body` again
    /// on candle's graph, so nothing but the inputs is kept.
    pub fn composed(
        &self,
        inputs: &[&Traced],
        body: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> Result<Traced> {
        let values: Vec<Tensor> = inputs.iter().map(|input| input.value.detach()).collect();
        let value = body(&values)?;
        let owned: Vec<Traced> = inputs.iter().map(|&input| input.clone()).collect();
        Ok(self.record_from(value, inputs, move |gradient, out| {
            let variables = owned
                .iter()
                .map(|input| Var::from_tensor(&input.value))
                .collect::<Result<Vec<_>>>()?;
            let tensors: Vec<Tensor> = variables.iter().map(|var| var.as_tensor().clone()).collect();
            let store = (body(&tensors)? * gradient)?.sum_all()?.backward()?;
            for (input, variable) in owned.iter().zip(&variables) {
                if let Some(gradient) = store.get(variable) {
                    out.add(input, gradient.clone())?;
                }
            }
            Ok(())
        }))
    }

    /// Runs the recorded steps backwards from `result`, whose gradient is `gradient`, and adds the gradients
    /// of the weights to `weights`.
    pub fn backward(self, result: &Traced, gradient: Tensor, weights: &mut Gradients) -> Result<()> {
        let steps = self.steps.map(RefCell::into_inner).unwrap_or_default();
        let mut out = Recording {
            slots: vec![None; steps.len()],
            weights,
        };
        out.add(result, gradient)?;
        for (slot, step) in steps.into_iter().enumerate().rev() {
            if let Some(gradient) = out.slots[slot].take() {
                step(gradient, &mut out)?;
            }
        }
        Ok(())
    }
}

/// Rows of a matrix by index; a row may be taken twice. Shapes: `(rows, width)` to `(indices, width)`.
pub fn gather_rows(tape: &Tape, x: &Traced, rows: &[u32]) -> Result<Traced> {
    let rows = Tensor::new(rows, x.value.device())?;
    let value = x.value.index_select(&rows, 0)?;
    let (input, shape) = (x.place(), x.value.shape().clone());
    Ok(tape.record_from(value, &[x], move |gradient, out| {
        let zeros = Tensor::zeros(shape, gradient.dtype(), gradient.device())?;
        out.add_at(input, zeros.index_add(&rows, &gradient, 0)?)
    }))
}

/// Compares an operation with its composed form and with finite differences.
#[cfg(test)]
pub(crate) mod check {
    use super::*;
    use candle_core::Device;

    /// Numbers that look random and are the same in every run.
    pub fn numbers(shape: &[usize], seed: u64) -> Tensor {
        let mut stream = crate::rng::Rng::new(seed).stream("test", 0);
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| stream.normal() as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    pub fn distance(left: &Tensor, right: &Tensor) -> f64 {
        assert_eq!(left.dims(), right.dims());
        let difference = (left - right).unwrap().sqr().unwrap().sum_all().unwrap();
        let size = right.sqr().unwrap().sum_all().unwrap();
        let ratio = difference.to_scalar::<f32>().unwrap() / size.to_scalar::<f32>().unwrap().max(1e-12);
        f64::from(ratio).sqrt()
    }

    /// Value of `op` and the gradients of its inputs, for a fixed gradient of the result.
    pub fn run(
        inputs: &[Tensor],
        op: &dyn Fn(&Tape, &[Traced]) -> Result<Traced>,
    ) -> (Tensor, Tensor, Vec<Tensor>) {
        let tape = Tape::recording();
        let traced: Vec<Traced> = inputs
            .iter()
            .enumerate()
            .map(|(i, x)| tape.variable(x.clone(), &i.to_string()))
            .collect();
        let result = op(&tape, &traced).unwrap();
        let upstream = numbers(result.value.dims(), 99);
        let mut gradients = Gradients::default();
        tape.backward(&result, upstream.clone(), &mut gradients).unwrap();
        let gradients = (0..inputs.len())
            .map(|i| {
                gradients
                    .0
                    .remove(&i.to_string())
                    .expect("every input has a gradient")
            })
            .collect();
        (result.value, upstream, gradients)
    }

    pub fn same(
        inputs: &[Tensor],
        fused: &dyn Fn(&Tape, &[Traced]) -> Result<Traced>,
        composed: &dyn Fn(&Tape, &[Traced]) -> Result<Traced>,
    ) {
        let (value, _, gradients) = run(inputs, fused);
        let (other, _, others) = run(inputs, composed);
        assert!(
            distance(&value, &other) < 1e-5,
            "values differ by {}",
            distance(&value, &other)
        );
        for (i, (left, right)) in gradients.iter().zip(&others).enumerate() {
            assert!(
                distance(left, right) < 1e-4,
                "gradient {i} differs by {}",
                distance(left, right)
            );
        }
    }

    /// Central differences along random directions, one for each input.
    pub fn finite_differences(inputs: &[Tensor], op: &dyn Fn(&Tape, &[Traced]) -> Result<Traced>) {
        let (_, upstream, gradients) = run(inputs, op);
        let value = |inputs: &[Tensor]| -> f64 {
            let traced: Vec<Traced> = inputs.iter().cloned().map(Traced::constant).collect();
            let result = op(&Tape::off(), &traced).unwrap().value;
            let product = (result * &upstream)
                .unwrap()
                .to_dtype(candle_core::DType::F64)
                .unwrap();
            product.sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        for (i, gradient) in gradients.iter().enumerate() {
            let direction = numbers(inputs[i].dims(), 7 + i as u64);
            let step = 1e-2;
            let moved = |sign: f64| {
                let mut moved = inputs.to_vec();
                moved[i] = (&inputs[i] + (&direction * (sign * step)).unwrap()).unwrap();
                value(&moved)
            };
            let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            let analytic = (gradient * &direction)
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap();
            let analytic = f64::from(analytic);
            let scale = numeric.abs().max(analytic.abs()).max(0.1);
            assert!(
                (numeric - analytic).abs() / scale < 2e-2,
                "input {i}: {numeric} against {analytic}"
            );
        }
    }
}
