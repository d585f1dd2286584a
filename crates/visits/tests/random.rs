//! Random views, divided into spans at random places, give the numbers that the definitions give.

use std::collections::{BTreeMap, BTreeSet};

use site_stats_visits::calendar::{DAY, Length, Unit, Zone};
use site_stats_visits::columns::{self, Columns, Counts, Decoder, GoingOn, Size};
use site_stats_visits::digest::Digest;
use site_stats_visits::question::{Asks, By, Counting, Divided, Group, Meaning, Numbers, Question, totals};
use site_stats_visits::span::{Span, View, Visit, seconds};

const TIMEOUT: i64 = 1_800_000_000;
const SESSIONS: u64 = 4;
const PAGES: u32 = 4;

/// xorshift64*, as in Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % limit
    }
}

/// Views of several sessions, in the order of their time.
fn history(random: &mut Random) -> Vec<(u64, View)> {
    let mut time = -3_600_000_000;
    let count = random.below(40);
    (1..=count)
        .map(|id| {
            time += match random.below(6) {
                0 => 0,
                1 => TIMEOUT,
                2 => TIMEOUT + 1,
                3 => random.below(1_000_000) as i64,
                4 => random.below(20_000_000_000) as i64,
                _ => random.below(900_000_000) as i64,
            };
            let view = View {
                id,
                time,
                page: random.below(PAGES.into()) as u32,
                kind: random.below(2) as u32,
                origin: random.below(3) as u32,
                client: random.below(3) as u32,
            };
            (random.below(SESSIONS), view)
        })
        .collect()
}

/// Numbers stand for themselves; some match.
#[derive(Clone, Copy)]
struct Matching {
    page: u32,
    kind: u32,
    entry: u32,
    origin: u32,
    client: u32,
}

fn matches(bits: u32, number: u32) -> Result<Option<Group>, ()> {
    Ok((bits >> number & 1 != 0).then_some(number))
}

impl Meaning for Matching {
    type Error = ();
    fn page(&mut self, page: u32) -> Result<bool, ()> {
        Ok(matches(self.page, page)?.is_some())
    }
    fn kind(&mut self, kind: u32) -> Result<bool, ()> {
        Ok(matches(self.kind, kind)?.is_some())
    }
    fn entry(&mut self, page: u32) -> Result<bool, ()> {
        Ok(matches(self.entry, page)?.is_some())
    }
    fn origin(&mut self, origin: u32) -> Result<Option<Group>, ()> {
        matches(self.origin, origin)
    }
    fn client(&mut self, client: u32) -> Result<Option<Group>, ()> {
        matches(self.client, client)
    }
}

/// The numbers by the definitions, from all views at once. The keys are groups, or units of time.
fn by_definition(views: &[(u64, View)], question: &Question, bits: Matching) -> BTreeMap<i64, Numbers> {
    let mut visits: Vec<(u64, Vec<View>)> = Vec::new();
    for session in 0..SESSIONS {
        let mut last: Option<i64> = None;
        for (_, view) in views.iter().filter(|(of, _)| *of == session) {
            if last.is_none_or(|last| view.time - last > TIMEOUT) {
                visits.push((session, Vec::new()));
            }
            visits.last_mut().unwrap().1.push(*view);
            last = Some(view.time);
        }
    }
    let group = |visit: &[View], view: &View| -> Option<i64> {
        let slot = question.zone.slot(seconds(view.time), Length::Hour);
        let first = visit[0];
        let meets = (question.days.0..=question.days.1).contains(&slot.day)
            && question.weekdays >> slot.weekday() & 1 != 0
            && question.hours >> slot.hour & 1 != 0
            && (!question.asks.page || bits.page >> view.page & 1 != 0)
            && (!question.asks.kind || bits.kind >> view.kind & 1 != 0)
            && (!question.asks.entry || bits.entry >> first.page & 1 != 0)
            && (!question.asks.origin || bits.origin >> first.origin & 1 != 0)
            && (!question.asks.client || bits.client >> first.client & 1 != 0);
        meets.then(|| match question.by {
            By::Nothing => 0,
            By::Unit(unit) => slot.unit(unit),
            By::Weekday => slot.weekday().into(),
            By::Hour => slot.hour.into(),
            By::Page => view.page.into(),
            By::Kind => view.kind.into(),
            By::Entry => first.page.into(),
            By::Origin => first.origin.into(),
            By::Client => first.client.into(),
            By::Both => key_of_both((first.origin, first.client)),
        })
    };
    let mut numbers: BTreeMap<i64, Numbers> = BTreeMap::new();
    let (mut visitors, mut visited) = (BTreeSet::new(), BTreeSet::new());
    for (number, (session, visit)) in visits.iter().enumerate() {
        for (place, view) in visit.iter().enumerate() {
            let Some(group) = group(visit, view) else { continue };
            let of_group = numbers.entry(group).or_default();
            of_group.views += 1;
            of_group.visitors += i64::from(visitors.insert((group, *session)));
            of_group.visits += i64::from(visited.insert((group, number)));
            of_group.entries += i64::from(place == 0);
            of_group.exits += i64::from(place == visit.len() - 1);
            of_group.bounces += i64::from(visit.len() == 1);
            if place == 0 {
                of_group.seconds += seconds(visit[visit.len() - 1].time) - seconds(view.time);
            }
        }
    }
    numbers
}

/// The columns of a span, for reading.
fn borrowed(bytes: &Columns<Vec<u8>>) -> Columns<Option<&[u8]>> {
    let Columns { runs, hashes, visits, times, pages, kinds, origins, clients, divided, .. } = bytes;
    Columns {
        runs: Some(runs),
        hashes: Some(hashes),
        visits: Some(visits),
        times: Some(times),
        pages: Some(pages),
        kinds: Some(kinds),
        origins: Some(origins),
        clients: Some(clients),
        days: None,
        totals: None,
        divided: Some(divided),
    }
}

/// The views in spans. Some are merged, and all have been bytes.
fn spans(random: &mut Random, views: &[(u64, View)]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut sessions: BTreeMap<u64, (u64, Visit)> = BTreeMap::new();
    let mut rest = views;
    while !rest.is_empty() {
        let (batch, others) = rest.split_at((1 + random.below(20) as usize).min(rest.len()));
        rest = others;
        let mut span = Span::default();
        for session in 0..SESSIONS {
            let mut begun = false;
            for (_, view) in batch.iter().filter(|(of, _)| *of == session) {
                let before = sessions.get(&session).copied();
                let key = before.map_or(view.id, |(key, _)| key);
                if !begun {
                    let last = before.map(|(_, visit)| visit.last.time);
                    span.begin_run(key, columns::hash_of(&session.to_le_bytes()), last);
                    begun = true;
                }
                let visit = span.add(view, before.map(|(_, visit)| visit), TIMEOUT);
                sessions.insert(session, (key, visit));
            }
        }
        match spans.pop() {
            Some(last) if random.below(2) == 0 => spans.push(last.merge(|_| false, &span)),
            last => spans.extend(last.into_iter().chain([span])),
        }
    }
    let whole = |span: &Span| {
        let bytes = columns::encode(span);
        let Columns { hashes, days, totals, divided, .. } = &bytes;
        assert_eq!(
            columns::decode_hashes(hashes, Size::of(span)).unwrap(),
            span.runs.iter().map(|run| run.hash).collect::<Vec<_>>()
        );
        let views = span.pages.len() as i64;
        assert_eq!(Counts::of(days).unwrap().days().map(|(_, count)| count).sum::<i64>(), views);
        assert_eq!(Counts::of(totals).unwrap().pages().map(|(_, count)| count).sum::<i64>(), views);
        let going_on = GoingOn::of(divided).unwrap();
        assert_eq!(going_on.sessions.len(), span.runs.iter().filter(|run| run.goes_on).count());
        assert_eq!(going_on.visits.len(), span.earlier.len());
        let columns = borrowed(&bytes);
        assert_eq!(columns::decode(&columns, Size::of(span)).as_ref(), Ok(span));
    };
    spans.iter().for_each(whole);
    let (mut one, mut other) = (Digest::default(), Digest::default());
    spans.iter().for_each(|span| one.add(span, |_| false));
    if let Some((first, rest)) = spans.split_first() {
        other.add(&rest.iter().fold(first.clone(), |whole, span| whole.merge(|_| false, span)), |_| false);
    }
    assert_eq!(one.differences(&other), []);
    assert_eq!(one.0.values().map(|of_day| of_day.views).sum::<i64>(), views.len() as i64);
    spans
}

fn question(random: &mut Random) -> (Question, Matching) {
    let units = [Unit::Hour, Unit::Day, Unit::Week, Unit::Month];
    let by = match random.below(13) {
        0 => By::Nothing,
        1 => By::Page,
        2 => By::Entry,
        3 => By::Origin,
        4 => By::Client,
        5 => By::Weekday,
        6 => By::Hour,
        7 => By::Kind,
        8 => By::Both,
        other => By::Unit(units[other as usize - 9]),
    };
    let mut sometimes = || random.below(3) == 0;
    let asks = Asks {
        page: sometimes(),
        kind: sometimes(),
        entry: sometimes(),
        origin: sometimes() || by == By::Origin,
        client: sometimes() || by == By::Client,
    };
    let zone = match random.below(3) {
        0 => Zone::utc(),
        1 => Zone::new(vec![(0, 19_800)]),
        _ => Zone::new(vec![(0, 3_600), (100_000, 7_200), (200_000, 3_600)]),
    };
    let days = match random.below(3) {
        0 => (i64::MIN, i64::MAX),
        1 => (0, 0),
        _ => (-1, random.below(4) as i64),
    };
    let mut bits = |any: u64| if random.below(3) > 0 { u32::MAX } else { random.below(any) as u32 };
    let (weekdays, hours) = (bits(256), bits(1 << 24));
    let bits = Matching { page: bits(16), kind: bits(4), entry: bits(16), origin: bits(8), client: bits(8) };
    // What is counted together looks at all visits.
    let selects_visits = (asks.origin || asks.client) && by != By::Both && random.below(2) == 0;
    (Question { by, days, zone, weekdays, hours, asks, selects_visits, views_only: false }, bits)
}

/// The same, if only views are wanted: from what spans tell of days and pages where they do.
fn views_by_spans(spans: &[Span], question: &Question, bits: Matching) -> BTreeMap<i64, i64> {
    let question = Question { views_only: true, ..question.clone() };
    let mut counting = Counting::new(&question, bits);
    for span in spans {
        let Columns { days, totals, .. } = columns::encode(span);
        let (earliest, latest) = span.times().unwrap();
        if question.takes_days() {
            counting.add_days(Counts::of(&days).unwrap().days());
        } else if question.takes_pages(earliest, latest) {
            counting.add_pages(Counts::of(&totals).unwrap().pages());
        } else {
            counting.count(span, |_| false).unwrap();
        }
    }
    let units: BTreeMap<Group, i64> = counting.units().iter().map(|(unit, group)| (*group, *unit)).collect();
    let both = counting.take_both();
    let key = |group: Group| match question.by {
        By::Unit(_) => units[&group],
        By::Both => key_of_both(both.groups[group as usize]),
        _ => group.into(),
    };
    counting.finish().0.into_iter().map(|(group, numbers)| (key(group), numbers.views)).collect()
}

fn key_of_both((origin, client): (u32, u32)) -> i64 {
    i64::from(origin * 1_000 + client)
}

fn by_spans(spans: &[Span], question: &Question, bits: Matching) -> BTreeMap<i64, Numbers> {
    let seconds = |day: i64, more: i64| day.saturating_mul(DAY).saturating_add(more * DAY);
    let (first, last) = (seconds(question.days.0, -1), seconds(question.days.1, 2));
    let is_near = |span: &&Span| span.times().is_some_and(|(from, until)| until >= first && from <= last);
    let mut divided = Divided::default();
    spans.iter().filter(is_near).for_each(|span| divided.note(span, first));
    let mut counting = Counting::new(question, bits);
    counting.set_divided(&divided.into());
    for span in spans.iter().filter(is_near) {
        if let Some((earliest, latest)) = span.times() {
            counting.enter(earliest, latest);
        }
        match span.times() {
            Some((earliest, latest)) if question.takes_whole(earliest, latest) => {
                let befores = span.runs.iter().filter(|run| run.goes_on).map(|run| run.before);
                counting.add_whole(&totals(span), befores);
            }
            _ if question.selects_visits => {
                let bytes = columns::encode(span);
                let columns = borrowed(&bytes);
                let columns = Columns {
                    divided: None,
                    origins: columns.origins.filter(|_| question.asks.origin),
                    clients: columns.clients.filter(|_| question.asks.client),
                    ..columns
                };
                let mut matching = Span::default();
                let matches = |source| counting.matches(source).ok();
                let decoder = Decoder::new(&columns, Size::of(span)).unwrap();
                decoder.matching(|_| false, matches, &mut matching).unwrap();
                counting.count(&matching, |_| false).unwrap();
            }
            _ => {
                // Piece by piece.
                let bytes = columns::encode(span);
                let mut decoder = Decoder::new(&borrowed(&bytes), Size::of(span)).unwrap();
                let mut piece = Span::default();
                while decoder.next(2, &mut piece).unwrap() {
                    counting.count(&piece, |_| false).unwrap();
                }
            }
        }
    }
    let units: BTreeMap<Group, i64> = counting.units().iter().map(|(unit, group)| (*group, *unit)).collect();
    let mut both = counting.take_both();
    let (groups, _) = counting.finish();
    if question.by == By::Both {
        // Joined by the origin, they are those by origin; and so on.
        both.sort();
        for (by, values) in [(By::Origin, 8), (By::Client, 8), (By::Nothing, 1)] {
            let value_of = |group: Group| match (by, both.groups[group as usize]) {
                (By::Origin, (origin, _)) => origin as usize,
                (By::Client, (_, client)) => client as usize,
                _ => 0,
            };
            let asks = Asks {
                origin: question.asks.origin || by == By::Origin,
                client: question.asks.client || by == By::Client,
                ..question.asks
            };
            // Without a filter, all match that are divided.
            let all = |bits, is_asked| if is_asked { bits } else { u32::MAX };
            let bits = Matching {
                origin: all(bits.origin, question.asks.origin),
                client: all(bits.client, question.asks.client),
                ..bits
            };
            let rows = both.joined(&groups, values, value_of);
            let joined = rows.numbers(values, |row| row);
            let two = rows.numbers(2, |row| row % 2);
            let at_once = both.joined(&groups, 2, |group| value_of(group) % 2).numbers(2, |row| row);
            assert_eq!(two, at_once, "{question:?} joined by {by:?} and again");
            let joined = (0..).zip(joined).filter(|(_, numbers)| numbers.views > 0).collect();
            let alone = by_spans(spans, &Question { by, asks, ..question.clone() }, bits);
            assert_eq!(alone, joined, "{question:?} joined by {by:?}");
        }
    }
    let key = |group: Group| match question.by {
        By::Unit(_) => units[&group],
        By::Both => key_of_both(both.groups[group as usize]),
        _ => group.into(),
    };
    groups.into_iter().map(|(group, numbers)| (key(group), numbers)).collect()
}

#[test]
fn spans_answer_as_the_definitions_do() {
    for seed in 1..=4_000 {
        let mut random = Random(seed);
        let views = history(&mut random);
        let spans = spans(&mut random, &views);
        for _ in 0..20 {
            let (question, bits) = question(&mut random);
            let expected = by_definition(&views, &question, bits);
            assert_eq!(by_spans(&spans, &question, bits), expected, "seed {seed}, {question:?}");
            let views: BTreeMap<_, _> =
                expected.iter().map(|(group, numbers)| (*group, numbers.views)).collect();
            assert_eq!(views_by_spans(&spans, &question, bits), views, "seed {seed}, {question:?}");
        }
    }
}

#[test]
fn damaged_spans_are_found_out() {
    let mut random = Random(1);
    let spans: Vec<_> = (0..20)
        .flat_map(|_| {
            let views = history(&mut random);
            spans(&mut random, &views)
        })
        .collect();
    for span in spans {
        let bytes = columns::encode(&span);
        let list = [
            &bytes.runs,
            &bytes.hashes,
            &bytes.visits,
            &bytes.times,
            &bytes.pages,
            &bytes.kinds,
            &bytes.origins,
            &bytes.clients,
        ];
        for damaged in 0..list.len() {
            let mut columns: Vec<Vec<u8>> = list.iter().map(|column| (*column).clone()).collect();
            let at = random.below(columns[damaged].len() as u64) as usize;
            columns[damaged][at] ^= 1 << random.below(8);
            let column = |number: usize| Some(&columns[number][..]);
            let columns = Columns {
                runs: column(0),
                hashes: column(1),
                visits: column(2),
                times: column(3),
                pages: column(4),
                kinds: column(5),
                origins: column(6),
                clients: column(7),
                days: None,
                totals: None,
                divided: None,
            };
            assert!(columns::decode(&columns, Size::of(&span)).is_err());
            let all = |_| Some(true);
            let mut matching = Span::default();
            let decoder = Decoder::new(&columns, Size::of(&span));
            assert!(decoder.and_then(|decoder| decoder.matching(|_| false, all, &mut matching)).is_err());
        }
    }
}
