//! Makes sound twice as fine: a sample between any two (interpolation by a windowed sinc). Pure.

use std::collections::VecDeque;
use std::f32::consts::PI;

/// Samples on either side that a new one is made of.
const REACH: usize = 16;

/// One channel.
#[derive(Debug, Clone)]
pub struct Doubler {
    /// What the samples on either side count, from the nearest out.
    weights: [f32; REACH],
    /// Newest samples, `2 * REACH` of them.
    samples: VecDeque<f32>,
}

impl Default for Doubler {
    fn default() -> Self {
        let weight = |at: usize| {
            let distance = at as f32 + 0.5;
            let sinc = (PI * distance).sin() / (PI * distance);
            // Faded out by a Hann window, or the end of the reach would be heard.
            sinc * (0.5 + 0.5 * (PI * distance / REACH as f32).cos())
        };
        let mut weights: [f32; REACH] = std::array::from_fn(weight);
        // Together with the other side they are one: silence between equal samples is none.
        let sum: f32 = 2.0 * weights.iter().sum::<f32>();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Self { weights, samples: VecDeque::from([0.0; 2 * REACH]) }
    }
}

impl Doubler {
    /// How late what comes out is, in samples of what comes out.
    pub const DELAY: i64 = 2 * REACH as i64;

    /// Takes samples and gives twice as many, between -1 and 1 as those are.
    pub fn double(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(samples.len() * 2);
        for sample in samples {
            out.push(self.samples[REACH]);
            self.samples.pop_front();
            self.samples.push_back(*sample);
            let between: f32 =
                (0..REACH).map(|at| self.weights[at] * (self.samples[REACH - 1 - at] + self.samples[REACH + at])).sum();
            out.push(between.clamp(-1.0, 1.0));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_stays_that_tone() {
        for hertz in [300.0_f32, 1000.0, 3000.0] {
            let wave = |at: f32| 0.9 * (2.0 * PI * hertz * at / 8000.0).sin();
            let samples: Vec<f32> = (0..400).map(|at| wave(at as f32)).collect();
            let mut doubler = Doubler::default();
            // In pieces, as packets are.
            let doubled: Vec<f32> = samples.chunks(37).flat_map(|piece| doubler.double(piece)).collect();
            assert_eq!(doubled.len(), 800);
            for (at, heard) in doubled.iter().enumerate().skip(100) {
                let meant = wave((at as f32 - Doubler::DELAY as f32) / 2.0);
                assert!((heard - meant).abs() < 0.01, "{hertz} Hz: sample {at} is {heard}, not {meant}");
            }
        }
    }

    #[test]
    fn what_is_even_stays_even_and_within_bounds() {
        let even = Doubler::default().double(&[0.5; 100]);
        assert!(even[80..].iter().all(|sample| (sample - 0.5).abs() < 1e-4));
        let steps: Vec<f32> = (0..200).map(|at| if at / 7 % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert!(Doubler::default().double(&steps).iter().all(|sample| (-1.0..=1.0).contains(sample)));
    }
}
