//! Numbers for paths and page types. Spans have numbers in their place, which `span_texts` keeps.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{IntoDatum, pg_sys};
use rustc_hash::FxHashMap;

use crate::count::spanned;
use crate::count::tally::{SiteId, TextKey};
use crate::pg::datum;
use crate::pg::spi::{Connection, SnapshotKind, Statement};

/// The texts `$2` of the sites `$1` that have a number, by their place.
static FIND: Statement = Statement::new(
    "SELECT u.place, t.number
      FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS u (site_id, value, place)
      CROSS JOIN LATERAL (
          SELECT t.number
          FROM site_stats.span_texts AS t
          WHERE t.site_id = u.site_id AND t.value = u.value
          LIMIT 1
      ) AS t",
    &[pg_sys::INT2ARRAYOID, pg_sys::TEXTARRAYOID],
);

/// Gives numbers to texts. One process at a time does so.
static ADD: Statement = Statement::new(
    "INSERT INTO site_stats.span_texts (site_id, number, value)
      SELECT
          u.site_id,
          COALESCE((
              SELECT t.number FROM site_stats.span_texts AS t WHERE t.site_id = u.site_id ORDER BY t.number DESC LIMIT 1
          ), -1) + pg_catalog.row_number() OVER (PARTITION BY u.site_id ORDER BY u.place),
          u.value
      FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS u (site_id, value, place)",
    &[pg_sys::INT2ARRAYOID, pg_sys::TEXTARRAYOID],
);

/// The first number of a site that has no text.
static NEXT: Statement = Statement::new(
    "SELECT t.number + 1 FROM site_stats.span_texts AS t WHERE t.site_id = $1 ORDER BY t.number DESC LIMIT 1",
    &[pg_sys::INT2OID],
);

/// The texts of numbers, by their place.
static VALUES: Statement = Statement::new(
    "SELECT u.place, t.value
      FROM pg_catalog.unnest($2) WITH ORDINALITY AS u (number, place)
      JOIN site_stats.span_texts AS t ON t.site_id = $1 AND t.number = u.number",
    &[pg_sys::INT2OID, pg_sys::INT4ARRAYOID],
);

/// The numbers of texts that match a pattern.
static LIKE: Statement = Statement::new(
    "SELECT t.number FROM site_stats.span_texts AS t WHERE t.site_id = $1 AND t.value LIKE $2",
    &[pg_sys::INT2OID, pg_sys::TEXTOID],
);

/// Different texts of sites, each with its place in the order in which they came.
#[derive(Default)]
pub struct Texts {
    places: FxHashMap<SiteId, FxHashMap<TextKey, u32>>,
    texts: Vec<(SiteId, TextKey)>,
}

impl Texts {
    /// The place of a text.
    pub fn place(&mut self, site_id: SiteId, text: &[u8]) -> u32 {
        let of_site = self.places.entry(site_id).or_default();
        if let Some(place) = of_site.get(text) {
            return *place;
        }
        let place = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        of_site.insert(text.into(), place);
        self.texts.push((site_id, text.into()));
        place
    }

    pub fn get(&self, place: u32) -> Option<&(SiteId, TextKey)> {
        self.texts.get(place as usize)
    }

    /// The sites and the texts as arrays.
    pub fn arrays(&self) -> [Option<pg_sys::Datum>; 2] {
        spanned::arrays(self.texts.iter().map(|(site_id, text)| (*site_id, &**text)))
    }

    /// How many different texts there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The texts, by their places.
    pub fn iter(&self) -> impl Iterator<Item = &(SiteId, TextKey)> {
        self.texts.iter()
    }

    /// The numbers of the texts, by their places; `None` for one that has none.
    pub fn numbers(
        &self,
        connection: &Connection,
        see: SnapshotKind,
    ) -> Result<Vec<Option<u32>>, ErrorReport> {
        if self.texts.is_empty() {
            return Ok(Vec::new());
        }
        let mut numbers = vec![None; self.texts.len()];
        let rows = FIND.run(connection, see, &self.arrays())?;
        for row in 0..rows.len() {
            if let Some(number) =
                usize::try_from(rows.bigint(row, 1) - 1).ok().and_then(|place| numbers.get_mut(place))
            {
                *number = u32::try_from(rows.integer(row, 2)).ok();
            }
        }
        Ok(numbers)
    }

    /// The same, and gives numbers to those that have none.
    pub fn numbers_for_good(&self, connection: &Connection) -> Result<Vec<u32>, ErrorReport> {
        let numbers = self.numbers(connection, SnapshotKind::Current)?;
        if numbers.iter().all(Option::is_some) {
            return Ok(numbers.into_iter().flatten().collect());
        }
        let new = self.texts.iter().zip(&numbers).filter(|(_, number)| number.is_none());
        let new = spanned::arrays(new.map(|((site_id, text), _)| (*site_id, &**text)));
        ADD.run(connection, SnapshotKind::Current, &new)?;
        Ok(self.numbers(connection, SnapshotKind::Current)?.into_iter().flatten().collect())
    }
}

/// The first number of a site that has no text.
pub fn first_free(connection: &Connection, site_id: SiteId) -> Result<u32, ErrorReport> {
    let rows = NEXT.run(connection, SnapshotKind::Statement, &[Some(site_id.into())])?;
    Ok(u32::try_from(rows.integer(0, 1)).unwrap_or(0))
}

/// The texts of numbers of a site, in the order of the numbers.
pub fn values(
    connection: &Connection,
    site_id: SiteId,
    numbers: &[u32],
) -> Result<Vec<Option<TextKey>>, ErrorReport> {
    let asked: Vec<_> = numbers.iter().map(|number| i32::try_from(*number).unwrap_or(-1)).collect();
    let rows =
        VALUES.run(connection, SnapshotKind::Statement, &[Some(site_id.into()), asked.into_datum()])?;
    let mut values = vec![None; numbers.len()];
    for row in 0..rows.len() {
        if let Some(value) =
            usize::try_from(rows.bigint(row, 1) - 1).ok().and_then(|place| values.get_mut(place))
        {
            *value = rows.text(row, 2).map(TextKey::from);
        }
    }
    Ok(values)
}

/// The numbers of a site's texts that match a pattern.
pub fn like(connection: &Connection, site_id: SiteId, pattern: &[u8]) -> Result<Vec<u32>, ErrorReport> {
    let arguments = [Some(site_id.into()), Some(datum::text(pattern))];
    let rows = LIKE.run(connection, SnapshotKind::Statement, &arguments)?;
    Ok((0..rows.len()).filter_map(|row| u32::try_from(rows.integer(row, 1)).ok()).collect())
}
