//! Seeded data: the same seed gives the same world on every machine.

/// A small deterministic random generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seed(u64);

/// This many percent of so many things, at least one unless it is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small positive counts")]
pub fn share(total: usize, percent: f64) -> usize {
    (total as f64 * percent / 100.0).ceil() as usize
}

/// So many findings for each of at least three records: none for the first, five for the second, uneven shares for the
/// others, and what is left for the last.
pub fn spread(findings: usize, records: usize) -> impl Iterator<Item = usize> {
    let mut left = findings;
    (0..records).map(move |number| {
        let own = match number {
            0 => 0,
            1 => 5.min(left),
            n if n + 1 == records => left,
            n => (left / (records - n)).saturating_mul(2 * (n % 2) + 1).div_ceil(2).min(left),
        };
        left -= own;
        own
    })
}

impl Seed {
    /// A generator for one thing: the same parts always give the same numbers.
    pub fn of(parts: &[u64]) -> Self {
        let mut seed = Seed(0x0074_7269_6275_7461);
        for part in parts {
            seed.0 ^= part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            seed.next();
        }
        seed
    }

    /// The next 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "a generator has no end, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end` - 1 (0 when `end` is 0).
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are plenty for a percentage")]
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        unit * 100.0 < percent
    }

    /// One of the given things.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// So many things taken out of a list, or as many as there are.
    pub fn draw<T>(&mut self, from: &mut Vec<T>, count: usize) -> Vec<T> {
        (0..count.min(from.len())).map(|_| from.swap_remove(self.below(from.len()))).collect()
    }

    /// A random version 4 UUID in text form.
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }

    /// Plausible English of about `bytes` bytes, for descriptions.
    pub fn prose(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            if !text.is_empty() {
                text.push(if self.chance(8.0) { '.' } else { ' ' });
                if text.ends_with('.') {
                    text.push(' ');
                }
            }
            text.push_str(self.pick(WORDS));
        }
        text.push('.');
        text
    }
}

/// The words of descriptions.
const WORDS: &[&str] = &[
    "an",
    "attacker",
    "can",
    "send",
    "a",
    "crafted",
    "request",
    "to",
    "the",
    "service",
    "that",
    "parses",
    "untrusted",
    "input",
    "without",
    "validation",
    "which",
    "leads",
    "to",
    "memory",
    "corruption",
    "or",
    "disclosure",
    "of",
    "sensitive",
    "data",
    "when",
    "the",
    "affected",
    "component",
    "is",
    "reachable",
    "over",
    "network",
    "and",
    "default",
    "configuration",
    "is",
    "used",
    "in",
    "versions",
    "before",
    "the",
    "fix",
    "was",
    "released",
    "upstream",
    "upgrade",
    "apply",
    "vendor",
    "patch",
    "restrict",
    "access",
    "rotate",
    "credentials",
];
