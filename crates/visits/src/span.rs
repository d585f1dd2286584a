//! A span in memory, made of views in their order.

use std::collections::HashMap;

/// Where and when a view was: the numbers of its page and of the page's kind, and its time in whole seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub page: u32,
    pub kind: u32,
    pub time: i64,
}

/// What a view says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub id: u64,
    /// Microseconds since 1970.
    pub time: i64,
    pub page: u32,
    pub kind: u32,
    /// 0 for none.
    pub origin: u32,
    /// 0 for none.
    pub client: u32,
}

impl View {
    fn moment(&self) -> Moment {
        Moment { page: self.page, kind: self.kind, time: seconds(self.time) }
    }
}

/// A time in whole seconds.
pub fn seconds(microseconds: i64) -> i64 {
    microseconds.div_euclid(1_000_000)
}

/// The visit that a view is of, as it stands after the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The id of the visit's first view.
    pub key: u64,
    pub origin: u32,
    pub client: u32,
    pub entry: Moment,
    pub last: Moment,
    /// The time of the last view in microseconds.
    pub last_time: i64,
    /// Whether the last view is the first one.
    pub is_single: bool,
}

impl Visit {
    /// A visit that begins with a view.
    pub fn new(view: &View) -> Self {
        let entry = view.moment();
        Visit {
            key: view.id,
            origin: view.origin,
            client: view.client,
            entry,
            last: entry,
            last_time: view.time,
            is_single: true,
        }
    }

    /// Whether a view comes after the end of the visit, and so begins another one.
    pub fn is_over_at(&self, time: i64, timeout: i64) -> bool {
        time.saturating_sub(self.last_time) > timeout
    }

    /// The visit after a view more.
    pub fn with(self, view: &View) -> Self {
        Visit { last: view.moment(), last_time: view.time, is_single: false, ..self }
    }
}

/// What a fragment needs to know of its visit's views before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    pub entry: Moment,
    pub last: Moment,
    /// Whether there is only one.
    pub is_single: bool,
}

/// The views of one visit in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The id of the visit's first view.
    pub visit: u64,
    pub origin: u32,
    pub client: u32,
    /// The time of the fragment's first view.
    pub time: i64,
    /// Whether the visit has views before the fragment. Then `Span::earlier` has an element for it.
    pub goes_on: bool,
    pub views: u32,
}

/// The views of a session in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The id of the session's first view.
    pub session: u64,
    /// A hash of the session's id.
    pub hash: u32,
    /// Whether the session has views in an earlier span.
    pub goes_on: bool,
    /// The time of the last of these views; 0 if there is none.
    pub before: i64,
    pub fragments: u32,
}

/// Views of a site, by session and visit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub runs: Vec<Run>,
    /// Of the runs, in their order.
    pub fragments: Vec<Fragment>,
    /// Of the fragments that go on with a visit, in their order.
    pub earlier: Vec<Earlier>,
    /// The pages of the views, in the order of the fragments.
    pub pages: Vec<u32>,
    /// The kinds of these pages.
    pub kinds: Vec<u32>,
    /// Seconds since the view before, for each view that is not the first of its fragment.
    pub gaps: Vec<u32>,
}

impl Span {
    /// Begins the run of a session.
    /// `before` is the time of the session's last view in an earlier span.
    pub fn begin_run(&mut self, session: u64, hash: u32, before: Option<i64>) {
        self.runs.push(Run {
            session,
            hash,
            goes_on: before.is_some(),
            before: before.unwrap_or(0),
            fragments: 0,
        });
    }

    /// Adds a view to the last run. `visit` is what the session's visit was before the view. Returns what it is after the view.
    pub fn add(&mut self, view: &View, visit: Option<Visit>, timeout: i64) -> Visit {
        let is_new_run = self.runs.last().is_none_or(|run| run.fragments == 0);
        let going_on = visit.filter(|visit| !visit.is_over_at(view.time, timeout));
        let time = seconds(view.time);
        match (going_on, self.fragments.last_mut()) {
            (Some(visit), Some(fragment)) if !is_new_run => {
                fragment.views += 1;
                self.gaps.push(u32::try_from(time - visit.last.time).unwrap_or(u32::MAX));
            }
            _ => {
                if let Some(run) = self.runs.last_mut() {
                    run.fragments += 1;
                }
                self.earlier.extend(going_on.map(|visit| Earlier {
                    entry: visit.entry,
                    last: visit.last,
                    is_single: visit.is_single,
                }));
                let of = going_on.unwrap_or_else(|| Visit::new(view));
                self.fragments.push(Fragment {
                    visit: of.key,
                    origin: of.origin,
                    client: of.client,
                    time,
                    goes_on: going_on.is_some(),
                    views: 1,
                });
            }
        }
        self.pages.push(view.page);
        self.kinds.push(view.kind);
        going_on.map_or_else(|| Visit::new(view), |visit| visit.with(view))
    }

    /// How many views there are.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The fragments, with what belongs to each.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let (mut first_view, mut earlier) = (0, self.earlier.iter());
        self.fragments.iter().enumerate().map(move |(number, fragment)| {
            let earlier = if fragment.goes_on { earlier.next() } else { None };
            let part = Part { span: self, fragment, earlier, number, first_view };
            first_view += fragment.views as usize;
            part
        })
    }

    /// The earliest time of a view that the span knows of, and the latest.
    pub fn times(&self) -> Option<(i64, i64)> {
        let of_parts = self.parts().map(|part| {
            let stay: i64 = part.gaps().iter().map(|gap| i64::from(*gap)).sum();
            let first = part.earlier.map_or(part.fragment.time, |earlier| earlier.entry.time);
            (first, part.fragment.time + stay)
        });
        of_parts
            .reduce(|(first, last), (other_first, other_last)| (first.min(other_first), last.max(other_last)))
    }

    /// The runs of both spans that are alive; `later` has later views. A session of both has one run.
    pub fn merge(&self, is_dead: impl Fn(usize) -> bool, later: &Span) -> Span {
        let mut followers: HashMap<u64, Piece> =
            later.pieces(|_| false).map(|piece| (piece.run.session, piece)).collect();
        let mut merged = Span::default();
        for piece in self.pieces(is_dead) {
            merged.append(&piece);
            if let Some(follower) = followers.remove(&piece.run.session) {
                merged.join(&follower);
            }
        }
        // In their order, so that equal input gives an equal span.
        for piece in later.pieces(|_| false) {
            if followers.remove(&piece.run.session).is_some() {
                merged.append(&piece);
            }
        }
        merged
    }

    /// The runs that are alive, with what belongs to them.
    fn pieces<'s>(&'s self, is_dead: impl Fn(usize) -> bool + 's) -> impl Iterator<Item = Piece<'s>> {
        let mut rest = Rest(&self.fragments, &self.earlier, &self.pages, &self.kinds, &self.gaps);
        self.runs.iter().enumerate().filter_map(move |(number, run)| {
            let fragments = take(&mut rest.0, run.fragments as usize);
            let views = fragments.iter().map(|fragment| fragment.views as usize).sum();
            let piece = Piece {
                run: *run,
                fragments,
                earlier: take(&mut rest.1, fragments.iter().filter(|fragment| fragment.goes_on).count()),
                pages: take(&mut rest.2, views),
                kinds: take(&mut rest.3, views),
                gaps: take(&mut rest.4, views - fragments.len()),
            };
            (!is_dead(number)).then_some(piece)
        })
    }

    fn append(&mut self, piece: &Piece) {
        self.runs.push(piece.run);
        self.extend(piece.fragments, piece.earlier, piece);
    }

    /// Appends the later views of the last run's session.
    fn join(&mut self, piece: &Piece) {
        let (mut fragments, mut earlier) = (piece.fragments, piece.earlier);
        if let ([first, fragments_after @ ..], [visit, earlier_after @ ..]) = (fragments, earlier)
            && first.goes_on
            && let Some(last) = self.fragments.last_mut()
            && last.visit == first.visit
        {
            last.views += first.views;
            self.gaps.push(u32::try_from(first.time - visit.last.time).unwrap_or(u32::MAX));
            (fragments, earlier) = (fragments_after, earlier_after);
        }
        if let Some(run) = self.runs.last_mut() {
            run.fragments += u32::try_from(fragments.len()).unwrap_or(u32::MAX);
        }
        self.extend(fragments, earlier, piece);
    }

    fn extend(&mut self, fragments: &[Fragment], earlier: &[Earlier], piece: &Piece) {
        self.fragments.extend_from_slice(fragments);
        self.earlier.extend_from_slice(earlier);
        self.pages.extend_from_slice(piece.pages);
        self.kinds.extend_from_slice(piece.kinds);
        self.gaps.extend_from_slice(piece.gaps);
    }
}

/// A fragment, with what belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct Part<'s> {
    span: &'s Span,
    pub fragment: &'s Fragment,
    pub earlier: Option<&'s Earlier>,
    /// How many fragments and views of the span come before.
    number: usize,
    first_view: usize,
}

impl<'s> Part<'s> {
    /// The pages of the views.
    pub fn pages(&self) -> &'s [u32] {
        self.of_views(&self.span.pages)
    }

    /// The kinds of these pages.
    pub fn kinds(&self) -> &'s [u32] {
        self.of_views(&self.span.kinds)
    }

    /// Seconds since the view before, for each view but the first.
    #[inline]
    pub fn gaps(&self) -> &'s [u32] {
        let first = self.first_view - self.number;
        self.span.gaps.get(first..first + self.fragment.views as usize - 1).unwrap_or_default()
    }

    /// The views, in their order.
    pub fn moments(&self) -> impl Iterator<Item = Moment> + use<'s> {
        let gaps = std::iter::once(0).chain(self.gaps().iter().copied());
        let mut time = self.fragment.time;
        self.pages().iter().zip(self.kinds()).zip(gaps).map(move |((page, kind), gap)| {
            time += i64::from(gap);
            Moment { page: *page, kind: *kind, time }
        })
    }

    fn of_views(&self, values: &'s [u32]) -> &'s [u32] {
        values.get(self.first_view..self.first_view + self.fragment.views as usize).unwrap_or_default()
    }
}

/// What is left of a span's fragments, what they know of earlier views, pages, kinds and gaps.
struct Rest<'s>(&'s [Fragment], &'s [Earlier], &'s [u32], &'s [u32], &'s [u32]);

/// Takes elements from the front, as many as there are.
fn take<'s, T>(slice: &mut &'s [T], count: usize) -> &'s [T] {
    let (taken, rest) = slice.split_at_checked(count).unwrap_or((slice, &[]));
    *slice = rest;
    taken
}

/// A run with what belongs to it.
struct Piece<'s> {
    run: Run,
    fragments: &'s [Fragment],
    earlier: &'s [Earlier],
    pages: &'s [u32],
    kinds: &'s [u32],
    gaps: &'s [u32],
}
