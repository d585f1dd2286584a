//! The parameters that advertisers, mail programs and apps add to a link, and what each tells. It owns this table.
//!
//! Written by hand from what the networks say of their own parameters. Only whether one is there counts: its
//! value names a click, and thereby a person, and goes nowhere.

use super::source::Kind;

/// Who adds a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Search,
    Social,
    Display,
    Affiliate,
    Email,
}

/// A parameter that tells of a click.
#[derive(Debug)]
pub(super) struct Click {
    pub parameter: &'static str,
    /// The name of the source, as the table of hosts has it. None if it only tells the channel.
    pub source: Option<(&'static str, Kind)>,
    pub network: Network,
    /// Whether it is in links of advertisements only. Facebook adds `fbclid` to every link.
    pub is_paid: bool,
}

const fn paid(parameter: &'static str, source: Option<(&'static str, Kind)>, network: Network) -> Click {
    Click { parameter, source, network, is_paid: true }
}

const fn free(parameter: &'static str, source: Option<(&'static str, Kind)>, network: Network) -> Click {
    Click { parameter, source, network, is_paid: false }
}

/// In an order in which what is paid comes first: an advertisement on Facebook has `fbclid`, too.
const CLICKS: &[Click] = &[
    paid("gclid", Some(("Google", Kind::Search)), Network::Search),
    paid("gbraid", Some(("Google", Kind::Search)), Network::Search),
    paid("wbraid", Some(("Google", Kind::Search)), Network::Search),
    paid("gad_source", Some(("Google", Kind::Search)), Network::Search),
    paid("msclkid", Some(("Bing", Kind::Search)), Network::Search),
    paid("yclid", Some(("Yandex", Kind::Search)), Network::Search),
    paid("ttclid", Some(("TikTok", Kind::Social)), Network::Social),
    paid("twclid", Some(("X", Kind::Social)), Network::Social),
    paid("li_fat_id", Some(("LinkedIn", Kind::Social)), Network::Social),
    paid("rdt_cid", Some(("Reddit", Kind::Social)), Network::Social),
    paid("ScCid", Some(("Snapchat", Kind::Social)), Network::Social),
    paid("epik", Some(("Pinterest", Kind::Social)), Network::Social),
    paid("qclid", Some(("Quora", Kind::Social)), Network::Social),
    paid("dclid", Some(("DoubleClick", Kind::Other)), Network::Display),
    paid("dicbo", Some(("Outbrain", Kind::Other)), Network::Display),
    paid("tblci", Some(("Taboola", Kind::Other)), Network::Display),
    free("irclickid", None, Network::Affiliate),
    free("awc", None, Network::Affiliate),
    free("cjevent", None, Network::Affiliate),
    free("ranSiteID", None, Network::Affiliate),
    free("mc_cid", Some(("Mailchimp", Kind::Mail)), Network::Email),
    free("mc_eid", Some(("Mailchimp", Kind::Mail)), Network::Email),
    free("_hsenc", None, Network::Email),
    free("mkt_tok", None, Network::Email),
    free("_kx", None, Network::Email),
    free("ck_subscriber_id", None, Network::Email),
    free("srsltid", Some(("Google", Kind::Search)), Network::Search),
    free("ysclid", Some(("Yandex", Kind::Search)), Network::Search),
    free("igshid", Some(("Instagram", Kind::Social)), Network::Social),
    free("igsh", Some(("Instagram", Kind::Social)), Network::Social),
    free("fbclid", Some(("Facebook", Kind::Social)), Network::Social),
];

/// The place of a parameter in the table: the lower, the more it says.
pub(super) fn rank(parameter: &str) -> Option<usize> {
    CLICKS.iter().position(|click| click.parameter.eq_ignore_ascii_case(parameter))
}

/// The entry at a place.
pub(super) fn at(rank: usize) -> Option<&'static Click> {
    CLICKS.get(rank)
}
