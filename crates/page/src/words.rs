//! The words of reports, and how the page calls them and their values.

use crate::names;

/// A word by which page views can be filtered.
#[derive(Debug)]
pub struct Word {
    /// As reports call it, and the URL of the page.
    pub name: &'static str,
    /// As the page calls it.
    pub title: &'static str,
    /// What stands for a value that is unknown.
    pub unknown: &'static str,
}

const fn word(name: &'static str, title: &'static str, unknown: &'static str) -> Word {
    Word { name, title, unknown }
}

/// All words, in the order of the reports' own hint.
pub static WORDS: [Word; 17] = [
    word("path", "Page", "Unknown"),
    word("page_type", "Kind of page", "Unknown"),
    word("entry_path", "Entry page", "Unknown"),
    word("source", "Source", "Direct or unknown"),
    word("referrer", "Referrer", "None"),
    word("medium", "Medium", "None"),
    word("campaign", "Campaign", "None"),
    word("term", "Term", "None"),
    word("content", "Content", "None"),
    word("channel", "Channel", "Direct or unknown"),
    word("browser", "Browser", "Unknown"),
    word("os", "System", "Unknown"),
    word("device", "Device", "Unknown"),
    word("country", "Country", "Unknown"),
    word("language", "Language", "Unknown"),
    word("weekday", "Weekday", "Unknown"),
    word("hour", "Hour", "Unknown"),
];

/// The word with a name.
pub fn find(name: &str) -> Option<&'static Word> {
    WORDS.iter().find(|word| word.name == name)
}

/// The longest text that the page shows, in characters.
const MOST_SHOWN: usize = 40;

/// The same in bytes of HTML.
const MOST_BYTES: usize = 120;

/// The bytes that a character takes in HTML.
fn bytes(character: char) -> usize {
    if "<>&\"'".contains(character) { 5 } else { character.len_utf8() }
}

/// A text, cut in its middle if it is long: paths differ at their ends, too.
pub fn shown(text: &str) -> String {
    let most = MOST_BYTES / text.chars().take(MOST_SHOWN).map(bytes).max().unwrap_or(1);
    let most = most.min(MOST_SHOWN);
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let (head, tail) = (most * 2 / 3, most - most * 2 / 3 - 1);
    text.chars().take(head).chain(std::iter::once('…')).chain(text.chars().skip(length - tail)).collect()
}

impl Word {
    /// A value as people call it, short enough to show.
    pub fn label(&self, value: Option<&str>) -> String {
        let Some(value) = value else { return self.unknown.to_owned() };
        match self.name {
            "country" => names::country(value).map_or_else(|| shown(value), str::to_owned),
            "language" => names::language(value).unwrap_or_else(|| shown(value)),
            "device" => capitalised(value),
            "weekday" => weekday(value).map_or_else(|| shown(value), str::to_owned),
            "hour" => match value.parse::<u8>() {
                Ok(hour) if hour < 24 => format!("{hour:02}:00–{hour:02}:59"),
                _ => shown(value),
            },
            _ if value.is_empty() => "(empty)".to_owned(),
            _ => shown(value),
        }
    }
}

fn weekday(value: &str) -> Option<&'static str> {
    const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let number: usize = value.parse().ok()?;
    NAMES.get(number.checked_sub(1)?).copied()
}

fn capitalised(value: &str) -> String {
    match value {
        "tv" => "TV".to_owned(),
        "desktop" | "mobile" | "tablet" | "console" | "other" => {
            let (first, rest) = value.split_at(1);
            first.to_ascii_uppercase() + rest
        }
        _ => shown(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, value: &str) -> String {
        find(name).map(|word| word.label(Some(value))).unwrap_or_default()
    }

    #[test]
    fn values_have_names() {
        assert_eq!(label("country", "DE"), "Germany");
        assert_eq!(label("country", "ZZ"), "ZZ");
        assert_eq!(label("language", "pt-BR"), "Portuguese (Brazil)");
        assert_eq!(label("weekday", "7"), "Sunday");
        assert_eq!(label("weekday", "8"), "8");
        assert_eq!(label("hour", "9"), "09:00–09:59");
        assert_eq!(label("device", "tv"), "TV");
        assert_eq!(label("path", "/about"), "/about");
        assert_eq!(WORDS[3].label(None), "Direct or unknown");
    }

    #[test]
    fn long_texts_keep_both_ends() {
        let text = shown(&format!("/{}/end", "ä".repeat(1_000)));
        assert_eq!(text.chars().count(), MOST_SHOWN);
        assert_eq!(shown(&"&".repeat(100)).chars().count(), 24);
        assert!(text.starts_with("/ä") && text.ends_with("ä/end") && text.contains('…'), "{text}");
    }
}
