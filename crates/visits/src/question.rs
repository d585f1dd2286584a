//! The seven numbers of a report, counted in spans.
//!
//! A view **matches** if it is in the days asked for and meets all filters. Filters look at the view itself, or at its visit, whose
//! origin, client and entry page are those of its first view. A group is a value of a breakdown or a unit of a timeline.
//!
//! What a visit becomes later is never needed: a view is the last of its visit until another one comes, and that one takes it back.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::both::Both;
use crate::calendar::{Length, Unit, Zone};
use crate::columns::Source;
use crate::keys::{Head, Keys, Pairs};
use crate::slots::Slots;
use crate::span::{Fragment, Moment, Part, Run, Span};

/// The number of a group.
pub type Group = u32;

/// The columns of every report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    pub views: i64,
    pub visitors: i64,
    pub visits: i64,
    pub entries: i64,
    pub exits: i64,
    pub bounces: i64,
    pub seconds: i64,
}

/// What divides the views into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Nothing: all are in group 0.
    Nothing,
    /// The number of a group is given by `Counting::units`.
    Unit(Unit),
    /// The group is 1 for Monday to 7 for Sunday.
    Weekday,
    /// The group is the local hour.
    Hour,
    /// The group is the page's number.
    Page,
    /// The group is the number of the page's kind.
    Kind,
    /// The group is the number of the page of the visit's first view.
    Entry,
    /// What `Meaning` says of the visit's origin.
    Origin,
    /// What `Meaning` says of the visit's client.
    Client,
    /// The visit's origin and client, which `Counting::take_both` tells. Who was in which group is kept, so that groups can be joined.
    Both,
}

/// Which views are asked for, beside what `Meaning` says of pages, origins and clients, and into which groups they go.
#[derive(Clone, Debug)]
pub struct Question {
    pub by: By,
    /// The first and the last local day.
    pub days: (i64, i64),
    pub zone: Zone,
    /// A bit for each weekday that matches, from bit 1; all for any.
    pub weekdays: u32,
    /// A bit for each hour that matches; all for any.
    pub hours: u32,
    /// Which of what `Meaning` knows is to be asked for.
    pub asks: Asks,
    /// Whether there are filters of origins or clients. Most visits may not match then.
    pub selects_visits: bool,
    /// Whether only `views` are wanted. Sessions and visits are not looked at then, and `visitors` and `visits` are 0.
    pub views_only: bool,
}

/// Which properties have a meaning for a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    pub page: bool,
    pub kind: bool,
    pub entry: bool,
    pub origin: bool,
    pub client: bool,
}

impl Question {
    /// All views of these days, in one group or divided by time or page.
    pub fn of_days(by: By, days: (i64, i64), zone: Zone) -> Self {
        let any = u32::MAX;
        let asks = Asks::default();
        Question { by, days, zone, weekdays: any, hours: any, asks, selects_visits: false, views_only: false }
    }

    /// Whether the days are all that is asked for.
    pub fn is_unfiltered(&self) -> bool {
        self.asks == Asks::default() && self.weekdays == u32::MAX && self.hours == u32::MAX
    }

    /// Whether the views of a session come in the order of their groups.
    pub fn is_by_time(&self) -> bool {
        matches!(self.by, By::Nothing | By::Unit(_)) && self.is_unfiltered() && self.zone.has_days_in_order()
    }

    /// Whether `Counting::add_days` may be used, for any span.
    pub fn takes_days(&self) -> bool {
        self.views_only && self.by == By::Unit(Unit::Day) && self.is_unfiltered() && self.zone == Zone::utc()
    }

    /// Whether `Counting::add_pages` may be used for a span that knows of times from `earliest` to `latest`.
    pub fn takes_pages(&self, earliest: i64, latest: i64) -> bool {
        self.views_only
            && self.by == By::Page
            && self.is_unfiltered()
            && self.zone.has_days_in_order()
            && self.has_days_of(earliest, latest)
    }

    fn has_days_of(&self, earliest: i64, latest: i64) -> bool {
        let day = |time| self.zone.slot(time, Length::Day).day;
        day(earliest) >= self.days.0 && day(latest) <= self.days.1
    }

    /// Whether the times of views from `earliest` to `latest` make no difference.
    fn ignores_times_of(&self, earliest: i64, latest: i64) -> bool {
        !matches!(self.by, By::Unit(_) | By::Weekday | By::Hour)
            && self.weekdays == u32::MAX
            && self.hours == u32::MAX
            && self.zone.has_days_in_order()
            && self.has_days_of(earliest, latest)
    }

    /// Whether `Counting::add_whole` may be used for a span that knows of times from `earliest` to `latest`.
    pub fn takes_whole(&self, earliest: i64, latest: i64) -> bool {
        self.by == By::Nothing && self.is_by_time() && self.has_days_of(earliest, latest)
    }
}

/// The numbers of a span as `Counting::add_whole` takes them: visitors and visits are those that do not go on from before.
pub fn totals(span: &Span) -> Numbers {
    struct Nothing;
    impl Meaning for Nothing {
        type Error = std::convert::Infallible;
        fn page(&mut self, _: u32) -> Result<bool, Self::Error> {
            Ok(true)
        }
        fn kind(&mut self, _: u32) -> Result<bool, Self::Error> {
            Ok(true)
        }
        fn entry(&mut self, _: u32) -> Result<bool, Self::Error> {
            Ok(true)
        }
        fn origin(&mut self, _: u32) -> Result<Option<Group>, Self::Error> {
            Ok(Some(0))
        }
        fn client(&mut self, _: u32) -> Result<Option<Group>, Self::Error> {
            Ok(Some(0))
        }
    }
    let question = Question::of_days(By::Nothing, (i64::MIN, i64::MAX), Zone::utc());
    let mut counting = Counting::new(&question, Nothing);
    let Ok(()) = counting.count(span, |_| false);
    counting.finish().0.first().map(|(_, numbers)| *numbers).unwrap_or_default()
}

/// What numbers stand for. Each method is asked once for a number.
pub trait Meaning {
    type Error;
    /// Whether views of a page match.
    fn page(&mut self, page: u32) -> Result<bool, Self::Error>;
    /// Whether views of pages of a kind match.
    fn kind(&mut self, kind: u32) -> Result<bool, Self::Error>;
    /// Whether visits that begin on a page match.
    fn entry(&mut self, page: u32) -> Result<bool, Self::Error>;
    /// The group of visits from an origin; `None` if they do not match.
    fn origin(&mut self, origin: u32) -> Result<Option<Group>, Self::Error>;
    /// The group of visits with a client; `None` if they do not match.
    fn client(&mut self, client: u32) -> Result<Option<Group>, Self::Error>;
}

/// The sessions and visits that have views in several spans.
#[derive(Default)]
pub struct Divided {
    sessions: Vec<u64>,
    visits: Vec<u64>,
}

impl Divided {
    /// Notes those of a span that go on. Views before `since` do not matter, so a session that has no later one before does not go on.
    pub fn note(&mut self, span: &Span, since: i64) {
        let going_on = span.runs.iter().filter(|run| run.goes_on && run.before >= since);
        self.sessions.extend(going_on.map(|run| run.session));
        self.visits
            .extend(span.fragments.iter().filter(|fragment| fragment.goes_on).map(|fragment| fragment.visit));
    }

    /// Whether there are such visits.
    pub fn has_visits(&self) -> bool {
        !self.visits.is_empty()
    }

    /// Notes sessions and visits.
    pub fn add(&mut self, sessions: impl Iterator<Item = u64>, visits: impl Iterator<Item = u64>) {
        self.sessions.extend(sessions);
        self.visits.extend(visits);
    }
}

/// The same as sets, which several counts share.
pub struct DividedKeys {
    sessions: Rc<Keys>,
    visits: Rc<Keys>,
}

impl From<Divided> for DividedKeys {
    fn from(divided: Divided) -> Self {
        DividedKeys {
            sessions: Rc::new(Keys::new(&divided.sessions)),
            visits: Rc::new(Keys::new(&divided.visits)),
        }
    }
}

/// Numbers once looked up: 0 if not yet, 1 for no match, and then the groups.
#[derive(Default)]
struct Known {
    low: Vec<u32>,
    high: FxHashMap<u32, u32>,
}

impl Known {
    const LOW: u32 = 1 << 20;

    #[inline(always)]
    fn matches<E>(&mut self, number: u32, ask: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        Ok(self.get(number, || Ok(ask()?.then_some(0)))?.is_some())
    }

    #[inline(always)]
    fn get<E>(
        &mut self,
        number: u32,
        ask: impl FnOnce() -> Result<Option<Group>, E>,
    ) -> Result<Option<Group>, E> {
        match self.low.get(number as usize) {
            Some(entry) if *entry > 0 => Ok(entry.checked_sub(2)),
            _ => self.look_up(number, ask),
        }
    }

    #[cold]
    fn look_up<E>(
        &mut self,
        number: u32,
        ask: impl FnOnce() -> Result<Option<Group>, E>,
    ) -> Result<Option<Group>, E> {
        let entry = if number < Self::LOW {
            if self.low.len() <= number as usize {
                self.low.resize((number as usize + 1).next_power_of_two(), 0);
            }
            self.low.get_mut(number as usize)
        } else {
            None
        };
        let entry = match entry {
            Some(entry) => entry,
            None => self.high.entry(number).or_default(),
        };
        if *entry == 0 {
            *entry = ask()?.map_or(1, |group| group + 2);
        }
        Ok(entry.checked_sub(2))
    }
}

/// How many runs are looked up at a time.
const LOOKED_UP: usize = 256;

/// The numbers of a group, and the run and the fragment that it has counted last. They are in one line of a processor's cache.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Counter {
    numbers: Numbers,
    run: u32,
    visit: u32,
}

/// What is counted so far.
pub struct Counting<'q, M> {
    question: &'q Question,
    meaning: M,
    /// The sessions that have views in several spans, and what was counted of them; the same of visits.
    sessions: Rc<Keys>,
    visitors: Pairs,
    /// The number of each run's session, and its head in `visitors`.
    of_runs: Vec<(Option<u32>, Head)>,
    /// The head of the session that is being counted.
    head: Head,
    divided_visits: Rc<Keys>,
    visits: Pairs,
    groups: Vec<Counter>,
    run: u32,
    visit: u32,
    pages: Known,
    kinds: Known,
    entries: Known,
    origins: Known,
    clients: Known,
    /// Whether the views of a session come in the order of their groups. Then a session, or a visit, is new to a group if its view
    /// before was in another one, and nothing has to be remembered.
    is_by_time: bool,
    /// The groups of the view before in the session and in the visit.
    last_seen: Option<Group>,
    last_in_visit: Option<Group>,
    /// Whether the times of the views that come now make no difference: all are in group 0, as far as times say.
    ignores_times: bool,
    /// Whether neither groups nor filters look at single views, but for their time.
    is_by_visit: bool,
    /// Whether the groups are of time, or there is only one.
    is_by_slot: bool,
    slots: Slots<'q>,
    both: Both,
}

impl<'q, M: Meaning> Counting<'q, M> {
    pub fn new(question: &'q Question, meaning: M) -> Self {
        Counting {
            question,
            meaning,
            sessions: Rc::default(),
            visitors: Pairs::default(),
            of_runs: Vec::new(),
            head: Head::default(),
            divided_visits: Rc::default(),
            visits: Pairs::default(),
            groups: Vec::new(),
            run: 0,
            visit: 0,
            pages: Known::default(),
            kinds: Known::default(),
            entries: Known::default(),
            origins: Known::default(),
            clients: Known::default(),
            is_by_time: question.is_by_time(),
            last_seen: None,
            last_in_visit: None,
            ignores_times: false,
            is_by_visit: !matches!(question.by, By::Page | By::Kind)
                && !question.asks.page
                && !question.asks.kind,
            is_by_slot: matches!(question.by, By::Nothing | By::Unit(_) | By::Weekday | By::Hour),
            slots: Slots::new(question),
            both: Both::default(),
        }
    }

    /// Says which sessions and visits have views in several spans. Comes before the first span.
    pub fn set_divided(&mut self, divided: &DividedKeys) {
        self.sessions = Rc::clone(&divided.sessions);
        self.visitors = Pairs::new(self.sessions.len());
        self.divided_visits = Rc::clone(&divided.visits);
        self.visits = Pairs::new(self.divided_visits.len());
    }

    /// Says which times the views have that come now, and those that they know of.
    pub fn enter(&mut self, earliest: i64, latest: i64) {
        self.ignores_times = self.question.ignores_times_of(earliest, latest);
    }

    /// Counts the runs of a span that are not dead.
    pub fn count(&mut self, span: &Span, is_dead: impl Fn(usize) -> bool) -> Result<(), M::Error> {
        let (mut parts, mut number) = (span.parts(), 0);
        for runs in span.runs.chunks(LOOKED_UP) {
            self.look_up(runs);
            for (place, run) in runs.iter().enumerate() {
                let is_alive = !is_dead(number);
                number += 1;
                self.run += 1;
                let (session, head) = self.of_runs.get(place).copied().unwrap_or_default();
                self.head = head;
                if self.is_by_time && is_alive {
                    self.last_seen = if run.goes_on { self.slots.group(run.before) } else { None };
                }
                for part in parts.by_ref().take(run.fragments as usize) {
                    if is_alive {
                        self.count_part(part, session)?;
                    }
                }
                if let Some(session) = session {
                    self.visitors.put(session, self.head);
                }
            }
        }
        Ok(())
    }

    /// Looks up the sessions of runs, all in a row: a processor waits for several places of its memory at once.
    fn look_up(&mut self, runs: &[Run]) {
        self.of_runs.clear();
        if self.sessions.len() > 0 {
            let numbers = runs.iter().map(|run| self.sessions.number(run.session));
            let heads = |number: u32| self.visitors.head(number);
            self.of_runs.extend(numbers.map(|number| (number, number.map(heads).unwrap_or_default())));
        }
    }

    fn count_part(&mut self, part: Part, session: Option<u32>) -> Result<(), M::Error> {
        let Some(of_visit) = self.visit_group(&part)? else { return Ok(()) };
        self.visit += 1;
        let visit = self.divided_visits.number(part.fragment.visit);
        if self.is_by_time {
            self.last_in_visit = match part.earlier {
                Some(earlier) => self.slots.group(earlier.last.time),
                None => None,
            };
        }
        let is_whole = self.is_by_visit
            && part.earlier.is_none()
            && self.count_whole(part.fragment, of_visit, part.gaps(), session, visit);
        if is_whole { Ok(()) } else { self.count_views(&part, of_visit, session, visit) }
    }

    /// Counts a fragment view by view.
    #[inline(never)] // inside its caller it took 1.6 times as long
    fn count_views(
        &mut self,
        part: &Part,
        of_visit: Group,
        session: Option<u32>,
        visit: Option<u32>,
    ) -> Result<(), M::Error> {
        let Part { fragment, earlier: before, .. } = *part;
        let (pages, kinds, gaps) = (part.pages(), part.kinds(), part.gaps());
        let mut time = fragment.time;
        let (mut first, mut last, mut is_single) = match before {
            None => (None, None, false),
            Some(earlier) => {
                let first = self.view_group(earlier.entry, of_visit)?;
                let last = if earlier.is_single { first } else { self.view_group(earlier.last, of_visit)? };
                self.leave(first, last, earlier.is_single, time - earlier.last.time);
                (first, last, false)
            }
        };
        let mut gaps = gaps.iter();
        for (number, (page, kind)) in pages.iter().zip(kinds).enumerate() {
            if number > 0 {
                let gap = gaps.next().map_or(0, |gap| i64::from(*gap));
                time += gap;
                self.leave(first, last, is_single, gap);
                is_single = false;
            }
            last = self.view_group(Moment { page: *page, kind: *kind, time }, of_visit)?;
            let begins = number == 0 && before.is_none();
            if begins {
                (first, is_single) = (last, true);
            }
            match last {
                Some(group) => self.add(group, begins, session, visit),
                None => (self.last_seen, self.last_in_visit) = (None, None),
            }
        }
        Ok(())
    }

    /// Counts a whole visit, or the begin of one, whose views are in one slot, and so in one group. False if they are not.
    #[inline]
    fn count_whole(
        &mut self,
        fragment: &Fragment,
        of_visit: Group,
        gaps: &[u32],
        session: Option<u32>,
        visit: Option<u32>,
    ) -> bool {
        let stay: u64 = gaps.iter().map(|gap| u64::from(*gap)).sum();
        let of_slot = if self.ignores_times {
            Some(0)
        } else if fragment.time.saturating_add_unsigned(stay) < self.slots.end(fragment.time) {
            self.slots.group(fragment.time)
        } else {
            return false;
        };
        let Some(of_slot) = of_slot else {
            (self.last_seen, self.last_in_visit) = (None, None);
            return true;
        };
        let group = if self.is_by_slot { of_slot } else { of_visit };
        let numbers = &mut self.counter(group).numbers;
        numbers.views += i64::from(fragment.views);
        numbers.entries += 1;
        numbers.exits += 1;
        numbers.bounces += i64::from(fragment.views == 1);
        numbers.seconds += stay as i64;
        self.meet(group, session, visit);
        true
    }

    /// Takes back what was counted of a view as the last of its visit: another one comes after it.
    #[inline]
    fn leave(&mut self, first: Option<Group>, last: Option<Group>, is_single: bool, gap: i64) {
        if let Some(group) = last {
            self.counter(group).numbers.exits -= 1;
        }
        if let Some(group) = first {
            let numbers = &mut self.counter(group).numbers;
            numbers.seconds += gap;
            numbers.bounces -= i64::from(is_single);
        }
    }

    /// Counts a view that matches, as the last of its visit.
    #[inline]
    fn add(&mut self, group: Group, begins: bool, session: Option<u32>, visit: Option<u32>) {
        let begins = i64::from(begins);
        let numbers = &mut self.counter(group).numbers;
        numbers.views += 1;
        numbers.exits += 1;
        numbers.entries += begins;
        numbers.bounces += begins;
        self.meet(group, session, visit);
    }

    /// Counts session and visit of a view that matches, once each.
    #[inline]
    fn meet(&mut self, group: Group, session: Option<u32>, visit: Option<u32>) {
        if self.question.views_only {
            return;
        }
        if self.is_by_time {
            let (last_seen, last_in_visit) = (self.last_seen, self.last_in_visit);
            (self.last_seen, self.last_in_visit) = (Some(group), Some(group));
            let numbers = &mut self.counter(group).numbers;
            numbers.visitors += i64::from(last_seen != Some(group));
            numbers.visits += i64::from(last_in_visit != Some(group));
            return;
        }
        let (run, fragment) = (self.run, self.visit);
        let counter = self.counter(group);
        let (is_new_run, is_new_visit) = (counter.run != run, counter.visit != fragment);
        (counter.run, counter.visit) = (run, fragment);
        counter.numbers.visitors += i64::from(is_new_run && session.is_none());
        counter.numbers.visits += i64::from(is_new_visit && visit.is_none());
        let mut is_new = is_new_run && session.is_none();
        if is_new_run
            && let Some(session) = session
            && self.visitors.insert(&mut self.head, session, group)
        {
            self.counter(group).numbers.visitors += 1;
            is_new = true;
        }
        if is_new && self.question.by == By::Both {
            self.both.note(session, run, group);
        }
        if is_new_visit && let Some(visit) = visit {
            let mut head = self.visits.head(visit);
            let is_new = self.visits.insert(&mut head, visit, group);
            self.visits.put(visit, head);
            self.counter(group).numbers.visits += i64::from(is_new);
        }
    }

    #[allow(clippy::indexing_slicing)] // made large enough just before
    #[inline]
    fn counter(&mut self, group: Group) -> &mut Counter {
        let group = group as usize;
        if self.groups.len() <= group {
            self.grow(group);
        }
        &mut self.groups[group]
    }

    #[cold]
    fn grow(&mut self, group: usize) {
        self.groups.resize((group + 1).next_power_of_two(), Counter::default());
    }

    /// The group of a visit, if the visit has one; `None` if no view of it matches.
    #[inline]
    fn visit_group(&mut self, part: &Part) -> Result<Option<Group>, M::Error> {
        let (asks, by) = (self.question.asks, self.question.by);
        let mut group = 0;
        if asks.origin || asks.client {
            match self.source_group(part.fragment.origin, part.fragment.client)? {
                Some(of_source) => group = of_source,
                None => return Ok(None),
            }
        }
        if by == By::Entry || asks.entry {
            let entry =
                part.earlier.map(|earlier| earlier.entry.page).or_else(|| part.pages().first().copied());
            let entry = entry.unwrap_or(0);
            if asks.entry && !self.entries.matches(entry, || self.meaning.entry(entry))? {
                return Ok(None);
            }
            if by == By::Entry {
                group = entry;
            }
        }
        if by == By::Both {
            group = self.both.group(part.fragment.origin, part.fragment.client);
        }
        Ok(Some(group))
    }

    /// The group of visits with an origin and a client, as far as these say; `None` if they do not match.
    fn source_group(&mut self, origin: u32, client: u32) -> Result<Option<Group>, M::Error> {
        let (asks, by) = (self.question.asks, self.question.by);
        let mut group = 0;
        if asks.origin {
            match self.origins.get(origin, || self.meaning.origin(origin))? {
                Some(of_origin) if by == By::Origin => group = of_origin,
                Some(_) => {}
                None => return Ok(None),
            }
        }
        if asks.client {
            match self.clients.get(client, || self.meaning.client(client))? {
                Some(of_client) if by == By::Client => group = of_client,
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(Some(group))
    }

    /// Whether visits with an origin, or with a client, match as far as that says.
    #[inline]
    pub fn matches(&mut self, source: Source) -> Result<bool, M::Error> {
        let group = match source {
            Source::Origin(origin) => self.origins.get(origin, || self.meaning.origin(origin))?,
            Source::Client(client) => self.clients.get(client, || self.meaning.client(client))?,
        };
        Ok(group.is_some())
    }

    /// The group of a view, if it matches.
    #[inline]
    fn view_group(&mut self, at: Moment, of_visit: Group) -> Result<Option<Group>, M::Error> {
        let of_slot = if self.ignores_times { Some(0) } else { self.slots.group(at.time) };
        let Some(of_slot) = of_slot else { return Ok(None) };
        let asks = self.question.asks;
        if (asks.page && !self.pages.matches(at.page, || self.meaning.page(at.page))?)
            || (asks.kind && !self.kinds.matches(at.kind, || self.meaning.kind(at.kind))?)
        {
            return Ok(None);
        }
        Ok(Some(match self.question.by {
            By::Page => at.page,
            By::Kind => at.kind,
            By::Nothing | By::Unit(_) | By::Weekday | By::Hour => of_slot,
            By::Entry | By::Origin | By::Client | By::Both => of_visit,
        }))
    }

    /// Adds a span of which nothing is dead, and all of which is in the days asked for, also what it knows of before. `befores` are
    /// the times of the last views before of the sessions that go on, those at least that are not in these days. Only for an
    /// unfiltered question without groups.
    pub fn add_whole(&mut self, of_span: &Numbers, befores: impl Iterator<Item = i64>) {
        let new = befores.filter(|before| self.slots.group(*before).is_none()).count();
        let numbers = &mut self.counter(0).numbers;
        numbers.views += of_span.views;
        numbers.visitors += of_span.visitors + new as i64;
        numbers.visits += of_span.visits;
        numbers.entries += of_span.entries;
        numbers.exits += of_span.exits;
        numbers.bounces += of_span.bounces;
        numbers.seconds += of_span.seconds;
    }

    /// Adds the views of a span by their UTC days, where only they are wanted.
    pub fn add_days(&mut self, views: impl Iterator<Item = (i64, i64)>) {
        for (day, views) in
            views.filter(|(day, _)| (self.question.days.0..=self.question.days.1).contains(day))
        {
            let group = self.slots.unit(day);
            self.counter(group).numbers.views += views;
        }
    }

    /// Adds the views of a span by their pages, where only they are wanted.
    pub fn add_pages(&mut self, views: impl Iterator<Item = (u32, i64)>) {
        views.for_each(|(page, views)| self.counter(page).numbers.views += views);
    }

    /// What is asked.
    pub fn question(&self) -> &Question {
        self.question
    }

    /// The units that were met, by what `Slot::unit` says of them, and their groups.
    pub fn units(&self) -> &FxHashMap<i64, Group> {
        self.slots.units()
    }

    /// The groups of origins and clients, where these are asked for.
    pub fn take_both(&mut self) -> Both {
        std::mem::take(&mut self.both)
    }

    /// The groups that have views, with their numbers; and what numbers stand for.
    pub fn finish(self) -> (Vec<(Group, Numbers)>, M) {
        let groups = (0..).zip(self.groups).map(|(group, counter)| (group, counter.numbers));
        let groups = groups.filter(|(_, numbers)| numbers.views > 0).collect();
        (groups, self.meaning)
    }
}
