//! Languages and regions as CRMs hold them: `de`, `de-AT`, `de_AT.UTF-8`.

use std::fmt;

/// A language that dates, numbers and plurals can be written in, with a region where one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locale {
    tag: String,
    language: usize,
}

/// Languages with dates, numbers and plurals of their own in CLDR.
const LANGUAGES: &str = " af am ar as az be bg bn bs ca cs cy da de el en es et eu fa fi fil fo fr ga gd gl gu he hi hr hu hy id \
     ig is it ja ka kk km kn ko kok ky lo lt lv mk ml mn mr ms mt my nb ne nl nn no or pa pl ps pt ro ru sd si sk sl \
     so sq sr sv sw ta te tg th ti tk tr uk ur uz vi yo yue zh zu ";

impl Locale {
    /// `None`: no language that anything is known of. POSIX forms (`de_AT.UTF-8`) and any case are understood;
    /// variants and extensions are left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().split(['.', '@']).next().unwrap_or_default().replace('_', "-");
        let mut parts = text.split('-');
        let mut tag = parts.next()?.to_ascii_lowercase();
        let known = !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_lowercase());
        if !known || !LANGUAGES.contains(&format!(" {tag} ")) {
            return None;
        }
        let language = tag.len();
        let mut rest = parts.peekable();
        if let Some(script) = rest.next_if(|part| part.len() == 4 && part.bytes().all(|b| b.is_ascii_alphabetic())) {
            let (first, others) = script.split_at(1);
            tag.extend(["-", &first.to_ascii_uppercase(), &others.to_ascii_lowercase()]);
        }
        let is_region = |part: &str| {
            part.len() == 2 && part.bytes().all(|b| b.is_ascii_alphabetic())
                || part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit())
        };
        if let Some(region) = rest.next_if(|part| is_region(part)) {
            tag.extend(["-", &region.to_ascii_uppercase()]);
        }
        Some(Self { tag, language })
    }

    /// The whole tag, as `lang=` of HTML takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.tag
    }

    #[must_use]
    pub fn language(&self) -> &str {
        &self.tag[..self.language]
    }

    /// Two letters or three digits.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.tag[self.language..].rsplit('-').next().filter(|part| matches!(part.len(), 2 | 3))
    }
}

impl Default for Locale {
    fn default() -> Self {
        Self { tag: "en".to_owned(), language: 2 }
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tag)
    }
}

/// The locale of that name, or `default` when it is unknown; the flag says that it was unknown, to be reported.
#[must_use]
pub fn locale_or_default(name: Option<&str>, default: &Locale) -> (Locale, bool) {
    match name.map(str::trim).filter(|name| !name.is_empty()) {
        None => (default.clone(), false),
        Some(name) => Locale::parse(name).map_or_else(|| (default.clone(), true), |locale| (locale, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crms_hold_is_understood() {
        for (written, tag) in [
            ("de", "de"),
            ("DE_at", "de-AT"),
            ("en_US.UTF-8", "en-US"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
            (" fr-CA-x-old ", "fr-CA"),
            ("sr_RS@latin", "sr-RS"),
        ] {
            assert_eq!(Locale::parse(written).map(|locale| locale.to_string()).as_deref(), Some(tag), "{written}");
        }
        for stranger in ["", "german", "C", "POSIX", "xx", "d e", "e n", "-"] {
            assert_eq!(Locale::parse(stranger), None, "{stranger}");
        }
        let swiss = Locale::parse("de-CH").unwrap();
        assert_eq!((swiss.language(), swiss.region()), ("de", Some("CH")));
        assert_eq!(Locale::parse("zh-Hant").unwrap().region(), None);
        assert_eq!(Locale::parse("fil").unwrap().region(), None);
    }

    #[test]
    fn an_unknown_locale_uses_the_default_and_says_so() {
        let english = Locale::default();
        assert_eq!(locale_or_default(Some("Klingon"), &english), (english.clone(), true));
        assert_eq!(locale_or_default(Some(" "), &english), (english.clone(), false));
        assert_eq!(locale_or_default(None, &english), (english.clone(), false));
    }
}
