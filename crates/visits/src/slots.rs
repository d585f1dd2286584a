//! Which group the time of a view is in: the unit of a timeline, the hour, the weekday, or none if the question is not about that
//! time.

use rustc_hash::FxHashMap;

use crate::calendar::{Length, Slot, Stretch, Unit};
use crate::question::{By, Group, Question};

/// How many slots are remembered. A power of two.
const KEPT: usize = 1024;

/// A slot as it is remembered.
#[derive(Clone, Copy)]
struct Known {
    /// The number of the slot at its distance from UTC, and where that distance begins to hold.
    number: i64,
    from: i64,
    group: Option<Group>,
}

const NOTHING: Known = Known { number: i64::MAX, from: 0, group: None };

/// The groups of times. A question meets the same slots again and again, and in no order: a session says when it was there before.
pub(crate) struct Slots<'q> {
    question: &'q Question,
    length: Length,
    /// The stretch of time that was met last.
    stretch: Stretch,
    known: Box<[Known; KEPT]>,
    units: FxHashMap<i64, Group>,
}

impl<'q> Slots<'q> {
    pub fn new(question: &'q Question) -> Self {
        let needs_hours =
            matches!(question.by, By::Hour | By::Unit(Unit::Hour)) || question.hours != u32::MAX;
        Slots {
            question,
            length: if needs_hours { Length::Hour } else { Length::Day },
            stretch: question.zone.stretch(0),
            known: Box::new([NOTHING; KEPT]),
            units: FxHashMap::default(),
        }
    }

    /// The group of a time, if it matches.
    #[inline]
    pub fn group(&mut self, time: i64) -> Option<Group> {
        let number = self.number(time);
        let known = self.known.get(number as usize % KEPT).copied().unwrap_or(NOTHING);
        if known.number == number && known.from == self.stretch.from {
            known.group
        } else {
            self.look_up(time, number)
        }
    }

    /// The end of the slot of a time.
    #[inline]
    pub fn end(&mut self, time: i64) -> i64 {
        let number = self.number(time);
        self.stretch.end_of(number, self.length)
    }

    /// The number of the slot of a time, in its stretch, which is entered.
    #[inline]
    fn number(&mut self, time: i64) -> i64 {
        if time < self.stretch.from || time >= self.stretch.until {
            self.stretch = self.question.zone.stretch(time);
        }
        self.stretch.number(time, self.length)
    }

    #[cold]
    fn look_up(&mut self, time: i64, number: i64) -> Option<Group> {
        let group = self.group_of(&self.question.zone.slot(time, self.length));
        if let Some(known) = self.known.get_mut(number as usize % KEPT) {
            *known = Known { number, from: self.stretch.from, group };
        }
        group
    }

    fn group_of(&mut self, slot: &Slot) -> Option<Group> {
        let question = self.question;
        let (since, until) = question.days;
        let matches = (since..=until).contains(&slot.day)
            && question.weekdays >> slot.weekday() & 1 != 0
            && question.hours >> slot.hour & 1 != 0;
        matches.then(|| match question.by {
            By::Unit(unit) => self.unit(slot.unit(unit)),
            By::Weekday => slot.weekday(),
            By::Hour => slot.hour,
            _ => 0,
        })
    }

    /// The group of a unit.
    pub fn unit(&mut self, unit: i64) -> Group {
        let next = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        *self.units.entry(unit).or_insert(next)
    }

    /// The units that were met, by what `Slot::unit` says of them, and their groups.
    pub fn units(&self) -> &FxHashMap<i64, Group> {
        &self.units
    }
}
