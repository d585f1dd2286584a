//! Language and country, as headers and browsers tell them. It owns their one way of writing.

/// A preference is read from the beginning of a header of this length, in bytes.
const MAX_HEADER_BYTES: usize = 1024;

/// The language that a visitor prefers, from `navigator.language` or an `Accept-Language` header: `en`, `en-GB`,
/// `zh-Hant-TW`. Language, script and region are kept, in the case that is usual for each; variants and
/// extensions go. Returns None if there is none, or at most 11 bytes.
pub fn language(text: &str) -> Option<String> {
    let mut best: Option<(u32, String)> = None;
    let mut rest = text;
    let mut read = 0;
    while read < MAX_HEADER_BYTES {
        let (item, after) = rest.split_once(',').map_or((rest, None), |(item, after)| (item, Some(after)));
        let (tag, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight(parameters);
        // Of two with the same weight, the first.
        if weight > best.as_ref().map_or(0, |(weight, _)| *weight)
            && let Some(tag) = normal_tag(tag.trim())
        {
            best = Some((weight, tag));
        }
        let Some(after) = after else { break };
        read += item.len() + 1;
        rest = after;
    }
    best.map(|(_, tag)| tag)
}

/// The weight in thousandths: 1000 without `q=`, and 0 for one that is no number.
fn weight(parameters: &str) -> u32 {
    let Some(number) = parameters.trim().strip_prefix("q=") else { return 1000 };
    let (whole, thousandths) = number.split_once('.').unwrap_or((number, ""));
    let digits = thousandths.bytes().chain(std::iter::repeat(b'0')).take(3);
    let thousandths = digits
        .map(char::from)
        .map(|digit| digit.to_digit(10))
        .try_fold(0, |sum, digit| Some(sum * 10 + digit?));
    match (whole, thousandths) {
        ("1", Some(_)) => 1000,
        ("0", Some(thousandths)) => thousandths,
        _ => 0,
    }
}

/// Language, script and region of a tag (RFC 5646).
fn normal_tag(text: &str) -> Option<String> {
    let mut parts = text.split(['-', '_']).peekable();
    let is_letters = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let mut tag = parts.next().filter(|part| is_letters(part, &[2, 3]))?.to_ascii_lowercase();
    if tag == "und" {
        return None;
    }
    if let Some(script) = parts.next_if(|part| is_letters(part, &[4])) {
        let mut letters = script.chars();
        tag.push('-');
        tag.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        tag.extend(letters.map(|letter| letter.to_ascii_lowercase()));
    }
    let is_region = |part: &&str| {
        is_letters(part, &[2]) || part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(region) = parts.next_if(is_region) {
        tag.push('-');
        tag.push_str(&region.to_ascii_uppercase());
    }
    Some(tag)
}

/// The country as two letters in upper case (ISO 3166), as proxies and databases tell it. None if it is unknown to
/// them (`XX`, `ZZ`), not a country (`T1` is Tor), or not two letters.
pub fn country(text: &str) -> Option<String> {
    let code = text.trim();
    let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    let code = is_code.then(|| code.to_ascii_uppercase())?;
    (!matches!(code.as_str(), "XX" | "ZZ")).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    #[test]
    fn a_language_has_one_way_of_writing() {
        for (text, expected) in [
            ("en", Some("en")),
            ("en-gb", Some("en-GB")),
            ("EN_us", Some("en-US")),
            ("de-DE,de;q=0.9,en;q=0.8", Some("de-DE")),
            ("en;q=0.5, fr-CH ;q=0.9", Some("fr-CH")),
            ("*", None),
            ("*,da;q=0.1", Some("da")),
            ("zh-hant-tw", Some("zh-Hant-TW")),
            ("es-419", Some("es-419")),
            ("de-DE-u-co-phonebk", Some("de-DE")),
            ("ca-valencia", Some("ca")),
            ("fil", Some("fil")),
            ("en;q=0", None),
            ("en;q=2", None),
            ("en;q=0.x,de;q=0.1", Some("de")),
            ("", None),
            ("c", None),
            ("und", None),
            ("english", None),
            ("é", None),
        ] {
            assert_eq!(language(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_country_is_two_letters() {
        for (text, expected) in [
            ("DE", Some("DE")),
            (" us ", Some("US")),
            ("XX", None),
            ("T1", None),
            ("A1", None),
            ("", None),
            ("DEU", None),
            ("é", None),
        ] {
            assert_eq!(country(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn hostile_texts_give_bounded_words() {
        hostile::texts(|text| {
            assert!(language(text).is_none_or(|language| language.len() <= 11));
            assert!(country(text).is_none_or(|country| country.len() == 2));
        });
    }
}
