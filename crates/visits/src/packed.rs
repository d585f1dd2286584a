//! Columns of numbers with as few bits as they need: each number as its distance from the least one, all in the same number of
//! bits (frame of reference). A column says neither how many numbers it has nor what they mean; who reads it knows.

use crate::Damaged;

/// Zeros after the last number, so that eight bytes can be read at each place.
const PADDING: usize = 8;

/// The most bits of a number that fit eight bytes wherever they begin.
const MOST_BITS: u32 = 57;

/// Appends a column.
pub fn write(bytes: &mut Vec<u8>, numbers: impl Iterator<Item = u64> + Clone) {
    let least = numbers.clone().min().unwrap_or(0);
    let range = numbers.clone().max().unwrap_or(0) - least;
    let needed = u64::BITS - range.leading_zeros();
    let bits = if needed > MOST_BITS { u64::BITS } else { needed };
    bytes.push(bits as u8);
    bytes.extend(least.to_le_bytes());
    if bits == u64::BITS {
        numbers.for_each(|number| bytes.extend((number - least).to_le_bytes()));
    } else {
        let (mut pending, mut held) = (0u128, 0);
        for number in numbers {
            pending |= u128::from(number - least) << held;
            held += bits;
            while held >= u8::BITS {
                bytes.push(pending as u8);
                pending >>= u8::BITS;
                held -= u8::BITS;
            }
        }
        if held > 0 {
            bytes.push(pending as u8);
        }
    }
    bytes.extend([0; PADDING]);
}

/// The numbers of a column, one after the other, or in any order.
#[derive(Clone)]
pub struct Column<'b> {
    bytes: &'b [u8],
    least: u64,
    bits: usize,
    mask: u64,
    /// The bit where the next number begins.
    at: usize,
    left: usize,
}

impl<'b> Column<'b> {
    /// Takes a column of `count` numbers from the front of `bytes`.
    pub fn take(bytes: &mut &'b [u8], count: usize) -> Result<Self, Damaged> {
        let (&bits, rest) = bytes.split_first().ok_or(Damaged("a column is missing"))?;
        let (least, rest) = rest.split_first_chunk().ok_or(Damaged("a column has no least number"))?;
        if u32::from(bits) > MOST_BITS && u32::from(bits) != u64::BITS {
            return Err(Damaged("a column has an impossible number of bits"));
        }
        let bits = usize::from(bits);
        let size = count.checked_mul(bits).ok_or(Damaged("a column is too long"))?.div_ceil(8);
        let whole = size.checked_add(PADDING).ok_or(Damaged("a column is too long"))?;
        let (column, rest) = rest.split_at_checked(whole).ok_or(Damaged("a column is too short"))?;
        *bytes = rest;
        let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        Ok(Column { bytes: column, least: u64::from_le_bytes(*least), bits, mask, at: 0, left: count })
    }

    /// The number at a place, counted from 0; anything after the last one.
    #[inline(always)]
    pub fn get(&self, place: usize) -> u64 {
        self.at_bit(place.wrapping_mul(self.bits))
    }

    /// How many of all numbers are not 0.
    pub fn count_nonzero(&self) -> usize {
        match (self.bits, self.least) {
            (0, 0) => 0,
            // Flags: zeros come after the last one.
            (1, 0) => self.bytes.iter().map(|byte| byte.count_ones() as usize).sum(),
            _ => self.clone().filter(|number| *number != 0).count(),
        }
    }

    /// Takes numbers that are below 2^32.
    #[inline]
    pub fn move_to(&mut self, numbers: &mut Vec<u32>, count: usize) {
        numbers
            .extend((0..count.min(self.left)).map(|place| self.at_bit(self.at + place * self.bits) as u32));
        self.at += count * self.bits;
        self.left = self.left.saturating_sub(count);
    }

    #[inline(always)]
    fn at_bit(&self, bit: usize) -> u64 {
        let eight = self.bytes.get(bit / 8..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        self.least.wrapping_add((u64::from_le_bytes(eight) >> (bit % 8)) & self.mask)
    }

    /// The next number; 0 after the last one.
    #[inline(always)]
    pub fn number(&mut self) -> u64 {
        self.next().unwrap_or(0)
    }

    /// The next number, which a checksum has shown to be as it was written, and so below 2^32.
    #[inline(always)]
    pub fn small(&mut self) -> u32 {
        self.number() as u32
    }
}

impl Iterator for Column<'_> {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let number = self.at_bit(self.at);
        self.at += self.bits;
        Some(number)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Column<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_as_they_were() {
        let columns: [&[u64]; 9] = [
            &[],
            &[0],
            &[u64::MAX],
            &[0, u64::MAX],
            &[7, 7, 7],
            &[1 << 56, 0, 5],
            &[1 << 57, 0, 5],
            &[3, 9, 4, 8, 1_000],
            &[5_000_000_000, 5_000_000_001],
        ];
        let mut bytes = Vec::new();
        columns.iter().for_each(|column| write(&mut bytes, column.iter().copied()));
        let mut rest = &bytes[..];
        for column in columns {
            assert_eq!(Column::take(&mut rest, column.len()).unwrap().collect::<Vec<_>>(), column);
        }
        assert_eq!(rest, b"");
    }

    #[test]
    fn what_is_cut_off_is_damaged() {
        let mut bytes = Vec::new();
        write(&mut bytes, [1, 500, 70_000].into_iter());
        for length in 0..bytes.len() {
            assert!(Column::take(&mut &bytes[..length], 3).is_err(), "{length}");
        }
        assert!(Column::take(&mut &bytes[..], usize::MAX).is_err());
        bytes[0] = 60;
        assert!(Column::take(&mut &bytes[..], 3).is_err());
    }
}
