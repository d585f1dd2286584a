//! A span as bytes, and back. Each column stands for itself, so that a question reads only those that it needs. A column begins
//! with its checksum.

use std::collections::BTreeMap;

use crate::Damaged;
use crate::calendar::DAY;
use crate::packed;
use crate::packed::Column;
use crate::span::{Earlier, Fragment, Moment, Run, Span};

/// The version of this format. A column of another version is not read.
pub const FORMAT: i16 = 1;

/// The columns of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns<B> {
    /// Of each run: the session, whether it goes on, and how many fragments it has.
    pub runs: B,
    /// Of each run: the hash of the session's id.
    pub hashes: B,
    /// Of each fragment: the visit.
    pub visits: B,
    /// Of each fragment: time, number of views, and whether it goes on. The gaps, and the times of earlier views.
    pub times: B,
    /// Of each view: the page. The pages of earlier views.
    pub pages: B,
    /// Of each view: the kind of page. The kinds of earlier views.
    pub kinds: B,
    /// Of each fragment: the origin.
    pub origins: B,
    /// Of each fragment: the client.
    pub clients: B,
    /// The UTC days of the views, and how many views each has.
    pub days: B,
    /// The pages of the views, and how many views each has.
    pub totals: B,
    /// The sessions and visits that go on; of each of these sessions the time of its last view before.
    pub divided: B,
}

/// The most views of a span that is believed.
const MOST_VIEWS: usize = 1 << 28;

/// How many runs, fragments and views a span has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub runs: usize,
    pub fragments: usize,
    pub views: usize,
}

impl Size {
    pub fn of(span: &Span) -> Self {
        Size { runs: span.runs.len(), fragments: span.fragments.len(), views: span.pages.len() }
    }

    /// Whether such a span can be.
    fn is_possible(&self) -> bool {
        self.runs <= self.fragments && self.fragments <= self.views && self.views <= MOST_VIEWS
    }
}

/// The hash by which a session's run is found.
pub fn hash_of(name: &[u8]) -> u32 {
    crc32fast::hash(name)
}

/// The span as bytes.
pub fn encode(span: &Span) -> Columns<Vec<u8>> {
    let Span { runs, fragments, earlier, .. } = span;
    let column = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = vec![0; size_of::<u32>()];
        write(&mut bytes);
        if let Some((checksum, content)) = bytes.split_first_chunk_mut() {
            *checksum = crc32fast::hash(content).to_le_bytes();
        }
        bytes
    };
    Columns {
        runs: column(&|bytes| {
            packed::write(bytes, runs.iter().map(|run| run.session));
            packed::write(bytes, runs.iter().map(|run| u64::from(run.goes_on)));
            packed::write(bytes, runs.iter().map(|run| run.fragments.into()));
        }),
        hashes: column(&|bytes| packed::write(bytes, runs.iter().map(|run| run.hash.into()))),
        visits: column(&|bytes| packed::write(bytes, fragments.iter().map(|fragment| fragment.visit))),
        times: column(&|bytes| {
            packed::write(bytes, fragments.iter().map(|fragment| zigzag(fragment.time)));
            packed::write(bytes, fragments.iter().map(|fragment| fragment.views.into()));
            packed::write(bytes, fragments.iter().map(|fragment| u64::from(fragment.goes_on)));
            packed::write(bytes, span.gaps.iter().map(|gap| u64::from(*gap)));
            packed::write(bytes, earlier.iter().map(|earlier| zigzag(earlier.entry.time)));
            packed::write(bytes, earlier.iter().map(|earlier| zigzag(earlier.last.time)));
            packed::write(bytes, earlier.iter().map(|earlier| u64::from(earlier.is_single)));
        }),
        pages: column(&|bytes| {
            packed::write(bytes, span.pages.iter().map(|page| u64::from(*page)));
            packed::write(bytes, earlier.iter().map(|earlier| earlier.entry.page.into()));
            packed::write(bytes, earlier.iter().map(|earlier| earlier.last.page.into()));
        }),
        kinds: column(&|bytes| {
            packed::write(bytes, span.kinds.iter().map(|kind| u64::from(*kind)));
            packed::write(bytes, earlier.iter().map(|earlier| earlier.entry.kind.into()));
            packed::write(bytes, earlier.iter().map(|earlier| earlier.last.kind.into()));
        }),
        origins: column(&|bytes| {
            packed::write(bytes, fragments.iter().map(|fragment| fragment.origin.into()))
        }),
        clients: column(&|bytes| {
            packed::write(bytes, fragments.iter().map(|fragment| fragment.client.into()))
        }),
        days: column(&|bytes| {
            let moments = span.parts().flat_map(|part| part.moments());
            write_counts(bytes, moments.map(|at| zigzag(at.time.div_euclid(DAY))))
        }),
        totals: column(&|bytes| write_counts(bytes, span.pages.iter().map(|page| (*page).into()))),
        divided: column(&|bytes| {
            let sessions = runs.iter().filter(|run| run.goes_on).map(|run| run.session);
            let visits = fragments.iter().filter(|fragment| fragment.goes_on).map(|fragment| fragment.visit);
            let counts = [sessions.clone().count() as u64, visits.clone().count() as u64];
            packed::write(bytes, counts.into_iter());
            packed::write(bytes, sessions);
            packed::write(bytes, visits);
            packed::write(bytes, runs.iter().filter(|run| run.goes_on).map(|run| zigzag(run.before)));
        }),
    }
}

/// Writes different values, and how often each comes.
fn write_counts(bytes: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    packed::write(bytes, [counts.len() as u64].into_iter());
    packed::write(bytes, counts.keys().copied());
    packed::write(bytes, counts.values().copied());
}

/// Different values, and how often each comes.
pub struct Counts<'b>(Column<'b>, Column<'b>);

impl<'b> Counts<'b> {
    pub fn of(column: &'b [u8]) -> Result<Self, Damaged> {
        let mut bytes = content(column)?;
        let count = believed(Column::take(&mut bytes, 1)?.number())?;
        Ok(Counts(Column::take(&mut bytes, count)?, Column::take(&mut bytes, count)?))
    }

    /// As days since 1970.
    pub fn days(self) -> impl Iterator<Item = (i64, i64)> {
        self.0.map(unzigzag).zip(self.1.map(|count| count as i64))
    }

    /// As pages.
    pub fn pages(self) -> impl Iterator<Item = (u32, i64)> {
        self.0.map(|page| page as u32).zip(self.1.map(|count| count as i64))
    }
}

/// The sessions and visits that go on from before a span.
pub struct GoingOn<'b> {
    pub sessions: Column<'b>,
    pub visits: Column<'b>,
    befores: Column<'b>,
}

impl<'b> GoingOn<'b> {
    pub fn of(column: &'b [u8]) -> Result<Self, Damaged> {
        let mut bytes = content(column)?;
        let mut counts = Column::take(&mut bytes, 2)?;
        let (sessions, visits) = (believed(counts.number())?, believed(counts.number())?);
        Ok(GoingOn {
            sessions: Column::take(&mut bytes, sessions)?,
            visits: Column::take(&mut bytes, visits)?,
            befores: Column::take(&mut bytes, sessions)?,
        })
    }

    /// The sessions whose last view before is at a time or after it.
    pub fn sessions_since(&self, since: i64) -> impl Iterator<Item = u64> + use<'b> {
        let sessions = self.sessions.clone();
        let befores = self.befores.clone().map(unzigzag).enumerate();
        befores.filter(move |(_, before)| *before >= since).map(move |(place, _)| sessions.get(place))
    }

    /// The time of the last view before, of each session.
    pub fn befores(self) -> impl Iterator<Item = i64> {
        self.befores.map(unzigzag)
    }
}

/// A count that can be. A number can take no bit, so the length of a column does not bound how many it says it has.
fn believed(count: u64) -> Result<usize, Damaged> {
    usize::try_from(count).ok().filter(|count| *count <= MOST_VIEWS).ok_or(Damaged("a count is too large"))
}

/// The hashes of the runs.
pub fn decode_hashes(column: &[u8], size: Size) -> Result<Vec<u32>, Damaged> {
    Ok(Column::take(&mut content(column)?, size.runs)?.map(|hash| hash as u32).collect())
}

/// The span in these columns. A column that is `None` has not been read: its values are 0.
pub fn decode(columns: &Columns<Option<&[u8]>>, size: Size) -> Result<Span, Damaged> {
    Decoder::new(columns, size)?.whole()
}

/// A span in columns, which is decoded piece by piece. So what is decoded stays in a processor's cache until it is counted.
pub struct Decoder<'b> {
    runs: usize,
    sessions: Column<'b>,
    runs_go_on: Column<'b>,
    fragments: Column<'b>,
    fragments_left: Left,
    hashes: Option<Column<'b>>,
    befores: Option<Column<'b>>,
    times: Column<'b>,
    views: Column<'b>,
    views_left: Left,
    go_on: Column<'b>,
    gaps: Column<'b>,
    visits: Option<Column<'b>>,
    origins: Option<Column<'b>>,
    clients: Option<Column<'b>>,
    /// How many fragments that go on have been decoded.
    going_on: usize,
    /// Of each fragment that goes on: the times of the first and the last view of its visit before, and whether that is one view.
    entries: Column<'b>,
    lasts: Column<'b>,
    singles: Column<'b>,
    pages: Option<OfViews<'b>>,
    kinds: Option<OfViews<'b>>,
}

/// A number for each view, and for the first and the last view before of each fragment that goes on.
struct OfViews<'b> {
    views: Column<'b>,
    entries: Column<'b>,
    lasts: Column<'b>,
}

/// What a visit came from, or what it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Origin(u32),
    Client(u32),
}

/// How many runs a piece has at most: these and what belongs to them are some 60 kB.
pub const PIECE: usize = 512;

impl<'b> Decoder<'b> {
    /// Of columns that are `None` all values are 0.
    pub fn new(columns: &Columns<Option<&'b [u8]>>, size: Size) -> Result<Self, Damaged> {
        if !size.is_possible() {
            return Err(Damaged("the numbers of runs, fragments and views do not fit each other"));
        }
        let (mut of_runs, mut of_times) = match (optional(columns.runs)?, optional(columns.times)?) {
            (Some(runs), Some(times)) => (runs, times),
            _ => return Err(Damaged("the runs or the times are missing")),
        };
        let mut of_run = || Column::take(&mut of_runs, size.runs);
        let (sessions, runs_go_on, fragments) = (of_run()?, of_run()?, of_run()?);
        let mut of_time = |count| Column::take(&mut of_times, count);
        let [times, views, go_on] =
            [of_time(size.fragments)?, of_time(size.fragments)?, of_time(size.fragments)?];
        let gaps = of_time(size.views - size.fragments)?;
        let earlier = go_on.count_nonzero();
        let [entries, lasts, singles] = [of_time(earlier)?, of_time(earlier)?, of_time(earlier)?];
        let of_views = |column| -> Result<Option<OfViews<'b>>, Damaged> {
            let Some(mut bytes) = optional(column)? else { return Ok(None) };
            let mut take = |count| Column::take(&mut bytes, count);
            Ok(Some(OfViews { views: take(size.views)?, entries: take(earlier)?, lasts: take(earlier)? }))
        };
        Ok(Decoder {
            runs: size.runs,
            sessions,
            runs_go_on,
            fragments,
            fragments_left: Left(size.fragments),
            hashes: optional_column(columns.hashes, size.runs)?,
            befores: columns.divided.map(|column| Ok(GoingOn::of(column)?.befores)).transpose()?,
            times,
            views,
            views_left: Left(size.views),
            go_on,
            gaps,
            visits: optional_column(columns.visits, size.fragments)?,
            origins: optional_column(columns.origins, size.fragments)?,
            clients: optional_column(columns.clients, size.fragments)?,
            going_on: 0,
            entries,
            lasts,
            singles,
            pages: of_views(columns.pages)?,
            kinds: of_views(columns.kinds)?,
        })
    }

    /// The whole span.
    pub fn whole(mut self) -> Result<Span, Damaged> {
        let mut span = Span::default();
        self.next(usize::MAX, &mut span)?;
        Ok(span)
    }

    /// The next runs, so many at most, into the memory of another span. False if there are none. After an error that is anything.
    pub fn next(&mut self, most: usize, span: &mut Span) -> Result<bool, Damaged> {
        let Span { runs, fragments, earlier, pages, kinds, gaps } = span;
        let count = self.runs.min(most);
        self.runs -= count;
        // Columns are copied, so that a processor's registers can hold them in a loop.
        let (mut sessions, mut go_on, mut of_runs) =
            (self.sessions.clone(), self.runs_go_on.clone(), self.fragments.clone());
        let mut left = self.fragments_left.0;
        runs.clear();
        runs.reserve(count);
        for _ in 0..count {
            let run = Run {
                session: sessions.number(),
                hash: next(&mut self.hashes) as u32,
                goes_on: go_on.number() != 0,
                before: 0,
                fragments: self.fragments_left.take(of_runs.small())?,
            };
            runs.push(run);
        }
        (self.sessions, self.runs_go_on, self.fragments) = (sessions, go_on, of_runs);
        if let Some(befores) = &mut self.befores {
            runs.iter_mut().filter(|run| run.goes_on).for_each(|run| run.before = unzigzag(befores.number()));
        }

        left -= self.fragments_left.0;
        let (mut times, mut views, mut go_on) = (self.times.clone(), self.views.clone(), self.go_on.clone());
        let before = self.views_left.0;
        fragments.clear();
        fragments.reserve(left);
        for _ in 0..left {
            let fragment = Fragment {
                visit: next(&mut self.visits),
                origin: next(&mut self.origins) as u32,
                client: next(&mut self.clients) as u32,
                time: unzigzag(times.number()),
                goes_on: go_on.number() != 0,
                views: self.views_left.take(views.small())?,
            };
            fragments.push(fragment);
        }
        (self.times, self.views, self.go_on) = (times, views, go_on);
        let views = before - self.views_left.0;
        if self.runs == 0 {
            self.fragments_left.require_none()?;
            self.views_left.require_none()?;
        }
        earlier.clear();
        let going_on = fragments.iter().filter(|fragment| fragment.goes_on).count();
        earlier.extend((self.going_on..self.going_on + going_on).map(|place| self.earlier(place)));
        self.going_on += going_on;
        gaps.clear();
        self.gaps.move_to(gaps, views - fragments.len());
        for (values, column) in [(pages, &mut self.pages), (kinds, &mut self.kinds)] {
            values.clear();
            match column {
                Some(column) => column.views.move_to(values, views),
                None => values.resize(views, 0),
            }
        }
        Ok(count > 0)
    }

    /// What a fragment that goes on needs to know of earlier views. `place` is how many fragments before it go on.
    fn earlier(&self, place: usize) -> Earlier {
        let of_views = [&self.pages, &self.kinds].map(|column| match column {
            Some(column) => [column.entries.get(place) as u32, column.lasts.get(place) as u32],
            None => [0, 0],
        });
        let [[entry_page, last_page], [entry_kind, last_kind]] = of_views;
        Earlier {
            entry: Moment { page: entry_page, kind: entry_kind, time: unzigzag(self.entries.get(place)) },
            last: Moment { page: last_page, kind: last_kind, time: unzigzag(self.lasts.get(place)) },
            is_single: self.singles.get(place) != 0,
        }
    }

    /// The fragments of runs that are not dead whose origin and client match, with their runs; into the memory of another span.
    /// After an error that is anything. Of the other fragments few columns are read. The last views before, and whether a run goes
    /// on, are not. There are none if `matches` stops it by `None`.
    pub fn matching(
        mut self,
        is_dead: impl Fn(usize) -> bool,
        matches: impl FnMut(Source) -> Option<bool>,
        span: &mut Span,
    ) -> Result<(), Damaged> {
        let selected = self.select(matches).unwrap_or_default();
        let Span { runs, fragments, earlier, pages, kinds, gaps } = span;
        runs.clear();
        fragments.clear();
        earlier.clear();
        pages.clear();
        kinds.clear();
        gaps.clear();
        let (ends_of_runs, ends) =
            (ends(&self.fragments, self.fragments_left.0)?, ends(&self.views, self.views_left.0)?);
        let (mut number, mut counted, mut last) = (0, 0, None);
        for fragment in selected.into_iter().map(|fragment| fragment as usize) {
            let later = ends_of_runs.get(number..).unwrap_or_default();
            number += later.partition_point(|end| *end as usize <= fragment);
            if is_dead(number) {
                continue;
            }
            if last != Some(number) {
                let hash = self.hashes.as_ref().map_or(0, |hashes| hashes.get(number) as u32);
                let session = self.sessions.get(number);
                runs.push(Run { session, hash, goes_on: false, before: 0, fragments: 0 });
                last = Some(number);
            }
            runs.last_mut().into_iter().for_each(|run| run.fragments += 1);
            let end = |fragment: usize| ends.get(fragment).map_or(0, |end| *end as usize);
            let views = fragment.checked_sub(1).map_or(0, end)..end(fragment);
            let goes_on = self.go_on.get(fragment) != 0;
            if goes_on {
                self.going_on += (counted..fragment).filter(|place| self.go_on.get(*place) != 0).count();
                counted = fragment;
                earlier.push(self.earlier(self.going_on));
            }
            let of = |column: &Option<Column>| column.as_ref().map_or(0, |column| column.get(fragment));
            fragments.push(Fragment {
                visit: of(&self.visits),
                origin: of(&self.origins) as u32,
                client: of(&self.clients) as u32,
                time: unzigzag(self.times.get(fragment)),
                goes_on,
                views: views.len() as u32,
            });
            // Each fragment before has a view without a gap, and so has this one.
            let of_gaps = views.start - fragment..views.end - fragment - 1;
            gaps.extend(of_gaps.map(|gap| self.gaps.get(gap) as u32));
            for (values, column) in [(&mut *pages, &self.pages), (&mut *kinds, &self.kinds)] {
                let value = |view| column.as_ref().map_or(0, |column| column.views.get(view) as u32);
                values.extend(views.clone().map(value));
            }
        }
        Ok(())
    }

    /// The fragments whose origin and client match. Of those whose origin does not, the client is not looked at.
    fn select(&self, mut matches: impl FnMut(Source) -> Option<bool>) -> Option<Vec<u32>> {
        let mut selected: Vec<u32> = Vec::new();
        match &self.origins {
            Some(origins) => {
                for (fragment, origin) in (0..).zip(origins.clone()) {
                    if matches(Source::Origin(origin as u32))? {
                        selected.push(fragment);
                    }
                }
            }
            None => selected.extend(0..self.fragments_left.0 as u32),
        }
        let Some(clients) = &self.clients else { return Some(selected) };
        let mut is_stopped = false;
        selected.retain(|fragment| {
            let matches = matches(Source::Client(clients.get(*fragment as usize) as u32));
            is_stopped |= matches.is_none();
            matches.unwrap_or(false)
        });
        (!is_stopped).then_some(selected)
    }
}

/// Where each of the groups ends whose sizes are in a column. Each has one element at least, and all have `all`.
fn ends(sizes: &Column, all: usize) -> Result<Vec<u32>, Damaged> {
    let (mut end, mut is_empty) = (0, false);
    let ends = sizes.clone().map(|size| {
        is_empty |= size == 0;
        end += size;
        end as u32
    });
    let ends: Vec<u32> = ends.collect();
    if is_empty || end != all as u64 { Err(Damaged("a column does not fit the others")) } else { Ok(ends) }
}

fn next(column: &mut Option<Column>) -> u64 {
    column.as_mut().map_or(0, Column::number)
}

fn optional(column: Option<&[u8]>) -> Result<Option<&[u8]>, Damaged> {
    column.map(content).transpose()
}

fn optional_column(column: Option<&[u8]>, count: usize) -> Result<Option<Column<'_>>, Damaged> {
    optional(column)?.map(|mut bytes| Column::take(&mut bytes, count)).transpose()
}

/// How many are left to be given out.
struct Left(usize);

impl Left {
    /// Takes as many as there should be, which is one at least.
    fn take(&mut self, count: u32) -> Result<u32, Damaged> {
        match self.0.checked_sub(count as usize) {
            Some(left) if count > 0 => {
                self.0 = left;
                Ok(count)
            }
            _ => Err(Damaged("a column does not fit the others")),
        }
    }

    fn require_none(&self) -> Result<(), Damaged> {
        if self.0 == 0 { Ok(()) } else { Err(Damaged("a column does not fit the others")) }
    }
}

/// The content of a column whose checksum is right.
fn content(column: &[u8]) -> Result<&[u8], Damaged> {
    let (checksum, content) = column.split_first_chunk().ok_or(Damaged("a column has no checksum"))?;
    if crc32fast::hash(content) == u32::from_le_bytes(*checksum) {
        Ok(content)
    } else {
        Err(Damaged("the checksum of a column is wrong"))
    }
}

/// Times before 1970 come after small ones, instead of after all.
fn zigzag(time: i64) -> u64 {
    ((time << 1) ^ (time >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
