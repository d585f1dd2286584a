//! Names of countries and languages in English, from the Unicode CLDR.

mod countries;
mod languages;

fn find(names: &[(&str, &'static str)], code: &str) -> Option<&'static str> {
    let found = names.binary_search_by(|(known, _)| (*known).cmp(code)).ok()?;
    names.get(found).map(|(_, name)| *name)
}

/// The name of the country with a code of ISO 3166-1, such as `DE`.
pub fn country(code: &str) -> Option<&'static str> {
    find(&countries::NAMES, code)
}

/// The name of a language tag, such as `de`, `pt-BR` or `zh-Hant-TW`.
pub fn language(tag: &str) -> Option<String> {
    let (code, more) = tag.split_once('-').map_or((tag, None), |(code, more)| (code, Some(more)));
    let name = find(&languages::NAMES, code)?;
    Some(match more {
        None => name.to_owned(),
        Some(more) => format!("{name} ({})", country(more).unwrap_or(more)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order() {
        let is_sorted = |names: &[(&str, &str)]| names.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(is_sorted(&countries::NAMES) && is_sorted(&languages::NAMES));
    }

    #[test]
    fn names_are_found() {
        assert_eq!(country("TR"), Some("Türkiye"));
        assert_eq!(country("tr"), None);
        assert_eq!(language("zh-Hant-TW").as_deref(), Some("Chinese (Hant-TW)"));
        assert_eq!(language("de").as_deref(), Some("German"));
        assert_eq!(language("xx"), None);
    }
}
