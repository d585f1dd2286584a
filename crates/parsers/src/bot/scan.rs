//! Looks for needles in a user agent, all of them in one pass. It owns what a needle is and when it counts.
//!
//! Nearly every place of a user agent begins no needle, and two bits say so: whether a needle begins with this
//! byte, and whether one has that byte second. The time is linear in the text, with the size of the table as a
//! factor for a text that consists of beginnings of needles.

/// A text, in lower case, that counts where the conditions before and after it hold.
pub(super) struct Needle {
    before: Before,
    text: &'static str,
    after: After,
}

pub(super) const fn needle(before: Before, text: &'static str, after: After) -> Needle {
    Needle { before, text, after }
}

/// What must be before a needle. A word consists of letters and digits of ASCII and `_`.
pub(super) enum Before {
    Any,
    /// Nothing: the needle begins the user agent.
    Start,
    /// No character of a word.
    NoWord,
    /// None of these texts.
    Unless(&'static [&'static str]),
}

/// What must be after a needle.
pub(super) enum After {
    Any,
    /// No character of a word.
    NoWord,
    /// No letter or digit.
    NoAlphanumeric,
    Digit,
    /// None of these texts.
    Unless(&'static [&'static str]),
}

impl Needle {
    /// Whether it counts between these two parts of a user agent.
    fn counts(&self, before: &[u8], after: &[u8]) -> bool {
        let first = after.first();
        let is_allowed_before = match self.before {
            Before::Any => true,
            Before::Start => before.is_empty(),
            Before::NoWord => !before.last().is_some_and(|byte| is_word(*byte)),
            Before::Unless(texts) => !texts.iter().any(|text| before.ends_with(text.as_bytes())),
        };
        is_allowed_before
            && match self.after {
                After::Any => true,
                After::NoWord => !first.is_some_and(|byte| is_word(*byte)),
                After::NoAlphanumeric => !first.is_some_and(u8::is_ascii_alphanumeric),
                After::Digit => first.is_some_and(u8::is_ascii_digit),
                After::Unless(texts) => !texts.iter().any(|text| after.starts_with(text.as_bytes())),
            }
    }
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A table of needles in byte order, with what a scan looks at first.
pub(super) struct Table {
    needles: &'static [Needle],
    /// For each first byte, where its needles begin and end.
    ranges: [(u16, u16); 256],
    /// For each first byte, the second bytes, each as a bit of its lower five; all for a needle of one byte.
    seconds: [u32; 256],
}

impl Table {
    /// Fails to compile if the needles are not in order.
    #[expect(clippy::indexing_slicing, clippy::panic, reason = "the compiler runs it")]
    pub const fn of(needles: &'static [Needle]) -> Self {
        let mut ranges = [(0, 0); 256];
        let mut seconds = [0; 256];
        let mut index = 0;
        while index < needles.len() {
            let text = needles[index].text.as_bytes();
            let first = text[0] as usize;
            if index > 0 && needles[index - 1].text.as_bytes()[0] as usize > first {
                panic!("needles are not in order");
            }
            if ranges[first].1 == 0 {
                ranges[first].0 = index as u16;
            }
            ranges[first].1 = index as u16 + 1;
            seconds[first] |= if text.len() > 1 { 1 << (text[1] & 31) } else { u32::MAX };
            index += 1;
        }
        Table { needles, ranges, seconds }
    }

    /// Whether a needle counts somewhere in a text in lower case. `is_excused` gets the place of each that does,
    /// and its length.
    pub fn is_in(&self, text: &[u8], is_excused: impl Fn(usize, usize) -> bool) -> bool {
        let mut rest = text;
        let mut place = 0;
        while let Some((first, after)) = rest.split_first() {
            let first = usize::from(*first);
            let second = 1_u32 << (after.first().unwrap_or(&0) & 31);
            if self.seconds.get(first).is_some_and(|seconds| seconds & second != 0) {
                let range = self
                    .ranges
                    .get(first)
                    .map_or(0..0, |(start, end)| usize::from(*start)..usize::from(*end));
                let before = text.get(..place).unwrap_or(&[]);
                for needle in self.needles.get(range).unwrap_or(&[]) {
                    let Some(after) = rest.strip_prefix(needle.text.as_bytes()) else { continue };
                    if needle.counts(before, after) && !is_excused(place, needle.text.len()) {
                        return true;
                    }
                }
            }
            rest = after;
            place += 1;
        }
        false
    }
}
