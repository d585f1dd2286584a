//! By which channel a visitor came. It owns the rules, which are in the spirit of the default channel groups that
//! products of this field share; they are our own words and our own order.
//!
//! The first rule that fits decides:
//!
//! | rule | channel |
//! |---|---|
//! | medium is `affiliate`, `cpa` or the like | Affiliates |
//! | medium is `email`, `newsletter` or the like | Email |
//! | medium is `display`, `banner`, `cpm` or the like | Display |
//! | medium names paid search or paid social media itself | Paid Search, Paid Social |
//! | paid (medium `cpc`, `ppc`, `paid…`, or the click id of an advertisement), source is a social network | Paid Social |
//! | paid, source is a search engine or an AI assistant, or a click by a search engine, or medium `cpc` or `ppc` | Paid Search |
//! | paid, click id of a social network | Paid Social |
//! | paid in another way | Display |
//! | a click id that e-mail programs or affiliates add | Email, Affiliates |
//! | source is an AI assistant, or medium is `ai` or the like | AI Assistants |
//! | source is a social network, or medium is `social` or the like | Organic Social |
//! | source is a search engine, or medium is `organic` | Organic Search |
//! | source is a mail program | Email |
//! | any other source, or medium is `referral` | Referral |
//! | a campaign that names neither | Direct |

use super::click::{Click, Network};
use super::source::Kind;

/// The channel by which a visitor came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Direct,
    OrganicSearch,
    PaidSearch,
    OrganicSocial,
    PaidSocial,
    Email,
    Referral,
    Display,
    Affiliates,
    AiAssistants,
}

impl Channel {
    /// The name that reports show.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Direct => "Direct",
            Channel::OrganicSearch => "Organic Search",
            Channel::PaidSearch => "Paid Search",
            Channel::OrganicSocial => "Organic Social",
            Channel::PaidSocial => "Paid Social",
            Channel::Email => "Email",
            Channel::Referral => "Referral",
            Channel::Display => "Display",
            Channel::Affiliates => "Affiliates",
            Channel::AiAssistants => "AI Assistants",
        }
    }
}

/// What a medium says of the channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Affiliate,
    Email,
    Display,
    PaidSearch,
    PaidSocial,
    /// Per click, which was search before it was anything else.
    PerClick,
    Paid,
    Assistant,
    Social,
    Search,
    Referral,
}

/// The words for a medium, without case and all but letters: `Paid_Social` is `paidsocial`.
const MEDIA: &[(&str, Medium)] = &[
    ("affiliate", Medium::Affiliate),
    ("affiliates", Medium::Affiliate),
    ("affiliatemarketing", Medium::Affiliate),
    ("cpa", Medium::Affiliate),
    ("cps", Medium::Affiliate),
    ("email", Medium::Email),
    ("mail", Medium::Email),
    ("mailing", Medium::Email),
    ("newsletter", Medium::Email),
    ("banner", Medium::Display),
    ("cpm", Medium::Display),
    ("display", Medium::Display),
    ("expandable", Medium::Display),
    ("interstitial", Medium::Display),
    ("native", Medium::Display),
    ("programmatic", Medium::Display),
    ("remarketing", Medium::Display),
    ("retargeting", Medium::Display),
    ("paidsearch", Medium::PaidSearch),
    ("searchads", Medium::PaidSearch),
    ("sem", Medium::PaidSearch),
    ("cpcsocial", Medium::PaidSocial),
    ("paidsocial", Medium::PaidSocial),
    ("paidsocialmedia", Medium::PaidSocial),
    ("socialads", Medium::PaidSocial),
    ("socialcpc", Medium::PaidSocial),
    ("socialpaid", Medium::PaidSocial),
    ("cpc", Medium::PerClick),
    ("ppc", Medium::PerClick),
    ("ad", Medium::Paid),
    ("ads", Medium::Paid),
    ("cpv", Medium::Paid),
    ("ai", Medium::Assistant),
    ("aiassistant", Medium::Assistant),
    ("chatbot", Medium::Assistant),
    ("llm", Medium::Assistant),
    ("organicsocial", Medium::Social),
    ("sm", Medium::Social),
    ("social", Medium::Social),
    ("socialmedia", Medium::Social),
    ("socialnetwork", Medium::Social),
    ("organic", Medium::Search),
    ("organicsearch", Medium::Search),
    ("seo", Medium::Search),
    ("app", Medium::Referral),
    ("link", Medium::Referral),
    ("referral", Medium::Referral),
];

fn medium(text: &str) -> Option<Medium> {
    let word: String = text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
    match MEDIA.iter().find(|(known, _)| *known == word) {
        Some((_, medium)) => Some(*medium),
        None if word.starts_with("paid") => Some(Medium::Paid),
        None => None,
    }
}

/// The channel, by the kind of the source, the medium as the campaign has it, and the click id.
pub(super) fn channel(source: Option<Kind>, medium_text: Option<&str>, click: Option<&Click>) -> Channel {
    let medium = medium_text.and_then(medium);
    let network = click.map(|click| click.network);
    match medium {
        Some(Medium::Affiliate) => return Channel::Affiliates,
        Some(Medium::Email) => return Channel::Email,
        Some(Medium::Display) => return Channel::Display,
        Some(Medium::PaidSearch) => return Channel::PaidSearch,
        Some(Medium::PaidSocial) => return Channel::PaidSocial,
        _ => {}
    }
    let is_paid =
        matches!(medium, Some(Medium::PerClick | Medium::Paid)) || click.is_some_and(|click| click.is_paid);
    if is_paid {
        return match (source, network) {
            (Some(Kind::Social), _) => Channel::PaidSocial,
            (Some(Kind::Search | Kind::Assistant), _) | (_, Some(Network::Search)) => Channel::PaidSearch,
            (_, Some(Network::Social)) => Channel::PaidSocial,
            _ if medium == Some(Medium::PerClick) => Channel::PaidSearch,
            _ => Channel::Display,
        };
    }
    match (source, network) {
        (_, Some(Network::Affiliate)) => return Channel::Affiliates,
        (_, Some(Network::Email)) => return Channel::Email,
        _ => {}
    }
    match (source, medium) {
        (Some(Kind::Assistant), _) | (_, Some(Medium::Assistant)) => Channel::AiAssistants,
        (Some(Kind::Social), _) | (_, Some(Medium::Social)) => Channel::OrganicSocial,
        (Some(Kind::Search), _) | (_, Some(Medium::Search)) => Channel::OrganicSearch,
        (Some(Kind::Mail), _) => Channel::Email,
        (Some(Kind::Other), _) | (_, Some(Medium::Referral)) => Channel::Referral,
        (None, _) => Channel::Direct,
    }
}
