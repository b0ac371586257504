//! Landscapes drawn from a number: sky with clouds and sun, ridges in haze, water. Alike enough to photos for decoders,
//! thumbnails and eyes.

use std::f32::consts::TAU;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Red, green, blue, each 0 to 255.
pub(crate) type Colour = [f32; 3];

/// Sky above, sky at the horizon, ground: from morning to night.
const PALETTES: [[Colour; 3]; 6] = [
    [[58.0, 110.0, 190.0], [205.0, 225.0, 240.0], [46.0, 82.0, 48.0]],
    [[44.0, 62.0, 120.0], [250.0, 178.0, 120.0], [58.0, 46.0, 58.0]],
    [[96.0, 128.0, 158.0], [226.0, 222.0, 210.0], [92.0, 86.0, 62.0]],
    [[22.0, 28.0, 66.0], [188.0, 108.0, 132.0], [26.0, 30.0, 46.0]],
    [[70.0, 142.0, 176.0], [244.0, 236.0, 206.0], [112.0, 98.0, 54.0]],
    [[110.0, 122.0, 138.0], [214.0, 216.0, 220.0], [54.0, 70.0, 66.0]],
];
const SUNLIGHT: Colour = [255.0, 244.0, 214.0];
const CLOUD: Colour = [250.0, 248.0, 246.0];

/// One landscape.
pub(crate) struct Scene {
    palette: [Colour; 3],
    sun: (f32, f32),
    cloudiness: f32,
    shore: f32,
    ridges: Vec<Ridge>,
    noise_seed: u32,
}

/// A line of hills: a sum of waves over a base height.
struct Ridge {
    base: f32,
    waves: [(f32, f32, f32); 5],
    haze: f32,
}

impl Scene {
    /// The landscape of this number, always the same.
    pub(crate) fn of(number: u64) -> Self {
        let mut random = StdRng::seed_from_u64(number);
        let horizon = random.random_range(0.38..0.58);
        let count = random.random_range(3..=5u8);
        let ridges = (0..count).map(|nth| Ridge::of(&mut random, horizon, f32::from(nth) / f32::from(count))).collect();
        Self {
            palette: PALETTES[random.random_range(0..PALETTES.len())],
            sun: (random.random_range(0.1..1.2), random.random_range(0.1..horizon)),
            cloudiness: random.random_range(0.2..0.8),
            shore: random.random_range(0.78..1.1),
            ridges,
            noise_seed: random.random(),
        }
    }

    /// The colour at a point. `y` goes from 0 above to 1 below, `x` from the left in the same unit.
    pub(crate) fn colour(&self, x: f32, y: f32) -> Colour {
        if y < self.shore {
            return self.land_or_sky(x, y);
        }
        // The water mirrors what is above the shore, shaken by ripples and darkened.
        let depth = y - self.shore;
        let ripple = (self.noise(x * 12.0, y * 160.0) - 0.5) * (0.02 + depth * 0.3);
        let mirrored = (self.shore - depth * 1.6 + ripple).max(0.0);
        mix(self.land_or_sky(x + ripple, mirrored), self.palette[0], 0.25).map(|channel| channel * 0.82)
    }

    fn land_or_sky(&self, x: f32, y: f32) -> Colour {
        let [_, low_sky, ground] = self.palette;
        let in_front = self.ridges.iter().rev().find(|ridge| y > ridge.height(x));
        let Some(ridge) = in_front else { return self.sky(x, y) };
        let texture = self.clouded_noise(x * 18.0, y * 30.0) * 0.8 + 0.6;
        mix(ground.map(|channel| channel * texture), low_sky, ridge.haze)
    }

    fn sky(&self, x: f32, y: f32) -> Colour {
        let [high_sky, low_sky, _] = self.palette;
        let sky = mix(high_sky, low_sky, (y * 1.9).min(1.0));
        let clouds = (self.clouded_noise(x * 2.5, y * 7.0) - 1.0 + self.cloudiness) * 2.2;
        let sky = mix(sky, CLOUD, clouds.clamp(0.0, 0.85));
        let distance = (x - self.sun.0).hypot(y - self.sun.1);
        mix(sky, SUNLIGHT, (0.045 / (distance + 0.01)).powi(2).min(1.0))
    }

    /// Noise of four sizes, 0 to 1.
    fn clouded_noise(&self, x: f32, y: f32) -> f32 {
        let sizes = [(1.0, 0.5), (2.1, 0.26), (4.3, 0.15), (8.7, 0.09)];
        sizes.iter().map(|(scale, weight)| self.noise(x * scale, y * scale) * weight).sum()
    }

    /// Smooth noise with one random value at each whole point, 0 to 1.
    fn noise(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let (right_share, low_share) = (smooth(x - left), smooth(y - top));
        let at = |dx: f32, dy: f32| self.value(left + dx, top + dy);
        let above = at(0.0, 0.0) + (at(1.0, 0.0) - at(0.0, 0.0)) * right_share;
        let below = at(0.0, 1.0) + (at(1.0, 1.0) - at(0.0, 1.0)) * right_share;
        above + (below - above) * low_share
    }

    fn value(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x as i32 as u32, y as i32 as u32);
        let mut hash = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ self.noise_seed;
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D);
        (hash >> 8) as f32 / (1 << 24) as f32
    }
}

impl Ridge {
    /// `nearness` is 0 for the farthest ridge.
    fn of(random: &mut StdRng, horizon: f32, nearness: f32) -> Self {
        let mut wave_length = random.random_range(0.5..1.4);
        let mut height = 0.085 * (1.0 - nearness * 0.4);
        let waves = std::array::from_fn(|_| {
            wave_length *= 0.47;
            height *= 0.5;
            (TAU / wave_length, random.random_range(0.0..TAU), height)
        });
        Self { base: horizon + nearness * 0.32, waves, haze: 0.72 * (1.0 - nearness) }
    }

    fn height(&self, x: f32) -> f32 {
        self.waves
            .iter()
            .fold(self.base, |sum, (frequency, phase, height)| sum + (x * frequency + phase).sin() * height)
    }
}

fn mix(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share)
}

fn smooth(share: f32) -> f32 {
    share * share * (3.0 - 2.0 * share)
}
