//! Random counts, seeded: a run that fails fails again.

/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64.
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// A stream of its own for every seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd129_0d3b_3f1c_9d4b))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, without 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Poisson counts of one mean, by inversion of the tabled distribution: exact but for 2⁻⁵³.
#[derive(Clone, Debug)]
pub struct Poisson {
    first: f64,
    cumulative: Vec<f64>,
    /// Where to begin to look, for each 256th of the unit interval.
    guide: Vec<usize>,
}

impl Poisson {
    /// The distribution of this mean.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts of some thousand"
    )]
    pub fn new(mean: f64) -> Self {
        let reach = 12.0 * mean.sqrt() + 40.0;
        let first = (mean - reach).max(0.0).floor();
        // The density is found by logarithms, since e^-mean underflows.
        let mut ln_factorial: f64 = (2..=first as u64).map(|factor| (factor as f64).ln()).sum();
        let mut sum = 0.0;
        let cumulative: Vec<f64> = (0..(2.0 * reach) as usize)
            .map(|step| {
                let count = first + step as f64;
                if step > 0 {
                    ln_factorial += count.ln();
                }
                sum += (count * mean.ln() - mean - ln_factorial).exp();
                sum
            })
            .collect();
        let guide = (0..256)
            .map(|part| cumulative.partition_point(|sum| *sum <= f64::from(part) / 256.0))
            .collect();
        Self {
            first,
            cumulative,
            guide,
        }
    }

    /// One count.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts of some thousand"
    )]
    pub fn draw(&self, generator: &mut Generator) -> f64 {
        let unit = generator.unit();
        let mut index = self.guide[(unit * 256.0) as usize];
        while index + 1 < self.cumulative.len() && self.cumulative[index] <= unit {
            index += 1;
        }
        self.first + index as f64
    }
}
