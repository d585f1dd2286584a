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
    let mut span = Span::default();
    decode_into(columns, size, &mut span)?;
    Ok(span)
}

/// The same into the memory of another span. After an error that is anything.
pub fn decode_into(columns: &Columns<Option<&[u8]>>, size: Size, span: &mut Span) -> Result<(), Damaged> {
    if !size.is_possible() {
        return Err(Damaged("the numbers of runs, fragments and views do not fit each other"));
    }
    let (mut of_runs, mut of_times) = match (optional(columns.runs)?, optional(columns.times)?) {
        (Some(runs), Some(times)) => (runs, times),
        _ => return Err(Damaged("the runs or the times are missing")),
    };
    let next = |column: &mut Option<Column>| column.as_mut().map_or(0, Column::number);
    let Span { runs, fragments, earlier, pages, kinds, gaps } = span;

    let mut hashes = optional_column(columns.hashes, size.runs)?;
    let mut sessions = Column::take(&mut of_runs, size.runs)?;
    let mut go_on = Column::take(&mut of_runs, size.runs)?;
    let mut counts = Column::take(&mut of_runs, size.runs)?;
    let mut left = Left(size.fragments);
    runs.clear();
    runs.reserve(size.runs);
    for session in sessions.by_ref() {
        let fragments = left.take(counts.small())?;
        let goes_on = go_on.number() != 0;
        runs.push(Run { session, hash: next(&mut hashes) as u32, goes_on, before: 0, fragments });
    }
    left.require_none()?;
    if let Some(column) = columns.divided {
        let going_on = runs.iter_mut().filter(|run| run.goes_on);
        going_on.zip(GoingOn::of(column)?.befores()).for_each(|(run, before)| run.before = before);
    }

    let mut visits = optional_column(columns.visits, size.fragments)?;
    let mut origins = optional_column(columns.origins, size.fragments)?;
    let mut clients = optional_column(columns.clients, size.fragments)?;
    let mut times = Column::take(&mut of_times, size.fragments)?;
    let mut views = Column::take(&mut of_times, size.fragments)?;
    let mut go_on = Column::take(&mut of_times, size.fragments)?;
    gaps.clear();
    gaps.extend(Column::take(&mut of_times, size.views - size.fragments)?.map(|gap| gap as u32));
    let (mut left, mut count) = (Left(size.views), 0);
    fragments.clear();
    fragments.reserve(size.fragments);
    for time in times.by_ref() {
        let goes_on = go_on.number() != 0;
        count += usize::from(goes_on);
        fragments.push(Fragment {
            visit: next(&mut visits),
            origin: next(&mut origins) as u32,
            client: next(&mut clients) as u32,
            time: unzigzag(time),
            goes_on,
            views: left.take(views.small())?,
        });
    }
    left.require_none()?;

    let mut entries = Column::take(&mut of_times, count)?;
    let mut lasts = Column::take(&mut of_times, count)?;
    let mut singles = Column::take(&mut of_times, count)?;
    earlier.clear();
    earlier.extend((0..count).map(|_| {
        let at = |times: &mut Column| Moment { page: 0, kind: 0, time: unzigzag(times.number()) };
        Earlier { entry: at(&mut entries), last: at(&mut lasts), is_single: singles.number() != 0 }
    }));
    let mut of_views = |column, values: &mut Vec<u32>, set: fn(&mut Moment, u32)| -> Result<(), Damaged> {
        values.clear();
        let Some(mut bytes) = optional(column)? else {
            values.resize(size.views, 0);
            return Ok(());
        };
        values.extend(Column::take(&mut bytes, size.views)?.map(|value| value as u32));
        let mut entries = Column::take(&mut bytes, count)?;
        let mut lasts = Column::take(&mut bytes, count)?;
        for earlier in earlier.iter_mut() {
            set(&mut earlier.entry, entries.small());
            set(&mut earlier.last, lasts.small());
        }
        Ok(())
    };
    of_views(columns.pages, pages, |moment, page| moment.page = page)?;
    of_views(columns.kinds, kinds, |moment, kind| moment.kind = kind)
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
