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
use crate::pg::{catalog, datum, like};

/// The rules of a site.
static RULES: Statement = Statement::new(
    "SELECT s.hosts, s.excluded_addresses, s.excluded_paths, s.kept_parameters
      FROM site_stats.sites AS s
      WHERE s.id = $1",
    &[pg_sys::INT2OID],
);

/// The most sites whose rules a process remembers. Chosen, not measured.
const SITES_KEPT: usize = 1_000;

/// What a site wants recorded.
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
        let rules = spi::connect_as_owner(table, |connection| {
            // SAFETY: `GetLatestSnapshot` needs an open transaction; a function runs in one.
            let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
            let rows = RULES.read(connection, snapshot, &[Some(site_id.into())])?;
            Ok((!rows.is_empty()).then(|| Rules::read(&rows)))
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
        let elements = |column, element_type| {
            // SAFETY: the statement returns arrays of these types, which live as long as the rows.
            rows.get(0, column).map(|array| unsafe { datum::varlena_elements(array, element_type) })
        };
        let texts = |column| elements(column, pg_sys::TEXTOID);
        let networks = elements(2, pg_sys::CIDROID);
        let in_utf8 = |texts: Vec<&[u8]>| texts.into_iter().map(datum::utf8_from_text).collect::<Vec<_>>();
        Rules {
            hosts: texts(1).map(|hosts| in_utf8(hosts).iter().filter_map(|host| normal_host(host)).collect()),
            excluded_addresses: networks.unwrap_or_default().into_iter().filter_map(Network::of).collect(),
            excluded_paths: texts(3).unwrap_or_default().into_iter().map(complete).collect(),
            kept_parameters: texts(4).map(in_utf8).unwrap_or_default(),
        }
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
        let path = datum::text(path);
        // SAFETY: the path is a text.
        self.excluded_paths.iter().any(|pattern| unsafe { like::is_like(path, pattern) })
    }
}

/// A LIKE pattern whose last character escapes nothing would be an error for each page view: it means itself then.
fn complete(pattern: &[u8]) -> Box<[u8]> {
    let missing: &[u8] = if like::is_cut_off(pattern) { b"\\" } else { b"" };
    [pattern, missing].concat().into()
}
