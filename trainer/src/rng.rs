//! Random numbers by named streams: each draw depends only on the seed, the stream's name and its number, so a
//! resumed round needs no generator state, only its position.

use sha2::{Digest, Sha256};

/// The source of all streams of a job.
#[derive(Clone, Copy, Debug)]
pub struct Rng {
    seed: u64,
}

/// One stream: xoshiro256++ (Blackman and Vigna 2019).
#[derive(Clone, Debug)]
pub struct Stream {
    state: [u64; 4],
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream for use number `index` of `name`.
    pub fn stream(&self, name: &str, index: u64) -> Stream {
        let digest = Sha256::new()
            .chain_update(self.seed.to_le_bytes())
            .chain_update(index.to_le_bytes())
            .chain_update(name.as_bytes())
            .finalize();
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(digest.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("a chunk of eight bytes"));
        }
        Stream { state }
    }
}

impl Stream {
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in 0 … n-1, without bias.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let draw = self.next_u64();
            if draw < limit {
                return (draw % n) as usize;
            }
        }
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_by_name_and_number_and_differ_otherwise() {
        let rng = Rng::new(3);
        let first = rng.stream("order", 1).next_u64();
        assert_eq!(first, Rng::new(3).stream("order", 1).next_u64());
        assert_ne!(first, rng.stream("order", 2).next_u64());
        assert_ne!(first, rng.stream("rollout", 1).next_u64());
        assert_ne!(first, Rng::new(4).stream("order", 1).next_u64());
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut stream = Rng::new(0).stream("normal", 0);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }
}
