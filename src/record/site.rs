//! What a site wants recorded: its hosts, what it excludes, and which query parameters make another page.
//!
//! A process remembers the rules of the sites that it has met, a bounded number. Each change of `sites` is announced, and makes
//! it forget them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use site_stats_parsers::normal_host;

use crate::count::tally::SiteId;
use crate::error;
use crate::pg::inet::Network;
use crate::pg::spi::{self, Rows, Statement};
use crate::pg::transaction::{ALL_ROWS, OWN_NAMES};
use crate::pg::{catalog, datum, transaction};

/// The rules of a site, one value a row.
static RULES: Statement = Statement::new(
    "SELECT r.rule, r.value
      FROM site_stats.sites AS s
      CROSS JOIN LATERAL (
          SELECT 0 AS rule, NULL AS value
          UNION ALL
          SELECT 1, NULL WHERE s.hosts IS NOT NULL
          UNION ALL
          SELECT 2, h.value FROM pg_catalog.unnest(s.hosts) AS h (value)
          UNION ALL
          SELECT 3, pg_catalog.text(a.value) FROM pg_catalog.unnest(s.excluded_addresses) AS a (value)
          UNION ALL
          SELECT 4, p.value FROM pg_catalog.unnest(s.excluded_paths) AS p (value)
          UNION ALL
          SELECT 5, k.value FROM pg_catalog.unnest(s.kept_parameters) AS k (value)
      ) AS r
      WHERE s.id = $1",
    &[pg_sys::INT2OID],
);

/// The most sites whose rules a process remembers. Chosen, not measured.
const SITES_KEPT: usize = 1_000;

/// What a site wants recorded.
#[derive(Default)]
pub struct Rules {
    /// In their normal form; `None` for any.
    hosts: Option<Vec<String>>,
    excluded_addresses: Vec<Network>,
    /// LIKE patterns, in the encoding of the database.
    excluded_paths: Vec<Box<[u8]>>,
    pub kept_parameters: Vec<String>,
}

thread_local! {
    /// The table, and the rules of its sites.
    static KNOWN: RefCell<(pg_sys::Oid, HashMap<SiteId, Rc<Rules>>)> = RefCell::default();
}

/// Forgets the rules if a site has changed. For `catalog::watch`.
pub fn note_change(is_changed: &dyn Fn(pg_sys::Oid) -> bool) {
    KNOWN.with_borrow_mut(|(table, rules)| {
        if is_changed(*table) {
            rules.clear();
        }
    });
}

impl Rules {
    /// The rules of a site.
    ///
    /// # Errors
    /// 23503 if the site is gone.
    pub fn of(site_id: SiteId) -> Result<Rc<Self>, ErrorReport> {
        if let Some(rules) = KNOWN.with_borrow(|(_, rules)| rules.get(&site_id).cloned()) {
            return Ok(rules);
        }
        let (table, changes) = (catalog::table(c"sites")?, catalog::changes());
        let rules = transaction::as_owner(table, || {
            transaction::with_settings(&[OWN_NAMES, ALL_ROWS], || {
                spi::connect(|connection| {
                    // SAFETY: `GetLatestSnapshot` needs an open transaction; a function runs in one.
                    let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
                    let rows = RULES.read(connection, snapshot, &[Some(site_id.into())])?;
                    Ok((!rows.is_empty()).then(|| Rules::read(&rows)))
                })
            })
        })?;
        let rules = Rc::new(rules.ok_or_else(|| error::no_site_of(site_id))?);
        if catalog::changes() == changes {
            KNOWN.with_borrow_mut(|known| {
                if known.0 != table || known.1.len() >= SITES_KEPT {
                    *known = (table, HashMap::new());
                }
                known.1.insert(site_id, Rc::clone(&rules));
            });
        }
        Ok(rules)
    }

    fn read(rows: &Rows) -> Self {
        let mut rules = Rules::default();
        for row in 0..rows.len() {
            let value = rows.text(row, 2).unwrap_or_default();
            match rows.integer(row, 1) {
                1 => rules.hosts = Some(Vec::new()),
                2 => rules.hosts.get_or_insert_default().extend(normal_host(&datum::utf8_from_text(value))),
                3 => rules.excluded_addresses.extend(Network::parse(&String::from_utf8_lossy(value))),
                4 => rules.excluded_paths.push(value.into()),
                5 => rules.kept_parameters.push(datum::utf8_from_text(value)),
                _ => {}
            }
        }
        rules
    }

    /// The hosts of the site, if it names any.
    pub fn own_hosts(&self) -> &[String] {
        self.hosts.as_deref().unwrap_or_default()
    }

    /// Whether pages of this host are the site's. One without a host is: whoever calls says whose it is.
    pub fn has_host(&self, host: Option<&str>) -> bool {
        match (&self.hosts, host) {
            (Some(own), Some(host)) => own.iter().any(|own| own == host),
            _ => true,
        }
    }

    pub fn excludes_address(&self, address: IpAddr) -> bool {
        self.excluded_addresses.iter().any(|network| network.contains(address))
    }

    /// Whether a path, in the encoding of the database, is like one of the patterns.
    pub fn excludes_path(&self, path: &[u8]) -> bool {
        if self.excluded_paths.is_empty() {
            return false;
        }
        let (like, path) = (pg_sys::Oid::from(pg_sys::F_TEXTLIKE), datum::text(path));
        self.excluded_paths.iter().any(|pattern| {
            // SAFETY: the function takes two texts.
            let is_like = unsafe {
                pg_sys::OidFunctionCall2Coll(like, pg_sys::C_COLLATION_OID, path, datum::text(pattern))
            };
            is_like.value() as u8 != 0
        })
    }
}
